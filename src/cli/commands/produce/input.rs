//! Files and stdin, as something to wait for and to read.
//!
//! All of them are known before the first is read, and each is opened when its turn comes: more files can be named than a
//! process may have open.

use super::ProduceArgs;
use crate::cli::signals::Stop;
use crate::cli::ui;
use crate::disk::real::{Metadata, open_input, stat_input};
use crate::stream::intake::{Input, Readiness};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A file or stdin that is to be read, and what was known of it when the run began.
pub(super) struct InputName<'a> {
    /// - for stdin.
    path: &'a Path,
    metadata: Metadata,
}

/// Finds out what the inputs are, in their order. One that is missing is an error before anything is stored.
pub(super) fn find_inputs(args: &ProduceArgs) -> anyhow::Result<Vec<InputName<'_>>> {
    let find = |path: &'_ Path| -> anyhow::Result<Metadata> {
        if is_stdin(path) { Ok(ui::stdin()?.metadata()?) } else { Ok(stat_input(path)?) }
    };
    let named = args.files.iter().map(|path| &**path);
    let stdin = args.files.is_empty().then_some(Path::new("-"));
    named.chain(stdin).map(|path| Ok(InputName { path, metadata: find(path)? })).collect()
}

/// The bytes of all inputs, if each of them is a file with a size.
pub(super) fn total_size(inputs: &[InputName<'_>]) -> Option<u64> {
    inputs.iter().map(|input| input.metadata.is_file().then_some(input.metadata.len())).sum()
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

impl InputName<'_> {
    /// Whether `other` is the same file.
    pub(super) fn is_same(&self, other: &File) -> io::Result<bool> {
        let (one, other) = (&self.metadata, other.metadata()?);
        Ok(one.is_file() && (one.dev(), one.ino()) == (other.dev(), other.ino()))
    }

    pub(super) fn open<'a>(&self, stop: &'a Stop) -> anyhow::Result<FileInput<'a>> {
        let stop = stop.descriptor();
        if is_stdin(self.path) {
            return Ok(FileInput { file: ui::stdin()?, name: "stdin".into(), stop });
        }
        Ok(FileInput { file: open_input(self.path)?, name: self.path.display().to_string(), stop })
    }
}

/// A file or stdin that is being read.
pub(super) struct FileInput<'a> {
    file: File,
    name: String,
    stop: BorrowedFd<'a>,
}

impl Input for FileInput<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn wait(&mut self, timeout: Option<std::time::Duration>) -> io::Result<Readiness> {
        let timeout = timeout.map(|it| Timespec { tv_sec: it.as_secs() as i64, tv_nsec: i64::from(it.subsec_nanos()) });
        let mut descriptors =
            [PollFd::new(&self.file, PollFlags::IN), PollFd::from_borrowed_fd(self.stop, PollFlags::IN)];
        loop {
            match poll(&mut descriptors, timeout.as_ref()) {
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(_) if !descriptors[1].revents().is_empty() => return Ok(Readiness::Stop),
                Ok(0) => return Ok(Readiness::NotReady),
                Ok(_) => return Ok(Readiness::Ready),
            }
        }
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
