//! Random histories of workers: they and their handlers are killed, stand still and take too long, while a queue is worked to
//! its end.
//!
//! A handler writes a line when it begins and one when it ends into one file, and holds a lock of its record in between: two of
//! one record would be seen by that lock.

use crate::support::{Chance, Kdir, Running, from_environment, seed};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

const WORKERS: usize = 6;
const MAX_ATTEMPTS: u64 = 4;
/// Every so manieth record fails always, fails the first time, or takes too long the first time.
const POISON: u64 = 97;
const FLAKY: u64 = 13;
const SLOW: u64 = 211;
const KEYS: u64 = 40;

fn script(kdir: &Kdir) -> String {
    let folder = kdir.temp().join("handled");
    fs::create_dir_all(folder.join("locks")).unwrap();
    let folder = folder.display();
    format!(
        "o=$KDIR_PARTITION.$KDIR_OFFSET; n=$KDIR_OFFSET; a=$KDIR_ATTEMPT; cd {folder}; exec 9>locks/$o
        flock -n 9 || echo overlap $o $a $$ >> log
        echo begin $o $a $$ >> log
        [ $((n % {SLOW})) = 7 ] && [ $a = 1 ] && sleep 5 9>&-
        [ $((n % {POISON})) = 5 ] && echo fail $o $a $$ >> log && exit 3
        [ $((n % {FLAKY})) = 2 ] && [ $a = 1 ] && echo fail $o $a $$ >> log && exit 3
        echo end $o $a $$ >> log"
    )
}

/// What handlers have written.
struct Log {
    lines: Vec<(String, String, u64, i32)>,
}

impl Log {
    fn read(kdir: &Kdir) -> Self {
        let text = fs::read_to_string(kdir.temp().join("handled/log")).unwrap_or_default();
        let line = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            // The last line may be half written.
            let [what, place, attempt, pid] = words[..] else { return None };
            Some((what.to_owned(), place.to_owned(), attempt.parse().ok()?, pid.parse().ok()?))
        };
        Self { lines: text.lines().filter_map(line).collect() }
    }

    fn of<'a>(&'a self, what: &'a str) -> impl Iterator<Item = (&'a str, u64)> {
        self.lines.iter().filter(move |it| it.0 == what).map(|it| (it.1.as_str(), it.2))
    }

    fn count<'a>(&'a self, what: &'a str) -> BTreeMap<&'a str, u64> {
        let mut counts = BTreeMap::new();
        self.of(what).for_each(|(place, _)| *counts.entry(place).or_default() += 1);
        counts
    }
}

struct History {
    /// By key, or not.
    order: Option<&'static str>,
    kdir: Kdir,
    chance: Chance,
    workers: Vec<Running>,
    script: String,
    killed: u64,
    handlers_killed: u64,
}

impl History {
    fn start(&mut self) {
        let jobs = (self.chance.below(4) + 1).to_string();
        let attempts = MAX_ATTEMPTS.to_string();
        let mut args = vec!["-q", "work", "jobs", "-g", "g", "-j", &jobs, "--max-attempts", &attempts];
        args.extend(["--backoff", "20ms..200ms", "--breaker", "0"]);
        args.extend(self.order.into_iter().flat_map(|order| ["--ordered", order]));
        // All have a limit, so that a slow one is stopped.
        args.extend(["--timeout", "700ms", "--", "sh", "-c", &self.script]);
        let mut process = self.kdir.process(&args);
        process.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        self.workers.push(Running::start(process));
    }

    fn step(&mut self) {
        let at = self.chance.below(self.workers.len() as u64) as usize;
        match self.chance.below(5) {
            0 | 1 => {
                self.workers[at].signal(Signal::KILL);
                self.workers.swap_remove(at).status();
                self.killed += 1;
                self.start();
            }
            2 => {
                self.workers[at].suspend();
                std::thread::sleep(Duration::from_millis(150));
                self.workers[at].signal(Signal::CONT);
            }
            _ => {
                let log = Log::read(&self.kdir);
                let ended: BTreeSet<(&str, u64)> = log.of("end").chain(log.of("fail")).collect();
                let begun =
                    log.lines.iter().rev().take(50).find(|it| it.0 == "begin" && !ended.contains(&(&it.1, it.2)));
                if let Some((_, _, _, pid)) = begun
                    && kill_process(Pid::from_raw(*pid).unwrap(), Signal::KILL).is_ok()
                {
                    self.handlers_killed += 1;
                }
            }
        }
    }

    /// Workers that are left end by themselves; what an orphan has is taken by the next run.
    fn drain(&mut self) {
        for mut worker in self.workers.drain(..) {
            worker.status();
        }
        let started = Instant::now();
        loop {
            self.start();
            self.workers.remove(0).status();
            let rows = self.kdir.json(&["-q", "groups", "describe", "g", "-o", "json"]);
            if rows.iter().all(|row| row["lag"] == 0) {
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "{rows:?}");
        }
    }
}

#[expect(clippy::print_stdout, reason = "it is what the run was")]
fn report(what: &str) {
    println!("{what}");
}

