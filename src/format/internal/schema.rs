//! How the records of internal topics are laid out: tables of fields, and the one decoder that reads bytes by them.
//!
//! Integers are big-endian. A schema has versions; from one of them on, if any, it is *flexible*, which changes the lengths:
//!
//! | kind | not flexible | flexible |
//! | --- | --- | --- |
//! | text | i16 length (-1 null), UTF-8 | unsigned varint of length + 1 (0 null), UTF-8 |
//! | bytes | i32 length (-1 null) | unsigned varint of length + 1 (0 null) |
//! | list | i32 count (-1 null) | unsigned varint of count + 1 (0 null) |
//! | struct | its fields | its fields, then its tags |
//! | a struct that may be null | i8, below 0 null | likewise; in a tag an unsigned varint, 0 null |
//!
//! Tags are an unsigned varint of how many there are, then for each unsigned varints of its number and of its size, and its
//! bytes. A field with a tag is written only if it differs from its default. Unknown tags are passed over: they are how
//! later releases add fields without a new version.
//!
//! No length and no count is trusted: a list has at most as many elements as there are bytes left, structs are nested as
//! deep as the table says and no deeper, and more than [`SIZE_MAX`] bytes are not decoded: what is read takes at most
//! sixty times the bytes. Source: Kafka's `MessageDataGenerator.java`, KIP-482.

use super::value::{Struct, Value};
use crate::format::{FormatError, varint};
use uuid::Uuid;

/// The most bytes of a key or a value that are decoded. Brokers write at most `max.message.bytes`, 1 MiB by default.
pub const SIZE_MAX: usize = 4 << 20;

/// The first flexible version of a schema that has none.
pub const NEVER: i16 = i16::MAX;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// One byte, 0 or not.
    Bool,
    /// One byte.
    Int8,
    /// Two bytes.
    Int16,
    /// Two bytes, never negative.
    Uint16,
    /// Four bytes.
    Int32,
    /// Eight bytes.
    Int64,
    /// Eight bytes of IEEE 754.
    Float64,
    /// Sixteen bytes.
    Uuid,
    /// UTF-8.
    Text,
    /// Any bytes.
    Bytes,
    /// Any number of values of one kind.
    List(&'static Kind),
    /// Fields.
    Struct(&'static [Field]),
}

/// A field of a table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Field {
    /// Its name, as Kafka's tools print it.
    pub name: &'static str,
    kind: Kind,
    /// The first version that has it.
    since: i16,
    /// The last version that has it.
    until: i16,
    nullable: bool,
    tag: Option<u32>,
}

/// A field that every version has and that is never null.
pub(super) const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, since: 0, until: i16::MAX, nullable: false, tag: None }
}

impl Field {
    /// Only from this version on.
    pub(super) const fn since(self, version: i16) -> Self {
        Self { since: version, ..self }
    }

    /// Not after this version.
    pub(super) const fn until(self, version: i16) -> Self {
        Self { until: version, ..self }
    }

    /// It may be null.
    pub(super) const fn nullable(self) -> Self {
        Self { nullable: true, ..self }
    }

    /// It is written with that tag.
    pub(super) const fn tag(self, tag: u32) -> Self {
        Self { tag: Some(tag), ..self }
    }

    fn is_in(&self, version: i16) -> bool {
        (self.since..=self.until).contains(&version)
    }
}

/// The layout of a key or a value, in all its versions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schema {
    /// The last version that is known; the first is 0.
    pub latest: i16,
    /// The first flexible version.
    pub flexible: i16,
    /// The fields.
    pub fields: &'static [Field],
}

impl Schema {
    /// Reads the bytes of that version, all of them.
    ///
    /// # Errors
    /// When the version is not known, or the bytes are not as the table says.
    pub fn decode<'a>(&self, version: i16, bytes: &'a [u8]) -> Result<Struct<'a>, FormatError> {
        if !(0..=self.latest).contains(&version) {
            return Err(FormatError::Unsupported { what: format!("version {version}") });
        }
        if bytes.len() > SIZE_MAX {
            return Err(FormatError::Unsupported { what: format!("a size of more than {} MiB", SIZE_MAX >> 20) });
        }
        let mut reader = Reader { bytes, at: 0, version, flexible: version >= self.flexible };
        let decoded = reader.structure(self.fields)?;
        reader.finish()?;
        Ok(decoded)
    }

    /// Reads a version in two bytes, and what follows by it.
    ///
    /// # Errors
    /// As [`decode()`](Self::decode), or when the version is cut short.
    pub fn decode_versioned<'a>(&self, bytes: &'a [u8]) -> Result<(i16, Struct<'a>), FormatError> {
        let (version, rest) = split_i16(bytes)?;
        Ok((version, self.decode(version, rest)?))
    }
}

/// The number in the first two bytes, and the bytes after it.
pub(super) fn split_i16(bytes: &[u8]) -> Result<(i16, &[u8]), FormatError> {
    let (number, rest) = bytes.split_first_chunk().ok_or_else(short)?;
    Ok((i16::from_be_bytes(*number), rest))
}

