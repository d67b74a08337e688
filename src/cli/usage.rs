//! The command line from words to arguments, and what is wrong with one in kdir's own voice: what clap refuses is reported
//! as every other failure is, by name and with what to type instead.

use super::ui::{ColorChoice, Ui};
use super::{Cli, exit, lazy};
use crate::units::time::is_negative;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory, FromArgMatches};
use std::error::Error as _;
use std::ffi::OsString;
use std::mem;
use std::num::{IntErrorKind, ParseIntError};
use std::process::ExitCode;

/// What people type who know another program: in these commands (in all, where none is named) these words, and the hint.
type Habit = (&'static [&'static str], &'static [&'static str], &'static str);

const HABITS: &[Habit] = &[
    (
        &["consume"],
        &["--from-beginning", "-e"],
        "leave it out: consume begins at the log start and ends at the log end",
    ),
    (&["consume"], &["--offset"], "use --from-offset earliest, latest, N or -N (N before the end)"),
    (&["consume"], &["--limit", "--max-messages", "--lines", "--num", "-c"], "use -n N (--max-records N)"),
    (&["consume"], &["--last"], "use --tail N"),
    (&["consume"], &["--from"], "use --since TIME or --from-offset OFFSET"),
    (&["consume"], &["--to"], "use --until TIME or --to-offset OFFSET"),
    (&["consume"], &["--timeout", "--timeout-ms"], "use --follow --idle-timeout DURATION"),
    (&["consume"], &["--value", "--regex", "--match"], "use --grep REGEX, or --value-is BYTES for the whole value"),
    (&["consume"], &["-K", "--key-delimiter"], r"print keys with a template: -f '%k:%s\n'"),
    (&["consume"], &["-J"], "use -o json"),
    (&["consume"], &["--reverse", "-r"], "records come in the order of the log: use --tail N for the newest"),
    (
        &["consume"],
        &["-G", "--consumer-group", "--group-id"],
        "use -g GROUP, or --cursor-file FILE for a reader of its own",
    ),
    (
        &["produce"],
        &["--sync-always", "--acks", "--request-required-acks"],
        "use --sync always, end, never or a DURATION",
    ),
    (&["produce"], &["--value"], "pipe the value in: `printf %s VALUE | kdir produce TOPIC -i raw`"),
    (&["produce"], &["--file", "-l"], "name the file without an option: `kdir produce TOPIC FILE`"),
    (&["produce"], &["--format", "-f", "--json"], "use -i lines, json, len32 or raw"),
    (&["create", "alter"], &["--replication-factor", "-r"], "leave it out: kdir keeps one copy of each partition"),
    (&["create"], &["--force"], "use --if-not-exists to leave a topic that exists as it is"),
    (&["alter"], &["--add-config", "--set"], "use -c KEY=VALUE"),
    (&["alter"], &["--delete-config", "--delete"], "use --unset KEY"),
    (&["delete", "delete-records"], &["--force", "-f"], "use --yes to delete without a question"),
    (&["delete-records"], &["--offset-json-file"], "use --before-offset 0:100,1:250"),
    (&["delete-records"], &["--before-time", "--older-than"], "use --before TIME"),
    (&["offsets"], &["--time"], "use --at earliest, latest, max-timestamp or a TIME"),
    (&["retention"], &["--retention-ms"], "use --retention DURATION, as in --retention 7d"),
    (&["list", "describe"], &["-l", "--long"], "leave it out: `kdir describe` shows one row a partition"),
    (&[""], &["-C", "--consume"], "use `kdir consume TOPIC`"),
    (&[""], &["-P", "--produce"], "use `kdir produce TOPIC`"),
    (&[""], &["-L", "--list"], "use `kdir list`, or `kdir describe` for one row a partition"),
    (&[""], &["-Q"], "use `kdir offsets TOPIC --at TIME`"),
    (&[""], &["-G"], "use `kdir consume TOPIC --cursor-file FILE`"),
    (&[""], &["--create"], "use `kdir create TOPIC`"),
    (&[""], &["--describe"], "use `kdir describe TOPIC`"),
    (&[""], &["--delete"], "use `kdir delete TOPIC`"),
    (&[""], &["--alter"], "use `kdir alter TOPIC`"),
    (&[], &["-t", "--topic", "--topics"], "name the topic without an option: `kdir COMMAND TOPIC`"),
    (
        &[],
        &[
            "-b",
            "-X",
            "-F",
            "--brokers",
            "--broker-list",
            "--bootstrap-server",
            "--zookeeper",
            "--command-config",
            "--producer-property",
            "--consumer-property",
            "--producer.config",
            "--consumer.config",
            "--property",
        ],
        "kdir reads and writes a directory and connects to no broker: name the directory with -d DIR",
    ),
    (&[], &["--dir", "--data-dir", "--log-dirs", "--path"], "use -d DIR (--log-dir DIR)"),
    (&[], &["--json", "--format"], "use -o json"),
    (&[], &["--tsv"], "use -o tsv"),
    (&[], &["--csv"], "use -o csv with consume, -o tsv elsewhere"),
    (&[], &["--force"], "leave it out: only what deletes asks, and --yes answers"),
    (&[], &["--no-color", "--no-colour"], "use --color never"),
];

