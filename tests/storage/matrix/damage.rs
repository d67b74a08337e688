//! The damages: each a name, the places where it can be done to a log, and what is done there.
//!
//! What is done is done to pieces, so that it is known for certain which batches are still there, and where.

use super::logs::{FOREIGN, Log, Piece, State, batch_of, checkpoint, log_name};

/// Where a damage is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Batch(usize),
    /// By base offset.
    Segment(i64),
    /// The file that the damage is about, or the whole folder.
    There,
}

/// What is done to a batch, within the pieces of its segment.
type OfPieces = fn(&mut Vec<Piece>, usize);
type OfSegment = fn(&mut State, i64);

#[derive(Clone, Copy)]
pub(super) enum Act {
    Pieces(OfPieces),
    /// The same where so many follow the batch in its segment.
    Run(usize, OfPieces),
    /// To the log from this batch on, in all segments.
    LogEnd(Witnesses),
    /// Another batch with the same offsets, and nothing else in common.
    SameOffsets,
    Segment(OfSegment),
    /// To two neighbouring segments.
    SegmentPair(OfSegment),
    /// To the file of a segment with this suffix.
    Index(&'static str, Spoil),
    /// To the files whose name ends so.
    File(&'static str, Spoil),
    Folder(fn(&mut State)),
}

/// What becomes of the files that say how long the log was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Witnesses {
    Kept,
    Gone,
}

/// What becomes of a small file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoil {
    Missing,
    Empty,
    Zeroed,
    /// The first half.
    Torn,
    /// Of another partition.
    Foreign,
}

pub(super) struct Damage {
    pub(super) name: String,
    pub(super) act: Act,
}

impl Damage {
    pub(super) fn places(&self, log: &Log) -> Vec<Place> {
        let batches = || 0..log.batches.len();
        let bases: Vec<i64> = log.sound.segments.keys().copied().collect();
        let segment = |base: &i64| Place::Segment(*base);
        let is_followed = |batch: usize, count: usize| {
            let (base, at) = log.sound.place_of(batch);
            at + count < log.sound.segments[&base].len()
        };
        match self.act {
            Act::Pieces(_) | Act::LogEnd(_) | Act::SameOffsets => batches().map(Place::Batch).collect(),
            Act::Run(count, _) => batches().filter(|batch| is_followed(*batch, count)).map(Place::Batch).collect(),
            Act::Segment(_) => bases.iter().map(segment).collect(),
            Act::SegmentPair(_) => bases[..bases.len() - 1].iter().map(segment).collect(),
            Act::Index(suffix, _) => {
                let is_there = |base: &&i64| log.sound.files.contains_key(&index_name(**base, suffix));
                bases.iter().filter(is_there).map(segment).collect()
            }
            Act::File(suffix, _) => {
                let is_there = log.sound.files.keys().any(|name| name.ends_with(suffix));
                if is_there { vec![Place::There] } else { Vec::new() }
            }
            Act::Folder(_) => vec![Place::There],
        }
    }

    /// Does it to a log that other damage may have been done to already; not at all where there is nothing left of its place.
    pub(super) fn do_to(&self, log: &Log, state: &mut State, place: Place) {
        let found = match place {
            Place::Batch(batch) => state.find(batch),
            Place::Segment(base) => state.segments.contains_key(&base).then_some((base, 0)),
            Place::There => Some((0, 0)),
        };
        let Some((base, at)) = found else { return };
        match self.act {
            Act::Pieces(act) => act(state.segments.get_mut(&base).unwrap(), at),
            Act::Run(count, act) => {
                let pieces = state.segments.get_mut(&base).unwrap();
                if at + count < pieces.len() {
                    act(pieces, at);
                }
            }
            Act::LogEnd(witnesses) => end_log(state, (base, at), witnesses),
            Act::SameOffsets => {
                let Place::Batch(batch) = place else { return };
                let it = &log.batches[batch];
                state.segments.get_mut(&base).unwrap()[at] = foreign_of(it.first, it.last - it.first + 1);
            }
            Act::Segment(act) => act(state, base),
            Act::SegmentPair(act) if state.segments.range(base + 1..).next().is_some() => act(state, base),
            Act::SegmentPair(_) => {}
            Act::Index(suffix, spoil) => self::spoil(state, &index_name(base, suffix), spoil),
            Act::File(suffix, spoil) => {
                if let Some(name) = state.files.keys().find(|name| name.ends_with(suffix)).cloned() {
                    self::spoil(state, &name, spoil);
                }
            }
            Act::Folder(act) => act(state),
        }
    }
}

