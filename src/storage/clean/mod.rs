//! What takes old records out of a log: [`retention`] whole segments from the front, a [`Compaction`] those records of which
//! a later one has the key.
//!
//! A compaction does what Kafka's log cleaner does to what its configuration says, in two passes:
//! 1. [`Cleanable`] says which segments, and whether they are due.
//! 2. `Survey` reads them and leaves a bit for each record that goes. Which are superseded is found by `KeyBuckets`, in
//!    memory that does not grow with the number of keys.
//! 3. `groups` says which neighbours become one segment.
//! 4. `BatchFilter` and `Output` rewrite each group, beside the log and without a lock.
//! 5. `swap` puts it in place under the guard, unless somebody else has changed a segment since.
//!
//! Where this differs from a broker, which goes by the same rules otherwise:
//! - A segment of which nothing goes, and which joins no neighbour, is not rewritten.
//! - A group ends with the last batch that it had, without records if need be: what a crash leaves between two steps of the
//!   swap is then known by its offsets to be replaced. A broker keeps the last batch of a round only.
//! - A round is never cut short because there are too many keys.
//! - Which transactions were aborted is asked of the markers, not of the transaction indexes.
//!
//! Source: `Cleaner.java`, `LogCleanerManager.java`, `CleanedTransactionMetadata.java` of Kafka 4.3.

mod batch_filter;
mod bits;
mod cleanable;
mod compaction;
mod ended;
mod groups;
mod key_buckets;
mod maintenance;
mod newest;
mod output;
mod pieces;
mod producers;
pub mod retention;
mod source;
mod survey;
mod swap;

pub use cleanable::{ActiveSegment, Cleanable, Due, Held};
pub use compaction::{Compaction, Group, Means, Ready};
pub use maintenance::Maintenance;
pub use newest::{NewestByKey, Superseded};
pub use source::Watch;
pub use survey::Counts;
pub use swap::Replaced;

pub(super) use maintenance::remove_leftovers;
