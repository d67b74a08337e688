//! Where output goes: a descriptor that is open, as stdout is.

use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, libc, sockopt_impl};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use rustix::io::Errno;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::BorrowedFd;

/// What an output is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutletKind {
    /// A regular file.
    File,
    /// A pipe.
    Pipe,
    /// A socket.
    Socket,
    /// A terminal, or /dev/null.
    Device,
    /// Something that cannot be told.
    Other,
}

/// The first fields of what the system says of a socket's memory, see sock_diag(7).
type SocketMemory = [u32; 6];
/// Of what was sent and not yet taken by the other end, or with TCP by its system.
const SENT: [usize; 2] = [libc::SK_MEMINFO_WMEM_ALLOC as usize, libc::SK_MEMINFO_WMEM_QUEUED as usize];

sockopt_impl!(
    /// What the system says of a socket's memory.
    MemoryInfo, GetOnly, libc::SOL_SOCKET, libc::SO_MEMINFO, SocketMemory);

/// What Linux gives a pipe, and less than it gives a socket.
const PIPE_SIZE: usize = 64 << 10;

/// An output, and what it is connected to.
#[derive(Debug, Clone, Copy)]
pub struct Outlet {
    descriptor: BorrowedFd<'static>,
    kind: OutletKind,
    is_stdout: bool,
}

impl Outlet {
    /// The program's standard output.
    #[must_use]
    pub fn stdout() -> Self {
        // The descriptor is open as long as the process: std opens /dev/null in the place of a closed one.
        Self { is_stdout: true, ..Self::of(rustix::stdio::stdout()) }
    }

    /// The program's standard error.
    #[must_use]
    pub fn stderr() -> Self {
        Self::of(rustix::stdio::stderr())
    }

    /// The output of a descriptor.
    #[must_use]
    pub fn of(descriptor: BorrowedFd<'static>) -> Self {
        let kind = match rustix::fs::fstat(descriptor).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Ok(FileType::RegularFile) => OutletKind::File,
            Ok(FileType::Fifo) => OutletKind::Pipe,
            Ok(FileType::Socket) => OutletKind::Socket,
            Ok(FileType::CharacterDevice) => OutletKind::Device,
            _ => OutletKind::Other,
        };
        Self { descriptor, kind, is_stdout: false }
    }

    /// What it is connected to.
    #[must_use]
    pub const fn kind(self) -> OutletKind {
        self.kind
    }

    /// The number that the system has given to what it is connected to.
    #[must_use]
    pub fn inode(self) -> Option<u64> {
        rustix::fs::fstat(self.descriptor).ok().map(|stat| stat.st_ino)
    }

    /// Its descriptor.
    #[must_use]
    pub const fn descriptor(self) -> BorrowedFd<'static> {
        self.descriptor
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// When the system takes no more.
    pub fn write(self, bytes: &[u8]) -> io::Result<()> {
        write_all(self.descriptor, bytes)
    }

    /// Writes a first part of `bytes`, without a wait where the output is a pipe: returns how many, 0 while it takes none.
    ///
    /// # Errors
    /// When the system takes no more.
    pub fn write_some(self, bytes: &[u8]) -> io::Result<usize> {
        // A pipe that is full when its reader goes has an error and no room: the write says so.
        if !self.polled(PollFlags::OUT)?.intersects(PollFlags::OUT | PollFlags::ERR) {
            return Ok(0);
        }
        // A pipe that takes anything has room for so much.
        match rustix::io::write(self.descriptor, &bytes[..bytes.len().min(rustix::pipe::PIPE_BUF)]) {
            Err(Errno::INTR | Errno::AGAIN) => Ok(0),
            written => Ok(written?),
        }
    }

    /// Makes what was written to a file durable.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(self) -> io::Result<()> {
        match rustix::fs::fdatasync(self.descriptor) {
            // It has no disk beneath it.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(()),
            synced => Ok(synced?),
        }
    }

    /// Shows the reader of the standard output its end, while the program goes on.
    ///
    /// # Errors
    /// When /dev/null cannot take its place.
    pub fn end(self) -> io::Result<()> {
        if self.is_stdout {
            rustix::stdio::dup2_stdout(OpenOptions::new().write(true).open("/dev/null")?)?;
        }
        Ok(())
    }

    /// The bytes in a pipe that its reader has not taken. Of a socket, the memory that they take up, which is more: of what was
    /// written at once, all of it until the last byte was taken. When its other end was closed, what was not taken is dropped,
    /// so that nothing is known: then the largest number.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn unread(self) -> io::Result<u64> {
        if self.kind == OutletKind::Socket {
            let memory = getsockopt(&self.descriptor, MemoryInfo)?;
            let unread = SENT.iter().map(|&field| u64::from(memory[field])).sum();
            let is_closed = self.polled(PollFlags::empty())?.intersects(PollFlags::HUP | PollFlags::ERR);
            return Ok(if is_closed { u64::MAX } else { unread });
        }
        Ok(rustix::io::ioctl_fionread(self.descriptor)?)
    }

    /// What the system says of it now: what was asked for, errors and hang-ups.
    fn polled(self, asked: PollFlags) -> io::Result<PollFlags> {
        let mut descriptor = [PollFd::from_borrowed_fd(self.descriptor, asked)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::io::retry_on_intr(|| poll(&mut descriptor, Some(&now)))?;
        Ok(descriptor[0].revents())
    }

    /// How many bytes fit into it where it is a pipe, as far as is known.
    #[must_use]
    pub fn pipe_size(self) -> usize {
        rustix::pipe::fcntl_getpipe_size(self.descriptor).unwrap_or(PIPE_SIZE)
    }

    /// Gives it room for `bytes` where it is a pipe with less: the reader then works while more is written. To `cat`, with
    /// 256 KiB in place of 64: half the time.
    pub fn widen(self, bytes: usize) {
        // Where it is no pipe, or the user has used up what there is of such room, it goes on as it is.
        if rustix::pipe::fcntl_getpipe_size(self.descriptor).is_ok_and(|size| size < bytes) {
            let _ = rustix::pipe::fcntl_setpipe_size(self.descriptor, bytes);
        }
    }
}

/// Writes all of `bytes` to a descriptor.
///
/// # Errors
/// When the system takes no more.
pub fn write_all(descriptor: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(descriptor, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_for_room(descriptor)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Waits until a non-blocking descriptor takes more, or until its reader is gone.
fn wait_for_room(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    match poll(&mut [PollFd::from_borrowed_fd(descriptor, PollFlags::OUT)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
