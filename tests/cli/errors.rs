//! The catalogue of errors: each command of `tests/cmd/errors.trycmd` fails with exactly that message and exit code.
//!
//! The commands are run in a folder with a log dir `log`, described in [`folder`]. With UPDATE set the catalogue is written
//! again: look at the difference.

use crate::support::Kdir;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const CATALOGUE: &str = "tests/cmd/errors.trycmd";

fn catalogue() -> (std::path::PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(CATALOGUE);
    let text = fs::read_to_string(&path).unwrap();
    (path, text)
}

/// What the commands find: topics `app` (10 records of one partition, 4 deleted), `orders` (3 partitions), `compacted`,
/// `brokers` (without a topic file), `damaged` (a batch whose checksum is wrong), and input files.
fn folder() -> Kdir {
    let kdir = Kdir::new();
    let kdir = {
        let log_dir = kdir.temp().join("log");
        kdir.with_log_dir(log_dir)
    };
    let lines: String = (0..10)
        .map(|it| {
            format!("{{\"value\":\"v{it}\",\"timestamp_type\":\"CreateTime\",\"timestamp\":{}}}\n", 1000 * (it + 1))
        })
        .collect();
    kdir.create("app", &[]);
    kdir.produce("app", &["-i", "json"], lines);
    kdir.run(&["-q", "delete-records", "app", "--yes", "--before-offset", "4"]).code(0);
    kdir.create("orders", &["-P", "3"]);
    kdir.create("compacted", &["-c", "cleanup.policy=compact"]);
    kdir.create("brokers", &[]);
    kdir.disown("brokers");
    kdir.create("small", &["-c", "max.message.bytes=100"]);
    kdir.create("damaged", &[]);
    kdir.produce("damaged", &[], "value\n");
    let segment = kdir.segment("damaged-0", 0, "log");
    let mut bytes = fs::read(&segment).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&segment, bytes).unwrap();
    for (name, text) in [
        ("line", "value\n"),
        ("plain", "plain text\n"),
        ("number.json", "{\"value\":1}\n"),
        ("field.json", "{\"vlaue\":\"v\"}\n"),
        ("headers.json", "{\"value\":\"v\",\"headers\":{\"a\":\"b\"}}\n"),
        ("base64.json", "{\"value_b64\":\"%\"}\n"),
        ("twice.json", "{\"value\":\"v\",\"value_b64\":\"dg==\"}\n"),
        ("no-value.json", "{\"key\":\"k\"}\n"),
        ("partition.json", "{\"value\":\"v\",\"partition\":7}\n"),
        ("cut.len32", "\0\0\0\x09value"),
        ("long", &"x".repeat(200)),
        ("positions", "not positions\n"),
        ("other-positions", "other 0 5\n"),
        ("dump.txt", "text\n"),
    ] {
        kdir.file(name, text);
    }
    fs::create_dir(kdir.temp().join("not-a-log-dir")).unwrap();
    fs::write(kdir.temp().join("not-a-log-dir/readme.txt"), "text\n").unwrap();
    kdir
}

/// What a command of the catalogue prints and ends with, as the catalogue has it.
fn run(kdir: &Kdir, line: &str) -> String {
    let mut words = shlex::split(line).unwrap().into_iter();
    assert_eq!(words.next().as_deref(), Some("kdir"), "{line}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_kdir"));
    command.env_clear().env("KDIR_LOG_DIR", "log").env("TZ", "UTC").env("HOME", "home").env("NO_COLOR", "1");
    command.args(words).current_dir(kdir.temp()).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(output.stdout.is_empty(), "{line} prints {}", String::from_utf8_lossy(&output.stdout));
    let code = output.status.code().unwrap();
    format!("$ {line}\n? {code}\n{}\n", String::from_utf8(output.stderr).unwrap())
}

#[test]
fn every_error_of_the_catalogue_is_what_kdir_says() {
    let kdir = folder();
    let (path, text) = catalogue();
    let mut made = String::new();
    let mut messages = BTreeMap::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            let shown = run(&kdir, command);
            let (_, code_and_message) = shown.split_once("\n? ").unwrap();
            assert!(!code_and_message.starts_with('0'), "{shown}");
            assert!(code_and_message.contains("\nkdir: "), "{shown}");
            let (_, message) = code_and_message.split_once("\nkdir: ").unwrap();
            if let Some(other) = messages.insert(message.to_owned(), command.to_owned()) {
                panic!("`{command}` fails as `{other}` does: {message}");
            }
            made.push_str(&shown);
        } else if line.starts_with('#') || line.starts_with("```") {
            // Headings, and the lines between which commands are.
            let end = if line.starts_with("```") { "\n" } else { "\n\n" };
            made.push_str(line);
            made.push_str(end);
        }
    }
    assert!(messages.len() >= 120, "{} errors", messages.len());
    let made = made.replace("\n\n```\n", "\n```\n\n").trim_end().to_owned() + "\n";
    if std::env::var_os("UPDATE").is_some() {
        return fs::write(path, made).unwrap();
    }
    for (found, expected) in made.split("$ ").zip(text.split("$ ")) {
        assert_eq!(found, expected, "if that is meant, run `UPDATE=1 cargo test --test cli errors`");
    }
    assert_eq!(made, text);
}

/// What belongs to a parser, and says nothing to who types a command.
#[test]
fn no_error_of_the_catalogue_speaks_of_what_is_inside() {
    let (_, text) = catalogue();
    for words in [
        "invalid digit",
        "to pass",
        "For more information",
        "Usage:",
        "panicked",
        "Some(",
        "None",
        "os error",
        "unexpected argument",
        " anew",
    ] {
        let lines = text.lines().filter(|line| !line.starts_with("$ "));
        let found: Vec<&str> = lines.filter(|line| line.contains(words)).collect();
        assert!(found.is_empty(), "{words:?} is in {found:#?}");
    }
}
