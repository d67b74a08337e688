//! What a record of an internal topic says, borrowed from its bytes.

use super::schema::Field;
use uuid::Uuid;

/// A value of a [`Kind`](super::schema::Kind), or nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// Null, where its field allows that.
    Null,
    /// Yes or no.
    Bool(bool),
    /// An integer of any width.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// An id.
    Uuid(Uuid),
    /// Text.
    Text(&'a str),
    /// Bytes that have no meaning here.
    Bytes(&'a [u8]),
    /// Any number of values of one kind.
    List(Box<[Value<'a>]>),
    /// Values with names.
    Struct(Struct<'a>),
}

/// Values with names.
#[derive(Debug, Clone, PartialEq)]
pub struct Struct<'a> {
    fields: &'static [Field],
    /// One for each of `fields`; `None` is not there.
    values: Box<[Option<Value<'a>>]>,
}

impl<'a> Struct<'a> {
    /// A struct that has nothing yet.
    pub(super) fn of(fields: &'static [Field]) -> Self {
        Self { fields, values: fields.iter().map(|_| None).collect() }
    }

    /// Sets the value of the field at `place`.
    pub(super) fn set(&mut self, place: usize, value: Value<'a>) {
        self.values[place] = Some(value);
    }

    /// The value of a field; `None` where the version of the record has no such field, or where the field is tagged and
    /// was left out because it has its default.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Value<'a>> {
        self.iter().find_map(|(found, value)| (found == name).then_some(value))
    }

    /// As [`field()`](Self::field), to be replaced.
    pub(super) fn field_mut(&mut self, name: &str) -> Option<&mut Value<'a>> {
        let mut pairs = self.fields.iter().zip(&mut self.values);
        pairs.find_map(|(field, value)| if field.name == name { value.as_mut() } else { None })
    }

    /// The fields that are there, in the order of their schema.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Value<'a>)> {
        let pairs = self.fields.iter().zip(&self.values);
        pairs.filter_map(|(field, value)| value.as_ref().map(|value| (field.name, value)))
    }

    /// An integer field; `None` where it is not there.
    #[must_use]
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.field(name)? {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// A text field; `None` where it is null or not there.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&'a str> {
        match self.field(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// An id field; `None` where it is not there.
    #[must_use]
    pub fn uuid(&self, name: &str) -> Option<Uuid> {
        match self.field(name)? {
            Value::Uuid(id) => Some(*id),
            _ => None,
        }
    }

    /// A list field; `None` where it is null or not there.
    #[must_use]
    pub fn list(&self, name: &str) -> Option<&[Value<'a>]> {
        match self.field(name)? {
            Value::List(values) => Some(values),
            _ => None,
        }
    }

    /// The structs of a list field; none where it is null or not there.
    pub fn structs<'b>(&'b self, name: &str) -> impl Iterator<Item = &'b Struct<'a>> + use<'a, 'b> {
        let values = self.list(name).unwrap_or_default();
        values.iter().filter_map(|value| if let Value::Struct(data) = value { Some(data) } else { None })
    }

    /// A list field of integers; `None` where it is null or not there.
    #[must_use]
    pub fn ints(&self, name: &str) -> Option<Vec<i64>> {
        let values = self.list(name)?;
        values.iter().map(|value| if let Value::Int(number) = value { Some(*number) } else { None }).collect()
    }
}

#[cfg(test)]
impl Struct<'_> {
    /// The bytes of memory that the fields take.
    pub(super) fn memory(&self) -> usize {
        fn of(value: &Value<'_>) -> usize {
            match value {
                Value::List(values) => size_of_val(&**values) + values.iter().map(of).sum::<usize>(),
                Value::Struct(data) => data.memory(),
                _ => 0,
            }
        }
        size_of_val(&*self.values) + self.values.iter().flatten().map(of).sum::<usize>()
    }
}
