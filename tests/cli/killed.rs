//! What `kdir consume --cursor-file` and `--group` keep when they are killed, or the reader of its output is.

use crate::cursors::{consume, numbered, position};
use crate::support::{Chance, Kdir, Running, seed, until};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A pipeline in a process group of its own, each of its two processes with its pid in a file.
struct Pipeline<'a> {
    kdir: &'a Kdir,
    shell: Running,
}

impl<'a> Pipeline<'a> {
    /// Runs `consume` into `reader`, for which a shell is replaced.
    fn start(kdir: &'a Kdir, consume: &str, reader: &str) -> Self {
        for name in ["kdir.pid", "reader.pid"] {
            let _ = fs::remove_file(kdir.temp().join(name));
        }
        let script = format!(
            "(echo $$ > /dev/null; exec sh -c 'echo $$ > kdir.pid; exec {} {consume}') | \
             (exec sh -c 'echo $$ > reader.pid; exec {reader}')",
            env!("CARGO_BIN_EXE_kdir")
        );
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script]).env("KDIR_LOG_DIR", kdir.log_dir()).env("TZ", "UTC").current_dir(kdir.temp());
        command.stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        Self { kdir, shell: Running::start(command) }
    }

    fn kill(&self, name: &str) {
        let pid = fs::read_to_string(self.kdir.temp().join(name)).unwrap_or_default();
        if let Some(pid) = pid.trim().parse().ok().and_then(Pid::from_raw) {
            // It may have ended.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }

    fn end(self) {
        // Both may have ended.
        let group = Pid::from_raw(self.shell.id() as i32).unwrap();
        let _ = kill_process_group(group, Signal::KILL);
        self.shell.wait();
    }
}

/// Ends a pipeline in one of four ways when its reader is at record `at`, and returns the first record of the next run.
fn next_after(kdir: &Kdir, keeps: &str, consume: &str, at: u64, way: usize) -> u64 {
    if keeps == "-g g" {
        // The member may be about to end.
        until("the group is gone", || {
            let output = kdir.command(&["groups", "delete", "g", "--yes"]).output().unwrap();
            String::from_utf8_lossy(&output.stderr).contains("there is no group g")
        });
    }
    for name in ["cursor", "ready"] {
        let _ = fs::remove_file(kdir.temp().join(name));
    }
    // It buffers as much as it can, and stays at that record.
    let reader = "import sys, time\nfor number, line in enumerate(sys.stdin, 1):\n    if number == int(sys.argv[1]):\n        \
                  open('ready', 'w').close()\n        time.sleep(60)\n";
    fs::write(kdir.temp().join("reader.py"), reader).unwrap();
    let reader = format!("python3 -S -E reader.py {at}");
    let pipeline = Pipeline::start(kdir, &format!("{consume} {keeps}"), &reader);
    until("the reader is at the record", || kdir.temp().join("ready").exists());
    // Time for kdir to go as far as it may.
    std::thread::sleep(Duration::from_millis(60));
    let group = Pid::from_raw(pipeline.shell.id() as i32).unwrap();
    match way {
        0 => pipeline.kill("kdir.pid"),
        1 => pipeline.kill("reader.pid"),
        2 => kill_process_group(group, Signal::KILL).unwrap(),
        _ => kill_process_group(group, Signal::INT).unwrap(),
    }
    std::thread::sleep(Duration::from_millis(60));
    pipeline.end();
    let next = match keeps {
        "-g g" => kdir.text(&["consume", "app", "-g", "g", "--no-commit", "-n", "1"]),
        _ => self::consume(kdir, &kdir.temp().join("cursor"), &["-n", "1"]),
    };
    next.get(..8).map_or(u64::MAX, |number| number.parse().unwrap())
}

fn a_kill_skips_nothing(keeps: &str, size: usize) {
    let kdir = Kdir::with_topic("app", &[]);
    let padding = "x".repeat(size - 9);
    kdir.produce("app", &[], (1..=120).map(|number| format!("{number:08}{padding}\n")).collect::<String>());
    for way in 0..4 {
        for (at, consume) in [(1, "consume app"), (2, "consume app"), (100, "consume app"), (120, "consume app -F")] {
            let next = next_after(&kdir, keeps, consume, at, way);
            assert!(next <= at, "way {way} at record {at}: the next run begins with record {next}");
            // The one in the pipe is handled by a reader that outlives kdir, and those that it holds were not.
            let repeated = at - next;
            // What a group has not kept of the last second comes again, however much it was.
            assert!(
                keeps == "-g g" || repeated <= 2 || size < 100 && repeated <= 64,
                "way {way} at record {at}: {next} comes next"
            );
        }
    }
}

#[test]
fn a_kill_of_either_end_of_a_pipe_or_both_skips_no_small_record() {
    a_kill_skips_nothing("--cursor-file cursor", 10);
}

#[test]
fn a_kill_of_either_end_of_a_pipe_or_both_skips_no_record_of_a_group() {
    a_kill_skips_nothing("-g g", 10);
    a_kill_skips_nothing("-g g", 100 << 10);
}

#[test]
fn a_kill_of_either_end_of_a_pipe_or_both_skips_no_large_record() {
    a_kill_skips_nothing("--cursor-file cursor", 100 << 10);
}

/// A reader that writes down what it has handled, and what it does not handle of the end before it sees that there is no more.
#[test]
fn a_kill_skips_nothing_that_a_program_has_read_ahead() {
    const RECORDS: u64 = 1_530;
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], (1..=RECORDS).map(|number| format!("{number:08}\n")).collect::<String>());
    let readers = [
        ("mawk", "mawk '{ print > \"handled\"; fflush(\"handled\") }'", true),
        ("xargs of a hundred", "xargs -n 100 sh -c 'printf \"%s\\n\" \"$@\" >> handled' _", true),
        ("xargs", "xargs sh -c 'printf \"%s\\n\" \"$@\" >> handled' _", false),
        ("sort", "sort -o handled", false),
        ("a shell, then sort", "sh -c 'read line; echo $line > handled; exec sort -o sorted'", true),
    ];
    for (name, reader, handles_some) in readers {
        for file in ["cursor", "handled"] {
            let _ = fs::remove_file(kdir.temp().join(file));
        }
        fs::write(kdir.temp().join("reader.sh"), format!("exec {reader}\n")).unwrap();
        let pipeline = Pipeline::start(&kdir, "consume app -F --cursor-file cursor", "sh reader.sh");
        let handled = || {
            let text = fs::read_to_string(kdir.temp().join("handled")).unwrap_or_default();
            text.lines().count() as u64
        };
        until("the reader has handled some", || !handles_some || handled() > 0);
        // Time for kdir to go as far as it may.
        std::thread::sleep(Duration::from_millis(300));
        kill_process_group(Pid::from_raw(pipeline.shell.id() as i32).unwrap(), Signal::KILL).unwrap();
        std::thread::sleep(Duration::from_millis(60));
        let handled = handled();
        pipeline.end();
        assert!(handled < RECORDS, "{name} has handled all");
        let next = consume(&kdir, &kdir.temp().join("cursor"), &["-n", "1"]);
        let next: u64 = next.trim_end().parse().unwrap();
        assert!(next <= handled + 1, "{name} has handled {handled}, and {next} comes next");
    }
}

