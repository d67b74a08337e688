//! One compaction of a partition: planned without a lock, written without one, put in place under the guard.

use super::batch_filter::{BatchFilter, Becomes};
use super::cleanable::Cleanable;
use super::groups;
use super::output::{Output, Written};
use super::source::{Source, Watch};
use super::survey::{Counts, Survey, Surveyed};
use super::swap::{Replaced, swap};
use crate::disk::{self, DiskFile, Folder};
use crate::format::header::{BATCH_HEADER_SIZE, BatchHeader};
use crate::storage::{LogConfig, LogView, PartitionGuard, Result, at_place};
use crate::units::{Offset, Timestamp};
use std::ops::Range;
use std::sync::Arc;

/// What a compaction may use.
pub struct Means<'a> {
    /// Bytes of memory for keys.
    pub memory: u64,
    /// Opens a file for those that memory has no room for.
    pub open_scratch: &'a mut dyn FnMut() -> disk::Result<Arc<dyn DiskFile>>,
    /// A group of segments that gives back less than so many percent of its bytes is left.
    pub min_gain_percent: u8,
}

/// A group of segments that becomes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The places of its segments.
    places: Range<usize>,
    /// Bytes of its logs.
    pub bytes: u64,
    /// About how many of them stay.
    pub bytes_after: u64,
    /// Whether it is rewritten, or left.
    pub is_written: bool,
}

impl Group {
    /// Whether it is left although something in it should go. What is in later groups may then be needed: a tombstone is, as
    /// long as there are older records of its key.
    #[must_use]
    pub const fn is_left(&self) -> bool {
        !self.is_written && self.bytes_after < self.bytes
    }

    /// How many segments it has.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.places.len()
    }
}

/// What is to be done to a partition.
pub struct Compaction {
    /// The part of the log that it is about.
    pub cleanable: Cleanable,
    /// What becomes one segment each.
    pub groups: Vec<Group>,
    survey: Survey,
    config: LogConfig,
    now: Timestamp,
    decompressed_size_max: usize,
}

/// The files of a segment that is about to be written.
pub struct Begun(Output);

/// A segment that waits to be put in place.
#[derive(Debug, Clone, Copy)]
pub struct Ready(Written);

impl Ready {
    /// Bytes of its log.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0.size
    }
}

impl Compaction {
    /// Reads what can be compacted, and finds out what goes.
    ///
    /// # Errors
    /// When the disk fails, the log is corrupt, or somebody else changes it.
    pub fn plan(
        view: &LogView,
        mut cleanable: Cleanable,
        config: &LogConfig,
        now: Timestamp,
        means: &mut Means<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<Option<Self>> {
        let Some(folder) = view.opened_folder()? else { return Ok(None) };
        let use_of_memory = (means.memory, &mut *means.open_scratch);
        let mut survey = Survey::take(view, &*folder, &mut cleanable, (config, now), use_of_memory, watch)?;
        let (mut groups, mut is_after_one_left) = (Vec::new(), false);
        for places in groups::group(&survey.segments, config) {
            if is_after_one_left {
                let segments = &survey.segments[places.clone()];
                let numbers =
                    segments.first().map_or(0, |it| it.numbers.start)..segments.last().map_or(0, |it| it.numbers.end);
                survey.keep_tombstones(numbers);
            }
            let group = group_of(&survey, places, means.min_gain_percent);
            is_after_one_left |= group.is_left();
            groups.push(group);
        }
        let (config, decompressed_size_max) = (config.clone(), view.decompressed_size_max());
        Ok(Some(Self { cleanable, groups, survey, config, now, decompressed_size_max }))
    }

    /// What goes from a group where it is written; else only how many records it has.
    #[must_use]
    pub fn counts(&self, group: &Group) -> Counts {
        let counts = self.survey.counts(self.segments(group));
        if group.is_written { counts } else { Counts { records: counts.records, ..Counts::default() } }
    }

    /// When the first of the tombstones goes that still stay.
    #[must_use]
    pub fn tombstones_until(&self) -> Option<Timestamp> {
        self.survey.tombstones_until
    }

    /// Bytes that memory had no room for.
    #[must_use]
    pub fn scratch_size(&self) -> u64 {
        self.survey.scratch_size
    }

    /// The base offset of a group's first segment.
    #[must_use]
    pub fn first_offset(&self, group: &Group) -> Offset {
        self.segments(group)[0].source.segment.base_offset
    }

    fn segments(&self, group: &Group) -> &[Surveyed] {
        &self.survey.segments[group.places.clone()]
    }

    /// Makes the files of a group's new segment. A crash leaves them, and the next writer removes them.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn begin(&self, group: &Group, guard: &PartitionGuard) -> Result<Begun> {
        let segments = self.segments(group);
        let (first, last) = (&segments[0].source, &segments[segments.len() - 1].source);
        let has_aborted = !self.survey.aborted.is_empty_in(first.segment.base_offset..last.end);
        let base = first.segment.base_offset;
        Ok(Begun(Output::create(guard, base, self.config.index_interval_bytes, has_aborted)?))
    }

