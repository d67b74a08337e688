//! What the names and the small files in a partition's folder show.
//!
//! A folder that a broker is changing shows things that are not so: it renames the files of a segment one after the other,
//! and a list can be made in between; it writes snapshots in place; its cleaner writes for a while. So each is a suspicion
//! first, and counts once it was there unchanged for a while.

use super::finding::{Acknowledgement, Finding, Problem};
use super::survey::unreadable;
use crate::disk::{DiskError, Folder, atomic};
use crate::format::{FormatError, snapshot, txn};
use crate::storage::file_name::{CLEANED_SUFFIX, FileKind, SWAP_SUFFIX, parse_segment_name, segment_path};
use crate::storage::lookup::Indexes;
use crate::storage::{Result, StorageError};
use crate::units::Offset;

/// A snapshot or transaction index larger than this is none.
const SMALL_FILE_MAX: usize = 64 << 20;

/// Something that looks wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Suspicion {
    pub(super) finding: Finding,
    /// Size, and time of the last change, of a file that somebody may be writing.
    version: Option<(u64, i64)>,
}

/// What looks wrong in a folder that has segments at `bases`.
pub(super) fn suspicions(
    folder: &dyn Folder,
    bases: &[Offset],
    acknowledgement: Acknowledgement,
) -> Result<Vec<Suspicion>> {
    let mut found = Vec::new();
    let entries = folder.list()?.into_iter().filter(|entry| !entry.is_folder);
    let mut names: Vec<String> = entries.map(|entry| entry.name).collect();
    names.sort_unstable();
    for name in names {
        match suspicion(folder, &name, bases, acknowledgement) {
            // Each of a segment's indexes says that the log is missing.
            Ok(suspicion) => found.extend(suspicion.filter(|it| !found.contains(it))),
            Err(StorageError::Disk(error)) if error.is_unreadable() => found.push(of_unreadable(error)),
            Err(StorageError::Disk(error)) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn of_unreadable(error: DiskError) -> Suspicion {
    Suspicion { finding: unreadable(error), version: None }
}

fn suspicion(
    folder: &dyn Folder,
    name: &str,
    bases: &[Offset],
    acknowledgement: Acknowledgement,
) -> Result<Option<Suspicion>> {
    // A half-finished retention run leaves indexes below the first segment. Where records are synced before they are
    // acknowledged, an index without a log is what a power failure left of a segment in which nothing was acknowledged.
    let may_be_lost = acknowledgement == Acknowledgement::BeforeSync;
    let is_without_log =
        |base| may_be_lost && bases.first().is_none_or(|&first| base > first) && !bases.contains(&base);
    let path = folder.path().join(name);
    let suspicion = |offset, problem| {
        let finding = Finding { path: path.clone(), position: None, offset, problem };
        Some(Suspicion { finding, version: None })
    };
    Ok(match parse_segment_name(name) {
        Some((base, FileKind::TransactionIndex)) if bases.contains(&base) => {
            check_small_file(folder, name, check_transactions)?.and_then(|problem| suspicion(Some(base), problem))
        }
        Some((base, FileKind::Snapshot)) => {
            let problem = check_small_file(folder, name, |bytes| snapshot::decode(bytes).map(drop))?;
            problem.and_then(|problem| suspicion(Some(base), problem))
        }
        Some((base, FileKind::OffsetIndex | FileKind::TimeIndex)) if is_without_log(base) => {
            missing_log(folder, base, bases)?.map(|finding| Suspicion { finding, version: None })
        }
        Some(_) => None,
        None => match by_name(name) {
            Some(Problem::InterruptedCompaction) => {
                let version = folder.stat(name)?.map(|stat| (stat.size, stat.changed_ns));
                suspicion(None, Problem::InterruptedCompaction).map(|it| Suspicion { version, ..it })
            }
            problem => problem.and_then(|problem| suspicion(None, problem)),
        },
    })
}

/// An index that has entries had a log.
fn missing_log(folder: &dyn Folder, base: Offset, bases: &[Offset]) -> Result<Option<Finding>> {
    let indexes = Indexes::open_readable(folder, base, &[])?;
    if indexes.offset.count() == 0 && indexes.time.count() == 0 {
        return Ok(None);
    }
    let named = [
        indexes.offset.last()?.map(|entry| entry.relative_offset),
        indexes.time.last()?.map(|entry| entry.relative_offset),
    ];
    let next = named.into_iter().flatten().map(|offset| offset.absolute(base).next()).max().unwrap_or(base);
    let followed_by = bases.iter().copied().find(|&it| it > base).unwrap_or(next);
    let problem = Problem::MissingLog { next_offset: next.min(followed_by) };
    let path = segment_path(folder.path(), base, FileKind::Log);
    Ok(Some(Finding { path, position: None, offset: Some(base), problem }))
}

fn check_small_file(
    folder: &dyn Folder,
    name: &str,
    check: impl Fn(&[u8]) -> std::result::Result<(), FormatError>,
) -> Result<Option<Problem>> {
    let bytes = atomic::read_small(folder, name, SMALL_FILE_MAX)?;
    let wrong = bytes.and_then(|bytes| check(&bytes).err());
    Ok(wrong.map(|error| Problem::DamagedBrokerFile { what: error.to_string() }))
}

fn check_transactions(bytes: &[u8]) -> std::result::Result<(), FormatError> {
    bytes.chunks(txn::ABORTED_TRANSACTION_SIZE).try_for_each(|entry| txn::AbortedTransaction::decode(entry).map(drop))
}

/// What a broker makes of a file that is not called as one of a segment: it takes what is before the first dot for a number.
fn by_name(name: &str) -> Option<Problem> {
    let is_unfinished = name.ends_with(CLEANED_SUFFIX) || name.ends_with(SWAP_SUFFIX);
    let plain = name.strip_suffix(CLEANED_SUFFIX).or(name.strip_suffix(SWAP_SUFFIX)).unwrap_or(name);
    FileKind::from_suffix(plain.rsplit_once('.')?.1)?;
    match plain.split_once('.')?.0.parse::<i64>() {
        Ok(_) if is_unfinished => Some(Problem::InterruptedCompaction),
        Ok(_) => Some(Problem::UnusualSegmentName),
        Err(_) => {
            let what = "the name is that of a segment's file, but for its base offset: move the file elsewhere";
            Some(Problem::StopsABroker { what: what.into() })
        }
    }
}
