//! From the bytes of a frame to a record.

use super::error::{Problem, ProduceError, Result};
use super::intake::At;
use super::router::Router;
use crate::format::record::NewRecord;
use crate::stream::envelope::{Envelope, Values};
use crate::stream::framing::Framing;
use crate::stream::line_time::{LineTime, LineTimeState, Refusal};
use crate::units::{Timestamp, TopicName, UnknownZone};
use memchr::memmem::Finder;
use std::ops::Range;

/// What a record is made of, beside its bytes.
#[derive(Debug, Clone, Default)]
pub struct RecordRule {
    /// The key of every record.
    pub key: Option<Vec<u8>>,
    /// What stands between key and value of each.
    pub key_delimiter: Option<Vec<u8>>,
    /// What ends the headers before that: `name:value,name:value`, as Kafka's console tools have it.
    pub headers_delimiter: Option<Vec<u8>>,
    /// What ends the timestamp before that, in ms since the epoch.
    pub timestamp_delimiter: Option<Vec<u8>>,
    /// On every record.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// When each is to be worked, for who works a queue.
    pub not_before: Option<NotBefore>,
    /// The timestamp of every record; otherwise the time when it was read.
    pub timestamp: Option<Timestamp>,
    /// Where each record has a time of its own. One without has that of the record before it, as the later lines of a stack
    /// trace do.
    pub line_time: Option<LineTime>,
    /// Whether an empty key or value is null.
    pub null_empty: bool,
    /// Whether each record is a JSON envelope.
    pub is_json: bool,
    /// What the value of an envelope is.
    pub values: Values,
    /// Whether each goes to the topic that its envelope names.
    pub by_topic: bool,
}

/// When a record of a queue may be taken at the earliest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotBefore {
    /// At a time.
    At(Timestamp),
    /// So many ms after it was read.
    After(i64),
}

impl NotBefore {
    /// The value of the header that says so: ms since the epoch, as text.
    fn value(self, now: Timestamp) -> String {
        let Timestamp(at) = match self {
            Self::At(time) => time,
            Self::After(delay) => Timestamp(now.0.saturating_add(delay)),
        };
        at.to_string()
    }
}

/// The header of a record that is not to be taken before a time.
pub const NOT_BEFORE: &[u8] = b"not-before";

type KeyAndValue<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);
type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// What finds the fields before the key.
struct FieldFinders<'a> {
    timestamp: Option<Finder<'a>>,
    headers: Option<Finder<'a>>,
}

impl<'a> FieldFinders<'a> {
    fn new(rule: &'a RecordRule) -> Option<Self> {
        let (timestamp, headers) = (rule.timestamp_delimiter.as_ref(), rule.headers_delimiter.as_ref());
        let any = timestamp.is_some() || headers.is_some();
        any.then(|| Self { timestamp: timestamp.map(Finder::new), headers: headers.map(Finder::new) })
    }
}

/// Makes a record of the bytes of each frame.
pub(super) struct RecordMaker<'a> {
    rule: &'a RecordRule,
    key_finder: Option<Finder<'a>>,
    fields: Option<FieldFinders<'a>>,
    headers: Vec<Header<'a>>,
    /// Memory for the headers of a record, its own ones and those of every record.
    all_headers: Vec<Header<'static>>,
    line_times: &'a mut LineTimeState,
}

impl<'a> RecordMaker<'a> {
    pub(super) fn new(rule: &'a RecordRule, line_times: &'a mut LineTimeState) -> Self {
        Self {
            rule,
            key_finder: rule.key_delimiter.as_ref().map(Finder::new),
            fields: FieldFinders::new(rule),
            all_headers: Vec::new(),
            headers: rule.headers.iter().map(|(name, value)| (&**name, value.as_deref())).collect(),
            line_times,
        }
    }

    /// Where each record is a line that has nothing but a value: what ends it.
    pub(super) fn is_plain(&self, framing: &Framing) -> Option<u8> {
        let rule = self.rule;
        let has_more = rule.is_json
            || rule.null_empty
            || rule.key.is_some()
            || !rule.headers.is_empty()
            || rule.key_delimiter.is_some()
            || self.fields.is_some()
            || rule.not_before.is_some()
            || rule.line_time.is_some();
        match framing {
            Framing::Byte(delimiter) if !has_more => Some(*delimiter),
            _ => None,
        }
    }