    /// Writes a group's new segment, and makes it durable.
    ///
    /// # Errors
    /// When the disk fails, the log is corrupt, or somebody else changes it.
    pub fn write(
        &self,
        group: &Group,
        folder: &dyn Folder,
        Begun(mut output): Begun,
        watch: &mut Watch<'_>,
    ) -> Result<Ready> {
        let segments = self.segments(group);
        let times = (self.now, self.config.delete_retention_ms);
        let mut filter = BatchFilter::new(&self.survey, times, self.decompressed_size_max, segments);
        for segment in segments {
            filter.begin(segment);
            segment.source.each_batch(folder, watch, &mut |header, batch, (path, position)| {
                let at_batch = |error| at_place(error, path, position, header.base_offset);
                match filter.filter(header, batch).map_err(at_batch)? {
                    Becomes::Itself => output.add(header, batch),
                    Becomes::Bytes(bytes) => {
                        let made = BatchHeader::parse(bytes).expect("a batch that was built here has a header");
                        output.add(&made, bytes)
                    }
                    Becomes::Nothing => Ok(()),
                }
            })?;
        }
        let modified = segments[segments.len() - 1].source.segment.modified;
        Ok(Ready(output.finish(&filter.aborted, modified)?))
    }

    /// Puts a group's new segment in the place of the old ones; `None` where somebody else has changed one of them, or a
    /// later one, since: then they stay, and the new files go when the [`Maintenance`](super::Maintenance) ends.
    ///
    /// # Errors
    /// When the disk fails. The old state holds, or the new one.
    pub fn put_in_place(&self, group: &Group, guard: &PartitionGuard, ready: Ready) -> Result<Option<Replaced>> {
        // Later ones hold what supersedes the records that go.
        for segment in &self.survey.segments[group.places.start..] {
            if !segment.source.is_there(&**guard.folder())? {
                return Ok(None);
            }
        }
        let sources: Vec<Source> = self.segments(group).iter().map(|segment| segment.source).collect();
        swap(guard, &sources, ready.0).map(Some)
    }

    /// Where the next compaction begins: everything below was gone through.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.cleanable.limit
    }
}

fn group_of(survey: &Survey, places: Range<usize>, min_gain_percent: u8) -> Group {
    let segments = &survey.segments[places.clone()];
    let bytes: u64 = segments.iter().map(|segment| segment.source.segment.size).sum();
    let stays = |segment: &Surveyed| {
        let records = segment.numbers.end - segment.numbers.start;
        let going = survey.going.count(segment.numbers.clone());
        match records {
            0 => segment.source.segment.size,
            records => {
                (u128::from(segment.source.segment.size) * u128::from(records - going) / u128::from(records)) as u64
            }
        }
    };
    // It ends with a batch, if only one without records.
    let bytes_after = segments.iter().map(stays).sum::<u64>().max(bytes.min(BATCH_HEADER_SIZE as u64));
    let is_changed = segments.len() > 1 || segments.iter().any(|segment| survey.changes(segment));
    let gives_back = (bytes - bytes_after) * 100 >= bytes * u64::from(min_gain_percent);
    Group { places, bytes, bytes_after, is_written: is_changed && gives_back }
}
