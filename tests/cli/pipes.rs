//! Between processes: closed pipes, signals, and a broker on the same directory.

use crate::support::{Kdir, Running, next, until};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, starts_with};
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::process::Signal;
use std::fs::File;
use std::time::{Duration, Instant};

/// More than a pipe holds.
fn much() -> Kdir {
    let kdir = Kdir::with_topic("app", &[]);
    let lines: String = (0..100_000).map(|number| format!("line {number}\n")).collect();
    kdir.produce("app", &[], lines);
    kdir
}

#[test]
fn consume_ends_quietly_when_its_reader_closes() {
    let kdir = much();
    for output in ["value", "json", "len32"] {
        let mut consumer = Running::start(kdir.process(&["consume", "app", "-o", output]));
        assert!(!consumer.head().is_empty());
        assert_eq!(consumer.end(), (Some(0), String::new(), String::new()), "{output}");
    }
}

#[test]
fn reports_and_help_end_quietly_when_their_reader_is_gone() {
    let kdir = much();
    let log = kdir.segment("app-0", 0, "log");
    for args in [
        &["list"][..],
        &["describe", "-o", "json"],
        &["offsets", "app", "--at", "latest"],
        &["dump", log.to_str().unwrap(), "-o", "tsv"],
        &["completions", "bash"],
        &["man"],
        &["--help"],
        &["produce", "--help"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = kdir.process(args);
        command.stdout(writer);
        let process = Running::start(command);
        assert_eq!(process.end(), (Some(0), String::new(), String::new()), "{args:?}");
    }
}

#[test]
fn a_full_disk_behind_stdout_is_an_error() {
    let kdir = much();
    let mut command = kdir.process(&["consume", "app"]);
    command.stdout(File::options().write(true).open("/dev/full").unwrap());
    let (code, _, stderr) = Running::start(command).end();
    assert_eq!(code, Some(1));
    assert!(stderr.starts_with("kdir: cannot write to stdout: No space left on device"), "{stderr}");
}

#[test]
fn a_closed_stdout_ends_a_follower_with_an_error() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "a\n");
    let cursor = kdir.temp().join("cursor");
    let args = ["consume", "app", "-F", "--cursor-file", cursor.to_str().unwrap()];
    let command = kdir.process_of_script(r#"exec "$@" >&-"#, &args);
    let (code, _, stderr) = Running::start(command).end();
    assert_eq!((code, stderr.as_str()), (Some(1), "kdir: cannot write to stdout: Bad file descriptor\n"));
    assert!(!cursor.exists());
}

#[test]
fn an_output_that_fills_up_has_all_that_went_before_and_the_cursor_is_not_past_it() {
    let kdir = much();
    let whole = kdir.values("app");
    for blocks in [0, 1, 600, 1000, 1700] {
        let (output, cursor) = (kdir.temp().join(format!("output-{blocks}")), format!("cursor-{blocks}"));
        let args = ["consume", "app", "--cursor-file", &cursor];
        let consume = |mut command: std::process::Command| {
            command.current_dir(kdir.temp()).stdout(File::options().create(true).append(true).open(&output).unwrap());
            Running::start(command).end()
        };
        let (code, _, stderr) = consume(kdir.process_with_full_files(blocks, &args));
        // The position is written before the first record.
        let temporary = kdir.temp().join(".cursor-0.kdir.tmp").display().to_string();
        let refused = if blocks == 0 { &*temporary } else { "stdout" };
        assert_eq!((code, stderr), (Some(1), format!("kdir: cannot write to {refused}: File too large\n")));
        let written = std::fs::read_to_string(&output).unwrap();
        assert_eq!(written.len() as u64, blocks * 512);
        assert!(whole.starts_with(&written), "{blocks}");
        assert_eq!(consume(kdir.process(&args)), (Some(0), String::new(), String::new()));
        let rest = std::fs::read_to_string(&output).unwrap().split_off(written.len());
        assert!(whole.ends_with(&rest) && written.len() + rest.len() >= whole.len(), "{blocks}: nothing is skipped");
    }
}

