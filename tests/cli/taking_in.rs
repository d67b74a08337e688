//! What `kdir produce` does with input that is not as it should be, and with the times that lines begin with.

use crate::support::{Kdir, Running};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, ends_with, starts_with};
use serde_json::Value;
use std::fs;

fn file(kdir: &Kdir, name: &str) -> String {
    kdir.temp().join(name).to_str().unwrap().to_owned()
}

fn values(kdir: &Kdir) -> Vec<Value> {
    kdir.records("app").into_iter().map(|mut record| record["value"].take()).collect()
}

/// Produces with rejects and answers what they are.
fn rejected(kdir: &Kdir, args: &[&str], input: impl Into<Vec<u8>>) -> Vec<u8> {
    let rejects = file(kdir, "rejects");
    let run = kdir.feed(&[&["produce", "app", "--rejects", &rejects], args].concat(), input).stdout("");
    let stderr = String::from_utf8(run.get_output().stderr.clone()).unwrap();
    let kept = fs::read(&rejects).unwrap();
    let expected = if kept.is_empty() { 0 } else { 3 };
    assert_eq!(run.get_output().status.code(), Some(expected), "{stderr}");
    fs::remove_file(&rejects).unwrap();
    kept
}

#[test]
fn lines_that_make_no_record_are_left_out_and_kept_as_they_stood() {
    let kdir = Kdir::with_topic("app", &["-c", "max.message.bytes=200"]);
    let long = "x".repeat(300);
    let kept = rejected(&kdir, &["-K", ":"], format!("a:1\nno delimiter\n{long}:2\nb:3\nlast"));
    assert_eq!(kept, format!("no delimiter\n{long}:2\nlast\n").into_bytes());
    assert_eq!(values(&kdir), ["1", "3"]);
    assert_eq!(rejected(&kdir, &["-K", ":"], "c:4\n"), b"");
    assert_eq!(values(&kdir), ["1", "3", "4"]);
}

#[test]
fn envelopes_that_are_none_are_left_out() {
    let kdir = Kdir::with_topic("app", &["-P", "2"]);
    let good = "{\"value\":\"a\",\"partition\":1}\n";
    let bad = [
        "{\"value\":1}\n",
        "{\"value\":2\n",
        "{\"value\":\"b\",\"partition\":7}\n",
        "{\"value\":\"c\",\"timestamp\":-2}\n",
    ];
    let input = format!("{}{good}{}{good}", bad[..2].concat(), bad[2..].concat());
    assert_eq!(rejected(&kdir, &["-i", "json"], input), bad.concat().into_bytes());
    assert_eq!(values(&kdir), ["a", "a"]);
}

#[test]
fn records_without_a_key_for_a_compacted_topic_are_left_out() {
    let kdir = Kdir::with_topic("app", &["-c", "cleanup.policy=compact"]);
    assert_eq!(
        rejected(&kdir, &["-i", "json"], "{\"key\":\"k\",\"value\":\"a\"}\n{\"value\":\"b\"}\n"),
        b"{\"value\":\"b\"}\n"
    );
    assert_eq!(values(&kdir), ["a"]);
}

#[test]
fn a_record_of_any_size_is_passed_over_whatever_ends_it() {
    let kdir = Kdir::with_topic("app", &["-c", "max.message.bytes=1000"]);
    let huge = "y".repeat(3_000_000);
    assert_eq!(rejected(&kdir, &[], format!("a\n{huge}\nb\n")), format!("{huge}\n").into_bytes());
    assert_eq!(rejected(&kdir, &[], format!("{huge}\n{huge}")), format!("{huge}\n{huge}\n").into_bytes());
    // One byte of the delimiter stands in the value, wherever a read ends.
    for length in 0..7 {
        let huge = format!("{}{}", "y".repeat(length), "=-".repeat(700_000));
        let kept = rejected(&kdir, &["-D", "=="], format!("c=={huge}==d==").as_bytes());
        assert_eq!(kept, format!("{huge}==").into_bytes(), "{length}");
    }
    let mut framed = vec![0, 0, 0, 1, b'e'];
    framed.extend_from_slice(&2_000_000_u32.to_be_bytes());
    framed.extend(vec![b'z'; 2_000_000]);
    let oversize = framed[5..].to_vec();
    framed.extend_from_slice(b"\0\0\0\x01f\0\0\0\x05cut");
    assert_eq!(rejected(&kdir, &["-i", "len32"], framed), [&oversize[..], b"\0\0\0\x05cut"].concat());
    assert_eq!(rejected(&kdir, &["-i", "raw"], huge.clone()), huge.as_bytes());
    let expected: Vec<&str> =
        ["a", "b"].into_iter().chain(["c", "d"].into_iter().cycle().take(14)).chain(["e", "f"]).collect();
    assert_eq!(values(&kdir), expected);
}

