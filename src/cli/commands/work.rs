use super::counted;
use crate::cli::Context;
use crate::cli::args;
use crate::cli::exit::{self, Exit, Failures, REJECTED};
use crate::cli::signals::Stop;
use crate::cli::ui::{self, OutputError};
use crate::disk::outlet::Outlet;
use crate::disk::process;
use crate::groups::{FileSystems, GroupError};
use crate::units::{Duration, GroupId, Offset, TopicName};
use crate::work::{
    Backoff, Durable, Ended, Environment, Event, Input, Interrupt, Mode, Options, Ordered, Start, Summary, WorkError,
    Worker, find_command,
};
use std::ffi::OsString;
use std::fmt::Write as _;

/// Run a command for each record of a topic, as a work queue
///
/// Workers are the runs with the same GROUP, in as many terminals as wanted: each record goes to one of them at a time. The
/// value is the command's standard input. Exit status 0 acknowledges the record; with any other, or a signal, it is tried again
/// after a back-off, and after --max-attempts it goes to the dead letters, the topic dlq.TOPIC. Without --follow a worker ends
/// when all records are done that were there when it began, or are with other workers; records whose time has not come
/// are left.
///
/// kdir has no visibility timeout: a record stays with its worker for as long as that or its command lives. After a worker was
/// killed, its records are taken at once by others, and those whose command still runs when that has ended. So a record is run
/// again without a failure where a worker died between the end of the command and the note of it, where what the command
/// printed could not be written, and, with --sync DURATION, after a power failure. A command that closes all descriptors, as
/// sudo does, keeps its record from others no longer than its worker lives, unless it has a --timeout.
///
/// The environment of the command has KDIR_TOPIC, KDIR_PARTITION, KDIR_OFFSET, KDIR_TIMESTAMP (ms), KDIR_KEY (not for a null
/// key; KDIR_KEY_B64 if it is not UTF-8), KDIR_ATTEMPT (from 1 on), KDIR_GROUP, KDIR_HEADERS (JSON) and KDIR_HEADER_NAME for each
/// header. Facts with a NUL byte, or beyond 64 KiB in all, are left out and named in KDIR_OMITTED. A command that writes a
/// duration, as 90s, into the file KDIR_RETRY_FILE and fails chooses its own back-off, up to the longest. A daemon that it leaves
/// behind has KDIR_CLAIM_FD open, which keeps the record from others if the worker dies.
///
/// What the command prints is passed on whole before the record is acknowledged; the last line of its standard error is kept
/// with a dead letter. With status 126 or 127, or where it cannot be started, nothing is counted and the worker ends.
///
/// SIGINT and SIGTERM: no more records are taken, and commands that run are waited for; a second one kills them, and the
/// attempt does not count. When the reader of the output is gone, the worker ends with status 0, and what is not done is
/// left. Exit status 3: done, but some records were given up, or lost to retention.
///
/// The state is that of Kafka's share groups, in `__share_group_state` and `__consumer_offsets`: a broker on this log dir goes on
/// with a half-done queue. In the log dir of a broker that has no share groups, as before Kafka 4.1, work is refused. A group
/// is a work queue or shares partitions (`consume --group`), never both. Limits: one machine and one log dir; records of open
/// transactions wait; a record that its producer has not made durable is taken within two seconds; no priorities but the order
/// of TOPICs; of a partition, 100 000 records that wait for their time or for others.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "kdir work [OPTIONS] --group <GROUP> <TOPIC>... -- <COMMAND> [ARG]...",
    after_long_help = "Examples:\n  kdir work jobs -g fetch -j 8 --timeout 2m -- sh -c 'read -r url; curl -fsSO \"$url\"'\n  \
                       kdir work urgent normal -g mail -F -- ./send\n  \
                       kdir work jobs -g load --persistent -F -- python3 load.py\n  kdir groups describe fetch"
)]
pub(crate) struct WorkArgs {
    /// The topics: a record of an earlier one comes before all of a later one
    #[arg(required = true, value_parser = args::topic)]
    topic: Vec<TopicName>,
    /// The command, and what it is called with
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    /// The group: its workers share the records, and it has done each once
    #[arg(short, long, value_name = "GROUP", value_parser = args::group)]
    group: GroupId,

