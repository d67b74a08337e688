//! Completion of what only the log dir knows: topics, partitions, configuration keys.
//!
//! A shell asks by running kdir with [`VARIABLE`] set and the words of its command line behind `--`. Without words it gets
//! the script that makes it ask: `source <(KDIR_COMPLETE=bash kdir)`. The variable is not the `COMPLETE` of other programs:
//! with that one set by somebody else, `kdir produce` would store nothing and succeed.
//!
//! Somebody waits for each completion, and nobody reads its errors: it lists the log dir, takes no lock, writes nothing,
//! and where anything fails there are no candidates.

use super::{default_log_dir, exit};
use crate::disk::Disk;
use crate::disk::real::RealDisk;
use crate::logdir::LogDirs;
use crate::logdir::config::{DEFINITIONS, Definition, Kind};
use crate::units::TopicName;
use clap::{ArgMatches, Command};
use clap_complete::engine::{self, ArgValueCandidates, ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{self, CompleteEnv, EnvCompleter, Fish, Shells};
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Holds the name of the shell that asks.
const VARIABLE: &str = "KDIR_COMPLETE";
/// Where clap's scripts say which of the words is being completed; fish's does not say it, there it is the last.
const INDEX: &str = "_CLAP_COMPLETE_INDEX";

/// The shells that ask.
const SHELLS: [&dyn EnvCompleter; 3] = [&Bash, &Fish, &Zsh];

/// Writes the script that makes a shell ask the kdir on its path; `false` where it is not one that can.
pub(crate) fn write_script(shell: &str, output: &mut dyn Write) -> io::Result<bool> {
    match SHELLS.iter().find(|it| it.is(shell)) {
        Some(shell) => shell.write_registration(VARIABLE, "kdir", "kdir", "kdir", output).map(|()| true),
        None => Ok(false),
    }
}

/// Answers a shell; `None` where none asks.
pub(super) fn answer() -> Option<ExitCode> {
    let shells = Shells(&SHELLS);
    let engine = CompleteEnv::with_factory(command).var(VARIABLE).shells(shells);
    match engine.try_complete(std::env::args_os(), std::env::current_dir().ok().as_deref()) {
        Ok(false) => None,
        Ok(true) => Some(ExitCode::SUCCESS),
        // A person has asked for the script of a shell that there is none for.
        Err(error) if words().is_empty() => Some(exit::clap(&error)),
        Err(_) => Some(ExitCode::FAILURE),
    }
}

/// Names of topics, but for those that the command line has already.
pub(crate) fn topics() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let found = Line::read().and_then(|line| line.log_dirs()?.find_topics().ok());
        let others = other_words();
        let is_new = |name: &TopicName| others.iter().skip(2).all(|word| word != name.as_str());
        let topics = found.into_iter().flat_map(|found| found.topics).map(|topic| topic.name);
        topics.filter(is_new).map(candidate).collect()
    })
}

/// What `produce -z` takes.
pub(crate) fn compressions() -> ArgValueCandidates {
    ArgValueCandidates::new(|| ["none", "gzip", "snappy", "lz4", "zstd"].map(candidate).into())
}

/// Partitions of the topics that the command line names.
pub(crate) fn partitions() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let topics = Line::read().and_then(|line| line.topics()).unwrap_or_default();
        let mut partitions: Vec<i32> = topics.into_iter().flat_map(|topic| topic.partitions).collect();
        partitions.sort_unstable();
        partitions.dedup();
        partitions.into_iter().map(candidate).collect()
    })
}

/// `KEY=`, and behind it the words that the key takes, if it takes words.
pub(crate) fn config() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let Some(current) = current.to_str() else { return Vec::new() };
        let Some((key, _)) = current.split_once('=') else {
            let keys = DEFINITIONS.iter().filter(|definition| definition.key.starts_with(current));
            return keys.map(|definition| described(format!("{}=", definition.key), definition)).collect();
        };
        let words = match DEFINITIONS.iter().find(|definition| definition.key == key).map(|it| it.kind) {
            Some(Kind::Boolean) => &["true", "false"],
            Some(Kind::Word(words) | Kind::Words(words)) => words,
            _ => &[][..],
        };
        let values = words.iter().map(|word| format!("{key}={word}"));
        values.filter(|value| value.starts_with(current)).map(candidate).collect()
    })
}

/// Keys that the topic of the command line has set; all, where it names none yet.
pub(crate) fn set_keys() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let topics = Line::read().and_then(|line| line.topics()).unwrap_or_default();
        let is_set =
            |key| topics.is_empty() || topics.iter().any(|it| it.config.overrides().any(|(set, _)| set == key));
        let keys = DEFINITIONS.iter().filter(|definition| is_set(definition.key));
        keys.map(|definition| described(definition.key.to_owned(), definition)).collect()
    })
}

