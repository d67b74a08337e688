//! `partition.metadata`, two lines in a partition's folder, `meta.properties`, at the root of a broker's log dir, and Kafka's
//! way of writing ids.
//!
//! ```text
//! version: 0
//! topic_id: AAAAAAAAAAAAAAAAAAAAAQ
//! ```
//!
//! The id is 16 bytes in base64url without padding: 22 characters. It is never zero. A broker that finds another id than
//! its metadata has sets the folder aside. No newline at the end is written or needed.
//! Source: `PartitionMetadataFile.java`, `Uuid.java`.
//!
//! ```text
//! #Sun Nov 22 12:00:00 UTC 2026
//! version=1
//! cluster.id=4L6g3nShT-eMCtK--X86sw
//! node.id=1
//! directory.id=ICEiIyQlJicoKSorLC0uLw
//! ```
//!
//! | version | required | written by |
//! | --- | --- | --- |
//! | 0 | `broker.id` | a broker with ZooKeeper |
//! | 1 | `cluster.id`, `node.id` | a broker or controller with KRaft |
//!
//! `directory.id` is there since 3.7. A broker does not start where something is missing.
//! Source: `MetaProperties.java`, `MetaPropertiesVersion.java`.

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

/// What `meta.properties` says that kdir needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaProperties {
    /// The cluster; `None` where version 0 does not say.
    pub cluster_id: Option<String>,
    /// Which broker the log dir is of; `None` where version 0 leaves it to the broker's configuration.
    pub node_id: Option<i32>,
    /// The id of the log dir.
    pub directory_id: Option<Uuid>,
    /// Whether the broker is one with KRaft, which knows topics by their ids alone.
    pub is_kraft: bool,
}

impl MetaProperties {
    /// Reads the file.
    ///
    /// # Errors
    /// When something is missing or wrong that a broker needs to start.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let text = std::str::from_utf8(bytes).map_err(|_| FormatError::corrupt("the file is not text"))?;
        let lines = text.lines().map(str::trim_start).filter(|line| !line.starts_with(['#', '!']));
        let pairs: Vec<(&str, &str)> = lines
            .filter_map(|line| line.split_once(['=', ':']))
            .map(|(key, value)| (key.trim(), value.trim()))
            .collect();
        let optional = |key: &str| pairs.iter().rfind(|(found, _)| *found == key).map(|(_, value)| *value);
        let required = |key: &str| optional(key).ok_or_else(|| FormatError::corrupt(format!("{key} is missing")));
        let number = |(key, value): (&str, &str)| {
            value.parse().map_err(|_| FormatError::corrupt(format!("{key} is {value:?}, which is not a number")))
        };
        let node_id = match required("version")? {
            "0" => optional("broker.id").map(|id| number(("broker.id", id))).transpose()?,
            "1" => {
                required("cluster.id")?;
                Some(number(("node.id", required("node.id")?))?)
            }
            other => return Err(FormatError::corrupt(format!("version is {other:?}, and brokers know 0 and 1"))),
        };
        let directory_id = |id: &str| {
            topic_id_from_text(id)
                .map_err(|_| FormatError::corrupt(format!("directory.id is {id:?}, which is not an id")))
        };
        Ok(Self {
            cluster_id: optional("cluster.id").map(str::to_owned),
            node_id,
            directory_id: optional("directory.id").map(directory_id).transpose()?,
            is_kraft: required("version")? == "1",
        })
    }

    /// The text of the file, as a broker with KRaft writes it.
    #[must_use]
    pub fn print(cluster_id: &str, node_id: i32, directory_id: Uuid) -> String {
        let directory_id = topic_id_to_text(directory_id);
        format!("version=1\ncluster.id={cluster_id}\nnode.id={node_id}\ndirectory.id={directory_id}\n")
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
    fn the_properties_of_a_log_dir_name_its_node() {
        for (text, node_id) in [
            ("#Sun Nov 22\nversion=1\ncluster.id=4L6g3nShT-eMCtK--X86sw\nnode.id=7\n", Some(7)),
            ("node.id=7\r\nversion=1\r\ndirectory.id=ICEiIyQlJicoKSorLC0uLw\r\ncluster.id=any text\r\n", Some(7)),
            ("version=0\nbroker.id=0\ncluster.id=x", Some(0)),
            ("version=0\ncluster.id=x", None),
        ] {
            let found = MetaProperties::parse(text.as_bytes()).unwrap();
            assert_eq!((found.node_id, found.is_kraft), (node_id, text.contains("version=1")), "{text:?}");
        }
    }

    #[test]
    fn properties_that_are_written_are_read() {
        let id = Uuid::from_u128(0x2021_2223_2425_2627_2829_2a2b_2c2d_2e2f);
        let text = MetaProperties::print("4L6g3nShT-eMCtK--X86sw", 7, id);
        let cluster_id = Some("4L6g3nShT-eMCtK--X86sw".to_owned());
        let expected = MetaProperties { cluster_id, node_id: Some(7), directory_id: Some(id), is_kraft: true };
        assert_eq!(MetaProperties::parse(text.as_bytes()), Ok(expected));
    }

    #[test]
    fn properties_without_what_a_broker_needs_are_refused() {
        for (text, what) in [
            (&b""[..], "version is missing"),
            (&[0; 88], "version is missing"),
            (b"\xff", "not text"),
            (b"version=2\ncluster.id=x\nnode.id=1", "version is \"2\""),
            (b"version=1\nnode.id=1", "cluster.id is missing"),
            (b"version=1\ncluster.id=x", "node.id is missing"),
            (b"version=1\ncluster.id=x\nnode.id=one", "node.id is \"one\""),
            (b"version=1\ncluster.id=x\nnode.id=1\ndirectory.id=AAAA", "directory.id is \"AAAA\""),
        ] {
            let error = MetaProperties::parse(text).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
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
