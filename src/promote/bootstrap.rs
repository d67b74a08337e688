//! The file from which a new controller takes its first records.
//!
//! | found | the file |
//! | --- | --- |
//! | `bootstrap.checkpoint` at the root | that one: 3.3 to 4.3 format it |
//! | `__cluster_metadata-0/00000000000000000000-0000000000.checkpoint` with records | that one: 4.4 formats it |
//! | neither | `bootstrap.checkpoint`, which every release reads |
//!
//! Records that format has put there are kept: version, features, credentials. Those of topics and producer ids are ours.
//! Source: `BootstrapDirectory.java`, `Formatter.java`, and brokers of 3.3 to 4.4.

use super::options::Quorum;
use super::{PromoteError, Result};
use crate::disk::{Folder, atomic};
use crate::format::internal::metadata::{self, MetadataRecord, api_key};
use crate::format::internal::metadata_snapshot::{self, ControlRecord, Voter};
use crate::logdir::METADATA_FOLDER;
use crate::storage::dump::{Dumped, LogDump};
use crate::units::{Offset, Timestamp};
use std::sync::Arc;

pub(super) const BOOTSTRAP_CHECKPOINT: &str = "bootstrap.checkpoint";
/// What a quorum starts with.
pub(super) const FIRST_SNAPSHOT: &str = "00000000000000000000-0000000000.checkpoint";
const TOPIC_RESOURCE: i64 = 2;

/// The file of one controller, as it is.
pub(super) struct Bootstrap {
    folder: Arc<dyn Folder>,
    name: &'static str,
    /// The control records after the header.
    control: Vec<ControlRecord>,
    /// The values of its records.
    records: Vec<Vec<u8>>,
}

impl Bootstrap {
    /// Finds the file at a root; one that is not there has no records.
    pub(super) fn find(root: &Arc<dyn Folder>) -> Result<Self> {
        if let Some(found) = Self::read(Arc::clone(root), BOOTSTRAP_CHECKPOINT)? {
            return Ok(found);
        }
        if root.stat(METADATA_FOLDER)?.is_some_and(|stat| stat.is_folder) {
            let folder = root.open_folder(METADATA_FOLDER)?;
            if let Some(found) = Self::read(folder, FIRST_SNAPSHOT)?.filter(|found| !found.records.is_empty()) {
                return Ok(found);
            }
        }
        let (folder, name) = (Arc::clone(root), BOOTSTRAP_CHECKPOINT);
        Ok(Self { folder, name, control: Vec::new(), records: Vec::new() })
    }

    /// How the voters are known in a quorum that has been formatted at a root.
    pub(super) fn quorum(root: &Arc<dyn Folder>) -> Result<Quorum> {
        if root.stat(METADATA_FOLDER)?.is_none_or(|stat| !stat.is_folder) {
            return Ok(Quorum::Static);
        }
        let first = Self::read(root.open_folder(METADATA_FOLDER)?, FIRST_SNAPSHOT)?;
        let has_voters = first.is_some_and(|first| first.control.iter().any(ControlRecord::has_voters));
        Ok(if has_voters { Quorum::Dynamic } else { Quorum::Static })
    }

    fn read(folder: Arc<dyn Folder>, name: &'static str) -> Result<Option<Self>> {
        if folder.stat(name)?.is_none() {
            return Ok(None);
        }
        let path = folder.path().join(name);
        let damaged = |what: String| PromoteError::DamagedFile { path: path.clone(), what };
        let mut dump = LogDump::open(&*folder.disk(), &path, Offset::ZERO)?;
        let (mut control, mut records) = (Vec::new(), Vec::new());
        while let Some(found) = dump.next()? {
            match found {
                Dumped::Damage { damage, .. } => return Err(damaged(damage.to_string())),
                Dumped::Batch(batch) if !batch.checksum_matches => return Err(damaged("a checksum is wrong".into())),
                Dumped::Batch(batch) => {
                    let is_control = batch.header.attributes.is_control();
                    dump.records(|_, _, record| match (is_control, record.key, record.value) {
                        (true, Some(key), Some(value)) => {
                            control.push(ControlRecord { key: key.to_vec(), value: value.to_vec() });
                        }
                        (false, _, Some(value)) => records.push(value.to_vec()),
                        _ => {}
                    })?;
                }
            }
        }
        control.retain(|record: &ControlRecord| !record.frames_a_snapshot());
        Ok(Some(Self { folder, name, control, records }))
    }

    /// Whether there are records of topics in it.
    pub(super) fn has_topics(&self) -> Result<bool> {
        Ok(self.kinds()?.contains(&Kind::OfTopics))
    }

    /// The records in it that are not about topics.
    pub(super) fn others(&self) -> Result<Vec<Vec<u8>>> {
        let kinds = self.kinds()?;
        let others = self.records.iter().zip(kinds).filter(|(_, kind)| *kind == Kind::Other);
        Ok(others.map(|(record, _)| record.clone()).collect())
    }

    /// The level of a feature in it.
    pub(super) fn feature(&self, name: &str) -> Result<Option<i16>> {
        for record in &self.records {
            if metadata::api_key_of(record).map_err(|error| self.damaged(&error))? != api_key::FEATURE_LEVEL {
                continue;
            }
            let data = MetadataRecord::decode(record).map_err(|error| self.damaged(&error))?.data;
            if data.text("name") == Some(name) {
                return Ok(data.int("featureLevel").and_then(|level| i16::try_from(level).ok()));
            }
        }
        Ok(None)
    }

    fn kinds(&self) -> Result<Vec<Kind>> {
        self.records.iter().map(|record| Kind::of(record).map_err(|error| self.damaged(&error))).collect()
    }

    fn damaged(&self, error: &crate::format::FormatError) -> PromoteError {
        PromoteError::DamagedFile { path: self.folder.path().join(self.name), what: error.to_string() }
    }

    /// Whether the file has these records already.
    pub(super) fn has(&self, records: &[Vec<u8>]) -> bool {
        self.records == records
    }

    /// Replaces its records.
    pub(super) fn write(&self, records: &[Vec<u8>], now: Timestamp) -> Result<()> {
        let bytes = metadata_snapshot::encode(&self.control, records, now);
        Ok(atomic::replace(&*self.folder, &format!("{}.tmp", self.name), self.name, &bytes)?)
    }
}

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    OfTopics,
    Other,
}

impl Kind {
    fn of(record: &[u8]) -> std::result::Result<Self, crate::format::FormatError> {
        Ok(match metadata::api_key_of(record)? {
            api_key::TOPIC | api_key::PARTITION | api_key::PRODUCER_IDS => Self::OfTopics,
            api_key::CONFIG if MetadataRecord::decode(record)?.data.int("resourceType") == Some(TOPIC_RESOURCE) => {
                Self::OfTopics
            }
            _ => Self::Other,
        })
    }
}

/// The bytes of the file that a quorum of changeable voters begins with.
pub(super) fn first_snapshot(voter: Voter, now: Timestamp) -> Vec<u8> {
    metadata_snapshot::encode(&metadata_snapshot::quorum_records(&[voter]), &[], now)
}
