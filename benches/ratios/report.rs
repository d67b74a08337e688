//! The table: a row each as it is known, and all of them as JSON.

use crate::bench::Turns;
use serde_json::{Value, json};
use std::time::Duration;

/// What a figure is held against.
#[derive(Clone, Copy)]
pub enum Target {
    AtMost(f64),
    AtLeast(f64),
    /// It is only told.
    None,
}

/// One line of the table.
pub struct Row {
    pub name: String,
    /// What the two sides took, or all that there is to tell of them.
    pub ours: String,
    pub theirs: String,
    pub figure: f64,
    pub unit: &'static str,
    pub target: Target,
    pub note: String,
}

impl Row {
    /// How many times as long as the other side ours takes.
    pub fn ratio(name: impl Into<String>, turns: &Turns, target: Target) -> Self {
        Self::new(name, shown(turns.ours()), shown(turns.theirs()), turns.ratio(), "×", target)
    }

    /// How many times as fast as the other side ours is.
    pub fn times_faster(name: impl Into<String>, turns: &Turns, target: Target) -> Self {
        Self::new(name, shown(turns.ours()), shown(turns.theirs()), 1.0 / turns.ratio(), "× faster", target)
    }

    pub fn millis(name: impl Into<String>, time: Duration, target: Target) -> Self {
        Self::new(name, shown(time), String::new(), time.as_secs_f64() * 1e3, "ms", target)
    }

    pub fn mib(name: impl Into<String>, mib: f64, target: Target) -> Self {
        Self::new(name, format!("{mib:.1} MiB"), String::new(), mib, "MiB", target)
    }

    pub fn new(
        name: impl Into<String>,
        ours: impl Into<String>,
        theirs: impl Into<String>,
        figure: f64,
        unit: &'static str,
        target: Target,
    ) -> Self {
        let (name, ours, theirs) = (name.into(), ours.into(), theirs.into());
        Self { name, ours, theirs, figure, unit, target, note: String::new() }
    }

    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// A row that was not run, and why.
    pub fn not_run(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(name, "not run", "", f64::NAN, "", Target::None).note(why)
    }

    fn is_met(&self) -> Option<bool> {
        match self.target {
            Target::AtMost(limit) => Some(self.figure <= limit),
            Target::AtLeast(limit) => Some(self.figure >= limit),
            Target::None => None,
        }
    }

    fn text(&self) -> String {
        let figure = if self.figure.is_nan() { String::new() } else { format!("{:.2} {}", self.figure, self.unit) };
        let target = match self.target {
            Target::AtMost(limit) => format!("≤ {}", (limit * 100.0).round() / 100.0),
            Target::AtLeast(limit) => format!("≥ {limit}"),
            Target::None => String::new(),
        };
        let met = self.is_met().map_or("", |met| if met { "met" } else { "**missed**" });
        let Self { name, ours, theirs, note, .. } = self;
        let note = note.replace('|', "\\|");
        format!("| {name} | {ours} | {theirs} | {figure} | {target} | {met} | {note} |")
    }

    fn json(&self) -> Value {
        let (limit, bound) = match self.target {
            Target::AtMost(limit) => (Some(limit), Some("at most")),
            Target::AtLeast(limit) => (Some(limit), Some("at least")),
            Target::None => (None, None),
        };
        json!({
            "name": self.name, "kdir": self.ours, "other": self.theirs, "figure": self.figure, "unit": self.unit,
            "target": limit, "bound": bound, "met": self.is_met(), "note": self.note,
        })
    }
}

#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
}

impl Report {
    pub fn add(&mut self, row: Row) {
        if self.rows.is_empty() {
            println!(
                "| work | kdir | the other side | figure | target | | |\n| --- | --- | --- | --- | --- | --- | --- |"
            );
        }
        println!("{}", row.text());
        self.rows.push(row);
    }

    pub fn json(&self, machine: &str, bytes: u64, runs: usize) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
        json!({ "machine": machine, "bytes": bytes, "runs": runs, "rows": rows })
    }
}

pub fn shown(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds >= 1.0 => format!("{seconds:.2} s"),
        seconds if seconds >= 0.01 => format!("{:.0} ms", seconds * 1e3),
        seconds => format!("{:.2} ms", seconds * 1e3),
    }
}

/// Bytes a second.
pub fn rate(bytes: u64, time: Duration) -> String {
    format!("{:.2} GB/s", bytes as f64 / time.as_secs_f64() / 1e9)
}
