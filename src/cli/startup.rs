//! Which of stdin and stdout were closed when the program was started.
//!
//! std opens /dev/null in the place of a closed descriptor before `main`, so that no file gets its number. Reading would then
//! find an empty input, and output would vanish with exit status 0. After that nothing tells such a /dev/null from one that the
//! user gave, so the descriptors are looked at before.

use rustix::io::fcntl_getfd;
use std::sync::atomic::{AtomicBool, Ordering};

static STDIN_CLOSED: AtomicBool = AtomicBool::new(false);
static STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);

// Runs before std is ready, so it makes system calls and nothing else.
#[ctor::ctor(unsafe)]
fn look_at_descriptors() {
    STDIN_CLOSED.store(fcntl_getfd(rustix::stdio::stdin()).is_err(), Ordering::Relaxed);
    STDOUT_CLOSED.store(fcntl_getfd(rustix::stdio::stdout()).is_err(), Ordering::Relaxed);
}

pub(super) fn was_stdin_closed() -> bool {
    STDIN_CLOSED.load(Ordering::Relaxed)
}

pub(super) fn was_stdout_closed() -> bool {
    STDOUT_CLOSED.load(Ordering::Relaxed)
}
