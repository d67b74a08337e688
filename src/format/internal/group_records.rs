//! The records of `__consumer_offsets` that kdir writes, as bytes.
//!
//! Version 3 of an offset commit is read by every broker from 2.1 on: version 4 costs a broker of 2.8 all groups of the
//! partition. Versions of group metadata above 3 were never written. Source: `OffsetCommitValue.json`,
//! `GroupMetadataValue.json`, and what brokers of 2.8, 3.9 and 4.3 made of these bytes.

use crate::units::{Offset, Timestamp, TopicPartition};

const OFFSET_COMMIT: i16 = 1;
const GROUP_METADATA: i16 = 2;
const NO_LEADER_EPOCH: i32 = -1;

/// The key of what a group has committed for a partition. With a null value, a tombstone.
#[must_use]
pub fn offset_commit_key(group: &str, partition: &TopicPartition) -> Vec<u8> {
    let mut key = OFFSET_COMMIT.to_be_bytes().to_vec();
    put_text(&mut key, group);
    put_text(&mut key, partition.topic.as_str());
    key.extend(partition.partition.to_be_bytes());
    key
}

/// The value beside that key: the next offset to be read, and text of the group's own.
#[must_use]
pub fn offset_commit_value(offset: Offset, metadata: &str, now: Timestamp) -> Vec<u8> {
    let mut value = 3_i16.to_be_bytes().to_vec();
    value.extend(offset.0.to_be_bytes());
    value.extend(NO_LEADER_EPOCH.to_be_bytes());
    put_text(&mut value, metadata);
    value.extend(now.0.to_be_bytes());
    value
}

/// The key of what is known of a group of consumers. With a null value, a tombstone.
#[must_use]
pub fn group_metadata_key(group: &str) -> Vec<u8> {
    let mut key = GROUP_METADATA.to_be_bytes().to_vec();
    put_text(&mut key, group);
    key
}

/// The value beside that key: a group of consumers without members, since `now`. While a broker knows it as empty for no longer
/// than `offsets.retention.minutes`, it keeps what the group has committed, however old that is.
#[must_use]
pub fn empty_group_value(now: Timestamp) -> Vec<u8> {
    let (generation, null, members) = (0_i32, -1_i16, 0_i32);
    let mut value = 3_i16.to_be_bytes().to_vec();
    put_text(&mut value, "consumer");
    value.extend(generation.to_be_bytes());
    // Neither a protocol nor a leader.
    value.extend(null.to_be_bytes());
    value.extend(null.to_be_bytes());
    value.extend(now.0.to_be_bytes());
    value.extend(members.to_be_bytes());
    value
}

/// A record of a group of the consumer protocol (KIP-848), by its key.
#[derive(Debug, Clone, Copy)]
pub enum ConsumerKey<'a> {
    /// The group's epoch.
    Epoch,
    /// The partitions of the topics that it reads; not written from Kafka 4.1 on.
    PartitionMetadata,
    /// What a member has said of itself.
    Member(&'a str),
    /// The epoch of what the members are to have.
    TargetEpoch,
    /// What a member is to have.
    TargetMember(&'a str),
    /// What a member has.
    CurrentAssignment(&'a str),
}

impl ConsumerKey<'_> {
    /// The key of a group's record.
    #[must_use]
    pub fn encode(self, group: &str) -> Vec<u8> {
        let (key_type, member): (i16, _) = match self {
            Self::Epoch => (3, None),
            Self::PartitionMetadata => (4, None),
            Self::Member(member) => (5, Some(member)),
            Self::TargetEpoch => (6, None),
            Self::TargetMember(member) => (7, Some(member)),
            Self::CurrentAssignment(member) => (8, Some(member)),
        };
        let mut key = key_type.to_be_bytes().to_vec();
        put_text(&mut key, group);
        if let Some(member) = member {
            put_text(&mut key, member);
        }
        key
    }
}

/// Texts are ids, names and what was written by us: they have fewer than 32 768 bytes.
fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = i16::try_from(text.len()).expect("the text fits its length field");
    out.extend(length.to_be_bytes());
    out.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn records_are_what_kafkas_classes_write() {
        let partition = TopicPartition { topic: "t".parse().unwrap(), partition: 3 };
        assert_eq!(hex(&offset_commit_key("g", &partition)), "000100016700017400000003");
        assert_eq!(hex(&group_metadata_key("g")), "0002000167");
        // Kafka's with leader epoch 7; -1 is what a consumer without one sends.
        let value = "0003000000000000002affffffff00016d0000018bcfe56800";
        assert_eq!(hex(&offset_commit_value(Offset(42), "m", Timestamp(1_700_000_000_000))), value);
        let value = "00030008636f6e73756d657200000000ffffffff0000018bcfe5680000000000";
        assert_eq!(hex(&empty_group_value(Timestamp(1_700_000_000_000))), value);
    }
}
