//! What a run says of itself: progress and what has become durable while it goes on, and a summary at its end.

use super::ProduceArgs;
use crate::cli::commands::{counted, told};
use crate::cli::ui::{self, OutputError, Progress, Ui, Unit};
use crate::produce::{
    Acknowledged, Event, InputName, InputPosition, Listener, Problem, Produced, SyncPolicy, Taken, Written,
};
use crate::units::{ByteSize, TopicName, TopicPartition};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum SummaryFormat {
    /// A summary on stderr
    Text,
    /// JSON lines on stdout
    Json,
}

/// So many rejected inputs are named; who wants to see more of them has the file.
const REJECTS_NAMED_MAX: u64 = 10;

/// What is reported of a run, on whatever thread something happens.
pub(super) struct Report {
    ui: Ui,
    /// The one topic, unless each record names its own.
    topic: Option<String>,
    format: SummaryFormat,
    started: Instant,
    /// Whether records that are not known to be durable are named at the end: not where the run was not to sync.
    names_unacknowledged: bool,
    rejects: Option<PathBuf>,
    waker: UnixStream,
    talk: Mutex<Talk>,
    durable: Mutex<Durable>,
}

/// What is shown of the intake.
struct Talk {
    /// None where records are typed: it would be drawn over them.
    progress: Option<Progress>,
    /// Inputs that were left out so far.
    rejected: u64,
}

/// What is known to be durable.
#[derive(Default)]
struct Durable {
    /// How many records, by partition.
    records: BTreeMap<TopicPartition, u64>,
    /// The first write to stdout that failed; what came after it was not said.
    failed: Option<OutputError>,
}

fn locked<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Report {
    pub(super) fn new(
        args: &ProduceArgs,
        ui: Ui,
        started: Instant,
        inputs: &[InputName<'_>],
        waker: UnixStream,
    ) -> Arc<Self> {
        let total: Option<u64> = inputs.iter().map(InputName::size).sum();
        let is_typed = inputs.iter().any(InputName::is_stdin) && ui::stdin_is_terminal();
        let progress = (!is_typed).then(|| ui.progress(total, Unit::Bytes));
        Arc::new(Self {
            ui,
            topic: args.topic.as_ref().map(ToString::to_string),
            format: args.output,
            started,
            names_unacknowledged: args.sync != SyncPolicy::Never,
            rejects: args.rejects.clone(),
            waker,
            talk: Mutex::new(Talk { progress, rejected: 0 }),
            durable: Mutex::default(),
        })
    }

    pub(super) fn listener(self: &Arc<Self>) -> Listener {
        let report = Arc::clone(self);
        Arc::new(move |event| report.hear(&event))
    }

    fn hear(&self, event: &Event<'_>) {
        match event {
            Event::Progress(taken) => self.progress(*taken),
            Event::Rejected(problem) => self.rejected(problem),
            Event::Durable { topic, stretch, input } => self.durable(topic, stretch, input.unwrap_or_default()),
            // A full pipe holds a byte that wakes already.
            Event::SyncFailed => drop((&self.waker).write(&[0])),
        }
    }

    fn progress(&self, taken: Taken) {
        let Taken { bytes, records, .. } = taken;
        if let Some(progress) = &mut locked(&self.talk).progress {
            progress.set(bytes, || counted(records, "record"));
        }
    }

    /// Whether records are typed on a terminal.
    pub(super) fn is_typed(&self) -> bool {
        locked(&self.talk).progress.is_none()
    }

    fn rejected(&self, problem: &Problem) {
        let mut talk = locked(&self.talk);
        talk.rejected += 1;
        if talk.rejected <= REJECTS_NAMED_MAX {
            self.ui.warning(&format!("rejected: {problem}"));
        } else if talk.rejected == REJECTS_NAMED_MAX + 1 {
            self.ui.warning("more are rejected, and not named");
        }
    }

    fn durable(&self, topic: &TopicName, stretch: &Acknowledged, input: InputPosition) {
        let count = (stretch.last_offset - stretch.base_offset + 1) as u64;
        let mut durable = locked(&self.durable);
        let partition = TopicPartition { topic: topic.clone(), partition: stretch.partition };
        *durable.records.entry(partition).or_default() += count;
        if self.format == SummaryFormat::Json && durable.failed.is_none() {
            let line = json!({
                "event": "durable",
                "topic": topic.as_str(),
                "partition": stretch.partition,
                "base_offset": stretch.base_offset.0,
                "last_offset": stretch.last_offset.0,
                "input_records": input.records,
                "input_bytes": input.bytes,
            });
            durable.failed = self.ui.data(format!("{line}\n").as_bytes()).err();
        }
    }

    /// Says what was stored and what was not.
    pub(super) fn end(&self, produced: &Produced) -> Result<(), OutputError> {
        if let Some(progress) = &locked(&self.talk).progress {
            progress.finish();
        }
        for notice in &produced.notices {
            self.ui.warning(&told(notice));
        }
        let Durable { records, failed } = std::mem::take(&mut *locked(&self.durable));
        let summary = Summary {
            topic: self.topic.as_deref(),
            written: &produced.written,
            acknowledged: &records,
            names_unacknowledged: self.names_unacknowledged,
            durable_input: produced.durable_input,
            rejected: produced.rejected,
            rejected_text: self.rejected_text(produced.rejected),
            untimed: produced.taken.untimed,
            seconds: self.started.elapsed().as_secs_f64(),
        };
        match self.format {
            SummaryFormat::Json => self.ui.data(&summary.json())?,
            SummaryFormat::Text => self.ui.status(&summary.text()),
        }
        failed.map_or(Ok(()), Err)
    }

    /// What was rejected, for the summary.
    fn rejected_text(&self, rejected: u64) -> Option<String> {
        let count = counted(rejected, "record");
        match &self.rejects {
            _ if rejected == 0 => None,
            Some(path) => Some(format!("rejected {count}, kept in {}", path.display())),
            None => Some(format!("rejected {count}")),
        }
    }
}

/// What a run has done.
pub(super) struct Summary<'a> {
    /// The one topic, unless each record named its own.
    pub(super) topic: Option<&'a str>,
    /// What it has stored.
    pub(super) written: &'a BTreeMap<TopicPartition, Written>,
    /// How many records of these have become durable.
    pub(super) acknowledged: &'a BTreeMap<TopicPartition, u64>,
    /// Whether those that it does not know to be durable are to be named: not where it was not to sync.
    pub(super) names_unacknowledged: bool,
    /// How much of the input is durable or was rejected, without a gap.
    pub(super) durable_input: InputPosition,
    pub(super) rejected: u64,
    /// The same for a person, unless it is 0.
    pub(super) rejected_text: Option<String>,
    /// Records that began with no time.
    pub(super) untimed: u64,
    pub(super) seconds: f64,
}

