//! Output into a regular file: it is durable before a position after it is kept. What the program asks of the system is seen,
//! and made to fail, by strace.

use crate::support::{Kdir, Running};
use std::fs;

/// Runs the program with its stdout in `out`, under strace with more options: the exit code, and what it said.
fn traced(kdir: &Kdir, options: &str, args: &[&str]) -> (Option<i32>, String) {
    let script = format!("cd \"$HOME\" && exec strace -f -qq -y -s 0 -o trace {options} \"$@\" >out");
    let (code, _, told) = Running::start(kdir.process_of_script(&script, args)).end();
    (code, told)
}

fn trace(kdir: &Kdir) -> String {
    fs::read_to_string(kdir.temp().join("trace")).unwrap()
}

/// More than a few buffers of output.
fn filled() -> Kdir {
    let kdir = Kdir::with_topic("app", &[]);
    let lines: String = (0..100_000).map(|number| format!("{number:06}\n")).collect();
    kdir.produce("app", &[], lines);
    kdir
}

const KEPT: [&[&str]; 2] = [&["-g", "g"], &["--cursor-file", "cursor"]];

/// The position that was kept.
fn position(kdir: &Kdir, kept: &[&str]) -> u64 {
    if kept[0] == "-g" {
        return kdir.json(&["groups", "describe", "g", "-o", "json"])[0]["committed"].as_u64().unwrap();
    }
    let cursor = fs::read_to_string(kdir.temp().join("cursor")).unwrap();
    let line = cursor.lines().find(|line| line.starts_with("app 0 ")).unwrap();
    line.split(' ').nth(2).unwrap().parse().unwrap()
}

#[test]
#[ignore = "needs strace; `.ci/run` runs it"]
fn a_file_is_synced_between_what_is_written_to_it_and_the_position_after_that() {
    for kept in KEPT {
        let kdir = filled();
        let args = [&["consume", "app", "--commit-every", "0s"], kept].concat();
        let asked = traced(&kdir, "-e trace=write,writev,pwrite64,fdatasync,fsync", &args);
        assert_eq!(asked, (Some(0), String::new()), "{kept:?}");
        assert_eq!(position(&kdir, kept), 100_000, "{kept:?}");
        let (mut is_synced, mut has_output) = (true, false);
        let (mut written, mut positions) = (0, 0);
        let trace = trace(&kdir);
        for line in trace.lines() {
            let is_kept_in =
                line.contains("/__consumer_offsets-") && line.contains(".log>") || line.contains("cursor.kdir.tmp>");
            if line.contains("/out>") {
                is_synced = line.contains("sync(") && line.ends_with("= 0");
                written += usize::from(!is_synced);
                has_output |= !is_synced;
            } else if is_kept_in && line.contains("write") {
                assert!(is_synced, "{kept:?}: a position was kept of what was not synced: {line}\n{trace}");
                positions += usize::from(has_output);
                has_output = false;
            }
        }
        assert!(written > 3 && positions > 3, "{kept:?}: {written} writes, {positions} positions after some\n{trace}");
    }
}

#[test]
#[ignore = "needs strace; `.ci/run` runs it"]
fn where_a_file_cannot_be_synced_no_position_is_kept_of_what_was_written_to_it() {
    for kept in KEPT {
        let kdir = filled();
        let out = kdir.temp().join("out");
        // The first time is before anything is written. A later try would succeed, as it does on Linux when it has told of an
        // error once.
        let fails = "-e trace=fdatasync -e inject=fdatasync:error=EIO:when=2 -P \"$HOME/out\"";
        let args = [&["consume", "app", "--commit-every", "0s"], kept].concat();
        let (code, told) = traced(&kdir, fails, &args);
        assert_eq!((code, &*told), (Some(1), "kdir: cannot write to stdout: Input/output error\n"), "{kept:?}");
        assert!(trace(&kdir).contains("EIO"), "{kept:?}");
        assert!(fs::metadata(&out).unwrap().len() > 0, "{kept:?}");
        assert_eq!(position(&kdir, kept), 0, "{kept:?}");
    }
}
