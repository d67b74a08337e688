//! Files and stdin, as something to wait for and to read.

use super::ProduceArgs;
use crate::cli::signals::Stop;
use crate::disk::real::open_input;
use crate::stream::intake::{Input, Readiness};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file or stdin.
pub(super) struct FileInput<'a> {
    file: File,
    name: String,
    stop: BorrowedFd<'a>,
}

pub(super) fn open_inputs<'a>(args: &ProduceArgs, stop: &'a Stop) -> anyhow::Result<Vec<FileInput<'a>>> {
    let open = |path: &PathBuf| -> anyhow::Result<FileInput<'a>> {
        let stop = stop.descriptor();
        if path.as_path() == Path::new("-") {
            let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
            return Ok(FileInput { file, name: "stdin".into(), stop });
        }
        Ok(FileInput { file: open_input(path)?, name: path.display().to_string(), stop })
    };
    let stdin = [PathBuf::from("-")];
    if args.files.is_empty() { &stdin[..] } else { &args.files[..] }.iter().map(open).collect()
}

/// The bytes of all inputs, if each of them is a file with a size.
pub(super) fn total_size(inputs: &[FileInput<'_>]) -> Option<u64> {
    let size = |input: &FileInput<'_>| input.file.metadata().ok().filter(|it| it.is_file()).map(|it| it.len());
    inputs.iter().map(size).sum()
}

impl FileInput<'_> {
    /// Whether `other` is the same file.
    pub(super) fn is_same(&self, other: &File) -> io::Result<bool> {
        let (one, other) = (self.file.metadata()?, other.metadata()?);
        Ok(one.is_file() && (one.dev(), one.ino()) == (other.dev(), other.ino()))
    }
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
