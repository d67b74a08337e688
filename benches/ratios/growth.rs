//! How cost grows with what there is more of.

use crate::bench::{Bench, median};
use crate::data;
use crate::report::{Row, Target, shown};
use crate::small::seconds_per_gb;
use std::time::Duration;

pub fn rows(bench: &mut Bench) {
    if bench.wants("growth: partitions") {
        data::write_lines(&bench.dir.join("lines"), 100, bench.bytes);
        for partitions in [1, 10, 100] {
            let bytes = bench.bytes;
            produce_and_consume(bench, &format!("growth: partitions, {partitions}"), partitions, "lines", bytes);
        }
    }
    if bench.wants("growth: size") {
        for (factor, name) in [(0.01, "1/100"), (1.0, "1"), (10.0, "10")] {
            let bytes = (bench.bytes as f64 * factor) as u64;
            data::write_lines(&bench.dir.join("lines"), 100, bytes.min(bench.bytes));
            let files = if factor > 1.0 { vec!["lines"; factor as usize].join(" ") } else { "lines".to_owned() };
            produce_and_consume(bench, &format!("growth: size, {name} of the input"), 1, &files, bytes);
        }
    }
    if bench.wants("growth: producers") {
        data::write_lines(&bench.dir.join("lines"), 100, bench.bytes / 8);
        for producers in [1, 2, 4, 8] {
            producers_at_once(bench, producers);
        }
    }
    if bench.wants("growth: topics") {
        // So many take minutes to make: not for a run in small.
        let topics_max = if bench.bytes < 100_000_000 { 100 } else { 10_000 };
        for topics in [1, 100, 10_000].into_iter().filter(|&topics| topics <= topics_max) {
            many_topics(bench, topics);
        }
    }
    bench.run("rm -rf ld lines");
}

fn produce_and_consume(bench: &mut Bench, name: &str, partitions: u32, files: &str, bytes: u64) {
    let runs = if bytes > bench.bytes { 1 } else { bench.runs };
    let (mut copied, mut produced, mut consumed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        bench.run("rm -rf ld; sync");
        copied.push(bench.time(&format!("cat {files} >copy")));
        bench.run(&format!("rm copy; \"$KDIR\" -q create t -P {partitions}; sync"));
        produced.push(bench.time(&format!("\"$KDIR\" -q produce --sync never t {files}")));
        consumed.push(bench.time("\"$KDIR\" consume t >/dev/null"));
    }
    let copied = shown(median(&mut copied));
    let row = per_gb(&format!("{name}, produce"), bytes, &mut produced);
    bench.row(Row { theirs: copied, ..row }.note("beside `cat` of the same bytes"));
    bench.row(per_gb(&format!("{name}, consume"), bytes, &mut consumed));
}

fn per_gb(name: &str, bytes: u64, times: &mut [Duration]) -> Row {
    let time = median(times);
    Row::new(name, shown(time), "", seconds_per_gb(bytes, time), "s/GB", Target::None)
}

/// Producers that run at once, on one partition and on one each; all of them write an eighth of the input.
fn producers_at_once(bench: &mut Bench, producers: u64) {
    let bytes = bench.bytes / 8 * producers;
    for (name, partition) in [("one partition", "0"), ("separate partitions", "$i")] {
        let mut times = Vec::new();
        for _ in 0..bench.runs {
            bench.run(&format!("rm -rf ld; \"$KDIR\" -q create t -P {producers}; sync"));
            let each = format!("\"$KDIR\" -q produce --sync never -p {partition} t <lines & pids=\"$pids $!\"");
            let last = producers - 1;
            times.push(bench.time(&format!(
                "pids=; for i in $(seq 0 {last}); do {each}; done; for pid in $pids; do wait $pid; done"
            )));
        }
        bench.run(&format!("test $(\"$KDIR\" consume t | wc -c) -eq $(($(wc -c <lines) * {producers}))"));
        bench.row(per_gb(&format!("growth: producers, {producers} on {name}"), bytes, &mut times));
    }
}

fn many_topics(bench: &mut Bench, topics: u32) {
    let one = "\"$KDIR\" -q create t; echo x | \"$KDIR\" -q produce t";
    // The folders of one are those of all others, but for the name and the id.
    let others = format!("seq 2 {topics} | xargs -r -P 2 -I@ \"$KDIR\" -q create t@");
    bench.run(&format!("rm -rf ld; {one}; {others}; sync"));
    let commands = [
        ("list", "\"$KDIR\" list >/dev/null"),
        ("describe one", "\"$KDIR\" describe t >/dev/null"),
        ("produce a record", "echo x | \"$KDIR\" -q produce t"),
        ("consume a record", "\"$KDIR\" consume t -n 1 >/dev/null"),
    ];
    for (name, script) in commands {
        let time = bench.median_of(bench.runs.max(5), script);
        bench.row(Row::millis(format!("growth: topics, {topics}, {name}"), time, Target::None));
    }
}
