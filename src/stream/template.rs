//! Records to bytes by a template, with the tokens and escapes of kcat 1.7.1 (`format.c`).
//!
//! | token | what it prints |
//! | --- | --- |
//! | `%s` `%k` | the value, the key; nothing where it is null |
//! | `%S` `%K` | its length in bytes; -1 where it is null |
//! | `%R` | the length of the value as 4 big-endian bytes |
//! | `%T` | the timestamp, ms since the epoch; -1 where there is none |
//! | `%h` | the headers as `name=value,name=value`; a null value as `NULL` |
//! | `%t` `%p` `%o` | topic, partition, offset |
//! | `%%` | a percent sign |
//! | `%T{FORMAT}` | the time as strftime prints it (ours) |
//! | `%h{NAME}` | the value of the last header of that name; nothing where there is none or it is null (ours) |
//!
//! Escapes: `\n` `\t` `\r`; a number (`\27` decimal, `\033` octal, `\0x1b` hexadecimal) is the byte of that number; any
//! other character after a backslash that is not a letter is itself, and a backslash before a `%` or at the end is one. In four
//! places kcat loses what was written, and this does not: `\xHH` takes two digits of any value (kcat takes those that begin
//! with a decimal digit, and reads on after the second), `\0` is a byte (kcat ends the text there, and fails where nothing of
//! it is left), and so is one in a header's name or value. What would print nothing of sense is refused: a number over 255, of
//! which kcat prints the low eight bits, `\x` without two digits, another letter. A template has any number of tokens and
//! texts; kcat takes 128.

use super::json::Located;
use crate::units::Timestamp;
use jiff::tz::TimeZone;
use std::io::Write;

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Value,
    ValueLength,
    ValueLengthBinary,
    Key,
    KeyLength,
    Timestamp,
    Time(String),
    Headers,
    Header(Vec<u8>),
    Topic,
    Partition,
    Offset,
}

/// How a record is printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
    zone: TimeZone,
}

/// A text that is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}\n  {shown}\n  {:>width$}", "^", width = column)]
pub struct TemplateError {
    what: String,
    shown: String,
    /// In characters, from 1.
    column: usize,
}

const TOKENS: &str = "the tokens are %s %S %R %k %K %T %h %t %p %o %%, %T{FORMAT} and %h{NAME}";

impl Template {
    /// Reads a template; times are printed in `zone`.
    ///
    /// # Errors
    /// When a token or an escape is none, with its place.
    pub fn parse(text: &str, zone: TimeZone) -> Result<Self, TemplateError> {
        let mut template = Self { pieces: Vec::new(), zone };
        let mut rest = text;
        // Byte position of a suffix of `text`, to the error that points there.
        let refuse = |at: &str, what: String| {
            let column = text[..text.len() - at.len()].chars().count() + 1;
            // One character in the terminal for one in the text, so that the mark stands under the right one.
            let shown = text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect();
            TemplateError { what, shown, column }
        };
        while let Some(character) = rest.chars().next() {
            let here = rest;
            match character {
                '%' => {
                    let (piece, after) = token(&rest[1..]).map_err(|what| refuse(here, what))?;
                    if let Piece::Time(format) = &piece {
                        let works = Timestamp(0).print(format, &template.zone, &mut Vec::new());
                        works.map_err(|error| refuse(here, format!("{format:?} is no strftime format: {error}")))?;
                    }
                    template.push(piece);
                    rest = after;
                }
                '\\' => {
                    let (byte, after) = escape(&rest[1..]).map_err(|what| refuse(here, what))?;
                    template.push(Piece::Text(byte));
                    rest = after;
                }
                _ => {
                    let end = rest.find(['%', '\\']).unwrap_or(rest.len());
                    template.push(Piece::Text(rest.as_bytes()[..end].to_vec()));
                    rest = &rest[end..];
                }
            }
        }
        Ok(template)
    }

    /// Adds a piece; text that follows text is one.
    fn push(&mut self, piece: Piece) {
        match (self.pieces.last_mut(), piece) {
            (Some(Piece::Text(before)), Piece::Text(text)) => before.extend_from_slice(&text),
            (_, piece) => self.pieces.push(piece),
        }
    }

