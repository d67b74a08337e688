//! Which programs read a pipe, as far as the system says.

#![expect(clippy::disallowed_methods, reason = "part of the door to the file system")]

use super::outlet::{Outlet, OutletKind};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process;

/// A process that has a pipe as its standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipeReader {
    /// The name of its program, as its file is called and as it was called by: the two differ where a link was followed.
    pub names: [String; 2],
    /// What it was given, without its own name.
    pub arguments: Vec<String>,
}

/// The processes that have the pipe as their standard input; none of an output of another kind, and of processes of others,
/// or in another container, only those that the system shows.
#[must_use]
pub fn of(outlet: Outlet) -> Vec<PipeReader> {
    let Some(pipe) = outlet.inode().filter(|_| outlet.kind() == OutletKind::Pipe) else { return Vec::new() };
    let link = format!("pipe:[{pipe}]");
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let others = entries.flatten().filter(|entry| {
        let name = entry.file_name();
        name.as_bytes().iter().all(u8::is_ascii_digit) && name.to_str() != Some(&process::id().to_string())
    });
    let reads =
        |path: &Path| fs::read_link(path.join("fd/0")).is_ok_and(|it| it.as_os_str().as_bytes() == link.as_bytes());
    others.map(|entry| entry.path()).filter(|path| reads(path)).map(|path| described(&path)).collect()
}

fn described(process: &Path) -> PipeReader {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let file = fs::read_link(process.join("exe")).unwrap_or_default();
    let file = file.file_name().map(|name| text(name.as_bytes())).unwrap_or_default();
    let called = text(fs::read(process.join("comm")).unwrap_or_default().trim_ascii_end());
    let arguments = fs::read(process.join("cmdline")).unwrap_or_default();
    let arguments = arguments.split(|&byte| byte == 0).skip(1).filter(|it| !it.is_empty()).map(text).collect();
    PipeReader { names: [file, called], arguments }
}
