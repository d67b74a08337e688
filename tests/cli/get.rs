//! `kdir get`.

use crate::compact::{compacted, delete, produce, users};
use crate::support::{Kdir, json_lines};

#[test]
fn the_value_of_a_key_is_printed_as_it_is() {
    let kdir = users(&[]);
    kdir.run(&["get", "users", "k1"]).code(0).stdout("value 196\n").stderr("");
    kdir.run(&["get", "users", "k1", "-D", ""]).code(0).stdout("value 196");
    kdir.run(&["get", "users", "k1", "-f", "%o %k %s\\n"]).code(0).stdout("196 k1 value 196\n");
    let run = kdir.run(&["get", "users", "k1", "-o", "json"]).code(0);
    assert_eq!(json_lines(&run.get_output().stdout)[0]["offset"], 196);
    kdir.run(&["get", "users", "nobody"]).code(1).stdout("").stderr("no record of nobody in users-0\n");
    kdir.run(&["-q", "get", "users", "nobody"]).code(1).stdout("").stderr("");
    delete(&kdir, "k1");
    kdir.run(&["get", "users", "k1"]).code(1).stdout("").stderr("k1 was deleted: offset 200 has no value\n");
    // A part of a key is another key.
    kdir.run(&["get", "users", "k"]).code(1).stdout("");
}

#[test]
fn a_key_is_looked_for_where_producers_put_it() {
    let kdir = Kdir::with_topic("users", &["-P", "7"]);
    produce(&kdir, 0..50);
    for number in 45..50 {
        let key = format!("k{}", number % 5);
        kdir.run(&["get", "users", &key]).code(0).stdout(format!("value {number}\n"));
    }
    kdir.produce("users", &["-p", "6", "-k", "elsewhere"], "here\n");
    let partition = kdir.run(&["get", "users", "elsewhere"]).get_output().status.code();
    assert_eq!(partition, Some(1));
    kdir.run(&["get", "users", "elsewhere", "-p", "0,6"]).code(0).stdout("here\n");
    kdir.run(&["get", "users", "k1", "-p", "9"]).code(1);
}

#[test]
fn all_versions_of_a_key_say_why_they_are_there() {
    let kdir = users(&["-c", "min.cleanable.dirty.ratio=0.9"]);
    let states = |key: &str| {
        let run = kdir.run(&["get", "users", key, "--all", "-o", "json"]);
        let rows = json_lines(&run.get_output().stdout);
        let states: Vec<String> = rows.iter().map(|row| row["state"].as_str().unwrap().to_owned()).collect();
        (states, run.get_output().status.code())
    };
    let (found, code) = states("k2");
    assert_eq!((found.len(), code, &found[39][..]), (40, Some(0), "newest"));
    assert_eq!(found[0], "superseded; the next compaction removes it");
    compacted(&kdir, &[]);
    assert_eq!(states("k2").0.first().unwrap(), "superseded by what cannot be compacted yet");
    compacted(&kdir, &["--force", "--roll"]);
    assert_eq!(states("k2").0, ["newest"]);
    produce(&kdir, 200..205);
    assert_eq!(states("k2").0, ["superseded by what cannot be compacted yet", "newest"]);
    delete(&kdir, "k2");
    let (found, code) = states("k2");
    assert_eq!(
        (found[1].as_str(), found[2].as_str(), code),
        ("superseded, in the active segment", "newest: a tombstone", Some(1))
    );
    assert_eq!(states("nobody"), (Vec::new(), Some(1)));
}
