//! The position that `--cursor-file` keeps: after the records that the reader of stdout has processed.
//!
//! What was written to a pipe stands there until its reader takes it, and then in the reader's own buffer until it is used.
//! How much stands in the pipe can be asked. A reader that goes through its input in order takes more only when it has used
//! up what it had, so with [`READER_BUFFER_MAX`] more bytes taken, what came before is dealt with. When the pipe is empty and
//! its reader is there, everything counts as dealt with: what it still has in its buffer cannot be seen. For a reader that has
//! gone, only the rule about the buffer counts. On anything but a pipe, what was written is dealt with.

use crate::cli::Context;
use crate::cli::exit;
use crate::cli::ui;
use crate::logdir::{CursorFile, CursorPosition, LogDir, Partition};
use crate::stream::merge::Merge;
use crate::units::{Offset, TopicPartition};
use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Keeping a position syncs the log and the file, so it is not done more often than this while records flow.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// No reader that goes through its input in order has more than this in its buffer.
const READER_BUFFER_MAX: u64 = 128 << 10;
/// Changes within so many bytes of output are noted together, to be kept when the reader has dealt with all of those.
const NOTED_TOGETHER: u64 = 16 << 10;
/// No pipe and reader have more than this that is not dealt with, unless root has made the pipe larger: changes that lie
/// farther back are kept all at once.
const NOT_DEALT_WITH_MAX: u64 = 2 << 20;

type Positions = BTreeMap<TopicPartition, CursorPosition>;

/// The one who reads stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    There,
    Gone,
}

pub(super) struct Cursor<'a> {
    log_dir: &'a LogDir,
    path: PathBuf,
    file: CursorFile,
    /// As the file has them.
    positions: Positions,
    /// As they were noted last.
    latest: Positions,
    /// What has changed from the former to the latter.
    noted: Noted,
    kept: Option<Instant>,
}

impl<'a> Cursor<'a> {
    pub(super) fn open(log_dir: &'a LogDir, path: &Path) -> anyhow::Result<Self> {
        let file = log_dir.lock_cursor_file(path)?;
        let positions = log_dir.kept_positions(path)?.unwrap_or_default();
        let positions: Positions =
            positions.into_iter().map(|position| (position.partition.clone(), position)).collect();
        let (path, latest, noted) = (path.to_owned(), positions.clone(), Noted::default());
        Ok(Self { log_dir, path, file, positions, latest, noted, kept: None })
    }

    /// Where to go on in a partition.
    pub(super) fn position(&self, partition: &Partition, context: &Context) -> anyhow::Result<Option<Offset>> {
        let Some(kept) = self.positions.get(partition.id()) else { return Ok(None) };
        if kept.is_of(partition.incarnation()?) {
            return Ok(Some(kept.offset));
        }
        context.ui.warning(&format!(
            "ignoring the position of {} in {}: it belongs to a deleted topic of the same name",
            partition.id(),
            self.path.display()
        ));
        Ok(None)
    }

    /// Refuses a file that knows other topics, and none of these.
    pub(super) fn refuse_other_topics(&self, partitions: &[Partition]) -> anyhow::Result<()> {
        let is_read = |topic| partitions.iter().any(|partition| &partition.id().topic == topic);
        match self.positions.keys().find(|kept| !is_read(&kept.topic)) {
            Some(other) if !self.positions.keys().any(|kept| is_read(&kept.topic)) => Err(exit::usage(format!(
                "{} keeps positions of {}, and of no topic that is read here: name another --cursor-file, or remove this one \
                 to begin anew",
                self.path.display(),
                other.topic
            ))),
            _ => Ok(()),
        }
    }

    /// Whether it is time to keep the positions.
    pub(super) fn is_due(&self) -> bool {
        self.kept.is_none_or(|kept| kept.elapsed() >= KEEP_EVERY)
    }

    /// Whether positions wait to be kept.
    pub(super) fn is_behind(&self) -> bool {
        !self.noted.0.is_empty()
    }

    /// Notes where `merge` stands; all before it is among the `written` bytes. `shown_is_done` as in
    /// [`Merge::next_offsets`].
    pub(super) fn note(&mut self, merge: &Merge, shown_is_done: bool, written: u64) {
        let mut changed = Positions::new();
        for (source, offset) in merge.next_offsets(shown_is_done) {
            let partition = TopicPartition { topic: source.topic.clone(), partition: source.partition };
            let before = self.latest.get(&partition);
            if before.is_some_and(|before| (before.topic_id, before.offset) == (source.topic_id, offset)) {
                continue;
            }
            let position = CursorPosition { partition: partition.clone(), topic_id: source.topic_id, offset };
            self.latest.insert(partition.clone(), position.clone());
            changed.insert(partition, position);
        }
        // The file is there after every run, also where nothing has changed.
        let is_first = self.kept.is_none() && !self.is_behind();
        if is_first || !changed.is_empty() {
            self.noted.add(written, changed);
        }
    }

