//! The JSON envelope with the value in it as JSON, not as text: `{"value":{"a":1}}` in place of `{"value":"{\"a\":1}"}`.
//!
//! A value that is not JSON is base64 in `value_b64`, since its text would be read back as a JSON string. So is the JSON
//! value `null`, since `"value":null` is a record without a value. Line ends between the parts of a value become blanks.

use super::json::{self, Located};
use serde::de::IgnoredAny;

/// Appends the envelope of a record and a newline.
pub fn write(it: &Located<'_>, out: &mut Vec<u8>) {
    json::write_place(it, out);
    json::write_offset_and_time(it, out);
    out.extend_from_slice(b",\"key");
    json::write_part(it.record.key, out);
    match it.record.value {
        None => out.extend_from_slice(b",\"value\":null"),
        Some(value) if is_json(value) => {
            out.extend_from_slice(b",\"value\":");
            // Inside of a string there are none: JSON has escapes for them.
            out.extend(value.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
        }
        Some(value) => {
            out.extend_from_slice(b",\"value_b64\":");
            json::write_base64(value, out);
        }
    }
    json::write_headers(it, out);
}

fn is_json(value: &[u8]) -> bool {
    std::str::from_utf8(value)
        .is_ok_and(|text| text.trim() != "null" && serde_json::from_str::<IgnoredAny>(text).is_ok())
}

#[cfg(test)]
mod tests {
    #[test]
    fn json_is_what_a_parser_takes_and_not_null() {
        for (value, expected) in [
            (&br#"{"a":[1,2.5e3,true,null,"\u00fc"]}"#[..], true),
            (b" 1\n", true),
            (b"\"text\"", true),
            (b"null", false),
            (b"text", false),
            (b"", false),
            (b"{\"a\":1} {", false),
            (b"{'a':1}", false),
            (b"\"\xff\"", false),
        ] {
            assert_eq!(super::is_json(value), expected, "{}", value.escape_ascii());
        }
    }
}
