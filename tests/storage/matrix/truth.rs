//! What is really wrong with a damaged log, found out without the code under test: by what was done to its pieces, and by the
//! bytes of its batches and small files.

use super::super::support::ROOT;
use super::logs::{APPENDED, Batch, FOREIGN, Files, Log, Owner, Piece, State};
use kdir::storage::check::{Finding, Problem, Severity};
use memchr::memmem;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A segment all of whose bytes are batches: the first and the last offset of each.
struct ChainedSegment {
    base: i64,
    batches: Vec<(i64, i64)>,
}

impl ChainedSegment {
    fn end(&self) -> i64 {
        self.batches.last().map_or(self.base, |it| it.1 + 1)
    }
}

/// What is really wrong.
pub(super) struct Truth<'a> {
    pub(super) log: &'a Log,
    pub(super) state: &'a State,
    before: Files,
    pub(super) after: Files,
    /// Batches that are whole, unaltered, in the segment and in the order in which they were written.
    pub(super) in_place: BTreeSet<usize>,
    /// Batches that are whole and unaltered in some segment.
    pub(super) sound: BTreeSet<usize>,
    /// Whether a segment has bytes that were not written there; zeros at the end of the log are none.
    pub(super) has_extra: bool,
    pub(super) undecidable: Option<&'static str>,
    /// Whether the batches look like a log that a cleaner has left.
    pub(super) could_be_cleaned: bool,
}

impl<'a> Truth<'a> {
    pub(super) fn of(log: &'a Log, state: &'a State) -> Self {
        let mut truth = Self {
            log,
            state,
            before: log.sound.all_files(),
            after: state.all_files(),
            in_place: BTreeSet::new(),
            sound: BTreeSet::new(),
            has_extra: false,
            undecidable: None,
            could_be_cleaned: false,
        };
        for (base, pieces) in &state.segments {
            truth.look_at_segment(*base, &pieces.iter().map(|piece| piece.origin).collect::<Vec<_>>());
        }
        truth.could_be_cleaned = truth.chain().is_some();
        truth.undecidable = if truth.lost().is_empty() && !truth.has_extra { None } else { truth.why_undecidable() };
        truth
    }

