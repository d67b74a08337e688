//! Every command under every condition that a shell, a unit or a container may give it: its exit code and its messages are
//! those of `conditions.txt`. `UPDATE=1 cargo test --test cli conditions` writes them again.
//!
//! Whatever the condition: nothing aborts or panics, what was there stays there, and what was acknowledged can be read.

use crate::support::{Kdir, Running, json_lines};
use crate::terminals::Terminal;
use regex::Regex;
use rustix::process::geteuid;
use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex};

/// What is done in a log dir with the topics `app`, of three records, and `other`, of none.
const COMMANDS: [&[&str]; 28] = [
    &["create", "new"],
    &["list"],
    &["describe", "app"],
    &["alter", "app", "-c", "retention.ms=1000"],
    &["delete", "other", "--yes"],
    &["produce", "app"],
    &["produce", "app", "-o", "json"],
    &["produce", "app", "-o", "json", "--sync", "always"],
    &["consume", "app"],
    &["consume", "app", "-o", "json"],
    &["consume", "app", "--cursor-file", "cursor"],
    &["consume", "app", "--latest-by-key"],
    &["get", "app", "key"],
    &["offsets", "app", "--at", "earliest"],
    &["delete-records", "other", "--before-offset", "latest", "--yes"],
    &["retention"],
    &["retention", "--dry-run"],
    &["compact", "other", "-c", "cleanup.policy=compact", "--force", "--roll", "-o", "tsv"],
    &["compact", "other", "-c", "cleanup.policy=compact", "--force", "--roll", "--dry-run"],
    &["compact"],
    &["verify"],
    &["repair"],
    &["dump", "log/app-0/00000000000000000000.log"],
    &["completions", "bash"],
    &["man"],
    &["--help"],
    &["describe", "missing"],
    &["produce"],
];

/// What a program meets. The script has the command as `"$@"`.
struct Condition {
    name: &'static str,
    script: &'static str,
    stdin: Given,
    stdout: Given,
    stderr: Given,
}

/// What a descriptor is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Given {
    /// A file: with lines to produce, or to write to.
    File,
    /// A pipe whose reader has gone.
    NoReader,
    Terminal,
}

const fn in_a_script(name: &'static str, script: &'static str) -> Condition {
    Condition { name, script, stdin: Given::File, stdout: Given::File, stderr: Given::File }
}

