//! kcat 1.7.1 reads from a broker the files that the program wrote: `consume -f` prints the same bytes as `kcat -f`, and
//! `produce -i json` makes of what `kcat -J` prints the same records.

use crate::broker::{Broker, Kafka};
use crate::histories::{CODECS, FIRST_TIMESTAMP, lines};
use crate::support::Kdir;
use serde_json::{Value, json};
use std::process::{Command, Output};

/// Templates that both understand: each token and each escape alone, and together.
const ALIKE: [&str; 35] = [
    "%s",
    "%S",
    "%R",
    "%k",
    "%K",
    "%T",
    "%h",
    "%t",
    "%p",
    "%o",
    "%%",
    "%t [%p] at %o: key %k (%K bytes), value %s (%S bytes, %R), %T, %h, %%\n",
    "%h%s%k%s%h%o%o",
    "",
    "text alone,",
    "%s\n",
    "\t%s\r\u{1b}",
    "grün %s 漢字 %k ключ 😀",
    "%%s%%%s%%",
    r"%s\n",
    r"%s\t",
    r"%s\r",
    r"%s\\",
    r"%s\x1e",
    r"%s\033",
    r"%s\10",
    r"%s\",
    r"%s|\",
    r"\n\t\r\\\x1e\033\10%s",
    // A backslash before a percent sign escapes nothing.
    r"\%s|\\%s|\\\%s|\%%|\\%%",
    // One before a character of several bytes.
    r"\ü\漢%s",
    // Numbers end at the first character that is no digit of theirs, or at the token.
    r"\9,\8|\078%s,\07%s\1a",
    // This is no number.
    "99999999999999999999",
    "%S%",
    r"%S\%",
];

#[test]
#[ignore = "needs Kafka and kcat: .ci/run brings them"]
fn templates_print_what_kcat_prints_and_lines_of_kcat_make_the_same_records() {
    let version = Command::new("kcat").arg("-V").output().expect("kcat is installed: apt-get install kcat");
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    assert!(version.contains("Version 1.7.1 "), "what other versions print is not known here: {version}");

    let kdir = Kdir::new();
    let mut broker = Broker::start(Kafka::K4, &kdir);
    broker.create("printed", 3, &["retention.ms=-1"]);
    broker.create("nul", 1, &["retention.ms=-1"]);
    broker.stop();
    for codec in CODECS {
        kdir.produce("printed", &["-i", "json", "-z", codec], lines(&records()));
    }
    let headers = json!([{"key": "n\0m", "value": "a\0b"}, {"key": "h", "value": null}]);
    let record = json!({"timestamp": FIRST_TIMESTAMP, "key": "k", "value": "v", "headers": headers});
    kdir.produce("nul", &["-i", "json"], lines(&[record]));
    broker.start_again();

    for template in ALIKE {
        assert_prints_alike(&broker, &kdir, template);
    }
    for (template, theirs, ours) in different() {
        assert_prints_differently(&broker, &kdir, template, theirs, ours);
    }
    // kcat has room for this many tokens and texts, and refuses more.
    let template = "%p".repeat(128);
    assert_prints_alike(&broker, &kdir, &template);
    let (template, ours) = (template + "%p", "0".repeat(129));
    assert_prints_differently(&broker, &kdir, &template, Err(b""), Some(ours.as_bytes()));
    lines_make_the_same_records(&broker, &kdir);
}

/// Every kind of key, value, header and timestamp.
fn records() -> Vec<Value> {
    let parts = [
        json!({"key": null, "value": null}),
        json!({"key": "", "value": ""}),
        json!({"key": "null", "value": "null"}),
        json!({"key": "NULL", "value": "NULL"}),
        json!({"key": "key", "value": "a line\nand another\r\n\ttabs \"quoted\" \\n %s \u{7f}\u{1b}[31m/"}),
        json!({"key": "ключ", "value": "grün 漢字 😀 \u{2028}"}),
        json!({"key_b64": "AP8KAYA=", "value_b64": "/wAKDQAAgP7D"}),
        json!({"key": "nul\0\0", "value": "\0\n\0"}),
    ];
    let headers = [
        json!([]),
        json!([{"key": "h", "value": "1"}]),
        json!([{"key": "h", "value": null}, {"key": "h", "value": ""}, {"key": "h", "value": "2,h=3"}]),
        json!([{"key": "", "value": "é"}, {"key": "ключ", "value": "a\nb"}, {"key": "", "value": "NULL"}]),
        json!([{"key": "b", "value_b64": "gP8="}, {"key_b64": "/w==", "value": "of bytes"}]),
    ];
    let timestamps = [-1, 0, 1, FIRST_TIMESTAMP, 253_402_300_799_999];
    let mut records = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        for (more, headers) in headers.iter().enumerate() {
            let mut record = part.clone();
            record["partition"] = json!(if more == 1 { number % 3 } else { 0 });
            record["timestamp"] = json!(timestamps[(number + more) % timestamps.len()]);
            record["timestamp_type"] = json!("CreateTime");
            record["headers"] = headers.clone();
            records.push(record);
        }
    }
    records
}

/// Templates, with what kcat prints of a record (or prints before it fails), and what the program prints of it, unless it
/// refuses the template.
type Difference = (&'static str, Result<&'static [u8], &'static [u8]>, Option<&'static [u8]>);

