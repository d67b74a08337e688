//! The position that `--cursor-file` keeps: after the records that the reader of stdout has processed.

use crate::cli::Context;
use crate::cli::exit;
use crate::logdir::{CursorFile, CursorPosition, LogDirs, Partition};
use crate::stream::merge::{Merge, Source};
use crate::units::{Offset, TopicPartition};
use std::collections::BTreeMap;
use std::mem;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Keeping a position syncs the log and the file, so it is not done more often than this while records flow.
const KEEP_EVERY: Duration = Duration::from_secs(1);
type Positions = BTreeMap<TopicPartition, CursorPosition>;

pub(super) struct Cursor<'a> {
    log_dirs: &'a LogDirs,
    path: PathBuf,
    file: CursorFile,
    /// After what the reader has processed.
    processed: Positions,
    /// What is different of them after the chunks of output before the last one, and after the last.
    before_last: Positions,
    last: Positions,
    /// Whether the file is to be written again.
    has_changed: bool,
    kept: Option<Instant>,
}

impl<'a> Cursor<'a> {
    pub(super) fn open(log_dirs: &'a LogDirs, path: &Path) -> anyhow::Result<Self> {
        let file = log_dirs.first().lock_cursor_file(path)?;
        let positions = log_dirs.first().kept_positions(path)?.unwrap_or_default();
        let positions: Positions =
            positions.into_iter().map(|position| (position.partition.clone(), position)).collect();
        Ok(Self {
            log_dirs,
            path: path.to_owned(),
            file,
            processed: positions,
            before_last: Positions::new(),
            last: Positions::new(),
            // The file is there after every run, also where nothing was printed.
            has_changed: true,
            kept: None,
        })
    }

    /// Where to go on in a partition.
    pub(super) fn position(&self, partition: &Partition, context: &Context) -> anyhow::Result<Option<Offset>> {
        let Some(kept) = self.processed.get(partition.id()) else { return Ok(None) };
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
        match self.processed.keys().find(|kept| !is_read(&kept.topic)) {
            Some(other) if !self.processed.keys().any(|kept| is_read(&kept.topic)) => Err(exit::usage(format!(
                "{} keeps positions of {}, and of no topic that is read here: name another --cursor-file, or remove this one \
                 to start again",
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

    /// Whether positions may have to be kept although nothing more is printed.
    pub(super) fn is_behind(&self) -> bool {
        self.has_changed || !self.before_last.is_empty()
    }

    /// One more chunk of output has been written.
    pub(super) fn begin_chunk(&mut self) {
        self.before_last.append(&mut self.last);
    }

    /// Notes where `merge` is: all before it has been written, but for the record that `left` names as [`Merge::shown_at`]
    /// does. `shown_is_done` as in [`Merge::next_offsets`].
    pub(super) fn note(&mut self, merge: &Merge, shown_is_done: bool, left: Option<(usize, Offset)>) {
        for (place, (source, next)) in merge.next_offsets(shown_is_done).enumerate() {
            let offset = left.filter(|(it, _)| *it == place).map_or(next, |(_, offset)| offset);
            let position = position_in(source, offset);
            let noted = [&self.last, &self.before_last, &self.processed];
            let before = noted.into_iter().find_map(|positions| positions.get(&position.partition));
            if before != Some(&position) {
                self.last.insert(position.partition.clone(), position);
            }
        }
    }

    /// Notes where `merge` begins in partitions that nothing was kept of, before it shows any of their records.
    pub(super) fn note_starts(&mut self, merge: &Merge) {
        for (source, offset) in merge.next_offsets(false) {
            let position = position_in(source, offset);
            let kept = self.processed.get(&position.partition);
            if kept.is_none_or(|kept| !kept.is_of(position.topic_id)) {
                self.processed.insert(position.partition.clone(), position);
                self.has_changed = true;
            }
        }
    }

    /// The reader has processed all that was written before the last chunk.
    pub(super) fn process_before_last(&mut self) {
        self.has_changed |= !self.before_last.is_empty();
        self.processed.append(&mut self.before_last);
    }

    /// The reader has processed all that was written.
    pub(super) fn process_all(&mut self) {
        self.begin_chunk();
        self.process_before_last();
    }

    /// Keeps the positions after what the reader has processed.
    pub(super) fn keep(&mut self) -> anyhow::Result<()> {
        if mem::take(&mut self.has_changed) {
            self.file.keep(self.log_dirs, self.processed.values().cloned().collect())?;
        }
        self.kept = Some(Instant::now());
        Ok(())
    }
}

fn position_in(source: &Source, offset: Offset) -> CursorPosition {
    let partition = TopicPartition { topic: source.topic.clone(), partition: source.partition };
    CursorPosition { partition, topic_id: source.topic_id, offset }
}
