//! What should cost next to nothing: one record, a start, a place in the middle, memory, many segments.

use crate::bench::Bench;
use crate::data;
use crate::report::{Row, Target};
use std::time::Duration;

const TURNS: usize = 50;
/// The log of the lookups is slices of so many bytes, each of one time: the time index leads no nearer than to a slice.
const SLICE_SIZE: u64 = 1_000_000;
/// The time of the first slice; each of the others is a minute later.
const FIRST_MS: u64 = 1_700_000_000_000;
const SLICE_MS: u64 = 60_000;

pub fn rows(bench: &mut Bench) {
    if bench.wants("one record") {
        bench.run("rm -rf ld; \"$KDIR\" -q create t; echo x >x");
        let ours = "\"$KDIR\" -q produce t <x";
        let turns = bench.in_turn(&bench.dir, TURNS, "true", ours, "dd of=copy conv=fdatasync status=none <x");
        bench.row(Row::ratio("one record, durable", &turns, Target::AtMost(3.0)).note("against `dd conv=fdatasync`"));
    }
    if bench.wants("start-up") {
        let turns = bench.in_turn(&bench.dir, TURNS, "true", "\"$KDIR\" --version >/dev/null", "/bin/true >/dev/null");
        let row = Row::millis("start-up", turns.ours().saturating_sub(turns.theirs()), Target::AtMost(2.0));
        bench.row(row.note("`kdir --version`, less the time of `/bin/true`"));
    }
    if bench.wants("lookup") {
        for factor in [0.01, 1.0, 10.0] {
            lookups(bench, factor);
        }
    }
    if bench.wants("peak memory") {
        peak_memory(bench);
    }
    if bench.wants("10 000 segments") {
        many_segments(bench);
    }
}

/// One record from the middle of a partition with so many times the input in it.
fn lookups(bench: &mut Bench, factor: f64) {
    let bytes = (bench.bytes as f64 * factor) as u64;
    let slices = (bytes / SLICE_SIZE).max(1);
    data::write_lines(&bench.dir.join("lines"), 100, bytes / slices);
    bench.run("rm -rf ld; \"$KDIR\" -q create t; sync");
    for slice in 0..slices {
        bench.run(&format!("\"$KDIR\" -q produce t --timestamp {} <lines", FIRST_MS + slice * SLICE_MS));
    }
    let (middle, since) = (bytes / 100 / 2, FIRST_MS + slices / 2 * SLICE_MS);
    for options in [format!("--from-offset {middle} -n 1"), format!("--since {since} -n 1"), "--tail 1".to_owned()] {
        let ours = format!("\"$KDIR\" consume t {options} >out; test -s out");
        let turns = bench.in_turn(&bench.dir, TURNS, "rm -f out", &ours, "/bin/true >out; test -f out");
        let name = format!("lookup in {} MB: consume {options}", bytes / 1_000_000);
        let row = Row::millis(name, turns.ours().saturating_sub(turns.theirs()), Target::AtMost(5.0));
        bench.row(row.note("less the time of `/bin/true`"));
    }
    bench.run("rm -rf ld lines");
}

fn peak_memory(bench: &mut Bench) {
    data::write_lines(&bench.dir.join("lines"), 100, bench.bytes);
    for partitions in [1, 16] {
        for codec in ["none", "zstd"] {
            bench.run(&format!("rm -rf ld; \"$KDIR\" -q create t -P {partitions}"));
            let produce = bench.peak_mib(&format!("exec \"$KDIR\" -q produce -z {codec} t <lines"));
            let consume = bench.peak_mib("exec \"$KDIR\" consume t >out");
            for (command, peak) in [("produce", produce), ("consume", consume)] {
                let name = format!("peak memory, {command}, {partitions} partitions, {codec}");
                bench.row(Row::mib(name, peak, Target::AtMost(32.0)));
            }
        }
    }
    bench.run("rm -rf ld lines out");
}

fn many_segments(bench: &mut Bench) {
    data::write_lines(&bench.dir.join("lines"), 100, 8_000_000);
    let setup =
        "\"$KDIR\" -q create t -c segment.bytes=1000; \"$KDIR\" -q produce --batch-size 1000 --sync never t <lines";
    bench.run(&format!("rm -rf ld; {setup}; test $(ls ld/t-0/*.log | wc -l) -ge 10000"));
    for command in ["describe", "retention --dry-run"] {
        let ours = format!("\"$KDIR\" -q {command} t >/dev/null");
        let turns = bench.in_turn(&bench.dir, bench.runs.max(5), "true", &ours, "ls -l ld/t-0 >/dev/null");
        let mut row = Row::millis(format!("{command} of 10 000 segments"), turns.ours(), Target::AtMost(150.0));
        row.theirs = crate::report::shown(turns.theirs());
        bench.row(row.note("against `ls -l` of the folder"));
    }
    bench.run("rm -rf ld lines");
}

/// Seconds for a GB.
pub fn seconds_per_gb(bytes: u64, time: Duration) -> f64 {
    time.as_secs_f64() / (bytes as f64 / 1e9)
}
