//! Logs that no writer wrote so: each is named by file, position and offset, with exit status 4, what lies before it is
//! printed, and no memory is taken for what they claim to hold.

use crate::support::Kdir;
use kdir::format::compression::{Codec, Compression, Compressor};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

const SIZE_AT: usize = 8;
const MAGIC_AT: usize = 16;
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/kafka");

/// More than any test needs, and much less than its input claims: 1 GiB of address space.
const MEMORY_MAX: u64 = 1 << 30;

/// One segment, copied from the golden log dir or made of it.
struct Log {
    kdir: Kdir,
    bytes: Vec<u8>,
    /// Where each batch begins, and the first offset that may stand there.
    batches: Vec<(usize, u64)>,
    /// How many records of the second batch are whole and stand before its damage.
    whole_records: u64,
}

impl Log {
    fn of(topic: &str) -> Self {
        let bytes = fs::read(format!("{GOLDEN}/{topic}-0/{:020}.log", 0)).unwrap();
        let (mut at, mut offset, mut batches) = (0, 0, Vec::new());
        while at < bytes.len() {
            batches.push((at, offset));
            let last_offset_delta = if bytes[at + MAGIC_AT] == 2 { int(&bytes, at + 23) } else { 0 };
            offset = u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap()) + u64::from(last_offset_delta) + 1;
            at += 12 + int(&bytes, at + SIZE_AT) as usize;
        }
        assert!(batches.len() > 2, "{topic} has a batch in the middle");
        Self { kdir: Kdir::new(), bytes, batches, whole_records: 0 }
    }

    /// The second batch.
    fn middle(&mut self) -> &mut [u8] {
        let (start, end) = (self.batches[1].0, self.batches[2].0);
        &mut self.bytes[start..end]
    }

    fn path(&self) -> PathBuf {
        self.kdir.segment("bad-0", 0, "log")
    }

    fn write(&self) {
        fs::create_dir_all(self.kdir.path("bad-0")).unwrap();
        fs::write(self.path(), &self.bytes).unwrap();
    }

    /// The records before the second batch are printed, which is then named; `produce` refuses as well where `writers`
    /// look, which do not look inside of batches.
    #[track_caller]
    fn is_named(&self, what: &str, writers: bool) {
        self.write();
        let (position, offset) = self.batches[1];
        let (code, stdout, stderr) = self.consume();
        let place = format!("kdir: {} is corrupt at position {position} (offset {offset}): ", self.path().display());
        assert!(stderr.starts_with(&place), "{what}: {stderr}");
        let printed = offset + self.whole_records;
        assert_eq!((code, stdout.lines().count() as u64), (Some(4), printed), "{what}: {stderr}");
        if writers {
            let before = fs::read(self.path()).unwrap();
            self.kdir.feed(&["produce", "bad"], "x\n").code(4).stdout("");
            assert_eq!(fs::read(self.path()).unwrap(), before, "{what}");
        }
    }

    /// The same of a sound batch that this program does not read: no corruption, and nothing for a repair to give up.
    #[track_caller]
    fn is_unsupported(&self, what: &str, why: &str) {
        self.write();
        let (position, offset) = self.batches[1];
        let (code, stdout, stderr) = self.consume();
        let place = format!("kdir: {} at position {position} (offset {offset}): {why}", self.path().display());
        assert!(stderr.starts_with(&place), "{what}: {stderr}");
        assert_eq!((code, stdout.lines().count() as u64), (Some(1), offset), "{what}: {stderr}");
        self.kdir.run(&["-q", "repair", "bad", "--accept-loss"]).code(0);
        assert!(fs::read(self.path()).unwrap() == self.bytes, "{what}: a sound batch was changed");
        // Nothing is wrong with it: it is kdir that cannot look inside.
        let findings = self.kdir.run(&["-q", "verify", "bad", "-o", "json"]).code(0);
        let findings = crate::support::json_lines(&findings.get_output().stdout);
        let problems: Vec<_> = findings.iter().map(|it| (it["problem"].as_str().unwrap(), &it["position"])).collect();
        assert_eq!(problems, [("unsupported-batch", &position.into())], "{what}");
    }

    fn consume(&self) -> (Option<i32>, String, String) {
        let mut command = self.kdir.process(&["consume", "bad", "-o", "json"]);
        let output = bounded(&mut command).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }
}