    /// How many records are handled at a time [default: 1; with --persistent 100]
    #[arg(short, long, value_name = "N", help_heading = "Running", value_parser = clap::value_parser!(u16).range(1..=1000))]
    jobs: Option<u16>,
    /// Wait for more records at the end
    #[arg(short = 'F', long, help_heading = "Running")]
    follow: bool,
    /// Stop after N runs of the command
    #[arg(short = 'n', long, value_name = "N", help_heading = "Running", value_parser = clap::value_parser!(u64).range(1..))]
    max_runs: Option<u64>,
    /// What the command reads: the value as it is, or the record's JSON envelope as a line
    #[arg(long, value_name = "INPUT", default_value = "value", help_heading = "Running")]
    input: InputName,
    /// Give the command up to N records at once, with one verdict for all
    ///
    /// Each value, or envelope, is followed by a newline; KDIR_COUNT says how many there are. When such a run fails, which does
    /// not count as an attempt, its records are tried one by one.
    #[arg(long, value_name = "N", default_value = "1", help_heading = "Running")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
    #[arg(conflicts_with = "ordered")]
    batch: u16,
    /// Start the command once: it gets a line for each record and answers on descriptor 3
    ///
    /// A line is the JSON envelope with `id` and `attempt` in front. The answers are lines, in any order: `ok ID`, `retry ID
    /// [DELAY]` or `reject ID [TEXT]`. When the command ends with lines unanswered, the oldest of them has failed, and it is
    /// started again; a line that is not an answer ends the worker. It prints to kdir's own output.
    #[arg(long, help_heading = "Running", conflicts_with_all = ["batch", "input", "reject_exit", "release_exit"])]
    persistent: bool,
    /// Which records wait for others: of a key, or of a partition, one at a time and in order
    ///
    /// One that failed holds back those after it until it is done or given up. With `key`, records without a key do not wait.
    /// When partitions are added to a topic, a key may go on in another one. All workers of a group must say the same.
    #[arg(long, value_name = "key|partition", help_heading = "Running")]
    ordered: Option<OrderedName>,
    /// Stop a run that takes longer, with what it has started: SIGTERM, and SIGKILL for what is left after 10 s
    ///
    /// With --persistent, the time of the oldest record that is unanswered, and SIGKILL at once.
    #[arg(long, value_name = "DURATION", help_heading = "Running")]
    timeout: Option<Duration>,

    /// After so many failures a record is given up
    #[arg(long, value_name = "N", default_value = "5", help_heading = "Failures")]
    #[arg(value_parser = clap::value_parser!(i16).range(1..=1000))]
    max_attempts: i16,
    /// How long a record waits after a failure: MIN, then twice as long each time, up to MAX
    #[arg(long, value_name = "MIN..MAX", default_value = "1s..5m", help_heading = "Failures", value_parser = backoff)]
    backoff: Backoff,
    /// Where records go that are given up: a topic, or `none` [default: dlq.TOPIC]
    ///
    /// The topic is made when it is needed. A record keeps its key, value and headers, and gets those of KIP-1191
    /// (__dlq.errors.topic, partition, offset, group, delivery.count, message). With `none` it is only counted.
    #[arg(long, value_name = "TOPIC|none", help_heading = "Failures", value_parser = dead_letter)]
    dead_letter: Option<DeadLetter>,
    /// An exit status that gives the record up at once, such as 65 (can be repeated)
    #[arg(long, value_name = "STATUS", help_heading = "Failures", value_parser = clap::value_parser!(u8).range(1..=125))]
    reject_exit: Vec<u8>,
    /// An exit status that puts the record back and does not count as an attempt (can be repeated) [default: 75]
    ///
    /// It is taken again after the first back-off, or when KDIR_RETRY_FILE says. Without --follow it is left for the next run.
    #[arg(long, value_name = "STATUS", help_heading = "Failures", value_parser = clap::value_parser!(u8).range(1..=125))]
    release_exit: Vec<u8>,
    /// Stop with status 1 when the first attempts of N records in a row have failed; 0 is never
    #[arg(long, value_name = "N", default_value = "20", help_heading = "Failures")]
    breaker: u32,
    /// Give up records that are older
    #[arg(long, value_name = "DURATION", help_heading = "Failures")]
    max_age: Option<Duration>,

