//! The JSON envelope of a record ([`json`](super::json)), read from a line.
//!
//! Lines of `kcat -J` are taken as well: `payload` is the value, `ts` the timestamp, `headers` an array of names and values in
//! turn; `tstype` and `broker` say nothing that counts here. kcat writes bytes that are not UTF-8 as they are, so bytes
//! within a text are taken as they stand.
//!
//! A timestamp before 1990 or after 2100 is most likely one in other units, and refused, unless a `timestamp_type` (or `tstype`)
//! says that it is Kafka's: what was read from a log, which may hold any, is taken again.

use crate::units::Timestamp;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::{DecodeError, Engine, alphabet};
use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::marker::PhantomData;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "H: Deserialize<'de>, V: Deserialize<'de>"))]
struct EnvelopeIn<'a, H, V> {
    /// Looked at only where it counts.
    #[serde(default, borrow)]
    topic: Option<&'a RawValue>,
    #[serde(default)]
    partition: Option<i32>,
    #[serde(default, rename = "offset")]
    _offset: IgnoredAny,
    #[serde(default, alias = "ts")]
    timestamp: Option<i64>,
    #[serde(default, alias = "tstype")]
    timestamp_type: Option<IgnoredAny>,
    #[serde(default, rename = "broker")]
    _broker: IgnoredAny,
    #[serde(default, borrow)]
    key: Option<Text<'a>>,
    #[serde(default, borrow)]
    key_b64: Option<Text<'a>>,
    #[serde(default, alias = "payload", deserialize_with = "present")]
    value: Option<Option<V>>,
    #[serde(default, borrow)]
    value_b64: Option<Text<'a>>,
    #[serde(default)]
    headers: Option<Vec<H>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WholeHeader<'a> {
    #[serde(default, borrow)]
    key: Option<Text<'a>>,
    #[serde(default, borrow)]
    key_b64: Option<Text<'a>>,
    #[serde(default, borrow)]
    value: Option<Text<'a>>,
    #[serde(default, borrow)]
    value_b64: Option<Text<'a>>,
}

/// What kcat has in a header's place: a name, or a value that may be null.
type HalfHeader<'a> = Option<Text<'a>>;

/// What is written as an object: an array of the same fields, which serde takes for a struct too, is none.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object, as in {\"key\":\"k\",\"value\":\"v\"}")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// Text, or the bytes that stand in its place; borrowed from the line where it holds no escape.
struct Text<'a>(Cow<'a, [u8]>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_bytes<E: serde::de::Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(bytes)))
            }

            /// What held an escape.
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                if bytes.windows(2).any(|pair| pair[0] == 0xed && pair[1] >= 0xa0) {
                    return Err(E::custom("half of a surrogate pair is not a character: give such bytes as base64"));
                }
                Ok(Text(Cow::Owned(bytes.to_vec())))
            }
        }
        deserializer.deserialize_bytes(TextVisitor)
    }
}

/// Any JSON, as it is written.
struct JsonText<'a>(&'a RawValue);

impl<'de: 'a, 'a> Deserialize<'de> for JsonText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'a RawValue>::deserialize(deserializer).map(Self)
    }
}

impl<'a> From<JsonText<'a>> for Text<'a> {
    fn from(JsonText(json): JsonText<'a>) -> Self {
        Self(Cow::Borrowed(json.get().as_bytes()))
    }
}

/// The timestamp of an envelope as it is written.
#[derive(Deserialize)]
struct TimestampText<'a> {
    #[serde(borrow, alias = "ts")]
    timestamp: &'a RawValue,
}

/// The column of the timestamp of an envelope.
#[cold]
fn column_of_timestamp(line: &[u8]) -> usize {
    let found = serde_json::from_slice::<TimestampText<'_>>(line).ok();
    found.map_or(1, |it| column_of(it.timestamp.get(), line))
}

/// The column in a line at which a part of it begins.
fn column_of(part: &str, line: &[u8]) -> usize {
    part.as_ptr().addr().saturating_sub(line.as_ptr().addr()) + 1
}

/// A string, borrowed where it holds no escape.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Tells a field that is null from one that is not there.
fn present<'de, V: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<V>>, D::Error> {
    Option::<V>::deserialize(deserializer).map(Some)
}