    /// Makes a record of those of the `framed` bytes that `content` names.
    #[inline(always)]
    pub(super) fn take(&mut self, framed: &[u8], content: Range<usize>, at: At<'_>, router: &mut Router) -> Result<()> {
        let bytes = &framed[content];
        if self.rule.is_json {
            return self.take_envelope(framed, bytes, at, router);
        }
        if self.fields.is_some() || self.rule.not_before.is_some() {
            return self.take_fields(framed, bytes, at, router);
        }
        let (key, value) = match self.key_and_value(bytes, at) {
            Ok(found) => found,
            Err(problem) => return router.reject(framed, problem),
        };
        let timestamp = match self.timestamp(bytes, at, router.now) {
            Ok(timestamp) => timestamp,
            Err(problem) => return router.reject(framed, problem),
        };
        let record = NewRecord { timestamp, key, value, headers: &self.headers };
        router.add(&record, None, framed, at)
    }

    /// The time of a record that has none in a field of its own: that in `bytes`, where it is looked for.
    #[inline(always)]
    fn timestamp(&mut self, bytes: &[u8], at: At<'_>, now: Timestamp) -> std::result::Result<Timestamp, Problem> {
        match &self.rule.line_time {
            None => Ok(self.rule.timestamp.unwrap_or(now)),
            Some(line_time) => {
                line_time.of_record(bytes, now, self.line_times).map_err(|refusal| refused(refusal, bytes, at))
            }
        }
    }

    /// Key and value of what is left when the fields before them are taken off.
    #[inline(always)]
    fn key_and_value<'b>(&self, bytes: &'b [u8], at: At<'_>) -> std::result::Result<KeyAndValue<'b>, Problem>
    where
        'a: 'b,
    {
        let (mut key, mut value) = (self.rule.key.as_deref(), Some(bytes));
        if let Some(finder) = &self.key_finder {
            let Some(split) = finder.find(bytes) else {
                let delimiter = String::from_utf8_lossy(finder.needle()).into_owned();
                return Err(Problem::NoKeyDelimiter { place: at.place(), delimiter });
            };
            (key, value) = (Some(&bytes[..split]), Some(&bytes[split + finder.needle().len()..]));
        }
        if self.rule.null_empty {
            (key, value) = (key.filter(|key| !key.is_empty()), value.filter(|value| !value.is_empty()));
        }
        Ok((key, value))
    }

    /// Makes a record that begins with its timestamp, its headers, or both, or that is not to be worked at once.
    fn take_fields(&mut self, framed: &[u8], bytes: &[u8], at: At<'_>, router: &mut Router) -> Result<()> {
        let not_before = self.rule.not_before.map(|it| it.value(router.now));
        let mut headers = recycled(std::mem::take(&mut self.all_headers));
        headers.extend_from_slice(&self.headers);
        let fields = self.fields(bytes, at, &mut headers).and_then(|(own_time, rest)| {
            let (key, value) = self.key_and_value(rest, at)?;
            let timestamp = match own_time {
                Some(timestamp) => {
                    self.line_times.note(timestamp);
                    timestamp
                }
                None => self.timestamp(rest, at, router.now)?,
            };
            Ok((timestamp, key, value))
        });
        if let Some(not_before) = &not_before {
            replace_not_before(&mut headers, not_before);
        }
        let made = match fields {
            Ok((timestamp, key, value)) => {
                router.add(&NewRecord { timestamp, key, value, headers: &headers }, None, framed, at)
            }
            Err(problem) => router.reject(framed, problem),
        };
        self.all_headers = recycled(headers);
        made
    }

    /// Time, and what is left for key and value; adds the headers to those there are.
    fn fields<'b>(
        &self,
        mut rest: &'b [u8],
        at: At<'_>,
        headers: &mut Vec<Header<'b>>,
    ) -> std::result::Result<(Option<Timestamp>, &'b [u8]), Problem> {
        let (mut timestamp, Some(finders)) = (None, &self.fields) else { return Ok((None, rest)) };
        if let Some(finder) = &finders.timestamp {
            let field = split_off(&mut rest, finder, "timestamp", at)?;
            let own =
                console_timestamp(field).ok_or_else(|| bad_field(at, field, "a timestamp in ms since the epoch"))?;
            timestamp = Some(own);
        }
        if let Some(finder) = &finders.headers {
            let field = split_off(&mut rest, finder, "headers", at)?;
            for header in field.split(|&byte| byte == b',').filter(|_| !field.is_empty() && field != b"NO_HEADERS") {
                let colon = memchr::memchr(b':', header).ok_or_else(|| bad_field(at, header, "a header NAME:VALUE"))?;
                headers.push((&header[..colon], Some(&header[colon + 1..])));
            }
        }
        Ok((timestamp, rest))
    }

    fn take_envelope(&self, framed: &[u8], bytes: &[u8], at: At<'_>, router: &mut Router) -> Result<()> {
        if bytes.trim_ascii().is_empty() {
            // No envelope, and nothing that could be lost.
            router.leave_out(1, framed.len());
            return Ok(());
        }
        if bytes.starts_with(BYTE_ORDER_MARK) {
            return router.reject(framed, Problem::ByteOrderMark { place: at.place() });
        }
        let refused = |(column, what)| Problem::BadJson { place: at.place(), column, what };
        let envelope = match Envelope::parse(bytes, self.rule.values) {
            Ok(envelope) => envelope,
            Err(refusal) => return router.reject(framed, refused(refusal)),
        };
        if self.rule.by_topic {
            match go_to_topic_of(&envelope, bytes, at, router) {
                Err(ProduceError::Refused(problem)) => return router.reject(framed, problem),
                gone => gone?,
            }
        }
        let not_before = self.rule.not_before.map(|it| it.value(router.now));
        let mut headers: Vec<Header<'_>> =
            envelope.headers.iter().map(|(name, value)| (&**name, value.as_deref())).collect();
        if let Some(not_before) = &not_before {
            replace_not_before(&mut headers, not_before);
        }
        let record = NewRecord {
            timestamp: envelope.timestamp.or(self.rule.timestamp).unwrap_or(router.now),
            key: envelope.key.as_deref(),
            value: envelope.value.as_deref(),
            headers: &headers,
        };
        router.add(&record, envelope.partition, framed, at)
    }
}

