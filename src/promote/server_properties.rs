//! `server.properties`: what a broker is started with.
//!
//! Internal topics that are not there yet get one replica: by Kafka's defaults they want three, and neither groups nor
//! transactions begin on one node.

use super::options::{PromoteOptions, Quorum};
use std::path::PathBuf;

const ONE_REPLICA: &str = "\
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
";

/// The text of the file of the one node that is broker and controller; with controllers of their own, of the broker.
pub(super) fn text(node_id: i32, log_dirs: &[PathBuf], options: &PromoteOptions) -> String {
    let PromoteOptions { listener, controller, .. } = options;
    let dirs: Vec<String> = log_dirs.iter().map(|dir| escaped(&dir.display().to_string())).collect();
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
    format!(
        "process.roles={roles}\n\
         node.id={node_id}\n\
         controller.listener.names=CONTROLLER\n\
         {quorum}\n\
         listeners={listeners}\n\
         advertised.listeners={advertised}\n\
         log.dirs={}\n\
         {ONE_REPLICA}",
        dirs.join(",")
    )
}

/// Java reads a backslash as the beginning of an escape.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\")
}
