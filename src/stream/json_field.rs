//! One field of a JSON object, read without the rest.

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;
use std::io::Write;

/// Appends the text or the number that the field `name` of an object has. Answers false where the line is not an object, or
/// the object has no such field.
pub(super) fn read(line: &[u8], name: &str, out: &mut Vec<u8>) -> bool {
    let mut deserializer = serde_json::Deserializer::from_slice(line);
    deserializer.deserialize_map(FieldIn { name, out }).unwrap_or(false)
}

struct FieldIn<'a> {
    name: &'a str,
    out: &'a mut Vec<u8>,
}

impl<'de> Visitor<'de> for FieldIn<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut found = false;
        while let Some(Name(key)) = map.next_key()? {
            if !found && key == self.name {
                found = map.next_value_seed(ScalarIn(&mut *self.out))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// A name, borrowed from the line where it holds no escape.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Takes text or a number; answers false of anything else.
struct ScalarIn<'a>(&'a mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for ScalarIn<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl ScalarIn<'_> {
    fn take(self, value: impl fmt::Display) -> bool {
        write!(self.0, "{value}").is_ok()
    }
}

impl<'de> Visitor<'de> for ScalarIn<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
        Ok(self.take(text))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<bool, E> {
        Ok(self.take(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<bool, E> {
        Ok(self.take(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<bool, E> {
        Ok(self.take(number))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<bool, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(false)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(false)
    }
}
