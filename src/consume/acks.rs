//! What a reader acknowledges, line by line, of the records that were written to it.
//!
//! ```text
//! ok               the oldest record that is not acknowledged; an empty line is the same
//! P:N              all of partition P up to offset N
//! P=N              the record at offset N of partition P alone
//! TOPIC:P:N        with several topics, and TOPIC:P=N
//! ```
//!
//! The first line says which of the three forms all others have. A position is before the first record that is not
//! acknowledged. What was acknowledged may be so again; what was never written may not.

use super::merge::{Merge, Source};
use super::{ConsumeError, Result};
use crate::units::Offset;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::BorrowedFd;

/// A longer line is none of these.
const LINE_MAX: usize = 1024;

/// The three forms of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Oldest,
    UpTo,
    One,
}

pub(super) struct Acks<'a> {
    input: BorrowedFd<'a>,
    in_flight_max: usize,
    in_flight: InFlight,
    /// The records after them that are not wholly written: source, offset, and where they end in the buffer.
    buffered: VecDeque<(usize, Offset, usize)>,
    /// Where the last record ends that was wholly written of the buffer.
    written_up_to: usize,
    /// The last offset that was written of each source.
    last: HashMap<usize, Offset>,
    form: Option<Form>,
    /// A line of which the end has not come.
    rest: Vec<u8>,
    line: u64,
    has_ended: bool,
    /// Whether something was acknowledged that is not noted.
    has_changed: bool,
}

/// The records that were written and are not acknowledged.
#[derive(Default)]
struct InFlight {
    /// Their offsets by source, one of [`Merge::sources`].
    by_source: HashMap<usize, VecDeque<Offset>>,
    /// The source of each in the order in which they were written, as long as a line may mean the oldest.
    order: Option<VecDeque<usize>>,
    count: usize,
}

impl InFlight {
    fn add(&mut self, place: usize, offset: Offset) {
        self.by_source.entry(place).or_default().push_back(offset);
        if let Some(order) = &mut self.order {
            order.push_back(place);
        }
        self.count += 1;
    }

    /// Takes out the oldest. Returns how many that were.
    fn take_oldest(&mut self) -> usize {
        let place = self.order.as_mut().and_then(VecDeque::pop_front);
        let taken = place.and_then(|place| self.by_source.get_mut(&place)?.pop_front()).iter().count();
        self.count -= taken;
        taken
    }

    /// Takes out those of a source up to an offset. Returns how many that were.
    fn take_up_to(&mut self, place: usize, offset: Offset) -> usize {
        let Some(offsets) = self.by_source.get_mut(&place) else { return 0 };
        let taken = offsets.partition_point(|&it| it <= offset);
        offsets.drain(..taken);
        self.count -= taken;
        taken
    }

    /// Takes out the one of a source with that offset. Returns how many that were.
    fn take_one(&mut self, place: usize, offset: Offset) -> usize {
        let Some(offsets) = self.by_source.get_mut(&place) else { return 0 };
        let taken = offsets.binary_search(&offset).ok().and_then(|at| offsets.remove(at)).iter().count();
        self.count -= taken;
        taken
    }
}

impl<'a> Acks<'a> {
    pub(super) fn new(input: BorrowedFd<'a>, in_flight_max: usize) -> Self {
        Self {
            input,
            in_flight_max: in_flight_max.max(1),
            in_flight: InFlight { order: Some(VecDeque::new()), ..InFlight::default() },
            buffered: VecDeque::new(),
            written_up_to: 0,
            last: HashMap::new(),
            form: None,
            rest: Vec::new(),
            line: 0,
            has_ended: false,
            has_changed: false,
        }
    }

    /// A record is in the buffer, up to `end`.
    pub(super) fn add(&mut self, (place, offset): (usize, Offset), end: usize) {
        self.buffered.push_back((place, offset, end));
    }

    /// So many bytes of the buffer were written: the records that end there can be acknowledged. Where only a part of one was
    /// written, returns where that ends.
    pub(super) fn written(&mut self, bytes: usize) -> Option<usize> {
        while let Some(&(place, offset, end)) = self.buffered.front() {
            if end > bytes {
                return (bytes > self.written_up_to).then_some(end);
            }
            self.buffered.pop_front();
            self.in_flight.add(place, offset);
            self.last.insert(place, offset);
            self.written_up_to = end;
        }
        None
    }

    /// The buffer was emptied.
    pub(super) fn all_written(&mut self) {
        self.written_up_to = 0;
    }

    /// Whether no more may be written before something is acknowledged.
    pub(super) fn is_full(&self) -> bool {
        self.in_flight.count + self.buffered.len() >= self.in_flight_max
    }

