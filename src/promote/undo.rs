//! Takes a promotion back, as long as no broker has started on it.
//!
//! `meta.properties` goes first: without it the log dir is kdir's, and the rest of the promotion is removed by the next
//! `undo`, or taken up by the next promotion. In a log dir that was formatted the records of topics leave the file of first
//! records, in one rename.

use super::apply::{remove, remove_first_records, remove_properties};
use super::bootstrap::Bootstrap;
use super::broker_file::Handed;
use super::root::{Owner, Root};
use super::{PromoteError, Result};
use crate::logdir::{BROKER_FILE, LogDir, LogDirs, META_PROPERTIES};
use crate::units::Timestamp;

/// Takes a promotion back. Groups keep their stamps, and partitions their recovery points: both are true.
///
/// # Errors
/// When nothing was promoted, a broker has run, or the disk fails.
pub fn undo(log_dirs: &LogDirs, controllers: &[LogDir], now: Timestamp) -> Result<()> {
    let roots = log_dirs.each().iter().map(Root::of).collect::<Result<Vec<_>>>()?;
    let mut was_promoted = false;
    for root in &roots {
        let Some(remembered) = root.remembered.as_ref().filter(|it| it.handed != Handed::Demoted) else { continue };
        if remembered.metadata_dirs.len() != controllers.len() {
            let dirs: Vec<String> = remembered.metadata_dirs.iter().map(|dir| dir.display().to_string()).collect();
            let what = format!("the controllers have the topics as well: give --metadata-dir for {}", dirs.join(", "));
            return Err(PromoteError::Contradiction { what });
        }
        was_promoted = true;
        let folder = &**root.log_dir.folder();
        controllers.iter().try_for_each(|dir| forget_topics(dir, now))?;
        match remembered.handed {
            Handed::Adopted => {
                forget_topics(root.log_dir, now)?;
                remove_properties(root.log_dir, remembered)?;
            }
            Handed::Promoted | Handed::Demoted => {
                remove(folder, META_PROPERTIES)?;
                folder.sync()?;
                remove_first_records(folder)?;
                remove_properties(root.log_dir, remembered)?;
            }
        }
        remove(folder, BROKER_FILE)?;
        folder.sync()?;
    }
    match was_promoted {
        true => Ok(()),
        false => {
            let is_brokers = roots.iter().any(|root| !matches!(root.owner, Owner::Kdir));
            let path = log_dirs.first().root().to_owned();
            Err(if is_brokers { PromoteError::HasRun { path } } else { PromoteError::NotPromoted { path } })
        }
    }
}

fn forget_topics(dir: &LogDir, now: Timestamp) -> Result<()> {
    let bootstrap = Bootstrap::find(dir.folder())?;
    match bootstrap.has_topics()? {
        true => bootstrap.write(&bootstrap.others()?, now),
        false => Ok(()),
    }
}