/// Column and reason of a line that is no envelope.
type Refusal = (usize, String);

/// A header name or value.
type HeaderParts<'a> = (Cow<'a, [u8]>, Option<Cow<'a, [u8]>>);

/// What the value of an envelope is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Values {
    /// A string, whose text is the record's value.
    #[default]
    Text,
    /// Any JSON, which is the record's value as it is written.
    Json,
}

/// A record as an envelope gives it.
#[derive(Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The topic as it is written, where the envelope has one.
    topic: Option<&'a str>,
    /// The partition, where the envelope names one.
    pub partition: Option<i32>,
    /// The timestamp, where the envelope has one.
    pub timestamp: Option<Timestamp>,
    /// The key.
    pub key: Option<Cow<'a, [u8]>>,
    /// The value.
    pub value: Option<Cow<'a, [u8]>>,
    /// The headers, in order.
    pub headers: Vec<HeaderParts<'a>>,
}

impl<'a> Envelope<'a> {
    /// Reads a line.
    ///
    /// # Errors
    /// Column and reason, when it is no envelope.
    pub fn parse(line: &'a [u8], values: Values) -> Result<Self, Refusal> {
        match values {
            Values::Text => Self::parse_with::<Text<'a>>(line),
            Values::Json => Self::parse_with::<JsonText<'a>>(line),
        }
    }

    /// The name of the topic, and its column in the line that this was read from.
    ///
    /// # Errors
    /// When there is none.
    pub fn topic(&self, line: &[u8]) -> Result<(Cow<'a, str>, usize), Refusal> {
        let missing = || (line.len().max(1), "the envelope names no topic".to_owned());
        let written = self.topic.ok_or_else(missing)?;
        let column = column_of(written, line);
        match serde_json::from_str::<Name<'a>>(written) {
            Ok(Name(name)) => Ok((name, column)),
            Err(_) => Err((column, format!("the topic {written} is not a string"))),
        }
    }

    fn parse_with<V: Deserialize<'a> + Into<Text<'a>>>(line: &'a [u8]) -> Result<Self, Refusal> {
        // Two forms rather than an element that is either: only where text is asked for may it hold any bytes.
        match serde_json::from_slice::<Object<EnvelopeIn<'a, Object<WholeHeader<'a>>, V>>>(line) {
            Ok(Object(parsed)) => Self::new(parsed, line, whole_headers),
            Err(error) => match serde_json::from_slice::<Object<EnvelopeIn<'a, HalfHeader<'a>, V>>>(line) {
                Ok(Object(parsed)) => Self::new(parsed, line, half_headers),
                // The form that went further is the one that was meant.
                Err(other) => Err(refusal(line, if other.column() > error.column() { &other } else { &error })),
            },
        }
    }

    fn new<H, V: Into<Text<'a>>>(
        parsed: EnvelopeIn<'a, H, V>,
        line: &[u8],
        headers: MakeHeaders<'a, H>,
    ) -> Result<Self, Refusal> {
        if parsed.value.is_none() && parsed.value_b64.is_none() {
            return Err((line.len().max(1), "an envelope has a value (null for a tombstone), or value_b64".into()));
        }
        let headers = headers(parsed.headers.unwrap_or_default()).map_err(|what| (line.len(), what))?;
        let timestamp = parsed.timestamp.map(Timestamp);
        if let Some(what) = timestamp.and_then(|it| refusal_of_timestamp(it, parsed.timestamp_type.is_some())) {
            return Err((column_of_timestamp(line), what));
        }
        Ok(Self {
            topic: parsed.topic.map(RawValue::get),
            partition: parsed.partition,
            timestamp,
            key: either(parsed.key, parsed.key_b64, "key")?,
            value: either(parsed.value.flatten().map(V::into), parsed.value_b64, "value")?,
            headers,
        })
    }
}

/// Why a timestamp is not taken, where that is so.
fn refusal_of_timestamp(timestamp: Timestamp, is_kafkas: bool) -> Option<String> {
    if timestamp < Timestamp::NONE {
        return Some("a timestamp is -1 (none) or later".into());
    }
    let doubt = timestamp.doubt("add \"timestamp_type\":\"CreateTime\"").filter(|_| !is_kafkas)?;
    Some(format!("timestamp {}: {doubt}", timestamp.0))
}

