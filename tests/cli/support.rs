//! A fresh log dir and a clean environment per test.

use assert_cmd::assert::Assert;
use assert_cmd::cargo::cargo_bin;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub(crate) struct Kdir {
    root: TempDir,
}

impl Kdir {
    pub(crate) fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    /// A log dir with one topic.
    pub(crate) fn with_topic(name: &str, partitions: u32) -> Self {
        let kdir = Self::new();
        kdir.run(&["create", name, "-P", &partitions.to_string()]).success();
        kdir
    }

    pub(crate) fn log_dir(&self) -> PathBuf {
        self.root.path().join("log-dir")
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.log_dir().join(path)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(cargo_bin("kdir"));
        command.env_clear().env("KDIR_LOG_DIR", self.log_dir()).env("TZ", "UTC").env("COLUMNS", "100").args(args);
        command.current_dir(self.root.path());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Assert {
        self.run_with(args, b"")
    }

    pub(crate) fn run_with(&self, args: &[&str], input: &[u8]) -> Assert {
        assert_cmd::Command::from_std(self.command(args)).write_stdin(input).assert()
    }

    pub(crate) fn stdout(&self, args: &[&str]) -> Vec<u8> {
        self.run(args).success().get_output().stdout.clone()
    }

    pub(crate) fn text(&self, args: &[&str]) -> String {
        String::from_utf8(self.stdout(args)).unwrap()
    }

    /// The JSON lines that a command prints.
    pub(crate) fn json(&self, args: &[&str]) -> Vec<serde_json::Value> {
        self.text(args).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) fn produce(&self, topic: &str, input: &[u8]) {
        self.run_with(&["produce", topic], input).success().stdout("");
    }

    pub(crate) fn spawn(&self, args: &[&str]) -> std::process::Child {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).unwrap();
        let mut names: Vec<String> = entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// Waits until `done` is true, and fails after a time that no working program needs.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "waited too long: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}