/// Where kcat loses what was written, and what it does not know. What it makes of a `\x` at the end of a text is not here:
/// it reads on behind its memory.
fn different() -> Vec<Difference> {
    vec![
        // Hexadecimal numbers that begin with a letter are none to kcat, and others have any number of digits.
        (r"\xff|%s", Ok(b"ff|v"), Some(b"\xff|v")),
        (r"\xe1|%s", Ok(b"e1|v"), Some(b"\xe1|v")),
        (r"\xAb|%s", Ok(b"Ab|v"), Some(b"\xab|v")),
        (r"\x1eab|%s", Ok(b"\xab|v"), Some(b"\x1eab|v")),
        (r"\x041|%s", Ok(b"A|v"), Some(b"\x041|v")),
        (r"\x0x41|%s", Ok(b"A|v"), None),
        // A zero byte ends a text of kcat's, which fails where nothing of it is left.
        (r"a\0b|%s", Ok(b"av"), Some(b"a\0b|v")),
        (r"a\08|%s", Ok(b"av"), Some(b"a\x008|v")),
        (r"a\256b|%s", Ok(b"av"), None),
        (r"%s\n\0", Ok(b"v\n"), Some(b"v\n\0")),
        (r"%s\0", Err(b"v"), Some(b"v\0")),
        (r"\0%s", Err(b""), Some(b"\0v")),
        // And the name and the value of a header.
        ("%h", Ok(b"n=a,h=NULL"), Some(b"n\0m=a\0b,h=NULL")),
        // Tokens that kcat does not have.
        ("%h{h}|", Ok(b"n=a,h=NULL{h}|"), Some(b"|")),
        ("%T{s}|", Ok(b"1700000000000{s}|"), Some(b"s|")),
        ("%T{%Y}|", Err(b""), Some(b"2023|")),
        // What prints nothing of sense.
        (r"%s\q", Ok(b"vq"), None),
        (r"\xg|%s", Ok(b"g|v"), None),
        (r"\x %s", Ok(b" v"), None),
        ("%s%q", Err(b""), None),
        ("%s%", Err(b""), None),
        (r"%s\%", Err(b""), None),
    ]
}

fn kcat(broker: &Broker, topic: &str, options: &[&str]) -> Output {
    let mut command = Command::new("kcat");
    command.args(["-C", "-q", "-e", "-b", &broker.address(), "-t", topic, "-o", "beginning"]);
    // It reads until the end, where a broker waits for more.
    command.args(["-X", "fetch.wait.max.ms=10"]).args(options).output().unwrap()
}

#[track_caller]
fn assert_same(theirs: &[u8], ours: &[u8], template: &str) {
    let same = ours.iter().zip(theirs).take_while(|(our, their)| our == their).count();
    let shown = |bytes: &[u8]| bytes[same..bytes.len().min(same + 60)].escape_ascii().to_string();
    assert_eq!(shown(ours), shown(theirs), "{template}: ours, theirs from byte {same} on");
}

fn assert_prints_alike(broker: &Broker, kdir: &Kdir, template: &str) {
    let theirs = kcat(broker, "printed", &["-p", "0", "-f", template]);
    let mut ours = kdir.command(&["consume", "printed", "-p", "0", "-f", template]);
    let ours = ours.output().unwrap();
    assert_eq!(ours.status.success(), theirs.status.success(), "{template}: {theirs:?}");
    assert_same(&theirs.stdout, &ours.stdout, template);
}

fn assert_prints_differently(
    broker: &Broker,
    kdir: &Kdir,
    template: &str,
    theirs: Result<&[u8], &[u8]>,
    ours: Option<&[u8]>,
) {
    let printed = kcat(broker, "nul", &["-p", "0", "-f", template]);
    assert_eq!(printed.status.success(), theirs.is_ok(), "{template}: {printed:?}");
    assert_same(&printed.stdout, theirs.unwrap_or_else(|before| before), template);
    let printed = kdir.command(&["consume", "nul", "-f", template]).output().unwrap();
    assert_eq!(printed.status.code(), Some(if ours.is_some() { 0 } else { 2 }), "{template}: {printed:?}");
    assert_same(&printed.stdout, ours.unwrap_or_default(), template);
}

fn lines_make_the_same_records(broker: &Broker, kdir: &Kdir) {
    let printed = kcat(broker, "printed", &["-J"]);
    assert!(printed.status.success(), "{printed:?}");
    let copy = Kdir::with_topic("printed", &["-P", "3"]);
    copy.produce("printed", &["-i", "json"], printed.stdout);
    let all = |kdir: &Kdir| kdir.json(&["consume", "printed", "-o", "json", "--order", "partition"]);
    let (ours, theirs) = (all(kdir), all(&copy));
    assert_eq!(ours.len(), records().len() * CODECS.len());
    // Both were read by the same code: what was lost on its way into the first would be missing here as well.
    let of = |partition: u64| (CODECS.iter().flat_map(|_| records())).filter(move |it| it["partition"] == partition);
    for (ours, written) in ours.iter().zip((0..3).flat_map(of)) {
        for (name, part) in written.as_object().unwrap() {
            assert_eq!(ours[name], *part, "{name} of {ours}");
        }
    }
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(theirs, ours);
    }
    assert_eq!(theirs.len(), ours.len());
}
