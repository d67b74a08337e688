//! The batches and records of a log.

use super::Dump;
use super::decode::{self, Decode};
use crate::cli::exit::Failures;
use crate::cli::report::{Cell, Column, number, text};
use crate::cli::ui::Ui;
use crate::format::internal::{self, InternalTopic};
use crate::format::txn::ControlType;
use crate::storage::dump::{Dumped, DumpedBatch, LogDump};
use crate::stream::json::{self, Located};
use crate::units::{Offset, Timestamp};
use std::fmt::Display;

/// Further places of damage are only counted: every batch after a flipped bit can be one.
const NAMED_MAX: usize = 100;
/// Bytes gathered before they are written.
const OUTPUT_SIZE: usize = 64 << 10;

const COLUMNS: [Column; 18] = [
    text("file", ""),
    number("position", "POSITION"),
    number("magic", "MAGIC").leaves(4),
    number("base_offset", "BASE OFFSET"),
    number("last_offset", "LAST OFFSET"),
    number("records", "RECORDS").leaves(8),
    number("bytes", "BYTES"),
    text("codec", "CODEC").leaves(7),
    text("timestamp_type", "TIMESTAMP TYPE").leaves(1),
    text("base_timestamp", ""),
    text("max_timestamp", "MAX TIMESTAMP"),
    number("leader_epoch", "EPOCH").leaves(3),
    number("producer_id", "PRODUCER").leaves(2),
    number("producer_epoch", ""),
    number("base_sequence", ""),
    text("flags", "FLAGS").leaves(5),
    text("control_type", "CONTROL").leaves(6),
    text("checksum", "CHECKSUM"),
];

/// What is wrong in a file, named as it is found.
struct Damage<'a> {
    ui: Ui,
    failures: &'a mut Failures,
    count: usize,
}

impl Damage<'_> {
    fn name(&mut self, what: impl Display) {
        self.failures.note_corruption();
        self.count += 1;
        if self.count <= NAMED_MAX {
            self.ui.error(&what.to_string());
        }
    }

    fn finish(self, file: &str) {
        if self.count > NAMED_MAX {
            self.ui.error(&format!("{file} is damaged at {} more places", self.count - NAMED_MAX));
        }
    }
}

