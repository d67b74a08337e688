//! Runs of `kdir consume --group` share the partitions of a topic.

use crate::support::{Chance, Kdir, Running, json_lines, seed, until};
use predicates::str::contains;
use rustix::process::Signal;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// A topic with so many partitions.
pub(crate) fn topic(partitions: u32) -> Kdir {
    Kdir::with_topic("orders", &["--partitions", &partitions.to_string()])
}

/// Adds records to every partition in turn. Their values are these numbers.
pub(crate) fn produce(kdir: &Kdir, numbers: std::ops::Range<u32>) {
    let lines: String = numbers.map(|number| format!("{number}\n")).collect();
    kdir.produce("orders", &["--partitioner", "round-robin"], lines);
}

/// A run of a member, whose output is read as it comes.
pub(crate) struct MemberRun {
    pub(crate) running: Running,
    lines: Receiver<String>,
    seen: Vec<u32>,
}

impl MemberRun {
    pub(crate) fn start(kdir: &Kdir, options: &[&str]) -> Self {
        let mut running = Running::start(kdir.process(&[&["consume", "orders", "-g", "g"], options].concat()));
        let lines = running.lines();
        Self { running, lines, seen: Vec::new() }
    }

    fn read(&mut self) {
        self.seen.extend(self.lines.try_iter().map(|line| line.parse::<u32>().unwrap()));
    }
}

/// Reads until the runs have printed all of these together.
pub(crate) fn read_until(runs: &mut [&mut MemberRun], numbers: std::ops::Range<u32>) {
    until("every record is printed", || {
        runs.iter_mut().for_each(|run| run.read());
        let seen: BTreeSet<u32> = runs.iter().flat_map(|run| run.seen.iter().copied()).collect();
        numbers.clone().all(|number| seen.contains(&number))
    });
}

/// How often each record was printed.
fn counts(runs: &[&MemberRun]) -> BTreeMap<u32, u32> {
    let mut counts = BTreeMap::new();
    runs.iter().flat_map(|run| &run.seen).for_each(|&number| *counts.entry(number).or_default() += 1);
    counts
}

/// Descriptors of a process that are open on what ends in that.
#[cfg(target_os = "linux")]
fn descriptors(process: u32, of: &str) -> Vec<u32> {
    let entries = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().map(|entry| entry.unwrap());
    let is_of = |entry: &std::fs::DirEntry| {
        std::fs::read_link(entry.path()).is_ok_and(|target| target.to_str().is_some_and(|it| it.ends_with(of)))
    };
    entries.filter(is_of).map(|entry| entry.file_name().to_str().unwrap().parse().unwrap()).collect()
}

/// The kernel takes up to 20 ms to let go of a watch: so long would others wait for what a process had that dies.
#[cfg(target_os = "linux")]
#[test]
fn a_process_that_dies_lets_go_of_its_locks_before_its_watches() {
    let kdir = topic(1);
    produce(&kdir, 0..1);
    let mut member = MemberRun::start(&kdir, &["-F"]);
    read_until(&mut [&mut member], 0..1);
    let process = member.running.id();
    until("it watches", || !descriptors(process, "inotify").is_empty());
    let last_watch = descriptors(process, "inotify").into_iter().max();
    assert!(descriptors(process, "/g.group").into_iter().min() > last_watch);
}

/// How many partitions each member has, by what `groups describe` says.
pub(crate) fn shares(kdir: &Kdir) -> Vec<usize> {
    let mut shares = BTreeMap::<String, usize>::new();
    // Before its first commit there is no group.
    let output = kdir.command(&["-q", "groups", "describe", "g", "-o", "json"]).output().unwrap();
    for row in json_lines(&output.stdout) {
        if let Some(member) = row["member"].as_str() {
            *shares.entry(member.to_owned()).or_default() += 1;
        }
    }
    let mut shares: Vec<usize> = shares.into_values().collect();
    shares.sort_unstable();
    shares
}

