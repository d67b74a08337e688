//! What the system knows of this process, and where it finds others.

#![expect(clippy::disallowed_methods, reason = "part of the door to the file system")]

use rustix::process::Pid;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

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

/// The program that a command names, as a shell finds it: by path where there is a slash in it, and otherwise in `PATH`.
///
/// # Errors
/// That there is none, or none that can be run.
pub fn find_program(command: &OsStr) -> Result<PathBuf, io::ErrorKind> {
    let is_program = |path: &Path| {
        let is_file = fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
        is_file && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
    };
    if command.as_encoded_bytes().contains(&b'/') {
        let path = PathBuf::from(command);
        return match fs::metadata(&path) {
            _ if is_program(&path) => Ok(path),
            Ok(_) => Err(io::ErrorKind::PermissionDenied),
            Err(_) => Err(io::ErrorKind::NotFound),
        };
    }
    let folders = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let mut paths = std::env::split_paths(&folders).map(|folder| folder.join(command));
    paths.find(|path| is_program(path)).filter(|_| !command.is_empty()).ok_or(io::ErrorKind::NotFound)
}

/// This program as a file that is open: it can be started from there whatever becomes of its name.
///
/// # Errors
/// When the system does not show it.
pub fn this_program() -> super::Result<OwnedFd> {
    let path = Path::new("/proc/self/exe");
    Ok(super::named("open", path, fs::File::open(path))?.into())
}

/// Bytes as a file in memory, to be read from its beginning.
///
/// # Errors
/// When there is no memory for it.
pub fn file_of(bytes: &[u8]) -> io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create("input", rustix::fs::MemfdFlags::CLOEXEC)?;
    super::outlet::write_all(file.as_fd(), bytes)?;
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    Ok(file)
}

/// Has processes become children of this one whose parent ends below it.
pub fn adopt_orphans() {
    // Where the system has no such thing, they are left to the first process.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// The children of this process; none where the system does not list them.
#[must_use]
pub fn children() -> Vec<Pid> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().filter_map(Result::ok);
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect::<Vec<_>>())
        .collect()
}

/// A folder for files that pass between this process and those that it starts. Nobody else can enter it; it is removed with
/// what is in it, by this process or, when it was killed, by the next that makes one: it is locked while its process lives.
#[derive(Debug)]
pub struct PrivateFolder {
    path: PathBuf,
    _lock: fs::File,
}

const PRIVATE: &str = "kdir-private-";

impl PrivateFolder {
    /// Makes one where the system has such files (`TMPDIR`, /tmp).
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make() -> super::Result<Self> {
        let folder = std::env::temp_dir();
        remove_left(&folder);
        let path = folder.join(format!("{PRIVATE}{}", uuid::Uuid::new_v4()));
        super::named("create", &path, fs::DirBuilder::new().mode(0o700).create(&path))?;
        let lock = super::named("open", &path, fs::File::open(&path))?;
        super::named("lock", &path, super::lock::try_lock(&lock))?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text of a file in it, which is removed; `None` where there is none, or it is no text or larger than `size_max`.
    #[must_use]
    pub fn take_small(&self, path: &Path, size_max: usize) -> Option<String> {
        let size = fs::symlink_metadata(path).ok().filter(|it| it.is_file())?.len();
        let text = if size <= size_max as u64 { fs::read_to_string(path).ok() } else { None };
        let _ = fs::remove_file(path);
        text
    }
}

/// Removes the folders of processes that were killed.
fn remove_left(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PRIVATE));
        let is_left = || fs::File::open(entry.path()).is_ok_and(|it| super::lock::try_lock(&it).unwrap_or(false));
        let is_old =
            || entry.metadata().and_then(|it| it.modified()).is_ok_and(|at| at.elapsed().is_ok_and(|it| it > NEW));
        if is_ours && is_old() && is_left() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// One that is so new may not be locked yet.
const NEW: Duration = Duration::from_secs(10);

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        // What is left in a folder of temporary files is for the system to remove.
        let _ = fs::remove_dir_all(&self.path);
    }
}