const OF_ALL: [Condition; 16] = [
    in_a_script("nothing special", r#"exec "$@""#),
    in_a_script("stdin closed", r#"exec "$@" <&-"#),
    in_a_script("stdin a folder", r#"exec "$@" </"#),
    Condition { stdin: Given::Terminal, ..in_a_script("stdin a terminal", r#"exec "$@""#) },
    in_a_script("stdout closed", r#"exec "$@" >&-"#),
    in_a_script("stdout full", r#"exec "$@" >/dev/full"#),
    Condition { stdout: Given::NoReader, ..in_a_script("stdout a pipe without a reader", r#"exec "$@""#) },
    in_a_script("stderr closed", r#"exec "$@" 2>&-"#),
    in_a_script("stderr full", r#"exec "$@" 2>/dev/full"#),
    Condition { stderr: Given::NoReader, ..in_a_script("stderr a pipe without a reader", r#"exec "$@""#) },
    in_a_script("stdin, stdout and stderr closed", r#"exec "$@" <&- >&- 2>&-"#),
    in_a_script("64 open files (ulimit -n 64)", r#"ulimit -n 64; exec "$@""#),
    in_a_script("files of 50 KiB (ulimit -f 100)", r#"ulimit -f 100; exec "$@""#),
    in_a_script("the first process of a container (unshare -p)", r#"exec unshare -Urpf "$@""#),
    in_a_script(
        "a read-only mount",
        r#"exec unshare -Urm sh -c '
            mount --bind "$KDIR_LOG_DIR" "$KDIR_LOG_DIR" && mount -o remount,bind,ro "$KDIR_LOG_DIR" && exec "$@"' sh "$@""#,
    ),
    in_a_script("no log dir yet", r#"rm -r "$KDIR_LOG_DIR"; exec "$@""#),
];

/// Only root becomes another user.
const OF_ROOT: [Condition; 2] = [
    in_a_script("as nobody, in root's log dir", r#"exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@""#),
    in_a_script(
        "one thread (RLIMIT_NPROC 1, as a user that has no other process)",
        r#"user=$((70000 + $$ % 20000)) && chown -R $user "$HOME" &&
            exec setpriv --reuid $user --regid $user --clear-groups prlimit --nproc=1 "$@""#,
    ),
];

/// The log dir that every run begins with.
fn template() -> &'static Kdir {
    static TEMPLATE: LazyLock<Kdir> = LazyLock::new(|| {
        let kdir = Kdir::with_topic("app", &[]);
        kdir.produce("app", &[], "one\ntwo\nthree\n");
        kdir.create("other", &[]);
        kdir
    });
    &TEMPLATE
}

/// What has happened, in one line and the lines of stderr.
fn outcome(condition: &Condition, args: &[&str]) -> String {
    let kdir = Kdir::new();
    copy(&template().log_dir(), &kdir.log_dir());
    fs::set_permissions(kdir.temp(), Permissions::from_mode(0o755)).unwrap();
    let ended = run(&kdir, condition, args);
    let what = format!("{}: {args:?}: {ended:?}", condition.name);
    assert_eq!(ended.signal, None, "{what}");
    assert!(!matches!(ended.code, Some(101 | 134)) && !ended.stderr.contains("panicked"), "{what}");
    if condition.name != "no log dir yet" {
        check_log_dir(&kdir, condition, args, &ended, &what);
    }
    let stderr = told(&kdir, &ended.stderr);
    let lines: String = stderr.lines().map(|line| format!("      {line}\n")).collect();
    format!("{:>3}   {}\n{lines}", ended.code.unwrap(), args.join(" "))
}

fn check_log_dir(kdir: &Kdir, condition: &Condition, args: &[&str], ended: &Ended, what: &str) {
    const CHANGING: [&str; 7] = ["create", "alter", "delete", "produce", "delete-records", "retention", "repair"];
    if !CHANGING.contains(&args[0]) {
        assert!(kdir.contents() == template().contents(), "{what}");
        return;
    }
    kdir.run(&["-q", "verify"]).code(0).stdout("").stderr("");
    if args[0] == "produce" && args.len() > 1 {
        check_stored(&kdir.values("app"), ended, condition.stdin == Given::File, what);
    } else {
        assert_eq!(kdir.values("app"), "one\ntwo\nthree\n", "{what}");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() { copy(&entry.path(), &to) } else { drop(fs::copy(entry.path(), to)) }
    }
}

#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    signal: Option<i32>,
    stdout: Vec<u8>,
    stderr: String,
}

fn run(kdir: &Kdir, condition: &Condition, args: &[&str]) -> Ended {
    let path = |name: &str| kdir.temp().join(name);
    let file = |name: &str| Stdio::from(File::create(path(name)).unwrap());
    let given = |given: Given, name: &str| match given {
        Given::File => file(name),
        Given::NoReader => Stdio::from(std::io::pipe().unwrap().1),
        Given::Terminal => unreachable!("only stdin is one"),
    };
    let mut command: Command = kdir.process_of_script(condition.script, args);
    command.current_dir(kdir.temp());
    command.stdout(given(condition.stdout, "out")).stderr(given(condition.stderr, "err"));
    let terminal = match condition.stdin {
        Given::Terminal => {
            let (terminal, program) = Terminal::new(80);
            command.stdin(program);
            Some(terminal)
        }
        _ => {
            File::create(path("in")).unwrap().write_all(input().as_bytes()).unwrap();
            command.stdin(File::open(path("in")).unwrap());
            None
        }
    };
    let mut running = Running::start(command);
    if let Some(mut terminal) = terminal {
        terminal.type_keys("typed\n\x04");
        let status = running.status();
        return ended(&path("out"), &path("err"), status);
    }
    let status = running.status();
    ended(&path("out"), &path("err"), status)
}

fn ended(out: &Path, err: &Path, status: std::process::ExitStatus) -> Ended {
    let read = |path| fs::read(path).unwrap_or_default();
    let stderr = String::from_utf8(read(err)).unwrap();
    Ended { code: status.code(), signal: status.signal(), stdout: read(out), stderr }
}

/// More than a file may hold under `ulimit -f 100`.
fn input() -> String {
    (0..2000).map(|number| format!("a line of an input that is long enough: {number}\n")).collect()
}

/// What was there is there; of the input a first part is there, all of it after exit 0, and all that was acknowledged.
fn check_stored(values: &str, ended: &Ended, has_input: bool, what: &str) {
    let new = values.strip_prefix("one\ntwo\nthree\n").unwrap_or_else(|| panic!("{what}: {values}"));
    let input = if has_input { input() } else { "typed\n".to_owned() };
    assert!(input.starts_with(new), "{what}: {new}");
    // Of a stdin that is none there is no input.
    let is_done = ended.code == Some(0);
    assert!(!is_done || new == input, "{what}: {new}");
    let acknowledged = json_lines(&ended.stdout).iter().filter_map(|event| event["last_offset"].as_u64()).max();
    let stored = values.lines().count() as u64;
    assert!(acknowledged.is_none_or(|last| last < stored), "{what}: {stored} stored");
}

/// Stderr without what differs from run to run.
fn told(kdir: &Kdir, stderr: &str) -> String {
    let stderr = crate::support::without_waits(stderr).replace(kdir.temp().to_str().unwrap(), "DIR");
    let id = Regex::new("[A-Za-z0-9_]{22}[.]tmp").unwrap();
    let without_seconds = |line: &str| match line.rsplit_once(" in ") {
        Some((rest, seconds)) if seconds.ends_with(" s") => format!("{rest} in SECONDS s\n"),
        _ => format!("{}\n", id.replace_all(line, "ID.tmp")),
    };
    stderr.lines().map(without_seconds).collect()
}

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/conditions.txt");
/// Held while the table is read or written.
static IN_USE: Mutex<()> = Mutex::new(());

/// The table by its conditions.
fn table() -> BTreeMap<String, String> {
    let text = fs::read_to_string(TABLE).unwrap_or_default();
    let sections = text.split("\n== ").skip(1).map(|section| section.split_once('\n').unwrap());
    sections.map(|(name, rows)| (name.to_owned(), rows.trim_end().to_owned() + "\n")).collect()
}

fn check(conditions: &[Condition]) {
    for condition in conditions {
        let found: String = COMMANDS.iter().map(|args| outcome(condition, args)).collect();
        let _in_use = IN_USE.lock().unwrap();
        let mut table = table();
        if std::env::var_os("UPDATE").is_some() {
            table.insert(condition.name.to_owned(), found);
            let sections = OF_ALL.iter().chain(&OF_ROOT).filter_map(|it| Some((it.name, table.get(it.name)?)));
            let text: String = sections.map(|(name, rows)| format!("\n== {name}\n{rows}")).collect();
            let head =
                "Exit code, command and stderr under each condition: see conditions.rs. DIR is the folder of a run.\n";
            fs::write(TABLE, head.to_owned() + &text).unwrap();
            continue;
        }
        let expected = table.get(condition.name).cloned().unwrap_or_default();
        let differs = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
        assert!(found == expected, "{}: {differs:?}: if it is right, run with UPDATE=1\n{found}", condition.name);
    }
}

#[test]
fn each_command_ends_as_the_table_says_under_each_condition() {
    check(&OF_ALL[..OF_ALL.len() / 2]);
}

#[test]
fn each_command_ends_as_the_table_says_under_each_other_condition() {
    check(&OF_ALL[OF_ALL.len() / 2..]);
}

#[test]
fn each_command_ends_as_the_table_says_as_another_user_where_the_test_is_roots() {
    if !geteuid().is_root() {
        eprintln!("NOT RUN: only root can run a command as another user");
        return;
    }
    check(&OF_ROOT);
}