fn history(seed: u64, records: u64, time: Duration, order: Option<&'static str>) {
    let kdir = Kdir::with_topic("jobs", &["--partitions", "3"]);
    let lines: String = (0..records).map(|number| format!("{}:{number}\n", number % KEYS)).collect();
    kdir.produce("jobs", &["-K", ":"], lines);
    let script = script(&kdir);
    let chance = Chance::new(seed);
    let mut history = History { order, kdir, chance, workers: Vec::new(), script, killed: 0, handlers_killed: 0 };
    let started = Instant::now();
    (0..WORKERS).for_each(|_| history.start());
    while started.elapsed() < time && history.workers.iter_mut().any(|it| it.try_status().is_none()) {
        let pause = history.chance.below(150) + 20;
        std::thread::sleep(Duration::from_millis(pause));
        history.workers.retain_mut(|it| it.try_status().is_none());
        if history.workers.is_empty() {
            break;
        }
        history.step();
    }
    history.drain();
    let (kdir, log) = (&history.kdir, Log::read(&history.kdir));
    let what = format!(
        "seed {seed}, {} workers and {} handlers killed, {} s",
        history.killed,
        history.handlers_killed,
        started.elapsed().as_secs()
    );
    assert_eq!(log.of("overlap").count(), 0, "{what}");
    // Each attempt has its number, and each number is one attempt.
    let mut attempts = BTreeMap::<&str, Vec<u64>>::new();
    log.of("begin").for_each(|(place, attempt)| attempts.entry(place).or_default().push(attempt));
    let (mut skipped, mut begun) = (0, 0);
    for (place, numbers) in &attempts {
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{what}: {place} was tried as {numbers:?}");
        skipped += numbers.last().unwrap() - numbers.len() as u64;
        begun += numbers.len();
    }
    // A number is left out where a worker died between the note and the start.
    assert!(skipped <= history.killed * 4, "{what}: {skipped} attempts left out");
    if order.is_some() {
        assert_in_order(kdir, &log, &what);
    }
    let (ends, mut twice) = (log.count("end"), 0);
    let letters = kdir.records("dlq.jobs");
    let dead: BTreeSet<String> = letters
        .iter()
        .map(|letter| {
            let header = |name: &str| {
                let mut headers = letter["headers"].as_array().unwrap().iter();
                let found = headers.find(|it| it["key"] == format!("__dlq.errors.{name}")).unwrap();
                found["value"].as_str().unwrap().to_owned()
            };
            assert_eq!(header("delivery.count"), MAX_ATTEMPTS.to_string(), "{what}");
            format!("{}.{}", header("partition"), header("offset"))
        })
        .collect();
    for record in kdir.records("jobs") {
        let place = format!("{}.{}", record["partition"], record["offset"]);
        let count = ends.get(&*place).copied().unwrap_or_default();
        assert!(count > 0 || dead.contains(&place), "{what}: {place} was lost");
        assert!(count > 0 || attempts[&*place].last() <= Some(&MAX_ATTEMPTS), "{what}: {place} was tried too often");
        twice += count.saturating_sub(1);
    }
    // Completed twice only where a worker died between the end of the handler and the verdict.
    assert!(twice <= history.killed * 4, "{what}: {twice} were completed again");
    report(&format!(
        "{what}: {begun} attempts, {} dead letters, {twice} completed twice, {skipped} attempts left out",
        letters.len()
    ));
    kdir.assert_sound();
}

/// The handlers of a key's records begin in the order of the records, and again only with the same one.
fn assert_in_order(kdir: &Kdir, log: &Log, what: &str) {
    let mut keys = BTreeMap::new();
    for record in kdir.records("jobs") {
        let place = format!("{}.{}", record["partition"], record["offset"]);
        keys.insert(place, (record["key"].as_str().unwrap().to_owned(), record["offset"].as_u64().unwrap()));
    }
    let mut last = BTreeMap::<&str, u64>::new();
    for (place, _) in log.of("begin") {
        let (key, offset) = &keys[place];
        let before = last.insert(key, *offset).unwrap_or_default();
        assert!(before <= *offset, "{what}: {offset} of key {key} came after {before}");
    }
}

#[test]
fn the_records_of_a_key_stay_in_order_when_workers_are_killed() {
    history(seed(), 120, Duration::from_secs(6), Some("key"));
}

#[test]
fn no_record_is_lost_or_handled_twice_at_a_time() {
    history(seed(), 200, Duration::from_secs(6), None);
}

/// KDIR_WORK_SECONDS says how long workers are killed, KDIR_WORK_RECORDS how many records there are.
#[test]
#[ignore = "takes more than a minute"]
fn work_histories() {
    let seconds = from_environment("KDIR_WORK_SECONDS", || 60);
    let records = from_environment("KDIR_WORK_RECORDS", || 2_000);
    history(seed(), records, Duration::from_secs(seconds), None);
    history(seed(), records / 10, Duration::from_secs(seconds / 5), Some("key"));
}
