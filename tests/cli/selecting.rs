//! Which records `kdir consume` prints: filters, tails, patterns, impossible ranges.

use crate::support::{Chance, Kdir, Running, next, seed};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, starts_with};
use serde_json::json;

/// Records with keys, headers, nulls and bytes: one partition, offsets 0 to 5.
fn varied() -> Kdir {
    let kdir = Kdir::with_topic("app", &[]);
    let records = [
        json!({"value": "GET /a", "key": "web1", "headers": [{"key": "source", "value": "nginx"}]}),
        json!({"value": "error: disk", "key": "db", "headers": [{"key": "source", "value": "postgres"}]}),
        json!({"value": null, "key": "web1", "headers": []}),
        json!({"value": "", "key": null, "headers": [{"key": "source", "value": null}]}),
        json!({"value_b64": "/w==", "key": "", "headers": [{"key": "trace", "value": ""}]}),
        json!({"value": "ERROR again", "key": "web2", "headers": [{"key": "source", "value": "nginx"}]}),
    ];
    let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
    kdir.produce("app", &["-i", "json"], lines);
    kdir
}

fn offsets(kdir: &Kdir, args: &[&str]) -> Vec<i64> {
    let records = kdir.json(&[&["consume", "app", "-o", "json"], args].concat());
    records.iter().map(|record| record["offset"].as_i64().unwrap()).collect()
}

#[test]
fn records_are_selected_by_value_key_and_headers_or_by_their_lack() {
    let kdir = varied();
    for (args, expected) in [
        (&["--grep", "error"][..], &[1][..]),
        (&["--grep", "(?i)error"], &[1, 5]),
        (&["--grep-not", "(?i)error"], &[0, 2, 3, 4]),
        (&["--grep", "^$"], &[3]),
        (&["--grep", r"(?-u)\xff"], &[4]),
        (&["--key", "^web"], &[0, 2, 5]),
        (&["--key", ""], &[0, 1, 2, 4, 5]),
        (&["--key-not", ""], &[3]),
        (&["--header", "source"], &[0, 1, 3, 5]),
        (&["--header", "source=^nginx$"], &[0, 5]),
        (&["--header", "source="], &[0, 1, 5]),
        (&["--header-not", "source"], &[2, 4]),
        (&["--header-not", "source=nginx"], &[1, 2, 3, 4]),
        (&["--header", "nothing-has-this"], &[]),
        (&["--header", "source", "--grep", "GET", "--key-not", "db"], &[0]),
        (&["--grep", "a", "--grep", "GET"], &[0]),
        (&["--grep", "(?i)error", "-n", "1"], &[1]),
        (&["--grep", "(?i)error", "--from-offset", "2"], &[5]),
    ] {
        assert_eq!(offsets(&kdir, args), expected, "{args:?}");
    }
}

#[test]
fn what_is_no_regular_expression_is_refused_with_its_place() {
    let kdir = varied();
    kdir.run(&["consume", "app", "--grep", "a("])
        .code(2)
        .stdout("")
        .stderr(contains("--grep: ").and(contains("unclosed group")));
    kdir.run(&["consume", "app", "--header", "=x"]).code(2).stdout("").stderr(contains("is not NAME or NAME=REGEX"));
    kdir.run(&["consume", "app", "--header", "h=["]).code(2).stdout("").stderr(contains("unclosed character class"));
}

/// Three partitions, every tenth value with an x, one second apart, round-robin: offsets 0 to 999 in each.
fn long() -> Kdir {
    let kdir = Kdir::with_topic("app", &["-P", "3", "-c", "segment.bytes=20000"]);
    let line = |number: i64| {
        let mark = if number % 10 == 0 { "x" } else { "-" };
        let (partition, timestamp) = (number % 3, 1000 * number);
        format!(
            "{}\n",
            json!({"value": format!("{number}{mark}"), "partition": partition, "timestamp": timestamp,
                               "timestamp_type": "CreateTime"})
        )
    };
    kdir.produce("app", &["-i", "json", "--batch-size", "700"], (0..3000).map(line).collect::<String>());
    kdir
}