    /// Appends a record.
    pub fn write(&self, it: &Located<'_>, out: &mut Vec<u8>) {
        let (key, value) = (it.record.key, it.record.value);
        let length = |part: Option<&[u8]>| part.map_or(-1, |bytes| bytes.len() as i32);
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Value => out.extend_from_slice(value.unwrap_or_default()),
                Piece::ValueLength => number(length(value).into(), out),
                Piece::ValueLengthBinary => out.extend_from_slice(&length(value).to_be_bytes()),
                Piece::Key => out.extend_from_slice(key.unwrap_or_default()),
                Piece::KeyLength => number(length(key).into(), out),
                Piece::Timestamp => number(it.timestamp.0, out),
                Piece::Time(format) => {
                    let printed = it.timestamp.print(format, &self.zone, out);
                    printed.expect("the format was tried when the template was read, and memory takes every write");
                }
                Piece::Headers => headers(it, out),
                Piece::Header(name) => {
                    let last = it.record.headers.iter().filter(|(key, _)| key == name).last();
                    out.extend_from_slice(last.and_then(|(_, value)| value).unwrap_or_default());
                }
                Piece::Topic => out.extend_from_slice(it.topic.as_bytes()),
                Piece::Partition => number(it.partition.into(), out),
                Piece::Offset => number(it.offset.0, out),
            }
        }
    }
}

fn number(number: i64, out: &mut Vec<u8>) {
    write!(out, "{number}").expect("memory takes every write");
}

fn headers(it: &Located<'_>, out: &mut Vec<u8>) {
    for (place, (name, value)) in it.record.headers.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name);
        out.push(b'=');
        out.extend_from_slice(value.unwrap_or(b"NULL"));
    }
}

/// The token that follows a percent sign, and what follows it.
fn token(rest: &str) -> Result<(Piece, &str), String> {
    let mut characters = rest.chars();
    let token = characters.next().ok_or_else(|| format!("nothing follows the %; {TOKENS}"))?;
    let after = characters.as_str();
    let braces = |what: &str| match after.strip_prefix('{') {
        None => Ok(None),
        Some(inner) => match inner.split_once('}') {
            Some(("", _)) => Err(format!("%{token}{{}} names no {what}")),
            Some((inner, after)) => Ok(Some((inner, after))),
            None => Err(format!("the {{ of %{token}{{ is never closed")),
        },
    };
    let piece = match token {
        's' => Piece::Value,
        'S' => Piece::ValueLength,
        'R' => Piece::ValueLengthBinary,
        'k' => Piece::Key,
        'K' => Piece::KeyLength,
        'T' => match braces("format")? {
            Some((format, after)) => return Ok((Piece::Time(format.to_owned()), after)),
            None => Piece::Timestamp,
        },
        'h' => match braces("header")? {
            Some((name, after)) => return Ok((Piece::Header(name.as_bytes().to_vec()), after)),
            None => Piece::Headers,
        },
        't' => Piece::Topic,
        'p' => Piece::Partition,
        'o' => Piece::Offset,
        '%' => Piece::Text(b"%".to_vec()),
        other => {
            // As it is printed to a terminal, where a control character would do something.
            let other = if other.is_control() { other.escape_default().to_string() } else { other.to_string() };
            return Err(format!("%{other} is not a token; {TOKENS}"));
        }
    };
    Ok((piece, after))
}

/// What an escape stands for, and what follows it.
fn escape(rest: &str) -> Result<(Vec<u8>, &str), String> {
    let mut characters = rest.chars();
    // kcat looks for tokens first, and for escapes in the texts between them: none reaches over a percent sign.
    let Some(first) = characters.next().filter(|&it| it != '%') else { return Ok((b"\\".to_vec(), rest)) };
    let after = characters.as_str();
    let digits =
        |text: &str, radix: u32, max: usize| text.chars().take(max).take_while(|it| it.is_digit(radix)).count();
    match first {
        't' => Ok((b"\t".to_vec(), after)),
        'n' => Ok((b"\n".to_vec(), after)),
        'r' => Ok((b"\r".to_vec(), after)),
        'x' => match digits(after, 16, 2) {
            2 => Ok((vec![byte(&after[..2], 16)?], &after[2..])),
            count => Err(format!(r"\x{} is no byte: give two hexadecimal digits, as in \x1e", &after[..count])),
        },
        '0'..='9' => {
            let prefixed = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X"));
            let hexadecimal = prefixed.filter(|text| digits(text, 16, 1) == 1);
            let (text, radix) = match hexadecimal {
                Some(text) => (text, 16),
                None if first == '0' => (rest, 8),
                None => (rest, 10),
            };
            let count = digits(text, radix, usize::MAX);
            Ok((vec![byte(&text[..count], radix)?], &text[count..]))
        }
        other if other.is_ascii_alphabetic() => {
            Err(format!(r"\{other} is no escape: use \n \t \r \\ \xHH or \0 to \255"))
        }
        other => Ok((other.to_string().into_bytes(), after)),
    }
}

