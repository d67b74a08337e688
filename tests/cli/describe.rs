//! `kdir describe`.

use crate::support::Kdir;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use std::fs;

/// Two records at 2023-11-14T22:13:20Z and one 5 s after, a segment each.
fn three_segments() -> Kdir {
    let kdir = Kdir::with_topic("app", &["-c", "segment.bytes=100"]);
    kdir.produce("app", &["--batch-size", "1", "--timestamp", "1700000000000"], "v0\nv1\n");
    kdir.produce("app", &["--timestamp", "1700000005000"], "v2\n");
    kdir
}

#[test]
fn shows_a_partition_in_a_table_and_its_configuration_below() {
    let kdir = three_segments();
    let expected = "\
TOPIC  PARTITION  LOG START  LOG END  SEGMENTS  BYTES  FIRST                NEWEST
app            0          0        3         3  210 B  2023-11-14 22:13:20  2023-11-14 22:13:25

app  segment.bytes=100
";
    kdir.run(&["describe", "app"]).code(0).stdout(expected).stderr("");
}

#[test]
fn leaves_out_a_segment_that_is_listed_and_not_there() {
    let kdir = three_segments();
    let log = kdir.segment("app-0", 1, "log");
    fs::remove_file(&log).unwrap();
    std::os::unix::fs::symlink("nowhere", &log).unwrap();
    let bases: Vec<_> =
        kdir.json(&["describe", "--segments", "-o", "json"]).iter().map(|row| row["base_offset"].clone()).collect();
    assert_eq!(bases, [0, 2]);
}

#[test]
fn shows_tsv_with_plain_numbers() {
    let kdir = three_segments();
    kdir.run(&["describe", "-o", "tsv"])
        .code(0)
        .stdout("app\t0\t0\t3\t3\t210\t1700000000000\t1700000005000\n")
        .stderr("");
}

#[test]
fn shows_topic_id_and_configuration_in_json() {
    let kdir = three_segments();
    let file: serde_json::Value = serde_json::from_slice(&fs::read(kdir.path("app.json")).unwrap()).unwrap();
    let expected = serde_json::json!({
        "topic": "app", "partition": 0, "log_start_offset": 0, "log_end_offset": 3, "segments": 3, "bytes": 210,
        "oldest": 1_700_000_000_000_i64, "newest": 1_700_000_005_000_i64,
        "topic_id": file["topic_id"], "config": { "segment.bytes": "100" },
        "last_stable_offset": null, "open_transactions": null, "dirty_ratio": null, "cleaner_offset": null,
    });
    assert_eq!(kdir.json(&["describe", "app", "-o", "json"]), [expected]);
}

#[test]
fn shows_a_row_a_segment() {
    let kdir = three_segments();
    let rows = "app\t0\t0\t1\t70\t1700000000000\t1700000000000\n\
                app\t0\t1\t2\t70\t1700000000000\t1700000000000\n\
                app\t0\t2\t3\t70\t1700000005000\t1700000005000\n";
    kdir.run(&["describe", "app", "--segments", "-o", "tsv"]).code(0).stdout(rows).stderr("");
    let table = kdir.text(&["describe", "app", "--segments"]);
    assert!(table.starts_with("TOPIC  PARTITION  BASE OFFSET  NEXT OFFSET  BYTES"), "{table}");
    assert_eq!(table.lines().count(), 4, "{table}");
}

#[test]
fn a_partition_without_records_has_no_times() {
    let kdir = Kdir::with_topic("app", &["-P", "2"]);
    kdir.run(&["describe", "app", "-o", "tsv"])
        .code(0)
        .stdout("app\t0\t0\t0\t1\t0\t\t\napp\t1\t0\t0\t1\t0\t\t\n")
        .stderr("");
}

#[test]
fn without_a_topic_all_are_described() {
    let kdir = Kdir::with_topic("b", &[]);
    kdir.create("a", &["-P", "2"]);
    let rows = kdir.text(&["describe", "-o", "tsv"]);
    let firsts: Vec<&str> = rows.lines().map(|line| &line[..3]).collect();
    assert_eq!(firsts, ["a\t0", "a\t1", "b\t0"]);
}

#[test]
fn an_empty_log_dir_has_nothing_to_describe() {
    let kdir = Kdir::new();
    fs::create_dir(kdir.log_dir()).unwrap();
    let status = format!("there are no topics in {}\n", kdir.log_dir().display());
    kdir.run(&["describe"]).code(0).stdout("").stderr(status);
}

#[test]
fn a_missing_log_dir_or_topic_is_named() {
    let kdir = Kdir::new();
    kdir.run(&["describe"])
        .code(1)
        .stdout("")
        .stderr(contains("kdir: there is no log dir ").and(contains("\nhint: make it with `kdir create TOPIC`")));
    kdir.create("app", &[]);
    kdir.run(&["describe", "app", "nope"])
        .code(1)
        .stdout("")
        .stderr(contains("kdir: there is no topic nope in ").and(contains("\nhint: `kdir list` shows what is there")));
}

/// Records in three hours of two days, over two partitions and several segments; one hour between two of them is empty.
fn spread() -> Kdir {
    let kdir = Kdir::with_topic("app", &["-P", "2", "-c", "segment.bytes=200"]);
    const HOUR: i64 = 3_600_000;
    for (hour, records) in [(0, 4), (2, 8), (30, 1)] {
        let timestamp = (1_699_963_200_000 + hour * HOUR).to_string();
        for number in 0..records {
            kdir.produce("app", &["--timestamp", &timestamp, "-p", &(number % 2).to_string(), "-z", "gzip"], "v\n");
        }
    }
    kdir
}

