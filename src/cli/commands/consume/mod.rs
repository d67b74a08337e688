mod options;
mod terminal;

use crate::cli::args::{self, Delimiter};
use crate::cli::complete;
use crate::cli::exit::{Exit, FAILED};
use crate::cli::signals::{self, Stop};
use crate::cli::ui::{self, OutputError};
use crate::cli::{self, Context};
use crate::consume::pace::Speed;
use crate::consume::{
    Commit, Consumer, CursorFile, Ended, Environment, Event, GroupPositions, Interrupt, PerPartition, Positions,
    positions_of,
};
use crate::disk::outlet::Outlet;
use crate::disk::process;
use crate::disk::real::open_input;
use crate::groups::{Assignment, FileSystems};
use crate::logdir::{LogDirs, TopicPattern};
use crate::stream::columns::Column;
use crate::units::{Duration, GroupId};
use anyhow::Context as _;
use regex::bytes::Regex;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use terminal::{Terminal, in_words};

/// Print records
///
/// Reads from the log start offset, unless told otherwise, to the end that the log had when the command began. The
/// partitions of all topics are merged by timestamp, so that they come out as it happened.
///
/// A topic is a name or a pattern in quotes: `*` any characters, `?` one, `[ab]` one of these. A pattern passes over Kafka's
/// internal topics unless it begins with _. The folder of a partition that was set aside is named by its own name: see
/// `kdir list --all`.
///
/// Offsets: `earliest`, `latest`, N, or -N for N before the end; a positive N needs one partition, or the form 0:100,1:250.
/// Times, exact for every record: RFC 3339 (2026-11-22T10:00:00Z); a date, a time or both (2026-11-22, 10:00, 'yesterday
/// 10:00'); an age (2h, -2h, '5 minutes ago'; a day has 24 hours); @SECONDS since the epoch, with a fraction or not;
/// milliseconds since the epoch, from 1990 to 2100; what syslog, `date` and `date -R` print. A time is local (TZ) unless a
/// zone follows: Z, UTC, +01:00, +0100, Europe/Berlin, or an abbreviation with one meaning. What can mean two times is refused.
///
/// Regular expressions are those of Rust's regex crate, searched anywhere in the bytes: (?i) ignores case, ^ and $ are the
/// ends of the value, (?m) makes them those of its lines. What is null matches none. Each of these options can be repeated;
/// a record is printed if all hold.
///
/// A partition that cannot be read ends at that point, with an error message; the other partitions are printed to their ends.
/// The exit status is then 4, or 1 for an error of the operating system.
///
/// Formats (-o): `value` is the bytes of the value and the delimiter; `json` an envelope a line, in which nothing is lost;
/// `len32` a big-endian 32-bit length before each value; `csv` and `tsv` are rows of --columns; `hex` shows key, value and
/// headers byte by byte. In `value` and `len32` a null value looks like an empty one.
///
/// CSV begins with a line of names; null is nothing there (as the only column "", since readers skip a blank line), and an
/// empty text "". TSV has no such line; null is \N, and \t \n \r
/// \\ are written as escapes.
///
/// Templates (-f) have kcat's tokens: %s value, %S its length (-1 is null), %R the same as 4 big-endian bytes, %k key, %K its
/// length, %T timestamp in ms, %h headers, %t topic, %p partition, %o offset, %% a percent sign; and of our own %T{FORMAT}
/// the local time by strftime, %h{NAME} the last header of that name. Escapes are \n \t \r \xHH \\ and \0 to \255.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  kdir consume app --since '2h ago' --until '1h ago' -o json\n  \
                       kdir consume app --tail 10 -F --grep ERROR\n  \
                       kdir consume app -o csv --columns time,key,value,header:source\n  \
                       kdir consume app -o tsv --columns key,value\n  \
                       kdir consume app -o json --value-as json\n  \
                       kdir consume app -o hex -n 1\n  \
                       kdir consume app --key-is alice --count\n  \
                       kdir consume app --latest-by-key -f '%k %s\\n'\n  \
                       kdir consume app --value-is 'exact text' --exit-status\n  \
                       kdir consume app -F --idle-timeout 30s\n  \
                       kdir consume 'app-*' -f '%T{%F %T} %t %s\\n'\n  \
                       kdir consume app --cursor-file app.cursor | while read -r line; do echo \"$line\"; done")]
