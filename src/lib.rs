//! kdir: Kafka's log without the broker.
//!
//! One binary that creates topics, produces from stdin, consumes from any offset, describes partitions and applies
//! retention, straight on a directory laid out byte for byte as Apache Kafka lays out its own. This library serves that
//! binary and its tests, and promises no stable interface.
//!
//! # The house, floor by floor
//!
//! A module may use its own floor and lower ones; nothing uses `cli`.
//!
//! | floor | module | holds |
//! | --- | --- | --- |
//! | 7 | [`cli`] | the terminal: arguments, messages, tables, progress, exit codes; one file a command |
//! | 6 | [`archive`] | topics as one file and back: what `export` and `import` do |
//! | 6 | [`consume`] | topics as one stream of records: range, order, pace, following, what the reader has processed |
//! | 6 | [`promote`] | a log dir as a broker's: what it starts with, and what it leaves |
//! | 6 | [`work`] | topics as queues: a handler for each record, attempts, retries, dead letters |
//! | 5 | [`groups`] | what groups have committed and delivered, in Kafka's own topics for it, and who of their members runs |
//! | 5 | [`produce`] | from inputs to records on disk: cutting, placing, batching, compressing, storing, syncing |
//! | 4 | [`logdir`] | the whole directory: topics, checkpoint files, locks |
//! | 3 | [`storage`] | one partition: segments, indexes, appending, reading, recovery, retention, compaction, checking, mending |
//! | 2 | [`disk`] | the only door to the file system, and for tests a disk in memory (feature `faulty-disk`) |
//! | 2 | [`stream`] | records to and from bytes on a pipe; knows no partitions and no files |
//! | 1 | [`mod@format`] | Kafka's formats as pure functions over bytes |
//! | 0 | [`units`] | offsets, positions, sizes, times, names |
//!
//! # How a line becomes a record
//!
//! `cli::commands::produce` → [`produce::Producer`] cuts the input, places each record and encodes it straight into a batch →
//! [`produce::TopicWriter`] → [`logdir::Partition`] gives a [`storage::PartitionGuard`]: the folder
//! locked, its topic id checked, configuration and checkpoints as they are now → [`storage::LogWriter`] gives the batch its
//! offset and writes it with one call; [`produce`]'s syncer makes it durable on a thread of its own.
//!
//! And back: [`logdir::Partition`] gives a [`storage::LogView`] of the log at one moment → [`storage::LogReader`] finds the
//! place through the indexes and checks each batch →
//! [`storage::RecordReader`] decompresses and steps → [`consume::merge`] orders partitions by time →
//! [`stream::output`] writes to one large buffer → a [`consume::Consumer`] delivers it.
//!
//! # What must stay true
//!
//! - Exit status 0 means it is on disk. What was acknowledged survives; nothing torn is ever shown.
//! - An identity, not a name: what was decided on one topic or folder is never applied to another of its name. Only a
//!   guard changes a partition, through the folder that it holds.
//! - Acknowledged means synced by whoever wrote it: what a failed write-back may have left in the page cache alone is written
//!   again and read back before anybody vouches for it.
//! - Readers never write, never lock, and work beside writers and brokers.
//! - Bytes from a disk or a pipe never cause a panic, nor memory without bound: they are values or errors.
//! - Each operation that changes the disk says in its module which states a crash can leave.
//! - Names are Kafka's, spelled out, the same in code, help and JSON.
//!
//! # What is deliberately absent
//!
//! A network, a daemon, an async runtime, memory maps, lock files but those of groups, and any cache between two runs.

pub mod archive;
pub mod cli;
pub mod consume;
pub mod disk;
pub mod format;
pub mod groups;
pub mod logdir;
pub mod produce;
pub mod promote;
pub mod storage;
pub mod stream;
pub mod units;
pub mod work;
