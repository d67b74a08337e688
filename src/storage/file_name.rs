//! Base offset and kind of file to file name and back: the one place.

use crate::units::{Offset, Position};
use std::path::{Path, PathBuf};

/// The files of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Record batches.
    Log,
    /// Offset to position.
    OffsetIndex,
    /// Timestamp to offset.
    TimeIndex,
    /// Aborted transactions.
    TransactionIndex,
    /// The producers' state at the base offset.
    Snapshot,
}

impl FileKind {
    /// Every kind, the log last: a segment exists as long as its log does.
    pub const ALL: [Self; 5] = [Self::OffsetIndex, Self::TimeIndex, Self::TransactionIndex, Self::Snapshot, Self::Log];

    /// What stands behind the dot.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::OffsetIndex => "index",
            Self::TimeIndex => "timeindex",
            Self::TransactionIndex => "txnindex",
            Self::Snapshot => "snapshot",
        }
    }

    /// The kind that a file name ends with.
    #[must_use]
    pub fn from_suffix(suffix: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.suffix() == suffix)
    }
}

/// Behind the name of a file that is about to be removed.
pub const DELETED_SUFFIX: &str = ".deleted";
/// Behind the name of a file that a broker's cleaner is writing.
pub const CLEANED_SUFFIX: &str = ".cleaned";
/// Behind the name of a file that a broker's cleaner has written and not yet put in place.
pub const SWAP_SUFFIX: &str = ".swap";

/// Behind the name of a file that a repair has replaced.
pub const DAMAGED_SUFFIX: &str = ".damaged";

/// The file of a compaction that is going on: locked by it, and what memory has no room for.
pub const COMPACTING: &str = "compacting";

/// Behind the name of the lock file of a consumer group.
pub const GROUP_SUFFIX: &str = ".group";

/// The name of a segment's file while a compaction writes it. It has no dot: a broker that finds `….index` takes what is
/// before for an offset, and does not start.
#[must_use]
pub fn compacting_name(base_offset: Offset, kind: FileKind) -> String {
    format!("{COMPACTING}-{:020}-{}", base_offset.0, kind.suffix())
}

fn is_compacting_name(name: &str) -> bool {
    let parts = name.strip_prefix(COMPACTING).and_then(|rest| rest.strip_prefix('-')?.split_once('-'));
    parts.is_some_and(|(base, suffix)| is_base_offset(base) && FileKind::from_suffix(suffix).is_some())
}

/// Whether a file is one of a compaction.
#[must_use]
pub fn is_of_a_compaction(name: &str) -> bool {
    name == COMPACTING || is_compacting_name(name)
}

/// The name of a segment's file: the base offset in 20 digits, a dot, the kind.
#[must_use]
pub fn segment_name(base_offset: Offset, kind: FileKind) -> String {
    format!("{:020}.{}", base_offset.0, kind.suffix())
}

/// The path of a segment's file in the folder at this path.
#[must_use]
pub fn segment_path(folder: &Path, base_offset: Offset, kind: FileKind) -> PathBuf {
    folder.join(segment_name(base_offset, kind))
}

/// The base offset and kind of a segment's file; `None` for any other name, also of one that no batch could be in.
#[must_use]
pub fn parse_segment_name(name: &str) -> Option<(Offset, FileKind)> {
    let (digits, suffix) = name.split_once('.')?;
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let base_offset = Offset(digits.parse().ok()?);
    Some((base_offset, FileKind::from_suffix(suffix)?)).filter(|_| base_offset <= Offset::BASE_MAX)
}

/// Whether a file is one of a segment, also one that is about to be removed or put in place.
#[must_use]
pub fn is_of_a_segment(name: &str) -> bool {
    let suffixes = [DELETED_SUFFIX, CLEANED_SUFFIX, SWAP_SUFFIX];
    let plain = suffixes.into_iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    parse_segment_name(plain).is_some()
}