pub(crate) struct ConsumeArgs {
    /// The topics, by name or pattern
    #[arg(required = true, value_parser = args::topic_pattern, add = complete::topics())]
    topic: Vec<TopicPattern>,

    /// Only these partitions
    #[arg(short, long, value_name = "N,M", value_delimiter = ',', help_heading = "Where", add = complete::partitions())]
    #[arg(value_parser = args::partition_number)]
    partition: Vec<i32>,
    /// Where to begin [default: earliest]
    #[arg(long, value_name = "OFFSET", allow_hyphen_values = true, help_heading = "Where")]
    from_offset: Option<PerPartition>,
    /// Where to stop; the record at this offset is not printed
    #[arg(long, value_name = "OFFSET", allow_hyphen_values = true, help_heading = "Where")]
    to_offset: Option<PerPartition>,
    /// Only records at or after this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, help_heading = "Where")]
    since: Option<String>,
    /// Only records before this time; with --follow, end when it has come
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, help_heading = "Where")]
    until: Option<String>,
    /// Print only the last N matching records by time, across all partitions
    ///
    /// With --cursor-file, that is where the first run begins; the next go on at the positions in the file.
    #[arg(long, value_name = "N", help_heading = "Where")]
    tail: Option<u64>,
    /// Stop after this many records
    #[arg(short = 'n', long, value_name = "N", help_heading = "Where")]
    max_records: Option<u64>,
    /// Skip corrupt batches and continue after them; the log is not changed
    ///
    /// Prints a warning for each skipped place and exits with status 4. `--from-offset -N` counts back from the first damage.
    /// Cannot be used with --isolation read-committed: which transactions were aborted is unknown after damage.
    #[arg(long, help_heading = "Where", conflicts_with = "tail")]
    skip_corrupt: bool,
    /// Where to begin when --from-offset is outside the log, in place of an error
    #[arg(long, value_name = "earliest|latest", help_heading = "Where")]
    reset: Option<ResetName>,

    /// Go on when the end is reached, and print what is appended
    ///
    /// Partitions and topics that are added are read as well. What is printed may not be durable yet: after a power failure,
    /// its offsets can be given again.
    #[arg(short = 'F', long, help_heading = "Going on")]
    follow: bool,
    /// With --follow, end when no record was printed for this long
    #[arg(long, value_name = "DURATION", help_heading = "Going on")]
    idle_timeout: Option<Duration>,
    /// Start after what FILE says, and keep there what was printed
    ///
    /// Without the file, start where --from-offset or --tail says. Once it has positions, neither is asked: a partition without
    /// one is new, and read from its start. The file is written before the first record, about once a second and at the end, and
    /// only for records that the reader of stdout has processed. A pipe or socket is written in chunks, from a single record
    /// to 124 KiB and a record, each when the one before has been taken, and a chunk counts as processed when its reader comes
    /// back for more. At the end the last record counts when it has been taken, which is waited for; after a signal, or for a
    /// reader that goes early as head does (unless --max-records was reached), it does not, and comes again. So a run
    /// that was killed, or whose reader was, prints two chunks again at most, and skips nothing but, of a reader that dies at
    /// the very end, the last record. Of a program that is known to read on before it has processed what it has (mawk, xargs but
    /// for one at a time, parallel, sort, tac, tail, shuf, wc), what it may hold counts later, so that more is printed again;
    /// at the end it counts when it has been taken. What cannot be seen: other such readers, several that read from one pipe,
    /// and what another program or machine does with what it has got; for these there is --ack. In a terminal a record
    /// counts when it is written, in a file when it is durable. Records at or after --until
    /// are left for the next run.
    ///
    /// One run at a time can use a file. A link is followed. Where FILE cannot be replaced, as with one that is mounted into a
    /// container, it is written in place. A topic that was deleted and created again is read from its start. While kdir runs,
    /// .FILE.kdir.mark beside FILE is ahead of it; it stays where kdir is killed, and the next run reads it.
    #[arg(long, value_name = "FILE", help_heading = "Going on", group = "keeps")]
    cursor_file: Option<PathBuf>,
    /// Read as a member of a group, which shares the partitions among its members and keeps how far each was read
    ///
    /// Members are the runs with the same GROUP. A partition has one of them at a time; when one comes, ends or dies, the others
    /// share them again within a second or two. A member whose reader is still busy with what it got gives partitions up when the
    /// reader comes back for more; of one that prints nothing, five seconds later, and what it has printed last comes again. What
    /// counts as read is as with --cursor-file, and is kept in `__consumer_offsets`, as Kafka keeps it: a broker on this log
    /// dir goes on there, and `kdir groups` shows it. Of a partition that the group has kept nothing of, a member begins where
    /// --from-offset says, or at the start; of topics and partitions that come later, at the start. After a member was killed,
    /// another prints again what was not kept: what was printed in the last second at most, and a chunk. Without --follow
    /// a member ends when its partitions are read and no others are due to it.
    ///
    /// With --partition, a member reads these partitions and no others, and its share is not counted: the others share the rest.
    /// Where another member has one of them that is an error, or with --follow waited for.
    ///
    /// What a producer has not synced yet is printed and not kept: a member that ends waits a second for the next sync. Of a
    /// producer with `--sync never`, it is printed again by each run.
    ///
    /// Limits: one machine and one log dir; a member that is stopped (SIGSTOP) keeps its partitions.
    #[arg(short, long, value_name = "GROUP", help_heading = "Going on", value_parser = args::group, group = "keeps")]
    #[arg(conflicts_with_all = ["cursor_file", "tail", "latest_by_key"])]
    group: Option<GroupId>,
    /// With --group, begin where the group is, and leave it there
    ///
    /// Reads all partitions, or those of --partition, also those that members have, without joining the group.
    #[arg(long, help_heading = "Going on", requires = "group", conflicts_with_all = ["commit", "commit_every", "ack"])]
    no_commit: bool,
    /// With --group, allow a log dir on a network file system or FUSE
    ///
    /// Members find each other by locks on files, which such file systems may keep from other machines: two members on two of
    /// them would then both read a partition. Give this where all members run on one machine.
    #[arg(long, help_heading = "Going on", requires = "group")]
    shared_fs_ok: bool,
    /// Keep positions so often, in place of every 10 ms to 1 s, by how long it takes; 0s is after each chunk of output
    #[arg(long, value_name = "DURATION", help_heading = "Going on", requires = "keeps")]
    commit_every: Option<Duration>,
    /// When a record counts for --cursor-file: when its reader has processed it, or when it was taken out of the pipe
    ///
    /// `taken` is as fast as no cursor file. What a reader has taken into its own buffers and not processed when it is killed
    /// is skipped by the next run: up to 64 KiB with most programs, all that it has read with some.
    #[arg(long, value_name = "WHEN", default_value = "processed", help_heading = "Going on", requires = "keeps")]
    commit: CommitName,
    /// Read from descriptor FD which records are done [default: 0, stdin]
    ///
    /// A record counts for --cursor-file when it is acknowledged. A line is `ok`, or empty, for the oldest record that is not
    /// yet acknowledged; or P:N for all of partition P up to offset N; or P=N for that record alone. With several topics,
    /// TOPIC:P:N and TOPIC:P=N. The first line says which of these all others are. After the last record, stdout is closed and
    /// the rest of the acknowledgements waited for; when they end, so does kdir. A line that acknowledges what was not printed
    /// is an error.
    #[arg(long, value_name = "FD", num_args = 0..=1, require_equals = true, default_missing_value = "0")]
    #[arg(value_parser = descriptor, help_heading = "Going on", requires = "keeps", conflicts_with = "commit")]
    ack: Option<u32>,
    /// With --ack, print no more records than N that are not acknowledged
    #[arg(long, value_name = "N", default_value = "1000", help_heading = "Going on", requires = "ack")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    max_in_flight: u16,
    /// Keep the pauses that the timestamps show, divided by X: 1 is as it happened, 10 ten times as fast
    #[arg(long, value_name = "X", help_heading = "Going on")]
    speed: Option<Speed>,

    /// Only records whose value matches
    #[arg(long, value_name = "REGEX", help_heading = "Which")]
    grep: Vec<Regex>,
    /// Only records whose value does not match
    #[arg(long, value_name = "REGEX", help_heading = "Which")]
    grep_not: Vec<Regex>,
    /// Only records whose key matches
    #[arg(long, value_name = "REGEX", help_heading = "Which")]
    key: Vec<Regex>,
    /// Only records whose key does not match
    #[arg(long, value_name = "REGEX", help_heading = "Which")]
    key_not: Vec<Regex>,
    /// Only records whose key is exactly this
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, help_heading = "Which")]
    key_is: Option<OsString>,
    /// Only records whose value is exactly this
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, help_heading = "Which")]
    value_is: Option<OsString>,
    /// Only records with such a header
    #[arg(long, value_name = "NAME[=REGEX]", value_parser = options::header_test, help_heading = "Which")]
    header: Vec<(String, Option<Regex>)>,
    /// Only records without such a header
    #[arg(long, value_name = "NAME[=REGEX]", value_parser = options::header_test, help_heading = "Which")]
    header_not: Vec<(String, Option<Regex>)>,
    /// Only the newest record of each key, in the order of offsets
    ///
    /// The newest of those that are there at the start and within --from-offset, --to-offset, --since and --until, partition by
    /// partition; other conditions are asked of these. With --follow, then everything new. Records without a key are not
    /// printed, nor keys whose newest record has no value: these were deleted. The log is read twice. Takes 32 MiB and about a
    /// bit for each record; what that has no room for goes to a file in $TMPDIR, 16 bytes a record.
    #[arg(long, help_heading = "Which", conflicts_with_all = ["tail", "skip_corrupt"])]
    latest_by_key: bool,
    /// With --latest-by-key, print deleted keys as well: records without a value
    #[arg(long, help_heading = "Which", requires = "latest_by_key")]
    keep_tombstones: bool,
    /// Whether records of transactions are printed that were aborted or have not ended [default: read-uncommitted, and
    /// read-committed with --latest-by-key]
    ///
    /// Only a broker's producers write transactions. With `read-committed`, nothing is printed from the beginning of one on
    /// that has not ended; a warning then names its producer.
    #[arg(long, value_name = "LEVEL", help_heading = "Which")]
    isolation: Option<IsolationName>,
    /// Exit with status 1 when no record was printed, as grep does
    #[arg(long, help_heading = "Which")]
    exit_status: bool,

    /// How partitions are merged: by timestamp, then offset, or one after the other, which --tail cannot be used with
    #[arg(long, value_name = "ORDER", default_value = "time", help_heading = "Output")]
    order: OrderName,
    /// Form of a record
    #[arg(short, long, value_name = "FORMAT", default_value = "value", help_heading = "Output")]
    output: FormatName,
    /// Print each record by a template, as in -f '%T %k %s\n'
    #[arg(short, long, value_name = "TEMPLATE", allow_hyphen_values = true, help_heading = "Output")]
    #[arg(conflicts_with_all = ["output", "delimiter"])]
    format: Option<String>,
    /// Columns of -o csv and tsv: topic, partition, offset, timestamp (ms), time (RFC 3339), key, value, header:NAME [default:
    /// topic,partition,offset,timestamp,key,value]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', help_heading = "Output")]
    columns: Vec<Column>,
    /// In -o json, the value as a string, or as the JSON that it is
    ///
    /// With `json`, a value that is not JSON is base64 in value_b64, and so is the JSON value null, since "value":null is a
    /// record without a value.
    #[arg(long, value_name = "text|json", help_heading = "Output")]
    value_as: Option<ValueAs>,
    /// Print only how many records there are
    #[arg(long, help_heading = "Output")]
    #[arg(conflicts_with_all = ["output", "format", "delimiter", "cursor_file", "speed"])]
    count: bool,
    /// The bytes to print after each value, which may be none; \n \t \r \0 \\ and \xHH are understood [default: \n]
    #[arg(short = 'D', long, allow_hyphen_values = true)]
    #[arg(value_name = "BYTES", value_parser = args::any_bytes, help_heading = "Output")]
    delimiter: Option<Delimiter>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ResetName {
    Earliest,
    Latest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum CommitName {
    Processed,
    Taken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum IsolationName {
    #[value(alias = "read_uncommitted")]
    ReadUncommitted,
    #[value(alias = "read_committed")]
    ReadCommitted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OrderName {
    Time,
    Partition,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FormatName {
    Value,
    Json,
    Len32,
    Csv,
    Tsv,
    Hex,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ValueAs {
    Text,
    Json,
}

/// A descriptor to read from.
fn descriptor(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(1 | 2) => Err("records and messages are written there: expected 0, or 3 or more".into()),
        Ok(number) => Ok(number),
        Err(_) => Err("expected the number of a descriptor, as in --ack=3 3< FILE".into()),
    }
}

/// The descriptor that acknowledgements are read from. It is taken before anything else is opened, which could get the number
/// of one that is closed.
fn take_acks(number: u32) -> anyhow::Result<OwnedFd> {
    if number == 0 {
        ui::require_stdin()?;
        return Ok(io::stdin().as_fd().try_clone_to_owned()?);
    }
    let opened = open_input(Path::new(&format!("/dev/fd/{number}")));
    Ok(opened.with_context(|| format!("--ack={number}: the descriptor cannot be read"))?.into())
}

pub(crate) fn run(args: &ConsumeArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let acks = args.ack.map(take_acks).transpose()?;
    let options = options::of(args, context)?;
    let (log_dirs, positions) = positions(args, context)?;
    // Only a run that keeps a position has something to finish: all others end as signals end a filter.
    let keeps_positions = positions.are_kept();
    let stop = keeps_positions.then(Stop::on_signals).transpose()?;
    let interrupt =
        stop.as_ref().map(|stop| Interrupt { descriptor: stop.descriptor(), has_come: signals::is_stopped });
    let commit = match (&acks, args.commit) {
        (Some(input), _) => Commit::Acknowledged { input: input.as_fd(), in_flight_max: args.max_in_flight.into() },
        (None, CommitName::Processed) => Commit::Processed,
        (None, CommitName::Taken) => Commit::Taken,
    };
    let commit_every = args.commit_every.map(Duration::as_std);
    let environment = Environment { outlet: Outlet::stdout(), commit, commit_every, interrupt, clock: cli::now };
    let mut terminal = Terminal::new(args, context, environment.outlet);
    let mut tell = |event: Event<'_>| terminal.take(event);
    let consumer = Consumer::open(&log_dirs, &options, positions, environment, &mut tell);
    let ended = consumer.and_then(Consumer::run);
    let (mut exit, records) = (terminal.finish(), terminal.records);
    let ended = ended.map_err(in_words)?;
    if args.count {
        match context.ui.data(format!("{records}\n").as_bytes()) {
            // A reader that has gone hides nothing that was told.
            Err(OutputError(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
            written => written?,
        }
    }
    if args.exit_status && records == 0 && exit == Exit::Done {
        exit = Exit::Told(FAILED);
    }
    match (ended, stop.as_ref().and_then(Stop::signal)) {
        (Ended::Stopped, Some(signal)) => Ok(Exit::Signal(signal)),
        _ => Ok(exit),
    }
}

/// The log dirs, and where positions in them are kept.
fn positions(args: &ConsumeArgs, context: &Context) -> anyhow::Result<(LogDirs, Positions)> {
    if let Some(group) = args.group.as_ref().filter(|_| args.no_commit) {
        let log_dirs = context.open_to_read()?;
        let positions = positions_of(&log_dirs, group).map_err(in_words)?;
        return Ok((log_dirs, Positions::Known(positions)));
    }
    if let Some(group) = &args.group {
        let log_dir = context.open_to_write()?;
        let assignment = match &args.partition[..] {
            [] => Assignment::Shared,
            chosen => Assignment::Manual(chosen.iter().copied().collect()),
        };
        let file_systems = if args.shared_fs_ok { FileSystems::Any } else { FileSystems::Local };
        let how = (assignment, file_systems);
        let member = GroupPositions::open(&log_dir, group, how, process::pid_and_host(), cli::now);
        return Ok((log_dir.into(), Positions::Group(Box::new(member.map_err(in_words)?))));
    }
    let positions = match &args.cursor_file {
        Some(file) => Positions::CursorFile(CursorFile::lock(&context.disk, file).map_err(in_words)?),
        None => Positions::None,
    };
    Ok((context.open_to_read()?, positions))
}