    /// Keeps what of the noted positions the reader of the `written` bytes has dealt with. Returns whether that is all.
    pub(super) fn keep(&mut self, written: u64, reader: Reader) -> anyhow::Result<bool> {
        let dealt_with = match ui::unread_in_stdout() {
            None => written,
            Some(0) if reader == Reader::There => written,
            Some(unread) => written.saturating_sub(unread).saturating_sub(READER_BUFFER_MAX),
        };
        if let Some(changed) = self.noted.take(dealt_with) {
            self.positions.extend(changed);
            self.file.keep(self.log_dir, self.positions.values().cloned().collect())?;
        }
        self.kept = Some(Instant::now());
        Ok(!self.is_behind())
    }
}

/// Changes of positions that wait for the reader, oldest first. There are never more of them than
/// [`NOT_DEALT_WITH_MAX`] / [`NOTED_TOGETHER`] and a few, whatever is written and however slow the reader is.
#[derive(Default)]
struct Noted(VecDeque<Changes>);

/// What has changed while stdout went on from so many bytes to so many.
struct Changes {
    from: u64,
    /// Everything before the positions is among so many bytes.
    to: u64,
    positions: Positions,
}

impl Noted {
    fn add(&mut self, written: u64, changed: Positions) {
        match self.0.back_mut() {
            Some(last) if written - last.from < NOTED_TOGETHER => {
                last.to = written;
                last.positions.extend(changed);
            }
            _ => self.0.push_back(Changes { from: written, to: written, positions: changed }),
        }
        while let [first, second, ..] = self.0.make_contiguous()
            && second.to + NOT_DEALT_WITH_MAX <= written
        {
            first.to = second.to;
            let mut later = mem::take(&mut second.positions);
            // The smaller map goes into the larger one, and the later positions count.
            if later.len() > first.positions.len() {
                mem::swap(&mut later, &mut first.positions);
                later.retain(|partition, _| !first.positions.contains_key(partition));
            }
            first.positions.extend(later);
            self.0.remove(1);
        }
    }

    /// Takes the changes that are all among the bytes that are dealt with; `None` where none are.
    fn take(&mut self, dealt_with: u64) -> Option<Positions> {
        let count = self.0.partition_point(|changes| changes.to <= dealt_with);
        self.0.drain(..count).map(|changes| changes.positions).reduce(|mut all, later| {
            all.extend(later);
            all
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The position of this partition.
    fn at(partition: i32, offset: u64) -> Positions {
        let partition = TopicPartition { topic: "t".parse().unwrap(), partition };
        let position = CursorPosition { partition: partition.clone(), topic_id: None, offset: Offset(offset as i64) };
        Positions::from([(partition, position)])
    }

    fn offsets(positions: Option<Positions>) -> Vec<(i32, i64)> {
        positions.into_iter().flatten().map(|(partition, it)| (partition.partition, it.offset.0)).collect()
    }

    #[test]
    fn changes_are_taken_when_all_output_before_them_is_dealt_with() {
        let mut noted = Noted::default();
        noted.add(100, at(0, 1));
        noted.add(100 + NOTED_TOGETHER - 1, at(0, 2));
        noted.add(100 + NOTED_TOGETHER, at(1, 7));
        noted.add(100 + 2 * NOTED_TOGETHER, at(0, 3));
        assert_eq!(noted.take(100 + NOTED_TOGETHER - 2), None, "the later of two that are noted together counts");
        assert_eq!(offsets(noted.take(100 + NOTED_TOGETHER)), [(0, 2), (1, 7)]);
        assert_eq!(noted.take(100 + NOTED_TOGETHER), None);
        assert_eq!(offsets(noted.take(u64::MAX)), [(0, 3)]);
    }

    #[test]
    fn few_changes_are_noted_however_much_is_written_before_they_are_kept() {
        for step in [1, 500, NOTED_TOGETHER, NOT_DEALT_WITH_MAX] {
            let mut noted = Noted::default();
            for number in 1..=10_000 {
                noted.add(number * step, at((number % 3) as i32, number));
                assert!(noted.0.len() as u64 <= NOT_DEALT_WITH_MAX / NOTED_TOGETHER + 2, "{}", noted.0.len());
            }
            // What is dealt with all the same is known to within so many bytes.
            let dealt_with = (10_000 * step).saturating_sub(NOT_DEALT_WITH_MAX);
            let last = offsets(noted.take(dealt_with)).into_iter().map(|(_, number)| number as u64).max();
            let earliest = (dealt_with / step).saturating_sub(NOTED_TOGETHER / step + 1);
            assert!((earliest..=dealt_with / step).contains(&last.unwrap_or(0)), "{step}: {last:?}");
            assert!(offsets(noted.take(10_000 * step)).contains(&(1, 10_000)), "{step}");
        }
    }

    #[test]
    fn of_changes_of_one_partition_the_later_one_counts_however_they_are_put_together() {
        let mut noted = Noted::default();
        let two = |offset| at(0, offset).into_iter().chain(at(1, offset)).collect();
        for (number, positions) in (1..).zip([at(0, 1), two(2), at(2, 3), at(1, 4)]) {
            noted.add(number * NOTED_TOGETHER, positions);
        }
        noted.add(NOT_DEALT_WITH_MAX + 4 * NOTED_TOGETHER, at(3, 9));
        assert_eq!(noted.0.len(), 2);
        assert_eq!(offsets(noted.take(4 * NOTED_TOGETHER)), [(0, 2), (1, 4), (2, 3)]);
    }
}
