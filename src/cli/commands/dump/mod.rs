mod decode;
mod log;

use crate::cli::Context;
use crate::cli::exit::{Exit, Failures, usage};
use crate::cli::report::{Cell, Column, Report, ReportArgs, ReportFormat, number, text};
use crate::cli::ui::OutputError;
use crate::disk::{Access, Disk, atomic};
use crate::format::checkpoint::{LeaderEpochCheckpoint, OffsetCheckpoint};
use crate::format::properties::{PartitionMetadata, topic_id_to_text};
use crate::format::{FormatError, snapshot, txn};
use crate::storage::dump::{read_offset_index, read_time_index};
use crate::storage::file_name::{
    CLEANED_SUFFIX, DAMAGED_SUFFIX, DELETED_SUFFIX, FileKind, SWAP_SUFFIX, parse_cut_name, parse_segment_name,
};
use crate::units::{Offset, Position};
use decode::Decode;
use std::path::{Path, PathBuf};

/// Show what is inside the files of a log dir
///
/// A .log, a cut-* file or a snapshot of Kafka's metadata (*.checkpoint) is shown batch by batch or, with --records, record
/// by record; any other file entry by entry. The name of a file says its kind. Damage is named on stderr, with exit
/// code 4, and what follows it is shown as well; a small file is shown whole or not at all.
///
/// Columns of a .log in JSON and TSV: file, position, magic, base_offset, last_offset, records, bytes, codec, timestamp_type,
/// base_timestamp, max_timestamp, leader_epoch, producer_id, producer_epoch, base_sequence, flags, control_type, checksum
///
/// With --records, each line has: file, position (of the batch), control_type and checksum (WRONG) where they apply, offset,
/// timestamp, timestamp_type, key, value, headers. Bytes that are not UTF-8 are base64 in key_b64 and value_b64.
///
/// Records of __consumer_offsets, __share_group_state, __transaction_state and __cluster_metadata are decoded, with the
/// fields that kafka-dump-log prints: a key is {"type", "data"}, a value {"version", "data"} or, of the metadata log,
/// {"type", "version", "data"}; key and value of a control batch are their fields alone. The name of the file's folder says
/// the topic; of a file that was copied elsewhere, --decode says it. What cannot be decoded, such as a version that Kafka
/// 4.4 does not have, is base64 in key_b64 and value_b64, with the reason in key_error and value_error.
///
/// Limits: checkpoint files and .snapshot of up to 64 MiB, keys and values of up to 4 MiB decoded, and 100 places of
/// damage named in a file.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  kdir dump ~/.local/share/kdir/app-0/00000000000000000000.log")]
pub(crate) struct DumpArgs {
    /// The files
    #[arg(required = true)]
    file: Vec<PathBuf>,
    /// Show the records, as JSON lines
    #[arg(long)]
    records: bool,
    /// With --records, show those of batches whose checksum is wrong as well
    #[arg(long, requires = "records")]
    ignore_checksum: bool,
    /// With --records, decode them as those of this internal topic [default: the one that the file's folder is named for]
    #[arg(long, value_name = "TOPIC", requires = "records")]
    decode: Option<Decode>,
    #[command(flatten)]
    report: ReportArgs,
}

/// A small file larger than this is none.
const SMALL_MAX: usize = 64 << 20;

pub(crate) fn run(args: &DumpArgs, context: &mut Context) -> anyhow::Result<Exit> {
    if args.records && args.report.output == ReportFormat::Tsv {
        return Err(usage("--records writes JSON lines, and no TSV"));
    }
    let kinds = args.file.iter().map(|path| Kind::of(path, args, context)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut failures = Failures::new(context.ui);
    for (place, (path, kind)) in args.file.iter().zip(kinds).enumerate() {
        if args.file.len() > 1 && args.report.output == ReportFormat::Table && !args.records {
            let gap = if place == 0 { "" } else { "\n" };
            context.ui.data(format!("{gap}{}\n", path.display()).as_bytes())?;
        }
        let dump = Dump { path, file: path.display().to_string(), args, context };
        match dump.of(kind, &mut failures) {
            Err(error) if error.is::<OutputError>() => return Err(error),
            Err(error) => failures.tell(error),
            Ok(()) => {}
        }
    }
    Ok(failures.exit())
}

/// What a file is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Log(Offset),
    OffsetIndex(Offset),
    TimeIndex(Offset),
    TransactionIndex,
    Snapshot,
    LeaderEpochs,
    OffsetCheckpoint,
    PartitionMetadata,
    Properties,
    QuorumState,
}

