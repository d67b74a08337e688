//! What a partition has of one key.

use super::merge::{OnDamage, Source, Unseen};
use super::{Isolation, Result, tail};
use crate::logdir::Partition;
use crate::storage::{Bounds, LogReader, LogView, RecordReader};
use crate::stream::filter::Filter;
use crate::units::{Offset, Timestamp};
use std::collections::HashSet;

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;

/// Looks for one key in one partition, in the log as it is when this is made.
pub struct KeyLookup<'a> {
    partition: &'a Partition,
    view: LogView,
    end: Offset,
    /// Passes the records of the key.
    filter: Filter,
}

/// A record of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// The base offset of its segment.
    pub segment: Offset,
    /// The bytes of its value; `None` where it is a tombstone.
    pub value_size: Option<usize>,
    /// From when on a compaction removes it, if it is a tombstone that one has met.
    pub delete_horizon: Option<Timestamp>,
    /// Whether its transaction was aborted, or has not ended.
    pub is_uncommitted: bool,
}

impl<'a> KeyLookup<'a> {
    /// `filter` passes the records of the key.
    ///
    /// # Errors
    /// When the topic was deleted, the log is corrupt at its end, or the disk fails.
    pub fn new(partition: &'a Partition, filter: Filter) -> Result<Self> {
        let view = partition.view()?;
        let end = view.log_end_offset()?;
        Ok(Self { partition, view, end, filter })
    }

    /// The log that is looked into.
    #[must_use]
    pub fn view(&self) -> &LogView {
        &self.view
    }

    fn open(&self, from: Offset, to: Offset, isolation: Isolation) -> Result<Source> {
        let mut reader = LogReader::new(self.view.clone(), CHUNK);
        reader.seek(from);
        let records = match isolation {
            Isolation::ReadUncommitted => RecordReader::new(reader),
            Isolation::ReadCommitted => RecordReader::read_committed(reader)?,
        };
        Ok(Source {
            topic: self.partition.id().topic.clone(),
            topic_id: None,
            partition: self.partition.id().partition,
            records: records.within(Bounds { end: Some(to), ..Bounds::default() }),
            filter: self.filter.clone(),
            newest: None,
            on_damage: OnDamage::End,
            is_stopped: None,
        })
    }

    fn open_all(&self, isolation: Isolation) -> Result<Source> {
        self.open(self.view.log_start_offset(), self.end, isolation)
    }

    /// The newest record of the key, at the front of what is returned; `None` without one. One of a transaction that was
    /// aborted, or has not ended, is none. Reads backwards from the end, unless it is of a transaction. Where a compaction
    /// removes what was found before it is read, what supersedes it is looked for.
    ///
    /// # Errors
    /// When the disk fails, or the log is corrupt on the way.
    pub fn newest(&mut self) -> Result<Option<Source>> {
        let mut start = self.view.log_start_offset();
        loop {
            let (from, found) =
                tail::find(1, start, self.end, |from, to| self.open(from, to, Isolation::ReadUncommitted).map(Some))?;
            if found == 0 {
                // What supersedes one that was removed in the meantime has come in the meantime.
                let searched_to = self.end;
                self.look_again()?;
                if self.end == searched_to {
                    return Ok(None);
                }
                start = searched_to;
                continue;
            }
            if let Some(source) = Self::after(found, self.open(from, self.end, Isolation::ReadUncommitted)?)? {
                if !source.records.batch().is_some_and(|batch| batch.attributes.is_transactional()) {
                    return Ok(Some(source));
                }
                let committed = self.offsets(Isolation::ReadCommitted)?.len() as u64;
                if committed == 0 {
                    return Ok(None);
                }
                if let Some(source) = Self::after(committed, self.open_all(Isolation::ReadCommitted)?)? {
                    return Ok(Some(source));
                }
            }
            self.look_again()?;
            start = self.view.log_start_offset();
        }
    }

    fn look_again(&mut self) -> Result<()> {
        self.view = self.partition.view()?;
        self.end = self.view.log_end_offset()?;
        Ok(())
    }

    /// The source at its record of that number; `None` where it has fewer by now.
    fn after(count: u64, mut source: Source) -> Result<Option<Source>> {
        let mut unseen = Unseen::default();
        for _ in 0..count {
            if !source.advance(&mut unseen)? {
                return Ok(None);
            }
        }
        Ok(Some(source))
    }

    fn offsets(&self, isolation: Isolation) -> Result<HashSet<Offset>> {
        let (mut source, mut offsets, mut unseen) = (self.open_all(isolation)?, HashSet::new(), Unseen::default());
        while source.advance(&mut unseen)? {
            offsets.insert(source.records.offset());
        }
        Ok(offsets)
    }

    /// Every record of the key, oldest first.
    ///
    /// # Errors
    /// As [`KeyLookup::newest`].
    pub fn versions(&self) -> Result<Vec<Version>> {
        let mut source = self.open_all(Isolation::ReadUncommitted)?;
        let (mut versions, mut unseen, mut has_transactions) = (Vec::new(), Unseen::default(), false);
        while source.advance(&mut unseen)? {
            let (offset, timestamp) = (source.records.offset(), source.records.timestamp());
            let value_size = source.records.record().value.map(<[u8]>::len);
            let batch = source.records.batch();
            has_transactions |= batch.is_some_and(|batch| batch.attributes.is_transactional());
            let horizon = batch.filter(|batch| value_size.is_none() && batch.attributes.has_delete_horizon());
            versions.push(Version {
                offset,
                timestamp,
                segment: self.view.segment_of(offset).unwrap_or_default(),
                value_size,
                delete_horizon: horizon.map(|batch| batch.base_timestamp),
                is_uncommitted: false,
            });
        }
        if has_transactions {
            let committed = self.offsets(Isolation::ReadCommitted)?;
            versions.iter_mut().for_each(|version| version.is_uncommitted = !committed.contains(&version.offset));
        }
        Ok(versions)
    }
}