#[test]
fn a_tail_is_the_last_of_all_that_was_selected_in_time_order() {
    let kdir = long();
    let all = |args: &[&str]| {
        let text = kdir.text(&[&["consume", "app"], args].concat());
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    for selected in [
        &[][..],
        &["--grep", "x"],
        &["--grep", "77x"],
        &["-p", "1"],
        &["-p", "0,2", "--grep-not", "x"],
        &["--until", "@1000"],
        &["--since", "@2500", "--until", "@2600", "--grep", "x"],
        &["--to-offset", "-10"],
        &["--to-offset", "0:500,1:2", "--from-offset", "0:300,2:latest"],
        &["--from-offset", "latest"],
        &["--grep", "nothing has this"],
    ] {
        let whole = all(selected);
        for count in [0, 1, 2, 3, 10, 333, 5000] {
            let tail = all(&[selected, &["--tail", &count.to_string()]].concat());
            let expected = &whole[whole.len().saturating_sub(count)..];
            assert_eq!(tail, expected, "{selected:?} --tail {count}");
        }
    }
}

#[test]
fn max_records_counts_from_the_start_of_a_tail() {
    let kdir = long();
    assert_eq!(kdir.text(&["consume", "app", "--tail", "4", "-n", "2"]), "2996-\n2997-\n");
}

#[test]
fn a_tail_goes_on_as_tail_does() {
    let kdir = long();
    let mut follower = Running::start(kdir.process(&["consume", "app", "--tail", "2", "-F", "-n", "4"]));
    let lines = follower.lines();
    assert_eq!([next(&lines), next(&lines)], ["2998-", "2999-"]);
    kdir.produce("app", &[], "new\n");
    kdir.produce("app", &[], "newer\n");
    assert_eq!([next(&lines), next(&lines)], ["new", "newer"]);
    assert_eq!(follower.wait(), (Some(0), String::new(), String::new()));
}

#[test]
fn a_tail_of_a_damaged_log_ends_at_the_damage() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &["--batch-size", "1"], "v0\nv1\nv2\nv3\n");
    let log = kdir.segment("app-0", 0, "log");
    let batch_size = std::fs::metadata(&log).unwrap().len() as usize / 4;
    crate::support::flip(&log, 3 * batch_size - 2);
    kdir.run(&["consume", "app", "--tail", "1"]).code(4).stdout("v1\n").stderr(contains("is corrupt at position"));
}

#[test]
fn patterns_name_topics_as_a_shell_does() {
    let kdir = Kdir::with_topic("app-web", &[]);
    for topic in ["app-db", "apple", "__internal"] {
        kdir.create(topic, &[]);
    }
    for (number, topic) in ["app-web", "app-db", "apple", "__internal"].into_iter().enumerate() {
        kdir.produce(topic, &["--timestamp", &format!("@1.00{number}")], format!("{topic}\n"));
    }
    for (patterns, expected) in [
        (&["app-*"][..], "app-web\napp-db\n"),
        (&["app*"], "app-web\napp-db\napple\n"),
        (&["*"], "app-web\napp-db\napple\n"),
        (&["__*"], "__internal\n"),
        (&["app-[a-e]*", "apple", "app-db"], "app-db\napple\n"),
        (&["app??"], "apple\n"),
        (&["app-[!w]*"], "app-db\n"),
    ] {
        assert_eq!(kdir.text(&[&["consume"], patterns].concat()), expected, "{patterns:?}");
    }
    kdir.run(&["consume", "x*"]).code(1).stdout("").stderr(
        starts_with(format!("kdir: no topic in {} matches x*\n", kdir.log_dir().display()))
            .and(contains("`kdir list`")),
    );
    kdir.run(&["consume", "a[b"]).code(2).stdout("").stderr(contains("\"a[b\" is not a pattern"));
    assert_eq!(kdir.text(&["describe", "app-*", "-o", "tsv"]).lines().count(), 2);
    kdir.run(&["-q", "verify", "app*"]).code(0).stdout("").stderr("");
    kdir.run(&["-q", "delete", "app-*", "--yes"]).code(0).stderr("");
    assert_eq!(kdir.text(&["list", "-o", "tsv"]).lines().count(), 2);
}

