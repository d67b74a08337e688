//! What a finding means: how bad it is, and what follows for the owner of the log.

use super::finding::{Acknowledgement, Finding, Owner, Problem, Severity};
use crate::units::Offset;

impl Finding {
    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match &self.problem {
            Problem::Gaps { .. }
            | Problem::UnsupportedBatch { .. }
            | Problem::FutureTimestamp { .. }
            | Problem::OpenTransaction { .. }
            | Problem::NewerFile { .. }
            | Problem::OffsetsOutOfReach
            | Problem::UnusualSegmentName
            | Problem::ForeignFolder { owner: Owner::Kdir } => Severity::Note,
            Problem::WrongIndexEntries { .. } | Problem::DamagedBrokerFile { .. } => Severity::Derived,
            Problem::TornTail { acknowledgement: Acknowledgement::AfterSync, .. } | Problem::InterruptedCompaction => {
                Severity::Unfinished
            }
            Problem::MissingFolder { .. } if self.offset == Some(Offset::ZERO) => Severity::Damaged,
            Problem::WrongTopicId
            | Problem::StopsABroker { .. }
            | Problem::NotServed { .. }
            | Problem::TopicIdsDiffer { .. }
            | Problem::PartitionTwice { .. }
            | Problem::ForeignFolder { owner: Owner::Broker } => Severity::BlocksBroker,
            Problem::MissingOffsets { .. }
            | Problem::EndsBelowRecoveryPoint { .. }
            | Problem::EndsBelowHighWatermark { .. }
            | Problem::MissingFolder { .. } => Severity::Lost,
            Problem::DamagedBatch { .. }
            | Problem::TornTail { .. }
            | Problem::WrongBaseOffset { .. }
            | Problem::OutOfOrder { .. }
            | Problem::Contradiction { .. }
            | Problem::RepeatedBatches { .. }
            | Problem::StepsBack { .. }
            | Problem::WrongLeaderEpoch { .. }
            | Problem::DamagedMetadata { .. }
            | Problem::MissingLog { .. }
            | Problem::MissingTopicFile
            | Problem::OverlappingSegments { .. }
            | Problem::HiddenBatches { .. }
            | Problem::MissingTimeEntries { .. }
            | Problem::DamagedFile { .. }
            | Problem::Unreadable { .. }
            | Problem::SetAside { .. }
            | Problem::EndsBelowLogStart { .. } => Severity::Damaged,
        }
    }

    /// What it means for the owner of the log, and whether a repair mends it.
    #[must_use]
    pub fn meaning(&self) -> String {
        let from = self.offset.unwrap_or_default();
        match &self.problem {
            Problem::DamagedBatch { next_offset, .. } | Problem::MissingOffsets { next_offset } => {
                format!("{} lost; repair --accept-loss goes on without", lost(from, *next_offset))
            }
            Problem::UnsupportedBatch { .. } => {
                "nothing is lost: its checksum is right, and its records cannot be checked here; repair leaves it alone"
                    .into()
            }
            Problem::TornTail { bytes, acknowledgement: Acknowledgement::AfterSync, .. } => format!(
                "{bytes} bytes of an append that never ended, which the next producer or repair cuts; nothing \
                 acknowledged was in them unless the disk has lied"
            ),
            Problem::TornTail { bytes, .. } => format!(
                "{bytes} bytes that are not a whole batch, which the next producer, repair or the broker cuts; a broker \
                 acknowledges before it syncs, so acknowledged records may have been in them: compare with another \
                 replica"
            ),
            Problem::WrongBaseOffset { .. } => format!(
                "nothing is lost: what is beside it or inside it, or the index, says that it is {from}, and repair puts that \
                 in its header"
            ),
            Problem::OutOfOrder { next_offset, .. } if *next_offset <= from => {
                "readers stop here; its records are whole, and what their offsets were is not known; repair --accept-loss \
                 takes the batch out and keeps its bytes"
                    .into()
            }
            Problem::OutOfOrder { next_offset, .. } => format!(
                "readers stop here; its records are whole, and which of the offsets {from} to {} they had is not known; repair \
                 --accept-loss takes the batch out and keeps its bytes",
                *next_offset + -1
            ),
            Problem::Contradiction { .. } => {
                "readers stop here; one of the two is wrong, and nothing says which: compare with a copy or another replica, or \
                 let repair --accept-loss take one out"
                    .into()
            }
            Problem::RepeatedBatches { .. } => "nothing is lost: repair takes the second copy out".into(),
            Problem::StepsBack { .. } => {
                "readers stop here; the records before or after belong to another log, or the file was put together from \
                 parts: compare with a copy or another replica, or let repair --accept-loss take them out"
                    .into()
            }
            Problem::WrongLeaderEpoch { .. } => "nothing is lost: repair corrects the epoch".into(),
            Problem::OverlappingSegments { base_offset, .. } => format!(
                "readers leave it at offset {base_offset} and go on with the next one; one of the two files does not belong \
                 here: move it away, or let repair --accept-loss take out the overlap"
            ),
            Problem::HiddenBatches { next_offset, .. } => format!(
                "{} in this file only, or differs in the next one, and is not shown: dump --records shows both",
                these(from, *next_offset)
            ),
            Problem::OffsetsOutOfReach => {
                "nothing is lost: brokers before 2.0 could write that, and look-ups read the segment instead; a broker since \
                 2.0 splits the segment when it recovers or cleans it"
                    .into()
            }
            Problem::WrongIndexEntries { .. } => {
                "nothing is lost and no answer is wrong, look-ups take longer; repair rebuilds the index".into()
            }
            Problem::MissingTimeEntries { .. } => {
                "nothing is lost, but look-ups by time miss records, and retention may delete the segment too early; repair \
                 rebuilds the index"
                    .into()
            }
            Problem::DamagedFile { .. } if self.path.to_string_lossy().ends_with("checkpoint") => {
                "a broker does not start on it; repair rebuilds the file from the log".into()
            }
            Problem::DamagedFile { .. } => "repair rebuilds the file from the log and the folders".into(),
            Problem::NewerFile { .. } => {
                "what it says of the partitions is not known to this version; repair leaves it alone".into()
            }
            Problem::DamagedBrokerFile { .. } => {
                "a broker rebuilds it when it starts: a snapshot without .kafka_cleanshutdown, meta.properties with \
                 ZooKeeper"
                    .into()
            }
            Problem::Unreadable { .. } => "what is in it cannot be checked; check the disk first".into(),
            Problem::InterruptedCompaction => "the next producer, repair or the broker finishes it".into(),
            Problem::EndsBelowRecoveryPoint { recovery_point } => {
                format!("{} lost; repair --accept-loss goes on without", lost(from, *recovery_point))
            }
            Problem::EndsBelowHighWatermark { high_watermark } => format!(
                "{} lost, unless another replica has them; repair --accept-loss goes on without",
                lost(from, *high_watermark)
            ),
            Problem::Gaps { .. } => {
                "legal if the topic is compacted, or was; if not, records are lost: compare with another replica".into()
            }
            Problem::FutureTimestamp { .. } => {
                "nothing is lost: until then, retention by time keeps this segment and all after it; `kdir delete-records` and \
                 `kdir retention` remove them"
                    .into()
            }
            Problem::OpenTransaction { .. } => {
                "readers of committed records stop at this offset; if its producer is gone, end it with Kafka's own \
                 kafka-transactions"
                    .into()
            }
            Problem::MissingLog { .. } => {
                "records from this offset on are not there; bring the file back, or repair --accept-loss goes on without"
                    .into()
            }
            Problem::EndsBelowLogStart { .. } => {
                "no record of the log is shown; the next producer, or repair --accept-loss, goes on at the log start offset"
                    .into()
            }
            Problem::MissingFolder { owner: Owner::Broker } => format!(
                "{} lost, unless another replica has them; restore the folder from a copy: a broker re-creates it empty",
                lost(Offset::ZERO, from)
            ),
            Problem::MissingFolder { owner: Owner::Kdir } if from == Offset::ZERO => {
                "how many records are lost is not known; restore the folder, or repair --accept-loss re-creates it empty".into()
            }
            Problem::MissingFolder { owner: Owner::Kdir } => format!(
                "{} lost; restore the folder, or repair --accept-loss re-creates it empty",
                lost(Offset::ZERO, from)
            ),
            Problem::SetAside { folder } => format!(
                "its records are not shown; kdir consume {folder} reads them; rename the folder back, or move it out of \
                 the log dir"
            ),
            Problem::PartitionTwice { .. } => {
                "a broker with both log dirs does not start; move the folder away that does not belong here".into()
            }
            Problem::MissingTopicFile => {
                "no record is lost, but the topic's configuration is: retention skips the topic and producers refuse it; \
                 repair writes the file again, without a limit on retention: set limits with `kdir alter`"
                    .into()
            }
            Problem::WrongTopicId => "a broker would set the folder aside; repair writes the topic id".into(),
            Problem::StopsABroker { .. } => "a broker does not start on this log dir; kdir reads it all the same".into(),
            Problem::NotServed { .. } => {
                "a broker does not serve these records: it renames the folder to …-stray when it starts, or \
                 stops at it"
                    .into()
            }
            Problem::TopicIdsDiffer { .. } => {
                "a broker serves only the partitions that have the topic's id, and renames the folders of the others to …-stray \
                 when it starts; compare the id with another broker's folder of the topic"
                    .into()
            }
            Problem::DamagedMetadata { .. } => {
                "a broker cuts its metadata here when it starts, and sets aside the partitions of every topic that was made \
                 later; restore the file from a copy or another controller first"
                    .into()
            }
            Problem::UnusualSegmentName => "a broker takes it for a segment, kdir does not read it; move it elsewhere".into(),
            Problem::ForeignFolder { .. } => {
                "a broker does not start on a log dir that has other folders than those of partitions; move it elsewhere".into()
            }
        }
    }
}

fn these(from: Offset, next: Offset) -> String {
    match next - from {
        ..=1 => format!("what is at offset {from} is"),
        _ => format!("what is at offsets {from} to {} is", next + -1),
    }
}

fn lost(from: Offset, next: Offset) -> String {
    match next - from {
        ..=0 => "no record is".into(),
        1 => format!("the record at offset {from} is"),
        _ => format!("the records at offsets {from} to {} are", next + -1),
    }
}