pub(crate) fn lags(kdir: &Kdir) -> Vec<i64> {
    let rows = kdir.json(&["-q", "groups", "describe", "g", "-o", "json"]);
    rows.iter().map(|row| row["lag"].as_i64().unwrap()).collect()
}

#[test]
fn a_group_goes_on_where_it_was() {
    let kdir = topic(3);
    produce(&kdir, 0..90);
    let read = || {
        let text = kdir.text(&["consume", "orders", "-g", "g"]);
        let mut numbers: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    };
    assert_eq!(read(), (0..90).collect::<Vec<_>>());
    assert_eq!(lags(&kdir), [0, 0, 0]);
    assert!(read().is_empty());
    produce(&kdir, 90..120);
    assert_eq!(lags(&kdir).iter().sum::<i64>(), 30);
    assert_eq!(read(), (90..120).collect::<Vec<_>>());
    kdir.run(&["-q", "groups", "reset", "g", "--topic", "orders", "--shift", "-2"]).code(0);
    assert_eq!(read().len(), 6);
    // To a file, and with only so many.
    kdir.run(&["-q", "groups", "reset", "g", "--topic", "orders", "--to", "0"]).code(0);
    assert_eq!(kdir.text(&["consume", "orders", "-g", "g", "-n", "50"]).lines().count(), 50);
    let file = kdir.temp().join("rest");
    let status = kdir.process(&["consume", "orders", "-g", "g"]).stdout(File::create(&file).unwrap()).status().unwrap();
    assert!(status.success());
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 70);
    kdir.assert_sound();
}

#[test]
fn members_share_the_partitions_and_each_record_is_printed_once() {
    let kdir = topic(5);
    produce(&kdir, 0..100);
    let mut one = MemberRun::start(&kdir, &["-F"]);
    read_until(&mut [&mut one], 0..100);
    let mut two = MemberRun::start(&kdir, &["-F"]);
    until("both have some", || shares(&kdir) == [2, 3]);
    produce(&kdir, 100..300);
    read_until(&mut [&mut one, &mut two], 0..300);
    assert!(one.seen.len() > 140 && two.seen.len() > 40, "{} {}", one.seen.len(), two.seen.len());
    let again = counts(&[&one, &two]).values().filter(|&&count| count > 1).count();
    // What the first member was shown last, and was not known to have been processed.
    assert!(again <= 5, "{again}");
    kdir.run(&["groups", "list"]).code(0).stdout(contains("Stable        2 "));
    let run = kdir.run(&["groups", "reset", "g", "--topic", "orders", "--to", "0"]).code(1);
    let told = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!([&one, &two].iter().all(|it| told.contains(&it.running.id().to_string())), "{told}");

    one.running.signal(Signal::TERM);
    assert_eq!(one.running.status().signal(), Some(Signal::TERM.as_raw()));
    until("the other has all", || shares(&kdir) == [5]);
    produce(&kdir, 300..350);
    read_until(&mut [&mut two], 300..350);
    kdir.assert_sound();
}

#[test]
fn what_a_killed_member_has_not_kept_another_prints() {
    let kdir = topic(4);
    let mut survivor = MemberRun::start(&kdir, &["-F"]);
    let mut last = 0;
    let mut seen = BTreeSet::new();
    for _ in 0..5 {
        let mut killed = MemberRun::start(&kdir, &["-F"]);
        until("both have some", || shares(&kdir) == [2, 2]);
        produce(&kdir, last..last + 200);
        std::thread::sleep(Duration::from_millis(30));
        killed.running.signal(Signal::KILL);
        killed.running.status();
        killed.read();
        last += 200;
        seen.extend(killed.seen);
        until("what it had is printed", || {
            survivor.read();
            seen.extend(survivor.seen.iter().copied());
            (0..last).all(|number| seen.contains(&number))
        });
    }
    survivor.running.signal(Signal::TERM);
    survivor.running.status();
    kdir.assert_sound();
}

