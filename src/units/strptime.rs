//! A strftime format for reading, taken apart at its zone: what stands there may have any form.

use super::zone::{self, Zone};
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;

/// Joins what is before a zone to what is after it. No format of a line has it.
const JOINT: char = '\u{1}';
/// More of a text is not read.
pub(super) const TEXT_MAX: usize = 256;

/// A format, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Strptime {
    format: String,
    place: ZonePlace,
}

/// Where a time's zone is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ZonePlace {
    /// Nowhere: it is local, or an abbreviation that only the local zone may have.
    Nowhere,
    /// In the format.
    Format(TimeZone),
    /// In the text, between these two formats; where the second has directives, both are read as one.
    Text { before: String, after: String, joined: Option<String> },
}

/// What a text says.
pub(super) struct Read<'a> {
    pub(super) time: BrokenDownTime,
    pub(super) zone: ReadZone<'a>,
}

/// The zone of a time.
#[derive(Clone, Copy)]
pub(super) enum ReadZone<'a> {
    Local,
    Known(&'a TimeZone),
    /// As the text has it; empty where it is missing.
    Text(&'a [u8]),
}

impl Strptime {
    /// Takes a format apart.
    pub(super) fn new(format: &str) -> Result<Self, String> {
        let mut format = expanded(format);
        let found = directives(&format);
        let has = |letters: &[u8]| found.iter().any(|it| letters.contains(&it.letter));
        if has(b"Il") && !has(b"pP") {
            return Err("hours up to 12 need %p".into());
        }
        if has(b"s") {
            // A fraction is part of the number.
            if found.last().is_some_and(|it| it.letter == b's' && it.end == format.len()) {
                format.push_str("%.f");
            }
            return Ok(Self { format, place: ZonePlace::Nowhere });
        }
        let mut zones = found.iter().filter(|it| b"zZQ".contains(&it.letter));
        let place = match (zones.next(), zones.next()) {
            (Some(_), Some(_)) => return Err("it has two zones: leave one out".into()),
            (Some(zone), None) => {
                let (before, after) = (format[..zone.start].to_owned(), format[zone.end..].to_owned());
                let is_literal = directives(&after).iter().all(|it| it.letter == b'%');
                let joined = (!is_literal).then(|| format!("{before}{JOINT}{after}"));
                ZonePlace::Text { before, after, joined }
            }
            (None, _) => zone_in_format(&format, &found)?.map_or(ZonePlace::Nowhere, ZonePlace::Format),
        };
        Ok(Self { format, place })
    }

    /// Whether times are local unless the text or the format says otherwise.
    pub(super) fn needs_local(&self) -> bool {
        match &self.place {
            ZonePlace::Nowhere => !directives(&self.format).iter().any(|it| it.letter == b's'),
            ZonePlace::Format(_) => false,
            // An abbreviation may be one of the local zone's.
            ZonePlace::Text { before, .. } => {
                !self.format[before.len()..].trim_start_matches(['%', ':']).starts_with('z')
            }
        }
    }

    /// Whether one of several padded formats may fit: an attempt that fails costs more than this.
    pub(super) fn may_fit(&self, text: &[u8]) -> bool {
        let is_digit = text.first().is_some_and(u8::is_ascii_digit);
        match self.format.strip_prefix("%Y-%m-%d") {
            Some(rest) => is_digit && text.get(10) == rest.as_bytes().first(),
            None => !is_digit,
        }
    }

    /// What a text begins with; `None` where that is of another form.
    pub(super) fn read<'a>(&'a self, text: &'a [u8]) -> Option<Read<'a>> {
        let (before, after, joined) = match &self.place {
            ZonePlace::Nowhere => return Some(Read { time: prefix(&self.format, text)?.0, zone: ReadZone::Local }),
            ZonePlace::Format(zone) => {
                return Some(Read { time: prefix(&self.format, text)?.0, zone: ReadZone::Known(zone) });
            }
            ZonePlace::Text { before, after, joined } => (before, after, joined),
        };
        let (mut time, end) = prefix(before, text)?;
        let (head, rest) = text.split_at(end);
        let rest = rest.trim_ascii_start();
        let (zone, tail) = rest.split_at(zone::zone_end(rest));
        let read = match joined {
            None => prefix(after, tail).map(|_| ()),
            Some(joined) => {
                let mut buffer = [0; TEXT_MAX + 1];
                buffer[..head.len()].copy_from_slice(head);
                buffer[head.len()] = JOINT as u8;
                buffer[head.len() + 1..][..tail.len()].copy_from_slice(tail);
                prefix(joined, &buffer[..head.len() + 1 + tail.len()]).map(|(whole, _)| time = whole)
            }
        };
        // A time whose zone is missing is not one of another form, which could have the time of the line before.
        let is_zone = || std::str::from_utf8(zone).is_ok_and(|name| zone::zone(name).is_some());
        (read.is_some() || !is_zone()).then_some(Read { time, zone: ReadZone::Text(zone) })
    }

    /// Why a text that the format itself has printed cannot be read.
    pub(super) fn refusal(&self, printed: &[u8]) -> Option<String> {
        let format = if let ZonePlace::Text { before, .. } = &self.place { before } else { &self.format };
        BrokenDownTime::parse_prefix(format, printed).err().map(|error| error.to_string())
    }
}

fn prefix(format: &str, text: &[u8]) -> Option<(BrokenDownTime, usize)> {
    BrokenDownTime::parse_prefix(format, text).ok()
}

/// A directive of a format, and where it is.
struct Directive {
    start: usize,
    end: usize,
    letter: u8,
}

/// The directives, with flags, width, colons and the dot of a fraction.
fn directives(format: &str) -> Vec<Directive> {
    let (bytes, mut found, mut at) = (format.as_bytes(), Vec::new(), 0);
    while let Some(start) = bytes[at..].iter().position(|&it| it == b'%').map(|place| at + place) {
        let is_option = |it: &&u8| it.is_ascii_digit() || b"_-^#:.".contains(it);
        let letter = start + 1 + bytes[start + 1..].iter().take_while(is_option).count();
        let Some(&byte) = bytes.get(letter) else { break };
        found.push(Directive { start, end: letter + 1, letter: byte });
        at = letter + 1;
    }
    found
}

/// The format with what stands for several directives written out, as in the C locale.
fn expanded(format: &str) -> String {
    let (mut text, mut at) = (String::new(), 0);
    for Directive { start, end, letter } in directives(format) {
        text.push_str(&format[at..start]);
        text.push_str(match letter {
            b'c' => "%a %b %e %H:%M:%S %Y",
            b'x' => "%m/%d/%y",
            b'X' => "%H:%M:%S",
            b'r' => "%I:%M:%S %p",
            // jiff's message is about the directive as it was written; another byte than a letter may be part of a character.
            _ if format.is_char_boundary(end) => &format[start..end],
            _ => {
                at = start;
                break;
            }
        });
        at = end;
    }
    text.push_str(&format[at..]);
    text
}

/// The zone that is part of a format: after the time of day, as in `%TZ`, `%T UTC` and `%T+01:00`.
fn zone_in_format(format: &str, found: &[Directive]) -> Result<Option<TimeZone>, String> {
    for (place, directive) in found.iter().enumerate() {
        if !b"HIklMSTRfNpP".contains(&directive.letter) {
            continue;
        }
        let end = found.get(place + 1).map_or(format.len(), |next| next.start);
        let literal =
            format[directive.end..end].trim_start_matches(|it: char| it.is_ascii_digit() || " :.,([".contains(it));
        let name = &literal[..zone::zone_end(literal.as_bytes())];
        let is_word =
            |known: &TimeZone| !name.contains(|it: char| it.is_ascii_lowercase()) || known.iana_name() == Some(name);
        match zone::zone(name) {
            Some(Zone::Known(known)) if is_word(&known) => return Ok(Some(known)),
            Some(Zone::Unclear) if name.bytes().all(|it| it.is_ascii_uppercase()) => {
                return Err(format!("its zone {name} has several meanings: write an offset, such as +01:00"));
            }
            _ => {}
        }
    }
    Ok(None)
}
