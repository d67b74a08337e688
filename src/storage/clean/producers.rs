//! The last batch of each producer, which says what sequence comes next.

use crate::format::header::BatchHeader;
use crate::units::{Offset, Timestamp};
use std::collections::HashMap;

/// For so long a broker knows a producer that has gone: `producer.id.expiration.ms`.
const KNOWN_MS: i128 = 86_400_000;

/// What the batches of a log say of their producers.
#[derive(Debug, Default)]
pub(super) struct Producers(HashMap<i64, Known>);

#[derive(Debug)]
struct Known {
    epoch: i16,
    /// The last offset of its last batch of records in this epoch: a marker may begin one.
    last: Option<Offset>,
    timestamp: Timestamp,
    is_in_transaction: bool,
}

impl Producers {
    /// Passes a batch.
    pub(super) fn pass(&mut self, batch: &BatchHeader) {
        if batch.producer_id < 0 {
            return;
        }
        let (is_control, is_transactional) = (batch.attributes.is_control(), batch.attributes.is_transactional());
        let before = self.0.get(&batch.producer_id).filter(|known| known.epoch == batch.producer_epoch);
        let last = before.and_then(|known| known.last);
        let known = Known {
            epoch: batch.producer_epoch,
            last: if is_control { last } else { Some(batch.last_offset()) },
            timestamp: batch.max_timestamp,
            is_in_transaction: is_transactional && !is_control,
        };
        self.0.insert(batch.producer_id, known);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets those that a broker would not know any more.
    pub(super) fn forget_before(&mut self, now: Timestamp) {
        self.0.retain(|_, known| known.is_in_transaction || now.since(known.timestamp) < KNOWN_MS);
    }

    /// Whether a batch is the one by which a broker knows where its producer goes on: the last with records, or the marker
    /// that has begun an epoch without any.
    pub(super) fn go_on_from(&self, batch: &BatchHeader) -> bool {
        batch.producer_id >= 0
            && self.0.get(&batch.producer_id).is_some_and(|known| match known.last {
                Some(last) => batch.last_offset() == last,
                None => batch.attributes.is_control() && batch.producer_epoch == known.epoch,
            })
    }
}