/// So many partitions are named in the text.
const NAMED_MAX: usize = 16;

impl Summary<'_> {
    fn sum(&self, part: fn(&Written) -> u64) -> u64 {
        self.written.values().map(part).sum()
    }

    fn acknowledged(&self, partition: &TopicPartition) -> u64 {
        self.acknowledged.get(partition).copied().unwrap_or(0)
    }

    pub(super) fn text(&self) -> String {
        let records = self.sum(|written| written.records);
        let unacknowledged = records - self.written.keys().map(|partition| self.acknowledged(partition)).sum::<u64>();
        let is_durable = unacknowledged == 0 || !self.names_unacknowledged;
        let mut partitions: Vec<String> = self.written.iter().take(NAMED_MAX).map(|it| self.offsets(it)).collect();
        if self.written.len() > NAMED_MAX {
            partitions.push(format!("and {} more partitions", self.written.len() - NAMED_MAX));
        }
        let offsets = if partitions.is_empty() { String::new() } else { format!(" ({})", partitions.join(", ")) };
        let mut text = format!(
            "{} {}, {}, {} {}{offsets} in {:.3} s",
            if is_durable { "produced" } else { "stored" },
            counted(records, "record"),
            ByteSize(self.sum(|written| written.input_bytes)),
            if is_durable { "to" } else { "in" },
            self.topics(),
            self.seconds
        );
        if !is_durable {
            let which =
                if unacknowledged == records { "none".to_owned() } else { format!("the last {unacknowledged} not") };
            text.push_str(&format!("\n{which} known to be durable"));
        }
        if self.untimed > 0 {
            let untimed = counted(self.untimed, "record");
            text.push_str(&format!("\n{untimed} without a time got that of the one before"));
        }
        if let Some(rejected) = &self.rejected_text {
            text.push_str(&format!("\n{rejected}"));
        }
        text
    }

    /// The topic, or how many there are.
    fn topics(&self) -> String {
        let of_several = || {
            let mut topics: Vec<_> = self.written.keys().map(|it| &it.topic).collect();
            topics.dedup();
            counted(topics.len() as u64, "topic")
        };
        self.topic.map_or_else(of_several, ToOwned::to_owned)
    }

    fn offsets(&self, (partition, written): (&TopicPartition, &Written)) -> String {
        let Written { base_offset, last_offset, .. } = written;
        let topic = if self.topic.is_some() { String::new() } else { format!("{} ", partition.topic) };
        let partition = partition.partition;
        if base_offset == last_offset {
            format!("{topic}partition {partition}: offset {base_offset}")
        } else {
            format!("{topic}partition {partition}: offsets {base_offset} to {last_offset}")
        }
    }

    pub(super) fn json(&self) -> Vec<u8> {
        let partition = |(partition, written): (&TopicPartition, &Written)| {
            json!({
                "topic": partition.topic.as_str(),
                "partition": partition.partition,
                "base_offset": written.base_offset,
                "last_offset": written.last_offset,
                "records": written.records,
                "acknowledged": self.acknowledged(partition),
            })
        };
        let line = json!({
            "event": "summary",
            "topic": self.topic,
            "records": self.sum(|written| written.records),
            "acknowledged": self.acknowledged.values().sum::<u64>(),
            "bytes": self.sum(|written| written.input_bytes),
            "input_records": self.durable_input.records,
            "input_bytes": self.durable_input.bytes,
            "rejected": self.rejected,
            "seconds": self.seconds,
            "partitions": self.written.iter().map(partition).collect::<Vec<_>>(),
        });
        format!("{line}\n").into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(partition: i32) -> TopicPartition {
        TopicPartition { topic: "app".parse().unwrap(), partition }
    }

    fn summary<'a>(
        written: &'a BTreeMap<TopicPartition, Written>,
        acknowledged: &'a BTreeMap<TopicPartition, u64>,
        names_unacknowledged: bool,
    ) -> Summary<'a> {
        let (topic, rejected, rejected_text, untimed, seconds) = (Some("app"), 0, None, 0, 0.5);
        let durable_input = InputPosition::default();
        Summary {
            topic,
            written,
            durable_input,
            acknowledged,
            names_unacknowledged,
            rejected,
            rejected_text,
            untimed,
            seconds,
        }
    }

    #[test]
    fn records_are_not_called_produced_before_they_are_durable() {
        let written = |records: i64| Written {
            base_offset: 10,
            last_offset: 9 + records,
            records: records as u64,
            input_bytes: 7 * records as u64,
        };
        let written = BTreeMap::from([(app(0), written(100)), (app(1), written(1))]);
        let place = "app (partition 0: offsets 10 to 109, partition 1: offset 10) in 0.500 s";
        for (acknowledged, names, expected) in [
            ([100, 1], true, format!("produced 101 records, 707 B, to {place}")),
            ([0, 0], false, format!("produced 101 records, 707 B, to {place}")),
            ([0, 0], true, format!("stored 101 records, 707 B, in {place}\nnone known to be durable")),
            ([60, 1], true, format!("stored 101 records, 707 B, in {place}\nthe last 40 not known to be durable")),
        ] {
            let acknowledged = BTreeMap::from([(app(0), acknowledged[0]), (app(1), acknowledged[1])]);
            assert_eq!(summary(&written, &acknowledged, names).text(), expected);
        }
    }

    #[test]
    fn the_summary_in_json_tells_what_is_stored_and_what_of_it_is_durable() {
        let written = Written { base_offset: 0, last_offset: 4, records: 5, input_bytes: 35 };
        let (written, acknowledged) = (BTreeMap::from([(app(3), written)]), BTreeMap::from([(app(3), 2)]));
        let line = summary(&written, &acknowledged, true).json();
        let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!((&line["records"], &line["acknowledged"], &line["bytes"]), (&json!(5), &json!(2), &json!(35)));
        let partition = json!({
            "topic": "app", "partition": 3, "base_offset": 0, "last_offset": 4, "records": 5, "acknowledged": 2,
        });
        assert_eq!(line["partitions"], json!([partition]));
    }
}