impl Kind {
    fn of(path: &Path, args: &DumpArgs, context: &Context) -> anyhow::Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match context.disk.stat(path)? {
            Some(stat) if stat.is_folder => {
                let files = path.join("*.log");
                return Err(usage(format!("{} is a folder: name files in it, as {}", path.display(), files.display())));
            }
            Some(stat) if !stat.is_file => return Err(usage(format!("{} is not a regular file", path.display()))),
            None if Self::of_name(&name).is_none() => anyhow::bail!("{} does not exist", path.display()),
            Some(_) | None => {}
        }
        let kind = Self::of_name(&name).ok_or_else(|| {
            usage(format!(
                "{} is not a file that dump knows: expected a .log, .index, .timeindex, .txnindex or .snapshot named by its \
                 base offset in 20 digits, a cut-* file, a checkpoint file, partition.metadata, meta.properties or \
                 quorum-state",
                path.display()
            ))
        })?;
        match kind {
            Self::Log(_) => Ok(kind),
            _ if args.records => Err(usage(format!("--records: there are no records in {}", path.display()))),
            _ => Ok(kind),
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        // A file that was set aside keeps its kind.
        let name = name.split_once(DAMAGED_SUFFIX).map_or(name, |(name, _)| name);
        let suffixes = [DELETED_SUFFIX, CLEANED_SUFFIX, SWAP_SUFFIX];
        let name = suffixes.iter().fold(name, |name, suffix| name.strip_suffix(suffix).unwrap_or(name));
        if let Some((base, kind)) = parse_segment_name(name) {
            return Some(match kind {
                FileKind::Log => Self::Log(base),
                FileKind::OffsetIndex => Self::OffsetIndex(base),
                FileKind::TimeIndex => Self::TimeIndex(base),
                FileKind::TransactionIndex => Self::TransactionIndex,
                FileKind::Snapshot => Self::Snapshot,
            });
        }
        Some(match name {
            "leader-epoch-checkpoint" => Self::LeaderEpochs,
            "partition.metadata" => Self::PartitionMetadata,
            "meta.properties" => Self::Properties,
            "quorum-state" => Self::QuorumState,
            _ if name.ends_with("-offset-checkpoint") => Self::OffsetCheckpoint,
            // A snapshot of Kafka's metadata has the batches of a log, from offset 0 on.
            _ if name.ends_with(".checkpoint") => Self::Log(Offset::ZERO),
            _ => Self::Log(parse_cut_name(name)?),
        })
    }
}

struct Dump<'a> {
    path: &'a Path,
    file: String,
    args: &'a DumpArgs,
    context: &'a Context,
}