#[test]
fn members_that_do_not_follow_end_when_all_is_read() {
    let kdir = topic(7);
    produce(&kdir, 0..700);
    let mut runs: Vec<MemberRun> = (0..3).map(|_| MemberRun::start(&kdir, &[])).collect();
    for run in &mut runs {
        assert_eq!(run.running.status().code(), Some(0));
        run.read();
    }
    until("all is printed", || {
        runs.iter_mut().for_each(MemberRun::read);
        let all: Vec<&MemberRun> = runs.iter().collect();
        counts(&all).len() == 700
    });
    assert_eq!(lags(&kdir), [0; 7]);
    kdir.assert_sound();
}

#[test]
fn members_come_go_die_and_stop_and_every_record_is_printed() {
    let kdir = topic(6);
    let mut chance = Chance::new(seed());
    let mut runs: Vec<MemberRun> = Vec::new();
    let (mut seen, mut last) = (BTreeSet::new(), 0);
    for _ in 0..30 {
        match chance.below(4) {
            0 | 1 if runs.len() < 4 => runs.push(MemberRun::start(&kdir, &["-F"])),
            2 if runs.len() > 1 => {
                let mut run = runs.swap_remove(chance.below(runs.len() as u64) as usize);
                run.running.signal(chance.of(&[Signal::TERM, Signal::KILL]));
                run.running.status();
                run.read();
                seen.extend(run.seen);
            }
            _ => {
                produce(&kdir, last..last + 60);
                last += 60;
            }
        }
        chance.pause(Duration::from_millis(80));
    }
    runs.push(MemberRun::start(&kdir, &["-F"]));
    until("every record is printed", || {
        runs.iter_mut().for_each(MemberRun::read);
        seen.extend(runs.iter().flat_map(|run| run.seen.iter().copied()));
        (0..last).all(|number| seen.contains(&number))
    });
    let members = runs.len();
    until("the partitions are shared evenly", || {
        let shares = shares(&kdir);
        shares.iter().sum::<usize>() == 6
            && shares.len() == members.min(6)
            && shares.iter().all(|it| it.abs_diff(6 / members) <= 1)
    });
    kdir.assert_sound();
}

/// Has a second member come and go, so that partitions are given up and come back.
fn come_and_go(kdir: &Kdir, partitions: usize) {
    let mut other = MemberRun::start(kdir, &["-F"]);
    until("both have some", || shares(kdir).len() == 2);
    other.running.signal(Signal::TERM);
    other.running.status();
    until("the first has all again", || shares(kdir) == [partitions]);
}

#[test]
fn a_partition_that_was_given_up_and_came_back_changes_no_other() {
    let kdir = topic(4);
    let mut one = MemberRun::start(&kdir, &["-F"]);
    produce(&kdir, 0..40);
    read_until(&mut [&mut one], 0..40);
    come_and_go(&kdir, 4);
    let lines: String = (1000..1500).map(|number| format!("{number}\n")).collect();
    kdir.produce("orders", &["-p", "0"], lines);
    read_until(&mut [&mut one], 1000..1500);
    kdir.produce("orders", &["-p", "0"], "1500\n");
    until("what was read is committed", || lags(&kdir).iter().sum::<i64>() <= 2);
    assert!(lags(&kdir).iter().all(|&lag| lag >= 0), "{:?}", lags(&kdir));
}

#[test]
fn of_a_partition_that_came_back_counts_only_what_is_acknowledged() {
    let kdir = topic(4);
    let mut one = MemberRun::start(&kdir, &["-F", "--ack", "--max-in-flight", "5000"]);
    until("it has all", || shares(&kdir) == [4]);
    come_and_go(&kdir, 4);
    for partition in ["2", "3"] {
        kdir.produce("orders", &["-p", partition], (0..100).map(|number| format!("{number}\n")).collect::<String>());
    }
    until("all is printed", || {
        one.read();
        one.seen.len() == 200
    });
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(lags(&kdir), [0, 0, 100, 100]);
    one.running.write("2:49\n3:9\n");
    until("what is acknowledged is committed", || lags(&kdir) == [0, 0, 50, 90]);
    one.running.end_input();
}

