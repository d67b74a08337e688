//! Writes an export: the members of a tar, one after the other, and their checksums last.

use super::checksums::{CHECKSUMS_FILE, Checksums, MemberHash};
use super::{ArchiveError, Result};
use crate::units::Timestamp;
use std::io::{self, BufWriter, Write};

/// Bytes written at a time.
const CHUNK: usize = 256 << 10;
/// Members are padded to a multiple of this, and two blocks of zeros end a tar.
const BLOCK: usize = 512;
const FILE_MODE: u32 = 0o644;

/// A tar that is being written. Dropped before [`ArchiveWriter::finish`], it is cut short wherever it is.
pub(super) struct ArchiveWriter<W: Write> {
    output: BufWriter<W>,
    checksums: Checksums,
}

/// A member that is being written.
pub(super) struct MemberWriter<'a, W: Write> {
    archive: &'a mut ArchiveWriter<W>,
    path: String,
    hash: MemberHash,
    size: u64,
    written: u64,
}

impl<W: Write> ArchiveWriter<W> {
    pub(super) fn new(output: W) -> Self {
        Self { output: BufWriter::with_capacity(CHUNK, output), checksums: Checksums::default() }
    }

    /// Begins a member of that size.
    pub(super) fn begin(&mut self, path: String, size: u64, modified: Timestamp) -> Result<MemberWriter<'_, W>> {
        let header = header(&path, size, modified).map_err(ArchiveError::Output)?;
        self.output.write_all(&header).map_err(ArchiveError::Output)?;
        Ok(MemberWriter { archive: self, path, hash: MemberHash::new(), size, written: 0 })
    }

    /// Adds a member.
    pub(super) fn add(&mut self, path: String, bytes: &[u8], modified: Timestamp) -> Result<()> {
        let mut member = self.begin(path, bytes.len() as u64, modified)?;
        member.write(bytes)?;
        member.end()
    }

    /// Adds the checksums and ends the tar.
    pub(super) fn finish(mut self, now: Timestamp) -> Result<()> {
        let checksums = self.checksums.print();
        self.add(CHECKSUMS_FILE.to_owned(), checksums.as_bytes(), now)?;
        self.output.write_all(&[0; 2 * BLOCK]).and_then(|()| self.output.flush()).map_err(ArchiveError::Output)
    }
}

impl<W: Write> MemberWriter<'_, W> {
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        self.written += bytes.len() as u64;
        self.archive.output.write_all(bytes).map_err(ArchiveError::Output)
    }

    /// Ends the member.
    ///
    /// # Panics
    /// When other than the bytes that were announced were written.
    pub(super) fn end(self) -> Result<()> {
        assert_eq!(self.written, self.size, "a member is as long as its header says");
        let padding = (BLOCK - (self.size % BLOCK as u64) as usize) % BLOCK;
        self.archive.output.write_all(&[0; BLOCK][..padding]).map_err(ArchiveError::Output)?;
        self.archive.checksums.add(self.path, &self.hash);
        Ok(())
    }
}

/// The blocks before the bytes of a member: more than one where the path is too long for a header.
fn header(path: &str, size: u64, modified: Timestamp) -> io::Result<Vec<u8>> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(FILE_MODE);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(u64::try_from(modified.0 / 1000).unwrap_or_default());
    // A tar of its own, which is never ended: what it has written is the header.
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_data(&mut header, path, io::empty())?;
    Ok(tar.get_ref().clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_tar_has_its_members_whole_also_with_the_longest_name() {
        let mut output = Vec::new();
        let mut writer = ArchiveWriter::new(&mut output);
        let long = format!("{}-0/{:020}.timeindex", "t".repeat(249), 0);
        let members = [("a", &b"1"[..]), (long.as_str(), &[7; 1000]), ("empty", b""), ("block", &[8; 512])];
        for (path, bytes) in members {
            writer.add(path.to_owned(), bytes, Timestamp(1_700_000_000_999)).unwrap();
        }
        writer.finish(Timestamp::default()).unwrap();
        assert_eq!(output.len() % BLOCK, 0);
        let mut tar = tar::Archive::new(&output[..]);
        let mut read = Vec::new();
        for entry in tar.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            read.push((entry.path().unwrap().to_str().unwrap().to_owned(), bytes));
        }
        let (checksums, read) = read.split_last().unwrap();
        assert_eq!(checksums.0, CHECKSUMS_FILE);
        let expected: Vec<_> = members.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect();
        assert_eq!(read, expected);
    }
}