impl Dump<'_> {
    fn of(&self, kind: Kind, failures: &mut Failures) -> anyhow::Result<()> {
        match kind {
            Kind::Log(base) if self.args.records => self.records(base, failures),
            Kind::Log(base) => self.batches(base, failures),
            Kind::OffsetIndex(base) => self.offset_index(base),
            Kind::TimeIndex(base) => self.time_index(base),
            Kind::TransactionIndex => self.transaction_index(),
            Kind::Snapshot => self.snapshot(),
            Kind::LeaderEpochs => self.leader_epochs(),
            Kind::OffsetCheckpoint => self.offset_checkpoint(),
            Kind::PartitionMetadata => self.partition_metadata(),
            Kind::Properties => self.properties(),
            Kind::QuorumState => self.quorum_state(),
        }
    }

    fn report<'b>(&'b self, columns: &'b [Column]) -> Report<'b> {
        Report::new(self.context.ui, self.args.report.output, &self.context.zone, columns)
    }

    fn disk(&self) -> &dyn Disk {
        &*self.context.disk
    }

    fn small(&self) -> anyhow::Result<Vec<u8>> {
        let file = self.disk().open(self.path, Access::Read)?;
        Ok(atomic::read_file(&*file, self.path, SMALL_MAX)?)
    }

    fn decoded<T>(&self, decoded: Result<T, FormatError>) -> anyhow::Result<T> {
        let (path, position, offset) = (self.path.to_owned(), Position::ZERO, Offset::ZERO);
        decoded.map_err(|error| crate::storage::at_place(error, &path, position, offset).into())
    }

    fn offset_index(&self, base_offset: Offset) -> anyhow::Result<()> {
        let columns = [text("file", ""), number("offset", "OFFSET"), number("position", "POSITION")];
        let mut report = self.report(&columns);
        read_offset_index(self.disk(), self.path, |entry| {
            let offset = entry.relative_offset.absolute(base_offset);
            report.row(vec![Cell::text(&self.file), Cell::Number(offset.0), Cell::Number(entry.position.0 as i64)])
        })??;
        Ok(report.finish()?)
    }

    fn time_index(&self, base_offset: Offset) -> anyhow::Result<()> {
        let columns = [text("file", ""), text("timestamp", "TIMESTAMP"), number("offset", "OFFSET")];
        let mut report = self.report(&columns);
        read_time_index(self.disk(), self.path, |entry| {
            let offset = entry.relative_offset.absolute(base_offset);
            report.row(vec![Cell::text(&self.file), Cell::Time(entry.timestamp), Cell::Number(offset.0)])
        })??;
        Ok(report.finish()?)
    }

    fn transaction_index(&self) -> anyhow::Result<()> {
        let columns = [
            text("file", ""),
            number("producer_id", "PRODUCER"),
            number("first_offset", "FIRST OFFSET"),
            number("last_offset", "LAST OFFSET"),
            number("last_stable_offset", "LAST STABLE OFFSET"),
        ];
        let bytes = self.small()?;
        let mut report = self.report(&columns);
        for entry in bytes.chunks(txn::ABORTED_TRANSACTION_SIZE) {
            let it = self.decoded(txn::AbortedTransaction::decode(entry))?;
            report.row(vec![
                Cell::text(&self.file),
                Cell::Number(it.producer_id),
                Cell::Number(it.first_offset),
                Cell::Number(it.last_offset),
                Cell::Number(it.last_stable_offset),
            ])?;
        }
        Ok(report.finish()?)
    }

    fn snapshot(&self) -> anyhow::Result<()> {
        let columns = [
            text("file", ""),
            number("producer_id", "PRODUCER"),
            number("producer_epoch", "EPOCH"),
            number("last_sequence", "LAST SEQUENCE"),
            number("last_offset", "LAST OFFSET"),
            number("offset_delta", "OFFSET DELTA"),
            text("timestamp", "TIMESTAMP"),
            number("coordinator_epoch", "COORDINATOR"),
            number("transaction_first_offset", "TRANSACTION FROM"),
        ];
        let mut report = self.report(&columns);
        for it in self.decoded(snapshot::decode(&self.small()?))? {
            report.row(vec![
                Cell::text(&self.file),
                Cell::Number(it.producer_id),
                Cell::Number(it.producer_epoch.into()),
                Cell::Number(it.last_sequence.into()),
                Cell::Number(it.last_offset),
                Cell::Number(it.offset_delta.into()),
                Cell::Time(it.timestamp),
                Cell::Number(it.coordinator_epoch.into()),
                Cell::Number(it.transaction_first_offset),
            ])?;
        }
        Ok(report.finish()?)
    }

    fn offset_checkpoint(&self) -> anyhow::Result<()> {
        let columns =
            [text("file", ""), text("topic", "TOPIC"), number("partition", "PARTITION"), number("offset", "OFFSET")];
        let mut report = self.report(&columns);
        for it in self.decoded(OffsetCheckpoint::parse(&self.small()?))?.rows {
            report.row(vec![
                Cell::text(&self.file),
                Cell::Text(it.topic),
                Cell::Number(it.partition.into()),
                Cell::Number(it.offset.0),
            ])?;
        }
        Ok(report.finish()?)
    }

    fn leader_epochs(&self) -> anyhow::Result<()> {
        let columns = [text("file", ""), number("epoch", "EPOCH"), number("start_offset", "START OFFSET")];
        let mut report = self.report(&columns);
        for it in self.decoded(LeaderEpochCheckpoint::parse(&self.small()?))?.rows {
            report.row(vec![Cell::text(&self.file), Cell::Number(it.epoch.into()), Cell::Number(it.start_offset.0)])?;
        }
        Ok(report.finish()?)
    }

    fn partition_metadata(&self) -> anyhow::Result<()> {
        let columns = [text("file", ""), number("version", "VERSION"), text("topic_id", "TOPIC ID")];
        let mut report = self.report(&columns);
        let it = self.decoded(PartitionMetadata::parse(&self.small()?))?;
        report.row(vec![
            Cell::text(&self.file),
            Cell::Number(it.version.into()),
            Cell::Text(topic_id_to_text(it.topic_id)),
        ])?;
        Ok(report.finish()?)
    }

    fn properties(&self) -> anyhow::Result<()> {
        let text = self.decoded(String::from_utf8(self.small()?).map_err(|_| FormatError::corrupt("no UTF-8")))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let pairs = lines.map(|line| line.split_once('=').unwrap_or((line, "")));
        self.pairs(pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())))
    }

    fn quorum_state(&self) -> anyhow::Result<()> {
        let parsed = serde_json::from_slice::<serde_json::Map<_, _>>(&self.small()?);
        let map = self.decoded(parsed.map_err(|error| FormatError::corrupt(format!("no JSON object: {error}"))))?;
        self.pairs(map.into_iter().map(|(key, value)| match value {
            serde_json::Value::String(text) => (key, text),
            other => (key, other.to_string()),
        }))
    }

    fn pairs(&self, pairs: impl Iterator<Item = (String, String)>) -> anyhow::Result<()> {
        let columns = [text("file", ""), text("key", "KEY"), text("value", "VALUE")];
        let mut report = self.report(&columns);
        for (key, value) in pairs {
            report.row(vec![Cell::text(&self.file), Cell::Text(key), Cell::Text(value)])?;
        }
        Ok(report.finish()?)
    }
}