#[test]
fn draws_how_many_records_came_when() {
    let kdir = spread();
    let mut chart = kdir.command(&["describe", "app", "--chart", "hour"]);
    chart.env("LANG", "C.UTF-8").env_remove("LC_ALL");
    let output = chart.assert().code(0).stderr("").get_output().stdout.clone();
    let text = String::from_utf8(output).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("app: 13 records, ") && lines[0].ends_with(", by hour"), "{text}");
    assert_eq!(lines.len(), 6, "{text}");
    let bars: Vec<usize> = lines.iter().map(|line| line.chars().filter(|&it| it == '█').count()).collect();
    assert_eq!((bars[1] * 2, bars[2]), (bars[3], 0), "{text}");
    for (line, time) in [(1, "12:00"), (2, "13:00"), (3, "14:00")] {
        assert!(lines[line].starts_with(&format!("  2023-11-14 {time}")), "{text}");
    }
    assert_eq!(lines[4], "  ⋮");
    assert!(
        lines[5].starts_with("  2023-11-15 18:00") && lines.iter().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    let plain = kdir.text(&["describe", "app", "--chart", "day"]);
    assert!(plain.is_ascii() && plain.contains("  2023-11-14    ####"), "{plain}");
}

#[test]
fn a_chart_in_numbers_follows_the_zone_of_the_user() {
    let kdir = spread();
    let rows = |chart: &[&str], zone: &str| {
        let mut describe = kdir.command(&[&["describe", "app", "-o", "tsv", "--chart"], chart].concat());
        let output = describe.env("TZ", zone).assert().code(0).stderr("").get_output().stdout.clone();
        let text = String::from_utf8(output).unwrap();
        let numbers = |line: &str| line.split('\t').take(3).map(str::to_owned).collect::<Vec<_>>().join(" ");
        text.lines().map(numbers).collect::<Vec<_>>()
    };
    assert_eq!(rows(&["day"], "UTC"), ["app 1699920000000 12", "app 1700006400000 1"]);
    // Eleven hours east, noon is an hour before midnight.
    assert_eq!(rows(&["day"], "XXX-11"), ["app 1699880400000 4", "app 1699966800000 8", "app 1700053200000 1"]);
    assert_eq!(rows(&["minute"], "UTC").len(), 3);
    let bytes: u64 = kdir
        .json(&["describe", "app", "-o", "json", "--chart", "hour"])
        .iter()
        .map(|it| it["bytes"].as_u64().unwrap())
        .sum();
    let whole: u64 = kdir.json(&["describe", "app", "-o", "json"]).iter().map(|it| it["bytes"].as_u64().unwrap()).sum();
    assert_eq!(bytes, whole);
    kdir.run(&["describe", "app", "--chart", "week"]).code(2).stdout("").stderr(contains("is not day, hour or minute"));
    kdir.run(&["describe", "app", "--chart", "day", "--segments"])
        .code(2)
        .stdout("")
        .stderr(contains("cannot be used with"));
}

#[test]
fn a_chart_of_an_old_or_a_half_written_log_is_drawn() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &["--timestamp", "-1"], "a\nb\n");
    kdir.produce("app", &["--timestamp", "@1"], "c\n");
    crate::support::cut(&kdir.segment("app-0", 0, "log"), 1);
    assert_eq!(kdir.text(&["describe", "app", "-o", "tsv", "--chart", "day"]), "app\t\t2\t77\n");
    assert!(kdir.text(&["describe", "app", "--chart", "day"]).contains("  no timestamp  ###"));
}

#[test]
fn a_batch_over_several_days_is_drawn_as_its_records_lie() {
    for codec in ["none", "zstd"] {
        let kdir = Kdir::with_topic("app", &[]);
        const DAY: i64 = 86_400_000;
        let times = [0, 1, 2, 9 * DAY, 9 * DAY + 1, 3 * DAY, 10 * DAY];
        let lines: String = times
            .iter()
            .map(|at| format!("{{\"value\":\"v\",\"timestamp_type\":\"CreateTime\",\"timestamp\":{at}}}\n"))
            .collect();
        kdir.produce("app", &["-i", "json", "-z", codec], lines);
        let rows = kdir.json(&["describe", "app", "--chart", "day", "-o", "json"]);
        let found: Vec<_> =
            rows.iter().map(|row| (row["time"].as_i64().unwrap() / DAY, row["records"].as_i64().unwrap())).collect();
        assert_eq!(found, [(0, 3), (3, 1), (9, 2), (10, 1)]);
        let bytes: u64 = rows.iter().map(|row| row["bytes"].as_u64().unwrap()).sum();
        assert_eq!(bytes, kdir.segment("app-0", 0, "log").metadata().unwrap().len());
        // What was deleted is not drawn.
        kdir.run(&["-q", "delete-records", "--yes", "app", "--before-offset", "4"]).code(0).stderr("");
        let rows = kdir.text(&["describe", "app", "--chart", "day", "-o", "tsv"]);
        assert_eq!(rows.lines().map(|line| line.split('\t').nth(2).unwrap()).collect::<String>(), "111");
    }
}