/// Makes headers of what stands in their place.
type MakeHeaders<'a, H> = fn(Vec<H>) -> Result<Vec<HeaderParts<'a>>, String>;

fn refusal(line: &[u8], error: &serde_json::Error) -> Refusal {
    let start = line.trim_ascii_start();
    if !start.is_empty() && !start.starts_with(b"{") {
        let what = "not a JSON envelope such as {\"value\":\"text\"}; for plain lines leave out -i json".to_owned();
        return (line.len() - start.len() + 1, what);
    }
    let text = error.to_string();
    let what = text.rsplit_once(" at line ").map_or(&*text, |(what, _)| what);
    let what = match (error.classify(), what.strip_prefix("invalid type: ").and_then(|it| it.split_once(", expected ")))
    {
        (Category::Eof, _) => "the line ends within the envelope: one is on one line, as `jq -c` prints it".to_owned(),
        (_, Some((found, expected))) => {
            let named = |what| match what {
                "map" => "an object",
                "sequence" | "a sequence" => "a list",
                what => what,
            };
            format!("expected {}, not {}", named(expected), named(found))
        }
        (_, None) => what.to_owned(),
    };
    (error.column().max(1), what)
}

fn whole_headers(parsed: Vec<Object<WholeHeader<'_>>>) -> Result<Vec<HeaderParts<'_>>, String> {
    let made = parsed.into_iter().map(|Object(it)| {
        let key = either(it.key, it.key_b64, "a header's key").map_err(|(_, what)| what)?;
        let value = either(it.value, it.value_b64, "a header's value").map_err(|(_, what)| what)?;
        Ok((key.ok_or("a header has a key")?, value))
    });
    made.collect()
}

/// Headers of names and values in turn.
fn half_headers(parsed: Vec<HalfHeader<'_>>) -> Result<Vec<HeaderParts<'_>>, String> {
    let mut headers = Vec::new();
    let mut parsed = parsed.into_iter();
    while let Some(name) = parsed.next() {
        let Text(name) = name.ok_or("a header has a name")?;
        let value = parsed.next().ok_or("a header's name is followed by no value")?;
        headers.push((name, value.map(|Text(value)| value)));
    }
    Ok(headers)
}

/// Decodes base64 in either alphabet, padded or not.
fn decode(base64: &[u8]) -> Result<Vec<u8>, DecodeError> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let is_url_safe = memchr::memchr2(b'-', b'_', base64).is_some();
    let alphabet = if is_url_safe { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    GeneralPurpose::new(alphabet, LENIENT).decode(base64)
}

fn either<'a>(text: Option<Text<'a>>, base64: Option<Text<'a>>, what: &str) -> Result<Option<Cow<'a, [u8]>>, Refusal> {
    match (text, base64) {
        (None, None) => Ok(None),
        (Some(Text(text)), None) => Ok(Some(text)),
        (None, Some(Text(base64))) => match decode(&base64) {
            Ok(bytes) => Ok(Some(Cow::Owned(bytes))),
            Err(error) => Err((1, format!("{what} is not base64: {error}"))),
        },
        (Some(_), Some(_)) => Err((1, format!("{what} is given twice, as text and as base64"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::header::TimestampType;
    use crate::format::record::{NewRecord, RecordSpan};
    use crate::stream::json::{Located, write};
    use crate::units::Offset;
    use proptest::prelude::*;

    type Bytes = Option<Vec<u8>>;

    fn through(key: &Bytes, value: &Bytes, headers: &[(Vec<u8>, Bytes)]) -> String {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (&**name, value.as_deref())).collect();
        let new =
            NewRecord { timestamp: Timestamp(7), key: key.as_deref(), value: value.as_deref(), headers: &headers };
        let mut bytes = Vec::new();
        new.write(0, 0, &mut bytes);
        let span = RecordSpan::parse(&bytes, 0).unwrap();
        let (offset, timestamp_type) = (Offset(42), TimestampType::CreateTime);
        let record = span.record(&bytes);
        let mut out = Vec::new();
        write(&Located { topic: "t", partition: 3, offset, timestamp: Timestamp(7), timestamp_type, record }, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_envelope_tells_null_empty_text_and_bytes_apart() {
        let headers = [(b"h".to_vec(), None), (b"h".to_vec(), Some(vec![0xff]))];
        assert_eq!(
            through(&None, &Some(b"a\"\n".to_vec()), &headers),
            concat!(
                r#"{"topic":"t","partition":3,"offset":42,"timestamp":7,"timestamp_type":"CreateTime","key":null,"#,
                r#""value":"a\"\n","headers":[{"key":"h","value":null},{"key":"h","value_b64":"/w=="}]}"#,
                "\n"
            )
        );
        assert!(through(&Some(vec![]), &None, &[]).contains(r#""key":"","value":null,"headers":[]"#));
        assert!(through(&Some(vec![0x80]), &None, &[]).contains(r#""key_b64":"gA==","value":null"#));
    }

    #[test]
    fn a_line_of_kcat_is_an_envelope() {
        let line = concat!(
            r#"{"topic":"app","partition":2,"offset":7,"tstype":"create","ts":1700000000123,"broker":1,"#,
            r#""headers":["a","1","b",null,"a",""],"key":"k","payload":"v\u0000"}"#
        );
        let envelope = Envelope::parse(line.as_bytes(), Values::Text).unwrap();
        assert_eq!((envelope.partition, envelope.timestamp), (Some(2), Some(Timestamp(1_700_000_000_123))));
        assert_eq!((envelope.key.as_deref(), envelope.value.as_deref()), (Some(&b"k"[..]), Some(&b"v\0"[..])));
        let headers: Vec<_> = envelope.headers.iter().map(|(name, value)| (&**name, value.as_deref())).collect();
        assert_eq!(headers, [(&b"a"[..], Some(&b"1"[..])), (b"b", None), (b"a", Some(b""))]);
        let tombstone = Envelope::parse(br#"{"key":null,"payload":null}"#, Values::Text).unwrap();
        assert_eq!((tombstone.key, tombstone.value), (None, None));
        let bytes = Envelope::parse(b"{\"headers\":[\"\xfe\",\"\xfd\"],\"payload\":\"\xff\"}", Values::Text).unwrap();
        assert_eq!(bytes.value.as_deref(), Some(&b"\xff"[..]));
        assert_eq!(bytes.headers, [(Cow::Borrowed(&b"\xfe"[..]), Some(Cow::Borrowed(&b"\xfd"[..])))]);
    }

    #[test]
    fn what_is_no_envelope_is_refused_with_its_column() {
        for (line, column, words) in [
            ("", 1, "ends within"),
            ("{", 1, "ends within"),
            ("plain text", 1, "not a JSON envelope"),
            ("text", 1, "not a JSON envelope"),
            (" nu", 2, "not a JSON envelope"),
            ("2026-11-22 10:00:00 text", 1, "not a JSON envelope"),
            ("\"value\"", 1, "not a JSON envelope"),
            (r#"{"value":1}"#, 10, "expected a string, not integer `1`"),
            (r#"{"key":"k"}"#, 11, "has a value"),
            (r#"{"vlaue":"x"}"#, 8, "unknown field"),
            (r#"{"value":"x","value_b64":"eA=="}"#, 1, "twice"),
            (r#"{"value_b64":"%"}"#, 1, "not base64"),
            (r#"{"value":"x"} trailing"#, 15, "trailing"),
            (r#"{"value":"x","headers":[{"value":"v"}]}"#, 39, "has a key"),
            (r#"{"value":"x","headers":["a"]}"#, 29, "followed by no value"),
            (r#"{"value":"x","headers":["a",{}]}"#, 28, "expected a string, not an object"),
            (
                r#"{"value":"x","headers":[{"key":"a"},"b"]}"#,
                39,
                "expected an object, as in {\"key\":\"k\",\"value\":\"v\"}, not string \"b\"",
            ),
            (r#"{"value":"x","headers":[null,"a"]}"#, 34, "has a name"),
            (r#"{"value":"x","headers":[7]}"#, 25, "not integer `7`"),
            (r#"{"value":"x","headers":[["a",null,"b",null]]}"#, 25, "not a list"),
            (r#"["t",0,1,5,"x",1,"k",null,"v"]"#, 1, "not a JSON envelope"),
            (r#"{"value":"x","payload":"y"}"#, 22, "duplicate field"),
            (r#"{"value":{"a":1}}"#, 9, "expected a string, not an object"),
            (r#"{"value":"x","headers":{"a":"b"}}"#, 23, "expected a list, not an object"),
            (r#"{"value":"\ud800"}"#, 17, "half of a surrogate pair"),
            (r#"{"value":"\"timestamp\":1","timestamp": 1700000000}"#, 41, "as seconds 2023-11-14 22:13:20 UTC"),
            (r#"{"ts":1700000000000000,"payload":"x"}"#, 7, "as microseconds 2023-11-14 22:13:20 UTC"),
            (r#"{"value":"x","timestamp":0}"#, 26, "as milliseconds it is 1970-01-01 00:00:00 UTC"),
            (r#"{"value":"x","timestamp":-2,"timestamp_type":"CreateTime"}"#, 26, "-1 (none) or later"),
        ] {
            let (at, what) = Envelope::parse(line.as_bytes(), Values::Text).unwrap_err();
            assert!(what.contains(words), "{line}: {what}");
            assert_eq!(at, column, "{line}: {what}");
        }
    }

    #[test]
    fn any_timestamp_with_a_type_beside_it_is_taken_as_it_is_read_from_a_log() {
        for (line, timestamp) in [
            (r#"{"value":"x","timestamp":0,"timestamp_type":"CreateTime"}"#, 0),
            (r#"{"timestamp_type":"LogAppendTime","timestamp":1700000000,"value":"x"}"#, 1_700_000_000),
            (r#"{"payload":"x","tstype":"create","ts":9223372036854775807}"#, i64::MAX),
            (r#"{"value":"x","timestamp":-1}"#, -1),
            (r#"{"value":"x","timestamp":631152000000}"#, 631_152_000_000),
        ] {
            let envelope = Envelope::parse(line.as_bytes(), Values::Text).unwrap();
            assert_eq!(envelope.timestamp, Some(Timestamp(timestamp)), "{line}");
        }
    }

    #[test]
    fn a_value_may_be_any_json_as_it_is_written() {
        for (line, value) in [
            (r#"{"value":{"a": [1,2.50,"x\u0041"]}}"#, Some(r#"{"a": [1,2.50,"x\u0041"]}"#)),
            (r#"{"value":"text"}"#, Some(r#""text""#)),
            (r#"{"payload":-0.10}"#, Some("-0.10")),
            (r#"{"value":null}"#, None),
            (r#"{"value_b64":"eA"}"#, Some("x")),
        ] {
            let envelope = Envelope::parse(line.as_bytes(), Values::Json).unwrap();
            assert_eq!(envelope.value.as_deref(), value.map(str::as_bytes), "{line}");
        }
        let (column, what) = Envelope::parse(br#"{"value":{"a":}}"#, Values::Json).unwrap_err();
        assert_eq!((column, what.as_str()), (15, "expected value"));
    }

    #[test]
    fn base64_of_either_alphabet_is_decoded_padded_or_not() {
        for text in ["+/+/", "-_-_", "+/8=", "+/8", "-_8", "-_8="] {
            let line = format!("{{\"value_b64\":\"{text}\"}}");
            let envelope = Envelope::parse(line.as_bytes(), Values::Text).unwrap();
            let expected: &[u8] = if text.len() > 3 && !text.ends_with('=') { b"\xfb\xff\xbf" } else { b"\xfb\xff" };
            assert_eq!(envelope.value.as_deref(), Some(expected), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_record_comes_back_as_it_was(
            key in any::<Bytes>(),
            value in any::<Bytes>(),
            headers in proptest::collection::vec((any::<Vec<u8>>(), any::<Bytes>()), 0..4),
        ) {
            let line = through(&key, &value, &headers);
            let envelope = Envelope::parse(line.trim_end_matches('\n').as_bytes(), Values::Text).unwrap();
            prop_assert_eq!(envelope.partition, Some(3));
            prop_assert_eq!(envelope.timestamp, Some(Timestamp(7)));
            prop_assert_eq!(envelope.key.map(Cow::into_owned), key);
            prop_assert_eq!(envelope.value.map(Cow::into_owned), value);
            let read: Vec<_> = envelope.headers.into_iter()
                .map(|(name, value)| (name.into_owned(), value.map(Cow::into_owned))).collect();
            prop_assert_eq!(read, headers);
        }
    }
}