/// Kills pipelines again and again that write down what they have handled. Returns what there is to say of it.
fn killed_at_random(times: u64, seed: u64) -> String {
    const RECORDS: u64 = 60_000;
    // One record makes a chunk full.
    const CHUNK_MAX: usize = (124 << 10) + "60000\n".len();
    let mut chance = Chance::new(seed);
    let kdir = numbered(RECORDS);
    // A record is handled when its line is in the file.
    let reader =
        "import sys\nout = open('handled', 'ab', buffering=0)\nfor line in sys.stdin.buffer:\n    out.write(line)\n";
    fs::write(kdir.temp().join("reader.py"), reader).unwrap();
    let handled = || -> Vec<u64> {
        let text = fs::read_to_string(kdir.temp().join("handled")).unwrap_or_default();
        text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')?.parse().ok()).collect()
    };
    let (mut seen, mut repeated_most, mut kills, mut passes) = (0, 0, 0, 0);
    while kills < times {
        let _ = fs::remove_file(kdir.temp().join("handled"));
        let pipeline = Pipeline::start(&kdir, "consume app --cursor-file cursor", "python3 -S -E reader.py");
        // It may have nothing left to handle.
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(2) && !kdir.temp().join("handled").exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        chance.pause(Duration::from_millis(60));
        match kills % 3 {
            0 => pipeline.kill("kdir.pid"),
            1 => pipeline.kill("reader.pid"),
            _ => drop(kill_process_group(Pid::from_raw(pipeline.shell.id() as i32).unwrap(), Signal::KILL)),
        }
        kills += 1;
        std::thread::sleep(Duration::from_millis(5));
        pipeline.end();
        let records = handled();
        let Some((&first, &last)) = records.first().zip(records.last()) else { continue };
        assert!(first <= seen + 1, "KDIR_SEED={seed}: run {kills} began with {first} after {seen} were handled");
        assert!(records.windows(2).all(|pair| pair[1] == pair[0] + 1), "KDIR_SEED={seed}: run {kills} has a gap");
        // A reader that outlives kdir handles one chunk that it holds and one that is in the pipe.
        let repeated: usize = (first..=seen).map(|number| number.to_string().len() + 1).sum();
        assert!(repeated <= 2 * CHUNK_MAX, "KDIR_SEED={seed}: run {kills} repeats {first} to {seen}, {repeated} bytes");
        repeated_most = repeated_most.max(repeated);
        seen = seen.max(last);
        if seen == RECORDS {
            (seen, passes) = (0, passes + 1);
            fs::remove_file(kdir.temp().join("cursor")).unwrap();
        }
    }
    assert!(passes > 0 || seen > 0, "nothing was handled");
    format!("{kills} kills, {passes} passes, {repeated_most} bytes repeated at most")
}

