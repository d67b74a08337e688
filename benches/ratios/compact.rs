//! Compaction against a copy of the same segments, and what looks a key up.

use crate::bench::Bench;
use crate::data;
use crate::report::{Row, Target, rate};

/// Bytes of a record.
const RECORD: u64 = 100;

/// Bytes of a segment: several are full, however little there is.
pub fn segment_bytes(bench: &Bench) -> u64 {
    (bench.bytes / 4).min(200 << 20)
}

pub fn rows(bench: &mut Bench) {
    for percent in [10, 100] {
        let name = format!("compact, {percent} % unique keys");
        if bench.wants(&name) {
            compact(bench, &name, percent);
        }
    }
    if bench.wants("compact, memory") {
        memory(bench);
    }
    if bench.wants("get") {
        get(bench);
    }
    bench.run("rm -rf ld lines copy");
}

/// Makes a topic `t` of `lines` anew, durable and in the page cache. A copy would not do: nothing is known of what of it is
/// durable, so that all of it is checked first.
pub fn fill(bench: &Bench) -> String {
    format!(
        "rm -rf ld copy; \"$KDIR\" -q create t -c cleanup.policy=compact -c segment.bytes={}; \
         \"$KDIR\" -q produce t -K '\\t' lines; sync; cat ld/t-0/*.log >/dev/null",
        segment_bytes(bench)
    )
}

/// Lines of which so many percent have a key of their own.
pub fn write_lines(bench: &Bench, bytes: u64, percent: u64) {
    let records = bytes / RECORD;
    data::write_keyed_lines(&bench.dir.join("lines"), records, records * percent / 100);
}

fn compact(bench: &mut Bench, name: &str, percent: u64) {
    write_lines(bench, bench.bytes, percent);
    let (dir, runs, setup) = (bench.dir.clone(), bench.runs, &fill(bench));
    let theirs = "cat ld/t-0/*.log >copy; sync copy";
    for (what, options) in [("", ""), (", 256 MiB of memory", "--memory 256MiB")] {
        let ours = format!("\"$KDIR\" -q compact --force {options} t");
        let turns = bench.in_turn(&dir, runs, setup, &ours, theirs);
        let note = format!("{} of segments, durable; against `{theirs}`", rate(bench.bytes, turns.ours()));
        bench.row(Row::ratio(format!("{name}{what}"), &turns, Target::AtMost(1.5)).note(note));
    }
    let ours = "\"$KDIR\" -q compact --dry-run --force t >out";
    let turns = bench.in_turn(&dir, runs, setup, ours, theirs);
    bench
        .row(Row::ratio(format!("{name}, --dry-run"), &turns, Target::AtMost(1.0)).note(format!("against `{theirs}`")));
}

/// Twenty million keys for a gigabyte of input.
fn memory(bench: &mut Bench) {
    write_lines(bench, bench.bytes * 2, 100);
    bench.run(&fill(bench));
    let peak = bench.peak_mib("exec \"$KDIR\" -q compact --force t");
    let note = format!("{} keys, none twice", bench.bytes * 2 / RECORD);
    bench.row(Row::mib("compact, memory", peak, Target::AtMost(48.0)).note(note));
}

fn get(bench: &mut Bench) {
    write_lines(bench, bench.bytes, 10);
    bench.run(&fill(bench));
    let (dir, runs) = (bench.dir.clone(), bench.runs);
    // Of a key that is nowhere, all is read.
    let theirs = "grep -c nobody-has-it lines || true";
    for (what, key) in [("nowhere", "nobody-has-it"), ("of the first record only", "only-at-the-start")] {
        let ours = format!("\"$KDIR\" -q get t {key} >out || true");
        let turns = bench.in_turn(&dir, runs, "true", &ours, theirs);
        bench.row(
            Row::ratio(format!("get, a key that is {what}"), &turns, Target::AtMost(1.5))
                .note(format!("against `{theirs}`")),
        );
    }
    bench.run("rm -rf ld; \"$KDIR\" -q create t -c cleanup.policy=compact; head -n 1000 lines | \"$KDIR\" -q produce t -K '\\t'");
    let time = bench.median_of(runs, "\"$KDIR\" -q get t only-at-the-start >out");
    bench.row(Row::millis("get, one of a thousand records", time, Target::AtMost(20.0)));
}
