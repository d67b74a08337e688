//! Ids of consumer groups, share groups and streams groups.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest id that fits a record's key, in bytes.
const GROUP_ID_MAX: usize = i16::MAX as usize;

/// Why a text is no group id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupIdError {
    /// It has no character.
    #[error("a group id has at least one character")]
    Empty,
    /// It is too long.
    #[error("a group id has at most {GROUP_ID_MAX} bytes, and this one has {length}")]
    TooLong {
        /// How many it has.
        length: usize,
    },
}

/// The id of a group: 1 to 32 767 bytes of any text. Source: `GroupCoordinatorService`, and the i16 length in record keys.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(Arc<str>);

impl GroupId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// In which of `partitions` of a coordinator's topic the group is. Source: `GroupMetadataManager.partitionFor`: the
    /// absolute value of Java's hash of the text, which is over UTF-16 units.
    #[must_use]
    pub fn partition_of(&self, partitions: i32) -> i32 {
        // Of the one number that has no absolute value, Kafka takes 0.
        java_hash(&self.0).checked_abs().unwrap_or(0) % partitions.max(1)
    }
}

/// What Java's `String.hashCode` gives for a text.
#[must_use]
pub fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

impl FromStr for GroupId {
    type Err = GroupIdError;

    fn from_str(text: &str) -> Result<Self, GroupIdError> {
        match text.len() {
            0 => Err(GroupIdError::Empty),
            length if length > GROUP_ID_MAX => Err(GroupIdError::TooLong { length }),
            _ => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_where_a_broker_looks_for_it() {
        // From a broker's own partitions, and one whose hash is -2^31.
        for (id, partition) in [
            ("console-g", 1),
            ("consumer-g", 2),
            ("simple-g", 4),
            ("admin-g", 7),
            ("kcat-g", 9),
            ("txn-g", 14),
            ("q1-g", 20),
            ("static-g", 30),
            ("share-g", 35),
            ("classic-g", 36),
            ("polygenelubricants", 0),
        ] {
            assert_eq!(id.parse::<GroupId>().unwrap().partition_of(50), partition, "{id}");
        }
        // Outside the first plane a character is two units: Java's "\uD83D\uDE00".hashCode() is 1772899.
        assert_eq!("😀".parse::<GroupId>().unwrap().partition_of(1_000_000_000), 1_772_899);
    }

    #[test]
    fn an_id_fits_a_key() {
        assert_eq!("".parse::<GroupId>(), Err(GroupIdError::Empty));
        assert!("g".repeat(32_767).parse::<GroupId>().is_ok());
        assert_eq!("g".repeat(32_768).parse::<GroupId>(), Err(GroupIdError::TooLong { length: 32_768 }));
    }
}
