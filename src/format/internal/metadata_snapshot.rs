//! Snapshots of `__cluster_metadata` (`*.checkpoint`), and `bootstrap.checkpoint`, which has the same form: batches that begin
//! with a control batch whose first record is a header, and end with one that holds a footer.
//!
//! | control record | key: version, type | value |
//! | --- | --- | --- |
//! | SnapshotHeader | `0000 0003` | i16 version 0, i64 timestamp of the last record that it covers, tags |
//! | SnapshotFooter | `0000 0004` | i16 version 0, tags |
//! | KRaftVersion | `0000 0005` | i16 version 0, i16 level, tags |
//! | Voters | `0000 0006` | i16 version 0, list of voters, tags |
//!
//! Between the two control batches are batches of records without keys: see [`metadata_records`](super::metadata_records).
//! KRaftVersion and Voters follow the header in its batch, in a quorum whose voters can be changed (KIP-853).
//! Source: `SnapshotHeaderRecord.json` and its neighbours, `RecordsSnapshotWriter.java`, `BatchFileWriter.java`.

use super::metadata_records::{put_count, put_text};
use crate::format::batch::{self, BatchBuilder};
use crate::format::header::{Attributes, BatchHeader};
use crate::format::record::NewRecord;
use crate::format::varint;
use crate::units::{Offset, Timestamp};
use uuid::Uuid;

/// A controller reads no batch of more than 8 MiB; what brokers write is far below.
const BATCH_SIZE_MAX: usize = 1 << 20;
const CONTROL_KEY_VERSION: i16 = 0;
const VERSION: i16 = 0;
const NO_TAGS: u32 = 0;
/// The first level of `kraft.version` with voters that can be changed.
const KRAFT_VERSION_WITH_VOTERS: i16 = 1;

/// The type of a control record.
#[derive(Debug, Clone, Copy)]
enum Control {
    Header = 3,
    Footer = 4,
    KraftVersion = 5,
    Voters = 6,
}

/// A voter of the metadata quorum, reached at one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter {
    /// Its node id.
    pub node_id: i32,
    /// The id of the directory that its metadata is in.
    pub directory: Uuid,
    /// The name of its listener.
    pub listener: String,
    /// The host that others reach it at.
    pub host: String,
    /// The port there.
    pub port: u16,
}

/// The control records after the header of the snapshot that a quorum of changeable voters begins with.
#[must_use]
pub fn quorum_records(voters: &[Voter]) -> Vec<ControlRecord> {
    let mut level = VERSION.to_be_bytes().to_vec();
    level.extend(KRAFT_VERSION_WITH_VOTERS.to_be_bytes());
    let mut list = VERSION.to_be_bytes().to_vec();
    put_count(&mut list, voters.len());
    voters.iter().for_each(|voter| voter.put(&mut list));
    vec![ControlRecord::new(Control::KraftVersion, level), ControlRecord::new(Control::Voters, list)]
}

impl Voter {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.node_id.to_be_bytes());
        out.extend(self.directory.as_bytes());
        put_count(out, 1);
        put_text(out, &self.listener);
        put_text(out, &self.host);
        out.extend(self.port.to_be_bytes());
        varint::write_u32(out, NO_TAGS);
        let (min_kraft_version, max_kraft_version) = (0_i16, KRAFT_VERSION_WITH_VOTERS);
        out.extend(min_kraft_version.to_be_bytes());
        out.extend(max_kraft_version.to_be_bytes());
        varint::write_u32(out, NO_TAGS);
        varint::write_u32(out, NO_TAGS);
    }
}

/// Key and value of a control record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlRecord {
    /// Version and type.
    pub key: Vec<u8>,
    /// What it says.
    pub value: Vec<u8>,
}

impl ControlRecord {
    /// A record of that type; `fields` has the version and what follows, without tags.
    fn new(control: Control, mut fields: Vec<u8>) -> Self {
        let mut key = CONTROL_KEY_VERSION.to_be_bytes().to_vec();
        key.extend((control as i16).to_be_bytes());
        varint::write_u32(&mut fields, NO_TAGS);
        Self { key, value: fields }
    }

    /// Whether it is the header or the footer, which every snapshot has of its own.
    #[must_use]
    pub fn frames_a_snapshot(&self) -> bool {
        let frames = [Control::Header, Control::Footer].map(|control| (control as i16).to_be_bytes());
        frames.iter().any(|frame| self.key.ends_with(frame))
    }

    /// Whether it names voters: those of a quorum that are in its own log can be changed.
    #[must_use]
    pub fn has_voters(&self) -> bool {
        self.key.ends_with(&(Control::Voters as i16).to_be_bytes())
    }

    fn header() -> Self {
        let mut fields = VERSION.to_be_bytes().to_vec();
        let last_contained: i64 = 0;
        fields.extend(last_contained.to_be_bytes());
        Self::new(Control::Header, fields)
    }
}