#[test]
fn a_pipeline_that_is_killed_at_random_handles_each_record() {
    let seed = seed();
    println!("KDIR_SEED={seed}");
    println!("{}", killed_at_random(30, seed));
}

#[test]
#[ignore = "takes minutes: a thousand kills"]
fn a_pipeline_that_is_killed_a_thousand_times_at_random_handles_each_record() {
    let seed = seed();
    println!("KDIR_SEED={seed}");
    println!("{}", killed_at_random(1000, seed));
}

/// What a reader that buffers has taken up to its record `at`, line by line, through a socket. Then kdir is killed, or it is.
fn next_after_socket(kdir: &Kdir, at: u64, kills_kdir: bool) -> u64 {
    let _ = fs::remove_file(kdir.temp().join("cursor"));
    let (mut reader, output) = UnixStream::pair().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kdir"));
    command.args(["consume", "app", "-F", "--cursor-file", "cursor"]).env("KDIR_LOG_DIR", kdir.log_dir());
    command.current_dir(kdir.temp()).stdout(OwnedFd::from(output)).stderr(Stdio::piped());
    let run = Running::start(command);
    let (mut handled, mut buffer) = (0, vec![0; 64 << 10]);
    while handled < at {
        let read = reader.read(&mut buffer).unwrap();
        // It has more in its buffer than it has handled.
        handled += buffer[..read].iter().filter(|&&byte| byte == b'\n').count() as u64;
    }
    std::thread::sleep(Duration::from_millis(60));
    if kills_kdir {
        run.signal(Signal::KILL);
    } else {
        drop(reader);
    }
    run.wait();
    let next = consume(kdir, &kdir.temp().join("cursor"), &["-n", "1"]);
    next.get(..8).map_or(u64::MAX, |number| number.parse().unwrap())
}

