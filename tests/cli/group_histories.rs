//! Random histories of the members of a group: they come, end, are killed, stand still and go on, while records and
//! partitions are added. Each acknowledges what it has printed.

use crate::support::{Chance, Kdir, Running, from_environment, json_lines, seed, until};
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Partition and offset.
type Place = (u32, u64);

/// What was printed, in order, and by which member.
type Printed = Arc<Mutex<Vec<(usize, Place)>>>;

/// After a change it takes no longer until each member has its share, but for the start of a process on a busy machine.
const BALANCED: Duration = Duration::from_millis(1500);

struct Member {
    number: usize,
    running: Running,
    acknowledger: JoinHandle<()>,
    is_stopped: bool,
}

impl Member {
    fn start(kdir: &Kdir, number: usize, printed: &Printed) -> Self {
        let options = ["-F", "--ack", "--commit-every", "50ms", "-f", "%p:%o\n"];
        let mut running = Running::start(kdir.process(&[&["consume", "orders", "-g", "g"][..], &options].concat()));
        let (mut stdin, stdout, printed) = (running.take_stdin(), running.take_stdout(), Arc::clone(printed));
        let acknowledge = move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                let Some((partition, offset)) = line.split_once(':') else { return };
                // Half a line is what a killed member leaves.
                let (Ok(partition), Ok(offset)) = (partition.parse(), offset.parse()) else { return };
                printed.lock().unwrap().push((number, (partition, offset)));
                let _ = stdin.write_all(b"ok\n");
            }
        };
        Self { number, running, acknowledger: std::thread::spawn(acknowledge), is_stopped: false }
    }

    fn end(mut self, signal: Signal) {
        self.running.signal(signal);
        self.running.status();
        self.acknowledger.join().unwrap();
    }
}

struct History {
    kdir: Kdir,
    chance: Chance,
    printed: Printed,
    members: Vec<Member>,
    started: usize,
    killed: BTreeSet<usize>,
    partitions: u64,
    records: u64,
    /// What was done, for who looks for a fault.
    done: Vec<String>,
    slowest: Duration,
}

impl History {
    fn new(mut chance: Chance) -> Self {
        let partitions = chance.of(&[1, 2, 3, 5, 8, 20, 50]);
        Self {
            kdir: Kdir::with_topic("orders", &["--partitions", &partitions.to_string()]),
            chance,
            printed: Printed::default(),
            members: Vec::new(),
            started: 0,
            killed: BTreeSet::new(),
            partitions,
            records: 0,
            done: Vec::new(),
            slowest: Duration::ZERO,
        }
    }

    fn start(&mut self) {
        self.members.push(Member::start(&self.kdir, self.started, &self.printed));
        self.started += 1;
    }

    fn produce(&mut self) {
        let count = self.chance.below(60) + 1;
        let lines: String = (0..count).map(|number| format!("{number}\n")).collect();
        self.kdir.produce("orders", &["--partitioner", "round-robin"], lines);
        self.records += count;
    }

    fn any(&mut self) -> usize {
        self.chance.below(self.members.len() as u64) as usize
    }

    fn step(&mut self, members_max: usize) {
        let what = self.chance.below(8);
        let is_room = self.members.len() < members_max;
        let stopped = self.members.iter().position(|member| member.is_stopped);
        match what {
            0 | 1 if is_room => self.start(),
            2 if self.members.len() > 1 => {
                let at = self.any();
                let member = self.members.swap_remove(at);
                if member.is_stopped {
                    member.running.signal(Signal::CONT);
                }
                member.end(Signal::TERM);
            }
            3 if self.members.len() > 1 => {
                let at = self.any();
                let member = self.members.swap_remove(at);
                self.killed.insert(member.number);
                member.end(Signal::KILL);
            }
            4 if self.members.len() > 1 => {
                let at = self.any();
                if !self.members[at].is_stopped {
                    self.members[at].running.suspend();
                    self.members[at].is_stopped = true;
                }
            }
            5 if stopped.is_some() => self.go_on(),
            6 if self.partitions < 50 => {
                self.partitions += self.chance.below(3.min(50 - self.partitions)) + 1;
                self.kdir.run(&["-q", "alter", "orders", "-P", &self.partitions.to_string()]).code(0);
            }
            _ => self.produce(),
        }
        self.done.push(format!("{what} {} of {}", self.members.len(), self.partitions));
    }