/// Commands of other programs, and what to type instead.
const OTHER_COMMANDS: &[(&[&str], &str)] = &[
    (&["rm", "remove", "drop"], "`kdir delete TOPIC` deletes a topic, `kdir delete-records` its oldest records"),
    (&["topics", "topic"], "`kdir list` lists topics, `kdir create`, `describe`, `alter` and `delete` manage them"),
    (&["mk", "new", "add"], "`kdir create TOPIC` makes a topic"),
    (&["push", "write", "pub", "send", "append"], "`kdir produce TOPIC` appends records"),
    (&["tail", "follow", "watch"], "`kdir consume TOPIC --tail 10 -F` prints the last records and goes on"),
    (&["read", "get", "sub"], "`kdir consume TOPIC` prints records"),
    (&["info", "show", "stat"], "`kdir describe TOPIC` shows one row a partition"),
    (
        &["config", "configs", "set"],
        "`kdir alter TOPIC -c KEY=VALUE` changes a configuration, `kdir describe` shows it",
    ),
    (&["check", "fsck"], "`kdir verify` checks, `kdir repair` repairs"),
    (&["fix"], "`kdir repair` repairs"),
    (&["backup", "save"], "`kdir export TOPIC > FILE` writes topics to one file"),
    (&["restore", "load"], "`kdir import < FILE` reads topics from a file of `kdir export`"),
    (&["prune", "gc", "vacuum", "purge"], "`kdir retention` removes what is older or larger than a topic keeps"),
];

/// Reads the command line; prints what is to be said and answers with the exit code where there is nothing to run.
pub(super) fn parse() -> Result<Cli, ExitCode> {
    let words = help_as_option(std::env::args_os().collect());
    let mut command = lazy::with_negative_numbers(Cli::command());
    let parsed = command.try_get_matches_from_mut(&words).and_then(|it| Cli::from_arg_matches(&it));
    // There is one in a run: to free its thousand parts takes longer than to parse the line.
    mem::forget(command);
    let parsed = parsed.or_else(|error| match with_negative_values(&words).filter(|_| is_unknown(&error)) {
        Some(joined) => match parse_again(joined) {
            Err(again) if is_unknown(&again) => Err(error),
            parsed => parsed,
        },
        None => Err(error),
    });
    let parsed = parsed.and_then(|cli| with_log_dirs_before_the_command(cli, &words));
    parsed.map_err(|error| match error.kind() {
        ErrorKind::DisplayVersion => exit::clap(&error),
        // The help lists what each command does.
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            exit::clap(&super::command().try_get_matches_from(words).err().unwrap_or(error))
        }
        _ => {
            let command = named_command(words);
            let (message, hint) = Wrong { error: &error, command: &command }.say();
            let ui = Ui::new(false, false, ColorChoice::Auto);
            ui.error(&message);
            if let Some(hint) = hint {
                ui.hint(&hint);
            }
            ExitCode::from(exit::USAGE)
        }
    })
}