#[test]
fn a_partition_that_is_taken_over_while_another_is_printed_is_printed_as_well() {
    let kdir = topic(2);
    let mut one = MemberRun::start(&kdir, &["-F"]);
    let two = MemberRun::start(&kdir, &["-F"]);
    until("each has one", || shares(&kdir) == [1, 1]);
    let rows = kdir.json(&["-q", "groups", "describe", "g", "-o", "json"]);
    let of_one = rows.iter().position(|row| row["member"] == format!("kdir-{}", one.running.id())).unwrap();
    // It keeps its partition.
    two.running.suspend();
    let lines = |from: u32| (from..from + 200_000).map(|number| format!("{number}\n")).collect::<String>();
    let (own, other) = (of_one.to_string(), (1 - of_one).to_string());
    kdir.produce("orders", &["-p", &other, "--timestamp", "2026-01-01T00:00:00Z"], lines(200_000));
    kdir.produce("orders", &["-p", &own, "--timestamp", "2026-05-01T00:00:00Z"], lines(0));
    two.running.signal(Signal::KILL);
    read_until(&mut [&mut one], 0..400_000);
}

#[test]
fn what_another_has_committed_is_not_printed_again_also_in_a_new_log_dir() {
    let kdir = topic(4);
    let mut one = MemberRun::start(&kdir, &["-F"]);
    let mut two = MemberRun::start(&kdir, &["-F"]);
    until("both have some", || shares(&kdir) == [2, 2]);
    produce(&kdir, 0..400);
    read_until(&mut [&mut one, &mut two], 0..400);
    until("it is committed", || lags(&kdir).iter().sum::<i64>() <= 4);
    two.running.signal(Signal::TERM);
    two.running.status();
    until("one has all", || shares(&kdir) == [4]);
    produce(&kdir, 400..440);
    read_until(&mut [&mut one, &mut two], 0..440);
    let again = counts(&[&one, &two]).values().filter(|&&count| count > 1).count();
    assert!(again <= 4, "{again}");
}

#[test]
fn topics_and_partitions_that_come_are_read_from_their_start() {
    let kdir = topic(1);
    kdir.produce("orders", &[], "7\n");
    let options = ["consume", "orders*", "-g", "g", "-F", "--from-offset", "latest"];
    let mut running = Running::start(kdir.process(&options));
    let lines = running.lines();
    let mut one = MemberRun { running, lines, seen: Vec::new() };
    until("it is a member", || shares(&kdir) == [1]);
    for number in 0..8 {
        kdir.produce(&format!("orders-{number}"), &["--create"], format!("{}\n", 100 + number));
    }
    read_until(&mut [&mut one], 100..108);
    for count in 2..20 {
        kdir.run(&["-q", "alter", "orders", "-P", &count.to_string()]).code(0);
    }
    for partition in 0..19 {
        kdir.produce("orders", &["-p", &partition.to_string()], format!("{}\n", 200 + partition));
    }
    read_until(&mut [&mut one], 200..219);
    assert!(!one.seen.contains(&7), "what was there before is not wanted");
}

#[test]
fn a_partition_that_cannot_be_read_keeps_no_other_from_being_read() {
    let kdir = topic(2);
    produce(&kdir, 0..20);
    kdir.run(&["-q", "groups", "reset", "g", "--topic", "orders", "--to", "latest"]).code(0);
    // The log has gone back behind what was committed.
    let log = kdir.segment("orders-1", 0, "log");
    std::fs::write(&log, []).unwrap();
    kdir.forget_durable_end("orders-1");
    std::fs::write(kdir.path("recovery-point-offset-checkpoint"), "0\n0\n").unwrap();
    kdir.produce("orders", &["-p", "0"], "100\n");
    let run = kdir.run(&["consume", "orders", "-g", "g"]);
    let output = run.get_output();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "100\n");
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("orders-1"));
}

