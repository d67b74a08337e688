//! How many files this process may have open at once.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit as far as the system allows without privileges: shells set a low one (1024 on most systems) for
/// programs that use `select`, which this one does not. Child processes inherit it.
pub fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // A system that refuses (macOS where the maximum is unlimited) leaves the limit as it was, and callers ask for it.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

/// The limit as it is now.
#[must_use]
pub fn limit() -> usize {
    let current = getrlimit(Resource::Nofile).current;
    current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Descriptors that are left for all else: inputs and outputs, locks, checkpoint files, what is opened for a moment.
const ELSEWHERE: usize = 64;

/// How many things may be open at once of which each takes so many descriptors; at least one.
#[must_use]
pub fn room_for(each: usize) -> usize {
    (limit().saturating_sub(ELSEWHERE) / each).max(1)
}