fn byte(digits: &str, radix: u32) -> Result<u8, String> {
    let number = u64::from_str_radix(digits, radix).ok().and_then(|it| u8::try_from(it).ok());
    number.ok_or_else(|| format!(r"\{digits} is no byte: numbers go up to 255 (\0377 in octal, \xff)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::header::TimestampType;
    use crate::format::record::{NewRecord, RecordSpan};
    use crate::units::Offset;

    type Header<'a> = (&'a [u8], Option<&'a [u8]>);

    fn printed(template: &str, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header<'_>]) -> Vec<u8> {
        let template = Template::parse(template, TimeZone::fixed(jiff::tz::offset(1))).unwrap();
        let mut bytes = Vec::new();
        NewRecord { timestamp: Timestamp(0), key, value, headers }.write(0, 0, &mut bytes);
        let record = RecordSpan::parse(&bytes, 0).unwrap().record(&bytes);
        let mut out = Vec::new();
        let (offset, timestamp_type, timestamp) = (Offset(42), TimestampType::CreateTime, Timestamp(1_700_000_000_123));
        template.write(&Located { topic: "app", partition: 3, offset, timestamp, timestamp_type, record }, &mut out);
        out
    }

    #[test]
    fn prints_tokens_as_kcat_does() {
        let headers: &[Header<'_>] = &[(b"a", Some(b"1")), (b"b", None), (b"a", Some(b"")), (b"c", Some(b"x=y"))];
        for (template, expected) in [
            ("%s", &b"val\xff"[..]),
            ("%S %K", b"4 3"),
            ("%R", b"\0\0\0\x04"),
            ("%k", b"key"),
            ("%T", b"1700000000123"),
            ("%h", b"a=1,b=NULL,a=,c=x=y"),
            ("%t/%p@%o", b"app/3@42"),
            ("100%%", b"100%"),
            ("%T{%Y-%m-%d %H:%M:%S%.3f %z}", b"2023-11-14 23:13:20.123 +0100"),
            ("%h{a}|%h{b}|%h{c}|%h{d}", b"||x=y|"),
            ("%T{%c|%x|%X|%r}", b"Tue Nov 14 23:13:20 2023|11/14/23|23:13:20|11:13:20 PM"),
            (r"\t\n\r\\\'\", b"\t\n\r\\'\\"),
            (r"\%s|\\%s|\\\%s|\%%", b"\\val\xff|\\val\xff|\\\\val\xff|\\%"),
            (r"\x1e\xff\x09,", b"\x1e\xff\x09,"),
            (r"\10\033\0x1b\0X1bg\0", b"\n\x1b\x1b\x1bg\0"),
            (r"\255", &[255]),
            ("", b""),
            ("ü%%ü", "ü%ü".as_bytes()),
        ] {
            assert_eq!(printed(template, Some(b"key"), Some(b"val\xff"), headers), expected, "{template}");
        }
    }

    #[test]
    fn null_and_empty_differ_in_their_lengths() {
        assert_eq!(printed("%k,%K,%s,%S,%R", None, None, &[]), b",-1,,-1,\xff\xff\xff\xff");
        assert_eq!(printed("%k,%K,%s,%S,%R", Some(b""), Some(b""), &[]), b",0,,0,\0\0\0\0");
        assert_eq!(printed("[%h]", None, None, &[]), b"[]");
    }

    #[test]
    fn what_is_no_template_is_refused_with_its_place() {
        for (template, column, words) in [
            ("%q", 1, "%q is not a token"),
            ("äb %q", 4, "%q is not a token"),
            ("a%", 2, "nothing follows the %"),
            (r"a\%", 3, "nothing follows the %"),
            ("%\x1b", 1, r"%\u{1b} is not a token"),
            ("\n%\n", 2, r"%\n is not a token"),
            ("%T{%Y", 1, "never closed"),
            ("%T{}", 1, "names no format"),
            ("%s %T{%!}", 4, "is no strftime format"),
            ("%h{}", 1, "names no header"),
            (r"ab\xg", 3, r"\x is no byte"),
            (r"\x", 1, r"\x is no byte"),
            (r"\x4 ", 1, r"\x4 is no byte"),
            (r"\256", 1, r"\256 is no byte"),
            (r"\99999999999999999999", 1, "is no byte"),
            (r"a\q", 2, r"\q is no escape"),
        ] {
            let error = Template::parse(template, TimeZone::UTC).unwrap_err();
            assert!(error.what.contains(words), "{template}: {error}");
            assert_eq!(error.column, column, "{template}");
            let shown = error.to_string();
            assert!(!shown.replace('\n', "").contains(char::is_control), "{shown}");
            let mark = shown.lines().last().unwrap();
            assert_eq!(mark.chars().count(), column + 2, "{shown}");
        }
    }
}