fn end_log(state: &mut State, (base, at): (i64, usize), witnesses: Witnesses) {
    state.segments.retain(|other, _| *other <= base);
    state.segments.get_mut(&base).unwrap().truncate(at);
    let is_later = |name: &str| base_in(name).is_some_and(|it| it > base) && !name.ends_with(".snapshot");
    let is_witness =
        |name: &str| ["-offset-checkpoint", "durable-end", ".snapshot"].iter().any(|it| name.ends_with(it));
    state.files.retain(|name, _| !is_later(name) && (witnesses == Witnesses::Kept || !is_witness(name)));
}

fn index_name(base: i64, suffix: &str) -> String {
    format!("app-0/{base:020}.{suffix}")
}

/// The base offset in the name of a segment's file.
fn base_in(name: &str) -> Option<i64> {
    name.strip_prefix("app-0/")?.get(..20)?.parse().ok()
}

fn spoil(state: &mut State, name: &str, spoil: Spoil) {
    let Some(bytes) = state.files.remove(name) else { return };
    let spoilt = match spoil {
        Spoil::Missing => return,
        Spoil::Empty => Vec::new(),
        Spoil::Zeroed => vec![0; bytes.len()],
        Spoil::Torn => bytes[..bytes.len() / 2].to_vec(),
        Spoil::Foreign => foreign_file(name, &bytes),
    };
    state.files.insert(name.to_owned(), spoilt);
}

/// The same file of another partition, or of another log dir.
fn foreign_file(name: &str, bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    match name.rsplit('/').next().unwrap() {
        "app.json" => {
            let id = text.split('"').skip_while(|it| !it.contains("topic_id")).nth(2).expect("it has an id");
            text.replace(id, "AAAAAAAAAAAAAAAAAAAAAQ").into_bytes()
        }
        "partition.metadata" => b"version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ".to_vec(),
        "leader-epoch-checkpoint" => b"0\n1\n7 0\n".to_vec(),
        "durable-end" => foreign_durable_end(),
        "meta.properties" => text.replace("node.id=1", "node.id=2").into_bytes(),
        name if name.ends_with("-checkpoint") => checkpoint(&[("other", 5)]),
        name if name.ends_with(".snapshot") => vec![0, 1, 0x48, 0x67, 0x4b, 0xc7, 0, 0, 0, 0],
        name if name.ends_with(".txnindex") => [&[0; 33][..], &[7]].concat(),
        // Entries of a log with another shape, for more than this one has.
        name if name.ends_with(".index") => {
            (1..9_u32).flat_map(|it| [it * 4, it * 333]).flat_map(u32::to_be_bytes).collect()
        }
        name if name.ends_with(".timeindex") => {
            let entry =
                |it: u32| [&(1_600_000_000_000 + i64::from(it)).to_be_bytes()[..], &(it * 4).to_be_bytes()].concat();
            (1..9).flat_map(entry).collect()
        }
        name => panic!("{name}"),
    }
}

/// Of a folder with another inode, for another topic.
fn foreign_durable_end() -> Vec<u8> {
    let text = format!(
        "2 {:020} {:010} 00000000-0000-0000-0000-000000000001 {:020} {:020} {:020}",
        900, 0, 987_654_321, 987_654_322, 5
    );
    format!("{text} {:08x}\n", kdir::format::crc::crc32c(text.as_bytes())).into_bytes()
}

fn junk(size: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[3]
    };
    (0..size).map(|_| byte()).collect()
}

fn piece(bytes: Vec<u8>) -> Piece {
    Piece { bytes, origin: None }
}

/// Replaces a piece by altered bytes.
fn alter(pieces: &mut [Piece], at: usize, alter: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = pieces[at].bytes.clone();
    alter(&mut bytes);
    pieces[at] = piece(bytes);
}

fn cut(pieces: &mut Vec<Piece>, at: usize, left: impl FnOnce(&[u8]) -> usize) {
    pieces.truncate(at + 1);
    let left = left(&pieces[at].bytes);
    alter(pieces, at, |bytes| bytes.truncate(left));
}

