//! Disks that are really full: small file systems in memory, filled to the last page or to the last file.
//!
//! They are mounted in a namespace of a process's own, which needs no rights but those of a user, and reached through
//! that process's root folder. Where a system refuses this, the tests fail and say so.

use crate::history::{self, Fed};
use crate::support::{Kdir, Running, cut, json_lines};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, starts_with};
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

const PAGE: u64 = 4096;

#[test]
fn a_limit_on_file_sizes_ends_a_producer_as_a_full_disk_does() {
    for (sync, blocks) in [("always", 0), ("always", 1), ("end", 60), ("1s", 100), ("always", 100)] {
        let kdir = Kdir::with_topic("app", &[]);
        let args = ["produce", "app", "-o", "json", "--batch-size", "1KiB", "--sync", sync];
        let mut producer = Running::start(kdir.process_with_full_files(blocks, &args));
        // One that can write nothing may have ended before it is fed.
        let _ = producer.try_write(history::lines(1, 0..1000));
        let (code, stdout, stderr) = producer.end();
        let is_told = stderr.starts_with("kdir: cannot ") && stderr.ends_with(": File too large\n");
        assert!(code == Some(1) && is_told, "{sync}, {blocks} blocks: {code:?} {stderr}");
        let events = json_lines(stdout.as_bytes());
        let (summary, records) = (events.last().unwrap(), kdir.records("app"));
        let bytes: usize = records.iter().map(|record| record["value"].as_str().unwrap().len() + 1).sum();
        let told = ["records", "acknowledged", "bytes"].map(|name| summary[name].as_u64().unwrap() as usize);
        assert_eq!(told, [records.len(), records.len(), bytes], "{sync}, {blocks} blocks: {summary}");
        let mut run = Fed::new(1, 1000, 1);
        run.listen(&json_lines(stdout.as_bytes()));
        history::check(&history::log(&kdir.records("app")), &[run]);
        kdir.assert_sound();
        // Nothing is left for the next one to put right.
        kdir.feed(&["produce", "app", "-o", "json"], "more\n").code(0).stderr("");
    }
}

/// A small file system with a log dir on it; both end with it.
struct SmallDisk {
    kdir: Kdir,
    root: PathBuf,
    /// The process that has it mounted.
    _holder: Running,
}

/// What a disk can run out of.
#[derive(Debug, Clone, Copy)]
enum Room {
    Pages,
    Files,
}

impl SmallDisk {
    fn new(options: &str) -> Self {
        let kdir = Kdir::new();
        let place = kdir.temp().join("disk");
        fs::create_dir(&place).unwrap();
        let script = r#"mount -t tmpfs -o "$0" none "$1" && echo mounted && exec cat"#;
        let mut command = Command::new("unshare");
        command.args(["-Urm", "/bin/sh", "-c", script, options]).arg(&place);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut holder = Running::start(command);
        let mounted = holder.lines().recv();
        assert!(mounted.is_ok(), "this system refuses a file system of one's own: {}", holder.end().2);
        let root = PathBuf::from(format!("/proc/{}/root{}", holder.id(), place.display()));
        Self { kdir: kdir.with_log_dir(root.join("log")), root, _holder: holder }
    }

    /// Takes all room but that much.
    fn leave(&self, room: Room, count: u64) {
        self.make_room();
        match room {
            Room::Pages => {
                let mut ballast = File::create(self.root.join("ballast")).unwrap();
                let mut size = 0;
                while ballast.write_all(&[1; PAGE as usize]).is_ok() {
                    size += PAGE;
                }
                ballast.set_len(size.checked_sub(count * PAGE).unwrap()).unwrap();
            }
            Room::Files => {
                let path = |number: u64| self.root.join(format!("ballast{number}"));
                let made = (0..).take_while(|number| File::create(path(*number)).is_ok()).count() as u64;
                (made.checked_sub(count).unwrap()..made).for_each(|number| fs::remove_file(path(number)).unwrap());
            }
        }
    }

    /// Gives the room back.
    fn make_room(&self) {
        for entry in fs::read_dir(&self.root).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }

    /// Whether a run was stopped by the full disk, and said so; else it has succeeded.
    fn was_full(&self, run: &Output) -> bool {
        let stderr = String::from_utf8(run.stderr.clone()).unwrap();
        if run.status.code() == Some(0) {
            return false;
        }
        let path = stderr.strip_prefix("kdir: cannot ").and_then(|rest| rest.split_once(' ')).map(|(_, path)| path);
        let path = path.and_then(|path| path.strip_suffix(": No space left on device\n"));
        let path = path.map(|path| path.trim_start_matches("to "));
        assert!(path.is_some_and(|path| path.starts_with(self.kdir.log_dir().to_str().unwrap())), "{stderr}");
        assert_eq!(run.status.code(), Some(1), "{stderr}");
        true
    }
}

