//! Topics that kdir made and whose topic file is missing.
//!
//! Without the file such a topic looks like one of a broker, and would be treated by defaults that are not its own. Two
//! witnesses in a partition's folder say that it is not: the end that a run of kdir left there names a topic id, which only
//! a topic file gives, and `partition.metadata` names the same. In a directory that a broker owns, the broker's metadata
//! decides.

use super::partition::topic_id_in;
use super::topic::topic_file;
use super::{LogDir, LogDirError, Origin, Result, Topic};
use crate::disk::Folder;
use crate::storage::durable_end;
use crate::units::TopicName;
use uuid::Uuid;

impl LogDir {
    /// The id of a topic that kdir made and whose file is missing; `None` of any other.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn id_of_lost_file(&self, topic: &Topic) -> Result<Option<Uuid>> {
        if topic.origin != Origin::Broker || self.broker_mark()?.is_some() {
            return Ok(None);
        }
        for &number in &topic.partitions {
            // A folder that cannot be read says nothing.
            if let Ok(folder) = self.root.open_folder(&topic.partition(number)?.folder_name())
                && let Some(topic_id) = id_given_by_kdir(&*folder)
            {
                return Ok(Some(topic_id));
            }
        }
        Ok(None)
    }

    /// Refuses a topic that kdir made and whose file is missing.
    ///
    /// # Errors
    /// When it is one, or the disk fails.
    pub fn refuse_lost_file(&self, topic: &Topic) -> Result<()> {
        match self.id_of_lost_file(topic)? {
            Some(_) => Err(self.lost_file(&topic.name)),
            None => Ok(()),
        }
    }

    /// The same of a partition's folder, of a topic without a file.
    pub(super) fn refuse_folder_of_lost_file(&self, folder: &dyn Folder, topic: &TopicName) -> Result<()> {
        match id_given_by_kdir(folder) {
            Some(_) if self.broker_mark()?.is_none() => Err(self.lost_file(topic)),
            _ => Ok(()),
        }
    }

    fn lost_file(&self, topic: &TopicName) -> LogDirError {
        LogDirError::TopicFileLost { topic: topic.clone(), path: self.root().join(topic_file(topic)) }
    }
}

fn id_given_by_kdir(folder: &dyn Folder) -> Option<Uuid> {
    let found = topic_id_in(folder).ok()??;
    let given = durable_end::topic_id(folder).ok()??;
    (found == given).then_some(given)
}
