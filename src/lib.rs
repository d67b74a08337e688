//! kdir: Kafka's log without the broker.

pub mod disk;
pub mod format;
pub mod units;
