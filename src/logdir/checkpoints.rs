//! The offset checkpoint files at the root: one row a partition, replaced whole under the root lock.
//!
//! A crash while one is written leaves the old file or the new; the temporary one is overwritten by the next writer.

use super::{LogDirError, Result};
use crate::disk::{Access, DiskFile, Folder, Stat, atomic};
use crate::format::FormatError;
use crate::format::checkpoint::{OffsetCheckpoint, OffsetCheckpointRow};
use crate::storage::Checkpoints;
use crate::units::{Offset, TopicName, TopicPartition};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A checkpoint file larger than this is no checkpoint file: room for some 200 000 partitions of the longest names.
const SIZE_MAX: usize = 64 << 20;

/// Which checkpoint file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CheckpointFile {
    RecoveryPoint,
    LogStart,
    HighWatermark,
    Cleaner,
}

impl CheckpointFile {
    pub(super) const ALL: [Self; 4] = [Self::RecoveryPoint, Self::LogStart, Self::HighWatermark, Self::Cleaner];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::RecoveryPoint => "recovery-point-offset-checkpoint",
            Self::LogStart => "log-start-offset-checkpoint",
            Self::HighWatermark => "replication-offset-checkpoint",
            Self::Cleaner => "cleaner-offset-checkpoint",
        }
    }
}

impl CheckpointFile {
    /// Whether only brokers write it, who do without where it is damaged.
    pub(super) const fn is_brokers(self) -> bool {
        matches!(self, Self::HighWatermark | Self::Cleaner)
    }
}

/// The rows of one file: topic, then partition, to offset.
#[derive(Debug, Clone, Default)]
pub(super) struct OffsetRows(BTreeMap<String, BTreeMap<i32, Offset>>);

impl OffsetRows {
    /// Reads a file; one that is missing has no rows.
    pub(super) fn read(root: &dyn Folder, file: CheckpointFile) -> Result<Self> {
        match atomic::read_small(root, file.name(), SIZE_MAX)? {
            Some(bytes) => Self::parse(root, file, &bytes),
            None => Ok(Self::default()),
        }
    }

    fn parse(root: &dyn Folder, file: CheckpointFile, bytes: &[u8]) -> Result<Self> {
        let path = root.path().join(file.name());
        let checkpoint = OffsetCheckpoint::parse(bytes).map_err(|error| {
            let what = error.to_string();
            match error {
                FormatError::Unsupported { .. } => LogDirError::NewerFile { path, what },
                _ => LogDirError::DamagedFile { path, what },
            }
        })?;
        Ok(Self::of(checkpoint))
    }

    fn of(checkpoint: OffsetCheckpoint) -> Self {
        let mut rows = Self::default();
        for row in checkpoint.rows {
            // Of two rows for one partition the first counts, as it does for a broker.
            rows.0.entry(row.topic).or_default().entry(row.partition).or_insert(row.offset);
        }
        rows
    }

    /// What a repair keeps of a file that is damaged: log start offsets, which are nowhere else.
    pub(super) fn salvage(root: &dyn Folder, file: CheckpointFile) -> Result<Self> {
        let bytes = match file {
            CheckpointFile::Cleaner => None,
            _ => atomic::read_small(root, file.name(), SIZE_MAX)?,
        };
        Ok(bytes.map(|bytes| Self::of(OffsetCheckpoint::salvage(&bytes))).unwrap_or_default())
    }

    /// The offset of a partition, if it has a row.
    pub(super) fn row(&self, partition: &TopicPartition) -> Option<Offset> {
        self.0.get(partition.topic.as_str())?.get(&partition.partition).copied()
    }

    /// The partitions that have a row.
    pub(super) fn partitions(&self) -> impl Iterator<Item = TopicPartition> {
        let of_topic = |(topic, rows): (&String, &BTreeMap<i32, Offset>)| {
            let topic = topic.parse::<TopicName>().ok();
            let partitions: Vec<i32> = rows.keys().copied().collect();
            topic.into_iter().flat_map(move |topic| {
                let of_topic = partitions.clone().into_iter();
                of_topic.map(move |partition| TopicPartition { topic: topic.clone(), partition })
            })
        };
        self.0.iter().flat_map(of_topic)
    }

