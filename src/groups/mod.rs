//! Groups that share topics: what they have committed, kept as Kafka keeps it, and who of their members has what.
//!
//! A group is in one partition of `__consumer_offsets`, found by its id ([`GroupsTopic`]). That log is replayed
//! ([`CoordinatorLog`]) to what is known of each [`Group`], and written by [`Commits`]. [`TopicLogs`] sets what was committed
//! beside the topics, `reset` moves it, and [`GroupReaders`] are asked before what they have not read is deleted. Members that
//! run find each other by locks on a [`LockFile`], and share partitions by a rule that each goes by for itself ([`Membership`]):
//! nobody decides, and the kernel takes back what a dead one had.
//!
//! Source: Kafka's coordinator, `GroupCoordinatorService`, `GroupMetadataManager`, `OffsetMetadataManager`.

mod claims;
mod commits;
mod coordinator_log;
mod coordinator_writer;
mod error;
mod expiry;
mod group;
mod groups_topic;
mod lag;
mod lock_file;
mod membership;
mod reset;
mod share_group;
mod share_lag;
mod share_log;
mod share_reader;
mod share_state;
mod unread;

pub use claims::{Claimed, Claims};
pub use commits::{Commits, Forgotten, forget_topic};
pub use coordinator_log::{CoordinatorLog, PassedOver};
pub use error::{GroupError, Result};
pub use expiry::keep_from_expiring;
pub use group::{Assigned, Committed, Group, GroupKind, GroupState, RecordedMember, metadata_of};
pub use groups_topic::{FoundGroups, GroupsTopic};
pub use lag::{LagRow, RunningMember, TopicLogs};
pub use lock_file::{LockFile, Member};
pub use membership::{Assignment, Balance, FileSystems, Membership, join_workers};
pub use reset::{
    Excluded, Moved, ResetRow, ResetTo, apply_reset, apply_share_reset, exclude_members, plan_reset, plan_share_reset,
};
pub use share_group::{ShareStateTopic, begin_share_group, delete_share_group, forget_share_topics, share_key};
pub use share_lag::{ShareRow, TriedRecord};
pub use share_log::{ShareChange, ShareLog};
pub use share_reader::ShareReader;
pub use share_state::{Delivery, ShareState};
pub use unread::{CommittedOffsets, GroupReaders, WhichGroups};
