//! What the program takes of the machine when there is much to do: open files, processor time and memory.

use crate::support::{Kdir, Running, json_lines, next, until};
use rustix::process::Signal;
use std::fs;
use std::time::{Duration, Instant};

/// More partitions than files may be open below.
const PARTITIONS: usize = 100;
/// All but a few of them are taken by what is not a partition.
const FILES: usize = 68;

/// A topic with three rounds of records over all partitions, and those records.
fn many_partitions() -> (Kdir, Vec<String>) {
    let kdir = Kdir::with_topic("many", &["-P", &PARTITIONS.to_string()]);
    let written: Vec<String> = (0..3 * PARTITIONS).map(|number| format!("record {number}")).collect();
    for round in written.chunks(PARTITIONS) {
        kdir.produce("many", &[], round.join("\n") + "\n");
    }
    (kdir, written)
}

fn lines(stdout: &str) -> Vec<&str> {
    stdout.lines().collect()
}

#[test]
fn more_partitions_than_files_may_be_open_are_consumed() {
    let (kdir, written) = many_partitions();
    for isolation in ["read-uncommitted", "read-committed"] {
        let args = ["consume", "many", "--isolation", isolation];
        let (code, stdout, stderr) = Running::start(kdir.process_with_few_files(FILES, &args)).end();
        assert_eq!((code, &*stderr, lines(&stdout)), (Some(0), "", written.iter().map(|it| &**it).collect()));
    }
    let args = ["consume", "many", "--order", "partition"];
    let (code, stdout, stderr) = Running::start(kdir.process_with_few_files(FILES, &args)).end();
    assert_eq!((code, &*stderr), (Some(0), ""));
    assert_eq!(stdout, kdir.text(&args));
}

#[test]
fn the_tail_of_more_partitions_than_files_may_be_open_is_found() {
    let (kdir, written) = many_partitions();
    let args = ["consume", "many", "--tail", "5"];
    let (code, stdout, stderr) = Running::start(kdir.process_with_few_files(FILES, &args)).end();
    assert_eq!((code, &*stderr), (Some(0), ""));
    assert_eq!(lines(&stdout), written[written.len() - 5..]);
}

#[test]
fn more_partitions_than_files_may_be_open_are_followed() {
    let (kdir, written) = many_partitions();
    let args = ["consume", "many", "-F"];
    let mut follower = Running::start(kdir.process_with_few_files(FILES, &args));
    let lines = follower.lines();
    for expected in &written {
        assert_eq!(&next(&lines), expected);
    }
    for partition in (0..PARTITIONS).step_by(7).chain([1, 1, 2]) {
        let partition = partition.to_string();
        kdir.produce("many", &["-p", &partition], format!("later in {partition}\n"));
        assert_eq!(next(&lines), format!("later in {partition}"));
    }
    kdir.run(&["-q", "delete", "many", "--yes"]).code(0).stdout("").stderr("");
    assert_eq!(follower.wait(), (Some(1), String::new(), "kdir: the topic many was deleted\n".into()));
}

#[test]
fn a_follower_takes_up_more_new_partitions_than_files_may_be_open() {
    let kdir = Kdir::with_topic("many-at-first", &[]);
    kdir.produce("many-at-first", &[], "first\n");
    let mut follower = Running::start(kdir.process_with_few_files(FILES, &["consume", "many-*", "-F"]));
    let lines = follower.lines();
    assert_eq!(next(&lines), "first");
    // It is to find all of them at once.
    follower.suspend();
    kdir.create("many-later", &["-P", &PARTITIONS.to_string()]);
    let mut written: Vec<String> = (0..PARTITIONS).map(|number| format!("record {number}")).collect();
    kdir.produce("many-later", &[], written.join("\n") + "\n");
    follower.signal(Signal::CONT);
    let mut seen: Vec<String> = written.iter().map(|_| next(&lines)).collect();
    written.sort();
    seen.sort();
    assert_eq!(seen, written);
}

/// Three rounds of records over all partitions, so that none is written to twice in a row.
fn rounds() -> Vec<String> {
    let round = |round: usize| (0..PARTITIONS).map(move |number| format!("{round} {number}\n"));
    (0..3).map(|number| round(number).collect()).collect()
}

