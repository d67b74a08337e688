//! What the system knows of this process.

#![expect(clippy::disallowed_methods, reason = "part of the door to the file system")]

use std::fs;

/// Whether the process ignores a signal; `false` where the system does not say.
#[must_use]
pub fn ignores(signal: i32) -> bool {
    let read = || -> Option<u64> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
        u64::from_str_radix(ignored.trim(), 16).ok()
    };
    read().is_some_and(|ignored| ignored & (1 << (signal - 1)) != 0)
}