/// Something that is done on a disk with ever more room, from none up to what it needs.
struct Step<'a> {
    /// What is done before, with all the room there is.
    before: &'a dyn Fn(&Kdir),
    args: &'a [&'a str],
    /// What is seen after it has failed or succeeded, the disk being as full as before.
    after: &'a dyn Fn(&Kdir, &Output),
    /// What is done and seen when there is room again.
    with_room: &'a dyn Fn(&Kdir),
}

impl Step<'_> {
    /// Tells with how much room it succeeds.
    fn needs(&self, disk: &SmallDisk, room: Room) -> u64 {
        for count in 0..200 {
            disk.make_room();
            if disk.kdir.log_dir().exists() {
                fs::remove_dir_all(disk.kdir.log_dir()).unwrap();
            }
            (self.before)(&disk.kdir);
            disk.leave(room, count);
            let run = disk.kdir.command(self.args).output().unwrap();
            let was_full = disk.was_full(&run);
            (self.after)(&disk.kdir, &run);
            disk.kdir.assert_sound();
            let left: Vec<String> = disk.kdir.entries("").into_iter().filter(|name| name.ends_with(".tmp")).collect();
            assert_eq!(left, Vec::<String>::new(), "left by {:?} with room for {count}", self.args);
            disk.make_room();
            (self.with_room)(&disk.kdir);
            disk.kdir.assert_sound();
            if !was_full {
                return count;
            }
        }
        panic!("{:?} never succeeds", self.args);
    }
}

const BOTH: [Room; 2] = [Room::Pages, Room::Files];

fn small_disk() -> SmallDisk {
    SmallDisk::new("size=1m,nr_inodes=100")
}

/// A topic of two partitions with some small segments, and ten records in each.
fn some_segments(kdir: &Kdir) {
    kdir.create("app", &["-P2", "-c", "segment.bytes=250"]);
    kdir.produce("app", &["--batch-size", "1"], (0..20).map(|number| format!("value {number}\n")).collect::<String>());
}

fn count(kdir: &Kdir, topic: &str) -> usize {
    kdir.values(topic).lines().count()
}

/// Produces a file and hears what it says; it may be stopped by the full disk.
fn produce(disk: &SmallDisk, options: &[&str], producer: u64, lines: u64, step: u64) -> (Fed, bool) {
    let input = disk.kdir.file("input", history::lines(producer, 0..lines));
    let run = disk.kdir.command(&[&["produce", "app", &input, "-o", "json"], options].concat()).output().unwrap();
    let mut fed = Fed::new(producer, lines, step);
    fed.listen(&json_lines(&run.stdout));
    (fed, disk.was_full(&run))
}

#[test]
fn a_full_disk_is_told_where_the_input_has_a_fault_behind_that_place() {
    let disk = small_disk();
    let lines = |count: usize| format!("key={}\n", "x".repeat(100)).repeat(count) + "no key\n";
    let mut was_full = 0;
    for count in (500..6000).step_by(250) {
        disk.make_room();
        disk.kdir.create(&format!("app{count}"), &[]);
        disk.leave(Room::Pages, 60);
        let input = disk.kdir.file("input", lines(count));
        let run = disk.kdir.command(&["produce", &format!("app{count}"), "-q", "-K", "=", &input]).output().unwrap();
        let fits = count * 120 < 55 * PAGE as usize;
        if fits {
            assert!(String::from_utf8_lossy(&run.stderr).contains("has no key delimiter"), "{count}: {run:?}");
        } else if count * 106 > 62 * PAGE as usize {
            assert!(disk.was_full(&run), "{count}");
            was_full += 1;
        }
        disk.make_room();
        disk.kdir.command(&["delete", &format!("app{count}"), "--yes"]).output().unwrap();
    }
    assert!(was_full > 10);
}