#[test]
fn more_partitions_than_files_may_be_open_are_produced_to() {
    for sync in ["end", "always", "1s", "never"] {
        let kdir = Kdir::with_topic("many", &["-P", &PARTITIONS.to_string()]);
        let args = ["-q", "produce", "many", "-o", "json", "--sync", sync];
        let mut producer = Running::start(kdir.process_with_few_files(FILES, &args));
        for round in rounds() {
            producer.write(round);
            until("the round is taken in", || producer.has_read_all());
        }
        let (code, stdout, stderr) = producer.end();
        assert_eq!((code, &*stderr), (Some(0), ""), "{sync}");
        let mut acknowledged: Vec<(i64, i64)> = Vec::new();
        for it in json_lines(stdout.as_bytes()).iter().filter(|it| it["event"] == "durable") {
            let number = |key: &str| it[key].as_i64().unwrap();
            acknowledged.extend((number("base_offset")..=number("last_offset")).map(|at| (number("partition"), at)));
        }
        acknowledged.sort_unstable();
        let all = (0..PARTITIONS as i64).flat_map(|partition| (0..3).map(move |offset| (partition, offset)));
        let all: Vec<(i64, i64)> = if sync == "never" { Vec::new() } else { all.collect() };
        assert_eq!(acknowledged, all, "{sync}");
        let mut found: Vec<String> = kdir.values("many").lines().map(|line| format!("{line}\n")).collect();
        let rounds = rounds().concat();
        let mut written: Vec<&str> = rounds.split_inclusive('\n').collect();
        found.sort();
        written.sort_unstable();
        assert_eq!(found, written, "{sync}");
        kdir.run(&["-q", "verify", "many"]).code(0).stdout("").stderr("");
    }
}

#[test]
fn input_is_gathered_for_a_while_where_partitions_are_closed_in_turn() {
    let kdir = Kdir::with_topic("many", &["-P", &PARTITIONS.to_string()]);
    let mut producer = Running::start(kdir.process_with_few_files(FILES, &["-q", "produce", "many"]));
    let is_stored = || {
        (0..PARTITIONS).any(|number| kdir.segment(&format!("many-{number}"), 0, "log").metadata().unwrap().len() > 0)
    };
    let written = Instant::now();
    producer.write("a line\n");
    until("the line is stored", is_stored);
    // What else the machine does can only add to it.
    assert!(written.elapsed() >= Duration::from_millis(100), "{:?}", written.elapsed());
    assert_eq!(producer.end(), (Some(0), String::new(), String::new()));
}

#[test]
fn more_segments_than_files_may_be_open_are_rolled_and_opened_again() {
    for sync in ["end", "never"] {
        let kdir = Kdir::new();
        // Two batches fill a segment.
        kdir.run(&["-q", "create", "app", "-c", "segment.bytes=160"]).code(0);
        let lines: String = (0..2 * FILES).map(|number| format!("{number}\n")).collect();
        let args = ["-q", "produce", "app", "--batch-size", "1", "--sync", sync];
        let mut producer = Running::start(kdir.process_with_few_files(FILES, &args));
        producer.write(&lines);
        assert_eq!(producer.end(), (Some(0), String::new(), String::new()), "{sync}");
        assert!(kdir.entries("app-0").iter().filter(|name| name.ends_with(".log")).count() >= FILES);
        // As a crash leaves it.
        fs::remove_file(kdir.path("recovery-point-offset-checkpoint")).unwrap();
        kdir.forget_durable_end("app-0");
        let args = ["-q", "produce", "app"];
        let mut next = Running::start(kdir.process_with_few_files(FILES, &args));
        next.write("last\n");
        assert_eq!(next.end(), (Some(0), String::new(), String::new()), "{sync}");
        assert_eq!(kdir.values("app"), lines + "last\n");
        kdir.assert_sound();
    }
}

#[test]
fn records_are_deleted_from_more_partitions_than_files_may_be_open() {
    let (kdir, written) = many_partitions();
    let starts = |args: &[&str]| {
        let all = [&["delete-records", "--yes", "many", "-o", "tsv"], args].concat();
        let (code, stdout, stderr) = Running::start(kdir.process_with_few_files(FILES, &all)).end();
        assert_eq!((code, &*stderr), (Some(0), ""));
        stdout
    };
    let all_at = |start: i64, deleted: i64| {
        (0..PARTITIONS).map(|number| format!("many\t{number}\t{start}\t{deleted}\n")).collect::<String>()
    };
    assert_eq!(starts(&["--before", "2000-01-01"]), all_at(0, 0));
    assert_eq!(kdir.values("many").lines().collect::<Vec<_>>(), written);
    let each: Vec<String> = (0..PARTITIONS).map(|number| format!("{number}:2")).collect();
    assert_eq!(starts(&["--before-offset", &each.join(",")]), all_at(2, 2));
    assert_eq!(kdir.values("many").lines().collect::<Vec<_>>(), written[2 * PARTITIONS..]);
    assert_eq!(starts(&["--before-offset", "latest"]), all_at(3, 1));
    assert_eq!(kdir.values("many"), "");
}

#[test]
fn the_limit_of_open_files_is_raised_as_far_as_the_system_allows() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "one\n");
    let mut follower = Running::start(kdir.process_with_few_files_at_first(64, &["consume", "app", "-F"]));
    assert_eq!(next(&follower.lines()), "one");
    let limits = fs::read_to_string(format!("/proc/{}/limits", follower.id())).unwrap();
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let mut numbers = limit.split_whitespace();
    let (soft, hard) = (numbers.next().unwrap(), numbers.next().unwrap());
    assert_eq!(soft, hard);
    assert_ne!(soft, "64", "this system's own limit is too low for the test");
}