    /// Where a group begins that is new to a topic
    #[arg(long, value_name = "earliest|latest|N", default_value = "earliest", help_heading = "State", value_parser = start)]
    from_offset: Start,
    /// When what was done is made durable: `always`, before the next record is taken, or so often and at the end
    ///
    /// With a duration, what was done in that time is done again after a power failure. What was killed costs nothing.
    #[arg(long, value_name = "always|DURATION", default_value = "always", help_heading = "State", value_parser = durable)]
    sync: Durable,
    /// Allow a log dir on a network file system or FUSE: all workers run on one machine
    #[arg(long, help_heading = "State")]
    shared_fs_ok: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum InputName {
    Value,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OrderedName {
    Key,
    Partition,
}

#[derive(Debug, Clone)]
enum DeadLetter {
    None,
    Topic(TopicName),
}

fn dead_letter(text: &str) -> Result<DeadLetter, String> {
    if text == "none" { Ok(DeadLetter::None) } else { args::topic(text).map(DeadLetter::Topic) }
}

fn backoff(text: &str) -> Result<Backoff, String> {
    let (min, max) = text.split_once("..").unwrap_or((text, text));
    let parse = |text: &str| text.parse::<Duration>().map(Duration::as_std).map_err(|error| error.to_string());
    let (min, max) = (parse(min)?, parse(max)?);
    if min > max {
        return Err(format!("{text} begins with the longer wait: expected MIN..MAX, such as 1s..5m"));
    }
    Ok(Backoff { min, max })
}

fn start(text: &str) -> Result<Start, String> {
    match text {
        "earliest" => Ok(Start::Earliest),
        "latest" => Ok(Start::Latest),
        number => match number.parse() {
            Ok(offset) if offset >= 0 => Ok(Start::Offset(Offset(offset))),
            _ => Err(format!("{text:?} is not earliest, latest or an offset")),
        },
    }
}

fn durable(text: &str) -> Result<Durable, String> {
    match text {
        "always" => Ok(Durable::Always),
        text => text.parse::<Duration>().map(|every| Durable::Every(every.as_std())).map_err(|error| error.to_string()),
    }
}

pub(crate) fn run(args: &WorkArgs, context: &mut Context) -> anyhow::Result<Exit> {
    ui::require_stdout()?;
    find_command(&args.command[0])?;
    let log_dir = context.open_to_write()?;
    let topics = args.topic.iter().map(|name| Ok(log_dir.topic(name)?)).collect::<anyhow::Result<Vec<_>>>()?;
    let stop = Stop::on_signals_counted()?;
    let environment = Environment {
        outlet: Outlet::stdout(),
        interrupt: Interrupt { descriptor: stop.descriptor() },
        clock: crate::cli::now,
    };
    let file_systems = if args.shared_fs_ok { FileSystems::Any } else { FileSystems::Local };
    let mut failures = Failures::new(context.ui);
    let mut tell = |event: Event<'_>| say(event, args, context, &mut failures);
    let text = process::pid_and_host();
    let how = (options(args), file_systems);
    let worker = Worker::open(&log_dir, &topics, &args.group, how, &text, environment, &mut tell);
    let (ended, summary) = worker.and_then(Worker::run).map_err(|error| in_words(error, args))?;
    context.ui.status(&words_of(&summary));
    Ok(match (ended, stop.signal()) {
        (Ended::Stopped, Some(signal)) => Exit::Signal(signal),
        _ if failures.exit() != Exit::Done => failures.exit(),
        _ if summary.given_up > 0 || summary.lost > 0 => Exit::Told(REJECTED),
        _ => Exit::Done,
    })
}

fn options(args: &WorkArgs) -> Options {
    let jobs = args.jobs.unwrap_or(if args.persistent { 100 } else { 1 });
    Options {
        command: args.command.clone(),
        mode: if args.persistent { Mode::Persistent } else { Mode::Runs { batch: args.batch.into() } },
        jobs: jobs.into(),
        max_attempts: args.max_attempts,
        backoff: args.backoff,
        timeout: args.timeout.map(Duration::as_std),
        dead_letters: match &args.dead_letter {
            Some(DeadLetter::Topic(topic)) => Some(topic.clone()),
            _ => None,
        },
        keeps_dead_letters: !matches!(args.dead_letter, Some(DeadLetter::None)),
        ordered: match args.ordered {
            None => Ordered::No,
            Some(OrderedName::Key) => Ordered::Key,
            Some(OrderedName::Partition) => Ordered::Partition,
        },
        input: match args.input {
            InputName::Value => Input::Value,
            InputName::Json => Input::Json,
        },
        reject_exits: args.reject_exit.clone(),
        release_exits: if args.release_exit.is_empty() { vec![75] } else { args.release_exit.clone() },
        breaker: Some(args.breaker).filter(|&count| count > 0),
        max_age: args.max_age.map(Duration::as_std),
        attempts: args.max_runs,
        follows: args.follow,
        durable: args.sync,
        start: args.from_offset,
    }
}

/// Prints what a worker tells.
fn say(event: Event<'_>, args: &WorkArgs, context: &Context, failures: &mut Failures) {
    let ui = context.ui;
    match event {
        Event::Failed { partition, offset, attempt, why, again } => {
            let (of, again) = (args.max_attempts, Duration(again.as_millis() as i64).rounded());
            ui.verbose(&format!(
                "offset {offset} of {partition}: attempt {attempt} of {of} failed ({why}); again in {again}"
            ));
        }
        Event::GivenUp { partition, offset, attempts, why, dead_letters } => {
            let to = dead_letters.map_or(String::new(), |topic| format!("; it is in {topic}"));
            let after = counted(attempts as u64, "attempt");
            ui.warning(&format!("gave up offset {offset} of {partition} after {after}: {why}{to}"));
        }
        Event::NotBuried { partition, offset, why, error } => {
            let what = format!("offset {offset} of {partition} is given up ({why}) and stays, with no dead letter");
            failures.tell(in_words(error, args).context(what));
        }
        Event::Lost { partition, count } => {
            let were = if count == 1 { "was" } else { "were" };
            let records = counted(count, "record");
            ui.warning(&format!("{records} of {partition} {were} removed by retention and not done"));
        }
        Event::HeldBack { partition, by } => ui.warning(&format!(
            "nothing more of {partition} is taken for now: too many records from offset {by} on wait for their time or for others"
        )),
        Event::OtherAttempts { member, max_attempts } => {
            ui.warning(&format!(
                "another worker, {member}, gives up after {}",
                counted(max_attempts as u64, "attempt")
            ));
        }
        Event::Failing { partition, error } => {
            failures.tell(in_words(error, args).context(format!("{partition} is not worked")));
        }
        Event::Waiting { handlers } => {
            if handlers > 0 {
                let runs = counted(handlers as u64, "run");
                ui.status(&format!("waiting for {runs} of the command to end; a second signal kills them"));
            }
        }
    }
}

fn words_of(summary: &Summary) -> String {
    let mut words = format!("{} done", counted(summary.done, "record"));
    let mut add = |count: u64, what: &str| {
        if count > 0 {
            // Memory takes every write.
            let _ = write!(words, ", {count} {what}");
        }
    };
    add(summary.failed, "failed and tried again");
    add(summary.given_up, "given up");
    add(summary.lost, "lost to retention");
    add(summary.elsewhere, "with other workers");
    add(summary.not_due, "left for later");
    words
}

fn in_words(error: WorkError, args: &WorkArgs) -> anyhow::Error {
    match error {
        WorkError::LogDir(error) => error.into(),
        WorkError::Output(error) => OutputError(error).into(),
        WorkError::Group(error @ GroupError::SharedFileSystem { .. }) => {
            exit::advised(error.to_string(), "--shared-fs-ok is for workers that all run on one machine")
        }
        WorkError::Group(error @ GroupError::NoShareGroup { .. }) => exit::advised(
            error.to_string(),
            "choose another --group: one that has committed offsets cannot be a work queue",
        ),
        WorkError::Group(error @ GroupError::NoShareGroupsHere { is_new: true, .. }) => exit::advised(
            error.to_string(),
            "start the broker, let a share consumer of any group join once, and stop it",
        ),
        WorkError::Group(error @ GroupError::NoShareGroupsHere { .. }) => exit::advised(
            error.to_string(),
            "kdir work needs Kafka 4.1 or later with share.version=1, or a log dir of its own; `consume --group` needs neither",
        ),
        WorkError::Broken { .. } => exit::advised(
            error.to_string(),
            format!("the records are tried again by the next run; `kdir groups describe {}` shows them", args.group),
        ),
        error => error.into(),
    }
}