#[test]
fn what_a_disk_that_fills_up_has_taken_is_kept_and_it_goes_on_with_room() {
    for (options, config, partitions) in [
        (&[][..], "segment.bytes=1GiB", 1),
        (&["-z", "zstd"], "segment.bytes=1GiB", 1),
        (&["--batch-size", "1", "--sync", "20ms"], "segment.bytes=1GiB", 1),
        (&["--sync", "always"], "segment.bytes=12000", 1),
        (&["-z", "lz4", "--sync", "end"], "segment.bytes=12000", 1),
        (&[], "segment.bytes=12000", 3),
        (&["-z", "gzip", "--sync", "always"], "index.interval.bytes=0", 3),
    ] {
        let disk = SmallDisk::new("size=1m");
        disk.kdir.create("app", &["-c", config, "-P", &partitions.to_string()]);
        disk.leave(Room::Pages, 25);
        let (first, was_full) = produce(&disk, options, 0, 20_000, partitions);
        assert!(was_full, "{options:?} {config}");
        // Down to the last bytes: some lines still fit where a batch does not.
        let mut runs = vec![first];
        for producer in 1.. {
            let (run, was_full) = produce(&disk, options, producer, 5, partitions);
            runs.push(run);
            if was_full {
                break;
            }
        }
        history::check(&history::log(&disk.kdir.records("app")), &runs);
        disk.kdir.assert_sound();
        disk.make_room();
        let (run, was_full) = produce(&disk, options, runs.len() as u64, 2000, partitions);
        assert!(!was_full);
        runs.push(run);
        history::check(&history::log(&disk.kdir.records("app")), &runs);
        disk.kdir.assert_sound();
    }
}

#[test]
fn any_write_of_produce_may_find_the_disk_full() {
    let disk = small_disk();
    for room in BOTH {
        let input = disk.kdir.file("input", history::lines(0, 0..150));
        let before =
            |kdir: &Kdir| kdir.create("app", &["-P2", "-c", "segment.bytes=4000", "-c", "index.interval.bytes=0"]);
        let args = ["produce", "app", &input, "-o", "json", "--batch-size", "1000"];
        let check = |kdir: &Kdir, run: &Output| {
            let mut fed = Fed::new(0, 150, 2);
            fed.listen(&json_lines(&run.stdout));
            history::check(&history::log(&kdir.records("app")), &[fed]);
        };
        let with_room = |kdir: &Kdir| {
            let before = count(kdir, "app");
            kdir.produce("app", &[], "one\ntwo\nthree\n");
            assert_eq!(count(kdir, "app"), before + 3);
        };
        let step = Step { before: &before, args: &args, after: &check, with_room: &with_room };
        assert!(step.needs(&disk, room) > 5);
    }
}

#[test]
fn a_topic_that_the_disk_has_no_room_for_can_be_made_later() {
    let disk = small_disk();
    for room in BOTH {
        let after = |kdir: &Kdir, _: &Output| assert_eq!(count(kdir, "app"), 20);
        let with_room = |kdir: &Kdir| {
            kdir.run(&["-q", "create", "new", "-P2", "-c", "retention.ms=5000", "--if-not-exists"]).code(0).stderr("");
            kdir.produce("new", &[], "one\ntwo\n");
            assert_eq!(kdir.values("new"), "one\ntwo\n");
            assert_eq!(kdir.json(&["describe", "new", "-o", "json"])[1]["config"]["retention.ms"], "5000");
        };
        let args = ["create", "new", "-P2", "-c", "retention.ms=5000"];
        let step = Step { before: &some_segments, args: &args, after: &after, with_room: &with_room };
        assert!(step.needs(&disk, room) > 2);
    }
}

#[test]
fn a_topic_that_cannot_be_altered_on_a_full_disk_stays_as_it_was() {
    let disk = small_disk();
    for room in BOTH {
        let config = |kdir: &Kdir| kdir.json(&["describe", "app", "-o", "json"])[0]["config"].clone();
        let after = |kdir: &Kdir, run: &Output| {
            let altered = config(kdir)["retention.ms"] == "5000";
            assert_eq!((altered, count(kdir, "app")), (run.status.success(), 20));
        };
        let with_room = |kdir: &Kdir| {
            kdir.run(&["-q", "alter", "app", "-c", "retention.ms=5000"]).code(0).stderr("");
            assert_eq!(config(kdir)["retention.ms"], "5000");
        };
        let args = ["alter", "app", "-c", "retention.ms=5000"];
        let step = Step { before: &some_segments, args: &args, after: &after, with_room: &with_room };
        assert_eq!(step.needs(&disk, room), 1);
    }
}

#[test]
fn partitions_that_a_full_disk_has_no_room_for_can_be_made_later() {
    let disk = small_disk();
    for room in BOTH {
        let after = |kdir: &Kdir, _: &Output| assert_eq!(count(kdir, "app"), 20);
        let with_room = |kdir: &Kdir| {
            if kdir.json(&["describe", "app", "-o", "json"]).len() < 4 {
                kdir.run(&["-q", "alter", "app", "-P4"]).code(0).stderr("");
            }
            kdir.produce("app", &["-p3"], "one\ntwo\n");
            assert_eq!(kdir.text(&["consume", "app", "-p3"]), "one\ntwo\n");
        };
        let step =
            Step { before: &some_segments, args: &["alter", "app", "-P4"], after: &after, with_room: &with_room };
        assert!(step.needs(&disk, room) > 2);
    }
}

