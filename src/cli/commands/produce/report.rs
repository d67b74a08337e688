//! What a run says of itself: what has become durable while it goes on, and a summary at its end.

use super::rejects::Rejects;
use super::sink::Written;
use crate::cli::signals::Stop;
use crate::cli::ui::{OutputError, Ui};
use crate::logdir::{Acknowledged, OnSync, Topic};
use crate::stream::intake::Taken;
use crate::units::ByteSize;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

/// Says on stdout what has become durable, and stops the input when a sync fails.
pub(super) struct Acknowledgements {
    ui: Ui,
    topic: String,
    is_json: bool,
    waker: UnixStream,
    /// The first write that failed; what came after it was not said.
    failed: Mutex<Option<OutputError>>,
}

impl Acknowledgements {
    pub(super) fn new(is_json: bool, ui: Ui, topic: &Topic, stop: &Stop) -> io::Result<Self> {
        Ok(Self { ui, topic: topic.name.to_string(), is_json, waker: stop.waker()?, failed: Mutex::new(None) })
    }

    pub(super) fn result(&self) -> Result<(), OutputError> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }
}

impl OnSync for Acknowledgements {
    fn acknowledged(&self, stretch: &Acknowledged) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_json && failed.is_none() {
            let line = json!({
                "event": "durable",
                "topic": self.topic,
                "partition": stretch.partition,
                "base_offset": stretch.base_offset.0,
                "last_offset": stretch.last_offset.0,
            });
            *failed = self.ui.data(format!("{line}\n").as_bytes()).err();
        }
    }

    fn failed(&self) {
        // A full pipe holds a byte that wakes already.
        let _ = (&self.waker).write(&[0]);
    }
}

/// What a run has done.
pub(super) struct Summary<'a> {
    pub(super) topic: &'a Topic,
    pub(super) written: &'a BTreeMap<i32, Written>,
    pub(super) rejects: &'a Rejects,
    pub(super) taken: Taken,
    pub(super) seconds: f64,
}

impl Summary<'_> {
    fn records(&self) -> u64 {
        self.written.values().map(|written| written.records).sum()
    }

    pub(super) fn text(&self) -> String {
        let shown = |(partition, written): (&i32, &Written)| {
            let Written { base_offset, last_offset, .. } = written;
            if base_offset == last_offset {
                format!("partition {partition}: offset {base_offset}")
            } else {
                format!("partition {partition}: offsets {base_offset} to {last_offset}")
            }
        };
        const SHOWN_MAX: usize = 16;
        let mut partitions: Vec<String> = self.written.iter().take(SHOWN_MAX).map(shown).collect();
        if self.written.len() > SHOWN_MAX {
            partitions.push(format!("and {} more partitions", self.written.len() - SHOWN_MAX));
        }
        let offsets = if partitions.is_empty() { String::new() } else { format!(" ({})", partitions.join(", ")) };
        let mut text = format!(
            "produced {}, {}, to {}{offsets} in {:.3} s",
            crate::cli::commands::counted(self.records(), "record"),
            ByteSize(self.taken.bytes),
            self.topic.name,
            self.seconds
        );
        if self.taken.untimed > 0 {
            let untimed = crate::cli::commands::counted(self.taken.untimed, "record");
            text.push_str(&format!("\n{untimed} did not begin with a time and got that of the one before"));
        }
        if let Some(rejected) = self.rejects.told() {
            text.push_str(&format!("\n{rejected}"));
        }
        text
    }

    pub(super) fn json(&self) -> Vec<u8> {
        let partition = |(partition, written): (&i32, &Written)| {
            json!({
                "partition": partition,
                "base_offset": written.base_offset,
                "last_offset": written.last_offset,
                "records": written.records,
            })
        };
        let line = json!({
            "event": "summary",
            "topic": self.topic.name.as_str(),
            "records": self.records(),
            "bytes": self.taken.bytes,
            "rejected": self.rejects.count,
            "seconds": self.seconds,
            "partitions": self.written.iter().map(partition).collect::<Vec<_>>(),
        });
        format!("{line}\n").into_bytes()
    }
}
