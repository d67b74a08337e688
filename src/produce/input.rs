//! Files and stdin, as something to wait for and to read.
//!
//! All of them are known before the first is read, and each is opened when its turn comes: more files can be named than a
//! process may have open.

use super::error::{ProduceError, Result};
use crate::disk::real::{Metadata, open_input, stat_input};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// What to expect of an input now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// A read returns at once, with bytes or with the end.
    Ready,
    /// Nothing came in time.
    NotReady,
    /// The user or a failure asks to stop.
    Stop,
}

/// Bytes to come.
pub trait Input {
    /// What messages call it.
    fn name(&self) -> &str;
    /// Waits until there is something to read or the time is up; `None` waits without end.
    ///
    /// # Errors
    /// When the input is broken.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Readiness>;
    /// Waits until the time is up, whatever there is to read.
    ///
    /// # Errors
    /// When the input is broken.
    fn pause(&mut self, duration: Duration) -> io::Result<Readiness>;
    /// Reads; 0 is the end.
    ///
    /// # Errors
    /// When the input is broken.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
}

/// A file or stdin that is to be read, and what was known of it when the run began.
pub struct InputName<'a> {
    /// - for stdin.
    path: &'a Path,
    metadata: Metadata,
}

const STDIN: &str = "stdin";

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn stdin() -> Result<File> {
    let stdin = io::stdin().as_fd().try_clone_to_owned();
    stdin.map(File::from).map_err(|source| ProduceError::Read { input: STDIN.into(), source })
}

impl<'a> InputName<'a> {
    /// Finds out what the input is, without opening it; `-` is stdin.
    ///
    /// # Errors
    /// When it is missing or a directory.
    pub fn find(path: &'a Path) -> Result<Self> {
        let metadata = if is_stdin(path) {
            stdin()?.metadata().map_err(|source| ProduceError::Read { input: STDIN.into(), source })?
        } else {
            stat_input(path)?
        };
        Ok(Self { path, metadata })
    }

    /// Whether it is stdin.
    #[must_use]
    pub fn is_stdin(&self) -> bool {
        is_stdin(self.path)
    }

    /// Its bytes, if it is a file with a size.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.metadata.is_file().then_some(self.metadata.len())
    }

    /// Whether `other` is the same file.
    pub(super) fn is_same(&self, other: &Metadata) -> bool {
        let one = &self.metadata;
        one.is_file() && (one.dev(), one.ino()) == (other.dev(), other.ino())
    }

    /// Opens it. A wait for it ends when `stop` becomes readable.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open<'s>(&self, stop: BorrowedFd<'s>) -> Result<FileInput<'s>> {
        if is_stdin(self.path) {
            return Ok(FileInput { file: stdin()?, name: STDIN.into(), stop });
        }
        Ok(FileInput { file: open_input(self.path)?, name: self.path.display().to_string(), stop })
    }
}

/// A file or stdin that is being read.
pub struct FileInput<'a> {
    file: File,
    name: String,
    stop: BorrowedFd<'a>,
}

impl Input for FileInput<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Readiness> {
        let descriptors =
            &mut [PollFd::from_borrowed_fd(self.stop, PollFlags::IN), PollFd::new(&self.file, PollFlags::IN)];
        poll_for(descriptors, timeout)
    }

    fn pause(&mut self, duration: Duration) -> io::Result<Readiness> {
        poll_for(&mut [PollFd::from_borrowed_fd(self.stop, PollFlags::IN)], Some(duration))
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

/// Waits for one of the descriptors; the first is that of a stop.
fn poll_for(descriptors: &mut [PollFd<'_>], timeout: Option<Duration>) -> io::Result<Readiness> {
    let timeout = timeout.map(|it| Timespec { tv_sec: it.as_secs() as i64, tv_nsec: i64::from(it.subsec_nanos()) });
    loop {
        match poll(descriptors, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) if !descriptors[0].revents().is_empty() => return Ok(Readiness::Stop),
            Ok(0) => return Ok(Readiness::NotReady),
            Ok(_) => return Ok(Readiness::Ready),
        }
    }
}
