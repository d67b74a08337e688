//! Who has a log dir: what is found at its root before it is handed over.

use super::bootstrap::Bootstrap;
use super::broker_file::{BrokerFile, Handed};
use super::{PromoteError, Result};
use crate::format::properties::MetaProperties;
use crate::logdir::LogDir;

/// Who has a log dir.
pub(super) enum Owner {
    /// kdir: no broker starts on it.
    Kdir,
    /// A broker that `kafka-storage format` has made and that has never run.
    Formatted(MetaProperties),
    /// A broker that we have made, and that has never run.
    Promoted(MetaProperties),
}

/// A log dir, with what is remembered of a broker.
pub(super) struct Root<'a> {
    pub(super) log_dir: &'a LogDir,
    pub(super) owner: Owner,
    pub(super) remembered: Option<BrokerFile>,
}

impl<'a> Root<'a> {
    /// Looks at what is there.
    pub(super) fn of(log_dir: &'a LogDir) -> Result<Self> {
        let path = || log_dir.root().to_owned();
        let remembered = BrokerFile::read(&**log_dir.folder())?;
        let owner = match log_dir.meta_properties()? {
            None if log_dir.broker_mark()?.is_some() => return Err(PromoteError::HasRun { path: path() }),
            None => Owner::Kdir,
            Some(properties) if !properties.is_kraft => return Err(PromoteError::ZooKeeper { path: path() }),
            Some(_) if log_dir.has_run_metadata()? => return Err(PromoteError::HasRun { path: path() }),
            Some(properties) if is_promoted(log_dir, &properties, remembered.as_ref())? => Owner::Promoted(properties),
            Some(properties) => Owner::Formatted(properties),
        };
        Ok(Self { log_dir, owner, remembered })
    }

    /// What is to be remembered of it: whether `meta.properties` is ours.
    pub(super) fn handed(&self) -> Handed {
        match (&self.owner, &self.remembered) {
            (Owner::Formatted(_), _) => Handed::Adopted,
            (Owner::Promoted(_), Some(remembered)) => remembered.handed,
            (Owner::Promoted(_), None) | (Owner::Kdir, _) => Handed::Promoted,
        }
    }
}

/// Whether what we have written for a broker is in force: `kafka-storage format` after a promotion that was cut off replaces it.
fn is_promoted(log_dir: &LogDir, properties: &MetaProperties, remembered: Option<&BrokerFile>) -> Result<bool> {
    let Some(remembered) = remembered else { return Ok(false) };
    let is_of_it = properties.cluster_id.as_deref() == Some(&remembered.cluster_id)
        && properties.directory_id == Some(remembered.directory_id);
    let has_topics = || match remembered.metadata_dirs.is_empty() {
        true => Bootstrap::find(log_dir.folder())?.has_topics(),
        false => Ok(true),
    };
    match remembered.handed {
        Handed::Promoted => Ok(is_of_it),
        Handed::Adopted => Ok(is_of_it && has_topics()?),
        Handed::Demoted => Ok(false),
    }
}
