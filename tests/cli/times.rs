//! Times mean what they say: those of people in options, those of logs in lines, in every zone.

use crate::support::Kdir;
use jiff::tz::TimeZone;
use kdir::units::{LocalZone, TimeFormat, TimeState, Timestamp};
use predicates::str::contains;
use serde_json::Value;
use std::process::Command;

/// What GNU date makes of times; its head says how it was made.
const TABLE: &str = include_str!("../data/times/gnu-date.tsv");
/// When it was made.
const NOW: Timestamp = Timestamp(1_793_824_215_123);

struct Row<'a> {
    spelling: &'a str,
    gnu: &'a str,
    format: &'a str,
    status: &'a str,
    /// What GNU date answers, by zone; nothing of what it refuses.
    answers: Vec<(&'a str, Option<i64>)>,
}

fn table() -> Vec<Row<'static>> {
    let mut lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    let zones: Vec<&str> = lines.next().unwrap().split('\t').skip(4).collect();
    let row = |line: &'static str| {
        let cells: Vec<&str> = line.split('\t').collect();
        let answers = zones.iter().copied().zip(cells[4..].iter().map(|cell| cell.parse().ok())).collect();
        Row { spelling: cells[0], gnu: cells[1], format: cells[2], status: cells[3], answers }
    };
    lines.map(row).collect()
}

fn local(zone: &str) -> LocalZone {
    let zone = if zone == "(unset)" { "UTC" } else { zone };
    let zone = TimeZone::get(zone).expect("these tests need the tz database");
    LocalZone::new(move || zone)
}

impl Row<'_> {
    /// What is wrong with an answer.
    fn objection(&self, zone: &str, gnu: Option<i64>, found: Option<i64>) -> Option<String> {
        let elsewhere = || self.answers.iter().find_map(|(_, answer)| *answer);
        let is_right = match self.status {
            "read" => found == gnu,
            "wider" => found.is_some() && found == gnu.or_else(elsewhere),
            "some" => found.is_none() || found == gnu,
            "refused" => found.is_none(),
            other => panic!("{other}"),
        };
        (!is_right).then(|| format!("{zone}: {:?} {}: {found:?}, GNU date {gnu:?}", self.spelling, self.format))
    }
}

#[test]
fn times_in_options_are_those_of_gnu_date_or_refused() {
    let table = table();
    assert!(table.len() >= 120);
    let mut objections = Vec::new();
    for row in &table {
        for &(zone, gnu) in &row.answers {
            let found = Timestamp::parse(row.spelling, NOW, &local(zone)).ok().map(|it| it.0);
            objections.extend(row.objection(zone, gnu, found));
        }
    }
    assert!(objections.is_empty(), "\n{}", objections.join("\n"));
}

#[test]
fn times_in_lines_are_those_of_gnu_date_or_refused() {
    let mut objections = Vec::new();
    for row in table().iter().filter(|row| row.format != "-") {
        for &(zone, gnu) in &row.answers {
            let format = TimeFormat::new(row.format, &local(zone)).unwrap();
            let line = format!("{} and more", row.spelling);
            let found = format.read(line.as_bytes(), NOW, &mut TimeState::default());
            objections.extend(row.objection(zone, gnu, found.ok().flatten().map(|it| it.0)));
        }
    }
    assert!(objections.is_empty(), "\n{}", objections.join("\n"));
}

#[test]
#[ignore = "needs GNU date; what it answered once is part of every run"]
fn the_table_is_what_gnu_date_answers() {
    let answer = |zone: &str, text: &str| {
        let mut date = Command::new("date");
        date.env("LC_ALL", "C").env_remove("TZ").args(["-d", text, "+%s%3N"]);
        if zone != "(unset)" {
            date.env("TZ", zone);
        }
        let output = date.output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse::<i64>().ok()
    };
    let is_fixed = |spelling: &str| spelling.contains("20") || spelling.starts_with('@');
    for row in table().iter().filter(|row| is_fixed(row.spelling) && row.spelling.len() > 4) {
        for &(zone, gnu) in &row.answers {
            let text = if row.gnu == "=" { row.spelling } else { row.gnu };
            assert_eq!(answer(zone, text), gnu, "{zone}: {text}");
        }
    }
}