/// Whether a file is one that a broker or kdir puts into the folder of a partition.
#[must_use]
pub fn is_of_a_partition(name: &str) -> bool {
    const SMALL_FILES: [&str; 3] = ["partition.metadata", "leader-epoch-checkpoint", "durable-end"];
    if let Some((kept, number)) = name.split_once(DAMAGED_SUFFIX) {
        return is_copy_number(number) && is_of_a_partition(kept);
    }
    let is_small = |name: &str| SMALL_FILES.contains(&name);
    is_of_a_segment(name)
        || is_small(name)
        || name.strip_suffix(".tmp").is_some_and(is_small)
        || name == "repair.tmp"
        || name.strip_prefix("repair-").is_some_and(is_base_offset)
        || name.strip_prefix("unsynced-").is_some_and(|id| uuid::Uuid::try_parse(id).is_ok())
        || parse_cut_name(name).is_some()
        || is_of_a_compaction(name)
        || name.len() > GROUP_SUFFIX.len() && name.ends_with(GROUP_SUFFIX)
}

fn is_base_offset(digits: &str) -> bool {
    digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// What follows the name of a copy that was made when one of that name was there: nothing, or a dot and a number.
fn is_copy_number(text: &str) -> bool {
    text.is_empty() || text.strip_prefix('.').is_some_and(is_number)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The base offset of the segment that a file was cut from whose name [`cut_name`] gave, or that with the number of a copy.
#[must_use]
pub fn parse_cut_name(name: &str) -> Option<Offset> {
    let (base, rest) = name.strip_prefix("cut-")?.split_once('-')?;
    let (position, number) = rest.find('.').map_or((rest, ""), |dot| rest.split_at(dot));
    let is_cut = is_base_offset(base) && is_number(position) && is_copy_number(number);
    base.parse().ok().filter(|_| is_cut).map(Offset)
}

/// The name of what was cut from a log, which neither a broker nor this program takes for a segment.
#[must_use]
pub fn cut_name(base_offset: Offset, position: Position) -> String {
    format!("cut-{:020}-{position}", base_offset.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for kind in FileKind::ALL {
            for base in [0, 170_210, Offset::BASE_MAX.0] {
                let path = segment_path(Path::new("/t-0"), Offset(base), kind);
                let name = path.file_name().unwrap().to_str().unwrap();
                assert_eq!(parse_segment_name(name), Some((Offset(base), kind)));
            }
        }
    }

    #[test]
    fn files_of_a_partition_are_known_by_their_whole_name() {
        let base = "00000000000000000017";
        for name in [
            format!("{base}.log"),
            format!("{base}.timeindex.deleted"),
            format!("{base}.log.swap"),
            format!("{base}.snapshot"),
            "partition.metadata".into(),
            "leader-epoch-checkpoint".into(),
            "leader-epoch-checkpoint.tmp".into(),
            "leader-epoch-checkpoint.damaged".into(),
            "partition.metadata.damaged.2".into(),
            "durable-end".into(),
            "repair.tmp".into(),
            format!("repair-{base}"),
            cut_name(Offset(17), Position(99)),
            format!("{}.1", cut_name(Offset(17), Position(99))),
            "unsynced-6c0d9a8e-0000-4000-8000-000000000000".into(),
        ] {
            assert!(is_of_a_partition(&name), "{name}");
        }
        for name in [
            "thesis.doc",
            "cut-up.mp3",
            "repair-shop",
            "unsynced-photos",
            "a.jpg",
            "repair",
            "notes.damaged",
            "17.log",
            "",
        ] {
            assert!(!is_of_a_partition(name), "{name}");
            assert!(!is_of_a_partition(&format!("{base}.{name}x")), "{name}");
        }
    }

    #[test]
    fn other_names_are_no_segments() {
        for name in [
            "0.log",
            "00000000000000000000",
            "00000000000000000000.log.deleted",
            "0000000000000000000x.log",
            "99999999999999999999.log",
            "09223372036854775807.log",
            "000000000000000000000.log",
            "cut-00000000000000000000-17",
            "partition.metadata",
            "-0000000000000000001.log",
        ] {
            assert_eq!(parse_segment_name(name), None, "{name}");
        }
    }
}