#[test]
fn who_chooses_partitions_leaves_the_others_to_others() {
    let kdir = topic(5);
    produce(&kdir, 0..100);
    let mut chosen = MemberRun::start(&kdir, &["-F", "-p", "1,3"]);
    until("it has both", || shares(&kdir) == [2]);
    let mut one = MemberRun::start(&kdir, &["-F"]);
    let mut two = MemberRun::start(&kdir, &["-F"]);
    until("two share three", || shares(&kdir) == [1, 2, 2]);
    read_until(&mut [&mut chosen, &mut one, &mut two], 0..100);
    assert_eq!(chosen.seen.len(), 40);
    // What another has is not taken away, and not waited for without --follow.
    let run = kdir.run(&["consume", "orders", "-g", "g", "-p", "1,2"]).code(1);
    let told = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(told.contains("orders-1 is read by another member of g: "), "{told}");
    assert!(told.contains(&chosen.running.id().to_string()), "{told}");
    for run in [&mut one, &mut two] {
        run.running.signal(Signal::TERM);
        run.running.status();
    }
    let mut next = MemberRun::start(&kdir, &["-F", "-p", "3"]);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(shares(&kdir), [2]);
    chosen.running.signal(Signal::KILL);
    until("it has what it waited for", || shares(&kdir) == [1]);
    produce(&kdir, 100..200);
    until("it prints that", || {
        next.read();
        next.seen.iter().filter(|&&number| number >= 100).count() == 20
    });
    kdir.run(&["groups", "reset", "g", "--topic", "orders", "--to", "0"]).code(1).stderr(contains("has members"));
    kdir.assert_sound();
}

#[test]
fn members_are_shown_with_what_they_have_and_without() {
    let kdir = topic(3);
    // It has chosen before the others share the rest.
    let mut members = vec![MemberRun::start(&kdir, &["-F", "-p", "1"])];
    until("it has its partition", || shares(&kdir) == [1]);
    members.extend((0..3).map(|_| MemberRun::start(&kdir, &["-F"])));
    let shown = || {
        let output = kdir.command(&["-q", "groups", "describe", "g", "--members", "-o", "json"]).output().unwrap();
        json_lines(&output.stdout)
    };
    until("all are there", || {
        let rows = shown();
        rows.len() == 4 && rows.iter().map(|row| row["partitions"].as_i64().unwrap()).sum::<i64>() == 3
    });
    let rows = shown();
    let of = |run: &MemberRun| {
        let name = format!("kdir-{}", run.running.id());
        let row = rows.iter().find(|row| row["member"] == name).unwrap();
        (row["state"].as_str().unwrap().to_owned(), row["assigned"].as_str().unwrap().to_owned())
    };
    assert_eq!(of(&members[0]), ("manual".to_owned(), "1".to_owned()));
    let mut others: Vec<_> = members[1..].iter().map(of).collect();
    others.sort();
    assert_eq!(others, ["", "0", "2"].map(|assigned| ("running".to_owned(), assigned.to_owned())));
    assert!(rows.iter().all(|row| row["group"] == "g" && row["topic"] == "orders" && row["host"] != ""));
}

#[test]
fn what_is_given_up_is_kept_at_once_however_seldom_positions_are_kept() {
    let kdir = topic(2);
    produce(&kdir, 0..100);
    let mut one = MemberRun::start(&kdir, &["-F", "--ack", "--commit-every", "1h"]);
    read_until(&mut [&mut one], 0..100);
    one.running.write("\n".repeat(100));
    let mut two = MemberRun::start(&kdir, &["-F", "--ack", "--commit-every", "1h"]);
    let started = Instant::now();
    until("both have some", || shares(&kdir) == [1, 1]);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    produce(&kdir, 100..120);
    read_until(&mut [&mut one, &mut two], 0..120);
    assert!(counts(&[&one, &two]).values().all(|&count| count == 1));
}