/// Names of commands.
pub(crate) fn commands() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let described = |it: &Command| candidate(it.get_name()).help(it.get_about().cloned());
        super::command().get_subcommands().map(described).collect()
    })
}

fn candidate(value: impl ToString) -> CompletionCandidate {
    CompletionCandidate::new(value.to_string())
}

fn described(value: String, definition: &Definition) -> CompletionCandidate {
    candidate(value).help(Some(format!("{} [default: {}]", definition.expected(), definition.default).into()))
}

/// The words of the command line that is being completed, whole.
fn words() -> Vec<OsString> {
    rejoin(std::env::args_os().skip_while(|word| word != "--").skip(1).collect(), 0).0
}

/// The same without the one that is being completed.
fn other_words() -> Vec<OsString> {
    let given: Vec<OsString> = std::env::args_os().skip_while(|word| word != "--").skip(1).collect();
    let index = index().unwrap_or(given.len().saturating_sub(1));
    let (mut words, index, _) = rejoin(given, index);
    if index < words.len() {
        words.remove(index);
    }
    words
}

/// The command line with options offered where nothing else is, or where a dash asks for them: among thirty options a topic
/// is not seen.
fn command() -> Command {
    fn hide_options(command: Command) -> Command {
        command.mut_args(|arg| arg.hide(true)).mut_subcommands(hide_options)
    }
    let command = super::command();
    let words: Vec<OsString> = std::env::args_os().collect();
    let index = index().map_or(words.len() - 1, |index| index + 2);
    if words.get(index).is_none_or(|word| word.is_empty()) { hide_options(command) } else { command }
}

fn index() -> Option<usize> {
    std::env::var(INDEX).ok()?.parse().ok()
}

/// What the command line says already.
struct Line {
    matches: ArgMatches,
}

impl Line {
    fn read() -> Option<Self> {
        // The word that is being completed, or one behind it, need not be what its argument takes.
        fn take_anything(command: Command) -> Command {
            let any = |arg: clap::Arg| match arg.get_action().takes_values() {
                true => arg.value_parser(clap::value_parser!(OsString)),
                false => arg,
            };
            command.mut_args(any).mut_subcommands(take_anything)
        }
        let matches = take_anything(super::command()).ignore_errors(true).try_get_matches_from(words()).ok()?;
        Some(Self { matches })
    }

    fn log_dirs(&self) -> Option<LogDirs> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::default());
        let is_there = |root: &Path| disk.stat(root).is_ok_and(|stat| stat.is_some());
        // Fish hands words over without their quotes, bash and zsh with them.
        let root = |word: &OsStr| if is_there(Path::new(word)) { Some(word.into()) } else { unquoted(word) };
        let roots: Vec<PathBuf> = match self.matches.get_raw("log_dir") {
            Some(words) => words.filter_map(root).collect(),
            None => vec![default_log_dir().ok()?],
        };
        LogDirs::open(&disk, &roots).ok().filter(|_| !roots.is_empty())
    }

    fn topics(&self) -> Option<Vec<crate::logdir::Topic>> {
        let (_, matches) = self.matches.subcommand()?;
        let log_dirs = self.log_dirs()?;
        let names = matches.try_get_raw("topic").ok()??;
        Some(names.filter_map(|name| log_dirs.named(&name.to_str()?.parse().ok()?).ok()).collect())
    }
}

/// The path that a shell will hand over for a word as it was typed; variables are left alone.
fn unquoted(word: &OsStr) -> Option<PathBuf> {
    let text = word.to_str()?;
    let path = shlex::split(text)?.into_iter().next()?;
    match path.strip_prefix("~/").filter(|_| text.starts_with('~')) {
        Some(rest) => Some(etcetera::home_dir().ok()?.join(rest)),
        None => Some(path.into()),
    }
}

/// Bash, whose readline takes `--log-dir=x` for three words and `0:1` as well.
struct Bash;

