//! How many instructions the release program takes for fixed small inputs, as callgrind counts them, held against a record.
//!
//! Times differ from machine to machine and from run to run; these counts hardly do. One that has grown by more than a
//! tenth fails, unless the record was renewed with the change that made it grow:
//! `UPDATE=1 cargo test --release --test instructions -- --ignored`. With another compiler than that of the record, the
//! counts are only shown.

#![allow(clippy::disallowed_methods, reason = "a test has files of its own")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const RECORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/instructions.txt");
const GROWTH_MAX: f64 = 1.10;
const INPUT_SIZE: usize = 3_000_000;

/// What is counted: a name, how long the lines of its input are, how the topic is filled before (consume alone), and the
/// arguments.
const CASES: [(&str, usize, &str, &str); 12] = [
    ("start", 100, "", "--version"),
    ("produce 10-byte lines", 10, "", "produce t"),
    ("produce 100-byte lines", 100, "", "produce t"),
    ("produce 1024-byte lines", 1024, "", "produce t"),
    ("produce keys", 100, "", "produce t -K x"),
    ("produce to 10 partitions", 100, "", "produce ten"),
    ("produce lz4", 100, "", "produce t -z lz4"),
    ("consume 10-byte records", 10, "produce t", "consume t"),
    ("consume 100-byte records", 100, "produce t", "consume t"),
    ("consume 10 partitions", 100, "produce ten", "consume ten"),
    ("consume lz4", 100, "produce t -z lz4", "consume t"),
    ("consume json", 100, "produce t", "consume t -o json"),
];

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A program with the arguments, fed with `input` where there is one.
    fn run(&self, program: &[&str], args: &str, input: Option<&Path>) -> String {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).args(args.split(' ')).env_clear().current_dir(self.dir.path());
        command
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("KDIR_LOG_DIR", "log-dir")
            .env("TZ", "UTC");
        command.stdin(input.map_or(Stdio::null(), |path| fs::File::open(path).expect("the input is there").into()));
        let output = command.stdout(Stdio::null()).output().unwrap_or_else(|error| panic!("{}: {error}", program[0]));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{args}: {}\n{stderr}", output.status);
        stderr
    }

    fn kdir(&self, args: &str, input: Option<&Path>) {
        self.run(&[env!("CARGO_BIN_EXE_kdir"), "-q"], args, input);
    }

    fn count(&self, (_, line_size, fill, args): (&str, usize, &str, &str)) -> u64 {
        let lines = self.path("lines");
        fs::write(&lines, input(line_size)).expect("there is room");
        let _ = fs::remove_dir_all(self.path("log-dir"));
        self.kdir("create t", None);
        self.kdir("create ten -P 10", None);
        if !fill.is_empty() {
            self.kdir(fill, Some(&lines));
        }
        let out_file = format!("--callgrind-out-file={}", self.path("callgrind.out").display());
        let program = ["valgrind", "--tool=callgrind", &out_file, env!("CARGO_BIN_EXE_kdir"), "-q"];
        let said = self.run(&program, args, Some(&lines));
        let count = said.lines().find_map(|line| line.split_once("I   refs:")).expect("callgrind tells a count").1;
        count.trim().replace(',', "").parse().expect("it is a number")
    }
}

/// Lines of one length, each with its number and an `x`.
fn input(line_size: usize) -> Vec<u8> {
    let line = |number: usize| {
        let mut line = format!("{number:07}x").into_bytes();
        line.resize(line_size - 1, b'.');
        line.push(b'\n');
        line
    };
    (0..INPUT_SIZE / line_size).flat_map(line).collect()
}

fn compiler() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().expect("rustc is there");
    format!("{} {}", String::from_utf8_lossy(&output.stdout).trim(), std::env::consts::ARCH)
}

/// The compiler of the record, and its counts.
fn recorded() -> (String, BTreeMap<String, u64>) {
    let text = fs::read_to_string(RECORD).unwrap_or_default();
    let mut lines = text.lines();
    let compiler = lines.next().unwrap_or_default().to_owned();
    let counts = lines.map(|line| line.split_once('\t').expect("a name and a count"));
    (compiler, counts.map(|(name, count)| (name.to_owned(), count.parse().expect("a count"))).collect())
}

#[test]
#[ignore = "needs the release program and valgrind; `.ci/run` runs it"]
fn no_more_instructions_than_recorded() {
    if cfg!(debug_assertions) {
        panic!("say cargo test --release: only the release program is counted");
    }
    let bench = Bench { dir: tempfile::tempdir().expect("there is room") };
    let (compiler, (of_record, recorded)) = (compiler(), recorded());
    let counted: Vec<(&str, u64)> = CASES.iter().map(|&case| (case.0, bench.count(case))).collect();
    if std::env::var_os("UPDATE").is_some() {
        let lines: String = counted.iter().map(|(name, count)| format!("{name}\t{count}\n")).collect();
        fs::write(RECORD, format!("{compiler}\n{lines}")).expect("the record can be written");
        return;
    }
    let mut grown = Vec::new();
    for (name, count) in &counted {
        let before = recorded.get(*name).copied();
        let ratio = before.map_or(f64::INFINITY, |before| *count as f64 / before as f64);
        let line = format!("{name}: {count}, recorded {}, {ratio:.3} of it", before.unwrap_or(0));
        println!("{line}");
        if ratio > GROWTH_MAX {
            grown.push(line);
        }
    }
    if compiler != of_record {
        println!("only shown: the record is of {of_record:?}, this is {compiler:?}");
        return;
    }
    assert_eq!(recorded.len(), CASES.len(), "the record has other cases: renew it with UPDATE=1");
    assert!(grown.is_empty(), "more instructions; where that is meant, renew the record with UPDATE=1:\n{grown:#?}");
}