fn is_unknown(error: &clap::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::TooManyValues)
}

fn parse_again(words: Vec<OsString>) -> clap::error::Result<Cli> {
    let command = lazy::with_negative_numbers(Cli::command());
    command.try_get_matches_from(words).and_then(|it| Cli::from_arg_matches(&it))
}

/// The same words, where a negative amount with a unit, which clap takes for options, is joined to the option before it:
/// `--linger=-1s` for `--linger -1s`. `None` where there is none: no option is called by a digit.
fn with_negative_values(words: &[OsString]) -> Option<Vec<OsString>> {
    let mut joined: Vec<OsString> = Vec::with_capacity(words.len());
    for (place, word) in words.iter().enumerate() {
        let text = word.to_str().filter(|text| is_negative(text) && text.parse::<f64>().is_err());
        let option = joined.last().and_then(|it| it.to_str()).filter(|it| it.len() > 1 && it.starts_with('-'));
        match (text, option) {
            _ if word == "--" => {
                joined.extend_from_slice(&words[place..]);
                break;
            }
            (Some(value), Some(option)) => {
                let separator = if option.starts_with("--") { "=" } else { "" };
                let both = format!("{option}{separator}{value}");
                joined.pop();
                joined.push(both.into());
            }
            _ => joined.push(word.clone()),
        }
    }
    (joined.len() < words.len()).then_some(joined)
}

/// Of an option that is given before the command and after it, clap takes the second alone: for all but the log dirs, of which
/// there may be several, that is what is meant.
fn with_log_dirs_before_the_command(mut cli: Cli, words: &[OsString]) -> clap::error::Result<Cli> {
    let may_name_one = |word: &&OsString| word.to_str().is_none_or(|word| word.starts_with('-') && word.contains('d'));
    if words.iter().filter(may_name_one).count() < 2 {
        return Ok(cli);
    }
    let before = Cli::command().mut_arg("log_dir", |arg| arg.global(false).env(None)).ignore_errors(true);
    let before = before.try_get_matches_from(words)?;
    let given = &mut cli.global.log_dir;
    let missing: Vec<_> =
        before.get_many("log_dir").unwrap_or_default().filter(|it| !given.contains(it)).cloned().collect();
    given.splice(0..0, missing);
    Ok(cli)
}

/// `kdir help CMD` is `kdir CMD --help`, and `kdir help` is `kdir --help`.
fn help_as_option(mut words: Vec<OsString>) -> Vec<OsString> {
    if words.get(1).is_some_and(|word| word == "help") {
        words.remove(1);
        let named = words.get(1).and_then(|word| super::command().find_subcommand(word).cloned());
        words.truncate(if named.is_some_and(|command| command.has_subcommands()) { 3 } else { 2 });
        words.push("--help".into());
    }
    words
}

/// The command that the words name; of those that name none, kdir itself.
fn named_command(words: Vec<OsString>) -> Command {
    let program = super::command();
    let Ok(matches) = Cli::command().ignore_errors(true).try_get_matches_from(words) else { return program };
    let (mut command, mut matches) = (program, &matches);
    while let Some((name, within)) = matches.subcommand() {
        let Some(found) = command.find_subcommand(name).cloned() else { break };
        (command, matches) = (found, within);
    }
    command
}

/// What clap has refused, and of which command.
struct Wrong<'a> {
    error: &'a clap::Error,
    command: &'a Command,
}

