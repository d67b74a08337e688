//! Cuts an input into records: lines (or any other delimiter), 32-bit lengths, or all of it at once.

use memchr::memmem::Finder;

/// How the input is cut.
#[derive(Debug, Clone)]
pub enum Framing {
    /// One byte ends each record; the last may lack it.
    Byte(u8),
    /// Several bytes end each record; the last may lack them.
    Bytes(Box<Finder<'static>>),
    /// A big-endian 32-bit length before each record.
    Len32,
    /// The whole input is one record.
    Raw,
}

/// What stands at the front of the bytes at hand.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// A record from `start` to `end`; the next begins at `next`.
    Record {
        /// Its first byte.
        start: usize,
        /// Behind its last byte.
        end: usize,
        /// The first byte of the next record.
        next: usize,
    },
    /// More input is needed.
    More {
        /// How many bytes the record takes at least, as far as that is known.
        at_least: usize,
    },
    /// The input has ended.
    End,
    /// The input has ended within a record of this many bytes.
    Cut {
        /// As announced.
        announced: usize,
    },
}

/// Bytes of the length before a record.
pub const LENGTH_SIZE: usize = 4;

impl Framing {
    /// Records that end in `delimiter`, which is not empty.
    #[must_use]
    pub fn delimited(delimiter: &[u8]) -> Self {
        match delimiter {
            [byte] => Self::Byte(*byte),
            bytes => Self::Bytes(Box::new(Finder::new(bytes).into_owned())),
        }
    }

    /// What ends a record; nothing where its length does.
    #[must_use]
    pub fn delimiter(&self) -> &[u8] {
        match self {
            Self::Byte(byte) => std::slice::from_ref(byte),
            Self::Bytes(finder) => finder.needle(),
            Self::Len32 | Self::Raw => b"",
        }
    }

    /// What a record of this framing is called.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        if matches!(self, Self::Byte(b'\n')) { "line" } else { "record" }
    }

    /// Looks at the front of `bytes`; `ended` says that nothing follows them. The first `searched` bytes are known to hold
    /// no delimiter.
    #[inline]
    #[must_use]
    pub fn next(&self, bytes: &[u8], ended: bool, searched: usize) -> Frame {
        match self {
            Self::Byte(delimiter) => {
                let found = memchr::memchr(*delimiter, &bytes[searched..]).map(|at| searched + at);
                delimited(found, 1, bytes.len(), ended)
            }
            Self::Bytes(finder) => {
                let width = finder.needle().len();
                let from = searched.saturating_sub(width - 1);
                delimited(finder.find(&bytes[from..]).map(|at| from + at), width, bytes.len(), ended)
            }
            Self::Len32 => len32(bytes, ended),
            Self::Raw if !ended => Frame::More { at_least: bytes.len() + 1 },
            Self::Raw if bytes.is_empty() => Frame::End,
            Self::Raw => Frame::Record { start: 0, end: bytes.len(), next: bytes.len() },
        }
    }
}

#[inline]
fn delimited(found: Option<usize>, width: usize, length: usize, ended: bool) -> Frame {
    match found {
        Some(end) => Frame::Record { start: 0, end, next: end + width },
        None if !ended => Frame::More { at_least: length + 1 },
        None if length == 0 => Frame::End,
        None => Frame::Record { start: 0, end: length, next: length },
    }
}

fn len32(bytes: &[u8], ended: bool) -> Frame {
    if bytes.is_empty() && ended {
        return Frame::End;
    }
    let Some(announced) = bytes.first_chunk::<LENGTH_SIZE>().map(|length| u32::from_be_bytes(*length) as usize) else {
        return if ended { Frame::Cut { announced: LENGTH_SIZE } } else { Frame::More { at_least: LENGTH_SIZE } };
    };
    let end = LENGTH_SIZE + announced;
    match bytes.len() {
        length if length >= end => Frame::Record { start: LENGTH_SIZE, end, next: end },
        _ if ended => Frame::Cut { announced },
        _ => Frame::More { at_least: end },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(framing: &Framing, mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        while let Frame::Record { start, end, next } = framing.next(bytes, true, 0) {
            records.push(bytes[start..end].to_vec());
            bytes = &bytes[next..];
        }
        records
    }

    #[test]
    fn cuts_lines_as_they_stand() {
        for (input, expected) in [
            (&b"a\nb\n"[..], vec![&b"a"[..], b"b"]),
            (b"a\nb", vec![b"a", b"b"]),
            (b"\n\n", vec![b"", b""]),
            (b"", vec![]),
            (b"a\r\n\0\xff\n", vec![b"a\r", b"\0\xff"]),
        ] {
            assert_eq!(all(&Framing::delimited(b"\n"), input), expected, "{input:?}");
        }
    }

    #[test]
    fn a_delimiter_of_several_bytes_may_be_torn_by_a_read() {
        let framing = Framing::delimited(b"--");
        assert_eq!(all(&framing, b"a-b--c----d"), [&b"a-b"[..], b"c", b"", b"d"]);
        assert_eq!(framing.next(b"ab-", false, 0), Frame::More { at_least: 4 });
        assert_eq!(framing.next(b"ab--", false, 3), Frame::Record { start: 0, end: 2, next: 4 });
    }

    #[test]
    fn lengths_say_where_records_end() {
        let framing = Framing::Len32;
        assert_eq!(all(&framing, b"\0\0\0\x02ab\0\0\0\0\0\0\0\x01c"), [&b"ab"[..], b"", b"c"]);
        assert_eq!(framing.next(b"\0\0\0\x02a", false, 0), Frame::More { at_least: 6 });
        assert_eq!(framing.next(b"\0\0\0\x02a", true, 0), Frame::Cut { announced: 2 });
        assert_eq!(framing.next(b"\0\0", true, 0), Frame::Cut { announced: 4 });
    }

    #[test]
    fn raw_takes_everything_as_one_record() {
        assert_eq!(Framing::Raw.next(b"a\nb\n", false, 0), Frame::More { at_least: 5 });
        assert_eq!(all(&Framing::Raw, b"a\nb\n"), [b"a\nb\n"]);
        assert_eq!(all(&Framing::Raw, b"").len(), 0);
    }
}
