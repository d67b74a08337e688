//! One run of the command for all records.

use crate::support::{Kdir, Running, next, until};
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;

/// Reads lines, and answers with what the value says for the attempt: `ok`, `retry`, `reject`, `die`, `nonsense` or `later`.
const PROGRAM: &str = r#"
import json, os, sys, time
answers = os.fdopen(3, "w")
late = []
for line in sys.stdin:
    record = json.loads(line)
    words = record["value"].split()
    word = words[min(record["attempt"], len(words)) - 1]
    print(record["value"], record["attempt"], flush=True)
    if word == "die":
        sys.exit(1)
    if word == "hang":
        time.sleep(100)
    if word == "late":
        late.append(record["id"])
        continue
    texts = {"ok": "ok %d", "retry": "retry %d 50ms", "reject": "reject %d bad one"}
    texts.update({"nonsense": "okay %d", "other": "ok 1%d"})
    text = texts[word]
    answers.write(text % record["id"] + "\n")
    answers.flush()
for id in late:
    answers.write("ok %d\n" % id)
"#;

fn with_values(values: &str) -> Kdir {
    let kdir = Kdir::with_topic("jobs", &[]);
    kdir.produce("jobs", &[], values);
    kdir
}

fn work(kdir: &Kdir, options: &[&str]) -> Vec<String> {
    let program = kdir.file("program.py", PROGRAM);
    let args = [&["-q", "work", "jobs", "-g", "g", "--persistent", "--backoff", "20ms..1s"], options].concat();
    let command = ["--", "python3", &program];
    args.iter().chain(&command).map(|&it| it.to_owned()).collect()
}

fn run(kdir: &Kdir, options: &[&str]) -> (i32, String, String) {
    let args = work(kdir, options);
    let output = kdir.command(&args.iter().map(String::as_str).collect::<Vec<_>>()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn answers_say_what_becomes_of_a_record() {
    let kdir = with_values("ok\nretry ok\nreject\nlate\nok\n");
    let (code, stdout, stderr) = run(&kdir, &[]);
    assert_eq!((code, stderr.as_str()), (3, ""));
    let mut lines: Vec<&str> = stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["late 1", "ok 1", "ok 1", "reject 1", "retry ok 1", "retry ok 2"]);
    let letters = kdir.records("dlq.jobs");
    assert_eq!((letters.len(), &letters[0]["value"]), (1, &"reject".into()));
    assert!(letters[0]["headers"].to_string().contains("bad one"));
    assert_eq!(run(&kdir, &[]), (0, String::new(), String::new()));
}

#[test]
fn of_what_is_unanswered_at_its_death_only_the_oldest_has_failed() {
    let kdir = with_values("die ok\nok\nok\n");
    let (code, stdout, _) = run(&kdir, &[]);
    assert_eq!(code, 0);
    let mut lines: Vec<&str> = stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["die ok 1", "die ok 2", "ok 1", "ok 1"]);
}

#[test]
fn what_is_no_answer_ends_the_worker_and_acknowledges_nothing() {
    for (value, answer, why) in [
        ("nonsense", "okay 0", "expected ok ID, retry ID [DELAY] or reject ID [TEXT]"),
        ("other", "10", "it is the id of no record that is unanswered"),
    ] {
        let kdir = with_values(value);
        let (code, _, stderr) = run(&kdir, &[]);
        assert_eq!((code, stderr), (1, format!("kdir: python3 has answered \"{answer}\": {why}\n")));
        kdir.run(&["-q", "work", "jobs", "-g", "g", "--", "sh", "-c", "echo $KDIR_ATTEMPT"])
            .code(0)
            .stdout("1\n")
            .stderr("");
    }
}