const TEN: i64 = 1_795_341_600_000;
const HOUR: i64 = 3_600_000;

/// The timestamps after lines were produced in a zone, and what was said.
fn imported(zone: &str, options: &[&str], lines: &str) -> (Vec<i64>, String) {
    let kdir = Kdir::with_topic("t", &[]);
    let mut produce = kdir.command(&[&["produce", "t"], options].concat());
    let output = produce.env("TZ", zone).write_stdin(lines).output().unwrap();
    let timestamps = kdir.records("t").iter().map(|record| record["timestamp"].as_i64().unwrap()).collect();
    (timestamps, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_zone_in_a_line_or_in_the_format_is_never_taken_for_the_local_one() {
    for (format, lines) in [
        ("%Y-%m-%dT%H:%M:%SZ", "2026-11-22T10:00:00Z x\n"),
        ("%FT%T%z", "2026-11-22T10:00:00Z x\n2026-11-22T11:00:00+01:00 x\n2026-11-22T11:00:00+0100 x\n"),
        ("%FT%T%.f%:z", "2026-11-22T10:00:00.000Z x\n2026-11-22T10:00:00+00:00 x\n"),
        ("%F %T UTC", "2026-11-22 10:00:00 UTC x\n"),
        ("[%F %T +0100]", "[2026-11-22 11:00:00 +0100] x\n"),
        ("%F %T %Q", "2026-11-22 11:00:00 Europe/Berlin x\n2026-11-22 15:30:00 Asia/Kolkata\n"),
        ("%a %b %d %T %Z %Y", "Sun Nov 22 05:00:00 EST 2026\n"),
        ("rfc3339", "2026-11-22T10:00:00Z\n2026-11-22 10:00:00.000+00:00\n"),
        ("rfc3339", "2026-11-22t10:00:00z x\n2026-11-22T10:00:00z\n2026-11-22 10:00:00z\n2026-11-22t11:00:00+0100\n"),
        ("syslog", "<34>1 2026-11-22T10:00:00Z host\n"),
        ("clf", "127.0.0.1 - - [22/Nov/2026:11:00:00 +0100] \"GET / HTTP/1.1\" 200\n"),
        ("epoch", "1795341600 x\n1795341600.000 x\n"),
        ("epoch-ms", "1795341600000 x\n"),
    ] {
        let (timestamps, said) = imported("America/New_York", &["--timestamp-format", format], lines);
        assert_eq!(timestamps, vec![TEN; lines.lines().count()], "{format}: {said}");
    }
    for (zone, words) in [
        ("CST", "in the zone \"CST\", which is not known or has several meanings"),
        ("XYZT", "in the zone \"XYZT\", which is not known or has several meanings"),
        ("UTC+01:00", "in the zone \"UTC+01\""),
        ("(x)", "has a time without a zone"),
    ] {
        let lines = format!("2026-11-22T10:00:00Z x\n2026-11-22T10:00:00 {zone} x\n");
        let (timestamps, said) = imported("America/New_York", &["-q", "--timestamp-format", "%FT%T%z"], &lines);
        assert_eq!(timestamps, [TEN], "{said}");
        assert!(said.starts_with("kdir: line 2 of stdin has a time ") && said.contains(words), "{said}");
    }
    // Of hours alone is an offset only where a format asks for one: it may as well be the next number of the line.
    for zone in ["-15", " -15", "+01"] {
        let line = format!("2026-11-22T10:00:00{zone} x\n");
        let lines = format!("2026-11-22T10:00:00Z x\n{line}");
        let (timestamps, said) = imported("UTC", &["-q", "--timestamp-format", "rfc3339"], &lines);
        let words = format!("kdir: line 2 of stdin has a time in the zone \"{}\"", zone.trim());
        assert!(timestamps == [TEN] && said.starts_with(&words), "{said}");
    }
    let (timestamps, said) = imported("UTC", &["--timestamp-format", "%F %T%z"], "2026-11-22 11:00:00+01 x\n");
    assert_eq!(timestamps, [TEN], "{said}");
    // The local zone knows what it is called itself.
    let (timestamps, said) =
        imported("Asia/Kolkata", &["--timestamp-format", "%F %T %Z"], "2026-11-22 15:30:00 IST x\n");
    assert_eq!(timestamps, [TEN], "{said}");
}

#[test]
fn fractions_and_milliseconds_are_kept_or_refused() {
    for (format, line) in [
        ("%s.%f", "1700000000.123 x\n"),
        ("%s%.f", "1700000000.123 x\n"),
        ("%s.%3f", "1700000000.123 x\n"),
        ("%s", "1700000000.123 x\n"),
        ("epoch", "1700000000.123456 x\n"),
        ("epoch-ms", "1700000000123 x\n"),
        ("epoch-us", "1700000000123456 x\n"),
    ] {
        assert_eq!(imported("UTC", &["--timestamp-format", format], line).0, [1_700_000_000_123], "{format}");
    }
    for (format, line) in [
        ("%s", "1700000000123 x\n"),
        ("epoch", "1700000000123 x\n"),
        ("epoch-ms", "1700000000 x\n"),
        ("epoch-us", "1700000000123 x\n"),
    ] {
        let (timestamps, said) = imported("UTC", &["-q", "--timestamp-format", format], line);
        assert!(timestamps.is_empty() && said.contains("does not begin with a time"), "{format}: {said}");
    }
}

#[test]
fn a_line_has_its_time_where_a_pattern_or_a_field_finds_it() {
    let lines = "level=info ts=2026-11-22T10:00:00Z msg=a\n  at x\nlevel=info ts=2026-11-22T11:00:00Z msg=b\n";
    let (timestamps, said) = imported("UTC", &["--timestamp-regex", r"ts=(\S+)"], lines);
    assert_eq!(timestamps, [TEN, TEN, TEN + HOUR]);
    assert!(said.ends_with("\n1 record without a time got that of the one before\n"), "{said}");
    let lines = "{\"ts\":1795341600.5,\"msg\":\"a\"}\n{\"msg\":\"b\",\"ts\":1795345200}\n";
    let (timestamps, _) = imported("UTC", &["--timestamp-field", "ts", "--timestamp-format", "epoch"], lines);
    assert_eq!(timestamps, [TEN + 500, TEN + HOUR]);
    let (timestamps, said) = imported("UTC", &["-q", "--timestamp-field", "time"], lines);
    assert!(timestamps.is_empty());
    assert_eq!(said, "kdir: line 1 of stdin has no JSON field \"time\" with a time as \"rfc3339\" has it\n");
    let kdir = Kdir::with_topic("t", &[]);
    for args in [
        &["--timestamp-field", "a", "--timestamp-regex", "b"][..],
        &["--timestamp-field", "a", "--timestamp", "now"],
        &["--timestamp-regex", "("],
    ] {
        kdir.feed(&[&["produce", "t"], args].concat(), "x\n").code(2).stdout("").stderr(contains("--timestamp-"));
    }
}

#[test]
fn a_line_that_begins_with_its_headers_has_its_time_after_them() {
    let headers = ["--headers-delimiter", ";"];
    for (options, rest) in [
        (["--timestamp-format", "rfc3339"], "2026-11-22T10:00:00Z x"),
        (["--timestamp-regex", r"ts=(\S+)"], "x ts=2026-11-22T10:00:00Z"),
        (["--timestamp-field", "ts"], "{\"ts\":\"2026-11-22T10:00:00Z\"}"),
    ] {
        let lines = format!("ts=2026-11-22T11:00:00Z:1;{rest}\na:1;  at x\n");
        let (timestamps, said) = imported("UTC", &[&headers[..], &options].concat(), &lines);
        assert_eq!(timestamps, [TEN, TEN], "{options:?}: {said}");
        let (timestamps, said) = imported("UTC", &[&headers[..], &options].concat(), "a:1;x\n");
        assert!(timestamps.is_empty() && said.contains("line 1 of stdin"), "{options:?}: {said}");
    }
}

#[test]
fn the_hour_that_comes_twice_goes_on_in_the_next_file_only_where_one_ends_in_it() {
    let first = 1_793_511_000_000; // 01:30 EDT
    for (before, expected) in [("2026-11-01 12:00 a\n", first), ("2026-11-01 01:50 a\n", first + HOUR)] {
        let kdir = Kdir::with_topic("t", &[]);
        let files = [kdir.file("before", before), kdir.file("after", "2026-11-01 01:30 b\n")];
        let args = ["-q", "produce", "t", "--timestamp-format", "%F %R", &files[0], &files[1]];
        kdir.command(&args).env("TZ", "America/New_York").assert().code(0);
        assert_eq!(kdir.records("t")[1]["timestamp"], expected, "{before}");
    }
}

#[test]
fn an_abbreviation_is_that_of_the_local_zone_before_it_is_that_of_another() {
    let read = |zone: &str, text: &str| Timestamp::parse(text, NOW, &local(zone));
    for (zone, text, expected) in [
        ("Asia/Manila", "2026-11-22 18:00 PST", TEN),
        ("America/Los_Angeles", "2026-11-22 02:00 PST", TEN),
        ("UTC", "2026-11-22 02:00 PST", TEN),
        ("America/New_York", "2026-11-01 01:30 EST", 1_793_511_000_000 + HOUR),
        ("America/New_York", "2026-11-01 01:30 EDT", 1_793_511_000_000),
        ("America/New_York", "2026-11-22 06:00 EDT", TEN),
    ] {
        assert_eq!(read(zone, text), Ok(Timestamp(expected)), "{zone}: {text}");
    }
    for (zone, text) in [("Asia/Kolkata", "Nov 22 10:00 IST"), ("Asia/Manila", "Nov 22 10:00 PST")] {
        let error = read(zone, text).unwrap_err().to_string();
        assert!(error.contains("add the year"), "{zone}: {error}");
    }
}

#[test]
fn a_step_back_in_the_hour_that_comes_twice_is_the_second_pass_and_warned_of_once() {
    let first = 1_793_511_000_000; // 01:30 EDT
    let lines = "2026-11-01 01:30 a\n2026-11-01 01:50 b\n2026-11-01 01:05 c\n2026-11-01 01:30 d\n2026-11-01 02:10 e\n";
    let (timestamps, said) = imported("America/New_York", &["--timestamp-format", "%F %R"], lines);
    let minute = 60_000;
    assert_eq!(timestamps, [first, first + 20 * minute, first + 35 * minute, first + HOUR, first + HOUR + 40 * minute]);
    let warning = "warning: 4 records without a zone in an hour that comes twice, as the clocks are put back: 2 read as the \
                   first pass, 2, after a step back, as the second\n";
    assert_eq!(said.matches(warning).count(), 1, "{said}");
    // Threads write their lines in any order.
    let lines = "2026-11-01 01:30:05 a\n2026-11-01 01:30:04 b\n2026-11-01 01:30:06 b\n";
    let (timestamps, _) = imported("America/New_York", &["--timestamp-format", "%F %T"], lines);
    assert_eq!(timestamps, [first + 5000, first + 4000, first + 6000]);
    // What the clocks skip in spring is read as if they had not been put forward.
    let lines = "2026-03-08 01:59 a\n2026-03-08 02:30 b\n2026-03-08 03:00 c\n";
    let (timestamps, said) = imported("America/New_York", &["--timestamp-format", "%F %R"], lines);
    assert_eq!(timestamps, [0, 31, 1].map(|minutes| 1_772_953_140_000 + minutes * minute));
    assert!(!said.contains("warning"), "{said}");
}

#[test]
fn bare_numbers_that_may_be_seconds_or_nanoseconds_are_refused_with_both_readings() {
    let kdir = Kdir::with_topic("t", &[]);
    kdir.produce("t", &[], "a\n");
    kdir.run(&["delete-records", "t", "--before", "1700000000123456789"]).code(2).stdout("").stderr(
        "kdir: --before: invalid time \"1700000000123456789\": as milliseconds it is year 53872825 (nanoseconds?), as \
         nanoseconds 2023-11-14 22:13:20 UTC (then write @1700000000.123)\n",
    );
    let seconds = "invalid time \"1700000000\": as milliseconds it is 1970-01-20 16:13:20 UTC (then write @1700000), as seconds \
                   2023-11-14 22:13:20 UTC (then write @1700000000)\n";
    kdir.run(&["consume", "t", "--since", "1700000000"]).code(2).stdout("").stderr(format!("kdir: --since: {seconds}"));
    let produce = kdir.feed(&["produce", "t", "--timestamp", "1700000000"], "x\n");
    produce.code(2).stdout("").stderr(format!("kdir: --timestamp: {seconds}"));
    assert_eq!(kdir.values("t"), "a\n");
}

#[test]
fn every_option_for_a_time_takes_an_age_with_a_minus() {
    let kdir = Kdir::with_topic("t", &[]);
    kdir.produce("t", &["--timestamp", "-3h"], "old\n");
    kdir.produce("t", &["--timestamp", "-1h"], "new\n");
    assert_eq!(kdir.text(&["consume", "t", "--since", "-2h"]), "new\n");
    assert_eq!(kdir.text(&["consume", "t", "--until", "-2h"]), "old\n");
    assert!(kdir.text(&["offsets", "t", "--at", "-2h", "-o", "tsv"]).starts_with("t\t0\t1\t"));
    kdir.run(&["-q", "delete-records", "t", "--yes", "--before", "-2h"]).code(0);
    assert_eq!(kdir.values("t"), "new\n");
    for since in [
        "5 minutes ago",
        "1 hour ago",
        "1d",
        "yesterday 10:00",
        "Yesterday",
        "00:00",
        "9999-12-31",
        "@0",
        "1990-01-01 UTC",
    ] {
        kdir.run(&["consume", "t", "--since", since]).code(0).stderr("");
    }
    let now = Command::new("date").arg("-R").env("LC_ALL", "C").output().unwrap().stdout;
    kdir.run(&["consume", "t", "--since", String::from_utf8(now).unwrap().trim()]).code(0).stdout("").stderr("");
}

#[test]
fn a_zone_of_tz_without_a_rule_has_that_of_glibc_and_an_unknown_one_is_warned_of_once() {
    let kdir = Kdir::with_topic("t", &[]);
    kdir.produce("t", &["--timestamp", "2026-07-01T10:00:00Z"], "a\n");
    let consume = |zone: &str| {
        let mut consume =
            kdir.command(&["consume", "t", "--since", "2026-06-01", "--until", "2026-08-01", "-f", "%T{%F %T %z}\n"]);
        consume.env("TZ", zone).assert().code(0)
    };
    consume("CET-1CEST").stdout("2026-07-01 12:00:00 +0200\n").stderr("");
    consume("Asia/Kolkata").stdout("2026-07-01 15:30:00 +0530\n").stderr("");
    consume("").stdout("2026-07-01 10:00:00 +0000\n").stderr("");
    consume("Nowhere/Land")
        .stdout("2026-07-01 10:00:00 +0000\n")
        .stderr("warning: TZ=Nowhere/Land is not a known time zone: local times are read and shown in UTC\n");
    let mut quiet = kdir.command(&["-q", "consume", "t", "--since", "2026-06-01"]);
    quiet.env("TZ", "Nowhere/Land").assert().code(0).stdout("a\n").stderr("");
}

#[test]
fn templates_print_times_as_the_c_locale_does_and_refuse_what_they_do_not_know() {
    let kdir = Kdir::with_topic("t", &[]);
    kdir.produce("t", &["--timestamp", "2023-11-14T22:13:20Z"], "a\n");
    assert_eq!(kdir.text(&["consume", "t", "-f", "%T{%c}|%T{%x}"]), "Tue Nov 14 22:13:20 2023|11/14/23");
    for (template, words) in [
        (r"\256", r"\256 is no byte"),
        (r"\q", r"\q is no escape"),
        (r"\x4", r"\x4 is no byte"),
        ("%T{%+}", "is no strftime format"),
        ("%T{%Ey}", "is no strftime format"),
    ] {
        kdir.run(&["consume", "t", "-f", template]).code(2).stdout("").stderr(contains(words));
    }
}

#[test]
fn a_record_can_have_no_timestamp_and_none_before_1970() {
    let kdir = Kdir::with_topic("t", &[]);
    kdir.produce("t", &["--timestamp", "-1"], "a\n");
    assert_eq!(kdir.records("t")[0]["timestamp"], Value::from(-1));
    kdir.feed(&["produce", "t", "--timestamp", "1960-01-01"], "b\n").code(2).stdout("").stderr(contains("before 1970"));
}
