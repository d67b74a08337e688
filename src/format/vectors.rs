//! Golden bytes of Kafka's formats, for the tests of the files that read and write them.

/// A record batch of three records with key, header, empty and null values.
pub(super) const VECTOR_A: &str = "0000000000000000000000500000000002cb66957a0000000000020000018bcfe568000000018bcfe56807\
    ffffffffffffffffffffffffffff000000031c000000046b3104763102026802780c000a0201000010000e04046b310100";
/// A COMMIT marker at offset 3.
pub(super) const VECTOR_B: &str = "00000000000000030000004200000000026505c7e60030000000000000018bcfe568090000018bcfe56809\
    00000000000003e80000ffffffff000000012000000008000000010c00000000000000";
/// A message of format v1.
pub(super) const VECTOR_C: &str = "00000000000000000000001aa5da6a6201000000018bcfe56800000000026b31000000027631";
/// A message of format v0.
pub(super) const VECTOR_D: &str = "00000000000000000000001257e7496e0000000000026b31000000027631";
/// A producer snapshot with one producer.
pub(super) const VECTOR_E: &str =
    "0001e507e81e0000000100000000000003e80000000000020000000000000002000000020000018bcfe56807ffffffffffffffffffffffff";

pub(super) fn unhex(text: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
    (0..text.len() / 2).map(byte).collect()
}
