//! Rows to a table, JSON or TSV. A command gives rows, never a rendered table.
//!
//! JSON is one object a line; TSV has no header line, so that it goes straight into `cut` and `awk`. Both give plain
//! numbers: bytes, and milliseconds since the epoch. A table gives sizes and times as a person reads them, times in
//! the local zone. On a terminal that is too narrow for it, it is without seconds first, then without the columns that say
//! they can go; what is still too wide is wrapped, but never within a word.

use super::ui::{self, OutputError, Ui};
use crate::units::{ByteSize, Duration, LocalZone, Timestamp};
use comfy_table::{Attribute, CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};
use serde_json::{Map, Value};

/// The form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ReportFormat {
    /// Columns for a person
    Table,
    /// One JSON object a line
    Json,
    /// Tab-separated columns without a header
    Tsv,
}

/// The option that every command with a report has.
#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// Form of the output
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: ReportFormat,
}

/// A value in a row.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    Text(String),
    Number(i64),
    Bytes(u64),
    /// From 0 to 1.
    Ratio(f64),
    Time(Timestamp),
    /// A time, and now: where there is little room, as few characters as tell how far apart the two are.
    Moment(Timestamp, Timestamp),
    /// How long ago something was.
    Age(Duration),
    /// There may be fewer.
    AtMost(i64),
    /// There is a record, and it has no timestamp.
    NoTimestamp,
    /// Shown in JSON only.
    Json(Value),
    /// There is none.
    Nothing,
}

/// A text whose control characters are shown as escapes: what a client has chosen as the id of a group is not for a terminal.
fn visible(text: &str) -> String {
    let shown = |it: char| if it.is_control() { it.escape_default().to_string() } else { it.to_string() };
    if text.contains(char::is_control) { text.chars().map(shown).collect() } else { text.to_owned() }
}

impl Cell {
    pub(crate) fn text(text: impl std::fmt::Display) -> Self {
        Self::Text(text.to_string())
    }

    pub(crate) fn time(timestamp: Option<Timestamp>) -> Self {
        match timestamp {
            Some(Timestamp::NONE) => Self::NoTimestamp,
            Some(timestamp) => Self::Time(timestamp),
            None => Self::Nothing,
        }
    }

    /// A time that is shown short where there is little room.
    pub(crate) fn moment(timestamp: Option<Timestamp>, now: Timestamp) -> Self {
        match timestamp {
            Some(timestamp) if timestamp != Timestamp::NONE => Self::Moment(timestamp, now),
            _ => Self::Nothing,
        }
    }

    fn shown(&self, zone: &LocalZone, with_seconds: bool) -> String {
        match self {
            Self::Text(text) => visible(text),
            Self::Number(number) => number.to_string(),
            Self::AtMost(number) => format!("{} {number}", if ui::is_utf8() { "≤" } else { "<=" }),
            Self::NoTimestamp => "no timestamp".into(),
            Self::Bytes(bytes) => ByteSize(*bytes).to_string(),
            Self::Ratio(ratio) => format!("{ratio:.2}"),
            Self::Time(timestamp) => {
                let mut shown = timestamp.to_civil_or_year(zone);
                if !with_seconds && let Some(minutes) = shown.rfind(':').filter(|_| shown.matches(':').count() == 2) {
                    shown.truncate(minutes);
                }
                shown
            }
            Self::Moment(timestamp, now) if !with_seconds => short_time(*timestamp, *now, zone),
            Self::Moment(timestamp, _) => timestamp.to_civil_or_year(zone),
            Self::Age(age) => age.rounded().to_string(),
            Self::Json(_) => String::new(),
            Self::Nothing => "-".into(),
        }
    }

    fn plain(&self) -> String {
        match self {
            // Each text is another one, and one field.
            Self::Text(text) => visible(&text.replace('\\', "\\\\")),
            Self::Number(number)
            | Self::AtMost(number)
            | Self::Age(Duration(number))
            | Self::Time(Timestamp(number))
            | Self::Moment(Timestamp(number), _) => number.to_string(),
            Self::Bytes(bytes) => bytes.to_string(),
            Self::Ratio(ratio) => format!("{ratio:.4}"),
            Self::Json(_) | Self::NoTimestamp | Self::Nothing => String::new(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Number(number)
            | Self::AtMost(number)
            | Self::Age(Duration(number))
            | Self::Time(Timestamp(number))
            | Self::Moment(Timestamp(number), _) => (*number).into(),
            Self::Bytes(bytes) => (*bytes).into(),
            Self::Ratio(ratio) => ((ratio * 10_000.0).round() / 10_000.0).into(),
            Self::Json(value) => value.clone(),
            Self::NoTimestamp | Self::Nothing => Value::Null,
        }
    }
}

/// `10:05` of today, `11-22` of the months around, else the year.
fn short_time(timestamp: Timestamp, now: Timestamp, zone: &LocalZone) -> String {
    const MONTHS_AROUND_MS: i128 = 300 * 86_400_000;
    let (shown, today) = (timestamp.to_civil_or_year(zone), now.to_civil(zone));
    let (Some((date, time)), Some((today, _))) = (shown.split_once(' '), today.split_once(' ')) else { return shown };
    if shown.starts_with("year ") {
        return shown;
    }
    let short = match timestamp.since(now).abs() {
        _ if date == today => time.get(..5),
        apart if apart < MONTHS_AROUND_MS => date.get(5..),
        _ => date.get(..4),
    };
    short.unwrap_or(&shown).to_owned()
}

/// A column: its name in JSON, and its heading in a table; an empty heading keeps it out of tables.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    name: &'static str,
    heading: &'static str,
    is_number: bool,
    in_tsv: bool,
    /// As which one it goes where a table is too wide; 0 stays.
    leaves: u8,
}

