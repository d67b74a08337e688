//! Programs that read on before they have processed what they have.
//!
//! The system calls of such a program are those of one that is fast, so it is known by its name only. A record counts as
//! processed when so much more has been taken that it must have left the program's buffers.

use crate::disk::outlet::Outlet;
use crate::disk::pipe_readers::{self, PipeReader};

/// mawk fills a buffer of this size before it looks at a record, and makes it larger for long ones.
const MAWK: u64 = 4 << 10;
/// As long as a command line may be that xargs makes, unless it is told otherwise, and what it has read in one piece.
const XARGS: u64 = (128 << 10) + (4 << 10);
/// It has to see the end.
const ALL: u64 = u64::MAX;
/// It is looked who reads after each of the first chunks, since a shell may take a line before another program takes the
/// rest, and then each time as many chunks later as there were.
const LOOKS_AT_FIRST: u64 = 4;

/// How far the readers of an output may be ahead of what they have processed.
#[derive(Debug, Default)]
pub(super) struct ReadAhead {
    chunks: u64,
    largest: u64,
    bytes: u64,
}

impl ReadAhead {
    /// A chunk of that length has been taken.
    pub(super) fn note(&mut self, outlet: Outlet, length: u64) {
        self.chunks += 1;
        self.largest = self.largest.max(length);
        if self.chunks <= LOOKS_AT_FIRST || self.chunks.is_power_of_two() {
            self.bytes = pipe_readers::of(outlet).iter().map(ahead).max().unwrap_or(0);
        }
    }

    /// A record counts as processed when more than that was taken after it.
    pub(super) const fn bytes(&self) -> u64 {
        // A buffer is at most twice as large as the longest record that it was made larger for.
        if self.bytes == 0 { 0 } else { self.bytes.saturating_add(2 * self.largest) }
    }
}

/// How many bytes a program takes before it processes the first of them.
fn ahead(reader: &PipeReader) -> u64 {
    let of_name = |name: &str| match name {
        "mawk" if !is_interactive(&reader.arguments) => MAWK,
        "xargs" if !is_one_at_a_time(&reader.arguments) => XARGS,
        "parallel" => XARGS,
        "shuf" | "sort" | "tac" | "tail" | "wc" => ALL,
        _ => 0,
    };
    reader.names.iter().map(|name| of_name(name)).max().unwrap_or(0)
}

/// Whether mawk is to take one line at a time: `-W interactive`, `-Wi`.
fn is_interactive(arguments: &[String]) -> bool {
    let options = arguments.join(" ");
    options.starts_with("-W i") || options.starts_with("-Wi")
}

/// Whether xargs runs a command for each line or word, and no two at a time: `-n 1`, `-L 1` or `-I` without `-P`.
fn is_one_at_a_time(arguments: &[String]) -> bool {
    let (mut is_one, mut arguments) = (false, arguments.iter());
    while let Some(argument) = arguments.next() {
        // Letters that take no value may come before one that does.
        let Some(option) = argument.strip_prefix('-').map(|it| it.trim_start_matches(['0', 'o', 'p', 'r', 't', 'x']))
        else {
            break;
        };
        let mut letters = option.chars();
        match (letters.next(), letters.as_str()) {
            (Some('n' | 'L'), "") => is_one |= arguments.next().is_some_and(|value| value == "1"),
            (Some('n' | 'L'), value) => is_one |= value == "1",
            (Some('I'), value) => {
                is_one = true;
                if value.is_empty() {
                    arguments.next();
                }
            }
            (Some('E' | 'd' | 's' | 'a'), "") => drop(arguments.next()),
            (Some('E' | 'd' | 's' | 'a' | 'e'), _) | (None, _) => {}
            // `-P`, long options, and what another xargs has.
            _ => return false,
        }
    }
    is_one
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ahead_of(names: [&str; 2], arguments: &str) -> u64 {
        let arguments = arguments.split(' ').filter(|it| !it.is_empty()).map(str::to_owned).collect();
        ahead(&PipeReader { names: names.map(str::to_owned), arguments })
    }

    #[test]
    fn programs_are_known_by_name_and_by_how_they_are_asked_to_read() {
        for (names, arguments, expected) in [
            (["mawk", "awk"], "{print}", MAWK),
            (["mawk", "awk"], "-W interactive {print}", 0),
            (["mawk", "awk"], "-Wi {print}", 0),
            (["gawk", "awk"], "{print}", 0),
            (["xargs", "xargs"], "echo", XARGS),
            (["busybox", "xargs"], "echo", XARGS),
            (["xargs", "xargs"], "-0 -n 1 gzip", 0),
            (["xargs", "xargs"], "-0n1 gzip", 0),
            (["xargs", "xargs"], "-rL 1 gzip", 0),
            (["xargs", "xargs"], "-d x -I {} gzip {}", 0),
            (["xargs", "xargs"], "-n 2 gzip", XARGS),
            (["xargs", "xargs"], "-n 1 -P 4 gzip", XARGS),
            (["xargs", "xargs"], "-P4 -n1 gzip", XARGS),
            (["xargs", "xargs"], "sh -n 1", XARGS),
            (["perl", "parallel"], "", XARGS),
            (["sort", "sort"], "-u", ALL),
            (["python3.11", "python3"], "", 0),
        ] {
            assert_eq!(ahead_of(names, arguments), expected, "{names:?} {arguments}");
        }
    }
}