    /// Why nobody can tell from the disk that something is wrong.
    pub(super) fn why_nobody_can_tell(&self) -> Option<&'static str> {
        self.undecidable.or_else(|| self.has_unknown_topic_id().then_some("topic id"))
    }

    /// Whether a broker's partition has another topic's id, a valid one. Which one is right is in the cluster's metadata, in the
    /// topic's file where kdir made it, and in the folders of other partitions of the topic. None of them is in these log
    /// dirs, but for one kind: then a folder with any id looks like that of a topic which had it from the beginning.
    fn has_unknown_topic_id(&self) -> bool {
        let name = "app-0/partition.metadata";
        let is_foreign = self.after.get(name).is_some_and(|it| it == b"version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ");
        is_foreign && self.log.owner != Owner::Kdir && !self.after.contains_key("app-1/partition.metadata")
    }

    fn look_at_segment(&mut self, base: i64, origins: &[Option<usize>]) {
        let mut first_places = BTreeMap::new();
        for (at, origin) in origins.iter().enumerate() {
            let is_new = origin
                .is_some_and(|batch| self.log.sound.place_of(batch).0 == base && !first_places.contains_key(&batch));
            match origin {
                Some(batch) if is_new => drop(first_places.insert(*batch, at)),
                _ => self.has_extra |= !self.is_end_of_zeros(base, at),
            }
            self.sound.extend(*origin);
        }
        let is_inverted = |batch: usize, at: usize| {
            first_places.iter().any(|(&other, &place)| (other < batch) != (place < at) && other != batch)
        };
        let in_place = first_places.iter().filter(|&(&batch, &at)| !is_inverted(batch, at));
        self.in_place.extend(in_place.map(|(&batch, _)| batch));
    }

    fn is_end_of_zeros(&self, base: i64, at: usize) -> bool {
        let is_last = self.state.segments.keys().last() == Some(&base);
        let is_zero = |bytes: &[u8]| bytes.iter().all(|&byte| byte == 0);
        is_last && self.state.segments[&base][at..].iter().all(|piece| is_zero(&piece.bytes))
    }

    /// Acknowledged batches that are not in their place.
    pub(super) fn lost(&self) -> Vec<&'a Batch> {
        let batches = self.log.batches.iter().enumerate();
        let is_lost =
            |&(at, batch): &(usize, &Batch)| !self.in_place.contains(&at) && batch.first < self.log.acknowledged;
        batches.filter(is_lost).map(|(_, batch)| batch).collect()
    }

    /// Paths whose bytes are not what they were.
    pub(super) fn changed(&self) -> Vec<&str> {
        let names = self.before.keys().chain(self.after.keys()).collect::<BTreeSet<_>>();
        names.into_iter().filter(|name| self.before.get(*name) != self.after.get(*name)).map(String::as_str).collect()
    }

    /// Whether nothing that matters has changed.
    pub(super) fn is_unharmed(&self) -> bool {
        let is_harmless =
            |name: &&str| name.ends_with(".log") || is_harmless(name, self.after.get(*name).map(Vec::as_slice));
        self.in_place.len() == self.log.batches.len()
            && !self.has_extra
            && self.state.has_folder
            && self.changed().iter().all(is_harmless)
    }

    /// The segments, where all their bytes are valid batches whose offsets rise, within the names of the segments.
    fn chain(&self) -> Option<Vec<ChainedSegment>> {
        let (mut chain, mut next) = (Vec::new(), 0);
        for (&base, pieces) in &self.state.segments {
            if base < next {
                return None;
            }
            next = base;
            let mut batches = Vec::new();
            for (at, piece) in pieces.iter().enumerate() {
                if self.is_end_of_zeros(base, at) {
                    break;
                }
                let (first, last) = self.offsets_of(&piece.bytes).filter(|it| it.0 >= next)?;
                batches.push((first, last));
                next = last + 1;
            }
            chain.push(ChainedSegment { base, batches });
        }
        Some(chain)
    }

    /// The offsets that some bytes claim, if they are a valid batch: one of the log or foreign, with any base offset.
    fn offsets_of(&self, bytes: &[u8]) -> Option<(i64, i64)> {
        let offset = i64::from_be_bytes(bytes.get(..8)?.try_into().unwrap());
        if bytes.get(8..12)? != ((bytes.len() - 12) as u32).to_be_bytes() {
            return None;
        }
        let known = self.log.batches.iter().find(|it| tail(&it.bytes) == tail(bytes));
        match known {
            Some(known) if known.is_v2() => Some((offset, offset + known.last - known.first)),
            Some(known) => Some((offset - (known.last - known.first), offset)),
            None if is_foreign(bytes) => {
                Some((offset, offset + i64::from(i32::from_be_bytes(bytes[23..27].try_into().unwrap()))))
            }
            None => None,
        }
    }

    /// Whether the recovery point file says that the partition was made: its first segment was.
    fn has_row(&self) -> bool {
        let file = self.after.get("recovery-point-offset-checkpoint");
        file.is_some_and(|bytes| memmem::find(bytes, b"app 0 ").is_some())
    }

    /// What the files that are left promise: all below it was acknowledged.
    fn promised(&self) -> i64 {
        let row = |name: &str| {
            let text = String::from_utf8_lossy(self.after.get(name)?);
            text.lines().find_map(|line| line.strip_prefix("app 0 ")?.parse::<i64>().ok())
        };
        let is_untouched = |name: &str| self.after.contains_key(name) && self.after.get(name) == self.before.get(name);
        // It names the topic that it is of.
        let is_of_topic =
            is_untouched("app-0/durable-end") && is_untouched("app.json") && !self.may_have_been_a_brokers();
        let of_end = is_of_topic.then_some(self.log.acknowledged);
        let rows = ["recovery-point-offset-checkpoint", "replication-offset-checkpoint"].map(row);
        rows.into_iter().chain([of_end]).flatten().max().unwrap_or(0)
    }

    /// Whether the leader epochs are another's, and no batch says so: a broker that begins an epoch may cut before it what
    /// `durable-end` promises, and leaves just that.
    fn may_have_been_a_brokers(&self) -> bool {
        let pieces = self.state.segments.values().filter_map(|pieces| pieces.first());
        self.after.get("app-0/leader-epoch-checkpoint").is_some_and(|it| it == b"0\n1\n7 0\n")
            && !pieces.into_iter().any(|piece| self.offsets_of(&piece.bytes).is_some())
    }

    /// Whether something looks exactly like a batch of the log one bit of whose base offset is damaged, and that should have
    /// this one: the pieces beside it, or what was promised, leave just the room that it takes. A batch of another log that
    /// fits there by chance is no different, byte for byte, from one of this log with a flipped bit: no checksum covers the
    /// offset, and no file knows what was in it.
    pub(super) fn may_be_flipped_from(&self, bytes: &[u8], base: i64) -> bool {
        let Some((first, last)) = self.offsets_of(bytes) else { return false };
        let all: Vec<(i64, &Piece)> =
            self.state.segments.iter().flat_map(|(base, it)| it.iter().map(|piece| (*base, piece))).collect();
        let at = all.iter().position(|(_, piece)| piece.bytes == bytes);
        let Some(at) = at.filter(|_| (first ^ base).count_ones() == 1) else { return false };
        let segment = all[at].0;
        let before = match at.checked_sub(1).map(|before| all[before]) {
            Some((other, piece)) if other == segment => self.offsets_of(&piece.bytes).map(|it| it.1 + 1),
            _ => Some(segment),
        };
        let after = all.get(at + 1).map(|&(other, piece)| match other == segment {
            true => self.offsets_of(&piece.bytes).map(|it| it.0),
            false => Some(other),
        });
        let after = after.unwrap_or_else(|| Some(self.promised()));
        before == Some(base) && after == Some(base + last - first + 1)
    }

    /// Whether a foreign batch may be flipped from one that has this offset.
    pub(super) fn fits_in(&self, offset: i64) -> bool {
        let foreign = self.state.segments.values().flatten().filter(|it| it.origin.is_none() && is_foreign(&it.bytes));
        foreign.into_iter().any(|it| (offset - 2..=offset).any(|base| self.may_be_flipped_from(&it.bytes, base)))
    }

    /// Whether a broker makes the folder again by itself when it starts, empty, and gets the records from another replica, if
    /// it is given the partition at all: it may have moved to another broker since the checkpoint files were written. A folder
    /// that a repair makes is one that the broker takes for the whole of its log.
    pub(super) fn is_for_the_broker_to_make(&self) -> bool {
        !self.state.has_folder && self.log.owner != Owner::Kdir
    }

    /// Whether there is an index with entries whose log is not: brokers sync neither before they acknowledge. Retention that
    /// was interrupted leaves one at the beginning.
    fn has_index_alone(&self) -> bool {
        let first = self.state.segments.keys().next().copied().unwrap_or(-1);
        let base = |name: &str| name.strip_prefix("app-0/")?.strip_suffix(".index")?.parse::<i64>().ok();
        let is_alone = |base: i64| base > first && !self.state.segments.contains_key(&base);
        self.after.iter().any(|(name, bytes)| !bytes.is_empty() && base(name).is_some_and(is_alone))
    }

    /// The disk looks exactly like one that a sound broker or kdir can leave: every byte is of a valid batch, the offsets rise,
    /// and the log ends where all that is left of the small files says,
    /// or later. Then there are these reasons, and no other.
    fn why_undecidable(&self) -> Option<&'static str> {
        let (chain, is_brokers) = (self.chain()?, self.log.owner != Owner::Kdir);
        let end = chain.last().map_or(0, ChainedSegment::end);
        let lacks_a_log = if is_brokers { self.has_index_alone() } else { chain.is_empty() && self.has_row() };
        if end < self.promised() || lacks_a_log {
            return None;
        }
        let ranges = chain.iter().flat_map(|it| [(it.base, it.base - 1)].into_iter().chain(it.batches.iter().copied()));
        let ranges: Vec<(i64, i64)> = ranges.collect();
        if ranges.windows(2).any(|pair| pair[1].0 > pair[0].1 + 1) {
            // A cleaner leaves gaps, and followers get them. That a topic is compacted is in its topic file; nothing in these
            // log dirs says whether a broker's is.
            return (self.log.is_compacted || is_brokers).then_some("gaps");
        }
        let first_lost = self.lost().first().map_or(i64::MAX, |it| it.first);
        if chain.first().is_some_and(|it| it.base > first_lost) {
            // Retention takes whole segments, oldest first, and leaves no word of it.
            return Some("retention");
        }
        if end < self.log.acknowledged {
            // Every file that said more is gone.
            return Some("witness");
        }
        // Another batch with a right checksum and the same offsets: no file knows what was in it.
        let pieces = self.state.segments.values().flatten();
        pieces.filter(|it| it.origin.is_none()).any(|it| is_foreign(&it.bytes)).then_some("content")
    }

    /// Whether a finding is about what is wrong, and not about something else.
    pub(super) fn is_about(&self, finding: &Finding) -> bool {
        let root = Path::new(ROOT);
        let name = finding.path.strip_prefix(root).unwrap_or(root).to_string_lossy().into_owned();
        let changed = self.changed();
        if finding.offset.is_none() {
            return changed.iter().any(|it| **it == name || it.starts_with(&format!("{name}/")));
        }
        let lost = self.lost();
        let (Some(first), Some(last)) = (lost.first(), lost.last()) else { return changed.contains(&name.as_str()) };
        // The neighbours contradict what is wrong, and it is not always known which of the two it is.
        let before = self.log.batches.iter().rev().find(|it| it.last < first.first).map_or(0, |it| it.first);
        let after = self.log.batches.iter().find(|it| it.first > last.last).map_or(i64::MAX, |it| it.last + 1);
        let from = finding.offset.unwrap_or_default().0;
        let to = match finding.problem {
            Problem::DamagedBatch { next_offset, .. }
            | Problem::OutOfOrder { next_offset, .. }
            | Problem::MissingOffsets { next_offset }
            | Problem::Gaps { next_offset, .. } => next_offset.0,
            Problem::EndsBelowRecoveryPoint { recovery_point: next }
            | Problem::EndsBelowHighWatermark { high_watermark: next }
            | Problem::Contradiction { next, .. }
            | Problem::StepsBack { reached: next, .. }
            | Problem::OverlappingSegments { base_offset: next, .. }
            | Problem::WrongBaseOffset { claimed: next } => next.0,
            Problem::MissingFolder { .. } => return from >= first.first,
            Problem::MissingLog { .. } => i64::MAX,
            _ => from,
        };
        from.min(to) <= after && to.max(from) >= before
    }

    /// Small files that say what is not true, and the least that has to be said of them.
    pub(super) fn to_be_noticed(&self) -> Option<(&str, Severity)> {
        let changed = self.changed();
        let name = changed.iter().find(|name| !name.ends_with(".log"))?;
        let bytes = self.after.get(*name).map(Vec::as_slice);
        let is_nonsense = bytes.is_some_and(|it| !it.is_empty()) && !is_checkpoint(bytes.unwrap_or_default());
        let least = match name.rsplit('/').next().unwrap_or_default() {
            "partition.metadata" if !self.has_unknown_topic_id() => Severity::BlocksBroker,
            "meta.properties" if bytes.is_some_and(|it| !it.starts_with(b"version=1\ncluster")) => {
                Severity::BlocksBroker
            }
            "app.json" if bytes.is_some() => Severity::Derived,
            it if it.ends_with("-checkpoint") && is_nonsense => Severity::Derived,
            "leader-epoch-checkpoint" if bytes == Some(b"0\n1\n7 0\n") && self.log.batches[0].is_v2() => {
                Severity::Derived
            }
            it if it.ends_with(".snapshot") && bytes.is_some_and(|it| it.len() < 10 || it[1] == 0) => Severity::Derived,
            _ => return None,
        };
        (self.state.has_folder && changed.len() == 1).then_some((*name, least))
    }
}

