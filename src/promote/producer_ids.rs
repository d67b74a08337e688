//! The producer ids that are taken: a broker that gives one of them out again refuses what its new owner writes.

use super::Result;
use crate::format::internal::{InternalTopic, Part};
use crate::logdir::{LogDirError, LogDirs};
use crate::storage::{Advance, RecordReader};

const CHUNK: usize = 256 << 10;

/// The largest id that belongs to a transactional id, whether it has written anything or not.
pub(super) fn largest_of_transactions(log_dirs: &LogDirs) -> Result<Option<i64>> {
    let name = InternalTopic::TransactionState.name().parse().expect("the name of a topic");
    let topic = match log_dirs.named(&name) {
        Err(LogDirError::TopicNotFound { .. }) => return Ok(None),
        found => found?,
    };
    let mut largest = None;
    for partition in log_dirs.partitions(&topic)? {
        let mut records = RecordReader::new(partition.reader(CHUNK)?);
        while records.advance()? == Advance::Record {
            let record = records.record();
            // A broker cannot read it either.
            if let Ok(Part::Value { data, .. }) = InternalTopic::TransactionState.decode(record.key, record.value).value
            {
                largest = largest.max(data.int("producerId"));
            }
        }
    }
    Ok(largest)
}
