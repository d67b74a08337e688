//! Which codec, and how hard it tries: in attribute bits, and by name.

use crate::format::FormatError;
use std::fmt;
use std::str::FromStr;

/// How a batch is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Codec {
    /// Not at all.
    #[default]
    None,
    /// DEFLATE.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Codec {
    pub(super) const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec of attribute bits 0 to 2.
    ///
    /// # Errors
    /// When they name none.
    pub fn from_attribute_bits(bits: u8) -> Result<Self, FormatError> {
        let found = Self::ALL.get(usize::from(bits)).copied();
        found.ok_or_else(|| FormatError::Unsupported { what: format!("compression codec {bits}") })
    }

    /// The codec's attribute bits.
    #[must_use]
    pub const fn attribute_bits(self) -> u8 {
        self as u8
    }

    /// Kafka's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The levels that Kafka allows, and its default; `None` for a codec without levels.
    #[must_use]
    pub const fn levels(self) -> Option<(i32, i32, i32)> {
        match self {
            Self::None | Self::Snappy => None,
            Self::Gzip => Some((1, 9, 6)),
            Self::Lz4 => Some((1, 17, 9)),
            Self::Zstd => Some((-131_072, 22, 3)),
        }
    }
}

/// A codec and how hard it tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compression {
    /// The codec.
    pub codec: Codec,
    /// The level; `None` is Kafka's default. For lz4 every level gives the fast compressor, as Kafka's default does.
    pub level: Option<i32>,
}

/// A text that names no compression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompressionError {
    /// There is no such codec.
    #[error("{name:?} is not a codec: use none, gzip, snappy, lz4 or zstd, and a level as in zstd:3")]
    Codec {
        /// What was given.
        name: String,
    },
    /// The codec takes no level.
    #[error("{codec} has no levels")]
    NoLevels {
        /// The codec.
        codec: &'static str,
    },
    /// The level is out of range.
    #[error("{codec} has the levels {min} to {max}, not {level:?}")]
    Level {
        /// The codec.
        codec: &'static str,
        /// The lowest level.
        min: i32,
        /// The highest level.
        max: i32,
        /// What was given.
        level: String,
    },
}

impl FromStr for Compression {
    type Err = CompressionError;

    fn from_str(text: &str) -> Result<Self, CompressionError> {
        let (name, level) = text.split_once(':').map_or((text, None), |(name, level)| (name, Some(level)));
        let codec = Codec::ALL.into_iter().find(|codec| codec.name() == name);
        let codec = codec.ok_or_else(|| CompressionError::Codec { name: name.to_owned() })?;
        let Some(text) = level else { return Ok(Self { codec, level: None }) };
        let Some((min, max, _)) = codec.levels() else {
            return Err(CompressionError::NoLevels { codec: codec.name() });
        };
        match text.parse() {
            Ok(level) if (min..=max).contains(&level) => Ok(Self { codec, level: Some(level) }),
            _ => Err(CompressionError::Level { codec: codec.name(), min, max, level: text.to_owned() }),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.codec.name())?;
        self.level.map_or(Ok(()), |level| write!(f, ":{level}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_levels_are_kafkas() {
        for text in ["none", "gzip", "gzip:1", "snappy", "lz4:17", "zstd:-131072", "zstd:22"] {
            assert_eq!(text.parse::<Compression>().unwrap().to_string(), text);
        }
        for text in ["", "brotli", "gzip:0", "gzip:10", "snappy:1", "none:1", "lz4:18", "zstd:23", "zstd:x", "ZSTD"] {
            assert!(text.parse::<Compression>().is_err(), "{text}");
        }
        assert!(Codec::from_attribute_bits(5).is_err());
    }
}
