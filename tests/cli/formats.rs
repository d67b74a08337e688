//! How `kdir consume` prints records: templates, lengths, delimiters.

use crate::support::Kdir;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, starts_with};
use serde_json::json;

fn one() -> Kdir {
    let kdir = Kdir::with_topic("app", &["-P", "4"]);
    let headers = json!([{"key": "source", "value": "web"}, {"key": "none", "value": null}]);
    let record =
        json!({"value": "v", "key": "key", "headers": headers, "timestamp": 1_700_000_000_123_i64, "partition": 3});
    kdir.produce("app", &["-i", "json"], format!("{record}\n"));
    kdir
}

#[test]
fn a_template_prints_what_it_says_and_nothing_else() {
    let kdir = one();
    for (template, expected) in [
        ("%t-%p@%o %T %k=%s (%K,%S) %h\\n", "app-3@0 1700000000123 key=v (3,1) source=web,none=NULL\n"),
        ("%s", "v"),
        ("%T{%Y-%m-%d %H:%M:%S}|", "2023-11-14 22:13:20|"),
        ("%h{source}%%\\t", "web%\t"),
        ("-%s", "-v"),
        ("", ""),
    ] {
        assert_eq!(kdir.text(&["consume", "app", "-f", template]), expected, "{template}");
    }
    assert_eq!(kdir.stdout(&["consume", "app", "-f", "%R%s\\0"]), b"\0\0\0\x01v\0");
}

#[test]
fn times_in_a_template_are_in_the_zone_of_the_user() {
    let kdir = one();
    let mut consume = kdir.command(&["consume", "app", "-f", "%T{%H:%M:%S.%3f %z}\\n"]);
    consume.env("TZ", "CET-1");
    consume.assert().code(0).stdout("23:13:20.123 +0100\n").stderr("");
}

#[test]
fn what_is_no_template_is_refused_at_the_character() {
    let kdir = one();
    kdir.run(&["consume", "app", "-f", "%s %q"])
        .code(2)
        .stdout("")
        .stderr(starts_with("kdir: --format: %q is no token; the tokens are %s ").and(contains("\n  %s %q\n     ^\n")));
    kdir.run(&["consume", "app", "-f", "100%"]).code(2).stdout("").stderr(contains("\n  100%\n     ^\n"));
    kdir.run(&["consume", "app", "-f", "%T{%Q"]).code(2).stdout("").stderr(contains("never closed"));
    kdir.run(&["consume", "app", "-f", "%s", "-o", "json"]).code(2).stdout("").stderr(contains("cannot be used with"));
    // Nothing is looked at before the template is right.
    kdir.run(&["consume", "nope", "-f", "%q"]).code(2).stdout("").stderr(contains("%q is no token"));
}

#[test]
fn null_empty_and_the_word_null_are_three_things() {
    let kdir = Kdir::with_topic("app", &[]);
    let records = [json!({"value": null}), json!({"value": ""}), json!({"value": "null"})];
    kdir.produce("app", &["-i", "json"], records.map(|record| format!("{record}\n")).concat());
    assert_eq!(kdir.text(&["consume", "app", "-f", "%S:%s:%K,"]), "-1::-1,0::-1,4:null:-1,");
    let values: Vec<_> = kdir.records("app").into_iter().map(|mut record| record["value"].take()).collect();
    assert_eq!(values, [json!(null), json!(""), json!("null")]);
    assert_eq!(kdir.stdout(&["consume", "app", "-f", "%R%s"]), b"\xff\xff\xff\xff\0\0\0\0\0\0\0\x04null");
}
