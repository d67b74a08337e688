//! Keeps the limit of time of a handler: a process between the worker and the handler, which outlives the worker.
//!
//! It holds the claim on the record as the handler does, and leads the process group of both. When the time is up, the group
//! gets SIGTERM, which this process outlives. What is left ten seconds later, or has ended its parent and not itself, gets
//! SIGKILL, also where it leads a group of its own: what the handler leaves behind becomes a child of this process. Its exit code
//! is the handler's, 128 and the number of the signal that ended it, or [`TIMED_OUT`], as `timeout` of GNU coreutils has it.

use crate::disk::process;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, kill_process_group, pidfd_open, wait};
use signal_hook::consts::SIGTERM;
use signal_hook::flag;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// The word that the program is called with to be this.
pub const WORD: &str = "__supervise";
/// The exit code where the time was up.
pub const TIMED_OUT: i32 = 124;
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;
const SIGNALLED: i32 = 128;
/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(10);
/// How often it is looked whether all have ended that were told to.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Runs a command with a limit of time: `arguments` are that limit in ms, and the command. Returns the exit code.
///
/// # Errors
/// When the system cannot start it or wait for it.
pub fn run(arguments: &[OsString]) -> io::Result<u8> {
    let [limit, program, rest @ ..] = arguments else { return Err(io::ErrorKind::InvalidInput.into()) };
    let limit = limit.to_str().and_then(|limit| limit.parse().ok()).ok_or(io::ErrorKind::InvalidInput)?;
    // With a handler of its own, since what is ignored would be ignored by the command as well.
    flag::register(SIGTERM, Arc::new(AtomicBool::new(false)))?;
    process::adopt_orphans();
    let mut child = match Command::new(program).args(rest).spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(NOT_FOUND),
        Err(_) => return Ok(CANNOT_RUN),
    };
    if wait_for(&mut child, Duration::from_millis(limit))? {
        return exit_code(&mut child);
    }
    kill_process_group(rustix::process::getpgrp(), Signal::TERM)?;
    let told = Instant::now();
    while has_children() {
        if told.elapsed() >= GRACE {
            // Those that have left the group, and those that they leave behind.
            for child in process::children() {
                // One that has just ended is none any more.
                let _ = kill_process(child, Signal::KILL);
            }
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(TIMED_OUT as u8)
}

/// Whether there is still one. Those that have ended are seen off.
fn has_children() -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

fn exit_code(child: &mut Child) -> io::Result<u8> {
    let status = child.wait()?;
    let code = status.code().unwrap_or_else(|| SIGNALLED + status.signal().unwrap_or_default());
    Ok(code as u8)
}

/// Waits for the end of a process; `false` when the time is up.
fn wait_for(child: &mut Child, limit: Duration) -> io::Result<bool> {
    let (is_over, started) = (pidfd_open(Pid::from_child(child), PidfdFlags::empty())?, Instant::now());
    loop {
        let Some(left) = limit.checked_sub(started.elapsed()) else { return Ok(false) };
        let left = Timespec { tv_sec: left.as_secs().min(1 << 30) as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(&is_over, PollFlags::IN)], Some(&left)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}
