use crate::cli::Context;
use crate::cli::args;
use crate::cli::complete;
use crate::cli::exit::{CORRUPT, Exit};
use crate::cli::report::{Cell, Column, Report, ReportArgs, ReportFormat, number, text};
use crate::cli::ui::{OutputError, Unit};
use crate::logdir::{TopicFindings, TopicPattern, TopicVerification};
use crate::storage::check::{Checked, Finding};
use crate::units::{ByteSize, Position, TopicPartition};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Check every checksum, record, offset and index entry
///
/// Reads all of the topics' logs, on all cores, and reports what is wrong with file, position and offset: batches whose
/// checksum does not match, records that are malformed inside, offsets that fall, repeat or are missing (gaps are legal
/// in a compacted topic only), leader epochs, index entries that the log contradicts, checkpoint files, topic files, and
/// whether the log reaches as far as the recovery point and the high watermark say.
///
/// Without a topic, the root of the log dir is checked as a broker with KRaft does when it starts: other folders than those
/// of partitions, `meta.properties`, the log and the newest snapshot of `__cluster_metadata`, and whether that gives the
/// broker each partition whose folder is there. What a broker's metadata says of compaction counts.
///
/// Each finding has a severity: `lost`, acknowledged records are not there; `damaged`; `blocks a broker`, one does not start on
/// it or sets it aside; `unfinished`, an append that was never acknowledged; `derived`, can be rebuilt; `note`,
/// legal and worth knowing.
///
/// Nothing is written and nothing is locked. A log in use is checked up to where it ended when the check began. Exit
/// status 4 says that there are findings of the first three kinds, 0 that there are none.
///
/// Columns of JSON and TSV: topic, partition, path, position, offset, severity, problem, what, meaning
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  kdir verify app || kdir repair --dry-run app")]
pub(crate) struct VerifyArgs {
    /// The topics, by name or pattern (see `kdir consume`); all without one
    #[arg(value_parser = args::topic_pattern, add = complete::topics())]
    topic: Vec<TopicPattern>,
    #[command(flatten)]
    report: ReportArgs,
}

/// The columns of findings; the last is what follows from one, or is done about it.
pub(super) const fn columns(last: &'static str) -> [Column; 9] {
    [
        text("topic", ""),
        number("partition", ""),
        text("path", ""),
        number("position", ""),
        number("offset", ""),
        text("severity", ""),
        text("problem", ""),
        text("what", ""),
        text(last, ""),
    ]
}

const COLUMNS: [Column; 9] = columns("meaning");

pub(crate) fn run(args: &VerifyArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let found = check(context.open_all()?.begin_verification(&args.topic, half_written_pause)?, context)?;
    let mut findings_report = Findings::new(context, args.report.output, &COLUMNS);
    for (partition, finding) in found.all() {
        findings_report.add(finding, partition, &finding.meaning())?;
    }
    findings_report.finish()?;
    let findings = found.all().count();
    let sum = |part: fn(&Checked) -> u64| found.partitions.iter().map(|it| part(&it.checked)).sum();
    context.ui.status(&format!(
        "checked {} in {} of {}: {}, {}",
        super::counted(sum(|it| it.records), "record"),
        super::counted(sum(|it| it.segments), "segment"),
        super::counted(found.partitions.len() as u64, "partition"),
        ByteSize(sum(|it| it.bytes)),
        if findings == 0 { "nothing is wrong".into() } else { super::counted(findings as u64, "finding") }
    ));
    Ok(exit(found.all().map(|(_, finding)| finding)))
}

/// Whether any of the findings says that something is wrong.
pub(super) fn exit<'a>(mut findings: impl Iterator<Item = &'a Finding>) -> Exit {
    if findings.any(|finding| finding.severity().is_wrong()) { Exit::Told(CORRUPT) } else { Exit::Done }
}

/// Waits for a writer to finish its batch: it does within twenty of these.
pub(super) fn half_written_pause() {
    std::thread::sleep(Duration::from_millis(25));
}

/// Checks what has begun, with progress on a terminal.
pub(super) fn check(verification: TopicVerification, context: &Context) -> anyhow::Result<TopicFindings> {
    let verification = verification.as_of(crate::cli::now());
    let progress = Mutex::new((context.ui.progress(Some(verification.bytes()), Unit::Bytes), 0));
    let on_progress = |bytes: u64| {
        let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.1 += bytes;
        let position = progress.1;
        progress.0.set(position, String::new);
    };
    let found = verification.run(threads(), &on_progress)?;
    progress.into_inner().unwrap_or_else(PoisonError::into_inner).0.finish();
    Ok(found)
}

/// One worker for each core.
pub(super) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Findings, each with what follows from it or is done about it: rows in JSON and TSV, a few lines each for a person.
pub(super) struct Findings<'a> {
    context: &'a Context,
    /// Where rows are wanted.
    rows: Option<Report<'a>>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(context: &'a Context, format: ReportFormat, columns: &'a [Column]) -> Self {
        let rows = || Report::new(context.ui, format, &context.zone, columns);
        Self { context, rows: (format != ReportFormat::Table).then(rows) }
    }

    pub(super) fn add(
        &mut self,
        finding: &Finding,
        partition: Option<&TopicPartition>,
        then: &str,
    ) -> Result<(), OutputError> {
        self.add_with(finding, partition, then, Vec::new())
    }

    /// The same, with the cells of further columns.
    pub(super) fn add_with(
        &mut self,
        finding: &Finding,
        partition: Option<&TopicPartition>,
        then: &str,
        more: Vec<Cell>,
    ) -> Result<(), OutputError> {
        let number = |value: Option<i64>| value.map_or(Cell::Nothing, Cell::Number);
        let position = finding.position.map(|Position(position)| position as i64);
        let offset = finding.offset.map(|offset| offset.0);
        if let Some(rows) = &mut self.rows {
            let mut cells = vec![
                partition.map_or(Cell::Nothing, |it| Cell::text(&it.topic)),
                number(partition.map(|it| it.partition.into())),
                Cell::text(finding.path.display()),
                number(position),
                number(offset),
                Cell::text(finding.severity().name()),
                Cell::text(finding.problem.name()),
                Cell::text(&finding.problem),
                Cell::text(then),
            ];
            cells.extend(more);
            return rows.row(cells);
        }
        let place = |name: &str, value: Option<i64>| value.map_or(String::new(), |value| format!("  {name} {value}"));
        let (position, offset) = (place("position", position), place("offset", offset));
        let only_root = self.context.root().unwrap_or(Path::new(""));
        let path = finding.path.strip_prefix(only_root).unwrap_or(&finding.path).display();
        let severity = finding.severity().name();
        let then = then.replace('\n', "\n    ");
        let text = format!("{path}{position}{offset}\n    {severity}: {}\n    {then}\n", finding.problem);
        self.context.ui.data(text.as_bytes())
    }

    /// Whether they are shown to a person.
    pub(super) const fn is_table(&self) -> bool {
        self.rows.is_none()
    }

    pub(super) fn finish(self) -> Result<(), OutputError> {
        self.rows.map_or(Ok(()), Report::finish)
    }
}
