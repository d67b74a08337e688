//! Apache Kafka's own word on every claim: its brokers, tools and record classes against this program, both ways.
//!
//! These tests need Java and the jars that `tests/kafka/kafka.sh fetch` brings, so plain `cargo test` leaves them out and
//! `.ci/run` runs them. A Kafka that is missing or does not start fails them.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and looks at files itself"
)]

mod beside;
mod broker;
mod compaction;
mod compared;
mod disk_changes;
mod disks;
mod dump_agreement;
mod dumped;
mod filled;
mod formats;
mod golden;
mod groups;
mod handover;
mod histories;
mod internal;
mod locks;
mod placement;
mod promoted;
mod script;
mod served;
mod stepped;
#[path = "../cli/support.rs"]
#[allow(dead_code, reason = "the tests of the command line use the rest of it")]
mod support;
mod untouched;
mod written;

/// Makes of `fn name(kafka: Kafka)` a test for each version: `kafka_4::name`, `kafka_3::name`, `kafka_2::name`.
macro_rules! on_every_kafka {
    ($($name:ident,)*) => {
        crate::on_every_kafka!(kafka_4 = K4: $($name,)*);
        crate::on_every_kafka!(kafka_3 = K3: $($name,)*);
        crate::on_every_kafka!(kafka_2 = K2: $($name,)*);
    };
    ($module:ident = $version:ident: $($name:ident,)*) => {
        mod $module {
            $(
                #[test]
                #[ignore = "needs Kafka: .ci/run brings it"]
                fn $name() {
                    super::$name($crate::broker::Kafka::$version);
                }
            )*
        }
    };
}
pub(crate) use on_every_kafka;