fn flip(pieces: &mut [Piece], at: usize, byte: usize, bits: u8) {
    alter(pieces, at, |bytes| bytes[byte] ^= bits);
}

/// Overwrites some bytes from the middle of the batch before on.
fn overwrite_across(pieces: &mut [Piece], at: usize, fill: &[u8]) {
    let (before, within) = (fill.len() / 2, fill.len() - fill.len() / 2);
    if at > 0 {
        alter(pieces, at - 1, |bytes| {
            let start = bytes.len().saturating_sub(before);
            let count = bytes.len() - start;
            bytes[start..].copy_from_slice(&fill[..count]);
        });
    }
    alter(pieces, at, |bytes| {
        let count = within.min(bytes.len());
        bytes[..count].copy_from_slice(&fill[..count]);
    });
}

fn header_size(bytes: &[u8]) -> usize {
    if bytes[16] == 2 { 61 } else { 26 }
}

fn base_of(piece: &Piece) -> i64 {
    i64::from_be_bytes(piece.bytes[..8].try_into().unwrap())
}

/// Another batch, whole and valid, that claims this offset.
fn foreign(first: i64) -> Piece {
    foreign_of(first, 3)
}

/// The same of so many records.
fn foreign_of(first: i64, records: i64) -> Piece {
    piece(batch_of(first, FOREIGN, records, "none"))
}

