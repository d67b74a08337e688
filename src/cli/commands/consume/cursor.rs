//! The position that `--cursor-file` keeps.

use crate::cli::exit;
use crate::logdir::LogDir;
use crate::stream::merge::Merge;
use crate::units::{Offset, TopicPartition};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Keeping a position syncs the log and the file, so it is not done more often than this while records flow.
const KEEP_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Cursor<'a> {
    log_dir: &'a LogDir,
    file: PathBuf,
    positions: BTreeMap<TopicPartition, Offset>,
    kept: Option<Instant>,
}

impl<'a> Cursor<'a> {
    pub(super) fn open(log_dir: &'a LogDir, file: &Path) -> anyhow::Result<Self> {
        let positions = log_dir.kept_positions(file)?.unwrap_or_default().into_iter().collect();
        Ok(Self { log_dir, file: file.to_owned(), positions, kept: None })
    }

    /// Where to go on in a partition.
    pub(super) fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.positions.get(partition).copied()
    }

    /// Refuses a file that knows other topics, and none of these.
    pub(super) fn refuse_other_topics(&self, partitions: &[TopicPartition]) -> anyhow::Result<()> {
        let is_read = |topic| partitions.iter().any(|partition| &partition.topic == topic);
        match self.positions.keys().find(|kept| !is_read(&kept.topic)) {
            Some(other) if !self.positions.keys().any(|kept| is_read(&kept.topic)) => Err(exit::usage(format!(
                "{} keeps positions of {}, and of no topic that is read here: name another --cursor-file, or remove this one \
                 to begin anew",
                self.file.display(),
                other.topic
            ))),
            _ => Ok(()),
        }
    }

    /// Whether it is time to keep the positions.
    pub(super) fn is_due(&self) -> bool {
        self.kept.is_none_or(|kept| kept.elapsed() >= KEEP_EVERY)
    }

    /// Keeps where `merge` stands; all before it is on stdout. `shown_is_done` as in [`Merge::next_offsets`].
    pub(super) fn keep(&mut self, merge: &Merge, shown_is_done: bool) -> anyhow::Result<()> {
        let mut changed = self.kept.is_none();
        for (source, next) in merge.next_offsets(shown_is_done) {
            let partition = TopicPartition { topic: source.topic.clone(), partition: source.partition };
            changed |= self.positions.insert(partition, next) != Some(next);
        }
        if changed {
            let positions: Vec<_> = self.positions.iter().map(|(it, offset)| (it.clone(), *offset)).collect();
            self.log_dir.keep_positions(&self.file, &positions)?;
        }
        self.kept = Some(Instant::now());
        Ok(())
    }
}