    /// How many records were written and are not acknowledged.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.count
    }

    /// Readable when more is acknowledged; `None` once nothing more can be.
    pub(super) fn input(&self) -> Option<BorrowedFd<'a>> {
        (!self.has_ended).then_some(self.input)
    }

    /// Whether the reader will not acknowledge any more.
    pub(super) const fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether something was acknowledged since this was asked last.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// Whether something was acknowledged that [`Self::take_changed`] has not returned.
    pub(super) const fn has_changed(&self) -> bool {
        self.has_changed
    }

    /// The first record of each source that is not acknowledged.
    pub(super) fn first_in_flight(&self) -> HashMap<usize, Offset> {
        let first = |(&place, offsets): (&usize, &VecDeque<Offset>)| Some((place, *offsets.front()?));
        let mut all: HashMap<_, _> = self.in_flight.by_source.iter().filter_map(first).collect();
        for &(place, offset, _) in &self.buffered {
            all.entry(place).or_insert(offset);
        }
        all
    }

    /// Takes what was acknowledged, without a wait.
    pub(super) fn take(&mut self, merge: &Merge) -> Result<()> {
        let mut bytes = [0; 4096];
        while !self.has_ended && self.is_readable()? {
            match rustix::io::read(self.input, &mut bytes) {
                Ok(0) => {
                    self.has_ended = true;
                    // As `printf ok` leaves it. What else has no end may be a part, of another offset, by a reader that died.
                    if std::mem::take(&mut self.rest) == b"ok" {
                        self.take_line(b"ok", merge)?;
                    }
                }
                Ok(count) => self.take_bytes(&bytes[..count], merge)?,
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(ConsumeError::Wait(error.into())),
            }
        }
        Ok(())
    }

    fn is_readable(&self) -> io::Result<bool> {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match poll(&mut [PollFd::from_borrowed_fd(self.input, PollFlags::IN)], Some(&now)) {
            Ok(count) => Ok(count > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn take_bytes(&mut self, mut bytes: &[u8], merge: &Merge) -> Result<()> {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let mut line = std::mem::take(&mut self.rest);
            line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            self.take_line(&line, merge)?;
        }
        self.rest.extend_from_slice(bytes);
        if self.rest.len() > LINE_MAX {
            self.line += 1;
            return Err(self.refused("a line that long".into(), "it is longer than any acknowledgement"));
        }
        Ok(())
    }

    fn take_line(&mut self, line: &[u8], merge: &Merge) -> Result<()> {
        self.line += 1;
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches('\r');
        let refused = |what| self.refused(format!("{text:?}"), what);
        let parsed = parse(text).ok_or_else(|| refused("it is not `ok`, PARTITION:OFFSET or PARTITION=OFFSET"))?;
        if *self.form.get_or_insert(parsed.form) != parsed.form {
            return Err(
                self.refused(format!("{text:?}"), "the first line has another form, and all must have the same")
            );
        }
        if parsed.form == Form::Oldest {
            return match self.in_flight.take_oldest() {
                0 => Err(self.refused(format!("{text:?}"), "all records that were printed are acknowledged")),
                _ => {
                    self.has_changed = true;
                    Ok(())
                }
            };
        }
        self.in_flight.order = None;
        let place = parsed.place_in(merge).map_err(|what| self.refused(format!("{text:?}"), what))?;
        // Another member of the group has the partition by now.
        let Some(place) = place else { return Ok(()) };
        if self.last.get(&place).is_none_or(|&last| parsed.offset > last) {
            return Err(self.refused(format!("{text:?}"), "no record with that offset was printed"));
        }
        let taken = match parsed.form {
            Form::UpTo => self.in_flight.take_up_to(place, parsed.offset),
            _ => self.in_flight.take_one(place, parsed.offset),
        };
        self.has_changed |= taken > 0;
        Ok(())
    }

    /// Waits for no acknowledgement any more of a partition that was given up.
    pub(super) fn forget(&mut self, place: usize) {
        self.in_flight.take_up_to(place, Offset(i64::MAX));
        self.last.remove(&place);
    }

    #[cold]
    fn refused(&self, text: String, what: &'static str) -> ConsumeError {
        ConsumeError::BadAck { line: self.line, text, what }
    }
}

/// A line that was understood.
struct Line<'a> {
    form: Form,
    topic: Option<&'a str>,
    partition: i32,
    offset: Offset,
}

fn parse(text: &str) -> Option<Line<'_>> {
    if matches!(text, "" | "ok") {
        return Some(Line { form: Form::Oldest, topic: None, partition: 0, offset: Offset::ZERO });
    }
    let end = text.rfind([':', '='])?;
    let form = if text[end..].starts_with('=') { Form::One } else { Form::UpTo };
    let (topic, partition) = match text[..end].rsplit_once(':') {
        Some((topic, partition)) => (Some(topic), partition),
        None => (None, &text[..end]),
    };
    let (partition, offset) = (partition.parse().ok()?, text[end + 1..].parse::<i64>().ok()?);
    Some(Line { form, topic, partition, offset: Offset(offset) })
}

impl Line<'_> {
    /// Which of the sources it means; `None` for one that is not read any more.
    fn place_in(&self, merge: &Merge) -> std::result::Result<Option<usize>, &'static str> {
        let sources = merge.sources();
        let is_meant = |source: &Source| {
            source.partition == self.partition && self.topic.is_none_or(|topic| source.topic.as_str() == topic)
        };
        let all = || sources.iter().enumerate().filter(|(_, source)| is_meant(source)).map(|(place, _)| place);
        let mut meant = all().filter(|&place| !merge.is_gone(place));
        match (meant.next(), meant.next()) {
            (Some(place), None) => Ok(Some(place)),
            (Some(_), Some(_)) => Err("several topics have that partition: write TOPIC:PARTITION:OFFSET"),
            (None, _) if all().next().is_some() => Ok(None),
            (None, _) => Err("no such partition is read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_understood_or_refused() {
        for (text, expected) in [
            ("", Some((Form::Oldest, None, 0, 0))),
            ("ok", Some((Form::Oldest, None, 0, 0))),
            ("0:7", Some((Form::UpTo, None, 0, 7))),
            ("12=7", Some((Form::One, None, 12, 7))),
            ("app:1:7", Some((Form::UpTo, Some("app"), 1, 7))),
            ("app:1=7", Some((Form::One, Some("app"), 1, 7))),
            ("OK", None),
            ("7", None),
            ("0:", None),
            (":7", None),
            ("0:7:x", None),
            ("0 : 7", None),
        ] {
            let parsed = parse(text).map(|it| (it.form, it.topic, it.partition, it.offset.0));
            assert_eq!(parsed, expected, "{text}");
        }
    }
}