#[test]
fn what_a_producer_syncs_once_a_second_is_printed_once() {
    let kdir = topic(1);
    let mut producer = Running::start(kdir.process(&["produce", "orders", "--sync", "1s"]));
    let mut printed = Vec::new();
    for round in 0..3 {
        producer.write(format!("{round}\n"));
        until("it is there", || kdir.text(&["consume", "orders", "--count"]).trim() == (round + 1).to_string());
        printed.push(kdir.text(&["consume", "orders", "-g", "g"]));
    }
    assert_eq!(printed, ["0\n", "1\n", "2\n"]);
    producer.end_input();
    producer.status();
    // Nobody says when this is durable.
    kdir.produce("orders", &["--sync", "never"], "3\n");
    kdir.run(&["consume", "orders", "-g", "g"]).code(0).stdout("3\n").stderr(contains("not known to be durable"));
    let reset = ["groups", "reset", "g", "-t", "orders", "--to", "latest"];
    kdir.run(&reset).code(0).stderr(contains("the group goes on at 3 and not at 4"));
}

#[test]
fn how_many_are_left_can_be_counted() {
    let kdir = topic(2);
    produce(&kdir, 0..20);
    kdir.run(&["-q", "consume", "orders", "-g", "g", "-n", "12"]).code(0);
    assert_eq!(kdir.text(&["consume", "orders", "-g", "g", "--no-commit", "--count"]), "8\n");
}

#[test]
fn a_group_is_left_where_it_is() {
    let kdir = topic(2);
    produce(&kdir, 0..20);
    let look = |options: &[&str]| {
        let text = kdir.text(&[&["consume", "orders", "-g", "g", "--no-commit"], options].concat());
        text.lines().map(|line| line.parse::<u32>().unwrap()).collect::<BTreeSet<_>>()
    };
    assert_eq!(look(&[]).len(), 20);
    assert!(kdir.json(&["-q", "groups", "list", "-o", "json"]).is_empty());
    kdir.run(&["-q", "consume", "orders", "-g", "g", "-n", "12"]).code(0);
    let lag = lags(&kdir);
    let member = MemberRun::start(&kdir, &["-F", "--commit-every", "1h"]);
    until("a member has all", || shares(&kdir) == [2]);
    assert_eq!(look(&[]).len(), 8);
    assert_eq!(look(&["-p", "1"]).len() as i64, lag[1]);
    assert_eq!(lags(&kdir), lag);
    drop(member);
    kdir.run(&["consume", "orders", "-g", "g", "--no-commit", "--ack"]).code(2).stderr(contains("cannot be used with"));
    kdir.run(&["consume", "orders", "--no-commit"]).code(2).stderr(contains("--group"));
}

#[test]
fn positions_are_kept_as_often_as_is_asked() {
    let kdir = topic(1);
    produce(&kdir, 0..5);
    let run = |options: &[&str]| {
        let mut member = MemberRun::start(&kdir, &[&["-F", "--ack"][..], options].concat());
        until("all is printed", || {
            member.read();
            member.seen.len() == 5
        });
        member.running.write("\n\n\n\n\n");
        member
    };
    let member = run(&["--commit-every", "1h"]);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(lags(&kdir), [5]);
    drop(member);
    let member = run(&["--commit-every", "10ms"]);
    until("it is kept", || lags(&kdir) == [0]);
    drop(member);
}

#[test]
fn an_end_ends_a_member_that_follows() {
    let kdir = topic(2);
    produce(&kdir, 0..10);
    let text = kdir.text(&["consume", "orders", "-g", "g", "-F", "--to-offset", "0:3,1:4"]);
    assert_eq!(text.lines().count(), 7);
}

#[test]
fn what_a_group_cannot_do_is_refused() {
    let kdir = topic(2);
    for other in [&["--cursor-file", "c"][..], &["--tail", "1"], &["--count"]] {
        kdir.run(&[&["consume", "orders", "-g", "g"], other].concat()).code(2).stderr(contains("cannot be used with"));
    }
    kdir.run(&["consume", "orders", "-g", ""]).code(2).stderr(contains("a group id has at least one character"));
    let rows: Vec<Value> = kdir.json(&["-q", "groups", "list", "-o", "json"]);
    assert!(rows.is_empty());
}
