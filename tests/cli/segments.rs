//! Segments whose offsets are not where their names and indexes can lead to.

use crate::support::{Kdir, json_lines};
use predicates::str::contains;
use std::fs;
use std::path::Path;

const OVERFLOW: [i64; 4] = [0, 5, (1 << 31) + 10, (1 << 32) + 5];

/// The log dir of `tests/data/damaged/f-overflow-int32`, with the topic made kdir's own where that is asked for.
fn overflow(options: &[&str]) -> Kdir {
    let kdir = if options.is_empty() { Kdir::new() } else { Kdir::with_topic("t", options) };
    let name = "t-0/00000000000000000000.log";
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/damaged/f-overflow-int32").join(name);
    fs::create_dir_all(kdir.path("t-0")).unwrap();
    fs::copy(data, kdir.path(name)).unwrap();
    kdir
}

fn problems(kdir: &Kdir) -> (Vec<String>, i32) {
    let output = kdir.command(&["verify", "-q", "-o", "json"]).output().unwrap();
    let row =
        |row: &serde_json::Value| format!("{} {} {}", row["severity"], row["problem"], row["offset"]).replace('"', "");
    (json_lines(&output.stdout).iter().map(row).collect(), output.status.code().unwrap())
}

#[test]
fn offsets_that_no_index_entry_can_hold_are_read_as_brokers_read_them() {
    let kdir = overflow(&[]);
    let offsets: Vec<i64> = OVERFLOW.iter().flat_map(|&base| base..base + 3).collect();
    let lines = |from: usize| offsets[from..].iter().map(|offset| format!("{offset}\n")).collect::<String>();
    assert_eq!(kdir.text(&["consume", "t", "-f", "%o\n"]), lines(0));
    assert_eq!(kdir.text(&["consume", "t", "-f", "%o\n", "--skip-corrupt"]), lines(0));
    assert_eq!(kdir.text(&["consume", "t", "-f", "%o\n", "--isolation", "read-committed"]), lines(0));
    assert_eq!(kdir.text(&["consume", "t", "-f", "%o\n", "--from-offset", "2147483650"]), lines(6));
    assert_eq!(kdir.text(&["consume", "t", "-f", "%o\n", "--tail", "4"]), lines(8));
    assert!(kdir.text(&["describe", "t", "--segments"]).contains(" 4294967304 "));
    assert_eq!(kdir.json(&["describe", "t", "-o", "json"])[0]["log_end_offset"], 4_294_967_304_i64);
    assert_eq!(kdir.json(&["offsets", "t", "--at", "latest", "-o", "json"])[0]["offset"], 4_294_967_304_i64);
    let (found, code) = problems(&kdir);
    assert!(found.contains(&"note offsets-out-of-reach 2147483658".to_owned()) && code == 0, "{found:?}");
}

#[test]
fn a_producer_goes_on_in_a_new_segment_where_no_index_entry_can_hold_the_offset() {
    let kdir = overflow(&["-c", "cleanup.policy=compact", "-c", "index.interval.bytes=0"]);
    let before = fs::read(kdir.segment("t-0", 0, "log")).unwrap();
    for value in ["one", "two"] {
        kdir.produce("t", &["-K", ":"], format!("k:{value}\n"));
    }
    assert_eq!(fs::read(kdir.segment("t-0", 0, "log")).unwrap(), before);
    assert!(kdir.segment("t-0", 4_294_967_304, "log").is_file());
    let text = kdir.text(&["consume", "t", "-f", "%o %s\n", "--tail", "2"]);
    assert_eq!(text, "4294967304 one\n4294967305 two\n");
    assert_eq!(problems(&kdir), (vec!["note offsets-out-of-reach 2147483658".to_owned()], 0));
    let contents = kdir.contents();
    kdir.run(&["repair"]).code(0).stderr(contains("nothing was changed"));
    assert_eq!(kdir.contents(), contents);
}

/// Ten records of one batch each, the last four of them in a second segment as well, with other values.
fn overlap() -> Kdir {
    let kdir = Kdir::with_topic("t", &[]);
    kdir.create("other", &[]);
    for topic in ["t", "other"] {
        let lines: String = (0..10).map(|number| format!("{}{number}\n", &topic[..1])).collect();
        kdir.produce(topic, &["--batch-size", "1"], lines);
    }
    let log = fs::read(kdir.segment("other-0", 0, "log")).unwrap();
    fs::write(kdir.segment("t-0", 6, "log"), &log[log.len() / 10 * 6..]).unwrap();
    kdir.run(&["-q", "delete", "other", "--yes"]).code(0);
    kdir
}

#[test]
fn where_segments_overlap_every_command_goes_by_the_later_one() {
    let kdir = overlap();
    let values = ["t0", "t1", "t2", "t3", "t4", "t5", "o6", "o7", "o8", "o9"];
    let lines = |from: usize| values[from..].iter().map(|value| format!("{value}\n")).collect::<String>();
    for from in 0..10 {
        assert_eq!(kdir.text(&["consume", "t", "--from-offset", &from.to_string()]), lines(from));
        assert_eq!(kdir.text(&["consume", "t", "--tail", &(10 - from).to_string()]), lines(from));
    }
    assert_eq!(kdir.text(&["consume", "t", "--to-offset", "8"]), "t0\nt1\nt2\nt3\nt4\nt5\no6\no7\n");
    assert_eq!(kdir.text(&["consume", "t", "--isolation", "read-committed"]), lines(0));
    assert_eq!(kdir.json(&["describe", "t", "-o", "json"])[0]["log_end_offset"], 10);
    let (found, code) = problems(&kdir);
    assert_eq!(found, ["damaged overlapping-segments 6", "damaged hidden-batches 6"]);
    assert_eq!(code, 4);
    let path = kdir.segment("t-0", 0, "log");
    kdir.run(&["verify"]).code(4).stdout(contains(
        "what is at offsets 6 to 9 is in this file only, or differs in the next one, and is not shown",
    ));
    // Both are there to be compared.
    assert!(kdir.text(&["dump", "--records", path.to_str().unwrap()]).contains("t9"));
}
