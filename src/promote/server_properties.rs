//! `server.properties`: what a broker is started with.
//!
//! Internal topics that are not there yet get one replica: by Kafka's defaults they want three, and neither groups nor
//! transactions begin on one node.

use super::options::{Address, PromoteOptions, Quorum};
use super::{PromoteError, Result};
use crate::disk::{Disk, atomic};
use std::path::{Path, PathBuf};

/// A larger file is not one of these.
pub(super) const SIZE_MAX: usize = 1 << 20;

const ONE_REPLICA: &str = "\
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
";

/// The text of the file of the one node that is broker and controller; where there are controllers of their own, of the broker,
/// with their node ids.
pub(super) fn text(
    node_id: i32,
    log_dirs: &[PathBuf],
    options: &PromoteOptions,
    quorum: Quorum,
    of_their_own: Option<&[i32]>,
) -> Result<String> {
    let PromoteOptions { listener, controllers, .. } = options;
    let dirs = log_dirs.iter().map(|dir| as_value(dir)).collect::<Result<Vec<_>>>()?;
    let (own, last) = ([node_id], controllers.len().saturating_sub(1));
    let (node_ids, controllers) = match of_their_own {
        Some(node_ids) => (node_ids, &controllers[..]),
        None => (&own[..], &controllers[last..]),
    };
    if node_ids.len() != controllers.len() {
        let what = "give --controller once for each --metadata-dir, in the same order".into();
        return Err(PromoteError::Contradiction { what });
    }
    let (roles, listeners) = match of_their_own {
        None => ("broker,controller", format!("PLAINTEXT://{listener},CONTROLLER://{}", controllers[0])),
        Some(_) => ("broker", format!("PLAINTEXT://{listener}")),
    };
    // Voters that are in the metadata are found through any controller; others only by this list.
    let list = |entry: &dyn Fn((&i32, &Address)) -> String| {
        node_ids.iter().zip(controllers).map(entry).collect::<Vec<_>>().join(",")
    };
    let quorum_line = match quorum {
        Quorum::Static => format!("voters={}", list(&|(id, at)| format!("{id}@{at}"))),
        Quorum::Dynamic => format!("bootstrap.servers={}", list(&|(_, at)| at.to_string())),
    };
    // With voters that can change, others learn the controller's address from it.
    let advertised = match quorum {
        Quorum::Dynamic if of_their_own.is_none() => listeners.clone(),
        _ => format!("PLAINTEXT://{listener}"),
    };
    Ok(format!(
        "process.roles={roles}\n\
         node.id={node_id}\n\
         controller.listener.names=CONTROLLER\n\
         controller.quorum.{quorum_line}\n\
         listeners={listeners}\n\
         advertised.listeners={advertised}\n\
         log.dirs={}\n\
         {ONE_REPLICA}",
        dirs.join(",")
    ))
}

/// A path as a value: brokers split `log.dirs` at commas and take white space off its ends, and Java reads a backslash as the
/// beginning of an escape.
fn as_value(dir: &Path) -> Result<String> {
    let text =
        dir.to_str().filter(|text| !text.contains(',') && !text.contains(char::is_control) && text.trim() == *text);
    let text = text.ok_or_else(|| PromoteError::PathOfNoBroker { path: dir.to_owned() })?;
    Ok(text.replace('\\', "\\\\"))
}

/// Refuses a file that is there with another text: it is the user's.
pub(super) fn refuse_other(disk: &dyn Disk, path: &Path, text: &str) -> Result<()> {
    match atomic::read_small_at(disk, path, SIZE_MAX)? {
        Some(found) if found != text.as_bytes() => Err(PromoteError::PropertiesDiffer { path: path.to_owned() }),
        _ => Ok(()),
    }
}
