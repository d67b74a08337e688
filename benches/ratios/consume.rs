//! Reading all of a partition, against `cat` of its segments.

use crate::bench::Bench;
use crate::data;
use crate::report::{Row, Target, rate};

const TO_PIPE: Target = Target::AtMost(1.05);

pub fn rows(bench: &mut Bench) {
    for size in [1024, 100, 10] {
        if bench.wants(&format!("consume {size}-byte records")) {
            data::write_lines(&bench.dir.join("lines"), size, bench.bytes);
            fill(bench, "");
            let name = format!("consume {size}-byte records, to a pipe");
            pair(bench, &name, "\"$KDIR\" consume t | cat >/dev/null", "cat ld/t-0/*.log | cat >/dev/null", TO_PIPE);
            let name = format!("consume {size}-byte records, to /dev/null");
            pair(bench, &name, "\"$KDIR\" consume t >/dev/null", "cat ld/t-0/*.log >/dev/null", Target::None);
            let name = format!("consume {size}-byte records, to a file");
            pair(bench, &name, "\"$KDIR\" consume t >out", "cat ld/t-0/*.log >out", Target::None);
            if size == 100 {
                other_ways(bench);
            }
            bench.run("rm -rf ld lines");
        }
    }
    if bench.wants("consume log lines") {
        compressed(bench);
    }
}

/// Makes the topic of the lines, and sees that all of them come back.
fn fill(bench: &Bench, options: &str) {
    bench.run(&format!("rm -rf ld; \"$KDIR\" -q create t; \"$KDIR\" -q produce {options} t <lines; sync"));
    bench.run("\"$KDIR\" consume t | cmp - lines");
}

/// A file that is written over is written out when it is closed: each run makes its own.
fn pair(bench: &mut Bench, name: &str, ours: &str, theirs: &str, target: Target) {
    let turns = bench.in_turn(&bench.dir, bench.runs, "rm -f out", ours, theirs);
    let note = format!("{}; against `{theirs}`", rate(bench.bytes, turns.ours()));
    bench.row(Row::ratio(name, &turns, target).note(note));
}

/// What else reads all of a log.
fn other_ways(bench: &mut Bench) {
    let cat = "cat ld/t-0/*.log >/dev/null";
    pair(bench, "verify", "\"$KDIR\" -q verify t >/dev/null", cat, Target::AtMost(1.0 / 0.7));
    for (pattern, option) in [("0077777", "-E"), ("7{5}x", "-E"), ("(?i)NOTHING", "-Ei")] {
        let theirs = format!("grep {option} '{}' lines >out || true", pattern.trim_start_matches("(?i)"));
        let ours = format!("\"$KDIR\" consume t --grep '{pattern}' >out");
        pair(bench, &format!("consume --grep '{pattern}'"), &ours, &theirs, Target::AtMost(1.5));
    }
    let time = bench.median_of(bench.runs, "\"$KDIR\" consume t -o json >/dev/null");
    let gigabytes = bench.bytes as f64 / time.as_secs_f64() / 1e9;
    let row = Row::new("consume -o json", crate::report::shown(time), "", gigabytes, "GB/s", Target::AtLeast(0.3));
    bench.row(row.note("bytes of values"));
}

fn compressed(bench: &mut Bench) {
    let what = data::write_log_lines(&bench.dir.join("lines"), bench.bytes);
    for codec in ["lz4", "zstd"] {
        fill(bench, &format!("-z {codec}"));
        let name = format!("consume {what}, {codec}, to a pipe");
        pair(bench, &name, "\"$KDIR\" consume t | cat >/dev/null", "cat lines | cat >/dev/null", Target::None);
    }
    bench.run("rm -rf ld lines");
}