/// The same program with little memory to ask for.
fn bounded(command: &mut Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -v {} && exec \"$0\" \"$@\"", MEMORY_MAX >> 10)]);
    shell.arg(command.get_program()).args(command.get_args());
    shell.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).arg0("sh");
    shell
}

fn int(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Makes the checksum of a batch right again.
fn seal(batch: &mut [u8]) {
    if batch[MAGIC_AT] == 2 {
        let checksum = kdir::format::crc::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&checksum.to_be_bytes());
    } else {
        let checksum = kdir::format::crc::crc32(&batch[MAGIC_AT..]);
        batch[12..MAGIC_AT].copy_from_slice(&checksum.to_be_bytes());
    }
}

fn attributes_at(batch: &[u8]) -> usize {
    if batch[MAGIC_AT] == 2 { 22 } else { 17 }
}

#[test]
fn a_wrong_checksum_is_named() {
    for topic in ["v0-none", "v0-gzip", "v1-none", "v1-lz4", "v2-none", "v2-zstd", "mixed"] {
        let mut log = Log::of(topic);
        *log.middle().last_mut().unwrap() ^= 1;
        log.is_named(topic, true);
    }
}

#[test]
fn an_unknown_magic_is_named_also_in_the_last_batch() {
    for topic in ["v0-none", "v1-gzip", "v2-none"] {
        for magic in [3, 127, 255] {
            let mut log = Log::of(topic);
            log.middle()[MAGIC_AT] = magic;
            log.is_named(&format!("{topic} with magic {magic}"), true);
            let (end, _) = log.batches[2];
            // An old message is shorter than the head of a batch, which is as much as has to be seen of an unknown one.
            if end - log.batches[1].0 > 61 {
                log.bytes.truncate(end);
                log.is_named(&format!("{topic} with magic {magic} at the end"), true);
            }
        }
    }
}

#[test]
fn unknown_codecs_are_named() {
    for topic in ["v0-gzip", "v1-gzip", "v2-gzip", "v2-none"] {
        for codec in 5..8 {
            let mut log = Log::of(topic);
            let batch = log.middle();
            let at = attributes_at(batch);
            batch[at] = batch[at] & !7 | codec;
            seal(batch);
            log.is_unsupported(
                &format!("{topic} with codec {codec}"),
                &format!("compression codec {codec} is not supported"),
            );
        }
    }
    let mut log = Log::of("v1-gzip");
    let at = attributes_at(log.middle());
    log.middle()[at] = 4;
    seal(log.middle());
    log.is_named("zstd in an old message", false);
}

#[test]
fn another_codec_than_that_of_the_bytes_is_named() {
    for topic in ["v0-gzip", "v1-snappy", "v2-lz4", "v2-zstd", "v2-gzip"] {
        let mut log = Log::of(topic);
        let batch = log.middle();
        let at = attributes_at(batch);
        batch[at] = if topic.starts_with("v2-z") { 3 } else { (batch[at] % 3) + 1 };
        seal(batch);
        log.is_named(topic, false);
    }
}

#[test]
fn a_record_count_that_lies_is_named() {
    for topic in ["v2-none", "v2-zstd"] {
        for count in [0_u32, 2, 1000, i32::MAX as u32] {
            let mut log = Log::of(topic);
            log.middle()[57..61].copy_from_slice(&count.to_be_bytes());
            seal(log.middle());
            // It holds one, which is printed before the next is missed.
            log.whole_records = u64::from(count > 1);
            // A compressed batch that claims no records is an empty one: what it holds is not asked for.
            if count > 0 || topic == "v2-none" {
                log.is_named(&format!("{topic} with {count} records"), false);
            }
        }
        let mut log = Log::of(topic);
        log.middle()[57..61].copy_from_slice(&(-1_i32).to_be_bytes());
        seal(log.middle());
        log.is_named("a negative record count", true);
    }
}

#[test]
fn lengths_that_point_outside_are_named() {
    // The batch of one record: its length, and those of its key and its value, are varints of one or two bytes.
    for (at, value) in [(61, 0x7e), (61, 0x01), (65, 0x7e), (65, 0x03), (71, 0x7e), (71, 0x03)] {
        let mut log = Log::of("v2-none");
        log.middle()[at] = value;
        seal(log.middle());
        log.is_named(&format!("{value:#x} at {at}"), false);
    }
    for (topic, key_at) in [("v0-none", 18), ("v1-none", 26)] {
        for length in [-2, 100, i32::MAX] {
            for at in [key_at, key_at + 9] {
                let mut log = Log::of(topic);
                log.middle()[at..at + 4].copy_from_slice(&length.to_be_bytes());
                seal(log.middle());
                log.is_named(&format!("{topic}: {length} at {at}"), false);
            }
        }
    }
}