impl Column {
    /// The same, but left out of a table that is too wide: before those of a higher number.
    pub(crate) const fn leaves(self, order: u8) -> Self {
        Self { leaves: order, ..self }
    }
}

/// A column of text.
pub(crate) const fn text(name: &'static str, heading: &'static str) -> Column {
    Column { name, heading, is_number: false, in_tsv: true, leaves: 0 }
}

/// A column of numbers.
pub(crate) const fn number(name: &'static str, heading: &'static str) -> Column {
    Column { name, heading, is_number: true, in_tsv: true, leaves: 0 }
}

/// A column that only JSON has.
pub(crate) const fn json_only(name: &'static str) -> Column {
    Column { name, heading: "", is_number: false, in_tsv: false, leaves: 0 }
}

/// Writes rows in the form that the user asked for.
pub(crate) struct Report<'a> {
    ui: Ui,
    format: ReportFormat,
    zone: &'a LocalZone,
    columns: &'a [Column],
    rows: Vec<Vec<Cell>>,
    /// The columns of the terminal.
    room: Option<usize>,
    /// As the part of the table was laid out that has been rendered.
    layout: Option<Layout>,
    /// How wide each column was in the part of the table that has been rendered.
    widths: Vec<u16>,
    buffer: Vec<u8>,
}

/// What of the columns a table shows.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Layout {
    shown: Vec<usize>,
    with_seconds: bool,
}

/// Blanks between two columns.
const GAP: usize = 2;

/// Rows of a table that are rendered together: a longer one is written in parts, so that memory stays within bounds.
const TABLE_ROWS: usize = 4096;
const FLUSH_SIZE: usize = 64 << 10;

impl<'a> Report<'a> {
    pub(crate) fn new(ui: Ui, format: ReportFormat, zone: &'a LocalZone, columns: &'a [Column]) -> Self {
        let room = ui::terminal_width();
        let (rows, widths, buffer) = (Vec::new(), Vec::new(), Vec::new());
        Self { ui, format, zone, columns, rows, room, layout: None, widths, buffer }
    }

