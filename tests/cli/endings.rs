//! How it ends when a signal asks it to, and that what it cannot say is not what it ends of.

use crate::support::{Kdir, Running, next, until};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::sync::mpsc::Receiver;
use std::time::Duration;

const STOPPING: [Signal; 3] = [Signal::INT, Signal::TERM, Signal::HUP];

/// Starts a command that goes on, and returns when it has stored or printed something.
/// Its stdout is read as long as what comes with it lives.
fn start(kdir: &Kdir, script: &str, args: &[&str]) -> (Running, Receiver<String>) {
    let mut running = Running::start(kdir.process_of_script(script, args));
    let lines = running.lines();
    if args.contains(&"produce") {
        let before = kdir.values("app");
        running.write("one\nbegun");
        until("the line is stored", || kdir.values("app") != before);
    } else {
        next(&lines);
    }
    (running, lines)
}

#[test]
fn signals_end_it_as_they_end_other_programs_and_what_was_read_is_stored() {
    let kdir = Kdir::with_topic("app", &[]);
    let cursor = kdir.temp().join("cursor");
    let mut stored = String::new();
    for signal in STOPPING {
        let (mut producer, _lines) = start(&kdir, "exec \"$@\"", &["-q", "produce", "app"]);
        producer.signal(signal);
        assert_eq!(producer.status().signal(), Some(signal.as_raw()), "produce: {:?}", producer.wait());
        stored.push_str("one\n");
        assert_eq!(kdir.values("app"), stored);
        for options in [&[][..], &["--cursor-file", cursor.to_str().unwrap()]] {
            let (mut follower, _lines) = start(&kdir, "exec \"$@\"", &[&["consume", "-F", "app"], options].concat());
            follower.signal(signal);
            assert_eq!(follower.status().signal(), Some(signal.as_raw()), "{options:?}");
        }
        fs::remove_file(&cursor).unwrap();
    }
}

#[test]
fn a_terminal_that_goes_leaves_nothing_unstored_that_was_read() {
    let kdir = Kdir::with_topic("app", &[]);
    let mut producer = Running::start(kdir.process(&["-q", "produce", "app", "--linger", "1h"]));
    producer.write("one\ntwo\n");
    until("the lines are taken from the pipe", || producer.has_read_all());
    producer.signal(Signal::HUP);
    assert_eq!(producer.wait(), (Some(129), String::new(), String::new()));
    assert_eq!(kdir.values("app"), "one\ntwo\n");
}

#[test]
fn signals_that_were_ignored_at_the_start_stay_ignored() {
    let kdir = Kdir::with_topic("app", &[]);
    for signal in STOPPING {
        let before = kdir.values("app");
        let (mut producer, _lines) = start(&kdir, "trap '' INT TERM HUP; exec \"$@\"", &["-q", "produce", "app"]);
        producer.signal(signal);
        producer.write("line\n");
        until("it goes on", || kdir.values("app") == format!("{before}one\nbegunline\n"));
        assert_eq!(producer.end(), (Some(0), String::new(), String::new()));
    }
}

#[test]
fn the_first_process_of_a_container_ends_with_128_and_the_number_of_the_signal() {
    let kdir = Kdir::with_topic("app", &[]);
    let cursor = kdir.temp().join("cursor");
    let with_cursor = ["consume", "-F", "app", "--cursor-file", cursor.to_str().unwrap()];
    for signal in STOPPING {
        for args in [&["-q", "produce", "app"][..], &["consume", "-F", "app"], &with_cursor] {
            let _ = fs::remove_file(&cursor);
            let (mut outer, _lines) = start(&kdir, "exec unshare -Urpf \"$@\"", args);
            let children = format!("/proc/{0}/task/{0}/children", outer.id());
            let inner: i32 = fs::read_to_string(children).unwrap().trim().parse().unwrap();
            kill_process(Pid::from_raw(inner).unwrap(), signal).unwrap();
            assert_eq!(outer.status().code(), Some(128 + signal.as_raw()), "{args:?} {signal:?}");
        }
    }
    assert_eq!(kdir.values("app"), "one\none\none\n");
}

#[test]
fn records_are_stored_and_rejects_counted_whatever_becomes_of_stderr() {
    for script in [r#"exec "$@" 2>/dev/full"#, r#"exec "$@" 2>&-"#] {
        let kdir = Kdir::with_topic("app", &[]);
        let args = ["produce", "app", "-K", ":", "--on-error", "skip"];
        let mut producer = Running::start(kdir.process_of_script(script, &args));
        producer.write("k1:v1\nbad\nk2:v2\n");
        assert_eq!(producer.end(), (Some(3), String::new(), String::new()), "{script}");
        assert_eq!(kdir.values("app"), "v1\nv2\n");
    }
}

/// The two ends of a pipe; what is written to it fails with EAGAIN when it is full.
fn non_blocking_pipe() -> (impl Read, std::io::PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    fcntl_setfl(&writer, fcntl_getfl(&writer).unwrap() | OFlags::NONBLOCK).unwrap();
    (reader, writer)
}

fn read_slowly(mut reader: impl Read) -> String {
    let (mut read, mut buffer) = (Vec::new(), [0; 16 << 10]);
    std::thread::sleep(Duration::from_millis(100));
    while let count @ 1.. = reader.read(&mut buffer).unwrap() {
        read.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8(read).unwrap()
}

#[test]
fn a_non_blocking_stdout_or_stderr_is_waited_for() {
    let kdir = Kdir::with_topic("app", &[]);
    let input: String = (0..100_000).map(|number| format!("{number}\n")).collect();
    kdir.produce("app", &[], input.clone());
    let cursor = kdir.temp().join("cursor");
    for options in [&[][..], &["--cursor-file", cursor.to_str().unwrap()]] {
        let (reader, writer) = non_blocking_pipe();
        let mut command = kdir.process(&[&["consume", "app"], options].concat());
        command.stdout(writer);
        let mut consumer = Running::start(command);
        assert!(read_slowly(reader) == input, "{options:?}");
        assert_eq!(consumer.status().code(), Some(0));
    }
    // There is no room for what is said, until something is read.
    let (reader, mut writer) = non_blocking_pipe();
    while writer.write(&[b'.'; 4096]).is_ok() {}
    let mut command = kdir.process(&["produce", "app", "-K", ":", "--on-error", "skip"]);
    command.stderr(writer);
    let mut producer = Running::start(command);
    producer.write("no key\n");
    producer.end_input();
    let said = read_slowly(reader);
    assert_eq!(producer.status().code(), Some(3));
    let said = said.trim_start_matches('.');
    assert!(said.starts_with("warning: rejected: line 1 of stdin") && said.contains("\nproduced 0 records"), "{said}");
}

#[test]
fn a_reader_that_goes_takes_nothing_from_the_exit_status_of_a_corrupt_partition() {
    let kdir = Kdir::with_topic("app", &["-P", "2"]);
    kdir.produce("app", &["-p", "0"], "damaged\n");
    kdir.produce("app", &["-p", "1"], format!("{}\n", "x".repeat(999)).repeat(2000));
    let log = fs::File::options().write(true).open(kdir.segment("app-0", 0, "log")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&log, &[0xff; 40], 0).unwrap();
    for args in [&["consume", "app"][..], &["consume", "app", "--count"]] {
        let mut consumer = kdir.process(args).spawn().unwrap();
        drop(consumer.stdout.take());
        let output = consumer.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("app-0") && !stderr.contains("cannot write"), "{stderr}");
        assert_eq!(output.status.code(), Some(4), "{args:?}: {stderr}");
    }
}
