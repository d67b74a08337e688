//! From the bytes of a frame to a record.

use super::Result;
use super::error::Problem;
use super::intake::At;
use super::router::Router;
use crate::format::record::NewRecord;
use crate::stream::framing::Framing;
use crate::stream::json::Envelope;
use crate::units::{TimeFormat, Timestamp};
use memchr::memmem::Finder;
use std::ops::Range;

/// What a record is made of, beside its bytes.
#[derive(Debug, Clone, Default)]
pub struct RecordRule {
    /// The key of every record.
    pub key: Option<Vec<u8>>,
    /// What stands between key and value of each.
    pub key_delimiter: Option<Vec<u8>>,
    /// On every record.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// The timestamp of every record; otherwise the time when it was read.
    pub timestamp: Option<Timestamp>,
    /// What each record begins with: its own time. One that does not has that of the record before it, as the later lines of
    /// a stack trace do.
    pub time_format: Option<TimeFormat>,
    /// Whether an empty key or value is null.
    pub null_empty: bool,
    /// Whether each record is a JSON envelope.
    pub is_json: bool,
}

/// Makes a record of the bytes of each frame.
pub(super) struct RecordMaker<'a> {
    rule: &'a RecordRule,
    key_finder: Option<Finder<'a>>,
    headers: Vec<(&'a [u8], Option<&'a [u8]>)>,
    /// The time that the last record began with that began with one.
    last_time: Option<Timestamp>,
}

impl<'a> RecordMaker<'a> {
    pub(super) fn new(rule: &'a RecordRule) -> Self {
        Self {
            rule,
            key_finder: rule.key_delimiter.as_ref().map(Finder::new),
            headers: rule.headers.iter().map(|(name, value)| (&**name, value.as_deref())).collect(),
            last_time: None,
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
            || rule.time_format.is_some();
        match framing {
            Framing::Byte(delimiter) if !has_more => Some(*delimiter),
            _ => None,
        }
    }

    /// Makes a record of those of the `framed` bytes that `content` names.
    #[inline]
    pub(super) fn take(&mut self, framed: &[u8], content: Range<usize>, at: At<'_>, router: &mut Router) -> Result<()> {
        let bytes = &framed[content];
        if self.rule.is_json {
            return self.take_envelope(framed, bytes, at, router);
        }
        let (mut key, mut value) = (self.rule.key.as_deref(), Some(bytes));
        if let Some(finder) = &self.key_finder {
            let Some(split) = finder.find(bytes) else {
                let delimiter = String::from_utf8_lossy(finder.needle()).into_owned();
                return router.reject(framed, Problem::NoKeyDelimiter { place: at.place(), delimiter });
            };
            (key, value) = (Some(&bytes[..split]), Some(&bytes[split + finder.needle().len()..]));
        }
        if self.rule.null_empty {
            (key, value) = (key.filter(|key| !key.is_empty()), value.filter(|value| !value.is_empty()));
        }
        let timestamp = match &self.rule.time_format {
            None => self.rule.timestamp.unwrap_or(router.now),
            Some(format) => match self.time(format, bytes, router) {
                Some(timestamp) => timestamp,
                None => {
                    let format = format.as_str().to_owned();
                    return router.reject(framed, Problem::NoTime { place: at.place(), format });
                }
            },
        };
        let record = NewRecord { timestamp, key, value, headers: &self.headers };
        router.add(&record, None, framed, at)
    }

    /// The time of a record: its own, or that of the one before it.
    fn time(&mut self, format: &TimeFormat, bytes: &[u8], router: &mut Router) -> Option<Timestamp> {
        match format.read(bytes, router.now).filter(|time| *time >= Timestamp::NONE) {
            Some(own) => self.last_time = Some(own),
            None => router.taken.untimed += u64::from(self.last_time.is_some()),
        }
        self.last_time
    }

    fn take_envelope(&self, framed: &[u8], bytes: &[u8], at: At<'_>, router: &mut Router) -> Result<()> {
        let refused = |(column, what)| Problem::BadJson { place: at.place(), column, what };
        let envelope = match Envelope::parse(bytes) {
            Ok(envelope) if envelope.timestamp.is_none_or(|timestamp| timestamp >= Timestamp::NONE) => envelope,
            Ok(_) => return router.reject(framed, refused((1, "a timestamp is -1 (none) or later".into()))),
            Err(refusal) => return router.reject(framed, refused(refusal)),
        };
        let headers: Vec<_> = envelope.headers.iter().map(|(name, value)| (&**name, value.as_deref())).collect();
        let record = NewRecord {
            timestamp: envelope.timestamp.or(self.rule.timestamp).unwrap_or(router.now),
            key: envelope.key.as_deref(),
            value: envelope.value.as_deref(),
            headers: &headers,
        };
        router.add(&record, envelope.partition, framed, at)
    }
}