/// Has the record of an envelope go to the topic that it names.
fn go_to_topic_of(envelope: &Envelope<'_>, line: &[u8], at: At<'_>, router: &mut Router) -> Result<()> {
    let refused = |(column, what)| Problem::BadJson { place: at.place(), column, what };
    let (name, column) = envelope.topic(line).map_err(refused)?;
    if router.topics.as_ref().is_some_and(|topics| topics.is_current(&name)) {
        return Ok(());
    }
    let topic: TopicName = name.parse().map_err(|error| refused((column, format!("topic {name:?}: {error}"))))?;
    if topic.is_internal() {
        return Err(refused((column, format!("topic {topic} is one of Kafka's own, and none to copy to"))).into());
    }
    router.go_to(&topic, at)
}

#[cold]
fn refused(refusal: Refusal, line: &[u8], at: At<'_>) -> Problem {
    let place = at.place();
    match refusal {
        Refusal::NoTime(_) if line.starts_with(BYTE_ORDER_MARK) => Problem::ByteOrderMark { place },
        Refusal::NoTime(lacks) => Problem::NoTime { place, lacks },
        Refusal::UnknownZone(UnknownZone(zone)) => Problem::UnknownZone { place, zone },
    }
}

/// What some editors put at the front of a text in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The same memory for headers of another record.
fn recycled<'b>(mut headers: Vec<Header<'_>>) -> Vec<Header<'b>> {
    headers.clear();
    // An empty vector of the same layout: the memory stays.
    headers.into_iter().map(|_| -> Header<'b> { unreachable!("it was cleared") }).collect()
}

/// Takes a field and its delimiter off the front.
fn split_off<'b>(
    rest: &mut &'b [u8],
    finder: &Finder<'_>,
    field: &'static str,
    at: At<'_>,
) -> std::result::Result<&'b [u8], Problem> {
    let Some(end) = finder.find(rest) else {
        let delimiter = String::from_utf8_lossy(finder.needle()).into_owned();
        return Err(Problem::NoFieldDelimiter { place: at.place(), field, delimiter });
    };
    let found = &rest[..end];
    *rest = &rest[end + finder.needle().len()..];
    Ok(found)
}

/// The last word on when a record may be taken is that of the run that stores it.
fn replace_not_before<'a>(headers: &mut Vec<Header<'a>>, not_before: &'a str) {
    headers.retain(|(name, _)| *name != NOT_BEFORE);
    headers.push((NOT_BEFORE, Some(not_before.as_bytes())));
}

/// A timestamp as Kafka's console consumer prints it, with the type before it, or the number alone.
fn console_timestamp(field: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(field).ok()?;
    if text == "NO_TIMESTAMP" {
        return Some(Timestamp::NONE);
    }
    let number = text.strip_prefix("CreateTime:").or_else(|| text.strip_prefix("LogAppendTime:")).unwrap_or(text);
    number.parse().ok().map(Timestamp).filter(|timestamp| *timestamp >= Timestamp::NONE)
}

fn bad_field(at: At<'_>, field: &[u8], expected: &'static str) -> Problem {
    const SHOWN_MAX: usize = 64;
    let text = String::from_utf8_lossy(&field[..field.len().min(SHOWN_MAX)]).into_owned();
    Problem::BadField { place: at.place(), text, expected }
}
