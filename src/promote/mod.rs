//! Floor 6: a log dir becomes one that an unmodified Kafka broker starts on and serves; and back.
//!
//! No record is read or copied. What a broker lacks in a log dir of kdir's is its cluster's metadata: it is given to its
//! controller as the records that a new cluster begins with (`bootstrap.rs`), which the controller appends to its own log when it
//! starts for the first time. [`PromotionPlan`] decides and [`Promotion`] carries out; [`undo()`] takes it back as long as no
//! broker has started; [`DemotionPlan`] makes topic files of the metadata of a broker that has stopped.
//!
//! Deliberately absent: topics for a cluster that runs. It takes no such records, and is given topics by its own tools.
//!
//! Source: `BootstrapDirectory.java`, `QuorumController.java`, `LogManager.scala`, and brokers of 3.3 to 4.4 that were started
//! on such log dirs.

mod apply;
mod bootstrap;
mod broker_config;
mod broker_file;
mod demote;
mod error;
mod identity;
mod options;
mod plan;
mod producer_ids;
mod root;
mod server_properties;
mod share_groups;
mod survey;
mod undo;

pub use apply::Promotion;
pub use broker_config::ConfigChange;
pub use demote::DemotionPlan;
pub use error::{PromoteError, Refusal, Result};
pub use options::{Address, Expiring, FirstStart, KafkaRelease, PromoteOptions, Quorum};
pub use plan::{PlannedPartition, PlannedTopic, PromotionPlan, Start};
pub use share_groups::{DELIVERY_COUNT_LIMIT, PlannedShareGroup};
pub use undo::undo;
