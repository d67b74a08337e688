//! How many records a topic got when, as a picture.

use crate::cli::Context;
use crate::cli::commands::counted;
use crate::cli::exit::Failures;
use crate::cli::report::{Cell, Column, Report, ReportFormat, number, text};
use crate::cli::ui;
use crate::logdir::{LogDirs, Topic};
use crate::storage::batches::each_time;
use crate::units::{ByteSize, TimeUnit, Timestamp};
use jiff::tz::TimeZone;
use jiff::{RoundMode, ToSpan, Unit, ZonedRound};
use std::collections::BTreeMap;

/// How long a bar stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Step {
    Day,
    Hour,
    Minute,
}

impl Step {
    const fn noun(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Minute => "minute",
        }
    }

    const fn format(self) -> &'static str {
        if matches!(self, Self::Day) { "%Y-%m-%d" } else { "%Y-%m-%d %H:%M" }
    }

    /// The stretch that holds a time: its first millisecond and the first behind it. `None` where there is no timestamp or
    /// the calendar does not reach.
    fn stretch(self, timestamp: Timestamp, zone: &TimeZone) -> Option<Stretch> {
        if timestamp == Timestamp::NONE {
            return None;
        }
        let time = jiff::Timestamp::from_millisecond(timestamp.0).ok()?.to_zoned(zone.clone());
        let rounded = |unit| time.round(ZonedRound::new().smallest(unit).mode(RoundMode::Trunc));
        let (start, span) = match self {
            Self::Day => (time.start_of_day().ok()?, 1.day()),
            Self::Hour => (rounded(Unit::Hour).ok()?, 1.hour()),
            Self::Minute => (rounded(Unit::Minute).ok()?, 1.minute()),
        };
        let end = start.checked_add(span).ok()?;
        let at = |time: jiff::Zoned| Timestamp(time.timestamp().as_millisecond());
        Some(Stretch { start: at(start), end: at(end) })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    start: Timestamp,
    end: Timestamp,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Amount {
    records: i64,
    bytes: u64,
}

/// Where in a chart a record belongs, in the order of its lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    NoTimestamp,
    /// The stretch of time that begins here.
    At(Timestamp),
    /// A time that the calendar does not reach: most likely a producer has counted in this unit.
    Beyond(TimeUnit),
}

/// What a topic got in each place, with the smallest timestamp that is there.
type Amounts = BTreeMap<Place, (Timestamp, Amount)>;

const COLUMNS: [Column; 4] =
    [text("topic", "TOPIC"), text("time", "TIME"), number("records", "RECORDS"), number("bytes", "BYTES")];

/// How wide a picture is that does not go to a terminal.
const WIDTH: usize = 80;

/// So many stretches without records are shown one by one; more in a row are one line.
const EMPTY_MAX: usize = 3;

pub(super) fn run(
    log_dirs: &LogDirs,
    topics: &[Topic],
    step: Step,
    format: ReportFormat,
    context: &Context,
    failures: &mut Failures,
) -> anyhow::Result<()> {
    let mut rows = Report::new(context.ui, format, &context.zone, &COLUMNS);
    for topic in topics {
        let amounts = match amounts(log_dirs, topic, step, &context.zone) {
            Ok(amounts) => amounts,
            Err(error) => {
                failures.tell(error);
                continue;
            }
        };
        if format == ReportFormat::Table {
            let picture = Picture {
                step,
                zone: &context.zone,
                width: ui::terminal_width().unwrap_or(WIDTH),
                ticks: ui::is_utf8(),
            };
            context.ui.data(picture.draw(topic.name.as_str(), &amounts).as_bytes())?;
            continue;
        }
        for (place, (smallest, amount)) in amounts {
            let time = match place {
                Place::NoTimestamp => Cell::Nothing,
                Place::At(start) => Cell::Time(start),
                Place::Beyond(_) => Cell::Time(smallest),
            };
            rows.row(vec![Cell::text(&topic.name), time, Cell::Number(amount.records), Cell::Bytes(amount.bytes)])?;
        }
    }
    Ok(rows.finish()?)
}