#[test]
fn a_delimiter_that_two_reads_have_half_of_ends_what_is_passed_over() {
    let kdir = Kdir::with_topic("app", &["-c", "max.message.bytes=1000"]);
    let rejects = file(&kdir, "rejects");
    let mut producer = Running::start(kdir.process(&["-q", "produce", "app", "-D", "<=>", "--rejects", &rejects]));
    let huge = "y".repeat(100_000);
    for half in ["<", "<="] {
        fs::write(&rejects, "").unwrap();
        producer.write(format!("{huge}{half}"));
        // The last bytes may begin a delimiter, and are kept back.
        crate::support::until("it has been read", || fs::metadata(&rejects).unwrap().len() >= huge.len() as u64 - 2);
        producer.write(format!("{}a<=>", &"<=>"[half.len()..]));
        crate::support::until("the next record is stored", || kdir.values("app").len() == 2 * half.len());
        assert_eq!(fs::read_to_string(&rejects).unwrap(), format!("{huge}<=>"));
    }
    assert_eq!(producer.end(), (Some(3), String::new(), String::new()));
}

#[test]
fn what_is_rejected_is_named_and_counted() {
    let kdir = Kdir::with_topic("app", &[]);
    let input: String = (0..30).map(|number| format!("no delimiter {number}\n")).collect();
    let run =
        kdir.feed(&["produce", "app", "-K", ":", "--on-error", "skip"], format!("a:1\n{input}")).code(3).stdout("");
    let stderr = String::from_utf8(run.get_output().stderr.clone()).unwrap();
    assert!(stderr.starts_with("warning: rejected: line 2 of stdin has no key delimiter \":\"\n"), "{stderr}");
    assert_eq!(stderr.matches("warning: rejected: ").count(), 10, "{stderr}");
    assert!(stderr.contains("\nwarning: more are rejected, and not named\nproduced 1 record"), "{stderr}");
    assert!(stderr.ends_with(" s\nrejected 30 records\n"), "{stderr}");
    let rejects = file(&kdir, "rejects");
    kdir.feed(&["produce", "app", "-K", ":", "--rejects", &rejects], "x\n")
        .code(3)
        .stdout("")
        .stderr(ends_with(format!(" s\nrejected 1 record, kept in {rejects}\n")));
    let json =
        kdir.feed(&["-q", "produce", "app", "-K", ":", "--on-error", "skip", "-o", "json"], "x\n").code(3).stderr("");
    assert!(String::from_utf8_lossy(&json.get_output().stdout).contains("\"rejected\":1"));
}

#[test]
fn rejects_are_added_to_what_the_file_holds_and_never_to_an_input() {
    let kdir = Kdir::with_topic("app", &[]);
    let rejects = kdir.file("rejects", "before\n");
    kdir.feed(&["-q", "produce", "app", "-K", ":", "--rejects", &rejects], "x\n").code(3).stdout("").stderr("");
    assert_eq!(fs::read_to_string(&rejects).unwrap(), "before\nx\n");
    kdir.run(&["produce", "app", "-K", ":", "--rejects", &rejects, &rejects])
        .code(2)
        .stdout("")
        .stderr(format!("kdir: {rejects} is both read and named by --rejects\n"));
    assert_eq!(fs::read_to_string(&rejects).unwrap(), "before\nx\n");
    kdir.feed(&["produce", "app", "--rejects", &rejects, "--on-error", "stop"], "")
        .code(2)
        .stdout("")
        .stderr(starts_with("kdir: --rejects takes what --on-error skip leaves out"));
    kdir.feed(&["produce", "app", "--rejects", "/nowhere/rejects"], "x\n")
        .code(1)
        .stdout("")
        .stderr(starts_with("kdir: cannot open /nowhere/rejects: "));
}

#[test]
fn an_endless_line_is_passed_over_until_it_is_told_to_stop() {
    let kdir = Kdir::with_topic("app", &["-c", "max.message.bytes=1000"]);
    let mut producer = Running::start(kdir.process(&["produce", "app", "--on-error", "skip"]));
    producer.write("a\n");
    producer.write("x".repeat(2_000_000));
    crate::support::until("the first record is stored", || kdir.values("app") == "a\n");
    producer.signal(rustix::process::Signal::TERM);
    let (code, stdout, stderr) = producer.wait();
    assert_eq!((code, stdout.as_str()), (Some(143), ""));
    assert!(stderr.contains("the last line was not complete and was not stored ("), "{stderr}");
}