const OF_BATCHES: &[(&str, Act)] = &[
    ("log ends before", Act::LogEnd(Witnesses::Kept)),
    ("log ends before, unwitnessed", Act::LogEnd(Witnesses::Gone)),
    ("cut before", Act::Pieces(|pieces, at| pieces.truncate(at))),
    ("cut in header", Act::Pieces(|pieces, at| cut(pieces, at, |bytes| header_size(bytes) / 2))),
    ("cut in records", Act::Pieces(|pieces, at| cut(pieces, at, |bytes| (bytes.len() + header_size(bytes)) / 2))),
    ("cut at last byte", Act::Pieces(|pieces, at| cut(pieces, at, |bytes| bytes.len() - 1))),
    (
        "cut, then zeros",
        Act::Pieces(|pieces, at| {
            let size = pieces[at..].iter().map(|it| it.bytes.len()).sum::<usize>();
            cut(pieces, at, |bytes| bytes.len() / 2);
            let left = size - pieces[at].bytes.len();
            pieces.push(piece(vec![0; left]));
        }),
    ),
    ("zeros for batch", Act::Pieces(|pieces, at| alter(pieces, at, |bytes| bytes.fill(0)))),
    (
        "zeros for header",
        Act::Pieces(|pieces, at| {
            alter(pieces, at, |bytes| {
                let end = header_size(bytes);
                bytes[..end].fill(0);
            })
        }),
    ),
    (
        "zeros for records",
        Act::Pieces(|pieces, at| {
            alter(pieces, at, |bytes| {
                let start = header_size(bytes).min(bytes.len() - 1);
                bytes[start..].fill(0);
            })
        }),
    ),
    (
        "zeros to end",
        Act::Pieces(|pieces, at| (at..pieces.len()).for_each(|it| alter(pieces, it, |bytes| bytes.fill(0)))),
    ),
    ("zeros across", Act::Pieces(|pieces, at| overwrite_across(pieces, at, &[0; 64]))),
    ("zeros inserted", Act::Pieces(|pieces, at| pieces.insert(at, piece(vec![0; 200])))),
    ("junk for batch", Act::Pieces(|pieces, at| alter(pieces, at, |bytes| *bytes = junk(bytes.len())))),
    ("junk across", Act::Pieces(|pieces, at| overwrite_across(pieces, at, &junk(64)))),
    ("junk inserted", Act::Pieces(|pieces, at| pieces.insert(at, piece(junk(200))))),
    (
        "junk to end",
        Act::Pieces(|pieces, at| {
            (at..pieces.len()).for_each(|it| alter(pieces, it, |bytes| *bytes = junk(bytes.len())));
        }),
    ),
    (
        "flip in value",
        Act::Pieces(|pieces, at| {
            let byte = pieces[at].bytes.len() - 3;
            flip(pieces, at, byte, 4);
        }),
    ),
    (
        "flip in checksum",
        Act::Pieces(|pieces, at| {
            let byte = if pieces[at].bytes[16] == 2 { 18 } else { 13 };
            flip(pieces, at, byte, 2);
        }),
    ),
    ("flip in length", Act::Pieces(|pieces, at| flip(pieces, at, 11, 8))),
    ("flip high in length", Act::Pieces(|pieces, at| flip(pieces, at, 9, 1))),
    ("flip in magic", Act::Pieces(|pieces, at| flip(pieces, at, 16, 1))),
    (
        "flip in attributes",
        Act::Pieces(|pieces, at| {
            let byte = if pieces[at].bytes[16] == 2 { 22 } else { 17 };
            flip(pieces, at, byte, 1);
        }),
    ),
    ("flip in offset", Act::Pieces(|pieces, at| flip(pieces, at, 7, 1))),
    ("flip 2^10 in offset", Act::Pieces(|pieces, at| flip(pieces, at, 6, 4))),
    ("flip 2^40 in offset", Act::Pieces(|pieces, at| flip(pieces, at, 2, 1))),
    (
        "flip in epoch",
        Act::Pieces(|pieces, at| {
            if pieces[at].bytes[16] == 2 {
                flip(pieces, at, 15, 1)
            }
        }),
    ),
    ("written twice", Act::Pieces(|pieces, at| pieces.insert(at, pieces[at].clone()))),
    ("once more at end", Act::Pieces(|pieces, at| pieces.push(pieces[at].clone()))),
    (
        "two written twice",
        Act::Run(1, |pieces, at| {
            let copy = pieces[at..at + 2].to_vec();
            pieces.splice(at..at, copy);
        }),
    ),
    ("dropped", Act::Pieces(|pieces, at| drop(pieces.remove(at)))),
    ("two dropped", Act::Run(1, |pieces, at| drop(pieces.drain(at..at + 2)))),
    ("swapped", Act::Run(1, |pieces, at| pieces.swap(at, at + 1))),
    ("three reversed", Act::Run(2, |pieces, at| pieces[at..at + 3].reverse())),
    (
        "moved to end",
        Act::Run(2, |pieces, at| {
            let moved = pieces.remove(at);
            pieces.push(moved);
        }),
    ),
    ("foreign above for batch", Act::Pieces(|pieces, at| pieces[at] = foreign(7_000_000))),
    (
        "foreign below for batch",
        Act::Run(1, |pieces, at| {
            let base = base_of(&pieces[at]) - 5;
            pieces[at + 1] = foreign(base.max(0));
        }),
    ),
    ("foreign at its offsets", Act::SameOffsets),
    ("foreign above inserted", Act::Pieces(|pieces, at| pieces.insert(at, foreign(7_000_000)))),
    (
        "foreign below inserted",
        Act::Run(1, |pieces, at| {
            let base = base_of(&pieces[at]) - 5;
            pieces.insert(at + 1, foreign(base.max(0)));
        }),
    ),
    (
        "rest moved up",
        Act::Pieces(|pieces, at| {
            for at in at..pieces.len() {
                let base = base_of(&pieces[at]) + 1000;
                alter(pieces, at, |bytes| bytes[..8].copy_from_slice(&base.to_be_bytes()));
            }
        }),
    ),
];