/// Whether these bytes hold a value that never was in the log.
pub(super) fn is_foreign(bytes: &[u8]) -> bool {
    [FOREIGN, APPENDED].iter().any(|number| memmem::find(bytes, format!("value {number}.").as_bytes()).is_some())
}

/// What no checksum leaves out: all that follows the offset, or the leader epoch.
pub(super) fn tail(bytes: &[u8]) -> &[u8] {
    let start = if bytes.get(16) == Some(&2) { 16 } else { 12 };
    bytes.get(start..).unwrap_or_default()
}

fn is_checkpoint(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    let is_row = |line: &&str| line.split(' ').rev().take(2).all(|word| word.parse::<i64>().is_ok());
    lines.len() >= 2
        && lines[0] == "0"
        && lines[1].parse() == Ok(lines.len() - 2)
        && lines[2..].iter().all(|line| line.contains(' ') && is_row(line))
}

/// Whether a file in this state is as good as sound: nobody loses anything by it.
fn is_harmless(name: &str, bytes: Option<&[u8]>) -> bool {
    match name.rsplit('/').next().unwrap_or_default() {
        // Brokers make them empty; one without a row for this partition says nothing about it.
        it if it.ends_with("-offset-checkpoint") => bytes.is_none_or(|it| it.is_empty() || is_checkpoint(it)),
        "leader-epoch-checkpoint" => bytes.is_none_or(<[u8]>::is_empty),
        // Derived, or worth nothing when it is not whole.
        "durable-end" => true,
        // The last entry of a time index is believed where it is one.
        it if it.ends_with(".timeindex") => bytes.is_none_or(|it| it.iter().all(|&byte| byte == 0)),
        it => [".index", ".snapshot", ".txnindex"].iter().any(|suffix| it.ends_with(suffix)),
    }
}

impl Truth<'_> {
    /// Whether a row of the high watermarks says that there were records.
    pub(super) fn is_known_to_have_records(&self) -> bool {
        let file = self.after.get("replication-offset-checkpoint");
        file.is_some_and(|bytes| is_checkpoint(bytes) && memmem::find(bytes, b"app 0 ").is_some())
    }

    /// All below was acknowledged, as far as a file or a batch that is left can tell.
    pub(super) fn promised_with_log(&self) -> i64 {
        let of_log = self.in_place.iter().map(|&it| self.log.batches[it].last + 1).max();
        self.promised().max(of_log.unwrap_or(0))
    }
}