    /// Adds a row: one cell a column. JSON and TSV are written as they come, a table in parts of many rows.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) -> Result<(), OutputError> {
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        match self.format {
            ReportFormat::Table => {
                self.rows.push(cells);
                if self.rows.len() >= TABLE_ROWS {
                    self.write_table();
                }
                return self.flush_if_full();
            }
            ReportFormat::Json => {
                let fields =
                    self.columns.iter().zip(&cells).map(|(column, cell)| (column.name.to_owned(), cell.json()));
                let object = Value::Object(fields.collect::<Map<_, _>>());
                self.buffer.extend_from_slice(object.to_string().as_bytes());
            }
            ReportFormat::Tsv => {
                let shown = self.columns.iter().zip(&cells).filter(|(column, _)| column.in_tsv);
                let line: Vec<String> = shown.map(|(_, cell)| cell.plain()).collect();
                self.buffer.extend_from_slice(line.join("\t").as_bytes());
            }
        }
        self.buffer.push(b'\n');
        self.flush_if_full()
    }

    fn flush_if_full(&mut self) -> Result<(), OutputError> {
        if self.buffer.len() >= FLUSH_SIZE { self.flush() } else { Ok(()) }
    }

    /// Writes what is left. A table without rows is nothing.
    pub(crate) fn finish(mut self) -> Result<(), OutputError> {
        if !self.rows.is_empty() {
            self.write_table();
        }
        self.flush()
    }

    /// Renders the rows at hand, below those rendered before if there are any: columns then stay at least as wide.
    fn write_table(&mut self) {
        let layout = self.layout.take().unwrap_or_else(|| self.lay_out());
        let table = self.table(&layout);
        self.layout = Some(layout);
        let heading = usize::from(!self.widths.is_empty());
        for line in table.lines().skip(heading) {
            self.buffer.extend_from_slice(line.trim_end().as_bytes());
            self.buffer.push(b'\n');
        }
        self.widths = table.column_max_content_widths();
        self.rows.clear();
    }

    fn flush(&mut self) -> Result<(), OutputError> {
        self.ui.data(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// The first of all layouts that fits, from the widest on.
    fn lay_out(&self) -> Layout {
        let has_heading = |&at: &usize| !self.columns[at].heading.is_empty();
        let mut layout = Layout { shown: (0..self.columns.len()).filter(has_heading).collect(), with_seconds: true };
        let Some(room) = self.room else { return layout };
        while self.natural_width(&layout) > room {
            if std::mem::take(&mut layout.with_seconds) {
                continue;
            }
            let order = |&at: &usize| self.columns[at].leaves;
            let Some(next) = layout.shown.iter().map(order).filter(|&order| order > 0).min() else { break };
            layout.shown.retain(|at| order(at) != next);
        }
        layout
    }

    fn natural_width(&self, layout: &Layout) -> usize {
        self.width(layout, |text| text.chars().count())
    }

    /// With each cell wrapped at its blanks.
    fn narrowest_width(&self, layout: &Layout) -> usize {
        self.width(layout, |text| text.split(' ').map(|word| word.chars().count()).max().unwrap_or(0))
    }

    fn width(&self, layout: &Layout, of_text: impl Fn(&str) -> usize) -> usize {
        let width = |&at: &usize| {
            let cells = self.rows.iter().map(|row| of_text(&row[at].shown(self.zone, layout.with_seconds)));
            cells.max().unwrap_or(0).max(of_text(self.columns[at].heading))
        };
        layout.shown.iter().map(|at| width(at) + GAP).sum::<usize>().saturating_sub(GAP)
    }

    fn table(&self, layout: &Layout) -> Table {
        let mut table = Table::new();
        // Left to itself, the crate takes the width of the terminal.
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        if self.ui.stdout_color() {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        // The padding behind the last column is cut off again.
        if let Some(room) = self.room.filter(|&room| self.narrowest_width(layout) <= room) {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(u16::try_from(room + 1).unwrap_or(u16::MAX));
        }
        let shown = &layout.shown;
        let alignment = |at: usize| if self.columns[at].is_number { CellAlignment::Right } else { CellAlignment::Left };
        table.set_header(shown.iter().map(|&at| {
            let cell = comfy_table::Cell::new(self.columns[at].heading).set_alignment(alignment(at));
            if self.ui.stdout_color() { cell.add_attribute(Attribute::Bold) } else { cell }
        }));
        for row in &self.rows {
            table.add_row(shown.iter().map(|&at| {
                let shown = row[at].shown(self.zone, layout.with_seconds);
                comfy_table::Cell::new(shown).set_alignment(alignment(at))
            }));
        }
        for (place, column) in table.column_iter_mut().enumerate() {
            column.set_padding((if place == 0 { 0 } else { 1 }, 1));
            if let Some(&width) = self.widths.get(place) {
                let padded = width + if place == 0 { 1 } else { 2 };
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(padded)));
            }
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ui::ColorChoice;

    const COLUMNS: [Column; 4] = [
        text("topic", "TOPIC"),
        number("bytes", "BYTES").leaves(2),
        text("oldest", "OLDEST").leaves(1),
        text("newest", "NEWEST"),
    ];

    fn printed(room: usize) -> String {
        let zone = LocalZone::new(|| jiff::tz::TimeZone::UTC);
        let mut report = Report::new(Ui::new(false, false, ColorChoice::Never), ReportFormat::Table, &zone, &COLUMNS);
        report.room = Some(room);
        report.rows.push(vec![
            Cell::text("a-topic"),
            Cell::Bytes(7),
            Cell::Nothing,
            Cell::Time(Timestamp(1_700_000_000_000)),
        ]);
        report.write_table();
        String::from_utf8(report.buffer).unwrap()
    }

    #[test]
    fn a_table_that_is_too_wide_loses_seconds_then_columns_and_is_wrapped_last() {
        let full = "TOPIC    BYTES  OLDEST  NEWEST\na-topic    7 B  -       2023-11-14 22:13:20\n";
        assert_eq!(printed(200), full);
        assert_eq!(printed(43), full);
        let minutes = full.replace("22:13:20", "22:13");
        assert_eq!(printed(42), minutes);
        assert_eq!(printed(40), minutes);
        assert_eq!(printed(39), "TOPIC    BYTES  NEWEST\na-topic    7 B  2023-11-14 22:13\n");
        assert_eq!(printed(31), "TOPIC    NEWEST\na-topic  2023-11-14 22:13\n");
        assert_eq!(printed(24), "TOPIC    NEWEST\na-topic  2023-11-14\n         22:13\n");
        assert_eq!(printed(19), "TOPIC    NEWEST\na-topic  2023-11-14\n         22:13\n");
    }

    #[test]
    fn a_table_is_not_broken_within_words() {
        for room in [1, 2, 10, 18] {
            assert_eq!(printed(room), "TOPIC    NEWEST\na-topic  2023-11-14 22:13\n");
        }
    }
}
