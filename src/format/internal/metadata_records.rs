//! The records of `__cluster_metadata` that kdir writes, as bytes.
//!
//! A record is the value of a Kafka record without a key: the frame version, the API key and the version, each an unsigned
//! varint, then its fields, all flexible (see [`schema`](super::schema)). Field tables are in [`metadata`](super::metadata).
//! Source: `MetadataRecordSerde.java`, `TopicRecord.json` and its neighbours, and brokers of 3.3 to 4.4 that were started on
//! these bytes.

use super::metadata::api_key;
use crate::format::varint;
use uuid::Uuid;

const FRAME_VERSION: u32 = 1;
const TOPIC_RESOURCE: i8 = 2;
const NO_BROKER_EPOCH: i64 = -1;
const NO_TAGS: u32 = 0;

/// The first `metadata.version` whose records of partitions name the directories of replicas: 3.7-IV2.
const DIRECTORIES_SINCE: i16 = 17;
/// The first one with version 2 of them, which has eligible leader replicas: 4.0-IV1.
const ELIGIBLE_LEADERS_SINCE: i16 = 23;

/// The directory of a replica that no broker has registered yet.
pub const UNASSIGNED_DIRECTORY: Uuid = Uuid::from_u128(1);

/// A partition of a topic, without a change in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionRecord<'a> {
    /// The topic's id.
    pub topic_id: Uuid,
    /// The number of the partition.
    pub partition: i32,
    /// The brokers that are to have it, the preferred leader first.
    pub replicas: &'a [i32],
    /// In which directory of each of them it is.
    pub directories: &'a [Uuid],
    /// The replicas that have all of it.
    pub isr: &'a [i32],
    /// The broker that serves it.
    pub leader: i32,
    /// At or above every epoch in its log.
    pub leader_epoch: i32,
}

/// A feature of the cluster, at a level.
#[must_use]
pub fn feature_level(name: &str, level: i16) -> Vec<u8> {
    let mut record = begin(api_key::FEATURE_LEVEL, 0);
    put_text(&mut record, name);
    record.extend(level.to_be_bytes());
    end(record)
}

/// A topic.
#[must_use]
pub fn topic(name: &str, topic_id: Uuid) -> Vec<u8> {
    let mut record = begin(api_key::TOPIC, 0);
    put_text(&mut record, name);
    record.extend(topic_id.as_bytes());
    end(record)
}

/// A partition, in the version that a cluster with this `metadata.version` writes.
#[must_use]
pub fn partition(metadata_version: i16, partition: &PartitionRecord<'_>) -> Vec<u8> {
    let version = match metadata_version {
        ELIGIBLE_LEADERS_SINCE.. => 2,
        DIRECTORIES_SINCE.. => 1,
        _ => 0,
    };
    let mut record = begin(api_key::PARTITION, version);
    record.extend(partition.partition.to_be_bytes());
    record.extend(partition.topic_id.as_bytes());
    put_ints(&mut record, partition.replicas);
    put_ints(&mut record, partition.isr);
    let (removing, adding, partition_epoch) = (&[], &[], 0_i32);
    put_ints(&mut record, removing);
    put_ints(&mut record, adding);
    for number in [partition.leader, partition.leader_epoch, partition_epoch] {
        record.extend(number.to_be_bytes());
    }
    if version > 0 {
        put_count(&mut record, partition.directories.len());
        partition.directories.iter().for_each(|directory| record.extend(directory.as_bytes()));
    }
    end(record)
}

/// A setting of a topic.
#[must_use]
pub fn topic_config(topic: &str, key: &str, value: &str) -> Vec<u8> {
    let mut record = begin(api_key::CONFIG, 0);
    record.extend(TOPIC_RESOURCE.to_be_bytes());
    for text in [topic, key, value] {
        put_text(&mut record, text);
    }
    end(record)
}

/// The producer ids below `next` are taken.
#[must_use]
pub fn producer_ids(broker: i32, next: i64) -> Vec<u8> {
    let mut record = begin(api_key::PRODUCER_IDS, 0);
    record.extend(broker.to_be_bytes());
    record.extend(NO_BROKER_EPOCH.to_be_bytes());
    record.extend(next.to_be_bytes());
    end(record)
}

fn begin(api_key: u32, version: u32) -> Vec<u8> {
    let mut record = Vec::with_capacity(64);
    for number in [FRAME_VERSION, api_key, version] {
        varint::write_u32(&mut record, number);
    }
    record
}

fn end(mut record: Vec<u8>) -> Vec<u8> {
    varint::write_u32(&mut record, NO_TAGS);
    record
}

/// A length or a count, where 0 is null.
pub(super) fn put_count(out: &mut Vec<u8>, count: usize) {
    varint::write_u32(out, u32::try_from(count + 1).expect("what is counted fits its field"));
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_count(out, text.len());
    out.extend(text.as_bytes());
}

fn put_ints(out: &mut Vec<u8>, numbers: &[i32]) {
    put_count(out, numbers.len());
    numbers.iter().for_each(|number| out.extend(number.to_be_bytes()));
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) const TOPIC_ID: Uuid = Uuid::from_u128(0x1011_1213_1415_1617_1819_1a1b_1c1d_1e1f);
    pub(in super::super) const DIRECTORY: Uuid = Uuid::from_u128(0x2021_2223_2425_2627_2829_2a2b_2c2d_2e2f);
    pub(in super::super) const PARTITION: PartitionRecord<'_> = PartitionRecord {
        topic_id: TOPIC_ID,
        partition: 0,
        replicas: &[1],
        directories: &[DIRECTORY],
        isr: &[1],
        leader: 1,
        leader_epoch: 0,
    };

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn records_are_those_that_brokers_have_started_on() {
        assert_eq!(hex(&feature_level("metadata.version", 21)), "010c00116d657461646174612e76657273696f6e001500");
        assert_eq!(hex(&topic("t", TOPIC_ID)), "0102000274101112131415161718191a1b1c1d1e1f00");
        assert_eq!(hex(&topic_config("t", "retention.ms", "-1")), "0104000202740d726574656e74696f6e2e6d73032d3100");
        assert_eq!(hex(&producer_ids(1, 1_000_000)), "010f0000000001ffffffffffffffff00000000000f424000");
    }

    #[test]
    fn a_partition_has_the_version_of_the_cluster() {
        let fields = "00000000101112131415161718191a1b1c1d1e1f02000000010200000001010100000001\
                      0000000000000000";
        let directories = "02202122232425262728292a2b2c2d2e2f";
        for (metadata_version, version, directories) in
            [(7, "00", ""), (16, "00", ""), (17, "01", directories), (22, "01", directories), (23, "02", directories)]
        {
            let expected = format!("0103{version}{fields}{directories}00");
            assert_eq!(hex(&partition(metadata_version, &PARTITION)), expected, "{metadata_version}");
        }
    }
}