    fn go_on(&mut self) {
        for member in &mut self.members {
            if std::mem::take(&mut member.is_stopped) {
                member.running.signal(Signal::CONT);
            }
        }
    }

    /// How many partitions each member has that has any.
    fn shares(&self) -> Vec<u64> {
        let mut shares = BTreeMap::<String, u64>::new();
        let output = self.kdir.command(&["-q", "groups", "describe", "g", "-o", "json"]).output().unwrap();
        for row in json_lines(&output.stdout) {
            if let Some(member) = row["member"].as_str() {
                *shares.entry(member.to_owned()).or_default() += 1;
            }
        }
        shares.into_values().collect()
    }

    /// Waits until each has its share. One that stands still keeps what it has, and its share from others.
    fn balance(&mut self) {
        if self.members.is_empty() || self.members.iter().any(|member| member.is_stopped) {
            return;
        }
        let started = Instant::now();
        let members = self.members.len() as u64;
        let shown = members.min(self.partitions);
        loop {
            let looked = Instant::now();
            let shares = self.shares();
            let is_even = shares
                .iter()
                .all(|&share| share == self.partitions / members || share == self.partitions.div_ceil(members));
            if shares.len() as u64 == shown && is_even && shares.iter().sum::<u64>() == self.partitions {
                self.slowest = self.slowest.max(looked - started);
                return;
            }
            let waited = started.elapsed();
            assert!(waited < BALANCED * 4, "{shares:?} of {members} after {waited:?}: {:?}", self.done);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Every record was printed, and again only where the member that had printed it before was killed.
    fn check(&self) {
        let printed = self.printed.lock().unwrap();
        let mut by = BTreeMap::<Place, Vec<usize>>::new();
        for &(member, place) in printed.iter() {
            by.entry(place).or_default().push(member);
        }
        for (place, members) in &by {
            let (last, before) = members.split_last().unwrap();
            let are_killed = before.iter().all(|member| self.killed.contains(member));
            assert!(are_killed, "{place:?} was printed by {before:?} and {last}: {:?}", self.done);
        }
    }

    fn has_all(&self) -> bool {
        let printed = self.printed.lock().unwrap();
        printed.iter().map(|(_, place)| place).collect::<BTreeSet<_>>().len() as u64 == self.records
    }

    fn run(mut self) -> Duration {
        let members_max = self.chance.below(7) as usize + 2;
        self.start();
        for _ in 0..12 {
            self.step(members_max);
            self.balance();
        }
        self.go_on();
        self.produce();
        if self.members.is_empty() {
            self.start();
        }
        until("every record is printed", || self.has_all());
        for member in std::mem::take(&mut self.members) {
            member.end(Signal::TERM);
        }
        self.check();
        assert_eq!(self.kdir.text(&["consume", "orders", "-g", "g"]), "", "{:?}", self.done);
        self.kdir.run(&["-q", "groups", "reset", "g", "--topic", "orders", "--to", "earliest"]).code(0);
        let again = self.kdir.text(&["consume", "orders", "-g", "g", "-f", "%p:%o\n"]);
        assert_eq!(again.lines().collect::<BTreeSet<_>>().len() as u64, self.records);
        assert_eq!(again.lines().count() as u64, self.records);
        self.kdir.assert_sound();
        self.slowest
    }
}

#[expect(clippy::print_stdout, reason = "a failure is looked into with the same seed")]
fn histories(count: u64) {
    let seed = seed();
    println!("KDIR_SEED={seed}");
    let mut slowest = Duration::ZERO;
    for number in 0..count {
        let took = History::new(Chance::new(seed.wrapping_add(number))).run();
        slowest = slowest.max(took);
    }
    println!("{count} histories: evenly shared after {slowest:?} at the most");
    assert!(slowest < BALANCED, "{slowest:?}");
}

#[test]
fn records_are_printed_again_only_after_a_kill() {
    histories(3);
}

#[test]
#[ignore = "long: KDIR_GROUP_HISTORIES of them, two a second"]
fn records_are_printed_again_only_after_a_kill_in_many_histories() {
    histories(from_environment("KDIR_GROUP_HISTORIES", || 60));
}