#[test]
fn records_that_cannot_be_deleted_on_a_full_disk_stay() {
    let disk = small_disk();
    let args = ["-q", "delete-records", "--yes", "app", "--before-offset", "0:5"];
    for room in BOTH {
        let after = |kdir: &Kdir, run: &Output| {
            assert_eq!(count(kdir, "app"), if run.status.success() { 15 } else { 20 });
        };
        let with_room = |kdir: &Kdir| {
            kdir.run(&args).code(0).stderr("");
            assert_eq!(count(kdir, "app"), 15);
        };
        let step = Step { before: &some_segments, args: &args, after: &after, with_room: &with_room };
        assert_eq!(step.needs(&disk, room), 1);
    }
}

#[test]
fn retention_frees_a_full_disk() {
    let disk = small_disk();
    for (room, limit, stay) in
        [(Room::Pages, "250", 8), (Room::Files, "250", 8), (Room::Pages, "0", 0), (Room::Files, "0", 0)]
    {
        let args = ["-q", "retention", "app", "--retention-bytes", limit];
        let after = |kdir: &Kdir, _: &Output| {
            assert_eq!(count(kdir, "app"), stay);
            kdir.produce("app", &[], "one\ntwo\n");
            assert_eq!(count(kdir, "app"), stay + 2);
        };
        let step = Step { before: &some_segments, args: &args, after: &after, with_room: &|_| {} };
        assert_eq!(step.needs(&disk, room), 0, "{room:?} {limit}");
    }
}

#[test]
fn retention_frees_a_full_disk_of_what_was_deleted_up_to_the_log_end() {
    let disk = small_disk();
    let one_segment = |kdir: &Kdir| {
        kdir.create("app", &["-P2", "-c", "retention.ms=-1"]);
        kdir.produce("app", &[], format!("{}\n", "v".repeat(1000)).repeat(20));
    };
    for (room, before) in
        [(Room::Pages, &one_segment as &dyn Fn(&Kdir)), (Room::Pages, &some_segments), (Room::Files, &some_segments)]
    {
        let before = |kdir: &Kdir| {
            before(kdir);
            kdir.run(&["-q", "delete-records", "--yes", "app", "--before-offset", "0:latest,1:latest"])
                .code(0)
                .stderr("");
        };
        let after = |kdir: &Kdir, _: &Output| {
            let expected = [0, 1].map(|partition| format!("app\t{partition}\t10\t10\t1\t0\t\t\n")).concat();
            assert_eq!(kdir.text(&["describe", "app", "-o", "tsv"]), expected);
            kdir.produce("app", &[], "one\ntwo\n");
            assert_eq!(count(kdir, "app"), 2);
        };
        let step = Step { before: &before, args: &["-q", "retention", "app"], after: &after, with_room: &|_| {} };
        assert_eq!(step.needs(&disk, room), 0, "{room:?}");
    }
}

#[test]
fn a_topic_deleted_on_a_full_disk_frees_it() {
    let disk = small_disk();
    let before = |kdir: &Kdir| {
        some_segments(kdir);
        // Both checkpoint files hold rows of it.
        kdir.run(&["-q", "delete-records", "--yes", "app", "--before-offset", "0:5"]).code(0).stderr("");
        kdir.create("other", &[]);
    };
    let after = |kdir: &Kdir, _: &Output| {
        assert!(!kdir.path("app-0").exists());
        kdir.produce("other", &[], "one\n");
    };
    for room in BOTH {
        let step =
            Step { before: &before, args: &["-q", "delete", "app", "--yes"], after: &after, with_room: &some_segments };
        assert_eq!(step.needs(&disk, room), 0);
    }
}

#[test]
fn a_batch_left_half_written_is_cut_on_a_full_disk_though_it_cannot_be_kept() {
    let disk = small_disk();
    disk.kdir.create("app", &[]);
    disk.kdir.produce("app", &[], "one\n");
    disk.kdir.produce("app", &[], "x".repeat(20_000));
    let log = disk.kdir.segment("app-0", 0, "log");
    disk.kdir.forget_durable_end("app-0");
    cut(&log, 1000);
    disk.leave(Room::Pages, 0);
    let said = format!(
        "warning: cut 19072 bytes of a batch left half written from {} at position 71; the disk had no room to keep it\n",
        log.display()
    );
    let run = disk.kdir.feed(&["produce", "app"], "two\n").code(0).stdout("");
    run.stderr(starts_with(said).and(contains("\nproduced 1 record, ")));
    assert_eq!(disk.kdir.values("app"), "one\ntwo\n");
    disk.kdir.assert_sound();
}
