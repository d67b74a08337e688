//! What the system knows of this process.

#![expect(clippy::disallowed_methods, reason = "part of the door to the file system")]

use std::fs;

/// The signals that the process ignores.
#[derive(Debug, Clone, Copy, Default)]
pub struct IgnoredSignals(u64);

impl IgnoredSignals {
    /// Those that it ignores now; none where the system does not say.
    #[must_use]
    pub fn read() -> Self {
        let mask = || -> Option<u64> {
            let status = fs::read_to_string("/proc/self/status").ok()?;
            let (_, mask) = status.split_once("\nSigIgn:")?;
            u64::from_str_radix(mask.lines().next()?.trim(), 16).ok()
        };
        mask().map_or_else(Self::default, Self)
    }

    /// Whether `signal` is one of them.
    #[must_use]
    pub const fn has(self, signal: i32) -> bool {
        self.0 & (1 << (signal - 1)) != 0
    }
}

/// Which process this is, for another one: `PID HOST`.
#[must_use]
pub fn pid_and_host() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{} {}", std::process::id(), host.trim()).trim_end().to_owned()
}
