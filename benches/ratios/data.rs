//! What is produced: lines of one length, and lines of real logs or their look-alikes.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Real logs beside the checkout, where they are.
const REAL_LOGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data");

/// Lines of `size` bytes with a number in front, `bytes` of them in all.
pub fn write_lines(path: &Path, size: usize, bytes: u64) {
    let mut out = open(path);
    let digits = size.min(10) - 1;
    let mut line = vec![b'x'; size];
    line[size - 1] = b'\n';
    for number in 0..bytes / size as u64 {
        let number = format!("{:09}", number % 1_000_000_000);
        line[..digits].copy_from_slice(&number.as_bytes()[9 - digits..]);
        out.write_all(&line).unwrap();
    }
    out.flush().unwrap();
}

/// Lines of a key, a tab and a value, of 100 bytes: the first has a key of its own, the others one of so many keys, by chance
/// where there are fewer keys than lines.
pub fn write_keyed_lines(path: &Path, lines: u64, keys: u64) {
    let mut out = open(path);
    let value = "x".repeat(78);
    writeln!(out, "only-at-the-start\t{value}").unwrap();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for number in 1..lines {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let key = if keys < lines { (seed >> 33) % keys.max(1) } else { number };
        writeln!(out, "k{key:09}\t{number:09}{value}").unwrap();
    }
    out.flush().unwrap();
}

/// Lines of real logs, over and over, about `bytes` of them; look-alikes where there are none. Returns what they are.
pub fn write_log_lines(path: &Path, bytes: u64) -> &'static str {
    let mut names: Vec<PathBuf> = fs::read_dir(REAL_LOGS)
        .map(|entries| {
            entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension() == Some("log".as_ref()))
        })
        .map_or(Vec::new(), Iterator::collect);
    names.sort();
    let mut text: Vec<u8> = names.iter().flat_map(|name| fs::read(name).unwrap()).collect();
    let what = if text.is_empty() { "look-alikes of log lines" } else { "lines of real logs" };
    if text.is_empty() {
        text = look_alikes(10_000);
    }
    let mut out = open(path);
    let mut written = 0;
    while written < bytes {
        let part = text.len().min((bytes - written) as usize);
        let end = text[..part].iter().rposition(|&byte| byte == b'\n').map_or(part, |at| at + 1);
        out.write_all(&text[..end]).unwrap();
        written += part as u64;
    }
    out.flush().unwrap();
    what
}

fn open(path: &Path) -> BufWriter<File> {
    BufWriter::with_capacity(1 << 20, File::create(path).unwrap())
}

/// Lines as a server's log has them, the same in each run.
fn look_alikes(count: u64) -> Vec<u8> {
    let (levels, hosts) = (["INFO", "INFO", "INFO", "WARN", "ERROR"], ["web1", "web2", "db1", "cache-3"]);
    let said = ["connection from", "session opened for user", "block served to", "cannot reach", "request done by"];
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    let mut lines = String::new();
    for number in 0..count {
        let (seconds, level, host, words) = (number / 7 % 86_400, levels[next(5)], hosts[next(4)], said[next(5)]);
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        lines += &format!(
            "2026-11-22 {hours:02}:{minutes:02}:{seconds:02},{:03} {level} {host} app.Server: {words} 10.{}.{}.{} id={:08x} \
             took {} ms\n",
            next(1000),
            next(256),
            next(256),
            next(256),
            next(1 << 32),
            next(5000)
        );
    }
    lines.into_bytes()
}
