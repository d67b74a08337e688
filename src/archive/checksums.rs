//! The last member of an export: `kdir-checksums.txt`, a line for each member before it, in their order.
//!
//! ```text
//! 6c78e0e3bd51d358d01e758642b85fb8  kdir-export.json
//! ```
//!
//! XXH128 in hexadecimal, two spaces, the path: what `xxhsum -H128 --check` takes. Not CRC-32C: batches have one already, and a
//! second of the same kind misses a change that left the first one right. It is not a signature: it finds damage, not forgery.

use super::{ArchiveError, Result};
use twox_hash::XxHash3_128;

/// Its name.
pub(super) const CHECKSUMS_FILE: &str = "kdir-checksums.txt";

/// The checksum of one member, as its bytes come.
pub(super) struct MemberHash(XxHash3_128);

impl MemberHash {
    /// Of no bytes yet.
    pub(super) fn new() -> Self {
        Self(XxHash3_128::new())
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    fn finish(&self) -> u128 {
        self.0.finish_128()
    }
}

/// Members and their checksums, in order.
#[derive(Default)]
pub(super) struct Checksums(Vec<(String, u128)>);

impl Checksums {
    pub(super) fn add(&mut self, member: String, hash: &MemberHash) {
        self.0.push((member, hash.finish()));
    }

    /// The last member.
    pub(super) fn last(&self) -> Option<&str> {
        self.0.last().map(|(member, _)| member.as_str())
    }

    pub(super) fn print(&self) -> String {
        self.0.iter().map(|(member, hash)| format!("{hash:032x}  {member}\n")).collect()
    }

    /// Holds what was read against the text that was written.
    pub(super) fn check(&self, text: &[u8]) -> Result<()> {
        let damaged = |what: &str| ArchiveError::altered(CHECKSUMS_FILE, what);
        let text = std::str::from_utf8(text).map_err(|_| damaged("it is not text"))?;
        let mut lines = text.lines();
        for (member, hash) in &self.0 {
            let line = lines.next().and_then(|line| line.split_once("  "));
            let (written, name) = line.ok_or_else(|| damaged("it has no line for each member"))?;
            if name != member {
                return Err(ArchiveError::altered(member, format!("{CHECKSUMS_FILE} has {name} in its place")));
            }
            if u128::from_str_radix(written, 16) != Ok(*hash) {
                return Err(ArchiveError::altered(member, "its bytes do not match its checksum"));
            }
        }
        match lines.next() {
            Some(line) => {
                let name = line.split_once("  ").map_or(line, |(_, name)| name);
                Err(ArchiveError::altered(name, "it is missing"))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checksums() -> Checksums {
        let mut checksums = Checksums::default();
        for (member, bytes) in [("a", "1"), ("b", "")] {
            let mut hash = MemberHash::new();
            hash.update(bytes.as_bytes());
            checksums.add(member.to_owned(), &hash);
        }
        checksums
    }

    #[test]
    fn what_was_written_is_accepted_and_nothing_else() {
        let text = checksums().print();
        // As xxhsum prints that of nothing.
        assert!(text.ends_with("99aa06d3014798d86001c324468d497f  b\n"), "{text}");
        checksums().check(text.as_bytes()).unwrap();
        let first_line = text.lines().next().unwrap();
        for (altered, named) in [
            (text.replace("  b", "  c"), "b in the input was altered"),
            (text.replacen(&first_line[..1], "x", 1), "a in the input was altered"),
            (first_line.to_owned(), "kdir-checksums.txt in the input was altered"),
            (format!("{text}00  c\n"), "c in the input was altered: it is missing"),
        ] {
            let error = checksums().check(altered.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(named), "{error}");
        }
    }
}
