//! What `kdir produce` says while it runs: how much of the input is durable, and what a terminal shows.

use crate::support::{Kdir, Running, json_lines};
use predicates::Predicate;
use predicates::str::{contains, is_match};
use rustix::process::Signal;
use rustix::termios::Winsize;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Write};
use std::process::Stdio;
use std::thread::JoinHandle;
use std::time::Duration;

fn input_of(event: &Value) -> (u64, u64) {
    (event["input_records"].as_u64().unwrap(), event["input_bytes"].as_u64().unwrap())
}

#[test]
fn each_durable_event_says_how_much_of_the_input_is_durable_over_all_partitions() {
    let kdir = Kdir::with_topic("app", &["-P", "3"]);
    let lines: String = (0..3000).map(|number| format!("{number}\n")).collect();
    for sync in ["always", "end", "1ms"] {
        let run = kdir.feed(&["produce", "app", "-o", "json", "--batch-size", "1KiB", "--sync", sync], lines.clone());
        let events = json_lines(&run.code(0).get_output().stdout);
        let (summary, durable) = events.split_last().unwrap();
        let mut counted = 0;
        for event in durable {
            counted += event["last_offset"].as_u64().unwrap() - event["base_offset"].as_u64().unwrap() + 1;
            let (records, bytes) = input_of(event);
            assert!(records <= counted, "{sync}: {records} of {counted}");
            let expected: usize = lines.lines().take(records as usize).map(|line| line.len() + 1).sum();
            assert_eq!(bytes, expected as u64);
        }
        assert_eq!(input_of(durable.last().unwrap()), (3000, lines.len() as u64), "{sync}");
        assert_eq!(input_of(summary), (3000, lines.len() as u64), "{sync}");
    }
}

#[test]
fn what_was_rejected_counts_as_done_and_a_run_that_stops_says_where() {
    let kdir = Kdir::with_topic("app", &[]);
    let produce = ["produce", "app", "-o", "json", "-K", ":"];
    let run = kdir.feed(&[&produce[..], &["--on-error", "skip"]].concat(), "a:1\nbad\nb:2\nworse\n").code(3);
    let events = json_lines(&run.get_output().stdout);
    assert_eq!((events.len(), input_of(&events[0]), input_of(&events[1])), (2, (4, 18), (4, 18)));
    assert_eq!((&events[1]["records"], &events[1]["bytes"]), (&json!(2), &json!(8)));
    let run = kdir.feed(&produce, "a:1\nbad\nb:2\n").code(1);
    let events = json_lines(&run.get_output().stdout);
    assert_eq!((input_of(&events[0]), input_of(&events[1])), ((1, 4), (1, 4)));
    let run = kdir.feed(&["produce", "app", "-o", "json", "--sync", "never"], "a\n").code(0);
    assert_eq!(input_of(&json_lines(&run.get_output().stdout)[0]), (0, 0));
}

#[test]
fn a_torn_oversize_line_ends_in_the_rejects_file_and_is_not_counted_as_done() {
    let kdir = Kdir::with_topic("app", &[]);
    let rejects = kdir.file("rejects", "");
    let mut producer = Running::start(kdir.process(&["produce", "app", "-o", "json", "--rejects", &rejects]));
    producer.write(["a\n", &"x".repeat(3 << 20)].concat());
    crate::support::until("a piece of it is kept", || std::fs::metadata(&rejects).unwrap().len() >= 3 << 20);
    producer.signal(Signal::INT);
    let (_, stdout, _) = producer.wait();
    assert_eq!(input_of(json_lines(stdout.as_bytes()).last().unwrap()), (1, 2));
    assert!(std::fs::read(&rejects).unwrap().ends_with(b"x\n"));
}