#[test]
fn a_kill_of_either_end_of_a_socket_skips_no_record() {
    for size in [10, 100 << 10] {
        let kdir = Kdir::with_topic("app", &[]);
        let padding = "x".repeat(size - 9);
        kdir.produce("app", &[], (1..=120).map(|number| format!("{number:08}{padding}\n")).collect::<String>());
        for (at, kills_kdir) in [1, 2, 100, 120].into_iter().flat_map(|at| [(at, false), (at, true)]) {
            let next = next_after_socket(&kdir, at, kills_kdir);
            assert!(next <= at, "{size} bytes, kdir is killed: {kills_kdir}, at record {at}: {next} comes next");
        }
    }
}

/// Beside the cursor file, as a killed run leaves it: that its reader has come to `offset`.
fn leave_mark(kdir: &Kdir, file: &Path, offset: u64) {
    let stat = fs::metadata(file).unwrap();
    let text = fs::read_to_string(file).unwrap();
    let text = text.replace(&format!("app 0 {} ", position(file)), &format!("app 0 {offset} "));
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let changed_ns = stat.ctime() * 1_000_000_000 + stat.ctime_nsec();
    let crc = kdir::format::crc::crc32c(text.as_bytes());
    let line = format!("1 {} {} {changed_ns} {} {crc:08x}", boot.trim(), stat.ino(), text.len());
    // After it, the end of a longer one.
    fs::write(kdir.temp().join(".cursor.kdir.mark"), format!("{line}\n{text}app 1 7 -\n")).unwrap();
}

#[test]
fn what_a_killed_run_has_marked_counts_beside_the_unchanged_file_until_the_machine_is_started_again() {
    let kdir = numbered(9);
    let (file, mark) = (kdir.temp().join("cursor"), kdir.temp().join(".cursor.kdir.mark"));
    let begin = || {
        let _ = fs::remove_file(&file);
        consume(&kdir, &file, &["-n", "2"]);
        assert!(!mark.exists());
        leave_mark(&kdir, &file, 5);
    };
    begin();
    assert_eq!(consume(&kdir, &file, &["-n", "1"]), "6\n");
    assert_eq!(position(&file), 6);
    assert!(!mark.exists(), "a run that ends in order removes it");

    let in_mark =
        |from: &str, to: &str| fs::write(&mark, fs::read_to_string(&mark).unwrap().replacen(from, to, 1)).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let cases: [(&str, &dyn Fn()); 5] = [
        ("of another boot", &|| in_mark(boot.trim(), "030c858b-0000-4a85-87c0-75103c2deeb5")),
        ("torn", &|| in_mark("app 0 5", "app 0 6")),
        ("cut", &|| fs::write(&mark, &fs::read(&mark).unwrap()[..90]).unwrap()),
        ("of a file that was put back", &|| {
            std::thread::sleep(Duration::from_millis(20));
            fs::copy(&file, kdir.temp().join("copy")).unwrap();
            fs::copy(kdir.temp().join("copy"), &file).unwrap();
        }),
        ("of a file that was made again", &|| {
            fs::copy(&file, kdir.temp().join("copy")).unwrap();
            fs::rename(kdir.temp().join("copy"), &file).unwrap();
        }),
    ];
    for (name, change) in cases {
        begin();
        change();
        assert_eq!(consume(&kdir, &file, &["-n", "1"]), "3\n", "a mark that is {name}");
        assert!(!mark.exists(), "a mark that is {name}");
    }
    // What no run has left is passed over, and stays.
    begin();
    fs::remove_file(&mark).unwrap();
    fs::create_dir(&mark).unwrap();
    assert_eq!(consume(&kdir, &file, &["-n", "1"]), "3\n");
    assert!(mark.is_dir());
}