impl Dump<'_> {
    /// Shows the batches.
    pub(super) fn batches(&self, base_offset: Offset, failures: &mut Failures) -> anyhow::Result<()> {
        let mut report = self.report(&COLUMNS);
        let mut damage = Damage { ui: self.context.ui, failures, count: 0 };
        self.each_batch(base_offset, &mut damage, |_, batch, _| Ok(report.row(self.batch_row(batch))?))?;
        damage.finish(&self.file);
        Ok(report.finish()?)
    }

    /// Shows the records.
    pub(super) fn records(&self, base_offset: Offset, failures: &mut Failures) -> anyhow::Result<()> {
        let mut out = Vec::with_capacity(OUTPUT_SIZE);
        let mut damage = Damage { ui: self.context.ui, failures, count: 0 };
        let topic = Decode::topic(self.args.decode, self.path);
        self.each_batch(base_offset, &mut damage, |log, batch, damage| {
            if !batch.checksum_matches && !self.args.ignore_checksum {
                return Ok(());
            }
            let line = Line { before: self.before_record(batch), batch, topic };
            // A batch can hold far more than is to be gathered.
            let mut written = Ok(());
            let read = log.records(|offset, timestamp, record| {
                let timestamp_type = batch.header.timestamp_type();
                line.write(&Located { topic: "", partition: 0, offset, timestamp, timestamp_type, record }, &mut out);
                if out.len() >= OUTPUT_SIZE && written.is_ok() {
                    written = self.context.ui.data(&out);
                    out.clear();
                }
            });
            if let Err(error) = read {
                damage.name(error);
            }
            Ok(written?)
        })?;
        damage.finish(&self.file);
        Ok(self.context.ui.data(&out)?)
    }

    /// Calls `show` for each batch, and names what is wrong.
    fn each_batch(
        &self,
        base_offset: Offset,
        damage: &mut Damage<'_>,
        mut show: impl FnMut(&mut LogDump, &DumpedBatch, &mut Damage<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut log = LogDump::open(self.disk(), self.path, base_offset)?;
        while let Some(found) = log.next()? {
            match found {
                Dumped::Batch(batch) => {
                    show(&mut log, &batch, damage)?;
                    if !batch.checksum_matches {
                        damage.name(log.checksum_error());
                    } else if let Some(lowest) = batch.begins_below {
                        damage.name(log.order_error(batch.header.base_offset, lowest));
                    }
                }
                Dumped::Damage { damage: what, next: Some(next) } => {
                    damage.name(format_args!("{what}; going on at position {next}"));
                }
                Dumped::Damage { damage: what, next: None } => {
                    damage.name(format_args!("{what}; no batch follows"));
                }
            }
        }
        Ok(())
    }

    /// What the lines of a batch's records begin with.
    fn before_record(&self, batch: &DumpedBatch) -> Vec<u8> {
        let mut before = b"{\"file\":".to_vec();
        json::write_text(&self.file, &mut before);
        before.extend_from_slice(format!(",\"position\":{}", batch.position).as_bytes());
        before
    }

    fn batch_row(&self, batch: &DumpedBatch) -> Vec<Cell> {
        let DumpedBatch { position, header, checksum_matches, control_type, .. } = batch;
        let attributes = header.attributes;
        let codec = attributes.codec().map_or_else(|_| "unknown".to_owned(), |codec| codec.name().to_owned());
        let flags = [
            (attributes.is_transactional(), "transactional"),
            (attributes.is_control(), "control"),
            (attributes.has_delete_horizon(), "delete-horizon"),
        ];
        let flags: Vec<&str> = flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect();
        let time_unless_none = |time: Timestamp| Cell::time((time != Timestamp::NONE).then_some(time));
        let unless_none = |number: i64| if number < 0 { Cell::Nothing } else { Cell::Number(number) };
        vec![
            Cell::text(&self.file),
            Cell::Number(position.0 as i64),
            Cell::Number(header.magic.into()),
            Cell::Number(header.base_offset.0),
            Cell::Number(header.last_offset().0),
            unless_none(header.record_count.into()),
            Cell::Number(header.size as i64),
            Cell::Text(codec),
            Cell::text(header.timestamp_type().name()),
            time_unless_none(header.base_timestamp),
            time_unless_none(header.max_timestamp),
            Cell::Number(header.leader_epoch.into()),
            unless_none(header.producer_id),
            unless_none(header.producer_epoch.into()),
            unless_none(header.base_sequence.into()),
            if flags.is_empty() { Cell::Nothing } else { Cell::Text(flags.join(",")) },
            control_type.map_or(Cell::Nothing, |control| Cell::text(control.name())),
            Cell::text(if *checksum_matches { "ok" } else { "WRONG" }),
        ]
    }
}

/// The line of a record.
struct Line<'a> {
    before: Vec<u8>,
    batch: &'a DumpedBatch,
    /// As whose record it is decoded.
    topic: Option<InternalTopic>,
}

impl Line<'_> {
    fn write(&self, it: &Located<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.before);
        let is_control = self.batch.header.attributes.is_control();
        if let Some(Ok(control)) = it.record.key.filter(|_| is_control).map(ControlType::parse) {
            out.extend_from_slice(b",\"control_type\":");
            json::write_text(&control.name(), out);
        }
        if !self.batch.checksum_matches {
            out.extend_from_slice(b",\"checksum\":\"WRONG\"");
        }
        out.extend_from_slice(b",\"offset\":");
        let Some(topic) = self.topic else { return json::write_from_offset(it, out) };
        let (key, value) = (it.record.key, it.record.value);
        let record = if is_control { internal::decode_control(key, value) } else { topic.decode(key, value) };
        json::write_offset_and_time(it, out);
        decode::write(&record, key, value, out);
        json::write_headers(it, out);
    }
}