const OF_SEGMENTS: &[(&str, Act)] = &[
    ("log missing", Act::Segment(|state, base| drop(state.segments.remove(&base)))),
    ("log empty", Act::Segment(|state, base| state.segments.get_mut(&base).unwrap().clear())),
    ("log zeroed", Act::Segment(|state, base| replace(state, base, |size| vec![0; size]))),
    ("log junk", Act::Segment(|state, base| replace(state, base, junk))),
    (
        "log foreign",
        Act::Segment(|state, base| {
            let pieces = (0..4).map(|it| foreign(7_000_000 + 3 * it)).collect();
            state.segments.insert(base, pieces);
        }),
    ),
    (
        "log renamed",
        Act::Segment(|state, base| {
            let pieces = state.segments.remove(&base).unwrap();
            state.segments.insert(base + 1, pieces);
        }),
    ),
    (
        "segment missing",
        Act::Segment(|state, base| {
            state.segments.remove(&base);
            state.files.retain(|name, _| base_in(name) != Some(base) || name.ends_with(".snapshot"));
        }),
    ),
    (
        "log there again",
        Act::Segment(|state, base| {
            let pieces = state.segments[&base].clone();
            if pieces.len() > 1 {
                let from = base_of(&pieces[1]);
                state.segments.insert(from, pieces[1..].to_vec());
            }
        }),
    ),
    (
        "logs swapped",
        Act::SegmentPair(|state, base| {
            let next = *state.segments.range(base + 1..).next().unwrap().0;
            let one = state.segments.remove(&base).unwrap();
            let other = state.segments.insert(next, one).unwrap();
            state.segments.insert(base, other);
        }),
    ),
    ("zeros appended", Act::Segment(|state, base| push(state, base, vec![0; 500]))),
    ("junk appended", Act::Segment(|state, base| push(state, base, junk(150)))),
    ("foreign appended", Act::Segment(|state, base| state.segments.get_mut(&base).unwrap().push(foreign(7_000_000)))),
];

const OF_FOLDERS: &[(&str, Act)] = &[
    ("nothing", Act::Folder(|_| {})),
    ("all logs missing", Act::Folder(|state| state.segments.clear())),
    ("all logs empty", Act::Folder(|state| state.segments.values_mut().for_each(Vec::clear))),
    (
        "all indexes missing",
        Act::Folder(|state| {
            state.files.retain(|name, _| !name.ends_with(".index") && !name.ends_with(".timeindex"));
        }),
    ),
    (
        "folder emptied",
        Act::Folder(|state| {
            state.segments.clear();
            state.files.retain(|name, _| !name.starts_with("app-0/"));
        }),
    ),
    (
        "folder missing",
        Act::Folder(|state| {
            state.segments.clear();
            state.files.retain(|name, _| !name.starts_with("app-0/"));
            state.has_folder = false;
        }),
    ),
];

fn replace(state: &mut State, base: i64, with: impl FnOnce(usize) -> Vec<u8>) {
    let pieces = state.segments.get_mut(&base).unwrap();
    let size = pieces.iter().map(|it| it.bytes.len()).sum();
    *pieces = vec![piece(with(size))];
}

fn push(state: &mut State, base: i64, bytes: Vec<u8>) {
    state.segments.get_mut(&base).unwrap().push(piece(bytes));
}

/// The small files, by the end of their names.
const FILES: [&str; 11] = [
    "app.json",
    "recovery-point-offset-checkpoint",
    "log-start-offset-checkpoint",
    "replication-offset-checkpoint",
    "cleaner-offset-checkpoint",
    "meta.properties",
    "leader-epoch-checkpoint",
    "partition.metadata",
    "durable-end",
    ".snapshot",
    ".txnindex",
];
const SPOILS: [(&str, Spoil); 5] = [
    ("missing", Spoil::Missing),
    ("empty", Spoil::Empty),
    ("zeroed", Spoil::Zeroed),
    ("torn", Spoil::Torn),
    ("foreign", Spoil::Foreign),
];

pub(super) fn all() -> Vec<Damage> {
    let of_logs = [OF_FOLDERS, OF_BATCHES, OF_SEGMENTS].into_iter().flatten();
    let mut damages: Vec<Damage> = of_logs.map(|&(name, act)| Damage { name: name.to_owned(), act }).collect();
    for suffix in ["index", "timeindex"] {
        let of = |(word, spoil)| Damage { name: format!(".{suffix} {word}"), act: Act::Index(suffix, spoil) };
        damages.extend(SPOILS.map(of));
    }
    for suffix in FILES {
        let of = |(word, spoil)| Damage { name: format!("{suffix} {word}"), act: Act::File(suffix, spoil) };
        damages.extend(SPOILS.map(of));
    }
    damages
}

/// The name of a log's file, for messages.
pub(super) fn described(log: &Log, place: Place) -> String {
    match place {
        Place::Batch(batch) => {
            let (base, at) = log.sound.place_of(batch);
            let it = &log.batches[batch];
            format!("{} batch {at} ({}-{})", log_name(base), it.first, it.last)
        }
        Place::Segment(base) => format!("segment {base}"),
        Place::There => String::new(),
    }
}