    /// The offset of a partition; 0 without a row.
    pub(super) fn get(&self, partition: &TopicPartition) -> Offset {
        self.row(partition).unwrap_or_default()
    }

    /// Raises the offset of a partition, or gives it a row; `false` where it had one as high already.
    pub(super) fn raise(&mut self, partition: &TopicPartition, offset: Offset) -> bool {
        if self.row(partition).is_some_and(|row| row >= offset) {
            return false;
        }
        self.0.entry(partition.topic.as_str().to_owned()).or_default().insert(partition.partition, offset);
        true
    }

    /// Lowers the offset of a partition; `false` where it has no row, or one as low.
    pub(super) fn lower(&mut self, partition: &TopicPartition, offset: Offset) -> bool {
        match self.0.get_mut(partition.topic.as_str()).and_then(|rows| rows.get_mut(&partition.partition)) {
            Some(row) if *row > offset => {
                *row = offset;
                true
            }
            _ => false,
        }
    }

    /// Forgets a topic; `false` where it had no row.
    pub(super) fn remove_topic(&mut self, topic: &TopicName) -> bool {
        self.0.remove(topic.as_str()).is_some()
    }

    /// The topics that have a row above offset 0.
    pub(super) fn topics(&self) -> impl Iterator<Item = TopicName> {
        let names = self.0.iter().filter(|(_, rows)| rows.values().any(|&offset| offset > Offset::ZERO));
        names.filter_map(|(name, _)| name.parse().ok())
    }

    /// Replaces the file. The caller holds the root lock.
    pub(super) fn write(&self, root: &dyn Folder, file: CheckpointFile) -> Result<()> {
        Ok(atomic::replace(root, &format!("{}.tmp", file.name()), file.name(), self.print().as_bytes())?)
    }

    /// The text of a file with these rows.
    pub(super) fn print(&self) -> String {
        let row = |(topic, partition, offset): (&String, i32, Offset)| OffsetCheckpointRow {
            topic: topic.clone(),
            partition,
            offset,
        };
        let rows = self.0.iter().flat_map(|(topic, rows)| rows.iter().map(move |(&number, &at)| (topic, number, at)));
        OffsetCheckpoint { rows: rows.map(row).collect() }.print()
    }
}

/// The files that say where a log starts and what of it was acknowledged, read again where they have changed.
pub(super) struct CheckpointFiles {
    root: Arc<dyn Folder>,
    /// Those that may be damaged: what they say is then not known.
    dispensable: &'static [CheckpointFile],
    recovery_points: Mutex<Option<KeptFile>>,
    log_starts: Mutex<Option<KeptFile>>,
    high_watermarks: Mutex<Option<KeptFile>>,
}

/// A file as it was read. It stays open, so that no later one can have its inode.
struct KeptFile {
    open: Option<(Arc<dyn DiskFile>, Stat)>,
    rows: Arc<OffsetRows>,
    /// Why it has no rows although it is there and may have some, until that was reported.
    damage: Option<LogDirError>,
}

impl KeptFile {
    fn read(root: &dyn Folder, file: CheckpointFile, is_dispensable: bool) -> Result<Self> {
        let open = match root.open(file.name(), Access::Read) {
            Ok(open) => open,
            Err(error) if error.is_not_found() => return Ok(Self::without_rows(None, None)),
            Err(error) if is_dispensable && error.is_unreadable() => {
                return Ok(Self::without_rows(None, Some(error.into())));
            }
            Err(error) => return Err(error.into()),
        };
        let stat = open.stat()?;
        let bytes = atomic::read_file(&*open, &root.path().join(file.name()), SIZE_MAX)?;
        let open = Some((open, stat));
        match OffsetRows::parse(root, file, &bytes) {
            Err(damage @ (LogDirError::DamagedFile { .. } | LogDirError::NewerFile { .. })) if is_dispensable => {
                Ok(Self::without_rows(open, Some(damage)))
            }
            rows => Ok(Self { open, rows: Arc::new(rows?), damage: None }),
        }
    }

    fn without_rows(open: Option<(Arc<dyn DiskFile>, Stat)>, damage: Option<LogDirError>) -> Self {
        Self { open, rows: Arc::default(), damage }
    }

