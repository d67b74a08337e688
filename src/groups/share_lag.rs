//! How far share groups are in the topics that they have a state of.

use super::Result;
use super::claims::Claimed;
use super::group::Group;
use super::lag::TopicLogs;
use super::lock_file::LockFile;
use super::share_group::share_key;
use super::share_reader::ShareReader;
use super::share_state::{Delivery, ShareState};
use crate::units::{GroupId, Offset, Timestamp, TopicName, TopicPartition};
use std::collections::BTreeMap;

/// How far a share group is in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareRow {
    /// The partition.
    pub partition: TopicPartition,
    /// Where its log begins; `None` where the partition is not here.
    pub log_start_offset: Option<Offset>,
    /// Where it ends.
    pub log_end_offset: Option<Offset>,
    /// The records that are being handled, by offset.
    pub claimed: Vec<Claimed>,
    /// How those work that run, in words of their own.
    pub notes: Vec<String>,
    /// `None` where it is not here.
    state: Option<ShareState>,
}

/// A record that a share group has tried, or that is being handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriedRecord {
    /// Its offset.
    pub offset: Offset,
    /// What became of it; `None` where nothing is written of it yet.
    pub delivery: Option<Delivery>,
    /// The claim on it.
    pub claimed: Option<Claimed>,
}

impl ShareRow {
    /// Below it all are done; `None` where a broker is yet to choose it.
    #[must_use]
    pub fn start_offset(&self) -> Option<Offset> {
        self.state.as_ref()?.start_offset()
    }

    /// The offset that counts from: the start offset, unless the log begins behind it.
    fn from(&self) -> Option<Offset> {
        Some(self.start_offset()?.max(self.log_start_offset?))
    }

    /// How many offsets are not done. Below 0 where the start offset is past the end of the log. Source:
    /// `GroupCoordinatorService.describeShareGroupOffsets`, which counts what was removed from the log as well.
    #[must_use]
    pub fn lag(&self) -> Option<i64> {
        Some(self.log_end_offset? - self.from()? - self.done_ahead() as i64)
    }

    /// How many offsets were removed before they were done.
    #[must_use]
    pub fn lost(&self) -> i64 {
        match (&self.state, self.start_offset(), self.log_start_offset) {
            (Some(state), Some(start), Some(log_start)) => state.unfinished_in(&(start..log_start)) as i64,
            _ => 0,
        }
    }

    /// How many are done past the start offset.
    #[must_use]
    pub fn done_ahead(&self) -> u64 {
        match (&self.state, self.from()) {
            (Some(state), Some(from)) => state.complete_in(&(from..Offset(i64::MAX))),
            _ => 0,
        }
    }

    /// How many have failed, are to be tried again, and are not being handled.
    #[must_use]
    pub fn retrying(&self) -> u64 {
        self.tried(1)
    }

    /// How many were tried so often or more, are to be tried again, and are not being handled.
    #[must_use]
    pub fn tried(&self, at_least: i16) -> u64 {
        let (Some(state), Some(from)) = (&self.state, self.from()) else { return 0 };
        let mut count = 0;
        for (batch, _) in state.batches().filter(|(it, _)| !it.state.is_terminal() && it.count >= at_least) {
            let (first, end) = (batch.first.max(from), batch.last.next());
            let claimed = self.claimed.iter().filter(|it| first <= it.offset && it.offset < end).count() as u64;
            count += u64::try_from(end - first).unwrap_or(0).saturating_sub(claimed);
        }
        count
    }

    /// The records that were tried or are being handled, by offset.
    pub fn records(&self) -> impl Iterator<Item = TriedRecord> {
        let from = self.from().unwrap_or_default();
        let claimed: BTreeMap<Offset, &Claimed> =
            self.claimed.iter().map(|claimed| (claimed.offset, claimed)).collect();
        let batches = self.state.iter().flat_map(ShareState::batches);
        let tried = batches.flat_map(move |(batch, _)| (batch.first.max(from).0..=batch.last.0).map(Offset));
        let only_claimed: Vec<Offset> = claimed
            .keys()
            .copied()
            .filter(|offset| *offset < from || self.state.as_ref().is_none_or(|it| it.delivery(*offset).is_none()))
            .collect();
        let mut only_claimed = only_claimed.into_iter().peekable();
        let mut tried = tried.peekable();
        std::iter::from_fn(move || {
            let offset = match (tried.peek(), only_claimed.peek()) {
                (Some(one), Some(other)) if other < one => only_claimed.next()?,
                (None, _) => only_claimed.next()?,
                _ => tried.next()?,
            };
            let delivery = self.state.as_ref().and_then(|state| state.delivery(offset));
            Some(TriedRecord { offset, delivery, claimed: claimed.get(&offset).map(|it| (*it).clone()) })
        })
    }
}

impl TopicLogs<'_> {
    /// How far a share group is, in the partitions that it has a state of. Those of a topic that another one of its name has
    /// taken the place of are none.
    ///
    /// # Errors
    /// When a topic or a state cannot be read.
    pub fn share_rows(&mut self, id: &GroupId, group: &Group) -> Result<Vec<ShareRow>> {
        let mut rows = Vec::new();
        for (topic_id, (name, partitions)) in &group.share.initialized {
            let Ok(topic) = name.parse::<TopicName>() else { continue };
            let file = self.lock_file(id, &topic)?;
            let members = file.as_ref().map_or(Ok(Vec::new()), LockFile::members)?;
            let notes: Vec<String> = members.into_iter().map(|member| member.note).collect();
            for &number in partitions {
                let partition = TopicPartition { topic: topic.clone(), partition: number };
                let log = self.log(&partition)?;
                if log.is_some_and(|log| log.topic_id.is_some_and(|it| it != *topic_id)) {
                    continue;
                }
                let state = self.shares()?.state(&share_key(id, *topic_id, number))?.cloned();
                rows.push(ShareRow {
                    partition,
                    log_start_offset: log.map(|log| log.start),
                    log_end_offset: log.map(|log| log.end),
                    claimed: file.as_ref().map_or(Ok(Vec::new()), |file| file.claimed(number))?,
                    notes: notes.clone(),
                    state,
                });
            }
        }
        rows.sort_by(|one, other| one.partition.cmp(&other.partition));
        Ok(rows)
    }

    /// The timestamp of the first record that a share group is not done with; `None` where there is none, or it has no time.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn oldest_timestamp(&mut self, row: &ShareRow) -> Result<Option<Timestamp>> {
        let (Some(state), Some(from)) = (&row.state, row.from()) else { return Ok(None) };
        self.timestamp_from(&row.partition, state.next_unfinished(from), |offset| !state.is_terminal(offset))
    }

    /// When something was written last of a share group.
    ///
    /// # Errors
    /// When a state cannot be read.
    pub fn share_written_at(&mut self, id: &GroupId, group: &Group) -> Result<Option<Timestamp>> {
        self.shares()?.written_at((id, group))
    }

    fn shares(&mut self) -> Result<&mut ShareReader> {
        let found = match self.shares.take() {
            Some(shares) => shares,
            None => ShareReader::find(self.log_dirs)?,
        };
        Ok(self.shares.insert(found))
    }
}