fn amounts(log_dirs: &LogDirs, topic: &Topic, step: Step, zone: &TimeZone) -> anyhow::Result<Amounts> {
    let mut amounts = Amounts::new();
    let stretches =
        Stretches { step, zone, last: std::cell::Cell::new(Stretch { start: Timestamp(0), end: Timestamp(0) }) };
    for partition in log_dirs.partitions(topic)? {
        each_time(&partition.view()?, &mut |happened| {
            let entry = amounts.entry(stretches.place(happened.timestamp));
            let (smallest, amount) = entry.or_insert((happened.timestamp, Amount::default()));
            *smallest = happened.timestamp.min(*smallest);
            amount.records += happened.records;
            amount.bytes += happened.bytes;
        })?;
    }
    Ok(amounts)
}

/// The stretches of time that records lie in.
struct Stretches<'a> {
    step: Step,
    zone: &'a TimeZone,
    /// Most records lie in that of the one before.
    last: std::cell::Cell<Stretch>,
}

impl Stretches<'_> {
    fn place(&self, timestamp: Timestamp) -> Place {
        let Stretch { start, end } = self.last.get();
        if (start..end).contains(&timestamp) {
            return Place::At(start);
        }
        match self.step.stretch(timestamp, self.zone) {
            Some(stretch) => {
                self.last.set(stretch);
                Place::At(stretch.start)
            }
            None if timestamp.known().is_some() => {
                Place::Beyond(timestamp.likely_unit().unwrap_or(TimeUnit::Microseconds))
            }
            None => Place::NoTimestamp,
        }
    }
}

/// Draws a line for each stretch of time: when, a bar, and the numbers.
struct Picture<'a> {
    step: Step,
    zone: &'a TimeZone,
    width: usize,
    /// Whether bars may be drawn in eighths of a character.
    ticks: bool,
}