#[test]
fn the_oldest_has_a_limit_of_time() {
    let kdir = with_values("hang ok\nok\n");
    let (code, stdout, _) = run(&kdir, &["--timeout", "500ms"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("hang ok 2\n") && stdout.contains("ok 1\n"), "{stdout}");
}

#[test]
fn a_signal_lets_it_answer_what_it_has() {
    let kdir = with_values("ok\nok\n");
    let args = work(&kdir, &["-F"]);
    let mut running = Running::start(kdir.process(&args.iter().map(String::as_str).collect::<Vec<_>>()));
    let lines = running.lines();
    assert_eq!((next(&lines), next(&lines)), ("ok 1".into(), "ok 1".into()));
    std::thread::sleep(std::time::Duration::from_millis(100));
    running.signal(Signal::TERM);
    assert_eq!(running.wait().0, Some(143));
    assert_eq!(run(&kdir, &[]), (0, String::new(), String::new()));
}

#[test]
fn a_record_of_any_topic_has_one_handler() {
    let kdir = with_values("late\n");
    kdir.create("more", &[]);
    kdir.produce("more", &[], "late\n");
    let start = |topics: [&str; 2]| {
        let program = kdir.file("program.py", PROGRAM);
        let mut args = vec!["-q", "work"];
        args.extend(topics);
        args.extend(["-g", "g", "--persistent", "-F", "-j", "1", "--", "python3", &program]);
        Running::start(kdir.process(&args))
    };
    let (mut one, mut other) = (start(["jobs", "more"]), start(["more", "jobs"]));
    let (lines, others) = (one.lines(), other.lines());
    assert_eq!((next(&lines), next(&others)), ("late 1".into(), "late 1".into()));
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert!(lines.try_recv().is_err() && others.try_recv().is_err(), "each has one of them and no other");
}

#[test]
fn one_that_ends_is_seen_to_end_whoever_has_its_descriptors() {
    for script in [
        "setsid sleep 107 >/dev/null 2>&1 & read l; exit 1",
        "read l; l=${l#*:}; echo ok ${l%%,*} >&3; exec 3>&-; exec sleep 107 >/dev/null 2>&1",
    ] {
        let kdir = with_values("1\n2\n");
        let run =
            ["-q", "work", "jobs", "-g", "g", "--persistent", "--backoff", "10ms..10ms", "--max-attempts", "2", "--"];
        let started = std::time::Instant::now();
        let output = kdir.command(&[&run[..], &["bash", "-c", script]].concat()).output().unwrap();
        assert!(matches!(output.status.code(), Some(0 | 3)), "{script}: {output:?}");
        assert!(started.elapsed() < std::time::Duration::from_secs(30));
    }
}

#[test]
fn the_last_answer_needs_no_end_of_line() {
    let kdir = with_values("1\n");
    kdir.run(&["-q", "work", "jobs", "-g", "g", "--persistent", "--", "sh", "-c", "read l; printf 'ok 0' >&3"])
        .code(0)
        .stderr("");
    assert_eq!(run(&kdir, &[]), (0, String::new(), String::new()));
}

#[test]
fn a_command_whose_worker_was_killed_keeps_what_it_was_given() {
    let kdir = with_values("hang\n");
    let args = work(&kdir, &[]);
    let mut running = Running::start(kdir.process(&args.iter().map(String::as_str).collect::<Vec<_>>()));
    assert_eq!(next(&running.lines()), "hang 1");
    running.signal(Signal::KILL);
    running.status();
    let next = ["work", "jobs", "-g", "g", "--", "sh", "-c", "echo $KDIR_ATTEMPT"];
    kdir.run(&next).code(0).stdout("").stderr("0 records done, 1 with other workers\n");
    let row = &kdir.json(&["-q", "groups", "describe", "g", "-o", "json"])[0];
    let pid = row["claimed"][0]["pid"].as_i64().unwrap() as i32;
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    until("the record is free", || kdir.command(&next).output().unwrap().stdout == b"2\n");
}

#[test]
fn a_reason_is_kept_up_to_a_kib_of_it() {
    let kdir = with_values("1\n");
    let script = "read l; printf 'reject 0 %03000d\n' 7 >&3; cat > /dev/null";
    kdir.run(&["-q", "work", "jobs", "-g", "g", "--persistent", "--", "sh", "-c", script])
        .code(3)
        .stdout("")
        .stderr("");
    let headers = kdir.records("dlq.jobs")[0]["headers"].clone();
    let message = headers.as_array().unwrap().iter().find(|it| it["key"] == "__dlq.errors.message").unwrap();
    assert_eq!(message["value"], "0".repeat(1024));
}

#[test]
fn an_answer_can_choose_when_a_record_is_tried_again() {
    let kdir = with_values("1\n");
    // The retry comes to the same command, or, where that has seen the end of its input, to another.
    let script = "while read -r l; do \
        case $l in *'\"attempt\":1,'*) echo retry 0 300ms >&3;; *) echo ok 1 >&3;; esac; done";
    let args = ["-q", "work", "jobs", "-g", "g", "--persistent", "--backoff", "10s..60s", "--", "sh", "-c", script];
    let started = std::time::Instant::now();
    kdir.run(&args).code(0).stdout("").stderr("");
    let took = started.elapsed();
    assert!(took > Duration::from_millis(300) && took < Duration::from_secs(9), "{took:?}");
}
