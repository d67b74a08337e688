//! What must hold for any template and any record: an entry point as those in `entry_points.rs`, for a text from the
//! command line.

use jiff::tz::TimeZone;
use kdir::format::header::TimestampType;
use kdir::format::record::{NewRecord, RecordSpan};
use kdir::stream::json::Located;
use kdir::stream::template::Template;
use kdir::units::{Offset, Timestamp};

/// Summer and winter differ, in what is printed of the zone too.
const ZONE: &str = "CET-1CEST,M3.5.0,M10.5.0/3";
const TOPIC: &str = "t";
/// In place of a length, a part that is null.
const NULL: u8 = 255;
/// A character of a template prints no more than this, but for what the record has: the widest is `%255Y`.
const SIZE_MAX: usize = 64;

/// A template up to the first zero byte, which no argument holds, and a record behind that: its timestamp, and then its
/// key, its value, and the names and values of its headers, each with a byte before it that has its length.
///
/// - What is refused is told in three lines, the last of which has its mark under a character of the template.
/// - What is printed has a bound, and a text without tokens and escapes prints itself.
/// - What comes before does not change what is printed.
pub fn template(input: &[u8]) {
    let end = input.iter().position(|&byte| byte == 0).unwrap_or(input.len());
    let (text, rest) = input.split_at(end);
    let (text, rest) = (String::from_utf8_lossy(text), rest.get(1..).unwrap_or_default());
    let zone = TimeZone::posix(ZONE).expect("a zone as POSIX has it");
    let template = match Template::parse(&text, zone.clone()) {
        Ok(template) => template,
        Err(error) => return mark_is_inside(&error.to_string(), &text),
    };
    let printed = print(&template, rest);
    assert!(printed.len() <= text.len() * (SIZE_MAX + 3 * rest.len()), "{} bytes", printed.len());
    if !text.contains(['%', '\\']) {
        assert_eq!(printed, text.as_bytes());
    }
    // Behind a backslash, the bar is an escape.
    if !text.ends_with('\\') {
        let twice = Template::parse(&format!("{text}|{text}"), zone).expect("each of them is a template");
        assert_eq!(print(&twice, rest), [&printed[..], b"|", &printed].concat());
    }
}

fn mark_is_inside(error: &str, text: &str) {
    let lines: Vec<&str> = error.split('\n').collect();
    let [what, shown, mark] = lines[..] else { panic!("{error}") };
    assert!(!what.contains(char::is_control) && !shown.contains(char::is_control), "{error:?}");
    let (shown, mark) = (&shown[2..], &mark[2..]);
    assert_eq!(shown.chars().count(), text.chars().count(), "{error}");
    assert!((1..=shown.chars().count()).contains(&mark.chars().count()) && mark.trim_start() == "^", "{error}");
}

/// Takes a part off the front.
fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (&length, behind) = rest.split_first()?;
    let (part, behind) = behind.split_at(behind.len().min(if length == NULL { 0 } else { length.into() }));
    *rest = behind;
    (length != NULL).then_some(part)
}

fn print(template: &Template, input: &[u8]) -> Vec<u8> {
    let (timestamp, mut rest) = input.split_at(input.len().min(8));
    let timestamp = timestamp.try_into().map_or(Timestamp::NONE, |bytes| Timestamp(i64::from_be_bytes(bytes)));
    let (key, value) = (part(&mut rest), part(&mut rest));
    let mut headers = Vec::new();
    while !rest.is_empty() {
        headers.push((part(&mut rest).unwrap_or_default(), part(&mut rest)));
    }
    let mut bytes = Vec::new();
    NewRecord { timestamp, key, value, headers: &headers }.write(0, 0, &mut bytes);
    let record = RecordSpan::parse(&bytes, 0).expect("what was written is a record").record(&bytes);
    let (offset, timestamp_type) = (Offset(i64::MAX), TimestampType::CreateTime);
    let mut out = Vec::new();
    let located = Located { topic: TOPIC, partition: i32::MAX, offset, timestamp, timestamp_type, record };
    template.write(&located, &mut out);
    out
}
