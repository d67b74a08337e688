//! Rows to a table, JSON or TSV. A command gives rows, never a rendered table.
//!
//! JSON is one object a line; TSV has no header line, so that it goes straight into `cut` and `awk`. Both give plain
//! numbers: bytes, and milliseconds since the epoch. A table gives sizes and times as a person reads them, times in
//! the local zone.

use super::ui::{OutputError, Ui};
use crate::units::{ByteSize, Timestamp};
use comfy_table::{Attribute, CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};
use jiff::tz::TimeZone;
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
    Time(i64),
    /// Shown in JSON only.
    Json(Value),
    /// There is none.
    Nothing,
}

impl Cell {
    pub(crate) fn text(text: impl std::fmt::Display) -> Self {
        Self::Text(text.to_string())
    }

    pub(crate) fn time(timestamp_ms: Option<i64>) -> Self {
        timestamp_ms.map_or(Self::Nothing, Self::Time)
    }

    fn shown(&self, zone: &TimeZone) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Bytes(bytes) => ByteSize(*bytes).to_string(),
            Self::Time(timestamp_ms) => Timestamp(*timestamp_ms).to_civil(zone),
            Self::Json(_) => String::new(),
            Self::Nothing => "-".into(),
        }
    }

    fn plain(&self) -> String {
        match self {
            Self::Text(text) => text.replace(['\t', '\n', '\r'], " "),
            Self::Number(number) | Self::Time(number) => number.to_string(),
            Self::Bytes(bytes) => bytes.to_string(),
            Self::Json(_) | Self::Nothing => String::new(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Number(number) | Self::Time(number) => (*number).into(),
            Self::Bytes(bytes) => (*bytes).into(),
            Self::Json(value) => value.clone(),
            Self::Nothing => Value::Null,
        }
    }
}

/// A column: its name in JSON, and its heading in a table; an empty heading keeps it out of tables.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    name: &'static str,
    heading: &'static str,
    is_number: bool,
    in_tsv: bool,
}

/// A column of text.
pub(crate) const fn text(name: &'static str, heading: &'static str) -> Column {
    Column { name, heading, is_number: false, in_tsv: true }
}

/// A column of numbers.
pub(crate) const fn number(name: &'static str, heading: &'static str) -> Column {
    Column { name, heading, is_number: true, in_tsv: true }
}

/// A column that only JSON has.
pub(crate) const fn json_only(name: &'static str) -> Column {
    Column { name, heading: "", is_number: false, in_tsv: false }
}

/// Writes rows in the form that the user asked for.
pub(crate) struct Report<'a> {
    ui: Ui,
    format: ReportFormat,
    zone: &'a TimeZone,
    columns: &'a [Column],
    rows: Vec<Vec<Cell>>,
    /// How wide each column was in the part of the table that has been rendered.
    widths: Vec<u16>,
    buffer: Vec<u8>,
}

/// Rows of a table that are rendered together: a longer one is written in parts, so that memory stays within bounds.
const TABLE_ROWS: usize = 4096;
const FLUSH_SIZE: usize = 64 << 10;

impl<'a> Report<'a> {
    pub(crate) fn new(ui: Ui, format: ReportFormat, zone: &'a TimeZone, columns: &'a [Column]) -> Self {
        Self { ui, format, zone, columns, rows: Vec::new(), widths: Vec::new(), buffer: Vec::new() }
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
        let table = self.table();
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

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        if self.ui.stdout_color() {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        let shown: Vec<usize> = (0..self.columns.len()).filter(|&at| !self.columns[at].heading.is_empty()).collect();
        let alignment = |at: usize| if self.columns[at].is_number { CellAlignment::Right } else { CellAlignment::Left };
        table.set_header(shown.iter().map(|&at| {
            let cell = comfy_table::Cell::new(self.columns[at].heading).set_alignment(alignment(at));
            if self.ui.stdout_color() { cell.add_attribute(Attribute::Bold) } else { cell }
        }));
        for row in &self.rows {
            table.add_row(
                shown.iter().map(|&at| comfy_table::Cell::new(row[at].shown(self.zone)).set_alignment(alignment(at))),
            );
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