#[test]
fn a_range_that_ends_before_it_begins_is_wrong_usage() {
    let kdir = long();
    let consume = |args: &[&str]| kdir.run(&[&["consume", "app"], args].concat());
    consume(&["-p", "0", "--from-offset", "100", "--to-offset", "50"])
        .code(2)
        .stdout("")
        .stderr("kdir: app-0: --from-offset is 100 and --to-offset 50: no record can be between them\n");
    consume(&["--from-offset", "latest", "--to-offset", "earliest"])
        .code(2)
        .stdout("")
        .stderr(starts_with("kdir: app-0: --from-offset is 1000 and --to-offset 0"));
    consume(&["-p", "0", "--from-offset", "50", "--to-offset", "50"]).code(0).stdout("").stderr("");
}

/// Fills the records of the batch at that position with nonsense. What no reader decompresses can hold anything, if its
/// checksum is right.
fn make_unreadable(kdir: &Kdir, position: usize) {
    let log = kdir.segment("app-0", 0, "log");
    let mut bytes = std::fs::read(&log).unwrap();
    let batch = &mut bytes[position..];
    let size = 12 + u32::from_be_bytes(batch[8..12].try_into().unwrap()) as usize;
    batch[61..size].fill(0xee);
    let crc = kdir::format::crc::crc32c(&batch[21..size]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    std::fs::write(&log, bytes).unwrap();
}

#[test]
fn batches_that_are_too_late_are_not_decompressed_where_the_log_gave_the_time() {
    for (kind, code, stdout) in [("LogAppendTime", 0, "old\n"), ("CreateTime", 4, "old\n")] {
        let kdir = Kdir::with_topic("app", &["-c", &format!("message.timestamp.type={kind}")]);
        kdir.produce("app", &["-z", "zstd"], "old\n");
        let until = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() + 1;
        std::thread::sleep(std::time::Duration::from_millis(5));
        let position = std::fs::metadata(kdir.segment("app-0", 0, "log")).unwrap().len() as usize;
        kdir.produce("app", &["-z", "zstd"], "new\n");
        make_unreadable(&kdir, position);
        kdir.run(&["consume", "app", "--until", &until.to_string()]).code(code).stdout(stdout);
    }
}

#[test]
fn batches_that_are_too_old_are_not_decompressed() {
    let kdir = Kdir::with_topic("app", &[]);
    for (timestamp, value) in [("@1", "old"), ("@3", "new")] {
        kdir.produce("app", &["-z", "zstd", "--timestamp", timestamp], format!("{}\n", value.repeat(100)));
    }
    make_unreadable(&kdir, 0);
    for args in [&["--since", "@2"][..], &["--from-offset", "1"], &["--tail", "1"]] {
        let expected = format!("{}\n", "new".repeat(100));
        kdir.run(&[&["consume", "app"], args].concat()).code(0).stdout(expected).stderr("");
    }
    kdir.run(&["consume", "app", "--to-offset", "0"]).code(0).stdout("").stderr("");
    kdir.run(&["consume", "app"]).code(4).stdout("").stderr(contains("corrupt"));
}

/// Records of words, with keys and headers of words, over batches of every codec.
fn wordy(chance: &mut Chance) -> Kdir {
    const WORDS: [&str; 8] = ["error", "ERROR", "err", "or", "disk", "x", "\u{e9}", ""];
    let kdir = Kdir::with_topic("app", &[]);
    let words = |chance: &mut Chance, count: u64| {
        let words: Vec<&str> = (0..chance.below(count)).map(|_| chance.of(&WORDS)).collect();
        if words.is_empty() { serde_json::Value::Null } else { words.join(" ").into() }
    };
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let lines: String = (0..2000)
            .map(|number| {
                let value = words(chance, if number % 7 == 0 { 40 } else { 4 });
                let headers = json!([{"key": "h", "value": words(chance, 3)}]);
                format!("{}\n", json!({"value": value, "key": words(chance, 3), "headers": headers}))
            })
            .collect();
        let batch_size = (200 + chance.below(30_000)).to_string();
        kdir.produce("app", &["-i", "json", "-z", codec, "--batch-size", &batch_size], lines);
    }
    kdir
}

