//! Reads an export: the members of a tar, one after the other, each with its checksum, against those at the end.

use super::checksums::{CHECKSUMS_FILE, Checksums, MemberHash};
use super::{ArchiveError, Result};
use std::cell::{Cell, RefCell};
use std::io::{self, BufRead, BufReader, Read};

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;
/// A larger path is none of ours.
const PATH_SIZE_MAX: u64 = 1024;
/// A line for each member, of which there are some million at most.
const CHECKSUMS_SIZE_MAX: usize = 512 << 20;
/// What files begin with that programs have compressed.
const COMPRESSED: [(&[u8], &str); 5] = [
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
    (&[0x1f, 0x8b], "gzip"),
    (&[0x04, 0x22, 0x4d, 0x18], "lz4"),
    (&[0xfd, b'7', b'z', b'X', b'Z'], "xz"),
    (b"BZh", "bzip2"),
];

/// The input and how it ended: tar's errors do not say whether it ended early, failed, or is not a tar file.
struct Input<R> {
    input: R,
    has_ended: Cell<bool>,
    failure: RefCell<Option<io::Error>>,
}

impl<R: Read> Read for &mut Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.input.read(buffer) {
            Ok(0) if !buffer.is_empty() => {
                self.has_ended.set(true);
                Ok(0)
            }
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                let kind = error.kind();
                self.failure.replace(Some(error));
                Err(kind.into())
            }
            read => read,
        }
    }
}

/// A member that is being read.
pub(super) struct Member<'a> {
    path: String,
    size: u64,
    left: u64,
    content: &'a mut dyn Read,
    hash: MemberHash,
    piece: &'a mut [u8],
}

impl Member<'_> {
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The next bytes; none after the last.
    pub(super) fn next(&mut self) -> Result<&[u8]> {
        let mut filled = 0;
        let wanted = self.left.min(self.piece.len() as u64) as usize;
        while filled < wanted {
            match self.content.read(&mut self.piece[filled..wanted]) {
                Ok(0) => return Err(ArchiveError::Truncated { place: "in", member: self.path.clone() }),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ArchiveError::Input(error)),
            }
        }
        self.left -= filled as u64;
        self.hash.update(&self.piece[..filled]);
        Ok(&self.piece[..filled])
    }

    /// All of it.
    pub(super) fn read_all(&mut self, size_max: usize) -> Result<Vec<u8>> {
        if self.size > size_max as u64 {
            return Err(ArchiveError::altered(&self.path, format!("it has {} bytes", self.size)));
        }
        let mut bytes = Vec::new();
        loop {
            let piece = self.next()?;
            if piece.is_empty() {
                return Ok(bytes);
            }
            bytes.extend_from_slice(piece);
        }
    }
}

/// Calls `visit` for each member, and compares all checksums at the end. What `visit` has done with the members counts only
/// where this succeeds.
pub(super) fn read_members(input: impl Read, visit: &mut dyn FnMut(&mut Member<'_>) -> Result<()>) -> Result<()> {
    let mut input = BufReader::with_capacity(CHUNK, input);
    refuse_compressed(&mut input)?;
    let mut input = Input { input, has_ended: Cell::default(), failure: RefCell::default() };
    let mut checksums = Checksums::default();
    let read = read_tar(&mut input, &mut checksums, visit);
    let Err(error) = read else {
        // The rest is read, so that a writer does not get a broken pipe for bytes after the end of the tar.
        let _ = io::copy(&mut &mut input, &mut io::sink());
        return Ok(());
    };
    Err(match (error, input.failure.take()) {
        (_, Some(failure)) => ArchiveError::Input(failure),
        // What the reader of tars says, which knows no more than that.
        (ArchiveError::Input(error), None) => match (checksums.last(), input.has_ended.get()) {
            (Some(last), true) => ArchiveError::Truncated { place: "after", member: last.to_owned() },
            (Some(last), false) => ArchiveError::altered(last, format!("what follows it is not a member: {error}")),
            (None, _) => ArchiveError::NotAnExport { what: error.to_string() },
        },
        (error, None) => error,
    })
}

fn refuse_compressed(input: &mut impl BufRead) -> Result<()> {
    let first = input.fill_buf().map_err(ArchiveError::Input)?;
    if first.is_empty() {
        return Err(ArchiveError::NotAnExport { what: "it is empty".into() });
    }
    match COMPRESSED.into_iter().find(|(magic, _)| first.starts_with(magic)) {
        Some((_, program)) => Err(ArchiveError::Compressed { program }),
        None => Ok(()),
    }
}

/// Errors of the tar itself are [`ArchiveError::Input`].
fn read_tar<R: Read>(
    input: &mut Input<R>,
    checksums: &mut Checksums,
    visit: &mut dyn FnMut(&mut Member<'_>) -> Result<()>,
) -> Result<()> {
    let mut piece = vec![0; CHUNK];
    let mut tar = tar::Archive::new(input);
    let mut long_path = None;
    // Raw: long paths are read here, since of others a hostile file could have any size.
    for entry in tar.entries().map_err(ArchiveError::Input)?.raw(true) {
        let mut entry = entry.map_err(ArchiveError::Input)?;
        let (kind, size) = (entry.header().entry_type(), entry.size());
        let path = match long_path.take() {
            Some(path) => path,
            None => String::from_utf8_lossy(&entry.path_bytes()).into_owned(),
        };
        if kind.is_gnu_longname() && size <= PATH_SIZE_MAX {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(ArchiveError::Input)?;
            long_path = Some(String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned());
            continue;
        }
        if kind.is_dir() {
            continue;
        }
        if !kind.is_file() {
            return Err(ArchiveError::altered(&path, "it is not a plain file as kdir export writes it"));
        }
        let hash = MemberHash::new();
        let mut member = Member { path, size, left: size, content: &mut entry, hash, piece: &mut piece };
        if member.path == CHECKSUMS_FILE {
            let text = member.read_all(CHECKSUMS_SIZE_MAX)?;
            return checksums.check(&text);
        }
        visit(&mut member)?;
        while !member.next()?.is_empty() {}
        checksums.add(member.path, &member.hash);
    }
    match checksums.last() {
        Some(last) => Err(ArchiveError::Truncated { place: "after", member: last.to_owned() }),
        None => Err(ArchiveError::NotAnExport { what: "it has no members".into() }),
    }
}