/// The bytes of a snapshot file: the header, the control records after it, the metadata records, the footer.
#[must_use]
pub fn encode(after_header: &[ControlRecord], records: &[Vec<u8>], now: Timestamp) -> Vec<u8> {
    let mut file = SnapshotBytes { bytes: Vec::new(), next_offset: Offset::ZERO, now };
    let head = std::iter::once(ControlRecord::header()).chain(after_header.iter().cloned());
    file.put_control(&head.collect::<Vec<_>>());
    file.put_records(records);
    file.put_control(&[ControlRecord::new(Control::Footer, VERSION.to_be_bytes().to_vec())]);
    file.bytes
}

struct SnapshotBytes {
    bytes: Vec<u8>,
    next_offset: Offset,
    now: Timestamp,
}

impl SnapshotBytes {
    fn put_control(&mut self, records: &[ControlRecord]) {
        let attributes = Attributes::PLAIN.with_control();
        let mut builder = BatchBuilder::from_template(&BatchHeader { attributes, ..BatchHeader::PLAIN });
        for ControlRecord { key, value } in records {
            builder.push(&NewRecord { timestamp: self.now, key: Some(key), value: Some(value), headers: &[] });
        }
        self.put(&mut builder);
    }

    fn put_records(&mut self, records: &[Vec<u8>]) {
        let mut builder = BatchBuilder::new(0);
        for value in records {
            let record = NewRecord { timestamp: self.now, key: None, value: Some(value), headers: &[] };
            if !builder.is_empty() && builder.size_with(&record) > BATCH_SIZE_MAX {
                self.put(&mut builder);
                builder.clear();
            }
            builder.push(&record);
        }
        if !builder.is_empty() {
            self.put(&mut builder);
        }
    }

    fn put(&mut self, builder: &mut BatchBuilder) {
        let count = builder.record_count();
        let batch = builder.finish(None, usize::MAX).expect("what is not compressed cannot fail");
        batch::stamp(batch, self.next_offset, 0);
        self.next_offset = self.next_offset + i64::from(count);
        self.bytes.extend_from_slice(batch);
    }
}

#[cfg(test)]
mod tests {
    use super::super::metadata_records::tests::{DIRECTORY, PARTITION, TOPIC_ID};
    use super::super::metadata_records::{feature_level, partition, topic, topic_config};
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Brokers of 3.9 and 4.4 started on these bytes and served the topic.
    const GOLDEN: &str = "0000000000000000000000470000000002695d78600020000000000000018bcfe568000000018bcfe56800ffffffff\
        ffffffffffffffffffff000000012a000000080000000316000000000000000000000000\
        0000000000000001000000d40000000002b1ded5b00000000000030000018bcfe568000000018bcfe56800ffffffffffffffffffffffffffff\
        000000043a000000012e010c00116d657461646174612e76657273696f6e0015000038000002012c010200027410111213141516171819\
        1a1b1c1d1e1f0000900100000401820101030100000000101112131415161718191a1b1c1d1e1f02000000010200000001010100000001\
        000000000000000002202122232425262728292a2b2c2d2e2f00003a000006012e0104000202740d726574656e74696f6e2e6d73032d31\
        0000\
        00000000000000050000003f00000000028f6608e60020000000000000018bcfe568000000018bcfe56800ffffffffffffffffffffffffffff\
        000000011a00000008000000040600000000";

    #[test]
    fn a_bootstrap_checkpoint_is_the_one_that_brokers_have_started_on() {
        let records = [
            feature_level("metadata.version", 21),
            topic("t", TOPIC_ID),
            partition(21, &PARTITION),
            topic_config("t", "retention.ms", "-1"),
        ];
        assert_eq!(hex(&encode(&[], &records, NOW)), GOLDEN);
    }

    #[test]
    fn a_quorum_begins_with_its_voters() {
        let (listener, host) = ("CONTROLLER".to_owned(), "127.0.0.1".to_owned());
        let voter = Voter { node_id: 1, directory: DIRECTORY, listener, host, port: 0x2385 };
        let expected = "00000000000000000000009a00000000028093e2f20020000000020000018bcfe568000000018bcfe56800ffffffffffff\
            ffffffffffffffff000000032a0000000800000003160000000000000000000000001e00000208000000050a0000000100008201000004\
            08000000066e00000200000001202122232425262728292a2b2c2d2e2f020b434f4e54524f4c4c45520a3132372e302e302e3123850000\
            00000100000000\
            00000000000000030000003f00000000028f6608e60020000000000000018bcfe568000000018bcfe56800ffffffffffffffffffffffff\
            ffff000000011a00000008000000040600000000";
        assert_eq!(hex(&encode(&quorum_records(&[voter]), &[], NOW)), expected);
    }

    #[test]
    fn many_records_are_several_batches_whose_offsets_go_on() {
        let records: Vec<Vec<u8>> = (0..40_000).map(|_| topic(&"t".repeat(200), TOPIC_ID)).collect();
        let (bytes, mut at, mut next) = (encode(&[], &records, NOW), 0, 0);
        while at < bytes.len() {
            let header = BatchHeader::parse(&bytes[at..]).unwrap();
            assert_eq!(header.base_offset, Offset(next));
            assert!(header.size <= BATCH_SIZE_MAX);
            assert!(crate::format::header::checksum_matches(&header, &bytes[at..at + header.size]));
            next += i64::from(header.record_count);
            at += header.size;
        }
        assert_eq!(next, 40_002);
    }
}
