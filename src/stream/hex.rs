//! Records byte by byte, for a person: what they are, then key, value and headers as `hexdump -C` shows bytes.

use super::json::Located;
use std::io::Write;

/// Bytes on a line.
const LINE: usize = 16;

/// Appends a record.
pub fn write(it: &Located<'_>, out: &mut Vec<u8>) {
    let (topic, partition, offset, timestamp) = (it.topic, it.partition, it.offset, it.timestamp.0);
    text(format_args!("{topic}-{partition} offset {offset} timestamp {timestamp}"), out);
    part(format_args!("key"), it.record.key, out);
    part(format_args!("value"), it.record.value, out);
    for (name, value) in it.record.headers.iter() {
        part(format_args!("header {}", name.escape_ascii()), value, out);
    }
    out.push(b'\n');
}

fn text(line: std::fmt::Arguments<'_>, out: &mut Vec<u8>) {
    writeln!(out, "{line}").expect("memory takes every write");
}

fn part(name: std::fmt::Arguments<'_>, bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes {
        None => text(format_args!("{name}: null"), out),
        Some(bytes) => {
            let plural = if bytes.len() == 1 { "" } else { "s" };
            text(format_args!("{name}: {} byte{plural}", bytes.len()), out);
            dump(bytes, out);
        }
    }
}

fn dump(bytes: &[u8], out: &mut Vec<u8>) {
    for (place, line) in bytes.chunks(LINE).enumerate() {
        let mut shown = String::with_capacity(LINE * 3 + 1);
        for (column, byte) in line.iter().enumerate() {
            let gap = if column == LINE / 2 { " " } else { "" };
            shown.push_str(&format!("{gap}{byte:02x} "));
        }
        let is_shown = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
        let plain: String = line.iter().map(|byte| if is_shown(byte) { char::from(*byte) } else { '.' }).collect();
        text(format_args!("{:08x}  {shown:<49} |{plain}|", place * LINE), out);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_are_shown_as_hexdump_shows_them() {
        let mut out = Vec::new();
        super::dump(b"0123456789abcdef\x00\xff z", &mut out);
        let expected = "\
00000000  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  |0123456789abcdef|
00000010  00 ff 20 7a                                       |.. z|
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