#[cold]
fn short() -> FormatError {
    FormatError::corrupt("the bytes are cut short")
}

/// A place in the bytes.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    version: i16,
    flexible: bool,
}

impl<'a> Reader<'a> {
    fn structure(&mut self, fields: &'static [Field]) -> Result<Struct<'a>, FormatError> {
        let mut read = Struct::of(fields);
        for (place, field) in fields.iter().enumerate() {
            if field.is_in(self.version) && field.tag.is_none() {
                read.set(place, self.field(field)?);
            }
        }
        if self.flexible {
            self.tags(fields, &mut read)?;
        }
        Ok(read)
    }

    fn tags(&mut self, fields: &'static [Field], read: &mut Struct<'a>) -> Result<(), FormatError> {
        for _ in 0..self.varint()? {
            let (tag, size) = (self.varint()?, self.varint()?);
            let bytes = self.take(size as usize)?;
            let known = |field: &Field| field.tag == Some(tag) && field.is_in(self.version);
            if let Some(place) = fields.iter().position(known) {
                let mut reader = Reader { bytes, at: 0, ..*self };
                read.set(place, reader.field(&fields[place])?);
                reader.finish()?;
            }
        }
        Ok(())
    }

    fn field(&mut self, field: &Field) -> Result<Value<'a>, FormatError> {
        let value = match field.kind {
            Kind::Struct(_) if field.nullable && !self.has_struct(field)? => Value::Null,
            kind => self.value(kind)?,
        };
        match value {
            Value::Null if !field.nullable => Err(FormatError::corrupt(format!("{} is null", field.name))),
            value => Ok(value),
        }
    }

    /// Whether a struct that may be null follows.
    fn has_struct(&mut self, field: &Field) -> Result<bool, FormatError> {
        if field.tag.is_some() { Ok(self.varint()? > 0) } else { Ok(i8::from_be_bytes(self.array()?) >= 0) }
    }

    fn value(&mut self, kind: Kind) -> Result<Value<'a>, FormatError> {
        Ok(match kind {
            Kind::Bool => Value::Bool(self.array::<1>()? != [0]),
            Kind::Int8 => Value::Int(i8::from_be_bytes(self.array()?).into()),
            Kind::Int16 => Value::Int(i16::from_be_bytes(self.array()?).into()),
            Kind::Uint16 => Value::Int(u16::from_be_bytes(self.array()?).into()),
            Kind::Int32 => Value::Int(i32::from_be_bytes(self.array()?).into()),
            Kind::Int64 => Value::Int(i64::from_be_bytes(self.array()?)),
            Kind::Float64 => Value::Float(f64::from_be_bytes(self.array()?)),
            Kind::Uuid => Value::Uuid(Uuid::from_bytes(self.array()?)),
            Kind::Text => match self.text_length()? {
                None => Value::Null,
                Some(length) => {
                    let text = std::str::from_utf8(self.take(length)?);
                    Value::Text(text.map_err(|_| FormatError::corrupt("a text is not UTF-8"))?)
                }
            },
            Kind::Bytes => match self.length()? {
                None => Value::Null,
                Some(length) => Value::Bytes(self.take(length)?),
            },
            Kind::List(element) => match self.length()? {
                None => Value::Null,
                Some(count) => self.list(*element, count)?,
            },
            Kind::Struct(fields) => Value::Struct(self.structure(fields)?),
        })
    }

    fn list(&mut self, kind: Kind, count: usize) -> Result<Value<'a>, FormatError> {
        if count > self.bytes.len() - self.at {
            return Err(FormatError::corrupt(format!("a list announces {count} elements and there are fewer bytes")));
        }
        let mut values = Vec::new();
        for _ in 0..count {
            match self.value(kind)? {
                Value::Null => return Err(FormatError::corrupt("an element of a list is null")),
                value => values.push(value),
            }
        }
        Ok(Value::List(values.into()))
    }

    fn text_length(&mut self) -> Result<Option<usize>, FormatError> {
        if self.flexible { self.length() } else { Ok(usize::try_from(i16::from_be_bytes(self.array()?)).ok()) }
    }

    /// The length of bytes or of a list; `None` is null.
    fn length(&mut self) -> Result<Option<usize>, FormatError> {
        if self.flexible {
            Ok((self.varint()? as usize).checked_sub(1))
        } else {
            Ok(usize::try_from(i32::from_be_bytes(self.array()?)).ok())
        }
    }

    fn varint(&mut self) -> Result<u32, FormatError> {
        varint::read_u32(self.bytes, &mut self.at)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let array = self.bytes[self.at..].first_chunk().ok_or_else(short)?;
        self.at += N;
        Ok(*array)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], FormatError> {
        let taken = self.bytes[self.at..].get(..length).ok_or_else(short)?;
        self.at += length;
        Ok(taken)
    }

    fn finish(&self) -> Result<(), FormatError> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            left => Err(FormatError::corrupt(format!("{left} bytes follow the last field"))),
        }
    }
}