    fn is_current(&self, found: Option<Stat>) -> bool {
        match (&self.open, found) {
            (Some((_, known)), Some(found)) => (known.id, known.changed_ns) == (found.id, found.changed_ns),
            (None, None) => true,
            _ => false,
        }
    }
}

impl CheckpointFiles {
    /// For who reads. What was acknowledged is then no reason to refuse anything.
    pub(super) fn to_read(root: Arc<dyn Folder>) -> Self {
        Self::new(root, &[CheckpointFile::RecoveryPoint, CheckpointFile::HighWatermark])
    }

    /// For who writes. A high watermark that a power failure has taken is no reason to refuse all of the log dir.
    pub(super) fn to_write(root: Arc<dyn Folder>) -> Self {
        Self::new(root, &[CheckpointFile::HighWatermark])
    }

    /// For a repair, which goes on without each of them.
    pub(super) fn to_repair(root: Arc<dyn Folder>) -> Self {
        Self::new(root, &[CheckpointFile::RecoveryPoint, CheckpointFile::HighWatermark, CheckpointFile::LogStart])
    }

    fn new(root: Arc<dyn Folder>, dispensable: &'static [CheckpointFile]) -> Self {
        Self {
            root,
            dispensable,
            recovery_points: Mutex::default(),
            log_starts: Mutex::default(),
            high_watermarks: Mutex::default(),
        }
    }

    /// What is wrong with the files that may be damaged, each reported once.
    pub(super) fn take_damaged(&self) -> Result<Vec<LogDirError>> {
        let mut damaged = Vec::new();
        for &file in self.dispensable {
            self.rows_now(file)?;
            damaged.extend(self.kept(file).as_mut().and_then(|kept| kept.damage.take()));
        }
        Ok(damaged)
    }

    /// What is in force for a partition now.
    pub(super) fn now(&self, partition: &TopicPartition) -> Result<Checkpoints> {
        of_files(|file| Ok(self.rows_now(file)?.get(partition)))
    }

    /// What was in force when the files were read first, or since.
    pub(super) fn as_first_read(&self, partition: &TopicPartition) -> Result<Checkpoints> {
        let rows = |file| match &*self.kept(file) {
            Some(kept) => Ok(Arc::clone(&kept.rows)),
            None => Err(file),
        };
        of_files(|file| match rows(file) {
            Ok(rows) => Ok(rows.get(partition)),
            Err(file) => Ok(self.rows_now(file)?.get(partition)),
        })
    }

    /// Whether a partition has a row: it was made in full once, and its name is durable.
    pub(super) fn is_known(&self, partition: &TopicPartition) -> Result<bool> {
        Ok(self.rows_now(CheckpointFile::RecoveryPoint)?.row(partition).is_some())
    }

    fn kept(&self, file: CheckpointFile) -> std::sync::MutexGuard<'_, Option<KeptFile>> {
        let kept = match file {
            CheckpointFile::LogStart => &self.log_starts,
            CheckpointFile::HighWatermark => &self.high_watermarks,
            CheckpointFile::RecoveryPoint | CheckpointFile::Cleaner => &self.recovery_points,
        };
        kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rows_now(&self, file: CheckpointFile) -> Result<Arc<OffsetRows>> {
        let mut kept = self.kept(file);
        let found = self.root.stat(file.name())?;
        let kept = match kept.take() {
            Some(known) if known.is_current(found) => kept.insert(known),
            _ => kept.insert(KeptFile::read(&*self.root, file, self.dispensable.contains(&file))?),
        };
        Ok(Arc::clone(&kept.rows))
    }
}

/// What the files promise of a partition of which `get` has the offsets.
pub(super) fn of_files(mut get: impl FnMut(CheckpointFile) -> Result<Offset>) -> Result<Checkpoints> {
    let (recovery_point, log_start) = (get(CheckpointFile::RecoveryPoint)?, get(CheckpointFile::LogStart)?);
    let high_watermark = get(CheckpointFile::HighWatermark)?;
    Ok(Checkpoints::of_files(recovery_point, log_start).with_high_watermark(high_watermark))
}