impl Picture<'_> {
    fn draw(&self, topic: &str, amounts: &Amounts) -> String {
        let records: i64 = amounts.values().map(|(_, amount)| amount.records).sum();
        let bytes: u64 = amounts.values().map(|(_, amount)| amount.bytes).sum();
        let (records, bytes) = (counted(records as u64, "record"), ByteSize(bytes));
        let mut lines = format!("{topic}: {records}, {bytes}, by {}\n", self.step.noun());
        let largest = amounts.values().map(|(_, amount)| amount.records).max().unwrap_or(0);
        let digits = largest.to_string().len();
        let (mut expected, mut notes) = (None, String::new());
        for (place, (smallest, amount)) in amounts {
            let time = match *place {
                Place::NoTimestamp => "no timestamp".to_owned(),
                Place::At(start) => {
                    if let Some(expected) = expected {
                        self.draw_gap(expected, start, &mut lines);
                    }
                    expected = self.step.stretch(start, self.zone).map(|stretch| stretch.end);
                    self.time(start)
                }
                Place::Beyond(unit) => {
                    let records = counted(amount.records as u64, "record");
                    let first = smallest.to_civil_or_guess(self.zone);
                    notes.push_str(&format!("  far in the future: {records}, {first}\n"));
                    format!("{unit}?")
                }
            };
            let (bytes, label) = (ByteSize(amount.bytes).to_string(), self.label_width(amounts));
            let room = self.width.saturating_sub(label + digits + 17).max(10);
            let bar = self.bar(amount.records, largest, room);
            let line = format!("  {time:<label$}  {bar:<room$}  {:>digits$}  {bytes:>9}", amount.records);
            lines.push_str(line.trim_end());
            lines.push('\n');
        }
        lines + &notes
    }

    /// Draws the stretches without records from `from` up to `to`.
    fn draw_gap(&self, from: Timestamp, to: Timestamp, lines: &mut String) {
        let mut empty = Vec::new();
        let mut at = from;
        while at < to && empty.len() <= EMPTY_MAX {
            empty.push(at);
            let Some(stretch) = self.step.stretch(at, self.zone) else { break };
            at = stretch.end;
        }
        if empty.len() <= EMPTY_MAX {
            empty.iter().for_each(|&start| lines.push_str(&format!("  {}\n", self.time(start))));
        } else {
            lines.push_str(if self.ticks { "  ⋮\n" } else { "  ...\n" });
        }
    }

    fn time(&self, start: Timestamp) -> String {
        let mut printed = Vec::new();
        match start.print(self.step.format(), self.zone, &mut printed) {
            Ok(()) => String::from_utf8_lossy(&printed).into_owned(),
            Err(_) => start.0.to_string(),
        }
    }

    fn label_width(&self, amounts: &Amounts) -> usize {
        let is_beyond = amounts.keys().any(|place| matches!(place, Place::Beyond(_)));
        match self.step {
            Step::Day if is_beyond => 13,
            Step::Day => 12,
            Step::Hour | Step::Minute => 16,
        }
    }

    /// A bar that is never nothing where there is something.
    fn bar(&self, amount: i64, largest: i64, room: usize) -> String {
        let share = amount as f64 / largest.max(1) as f64 * room as f64;
        if !self.ticks {
            return "#".repeat((share.round() as usize).max(usize::from(amount > 0)));
        }
        let eighths = ((share * 8.0).round() as usize).max(usize::from(amount > 0));
        let part = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
        format!("{}{part}", "█".repeat(eighths / 8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn drawn(step: Step, width: usize, ticks: bool, amounts: &[(Option<i64>, i64)]) -> String {
        let amount = |&(start, records): &(Option<i64>, i64)| {
            let timestamp = start.map_or(Timestamp::NONE, Timestamp);
            let place = start.map_or(Place::NoTimestamp, |_| Place::At(timestamp));
            (place, (timestamp, Amount { records, bytes: records as u64 * 100 }))
        };
        let zone = TimeZone::UTC;
        Picture { step, zone: &zone, width, ticks }.draw("app", &amounts.iter().map(amount).collect())
    }

    #[test]
    fn draws_bars_gaps_and_numbers_within_the_width() {
        let amounts = [(None, 1), (Some(0), 80), (Some(2 * HOUR), 40), (Some(100 * HOUR), 3)];
        assert_eq!(
            drawn(Step::Hour, 60, true, &amounts),
            concat!(
                "app: 124 records, 12.1 KiB, by hour\n",
                "  no timestamp      ▍                           1      100 B\n",
                "  1970-01-01 00:00  █████████████████████████  80    7.8 KiB\n",
                "  1970-01-01 01:00\n",
                "  1970-01-01 02:00  ████████████▌              40    3.9 KiB\n",
                "  ⋮\n",
                "  1970-01-05 04:00  █                           3      300 B\n",
            )
        );
        let plain = drawn(Step::Day, 50, false, &[(Some(0), 10), (Some(24 * HOUR), 1)]);
        assert_eq!(
            plain,
            concat!(
                "app: 11 records, 1.1 KiB, by day\n",
                "  1970-01-01    ###################  10     1000 B\n",
                "  1970-01-02    ##                    1      100 B\n",
            )
        );
        assert_eq!(drawn(Step::Day, 80, true, &[]), "app: 0 records, 0 B, by day\n");
    }

    #[test]
    fn stretches_follow_the_local_calendar() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        // The day on which the clock goes back has 25 hours.
        let noon = Timestamp("2026-10-25T12:00:00Z".parse::<jiff::Timestamp>().unwrap().as_millisecond());
        let day = Step::Day.stretch(noon, &zone).unwrap();
        assert_eq!(day.end, day.start + 25 * HOUR);
        for (timestamp, step, length) in [(noon + 59_999, Step::Minute, 60_000), (noon + 1, Step::Hour, HOUR)] {
            let stretch = step.stretch(timestamp, &zone).unwrap();
            assert_eq!(stretch, Stretch { start: noon, end: noon + length });
        }
        assert_eq!(Step::Day.stretch(Timestamp::NONE, &zone), None);
        assert_eq!(Step::Day.stretch(Timestamp(i64::MAX), &zone), None);
    }
}