fn timestamps(kdir: &Kdir) -> Vec<i64> {
    kdir.records("app").iter().map(|record| record["timestamp"].as_i64().unwrap()).collect()
}

#[test]
fn lines_have_the_times_that_they_begin_with() {
    for (format, lines, expected) in [
        (
            "[%a %b %d %H:%M:%S %Y]",
            "[Sun Dec 04 04:47:44 2005] [notice] a\n[Sun Dec 04 04:47:45 2005] b\n",
            1_133_671_664_000,
        ),
        ("%y%m%d %H%M%S", "081109 203615 148 INFO a\n081109 203616 INFO b\n", 1_226_262_975_000),
        ("%Y-%m-%d %H:%M:%S,%3f", "2015-07-29 17:41:44,747 - a\n2015-07-29 17:41:45,747 - b\n", 1_438_191_704_747),
        ("%Y-%m-%dT%H:%M:%S%.f%:z", "2026-01-02T03:04:05+01:00 a\n2026-01-02T02:04:06Z b\n", 1_767_319_445_000),
        ("%s", "1700000000 a\n1700000001 b\n", 1_700_000_000_000),
    ] {
        let kdir = Kdir::with_topic("app", &[]);
        let lines = lines.replace("Z b", "+00:00 b");
        kdir.produce("app", &["--timestamp-format", format], lines.clone());
        assert_eq!(timestamps(&kdir), [expected, expected + 1000], "{format}");
        assert_eq!(kdir.values("app"), lines);
    }
}

#[test]
fn syslog_lines_get_the_year_that_they_do_not_name() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce(
        "app",
        &["--timestamp-format", "%b %d %H:%M:%S"],
        "Dec 10 06:55:46 host sshd: a\nDec  1 06:55:46 host b\n",
    );
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    const DAY: i64 = 86_400_000;
    for timestamp in timestamps(&kdir) {
        assert!((now - 367 * DAY..now + DAY).contains(&timestamp), "{timestamp}");
    }
    let times = kdir.text(&["consume", "app", "--order", "partition", "-f", "%T{%m-%d %H:%M:%S}\n"]);
    assert_eq!(times, "12-10 06:55:46\n12-01 06:55:46\n");
}

#[test]
fn lines_without_a_time_have_that_of_the_line_before() {
    let kdir = Kdir::with_topic("app", &[]);
    let lines = "1970-01-01 00:00:01 error\n  at a\n  at b\n1970-01-01 00:00:02 fine\n";
    kdir.feed(&["produce", "app", "--timestamp-format", "%Y-%m-%d %H:%M:%S"], lines)
        .code(0)
        .stdout("")
        .stderr(ends_with(" s\n2 records without a time got that of the one before\n"));
    assert_eq!(timestamps(&kdir), [1000, 1000, 1000, 2000]);
}

#[test]
fn a_first_line_without_a_time_is_refused() {
    let kdir = Kdir::with_topic("app", &[]);
    let args = ["-q", "produce", "app", "--timestamp-format", "%Y-%m-%d"];
    kdir.feed(&args, "header\n1970-01-02 a\n")
        .code(1)
        .stdout("")
        .stderr("kdir: line 1 of stdin does not begin with a time as \"%Y-%m-%d\" has it\n");
    assert_eq!(kdir.values("app"), "");
    kdir.feed(&[&args[..], &["--on-error", "skip"]].concat(), "header\n1970-01-02 a\n").code(3).stdout("");
    assert_eq!(timestamps(&kdir), [86_400_000]);
}

#[test]
fn formats_that_name_no_day_or_make_no_sense_are_refused() {
    let kdir = Kdir::with_topic("app", &[]);
    let produce = |args: &[&str]| kdir.feed(&[&["produce", "app"], args].concat(), "x\n").code(2).stdout("");
    produce(&["--timestamp-format", "%H:%M"]).stderr(
        starts_with("kdir: --timestamp-format: \"%H:%M\" is no format for times: ").and(contains("name a day")),
    );
    produce(&["--timestamp-format", "%!"]).stderr(contains("is no format for times"));
    produce(&["--timestamp-format", "%s", "-i", "json"]).stderr(contains("-i json has timestamps of its own"));
    produce(&["--timestamp-format", "%s", "--timestamp", "now"]).stderr(contains("cannot be used with"));
}

#[test]
fn local_times_are_those_of_the_users_zone() {
    let kdir = Kdir::with_topic("app", &[]);
    let mut produce = kdir.command(&["-q", "produce", "app", "--timestamp-format", "%Y-%m-%d %H:%M"]);
    produce.env("TZ", "CET-1").write_stdin("1970-01-01 01:00 a\n").assert().code(0).stdout("").stderr("");
    assert_eq!(timestamps(&kdir), [0]);
}
