//! `kdir produce --by-topic`: each envelope goes to the topic that it names.

use crate::support::{Kdir, json_lines};
use predicates::str::{contains, starts_with};
use serde_json::{Value, json};
use std::process::Stdio;

const BY_TOPIC: [&str; 4] = ["produce", "--by-topic", "-i", "json"];

fn with(options: &[&'static str]) -> Vec<&'static str> {
    [&BY_TOPIC[..], options].concat()
}

fn lines(records: &[Value]) -> String {
    records.iter().map(|record| format!("{record}\n")).collect()
}

/// The records of all topics, partition by partition.
fn all(kdir: &Kdir) -> Vec<Value> {
    kdir.json(&["consume", "*", "--order", "partition", "-o", "json"])
}

#[test]
fn several_topics_are_copied_at_once_with_all_that_their_records_have() {
    let kdir = Kdir::with_topic("a", &["-P", "3"]);
    kdir.create("b.c", &["-P", "2"]);
    for topic in ["a", "b.c"] {
        let keyed: String = (0..500).map(|number| format!("k{}:{topic} {number}\n", number % 17)).collect();
        kdir.produce(topic, &["-K", ":", "-H", "h=1", "--timestamp", "@0.001"], keyed);
        kdir.produce(topic, &["-i", "json"], "{\"key\":\"k\",\"value\":null}\n{\"key_b64\":\"/w==\",\"value\":\"\"}\n");
    }
    let envelopes = kdir.stdout(&["consume", "*", "-o", "json"]);
    for options in [&["-z", "zstd"][..], &["--sync", "always"], &["--batch-size", "200", "--sync", "1ms"]] {
        let copy = Kdir::new();
        let run = copy.feed(&with(&[&["--create", "-P", "3"][..], options].concat()), envelopes.clone()).code(0);
        run.stdout("").stderr(contains("to 2 topics (a partition 0: offsets 0 to "));
        assert_eq!(all(&copy), all(&kdir));
        copy.assert_sound();
        // Topics that are there already are written on.
        copy.feed(&with(&["-q"]), envelopes.clone()).code(0);
        assert_eq!(all(&copy).len(), 2 * all(&kdir).len());
    }
}

#[test]
fn a_topic_that_is_missing_is_an_error_by_line_unless_it_is_to_be_made() {
    let kdir = Kdir::with_topic("a", &[]);
    let input = lines(&[
        json!({"topic": "a", "value": "1"}),
        json!({"topic": "b", "value": "2"}),
        json!({"topic": "a", "value": "3"}),
    ]);
    kdir.feed(&with(&["-q"]), input.clone())
        .code(1)
        .stdout("")
        .stderr("kdir: line 2 of stdin is for topic b, which does not exist: --create makes missing topics\n");
    assert_eq!(kdir.values("a"), "1\n");
    let rejects = kdir.file("rejects", "");
    let skipped = kdir.feed(&[&BY_TOPIC[..], &["--rejects", &rejects]].concat(), input.clone()).code(3);
    skipped.stderr(starts_with("warning: rejected: line 2 of stdin is for topic b, which does not exist"));
    assert_eq!(kdir.values("a"), "1\n1\n3\n");
    assert_eq!(std::fs::read_to_string(&rejects).unwrap(), input.lines().nth(1).unwrap().to_owned() + "\n");
    assert_eq!(kdir.text(&["list", "-o", "tsv"]).lines().count(), 1, "nothing was made");
    kdir.feed(&with(&["-q", "--create", "-P", "2"]), input).code(0).stderr("");
    assert_eq!(kdir.values("b"), "2\n");
    assert!(kdir.path("b-1").is_dir());
}

#[test]
fn an_envelope_whose_topic_cannot_be_is_refused_by_line_and_column() {
    let kdir = Kdir::with_topic("a.b", &[]);
    for (line, message) in [
        (r#"{"value":"x"}"#, "line 2 of stdin, column 13: the envelope names no topic"),
        (r#"{"topic":null,"value":"x"}"#, "line 2 of stdin, column 26: the envelope names no topic"),
        (r#"{"value":"x","topic":5}"#, "line 2 of stdin, column 22: the topic 5 is not a string"),
        (r#"{"topic":"","value":"x"}"#, "line 2 of stdin, column 10: topic \"\": a topic name has at least one"),
        (r#"{"topic":"../x","value":"x"}"#, "line 2 of stdin, column 10: topic \"../x\": a topic name has only"),
        (r#"{"topic":"__x","value":"x"}"#, "line 2 of stdin, column 10: topic __x is one of Kafka's own"),
        (r#"{"topic":"a_b","value":"x"}"#, "line 2 of stdin: the topic a_b collides with a.b"),
        (r#"{"topic":"a.b","value":"x","partition":7}"#, "line 2 of stdin is for partition 7, which the topic"),
    ] {
        let input =
            format!("{{\"value\":\"ok\",\"topic\":\"a\\u002eb\"}}\n{line}\n{{\"topic\":\"a.b\",\"value\":\"no\"}}\n");
        let before = kdir.values("a.b").lines().count();
        let run = kdir.feed(&with(&["-q", "--create"]), input).code(1).stdout("");
        run.stderr(starts_with(format!("kdir: {message}")));
        assert_eq!(kdir.values("a.b").lines().count(), before + 1, "{line}");
    }
    assert_eq!(kdir.text(&["list", "-o", "tsv"]).lines().count(), 1, "nothing was made");
}

#[test]
fn each_topic_has_its_own_limits_compression_and_turn() {
    let kdir = Kdir::with_topic("plain", &["-P", "2"]);
    kdir.create("packed", &["-P", "2", "-c", "compression.type=gzip"]);
    kdir.create("compacted", &["-c", "cleanup.policy=compact"]);
    kdir.create("small", &["-c", "max.message.bytes=200"]);
    let large = "x".repeat(5000);
    let mut records = vec![json!({"topic": "compacted", "value": "v"}), json!({"topic": "small", "value": large})];
    for number in 0..4 {
        records.push(json!({"topic": "plain", "value": format!("{number}{large}")}));
        records.push(json!({"topic": "packed", "value": format!("{number}{large}")}));
    }
    records.push(json!({"topic": "small", "value": "s"}));
    let run = kdir.feed(&with(&["--on-error", "skip"]), lines(&records)).code(3);
    run.stderr(contains("line 1 of stdin has no key"))
        .stderr(contains("line 2 of stdin is too large"))
        .stderr(contains("to 3 topics"));
    for (topic, codec) in [("plain", "none"), ("packed", "gzip")] {
        for partition in ["0", "1"] {
            let firsts = kdir.text(&["consume", topic, "-p", partition, "-f", "%s\\n"]).replace('x', "");
            let expected: Vec<String> =
                (0..4).filter(|it| it % 2 == partition.parse::<i32>().unwrap()).map(|it| it.to_string()).collect();
            assert_eq!(firsts.lines().collect::<Vec<_>>(), expected, "{topic}");
            let log = kdir.segment(&format!("{topic}-{partition}"), 0, "log");
            let batches = kdir.json(&["dump", log.to_str().unwrap(), "-o", "json"]);
            assert!(!batches.is_empty() && batches.iter().all(|it| it["codec"] == codec), "{batches:?}");
        }
    }
    assert_eq!(kdir.values("small"), "s\n");
}

#[test]
fn durable_events_name_their_topic_and_the_input_that_is_durable_in_all_of_them() {
    let kdir = Kdir::with_topic("a", &["-P", "2"]);
    kdir.create("b", &[]);
    let records: Vec<Value> =
        (0..2000).map(|number| json!({"topic": (["a", "b", "a"][number % 3]), "value": number.to_string()})).collect();
    let input = lines(&records);
    for sync in ["always", "end", "1ms"] {
        let run = kdir.feed(&with(&["-o", "json", "--batch-size", "1KiB", "--sync", sync]), input.clone()).code(0);
        let events = json_lines(&run.get_output().stdout);
        let (summary, durable) = events.split_last().unwrap();
        let (mut counted, mut of_b) = (0, 0);
        for event in durable {
            let count = event["last_offset"].as_u64().unwrap() - event["base_offset"].as_u64().unwrap() + 1;
            counted += count;
            of_b += if event["topic"] == "b" { count } else { 0 };
            let records = event["input_records"].as_u64().unwrap();
            assert!(records <= counted && records.div_ceil(3) <= of_b + 1, "{sync}: {event}");
            let bytes: usize = input.lines().take(records as usize).map(|line| line.len() + 1).sum();
            assert_eq!(event["input_bytes"], bytes);
        }
        assert_eq!((counted, of_b), (2000, 667), "{sync}");
        assert_eq!((&summary["topic"], &summary["input_records"]), (&json!(null), &json!(2000)));
        let topics: Vec<&Value> = summary["partitions"].as_array().unwrap().iter().map(|it| &it["topic"]).collect();
        assert_eq!(topics, ["a", "a", "b"]);
        assert_eq!(summary["acknowledged"], 2000);
    }
}

#[test]
fn more_topics_than_files_may_be_open_are_written_to_in_turn() {
    let kdir = Kdir::with_topic("t0", &[]);
    let records: Vec<Value> = (0..600)
        .map(|number| json!({"topic": format!("t{}", number % 40), "value": number.to_string(), "key": "k"}))
        .collect();
    let envelopes = kdir.file("envelopes", lines(&records));
    let mut process = kdir.process_with_few_files(90, &with(&["-q", "--create", "-P", "2", "--batch-size", "50"]));
    let input = std::fs::File::open(envelopes).unwrap();
    let output = process.stdin(Stdio::from(input)).output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr)), (Some(0), "".into()));
    for topic in 0..40 {
        let expected: String = (0..15).map(|round| format!("{}\n", round * 40 + topic)).collect();
        assert_eq!(kdir.values(&format!("t{topic}")), expected);
    }
    kdir.assert_sound();
}

#[test]
fn a_topic_beside_by_topic_is_refused_and_so_are_other_formats() {
    let kdir = Kdir::with_topic("a", &[]);
    for (words, message) in [
        (
            &["produce", "a", "--by-topic", "-i", "json"][..],
            "--by-topic takes each topic from its envelope, and the envelopes from stdin: leave out a",
        ),
        (&["produce", "--by-topic"], "--by-topic is about the envelopes of -i json: add that, or name a TOPIC"),
        (&["produce", "-i", "json"], "produce needs TOPIC"),
    ] {
        kdir.feed(words, "{}\n").code(2).stdout("").stderr(starts_with(format!("kdir: {message}")));
    }
}