/// Nanoseconds of processor time that a process has had so far.
fn processor_time(process: &Running) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/schedstat", process.id())).unwrap();
    stat.split_whitespace().next().unwrap().parse().unwrap()
}

/// The processor time that a follower of so many partitions takes for 300 records of one of them, each appended when the
/// one before was seen.
fn time_to_follow(partitions: usize) -> u64 {
    let kdir = Kdir::with_topic("many", &["-P", &partitions.to_string()]);
    for number in 0..partitions {
        fs::write(kdir.segment(&format!("many-{number}"), 0, "log"), "").unwrap();
    }
    let mut follower = Running::start(kdir.process(&["consume", "many", "-F"]));
    let lines = follower.lines();
    let mut producer = Running::start(kdir.process(&["-q", "produce", "many", "-p", "0", "--sync", "end"]));
    producer.write("first\n");
    assert_eq!(next(&lines), "first");
    let before = processor_time(&follower);
    for number in 0..300 {
        producer.write(format!("{number}\n"));
        assert_eq!(next(&lines), number.to_string());
    }
    let taken = processor_time(&follower) - before;
    assert_eq!(producer.end().0, Some(0));
    taken
}

#[test]
fn a_busy_partition_costs_its_follower_as_much_among_many_idle_ones() {
    // Both take a few ms, and what else the machine does can only add to either: the least of several is compared.
    let least = |partitions| (0..2).map(|_| time_to_follow(partitions)).min().unwrap();
    let (alone, among_many) = (least(1), least(300));
    assert!(among_many < 5 * alone, "{among_many} ns, and {alone} ns for the partition alone");
}

/// KiB of memory that a process has had at most so far.
fn memory_peak(process: &Running) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

#[test]
fn few_bytes_that_decompress_to_many_take_the_memory_of_one_record() {
    const SIZE: usize = 64 << 20;
    let kdir = Kdir::with_topic("bombs", &["-P", "5", "-c", "max.message.bytes=200000000"]);
    let zeros = vec![0; SIZE];
    for partition in 0..5 {
        kdir.produce("bombs", &["-p", &partition.to_string(), "-i", "raw", "-z", "zstd"], &zeros[..]);
    }
    let mut follower = Running::start(kdir.process(&["consume", "bombs", "-F", "-f", "%p %S\\n"]));
    let lines = follower.lines();
    for partition in 0..5 {
        assert_eq!(next(&lines), format!("{partition} {SIZE}"));
    }
    let peak = memory_peak(&follower) << 10;
    assert!(peak < 2 * SIZE as u64 + (64 << 20), "{peak}");
}

#[test]
fn a_chart_loads_nothing_that_a_header_only_claims() {
    const SIZE: u64 = 1_900_000_000;
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &["--timestamp", "1699920000000"], "one\n");
    let log = kdir.segment("app-0", 0, "log");
    let mut bytes = fs::read(&log).unwrap();
    let mut header = bytes[..61].to_vec();
    header[7] = 1;
    header[8..12].copy_from_slice(&(SIZE as u32 - 12).to_be_bytes());
    // Its records seem to lie years apart, so that only they could tell when each of them was.
    header[27..35].copy_from_slice(&0_i64.to_be_bytes());
    let whole = bytes.len() as u64;
    bytes.extend(header);
    fs::write(&log, bytes).unwrap();
    fs::File::options().write(true).open(&log).unwrap().set_len(whole + SIZE).unwrap();
    let args = ["describe", "app", "--chart", "day", "-o", "tsv"];
    let (code, stdout, stderr) = Running::start(kdir.process_with_little_memory(1 << 20, &args)).end();
    assert_eq!((code, &*stderr), (Some(0), ""));
    assert_eq!(stdout.lines().collect::<Vec<_>>(), [format!("app\t1699920000000\t1\t{whole}")]);
}

/// As a file system that tells written bytes from allocated ones only by what is cached.
#[test]
fn readers_of_a_preallocated_log_do_not_fill_the_page_cache_with_it() {
    const SIZE: u64 = 256 << 20;
    let kdir = Kdir::with_topic("t", &[]);
    kdir.produce("t", &[], "a\nb\n");
    let log = fs::File::options().write(true).open(kdir.log_dir().join("t-0/00000000000000000000.log")).unwrap();
    rustix::fs::fallocate(&log, rustix::fs::FallocateFlags::empty(), 0, SIZE).unwrap();
    let mut cached = Vec::new();
    for _ in 0..4 {
        for args in [&["consume", "t"][..], &["list"], &["describe", "t"]] {
            kdir.text(args);
        }
        let mut data = 0;
        while let Ok(start) = rustix::fs::seek(&log, rustix::fs::SeekFrom::Data(data)) {
            data = rustix::fs::seek(&log, rustix::fs::SeekFrom::Hole(start)).unwrap();
        }
        cached.push(data);
    }
    assert_eq!(cached, [cached[0]; 4], "where the data ends");
    assert!(cached[0] < SIZE / 2, "{cached:?}");
}
