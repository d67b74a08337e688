//! Finds where the last records of a partition begin that are wanted, reading backwards from its end.

use super::merge::{Source, Unseen};
use crate::storage::StorageError;
use crate::units::Offset;

/// How far back the first look goes at least, where not every record is wanted.
const WINDOW_MIN: u64 = 4096;
/// By how much each look is longer than the one before it.
const GROWTH: u64 = 4;

/// Where the last `count` wanted records between `start` and `end` begin, and how many there are from there on: at least
/// `count` unless the partition has fewer. `open` gives the records between two offsets.
///
/// Every record is read at most once, and none before the stretch that holds the last `count`.
///
/// # Errors
/// When `open` fails or the partition cannot be read.
pub(super) fn find<E: From<StorageError>>(
    count: u64,
    start: Offset,
    end: Offset,
    mut open: impl FnMut(Offset, Offset) -> Result<Option<Source>, E>,
) -> Result<(Offset, u64), E> {
    let (mut from, mut found) = (end, 0);
    let mut window = count;
    while found < count && from > start {
        let to = from;
        from = Offset(to.0.saturating_sub_unsigned(window)).max(start);
        window = window.max(WINDOW_MIN).saturating_mul(GROWTH);
        let Some(mut source) = open(from, to)? else { continue };
        // What retention removes meanwhile is told when the records are read to be shown.
        let mut unseen = Unseen::default();
        while source.advance(&mut unseen)? {
            found += 1;
        }
    }
    Ok((from, found))
}