#[test]
fn the_input_is_not_done_with_at_a_reject_before_that_is_durable() {
    let kdir = Kdir::with_topic("app", &[]);
    let rejects = kdir.file("rejects", "");
    let produce = |sync, rejects: &str| {
        let args = ["produce", "app", "-o", "json", "-K", ":", "--sync", sync, "--rejects", rejects];
        kdir.feed(&args, "a:1\nbad\nb:2\n")
    };
    for sync in ["always", "end", "1ms"] {
        let events = json_lines(&produce(sync, &rejects).code(3).get_output().stdout);
        assert_eq!(input_of(events.last().unwrap()), (3, 12), "{sync}");
    }
    // A file that takes every write and cannot be synced.
    for sync in ["always", "end", "1ms"] {
        let run = produce(sync, "/proc/self/comm").code(1).stderr(contains("cannot sync /proc/self/comm"));
        let events = json_lines(&run.get_output().stdout);
        assert!(events.iter().all(|event| input_of(event) == (1, 4)), "{sync}: {events:?}");
    }
}

/// A terminal: the side of the program, and that of the user.
fn terminal() -> (File, File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&user).unwrap();
    unlockpt(&user).unwrap();
    let name = ptsname(&user, Vec::new()).unwrap();
    let program = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    (program, File::from(user))
}

/// What a terminal shows until the last program on it has ended.
fn shown(user: &File) -> JoinHandle<String> {
    let mut user = user.try_clone().unwrap();
    std::thread::spawn(move || {
        let (mut shown, mut buffer) = (Vec::new(), [0; 4096]);
        // The end of a terminal whose programs are gone is an error.
        while let Ok(read @ 1..) = user.read(&mut buffer) {
            shown.extend_from_slice(&buffer[..read]);
        }
        String::from_utf8_lossy(&shown).into_owned()
    })
}

#[test]
fn a_terminal_is_told_how_to_end_and_nothing_is_drawn_over_what_is_typed() {
    let kdir = Kdir::with_topic("app", &[]);
    let (program, mut user) = terminal();
    let mut command = kdir.process(&["produce", "app"]);
    command.stdin(program.try_clone().unwrap()).stderr(program);
    let mut running = command.spawn().unwrap();
    drop(command);
    let shown = shown(&user);
    for line in ["one\n", "two\n", "three\n"] {
        user.write_all(line.as_bytes()).unwrap();
        // Progress would be drawn after a quarter of a second.
        std::thread::sleep(Duration::from_millis(300));
    }
    user.write_all(b"\x04").unwrap();
    assert!(running.wait().unwrap().success());
    let shown = shown.join().unwrap().replace('\r', "");
    // What is typed before the program has said its line is echoed before it.
    let rest = shown.replacen("reading records from the terminal, one a line: Ctrl-D ends it\n", "", 1);
    assert_ne!(rest, shown);
    assert!(
        rest.starts_with("one\ntwo\nthree\nproduced 3 records, 14 B, to app (") && rest.lines().count() == 4,
        "{shown}"
    );
}

#[test]
fn the_progress_of_files_and_of_pipes_has_one_style_with_the_rate_and_what_is_left() {
    let kdir = Kdir::with_topic("app", &[]);
    let lines = kdir.file("lines", "a line of 20 bytes.\n".repeat(100));
    for (file, expected) in [
        (Some(&*lines), r"\d+% .* \d+ B/1.95 KiB  [\d.]+ (B|KiB)/s  \d+s left  \d+ records"),
        (None, r" [\d.]+ (B|KiB)  [\d.]+ (B|KiB)/s  \d+ records"),
    ] {
        let (program, user) = terminal();
        rustix::termios::tcsetwinsize(&program, Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 })
            .unwrap();
        let mut command = kdir.process(&[&["produce", "app", "--rate", "100"], file.as_slice()].concat());
        command.stdin(if file.is_some() { Stdio::null() } else { Stdio::piped() }).stderr(program);
        command.env_remove("NO_COLOR").env("TERM", "xterm");
        let mut running = command.spawn().unwrap();
        drop(command);
        let shown = shown(&user);
        if let Some(mut stdin) = running.stdin.take() {
            stdin.write_all(&std::fs::read(&lines).unwrap()).unwrap();
        }
        assert!(running.wait().unwrap().success());
        let shown = shown.join().unwrap();
        assert!(is_match(expected).unwrap().eval(&shown), "{file:?}: {shown:?}");
    }
}