impl EnvCompleter for Bash {
    fn name(&self) -> &'static str {
        "bash"
    }

    fn is(&self, name: &str) -> bool {
        name == self.name()
    }

    fn write_registration(
        &self,
        variable: &str,
        name: &str,
        bin: &str,
        completer: &str,
        output: &mut dyn Write,
    ) -> io::Result<()> {
        let completer = shlex::try_quote(completer).map_err(io::Error::other)?;
        write!(
            output,
            r#"_{name}() {{
    local words=("${{COMP_WORDS[@]}}")
    # What stands behind the cursor in its word is not to be completed; of a lone = or : nothing is in $2.
    [[ ${{words[COMP_CWORD]}} == [=:] ]] || words[COMP_CWORD]=$2
    mapfile -t COMPREPLY < <({variable}=bash {INDEX}=$COMP_CWORD {completer} -- "${{words[@]}}" 2>/dev/null)
    [[ ${{#COMPREPLY[@]}} -ne 1 || ${{COMPREPLY[0]}} != *[=/] ]] || compopt -o nospace 2>/dev/null
}}
complete -o bashdefault -o nosort -F _{name} {bin}
"#
        )
    }

    fn write_complete(
        &self,
        command: &mut Command,
        words: Vec<OsString>,
        current_dir: Option<&Path>,
        output: &mut dyn Write,
    ) -> io::Result<()> {
        let (words, index, head) = rejoin(words, index().unwrap_or_default());
        for candidate in engine::complete(command, words, index, current_dir)? {
            // Readline replaces only what it takes for the word.
            let value = candidate.get_value().to_string_lossy();
            writeln!(output, "{}", value.strip_prefix(&head).unwrap_or(&value))?;
        }
        Ok(())
    }
}

/// Zsh, with a script that leaves no space between `segment.bytes=` and what is typed next.
struct Zsh;

impl EnvCompleter for Zsh {
    fn name(&self) -> &'static str {
        env::Zsh.name()
    }

    fn is(&self, name: &str) -> bool {
        env::Zsh.is(name)
    }

    fn write_registration(
        &self,
        variable: &str,
        name: &str,
        bin: &str,
        completer: &str,
        output: &mut dyn Write,
    ) -> io::Result<()> {
        let completer = shlex::try_quote(completer).map_err(io::Error::other)?;
        write!(
            output,
            r#"#compdef {bin}
_{name}() {{
    local -a ended open
    local line
    for line in ${{(f)"$({variable}=zsh {INDEX}=$((CURRENT - 1)) {completer} -- "${{words[@]}}" 2>/dev/null)"}}; do
        if [[ ${{line%%:*}} == *[=/] ]]; then open+=("$line"); else ended+=("$line"); fi
    done
    (( $#open )) && _describe -V 'values' open -S ''
    (( $#ended )) && _describe -V 'values' ended
}}
# zsh reads a file of its function path as the function of that name when it is first called.
if [[ $funcstack[1] == _{name} ]]; then _{name} "$@"; else compdef _{name} {bin}; fi
"#
        )
    }

    fn write_complete(
        &self,
        command: &mut Command,
        words: Vec<OsString>,
        current_dir: Option<&Path>,
        output: &mut dyn Write,
    ) -> io::Result<()> {
        env::Zsh.write_complete(command, words, current_dir, output)
    }
}

/// Puts words together again that readline has cut at `=` and `:`. Answers with them, the new index of the word that had
/// this one, and what was put before it.
fn rejoin(words: Vec<OsString>, index: usize) -> (Vec<OsString>, usize, String) {
    let mut joined: Vec<OsString> = Vec::new();
    let (mut new_index, mut head) = (0, String::new());
    let mut is_open = false;
    for (place, word) in words.into_iter().enumerate() {
        let is_cut = word == "=" || word == ":";
        let goes_on = joined.len() > 1 && (is_cut || is_open);
        if place == index {
            new_index = joined.len() - usize::from(goes_on);
            head = joined.last().filter(|_| goes_on).map_or(String::new(), |it| it.to_string_lossy().into_owned());
            // Behind a lone = an empty word is completed.
            if is_cut {
                head.push_str(&word.to_string_lossy());
            }
        }
        match joined.last_mut().filter(|_| goes_on) {
            Some(last) => last.push(word),
            None => joined.push(word),
        }
        is_open = is_cut && goes_on;
    }
    (joined, new_index, head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_readline_has_cut_are_whole_again() {
        for (words, index, expected, new_index, head) in [
            ("kdir consume app", 2, "kdir consume app", 2, ""),
            ("kdir consume --log-dir = x app", 5, "kdir consume --log-dir=x app", 3, ""),
            ("kdir alter --unset = seg", 4, "kdir alter --unset=seg", 2, "--unset="),
            ("kdir alter --unset =", 3, "kdir alter --unset=", 2, "--unset="),
            ("kdir create -c preallocate = t app", 5, "kdir create -c preallocate=t app", 3, "preallocate="),
            ("kdir offsets 0 : 1", 4, "kdir offsets 0:1", 2, "0:"),
        ] {
            let words = words.split(' ').map(OsString::from).collect();
            let expected: Vec<_> = expected.split(' ').map(OsString::from).collect();
            assert_eq!(rejoin(words, index), (expected, new_index, head.to_owned()));
        }
    }
}
