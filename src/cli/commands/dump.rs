use crate::cli::Context;
use crate::cli::exit::{Exit, usage};
use crate::cli::report::{Cell, Column, Report, ReportArgs, number, text};
use crate::disk::{Access, Disk, atomic};
use crate::format::checkpoint::{LeaderEpochCheckpoint, OffsetCheckpoint};
use crate::format::header::BatchHeader;
use crate::format::properties::{PartitionMetadata, topic_id_to_text};
use crate::format::{FormatError, snapshot, txn};
use crate::storage::dump::{LogDump, read_offset_index, read_time_index};
use crate::storage::file_name::{FileKind, parse_segment_name};
use crate::units::{Offset, Position, Timestamp};
use anyhow::Context as _;
use std::path::{Path, PathBuf};

/// Show what is inside the files of a log dir
///
/// A .log is shown batch by batch, a .index, .timeindex, .txnindex, .snapshot, checkpoint file or partition.metadata entry
/// by entry. The kind of a file is told by its name. A damaged file is shown up to the damage, which is then named.
///
/// Columns of a .log in JSON and TSV: file, position, magic, base_offset, last_offset, records, bytes, codec, timestamp_type,
/// base_timestamp, max_timestamp, leader_epoch, producer_id, producer_epoch, base_sequence, flags, checksum
///
/// Limit: checkpoint files and snapshots of up to 64 MiB.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  kdir dump ~/.local/share/kdir/app-0/00000000000000000000.log")]
pub(crate) struct DumpArgs {
    /// The files
    #[arg(required = true)]
    file: Vec<PathBuf>,
    #[command(flatten)]
    report: ReportArgs,
}

/// A small file larger than this is none.
const SMALL_MAX: usize = 64 << 20;

const LOG_COLUMNS: [Column; 17] = [
    text("file", ""),
    number("position", "POSITION"),
    number("magic", "MAGIC").leaves(4),
    number("base_offset", "BASE OFFSET"),
    number("last_offset", "LAST OFFSET"),
    number("records", "RECORDS").leaves(7),
    number("bytes", "BYTES"),
    text("codec", "CODEC").leaves(6),
    text("timestamp_type", "TIMESTAMP TYPE").leaves(1),
    text("base_timestamp", ""),
    text("max_timestamp", "MAX TIMESTAMP"),
    number("leader_epoch", "EPOCH").leaves(3),
    number("producer_id", "PRODUCER").leaves(2),
    number("producer_epoch", ""),
    number("base_sequence", ""),
    text("flags", "FLAGS").leaves(5),
    text("checksum", "CHECKSUM"),
];

pub(crate) fn run(args: &DumpArgs, context: &mut Context) -> anyhow::Result<Exit> {
    for (place, path) in args.file.iter().enumerate() {
        if args.file.len() > 1 && args.report.output == crate::cli::report::ReportFormat::Table {
            let gap = if place == 0 { "" } else { "\n" };
            context.ui.data(format!("{gap}{}\n", path.display()).as_bytes())?;
        }
        dump(path, args, context)?;
    }
    Ok(Exit::Done)
}

fn dump(path: &Path, args: &DumpArgs, context: &Context) -> anyhow::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // A file that was set aside keeps its kind.
    let plain = name.trim_end_matches(".deleted").trim_end_matches(".cleaned").trim_end_matches(".swap");
    let dump = Dump { path, file: path.display().to_string(), args, context };
    // A file that is not there is said to be missing, whatever its name.
    context.disk.open(path, Access::Read)?;
    match parse_segment_name(plain) {
        Some((base, FileKind::Log)) => dump.log(base),
        Some((base, FileKind::OffsetIndex)) => dump.offset_index(base),
        Some((base, FileKind::TimeIndex)) => dump.time_index(base),
        Some((_, FileKind::TransactionIndex)) => dump.transaction_index(),
        Some((_, FileKind::Snapshot)) => dump.snapshot(),
        None if plain == "leader-epoch-checkpoint" => dump.leader_epochs(),
        None if plain.ends_with("-offset-checkpoint") => dump.offset_checkpoint(),
        None if plain == "partition.metadata" => dump.partition_metadata(),
        None => Err(usage(format!(
            "{} is no file that dump knows: expected a .log, .index, .timeindex, .txnindex or .snapshot named by its \
             base offset in 20 digits, a checkpoint file, or partition.metadata",
            path.display()
        ))),
    }
}

struct Dump<'a> {
    path: &'a Path,
    file: String,
    args: &'a DumpArgs,
    context: &'a Context,
}

impl Dump<'_> {
    fn report<'b>(&'b self, columns: &'b [Column]) -> Report<'b> {
        Report::new(self.context.ui, self.args.report.output, &self.context.zone, columns)
    }

    fn disk(&self) -> &dyn Disk {
        &*self.context.disk
    }

    fn small(&self) -> anyhow::Result<Vec<u8>> {
        Ok(atomic::read_small_at(self.disk(), self.path, SMALL_MAX)?.unwrap_or_default())
    }

    fn decoded<T>(&self, decoded: Result<T, FormatError>) -> anyhow::Result<T> {
        let (path, position, offset) = (self.path.to_owned(), Position::ZERO, Offset::ZERO);
        decoded.map_err(|error| crate::storage::at_place(error, &path, position, offset).into())
    }

    fn log(&self, base_offset: Offset) -> anyhow::Result<()> {
        let mut report = self.report(&LOG_COLUMNS);
        let mut log = LogDump::open(self.disk(), self.path, base_offset)?;
        let mut wrong = None;
        let damage = loop {
            match log.next() {
                Ok(Some((position, header, checksum_matches))) => {
                    report.row(self.batch_row(position, &header, checksum_matches))?;
                    if !checksum_matches && wrong.is_none() {
                        wrong = Some(log.checksum_error());
                    }
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        report.finish()?;
        if let Some(error) = damage {
            return Err(error).context("the rest of the file is not shown");
        }
        wrong.map_or(Ok(()), |error| Err(error.into()))
    }

    fn batch_row(&self, position: Position, header: &BatchHeader, checksum_matches: bool) -> Vec<Cell> {
        let attributes = header.attributes;
        let codec = attributes.codec().map_or_else(|_| "unknown".to_owned(), |codec| codec.name().to_owned());
        let flags = [
            (attributes.is_transactional(), "transactional"),
            (attributes.is_control(), "control"),
            (attributes.has_delete_horizon(), "delete-horizon"),
        ];
        let flags: Vec<&str> = flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect();
        let time_unless_none = |time: Timestamp| Cell::time((time != Timestamp::NONE).then_some(time));
        let unless_none = |number: i64| if number < 0 { Cell::Nothing } else { Cell::Number(number) };
        vec![
            Cell::text(&self.file),
            Cell::Number(position.0 as i64),
            Cell::Number(header.magic.into()),
            Cell::Number(header.base_offset.0),
            Cell::Number(header.last_offset().0),
            unless_none(header.record_count.into()),
            Cell::Number(header.size as i64),
            Cell::Text(codec),
            Cell::text(header.timestamp_type().name()),
            time_unless_none(header.base_timestamp),
            time_unless_none(header.max_timestamp),
            Cell::Number(header.leader_epoch.into()),
            unless_none(header.producer_id),
            unless_none(header.producer_epoch.into()),
            unless_none(header.base_sequence.into()),
            if flags.is_empty() { Cell::Nothing } else { Cell::Text(flags.join(",")) },
            Cell::text(if checksum_matches { "ok" } else { "WRONG" }),
        ]
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
}
