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
    kdir.run(&["consume", "app", "-f", "%s %q"]).code(2).stdout("").stderr(
        starts_with("kdir: --format: %q is not a token; the tokens are %s ").and(contains("\n  %s %q\n     ^\n")),
    );
    kdir.run(&["consume", "app", "-f", "100%"]).code(2).stdout("").stderr(contains("\n  100%\n     ^\n"));
    kdir.run(&["consume", "app", "-f", "%T{%Q"]).code(2).stdout("").stderr(contains("never closed"));
    kdir.run(&["consume", "app", "-f", "%s", "-o", "json"]).code(2).stdout("").stderr(contains("cannot be used with"));
    // Nothing is looked at before the template is right.
    kdir.run(&["consume", "nope", "-f", "%q"]).code(2).stdout("").stderr(contains("%q is not a token"));
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

#[test]
fn rows_of_named_columns_tell_null_from_empty_and_hold_any_text() {
    let kdir = Kdir::with_topic("app", &[]);
    let headers = json!([{"key": "x", "value": "first"}, {"key": "x", "value": "last"}]);
    for record in [
        json!({"value": "a,\"b\"\n", "key": "k\t1", "headers": headers, "timestamp": 1_700_000_000_123_i64}),
        json!({"value": "", "key": null, "timestamp": -1}),
    ] {
        kdir.produce("app", &["-i", "json"], format!("{record}\n"));
    }
    let rows = |args: &[&str]| kdir.text(&[&["consume", "app", "-o"], args].concat());
    assert_eq!(
        rows(&["csv", "--columns", "key,timestamp,value,header:x"]),
        "key,timestamp,value,header:x\nk\t1,1700000000123,\"a,\"\"b\"\"\n\",last\n,,\"\",\n"
    );
    assert_eq!(
        rows(&["tsv", "--columns", "key,time,value,header:x"]),
        "k\\t1\t2023-11-14T22:13:20.123Z\ta,\"b\"\\n\tlast\n\\N\t\\N\t\t\\N\n"
    );
    assert_eq!(rows(&["tsv", "-n", "1"]), "app\t0\t0\t1700000000123\tk\\t1\ta,\"b\"\\n\n");
    kdir.run(&["consume", "app", "-o", "csv", "--columns", "keys"]).code(2).stdout("").stderr(
        "kdir: --columns: \"keys\" is not a column: use topic, partition, offset, timestamp, time, key, value or header:NAME\n",
    );
}

#[test]
fn a_row_of_csv_is_never_a_blank_line() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &["-i", "json"], "{\"value\":null}\n{\"value\":\"\"}\n{\"value\":\"v\"}\n");
    for column in ["value", "key", "header:h"] {
        let rows = kdir.text(&["consume", "app", "-o", "csv", "--columns", column]);
        let third = if column == "value" { "v" } else { "\"\"" };
        assert_eq!(rows, format!("{column}\n\"\"\n\"\"\n{third}\n"));
    }
    assert_eq!(kdir.text(&["consume", "app", "-o", "csv", "--columns", "key,value"]), "key,value\n,\n,\"\"\n,v\n");
}

#[test]
fn the_heading_of_csv_comes_also_where_there_is_no_record() {
    let kdir = Kdir::with_topic("app", &[]);
    let csv = ["consume", "app", "-o", "csv", "--columns", "key,value"];
    assert_eq!(kdir.text(&csv), "key,value\n");
    let cursor = kdir.temp().join("cursor").to_str().unwrap().to_owned();
    let kept = [&csv[..], &["--cursor-file", &cursor]].concat();
    assert_eq!(kdir.text(&kept), "key,value\n");
    kdir.produce("app", &[], "a\nb\n");
    assert_eq!(kdir.text(&kept), "key,value\n,a\n,b\n");
    assert_eq!(kdir.text(&kept), "key,value\n");
}

#[test]
fn hex_shows_each_part_byte_by_byte() {
    let kdir = Kdir::with_topic("app", &[]);
    let record = json!({"value": "0123456789abcdef\u{0}", "headers": [{"key": "h", "value": null}], "timestamp": 7,
                        "timestamp_type": "CreateTime"});
    kdir.produce("app", &["-i", "json"], format!("{record}\n"));
    let shown = "\
app-0 offset 0 timestamp 7
key: null
value: 17 bytes
00000000  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  |0123456789abcdef|
00000010  00                                                |.|
header h: null

";
    assert_eq!(kdir.text(&["consume", "app", "-o", "hex"]), shown);
}

#[test]
fn values_that_are_json_are_printed_as_json_and_come_back_as_they_were() {
    let kdir = Kdir::with_topic("app", &["-P", "1"]);
    let values = ["{\"a\":[1,null]}", "2", "\"text\"", "null", "plain text", "{\"a\": 1.50}"];
    for value in values {
        kdir.produce("app", &["-i", "raw", "-k", "k"], value);
    }
    kdir.produce("app", &["-i", "json"], "{\"key\":\"k\",\"value\":null}\n");
    kdir.produce("app", &["-i", "raw", "-k", "k"], "{\n  \"a\": 1\n}\n");
    let lines = kdir.text(&["consume", "app", "-o", "json", "--value-as", "json"]);
    let shown: Vec<&str> =
        lines.lines().map(|line| &line[line.find(",\"value").unwrap()..line.find(",\"headers").unwrap()]).collect();
    let expected = [
        r#","value":{"a":[1,null]}"#,
        r#","value":2"#,
        r#","value":"text""#,
        r#","value_b64":"bnVsbA==""#,
        r#","value_b64":"cGxhaW4gdGV4dA==""#,
        r#","value":{"a": 1.50}"#,
        r#","value":null"#,
        r#","value":{   "a": 1 } "#,
    ];
    assert_eq!(shown, expected);
    assert!(lines.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{lines}");
    assert_eq!(
        kdir.text(&["consume", "app", "-o", "json", "--value-as", "text"]),
        kdir.text(&["consume", "app", "-o", "json"])
    );
}

#[test]
fn an_option_of_one_form_is_refused_with_another() {
    let kdir = one();
    for (args, message) in [
        (&["-o", "json", "-D", "x"][..], "--delimiter can only be used with -o value"),
        (&["-o", "len32", "-D", "x"], "--delimiter can only be used with -o value"),
        (&["-o", "json", "--columns", "key"], "--columns can only be used with -o csv or tsv"),
        (&["--value-as", "json"], "--value-as can only be used with -o json"),
        (&["--count", "-o", "json"], "--count cannot be used with --output"),
        (&["--count", "--columns", "key"], "--columns can only be used with -o csv or tsv"),
        (&["--idle-timeout", "1s"], "--idle-timeout can only be used with --follow"),
        (
            &["--order", "partition", "--tail", "3"],
            "--tail prints the last records by time: it cannot be used with --order partition",
        ),
    ] {
        kdir.run(&[&["consume", "app"], args].concat())
            .code(2)
            .stdout("")
            .stderr(starts_with(format!("kdir: {message}\n")));
    }
}