impl Wrong<'_> {
    /// The message, and a hint.
    fn say(&self) -> (String, Option<String>) {
        let argument = self.names(ContextKind::InvalidArg).join(" and ");
        let value = self.text(ContextKind::InvalidValue);
        match self.error.kind() {
            ErrorKind::UnknownArgument => self.unknown(&argument),
            ErrorKind::InvalidSubcommand => self.unknown_command(&self.text(ContextKind::InvalidSubcommand)),
            ErrorKind::MissingRequiredArgument => (format!("{} needs {argument}", self.name()), self.see_help()),
            ErrorKind::ArgumentConflict => {
                let prior = self.names(ContextKind::PriorArg).join(" and ");
                (format!("{argument} cannot be used with {prior}"), None)
            }
            ErrorKind::InvalidValue if value.is_empty() => {
                (format!("{argument} needs a value{}", self.choice(": ")), self.missing_value_hint(&argument))
            }
            ErrorKind::InvalidValue => (format!("{argument}: {value:?} is not{}", self.choice(" ")), None),
            ErrorKind::ValueValidation => (format!("{argument}: {}", self.reason(&value)), None),
            ErrorKind::InvalidUtf8 => ("an argument is not UTF-8, which only a path may be".into(), None),
            _ => {
                let text = self.error.to_string();
                let line = text.lines().next().unwrap_or_default();
                (line.strip_prefix("error: ").unwrap_or(line).to_owned(), self.see_help())
            }
        }
    }

    /// As it is typed after `kdir`; of no command, `kdir`.
    fn name(&self) -> &str {
        let typed = self.command.get_bin_name().unwrap_or_else(|| self.command.get_name());
        typed.strip_prefix("kdir ").unwrap_or(typed)
    }

    /// Where all that the command takes is listed.
    fn see_help(&self) -> Option<String> {
        Some(match self.name() {
            "kdir" => "`kdir --help` lists the commands".into(),
            name => format!("`kdir help {name}` lists what it takes"),
        })
    }

    fn unknown(&self, argument: &str) -> (String, Option<String>) {
        let option = argument.split('=').next().unwrap_or_default();
        if !option.starts_with('-') {
            return (format!("{} has no place for {argument:?}", self.name()), self.see_help());
        }
        let message = match self.name() {
            "kdir" => format!("there is no option {option} before a command"),
            name => format!("{name} has no option {option}"),
        };
        let hint = self.habit(option).or_else(|| self.nearest_option(option)).or_else(|| self.see_help());
        (message, hint)
    }

    fn habit(&self, option: &str) -> Option<String> {
        let name = if self.name() == "kdir" { "" } else { self.name() };
        let habit = HABITS.iter().find(|(commands, options, _)| {
            (commands.is_empty() || commands.contains(&name)) && options.contains(&option)
        });
        habit.map(|(_, _, hint)| hint.replace("COMMAND", if name.is_empty() { "COMMAND" } else { name }))
    }

    fn nearest_option(&self, option: &str) -> Option<String> {
        let longs = self.command.get_opts().filter(|it| !it.is_hide_set()).filter_map(|it| it.get_long());
        let nearest = nearest(option.strip_prefix("--")?, longs)?;
        Some(format!("did you mean --{nearest}?"))
    }

    fn unknown_command(&self, word: &str) -> (String, Option<String>) {
        let other = OTHER_COMMANDS.iter().find(|(words, _)| words.contains(&word)).map(|(_, hint)| (*hint).to_owned());
        let names = self.command.get_subcommands().map(Command::get_name);
        let before = if self.name() == "kdir" { String::new() } else { format!("{} ", self.name()) };
        let nearest = || nearest(word, names).map(|name| format!("did you mean `kdir {before}{name}`?"));
        let other = other.filter(|_| before.is_empty());
        (format!("there is no command {before}{word}"), other.or_else(nearest).or_else(|| self.see_help()))
    }

    /// In consume, -f is not the -f of tail.
    fn missing_value_hint(&self, argument: &str) -> Option<String> {
        (argument == "--format" && self.name() == "consume").then(|| "to follow a topic, use -F".into())
    }

    /// Why a value is refused. What parses numbers does not name the value.
    fn reason(&self, value: &str) -> String {
        let Some(source) = self.error.source() else { return format!("{value:?} is not understood") };
        match source.downcast_ref::<ParseIntError>().map(ParseIntError::kind) {
            Some(IntErrorKind::PosOverflow | IntErrorKind::NegOverflow) => format!("{value} is too large"),
            Some(_) if value.starts_with('-') => format!("{value} is negative: give a whole number"),
            Some(_) => format!("{value:?} is not a whole number"),
            None => match source.to_string() {
                what if is_negative(value) && !what.contains(value) => format!("{value} is negative: {what}"),
                what => what,
            },
        }
    }

    /// The values that an argument takes, where they are known by name: `a, b or c`.
    fn choice(&self, before: &str) -> String {
        let names = self.strings(ContextKind::ValidValue);
        match names.split_last() {
            None => String::new(),
            Some((last, [])) => format!("{before}{last}"),
            Some((last, rest)) => format!("{before}{} or {last}", rest.join(", ")),
        }
    }

    fn text(&self, kind: ContextKind) -> String {
        self.strings(kind).into_iter().next().unwrap_or_default()
    }

    fn strings(&self, kind: ContextKind) -> Vec<String> {
        match self.error.get(kind) {
            Some(ContextValue::String(text)) => vec![text.clone()],
            Some(ContextValue::Strings(texts)) => texts.clone(),
            _ => Vec::new(),
        }
    }

    fn names(&self, kind: ContextKind) -> Vec<String> {
        self.strings(kind).iter().map(|usage| plain_name(usage)).collect()
    }
}