#[test]
fn produce_stores_its_input_when_nobody_reads_what_it_tells() {
    let kdir = Kdir::with_topic("app", &[]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = kdir.process(&["produce", "app", "-o", "json"]);
    command.stdout(writer);
    let mut producer = Running::start(command);
    producer.write("one\ntwo\n");
    let (code, _, stderr) = producer.end();
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert_eq!(kdir.values("app"), "one\ntwo\n");
}

#[test]
fn a_line_typed_into_a_pipe_can_be_read_at_once() {
    let kdir = Kdir::with_topic("app", &[]);
    let mut producer = Running::start(kdir.process(&["-q", "produce", "app"]));
    let mut consumer = Running::start(kdir.process(&["consume", "app", "-F", "-n", "2"]));
    let lines = consumer.lines();
    for line in ["one", "two"] {
        producer.write(format!("{line}\n"));
        assert_eq!(next(&lines), line);
    }
    assert_eq!(consumer.wait().0, Some(0));
    assert_eq!(producer.end(), (Some(0), String::new(), String::new()));
}

#[test]
fn a_line_that_comes_in_pieces_is_one_record() {
    let kdir = Kdir::with_topic("app", &[]);
    let mut producer = Running::start(kdir.process(&["-q", "produce", "app"]));
    producer.write("one\ntw");
    until("the first line is stored", || kdir.values("app") == "one\n");
    producer.write("o\nthr");
    until("the second line is stored", || kdir.values("app") == "one\ntwo\n");
    producer.write("ee");
    assert_eq!(producer.end(), (Some(0), String::new(), String::new()));
    assert_eq!(kdir.values("app"), "one\ntwo\nthree\n");
}

#[test]
fn linger_waits_for_more_and_stores_all_the_same() {
    let kdir = Kdir::with_topic("app", &[]);
    let mut producer = Running::start(kdir.process(&["-q", "produce", "app", "--linger", "50ms"]));
    producer.write("one\n");
    until("the line is stored", || kdir.values("app") == "one\n");
    producer.write("two\n");
    assert_eq!(producer.end(), (Some(0), String::new(), String::new()));
    assert_eq!(kdir.values("app"), "one\ntwo\n");
}

#[test]
fn signals_end_produce_with_complete_lines_stored_and_the_begun_one_told() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        for options in [&[][..], &["--sync", "always"], &["--sync", "end"]] {
            let kdir = Kdir::with_topic("app", &[]);
            let mut producer = Running::start(kdir.process(&[&["produce", "app"], options].concat()));
            producer.write("one\ntwo\nthr");
            until("the complete lines are stored", || kdir.values("app") == "one\ntwo\n");
            producer.signal(signal);
            let (ended, stdout, stderr) = producer.wait();
            assert_eq!((ended, stdout.as_str()), (Some(code), ""), "{stderr}");
            assert!(stderr.starts_with("produced 2 records, 8 B, to app "), "{stderr}");
            let warning = "\nwarning: the last line was not complete and was not stored (3 bytes)\n";
            assert!(stderr.ends_with(warning), "{stderr}");
            assert_eq!(kdir.values("app"), "one\ntwo\n");
        }
    }
}

#[test]
fn a_signal_while_the_handlers_are_made_is_not_lost() {
    let kdir = Kdir::with_topic("app", &[]);
    let interrupt = 1 << (Signal::INT.as_raw() - 1);
    for number in 0..400 {
        // A shell has its background jobs ignore SIGINT, and with them the tests.
        let script = "exec env --default-signal=INT \"$@\"";
        let producer = Running::start(kdir.process_of_script(script, &["-q", "produce", "app"]));
        // Those of SIGTERM come next, and are made within microseconds.
        while producer.caught_signals() & interrupt == 0 {}
        let moment = Instant::now();
        while moment.elapsed() < Duration::from_micros(number % 20) {}
        producer.signal(Signal::TERM);
        assert_eq!(producer.wait(), (Some(143), String::new(), String::new()));
    }
}

#[test]
fn a_signal_between_lines_leaves_nothing_to_tell() {
    let kdir = Kdir::with_topic("app", &[]);
    let mut producer = Running::start(kdir.process(&["-q", "produce", "app"]));
    producer.write("one\n");
    until("the line is stored", || kdir.values("app") == "one\n");
    producer.signal(Signal::TERM);
    assert_eq!(producer.wait(), (Some(143), String::new(), String::new()));
}

#[test]
fn a_signal_while_lines_wait_for_more_stores_them() {
    let kdir = Kdir::with_topic("app", &[]);
    let mut producer = Running::start(kdir.process(&["produce", "app", "-o", "json", "--linger", "1h"]));
    producer.write("one\n");
    until("the line is taken from the pipe", || producer.has_read_all());
    producer.signal(Signal::INT);
    let (code, stdout, stderr) = producer.wait();
    assert_eq!((code, stderr.as_str()), (Some(130), ""));
    assert!(stdout.contains("\"event\":\"durable\"") && stdout.contains("\"records\":1"), "{stdout}");
    assert_eq!(kdir.values("app"), "one\n");
}

#[test]
fn a_signal_ends_a_follower() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "one\n");
    let mut follower = Running::start(kdir.process(&["consume", "app", "-F"]));
    let lines = follower.lines();
    assert_eq!(next(&lines), "one");
    // Not SIGINT: a shell has its background jobs ignore it, and with them the tests.
    follower.signal(Signal::TERM);
    assert_eq!(follower.wait(), (Some(143), String::new(), String::new()));
}

#[test]
fn while_a_broker_has_the_log_dir_it_can_be_read_and_not_written() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "one\n");
    let lock = File::options().read(true).write(true).create(true).truncate(false).open(kdir.path(".lock")).unwrap();
    fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    let refused = || {
        starts_with(format!("kdir: {} is in use by a running Kafka broker\n", kdir.log_dir().display()))
            .and(contains("hint: stop the broker first; reading works while it runs\n"))
    };
    kdir.feed(&["produce", "app"], "two\n").code(1).stdout("").stderr(refused());
    for args in [
        &["create", "new"][..],
        &["alter", "app", "-P", "2"],
        &["delete", "app", "-y"],
        &["delete-records", "--yes", "app", "--before-offset", "1"],
        &["retention"],
    ] {
        kdir.run(args).code(1).stdout("").stderr(refused());
    }
    assert_eq!(kdir.values("app"), "one\n");
    assert_eq!(kdir.text(&["list", "-o", "tsv"]).lines().count(), 1);
    drop(lock);
    kdir.produce("app", &[], "two\n");
    assert_eq!(kdir.values("app"), "one\ntwo\n");
}

#[test]
fn no_broker_can_start_while_a_producer_runs() {
    let kdir = Kdir::with_topic("app", &[]);
    let mut producer = Running::start(kdir.process(&["-q", "produce", "app"]));
    producer.write("one\n");
    until("the line is stored", || kdir.values("app") == "one\n");
    let lock = File::options().read(true).write(true).open(kdir.path(".lock")).unwrap();
    assert!(fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive).is_err());
    assert_eq!(producer.end(), (Some(0), String::new(), String::new()));
    fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
}
