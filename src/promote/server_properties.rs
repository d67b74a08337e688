//! `server.properties`: what a broker is started with.
//!
//! Internal topics that are not there yet get one replica: by Kafka's defaults they want three, and neither groups nor
//! transactions begin on one node.

use super::options::{PromoteOptions, Quorum};
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

/// The text of the file of the one node that is broker and controller; with controllers of their own, of the broker.
pub(super) fn text(node_id: i32, log_dirs: &[PathBuf], options: &PromoteOptions) -> Result<String> {
    let PromoteOptions { listener, controller, .. } = options;
    let dirs = log_dirs.iter().map(|dir| as_value(dir)).collect::<Result<Vec<_>>>()?;
    let is_controller = options.metadata_dirs.is_empty();
    let (roles, listeners) = match is_controller {
        true => ("broker,controller", format!("PLAINTEXT://{listener},CONTROLLER://{controller}")),
        false => ("broker", format!("PLAINTEXT://{listener}")),
    };
    let quorum = match (options.quorum, is_controller) {
        (Quorum::Static, true) => format!("controller.quorum.voters={node_id}@{controller}"),
        (Quorum::Static | Quorum::Dynamic, _) => format!("controller.quorum.bootstrap.servers={controller}"),
    };
    // With voters that can change, others learn the controller's address from it.
    let advertised = match options.quorum {
        Quorum::Dynamic if is_controller => listeners.clone(),
        _ => format!("PLAINTEXT://{listener}"),
    };
    Ok(format!(
        "process.roles={roles}\n\
         node.id={node_id}\n\
         controller.listener.names=CONTROLLER\n\
         {quorum}\n\
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
