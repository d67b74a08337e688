//! Record batch v2: the unit in which a log is written, checked, indexed and read. Its header is in
//! [`header`](super::header), the encoder in [`batch_builder`](super::batch_builder); here is what a finished batch may
//! still be given.

pub use super::batch_builder::{BatchBuilder, compressor};

use super::crc;
use super::header::{
    ATTRIBUTES, Attributes, BASE_OFFSET, BATCH_HEADER_SIZE, BATCH_LENGTH, BatchHeader, CRC, LEADER_EPOCH, MAX_TIMESTAMP,
};
use crate::units::{Offset, Timestamp};

/// Gives a finished batch its place in the log. The checksum covers neither field.
pub fn stamp(batch: &mut [u8], base_offset: Offset, leader_epoch: i32) {
    batch[BASE_OFFSET..BASE_OFFSET + 8].copy_from_slice(&base_offset.0.to_be_bytes());
    batch[LEADER_EPOCH..LEADER_EPOCH + 4].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Gives a finished batch the time of its append, which all of its records have from then on. The checksum, which covers
/// that, is made again over the whole batch: to combine it with that of the bytes that stay takes longer for all but very
/// large batches.
pub fn stamp_append_time(batch: &mut [u8], timestamp: Timestamp) {
    batch[ATTRIBUTES + 1] |= Attributes::LOG_APPEND_TIME as u8;
    batch[MAX_TIMESTAMP..MAX_TIMESTAMP + 8].copy_from_slice(&timestamp.0.to_be_bytes());
    let crc = crc::crc32c(&batch[ATTRIBUTES..]);
    batch[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
}

/// The first bytes of a batch (of at least its header) with the stored offset moved by `shift`, and with another leader
/// epoch where one is given; the old formats have none.
#[must_use]
pub fn moved(head: &[u8], shift: i64, leader_epoch: Option<i32>) -> Vec<u8> {
    let stored = i64::from_be_bytes(head[BASE_OFFSET..BASE_OFFSET + 8].try_into().expect("eight bytes"));
    let mut field = stored.wrapping_add(shift).to_be_bytes().to_vec();
    if let Some(epoch) = leader_epoch {
        field.extend_from_slice(&head[BATCH_LENGTH..LEADER_EPOCH]);
        field.extend_from_slice(&epoch.to_be_bytes());
    }
    field
}

/// A batch without records that takes the offsets from `base_offset` to `last_offset`, as Kafka's cleaner leaves it.
///
/// # Panics
/// When the offsets are more than one batch can take.
#[must_use]
pub fn empty(base_offset: Offset, last_offset: Offset, leader_epoch: i32) -> [u8; BATCH_HEADER_SIZE] {
    let last_offset_delta =
        i32::try_from(last_offset - base_offset).expect("a batch reaches no further than a segment");
    let mut bytes = [0; BATCH_HEADER_SIZE];
    BatchHeader { base_offset, leader_epoch, last_offset_delta, ..BatchHeader::PLAIN }.write(&mut bytes);
    bytes
}