#[test]
fn a_filter_finds_what_a_look_at_every_record_finds() {
    let seed = seed();
    println!("KDIR_SEED={seed}");
    let kdir = wordy(&mut Chance::new(seed));
    let records = kdir.records("app");
    let text = |record: &serde_json::Value, part: &str| match part {
        "--header" | "--header-not" => record["headers"][0]["value"].as_str().map(str::to_owned),
        "--key" | "--key-not" => record["key"].as_str().map(str::to_owned),
        _ => record["value"].as_str().map(str::to_owned),
    };
    for pattern in
        ["error", "^error", "error$", "(?i)error", "err|disk", "disk.*x", "nothing", "", ".", "x x x", "\u{e9}"]
    {
        let regex = regex::Regex::new(pattern).unwrap();
        for option in ["--grep", "--grep-not", "--key", "--key-not", "--header", "--header-not"] {
            let is_wanted = |record: &&serde_json::Value| {
                text(record, option).is_some_and(|text| regex.is_match(&text)) != option.ends_with("-not")
            };
            let expected: Vec<i64> =
                records.iter().filter(is_wanted).map(|it| it["offset"].as_i64().unwrap()).collect();
            let argument = if option.starts_with("--header") { format!("h={pattern}") } else { pattern.to_owned() };
            let found = offsets(&kdir, &[&format!("{option}={argument}")]);
            assert_eq!(found, expected, "KDIR_SEED={seed} {option} {pattern:?}");
            let from_the_middle =
                offsets(&kdir, &[&format!("{option}={argument}"), "--from-offset", "5001", "--since", "@1"]);
            let expected: Vec<i64> = expected.into_iter().filter(|&offset| offset >= 5001).collect();
            assert_eq!(from_the_middle, expected, "KDIR_SEED={seed} {option} {pattern:?} from 5001");
        }
    }
}

#[test]
fn key_and_value_are_compared_byte_by_byte() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &["-K", ":"], "a.b:1\naxb:1.5\na:1\na.bc:1x5\n:1\n");
    let values = |args: &[&str]| kdir.text(&[&["consume", "app", "-f", "%k=%s "], args].concat());
    assert_eq!(values(&["--key-is", "a.b"]), "a.b=1 ");
    assert_eq!(values(&["--key-is", ""]), "=1 ");
    assert_eq!(values(&["--value-is", "1.5"]), "axb=1.5 ");
    assert_eq!(values(&["--value-is", "1", "--key-is", "a"]), "a=1 ");
    assert_eq!(values(&["--key-is", "^a$"]), "");
    assert_eq!(values(&["--key-is", "-1"]), "");
    kdir.produce("app", &["-i", "raw"], "two\nlines\n");
    assert_eq!(values(&["--value-is", "two\nlines\n"]), "=two\nlines\n ");
    assert_eq!(values(&["--value-is", "two\nlines"]), "");
}

#[test]
fn records_are_only_counted() {
    let kdir = Kdir::with_topic("app", &["-P", "2"]);
    kdir.produce("app", &[], "a\nb\nb\n\n");
    let count = |args: &[&str]| kdir.text(&[&["consume", "app", "--count"], args].concat());
    assert_eq!(count(&[]), "4\n");
    assert_eq!(count(&["--grep", "b"]), "2\n");
    assert_eq!(count(&["--grep", "x"]), "0\n");
    assert_eq!(count(&["--tail", "3", "-n", "2"]), "2\n");
    assert_eq!(count(&["-F", "-n", "3"]), "3\n");
}

#[test]
fn the_exit_status_says_whether_anything_was_printed_if_it_is_asked_for() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "a\nb\n");
    kdir.run(&["consume", "app", "--grep", "x"]).code(0).stdout("").stderr("");
    kdir.run(&["consume", "app", "--grep", "x", "--exit-status"]).code(1).stdout("").stderr("");
    kdir.run(&["consume", "app", "--grep", "x", "--exit-status", "--count"]).code(1).stdout("0\n").stderr("");
    kdir.run(&["consume", "app", "--grep", "a", "--exit-status"]).code(0).stdout("a\n").stderr("");
    kdir.run(&["consume", "app", "--header", "typo", "--exit-status"]).code(1).stdout("").stderr("");
}

#[test]
fn isolation_is_spelled_as_kafka_spells_it_too() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "a\n");
    for level in ["read_committed", "read-committed", "read_uncommitted", "read-uncommitted"] {
        assert_eq!(kdir.text(&["consume", "app", "--isolation", level]), "a\n");
    }
}
