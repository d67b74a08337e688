//! How transactions ended, by the markers in the log.
//!
//! A broker asks its transaction index which were aborted. Here the markers themselves are asked: a pass over the log sees
//! all of them, and an index that lost an entry would bring aborted records back.

use crate::format::header::BatchHeader;
use crate::format::txn::{ABORTED_TRANSACTION_SIZE, AbortedTransaction};
use crate::units::Offset;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// The transactions that were aborted.
#[derive(Debug, Default)]
pub(super) struct Aborted {
    /// By producer and the offset of the marker: the first offset.
    by_marker: BTreeMap<(i64, Offset), Offset>,
    /// What the transaction indexes say of them.
    indexed: BTreeMap<(i64, Offset), AbortedTransaction>,
}

impl Aborted {
    pub(super) fn add(&mut self, producer_id: i64, first: Offset, marker: Offset) {
        self.by_marker.insert((producer_id, marker), first);
    }

    /// Takes note of the entries of a transaction index. What cannot be read of it is made again.
    pub(super) fn add_index(&mut self, bytes: &[u8]) {
        let entries = bytes.chunks_exact(ABORTED_TRANSACTION_SIZE).map_while(|it| AbortedTransaction::decode(it).ok());
        self.indexed.extend(entries.map(|it| ((it.producer_id, Offset(it.last_offset)), it)));
    }

    /// The entry of the transaction index for the one that this marker ends, if it was aborted.
    pub(super) fn entry(&self, producer_id: i64, marker: Offset) -> Option<AbortedTransaction> {
        let first = *self.by_marker.get(&(producer_id, marker))?;
        let indexed = self.indexed.get(&(producer_id, marker)).copied();
        // Without what was open beside it, the last stable offset is at most the first offset of what was.
        Some(indexed.unwrap_or(AbortedTransaction {
            producer_id,
            first_offset: first.0,
            last_offset: marker.0,
            last_stable_offset: first.0,
        }))
    }

    pub(super) fn is_empty_in(&self, offsets: Range<Offset>) -> bool {
        !self.by_marker.keys().any(|(_, marker)| offsets.contains(marker))
    }
}

/// The producers that have written to the transaction that they are in, as far as a pass over the log has come.
#[derive(Debug, Clone, Default)]
pub(super) struct InTransaction(BTreeSet<i64>);

impl InTransaction {
    /// Passes a batch of records.
    pub(super) fn pass_data(&mut self, batch: &BatchHeader) {
        if batch.attributes.is_transactional() {
            self.0.insert(batch.producer_id);
        }
    }

    /// Passes the marker of a producer; whether nothing that it speaks of is left.
    pub(super) fn pass_marker(&mut self, producer_id: i64) -> bool {
        !self.0.remove(&producer_id)
    }
}
