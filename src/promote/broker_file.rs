//! `.kdir-broker`: what is to be remembered of the broker that a log dir is handed to, or came from.
//!
//! A plain file at the root, which a broker ignores. While it is there and `meta.properties` is not, the log dir is kdir's, even
//! with other files of a broker: a promotion that has not come to its end, or a demotion whose last files are still to be
//! removed. It keeps the ids, so that a promotion that is run again makes the same files, and the node is the same after a way
//! back and forth.

use super::{PromoteError, Result};
use crate::disk::{Folder, atomic};
use crate::format::properties::{topic_id_from_text, topic_id_to_text};
use crate::logdir::BROKER_FILE;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use uuid::Uuid;

const FORMAT_VERSION: u32 = 1;
const SIZE_MAX: usize = 1 << 20;
const TEMPORARY: &str = ".kdir-broker.tmp";

/// Whose the log dir was when the file was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Handed {
    /// To a broker that promote has made: `meta.properties` is ours.
    Promoted,
    /// One that `kafka-storage format` had made.
    Adopted,
    /// A broker's.
    Demoted,
}

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BrokerFile {
    pub(super) handed: Handed,
    pub(super) cluster_id: String,
    pub(super) node_id: i32,
    pub(super) directory_id: Uuid,
    /// Producer ids below it are taken.
    pub(super) next_producer_id: i64,
    /// No leader epoch may be lower.
    pub(super) leader_epoch: i32,
    /// The log dirs of controllers that have its topics.
    pub(super) metadata_dirs: Vec<PathBuf>,
    /// The properties that were written for the broker, and their text.
    pub(super) properties: Option<(PathBuf, String)>,
}

#[derive(Serialize, Deserialize)]
struct BrokerJson {
    format_version: u32,
    handed: Handed,
    cluster_id: String,
    node_id: i32,
    directory_id: String,
    next_producer_id: i64,
    leader_epoch: i32,
    metadata_dirs: Vec<PathBuf>,
    properties_file: Option<PathBuf>,
    properties: Option<String>,
}

impl BrokerFile {
    /// Reads it; `None` where there is none.
    pub(super) fn read(root: &dyn Folder) -> Result<Option<Self>> {
        let Some(bytes) = atomic::read_small(root, BROKER_FILE, SIZE_MAX)? else { return Ok(None) };
        let damaged = |what: String| PromoteError::DamagedFile { path: root.path().join(BROKER_FILE), what };
        let file: BrokerJson = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if file.format_version > FORMAT_VERSION {
            return Err(damaged(format!("format version {} is of a later kdir", file.format_version)));
        }
        Ok(Some(Self {
            handed: file.handed,
            cluster_id: file.cluster_id,
            node_id: file.node_id,
            directory_id: topic_id_from_text(&file.directory_id).map_err(|error| damaged(error.to_string()))?,
            next_producer_id: file.next_producer_id,
            leader_epoch: file.leader_epoch,
            metadata_dirs: file.metadata_dirs,
            properties: file.properties_file.zip(file.properties),
        }))
    }

    /// Writes it, durably.
    pub(super) fn write(&self, root: &dyn Folder) -> Result<()> {
        let (properties_file, properties) = self.properties.clone().unzip();
        let file = BrokerJson {
            format_version: FORMAT_VERSION,
            handed: self.handed,
            cluster_id: self.cluster_id.clone(),
            node_id: self.node_id,
            directory_id: topic_id_to_text(self.directory_id),
            next_producer_id: self.next_producer_id,
            leader_epoch: self.leader_epoch,
            metadata_dirs: self.metadata_dirs.clone(),
            properties_file,
            properties,
        };
        let mut text = serde_json::to_vec_pretty(&file).expect("a struct of plain fields is JSON");
        text.push(b'\n');
        Ok(atomic::replace(root, TEMPORARY, BROKER_FILE, &text)?)
    }
}
