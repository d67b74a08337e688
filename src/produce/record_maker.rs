//! From the bytes of a frame to a record.

use super::Result;
use super::error::Problem;
use super::intake::At;
use super::router::Router;
use crate::format::record::NewRecord;
use crate::stream::framing::Framing;
use crate::stream::json::Envelope;
use crate::stream::line_time::{LineTime, LineTimeState, Refusal};
use crate::units::{Timestamp, UnknownZone};
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
    /// Where each record has a time of its own. One without has that of the record before it, as the later lines of a stack
    /// trace do.
    pub line_time: Option<LineTime>,
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
    line_times: &'a mut LineTimeState,
}

impl<'a> RecordMaker<'a> {
    pub(super) fn new(rule: &'a RecordRule, line_times: &'a mut LineTimeState) -> Self {
        Self {
            rule,
            key_finder: rule.key_delimiter.as_ref().map(Finder::new),
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
            || rule.line_time.is_some();
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
        let timestamp = match &self.rule.line_time {
            None => self.rule.timestamp.unwrap_or(router.now),
            Some(line_time) => match line_time.of_record(bytes, router.now, self.line_times) {
                Ok(timestamp) => timestamp,
                Err(refusal) => return router.reject(framed, refused(refusal, at)),
            },
        };
        let record = NewRecord { timestamp, key, value, headers: &self.headers };
        router.add(&record, None, framed, at)
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

#[cold]
fn refused(refusal: Refusal, at: At<'_>) -> Problem {
    let place = at.place();
    match refusal {
        Refusal::NoTime(lacks) => Problem::NoTime { place, lacks },
        Refusal::UnknownZone(UnknownZone(zone)) => Problem::UnknownZone { place, zone },
    }
}
