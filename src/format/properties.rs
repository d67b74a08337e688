//! `partition.metadata`, two lines in a partition's folder, and Kafka's way of writing ids.
//!
//! ```text
//! version: 0
//! topic_id: AAAAAAAAAAAAAAAAAAAAAQ
//! ```
//!
//! The id is 16 bytes in base64url without padding: 22 characters. It is never zero. A broker that finds another id than
//! its metadata has sets the folder aside. No newline at the end is written or needed.
//! Source: `PartitionMetadataFile.java`, `Uuid.java`.

use super::FormatError;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

/// What `partition.metadata` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// 0 so far.
    pub version: u32,
    /// The topic that the folder belongs to.
    pub topic_id: Uuid,
}

impl PartitionMetadata {
    /// Reads the file.
    ///
    /// # Errors
    /// When a line is missing or wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let text = std::str::from_utf8(bytes).map_err(|_| FormatError::corrupt("the file is not text"))?;
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        let mut field = |name: &str| match lines.next() {
            Some((found, value)) if found == name => Ok(value.trim()),
            _ => Err(FormatError::corrupt(format!("expected a line `{name}: …`"))),
        };
        let version = field("version")?;
        let version = version.parse().map_err(|_| FormatError::corrupt(format!("version {version:?} is no number")))?;
        Ok(Self { version, topic_id: topic_id_from_text(field("topic_id")?)? })
    }

    /// The text of the file.
    #[must_use]
    pub fn print(&self) -> String {
        format!("version: {}\ntopic_id: {}", self.version, topic_id_to_text(self.topic_id))
    }
}

/// An id as Kafka writes it.
#[must_use]
pub fn topic_id_to_text(topic_id: Uuid) -> String {
    URL_SAFE_NO_PAD.encode(topic_id.as_bytes())
}

/// The id that a text stands for.
///
/// # Errors
/// When it is not 22 characters of base64url, or all zero.
pub fn topic_id_from_text(text: &str) -> Result<Uuid, FormatError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    match bytes.map(Uuid::from_bytes) {
        Some(id) if !id.is_nil() => Ok(id),
        _ => Err(FormatError::corrupt(format!("{text:?} is no topic id (22 characters of base64url, not all A)"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_goes_there_and_back() {
        let metadata = PartitionMetadata { version: 0, topic_id: Uuid::from_u128(1) };
        assert_eq!(metadata.print(), "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(PartitionMetadata::parse(metadata.print().as_bytes()), Ok(metadata));
        assert_eq!(PartitionMetadata::parse(b"version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ\n"), Ok(metadata));
    }

    #[test]
    fn what_is_no_metadata_is_refused() {
        for text in [
            "",
            "version: 0",
            "version: x\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ",
            "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA",
            "version: 0\ntopic_id: AAAA",
            "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ==",
            "topic_id: AAAAAAAAAAAAAAAAAAAAAQ\nversion: 0",
        ] {
            assert!(PartitionMetadata::parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
