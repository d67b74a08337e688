//! stdout (data), stderr (status, warning, hint), colour, progress: the one place that writes to either.
//!
//! Talk never ends the program: what cannot be written to stderr is dropped, and the exit status says what the work did. Data
//! that cannot be written to stdout is an error. Where either is non-blocking, as a terminal or pipe is that another program
//! made so, kdir waits until there is room.

use super::startup;
use crate::disk::outlet;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::io::Errno;
use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// When colour is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set; anywhere if CLICOLOR_FORCE is
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Nobody reads our output any more, or it cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to stdout")]
pub(crate) struct OutputError(#[from] pub(crate) io::Error);

/// Stdin cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read stdin")]
pub(crate) struct InputError(#[from] io::Error);

const PROGRESS_AFTER: Duration = Duration::from_millis(250);
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// What the program says, and where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ui {
    quiet: bool,
    verbose: bool,
    stderr_color: bool,
    stdout_color: bool,
}

impl Ui {
    pub(crate) fn new(quiet: bool, verbose: bool, choice: ColorChoice) -> Self {
        let set =
            |name| std::env::var_os(name).is_some_and(|value: std::ffi::OsString| !value.is_empty() && value != "0");
        let is_dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        let color = |is_terminal: bool| match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                let is_refused = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
                set("CLICOLOR_FORCE") || is_terminal && !is_dumb && !is_refused
            }
        };
        Self {
            quiet,
            verbose,
            stderr_color: color(io::stderr().is_terminal()),
            stdout_color: color(io::stdout().is_terminal()),
        }
    }

    pub(crate) fn stdout_color(self) -> bool {
        self.stdout_color
    }

    /// Whether the user wants errors only.
    pub(crate) fn is_quiet(self) -> bool {
        self.quiet
    }

    /// Something that was done.
    pub(crate) fn status(self, message: &str) {
        if !self.quiet {
            talk(&message);
        }
    }

    pub(crate) fn is_verbose(self) -> bool {
        self.verbose
    }

    /// Something that only the curious want to know.
    pub(crate) fn verbose(self, message: &str) {
        if self.verbose {
            talk(&message);
        }
    }

    /// Something that went on, but not as it should.
    pub(crate) fn warning(self, message: &str) {
        if !self.quiet {
            talk(&format!("{} {message}", self.paint("warning:", "33")));
        }
    }

    pub(crate) fn error(self, message: &str) {
        talk(&format!("{} {message}", self.paint("kdir:", "31;1")));
    }

    pub(crate) fn hint(self, message: &str) {
        talk(&format!("{} {message}", self.paint("hint:", "36")));
    }

    fn paint(self, text: &str, code: &str) -> String {
        if self.stderr_color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Writes data. Goes straight to the descriptor: the callers buffer, and std's stdout would look for line ends.
    pub(crate) fn data(self, bytes: &[u8]) -> Result<(), OutputError> {
        if bytes.is_empty() {
            return Ok(());
        }
        require_stdout()?;
        Ok(outlet::write_all(stdout(), bytes)?)
    }

    /// A progress display on stderr: a bar of `total` bytes, or, without a total, a count. It shows itself only on a
    /// terminal, and only if the work takes longer than a moment.
    pub(crate) fn progress(self, total: Option<u64>, unit: Unit) -> Progress {
        let is_wanted = !self.quiet && io::stderr().is_terminal();
        Progress { total, unit, is_wanted, started: Instant::now(), looked: Instant::now(), bar: None }
    }

    /// Asks a question on the terminal; only `y` or `yes` is a yes.
    pub(crate) fn confirm(self, question: &str) -> io::Result<bool> {
        // A question that cannot be seen is not answered.
        outlet::write_all(rustix::stdio::stderr(), format!("{question} [y/N] ").as_bytes())?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }
}

/// Writes a line to stderr, or drops it where that fails.
fn talk(line: &dyn Display) {
    let _ = outlet::write_all(rustix::stdio::stderr(), format!("{line}\n").as_bytes());
}

/// Refuses a stdout that was closed when the program was started.
pub(crate) fn require_stdout() -> Result<(), OutputError> {
    if startup::was_stdout_closed() { Err(OutputError(Errno::BADF.into())) } else { Ok(()) }
}

/// Refuses a stdin that was closed when the program was started.
pub(crate) fn require_stdin() -> Result<(), InputError> {
    if startup::was_stdin_closed() { Err(InputError(Errno::BADF.into())) } else { Ok(()) }
}

/// The descriptor of stdout.
pub(crate) fn stdout() -> BorrowedFd<'static> {
    // The descriptor is open as long as the process: std opens /dev/null in the place of a closed one (see startup.rs).
    rustix::stdio::stdout()
}

/// Whether stdout goes to a terminal.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether stdin comes from a terminal.
pub(crate) fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// How many columns stdout has where it is a terminal. One that does not know says 0, and then COLUMNS may say it.
pub(crate) fn terminal_width() -> Option<usize> {
    if !stdout_is_terminal() {
        return None;
    }
    let of_terminal = rustix::termios::tcgetwinsize(stdout()).ok().map(|it| usize::from(it.ws_col));
    let of_environment = || std::env::var("COLUMNS").ok()?.parse().ok();
    of_terminal.filter(|&columns| columns > 0).or_else(of_environment).filter(|&columns| columns > 0)
}

/// Whether the user's terminal and pagers show more than ASCII.
pub(crate) fn is_utf8() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(std::env::var_os).find(|it| !it.is_empty());
    let locale = locale.unwrap_or_default().to_string_lossy().to_ascii_uppercase();
    locale.contains("UTF-8") || locale.contains("UTF8")
}

/// Says something from where there is no [`Ui`].
pub(crate) fn say(message: &str) {
    talk(&message);
}

/// Tells of a lock that takes long.
pub(crate) fn waiting_for_lock(path: &Path) {
    say(&format!("waiting for another process that holds {}", path.display()));
}

/// What a progress display counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Bytes,
    Records,
    Segments,
    Partitions,
}

impl Unit {
    fn style(self, has_total: bool) -> ProgressStyle {
        let template = match (self, has_total) {
            (Self::Bytes, true) => "{percent:>3}% {wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left  {msg}",
            (Self::Bytes, false) => "{spinner} {bytes}  {bytes_per_sec}  {msg}",
            (Self::Records, _) => "{spinner} {human_pos} records  {msg}",
            (Self::Partitions, _) => "{percent:>3}% {wide_bar} {human_pos}/{human_len} partitions  {msg}",
            (Self::Segments, _) => "{spinner} {human_pos} segments deleted  {msg}",
        };
        ProgressStyle::with_template(template).expect("the templates are constant")
    }
}

/// A progress display.
pub(crate) struct Progress {
    total: Option<u64>,
    unit: Unit,
    is_wanted: bool,
    started: Instant,
    looked: Instant,
    /// Once it is shown.
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Shows how far the work has come, if the display is due for it: cheap enough to call once a batch.
    pub(crate) fn set(&mut self, position: u64, message: impl FnOnce() -> String) {
        if !self.is_wanted {
            return;
        }
        let (since, pause) =
            if self.bar.is_some() { (self.looked, PROGRESS_EVERY) } else { (self.started, PROGRESS_AFTER) };
        if since.elapsed() < pause {
            return;
        }
        self.looked = Instant::now();
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(self.total, ProgressDrawTarget::stderr());
            bar.with_style(self.unit.style(self.total.is_some())).with_elapsed(self.started.elapsed())
        });
        bar.set_message(message());
        bar.set_position(position);
    }

    /// Removes the display.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