/// The name of an argument as a person types it, from how clap shows its usage: `--tail <N>`, `<TOPIC>...`, or of several
/// of which one is needed, `<--before-offset <P:N>|--before <TIME>>`.
fn plain_name(usage: &str) -> String {
    if let Some(several) = usage.strip_prefix('<').filter(|it| it.starts_with("--")) {
        let options = several.split(['|', ' ', '<', '>']).filter(|word| word.starts_with("--"));
        let options: Vec<&str> = options.collect();
        return match options.split_last() {
            Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
            _ => options.concat(),
        };
    }
    let word = usage.split([' ', '[']).find(|it| !it.is_empty()).unwrap_or_default();
    word.trim_matches(['<', '>', '[', ']', '.']).to_owned()
}

/// The one of the names that a word most likely means.
fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // One slip in a short word, two in a longer one.
    let at_most = if word.len() < 5 { 1 } else { 2 };
    let distances = names.map(|name| (strsim::damerau_levenshtein(word, name), name));
    distances.filter(|&(distance, _)| distance <= at_most).min().map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_named_as_they_are_typed() {
        for (usage, name) in [
            ("--tail <N>", "--tail"),
            ("--follow", "--follow"),
            ("<TOPIC>...", "TOPIC"),
            ("[FILE]...", "FILE"),
            ("--ack[=<FD>]", "--ack"),
            ("--at <earliest|latest|TIME>", "--at"),
            ("<--before-offset <P:N,...>|--before <TIME>>", "--before-offset or --before"),
        ] {
            assert_eq!(plain_name(usage), name);
        }
    }

    /// A hint on an option that exists would never be shown.
    #[test]
    fn no_habit_is_an_option_of_its_command() {
        let program = crate::cli::command();
        for (commands, options, _) in HABITS.iter().filter(|(commands, ..)| !commands.is_empty()) {
            for command in *commands {
                let command = if command.is_empty() { &program } else { program.find_subcommand(command).unwrap() };
                for option in *options {
                    let is_it = |it: &clap::Arg| match option.strip_prefix("--") {
                        Some(long) => it.get_long() == Some(long),
                        None => it.get_short() == option.chars().nth(1),
                    };
                    assert!(!command.get_opts().any(is_it), "{option} of {}", command.get_name());
                }
            }
        }
    }
}