#[test]
fn impossible_sizes_are_named() {
    for topic in ["v0-none", "v1-gzip", "v2-none"] {
        for size in [-1, 0, 1, 13, i32::MIN, i32::MAX] {
            let mut log = Log::of(topic);
            log.middle()[SIZE_AT..SIZE_AT + 4].copy_from_slice(&size.to_be_bytes());
            log.is_named(&format!("{topic} with size {size}"), true);
        }
    }
}

#[test]
fn what_inflates_beyond_all_reason_is_named() {
    // A limit of 256 MiB is named in the message; each of these asks for more in less than 1 MiB.
    let zeros = vec![0; 300 << 20];
    for codec in [Codec::Gzip, Codec::Lz4, Codec::Zstd, Codec::Snappy] {
        let mut payload = Vec::new();
        Compressor::new(Compression { codec, level: None }).compress(&zeros, &mut payload).unwrap();
        let mut log = Log::of("v2-none");
        let (start, end) = (log.batches[1].0, log.batches[2].0);
        let mut batch = log.bytes[start..start + 61].to_vec();
        batch.extend_from_slice(&payload);
        let size = (batch.len() - 12) as u32;
        batch[SIZE_AT..SIZE_AT + 4].copy_from_slice(&size.to_be_bytes());
        batch[22] = codec.attribute_bits();
        seal(&mut batch);
        log.bytes.splice(start..end, batch);
        log.is_unsupported(codec.name(), "the records decompress to more than 268435456 bytes");
    }
}

#[test]
fn a_last_segment_that_is_cut_anywhere_ends_before_the_cut_and_an_older_one_is_named() {
    for topic in ["v0-gzip", "v1-none", "v2-none", "mixed"] {
        let log = Log::of(topic);
        log.write();
        let whole = log.bytes.clone();
        let all = log.kdir.text(&["consume", "bad"]);
        let step = if topic == "mixed" { 1 } else { 7 };
        for cut in (log.batches[2].0..whole.len()).step_by(step).chain([whole.len() - 1]) {
            fs::write(log.path(), &whole[..cut]).unwrap();
            let printed = log.kdir.text(&["consume", "bad"]);
            assert!(all.starts_with(&printed) && printed.len() < all.len(), "{topic} cut at {cut}");
            if log.batches.iter().all(|(start, _)| *start != cut) {
                fs::write(log.kdir.segment("bad-0", 5000, "log"), b"").unwrap();
                let (code, stdout, stderr) = log.consume();
                assert_eq!(
                    (code, stdout.lines().count()),
                    (Some(4), printed.lines().count()),
                    "{topic} cut at {cut}: {stderr}"
                );
                fs::remove_file(log.kdir.segment("bad-0", 5000, "log")).unwrap();
            }
        }
    }
}

#[test]
fn messages_that_are_cut_inside_of_a_wrapper_are_named() {
    let inside = fs::read(format!("{GOLDEN}/v1-none-0/{:020}.log", 0)).unwrap();
    let mut whole = 0;
    for cut in 0..inside.len().min(150) {
        let mut payload = Vec::new();
        let gzip = Compression { codec: Codec::Gzip, level: None };
        Compressor::new(gzip).compress(&inside[..cut], &mut payload).unwrap();
        let mut log = Log::of("v1-gzip");
        let start = log.batches[1].0;
        let mut message = log.bytes[start..start + 30].to_vec();
        message.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        message.extend_from_slice(&payload);
        let size = (message.len() - 12) as u32;
        message[SIZE_AT..SIZE_AT + 4].copy_from_slice(&size.to_be_bytes());
        // The offset of the last message inside, where two have room after the batch before.
        message[..8].copy_from_slice(&4_i64.to_be_bytes());
        seal(&mut message);
        log.bytes.splice(start.., message);
        log.write();
        let (code, _, stderr) = log.consume();
        if code == Some(0) {
            whole += 1;
            continue;
        }
        let place = format!("kdir: {} is corrupt at position {start} ", log.path().display());
        assert!(code == Some(4) && stderr.starts_with(&place), "cut at {cut}: {stderr}");
    }
    assert_eq!(whole, 2, "only between two messages is nothing wrong");
}
