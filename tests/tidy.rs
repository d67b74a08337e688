//! The source tree keeps its own rules: floors, where each crate belongs, words that are for notes only, forgotten files.
//!
//! Each refusal says what to write instead. The rules themselves are explained at the head of `src/lib.rs`.
#![expect(clippy::disallowed_methods, reason = "tests look at files directly; the one door is a rule of src/")]

use std::fs;
use std::path::{Path, PathBuf};

/// The floors of the house. A module uses its own and lower ones; two modules on one floor do not know each other.
const FLOORS: [(&str, u8); 13] = [
    ("units", 0),
    ("format", 1),
    ("disk", 2),
    ("stream", 2),
    ("storage", 3),
    ("logdir", 4),
    ("groups", 5),
    ("produce", 5),
    ("archive", 6),
    ("consume", 6),
    ("promote", 6),
    ("work", 6),
    ("cli", 7),
];

/// Where a crate, or a part of std, belongs, and what to use elsewhere. A place that ends in `/` is a folder.
const BELONGS: [(&str, &[&str], &str); 8] = [
    ("clap", &["src/cli/"], "parse in cli/args.rs and pass a value of units"),
    ("anyhow", &["src/cli/"], "return this floor's own error enum, with the facts in its fields"),
    ("comfy_table", &["src/cli/"], "return values; cli/report.rs makes the table"),
    ("indicatif", &["src/cli/"], "call back with what was done; cli/ui.rs shows progress"),
    ("std::fs", &["src/disk/"], "take a `disk::Disk`: the file system has one door"),
    (
        "serde_json",
        &[
            "src/stream/envelope.rs",
            "src/stream/json.rs",
            "src/stream/json_field.rs",
            "src/stream/json_value.rs",
            "src/logdir/topic.rs",
            "src/archive/manifest.rs",
            "src/promote/broker_file.rs",
            "src/cli/",
        ],
        "keep JSON to small structs made for it, in one of those files",
    ),
    ("crc_fast", &["src/format/crc.rs"], "call `format::crc::crc32c`, so that CRC-32C and plain CRC-32 never mix"),
    (
        "crc32fast",
        &["src/format/crc.rs", "src/format/compression/gzip.rs"],
        "call `format::crc`, so that CRC-32C and plain CRC-32 never mix",
    ),
];

/// Paths that are allowed where `BELONGS` refuses them.
const ALLOWED: [(&str, &str, &str); 3] = [
    ("src/cli/ui.rs", "std::fs::File", "names the type of stdin, which may be a file, a pipe or a device"),
    (
        "src/produce/input.rs",
        "std::fs::File",
        "names the type that stdin and input files share; files are opened through the disk",
    ),
    (
        "src/produce/rejects.rs",
        "std::fs::File",
        "names the type of a file that is opened through the disk and may be a pipe",
    ),
];

/// Words that stand for unfinished work, and what to write instead.
const UNFINISHED: [(&str, &str); 5] = [
    ("todo!", "write the code, or return an error that names the limit"),
    ("unimplemented!", "write the code, or return an error that names the limit"),
    ("dbg!", "assert it in a test, or say it with `ui.verbose`"),
    ("FIXME", "open an issue, or state the limit and its reason"),
    ("TODO", "open an issue, or state the limit and its reason"),
];

/// Where our source lies.
const EVERYWHERE: [&str; 6] = ["src", "tests", "benches", "fuzz/src", "fuzz/examples", "fuzz/fuzz_targets"];

const LONGEST_LINE: usize = 130;
const LONGEST_FILE: usize = 600;

/// Files that may be longer, each with its reason.
const LONG_FILES: [(&str, &str); 0] = [];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn listed(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a folder can be listed").path()).collect();
    paths.sort();
    paths
}

/// A source file, by its path from the root of the project.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The lines with their numbers, as they stand.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    /// The code: without comments, and without what stands in quotes on one line.
    fn code(&self) -> Vec<(usize, String)> {
        self.lines().map(|(number, line)| (number, without_comments_and_strings(line))).collect()
    }

    fn is_this_file(&self) -> bool {
        self.path == "tests/tidy.rs"
    }
}

fn without_comments_and_strings(line: &str) -> String {
    let mut code = String::new();
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\\' if quoted => {
                chars.next();
            }
            // '"' as a character is no quote.
            '\'' if !quoted && chars.peek() == Some(&'"') => {
                chars.next();
            }
            '"' => quoted = !quoted,
            '/' if !quoted && chars.peek() == Some(&'/') => break,
            _ if quoted => {}
            _ => code.push(char),
        }
    }
    code
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for path in listed(&folder) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).expect("it lies under the root").to_string_lossy().into_owned();
                found.push(Source { path: name, text: fs::read_to_string(&path).expect("source is UTF-8") });
            }
        }
    }
    assert!(!found.is_empty(), "no source was found under {}", root().display());
    found
}

/// Fails with all findings at once.
fn refuse(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

fn floor_of(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

/// The module on a floor that a file belongs to; none for `lib.rs` and `main.rs`.
fn module_of(path: &str) -> Option<&str> {
    let (module, _) = path.strip_prefix("src/")?.split_once('/')?;
    Some(module)
}

/// How many `super` lead from a file to the root of the crate.
fn depth(path: &str) -> usize {
    let below_src = path.matches('/').count();
    if path.ends_with("/mod.rs") { below_src - 1 } else { below_src }
}

/// Where `name` stands in `code` as a whole word.
fn words<'a>(code: &'a str, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_part = |char: char| char.is_alphanumeric() || char == '_';
    code.match_indices(name)
        .map(|(at, _)| at)
        .filter(move |at| !code[..*at].ends_with(is_part) && !code[*at + name.len()..].starts_with(is_part))
}

/// What a path leads to first, after `crate::` or `super::`: one name, or those in braces.
fn heads(rest: &str) -> Vec<&str> {
    let is_name = |char: char| char.is_alphanumeric() || char == '_';
    let first = |path: &'_ str| -> usize { path.find(|char| !is_name(char)).unwrap_or(path.len()) };
    let Some(inner) = rest.strip_prefix('{') else { return vec![&rest[..first(rest)]] };
    // In a list only the names at its own level are heads.
    let mut level = 0;
    let mut start = true;
    let mut found = Vec::new();
    for (at, char) in inner.char_indices() {
        match char {
            '{' => level += 1,
            '}' if level == 0 => break,
            '}' => level -= 1,
            ',' if level == 0 => start = true,
            _ if level == 0 && start && is_name(char) => {
                found.push(&inner[at..at + first(&inner[at..])]);
                start = false;
            }
            _ => {}
        }
    }
    found
}

/// The modules at the root of the crate that a file names, with the line.
fn modules_used(source: &Source) -> Vec<(usize, String)> {
    let code = source.code();
    // A list in braces may go over several lines.
    let whole: String = code.iter().map(|(_, line)| format!("{}\n", line.trim_end())).collect();
    let line_at = |at: usize| whole[..at].matches('\n').count() + 1;
    let mut used = Vec::new();
    for at in words(&whole, "crate") {
        if let Some(rest) = whole[at..].strip_prefix("crate::") {
            used.extend(heads(rest).into_iter().map(|head| (line_at(at), head.to_owned())));
        }
    }
    // `super` from an inner module, such as `tests`, leads less far; it can only be judged too mildly by that.
    let to_root = "super::".repeat(depth(&source.path));
    for at in words(&whole, "super") {
        if whole[..at].ends_with("super::") {
            continue;
        }
        let rest = whole[at..].trim_start_matches("super::");
        let steps = (whole[at..].len() - rest.len()) / "super::".len();
        if steps * "super::".len() >= to_root.len() && steps > 0 {
            used.extend(heads(rest).into_iter().map(|head| (line_at(at), head.to_owned())));
        }
    }
    used
}

#[test]
fn no_module_uses_a_higher_floor() {
    let mut findings = Vec::new();
    for source in sources(&["src"]) {
        let Some(module) = module_of(&source.path) else { continue };
        let Some(floor) = floor_of(module) else {
            findings.push(format!(
                "{}: the folder {module} is on no floor: give it one in FLOORS here and in src/lib.rs",
                source.path
            ));
            continue;
        };
        for (line, used) in modules_used(&source) {
            let Some(used_floor) = floor_of(&used) else { continue };
            if used == module || used_floor < floor {
                continue;
            }
            let instead = if used == "cli" {
                "return a value or an error, and let cli say it"
            } else if used_floor == floor {
                "they stand side by side: let cli bring them together, or move what both need a floor down"
            } else {
                "take what you need as an argument or a trait, or move it a floor down"
            };
            findings.push(format!(
                "{}:{line}: {module} (floor {floor}) uses {used} (floor {used_floor}): {instead}",
                source.path
            ));
        }
    }
    refuse(&findings);
}

/// The lines where `std::fs` is named, with the full path; also as `use std::{fs, …}`.
fn std_fs(code: &[(usize, String)]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in code {
        for at in words(line, "std::fs") {
            let end = line[at..].find(|char: char| !char.is_alphanumeric() && !"_:".contains(char));
            found.push((*number, line[at..end.map_or(line.len(), |end| at + end)].to_owned()));
        }
        if let Some(at) = line.find("std::{")
            && heads(&line[at + "std::".len()..]).contains(&"fs")
        {
            found.push((*number, "std::fs".to_owned()));
        }
    }
    found
}

#[test]
fn crates_are_used_where_they_belong() {
    let mut findings = Vec::new();
    for source in sources(&["src"]) {
        let code = source.code();
        for (name, places, instead) in BELONGS {
            if places
                .iter()
                .any(|place| source.path == *place || place.ends_with('/') && source.path.starts_with(place))
            {
                continue;
            }
            let found: Vec<(usize, String)> = if name == "std::fs" {
                std_fs(&code)
            } else {
                let named = |line: &str| {
                    words(line, name).any(|at| {
                        let rest = &line[at + name.len()..];
                        rest.starts_with("::") || line.trim_start().trim_start_matches("pub ").starts_with("use ")
                    })
                };
                code.iter().filter(|(_, line)| named(line)).map(|(number, _)| (*number, name.to_owned())).collect()
            };
            for (line, path) in found {
                if ALLOWED.iter().any(|(file, allowed, _)| source.path == *file && path == *allowed) {
                    continue;
                }
                findings.push(format!("{}:{line}: {path} belongs in {}: {instead}", source.path, places.join(", ")));
            }
        }
    }
    refuse(&findings);
}

/// What changes names or sizes, and where that is: each of these files takes a guard, or is handed a file by one that does.
const CHANGES: [&str; 7] =
    ["Access::Create", "Access::New", "Access::Write", ".set_len(", ".rename(", ".remove_file(", ".remove_folder("];
const CHANGED_IN: [(&str, &str); 24] = [
    ("src/storage/guard.rs", "PartitionGuard"),
    ("src/storage/segment_writer.rs", "PartitionGuard"),
    ("src/storage/recovery.rs", "PartitionGuard"),
    ("src/storage/power_failure.rs", "PartitionGuard"),
    ("src/storage/repair/mod.rs", "PartitionGuard"),
    ("src/storage/repair/splice.rs", "PartitionGuard"),
    ("src/storage/leftovers.rs", "PartitionGuard"),
    ("src/storage/clean/maintenance.rs", "PartitionGuard"),
    ("src/storage/clean/retention.rs", "PartitionGuard"),
    ("src/storage/clean/swap.rs", "PartitionGuard"),
    ("src/storage/marks.rs", "PartitionGuard"),
    ("src/storage/known_end.rs", "PartitionGuard"),
    ("src/storage/index_file.rs", "file: Option<Arc<dyn DiskFile>>"),
    ("src/logdir/partition.rs", "PartitionGuard"),
    ("src/logdir/repair.rs", "PartitionGuard"),
    ("src/consume/cursor_file.rs", "try_lock()"),
    ("src/consume/cursor_mark.rs", "The caller holds the lock on the cursor file"),
    ("src/logdir/delete.rs", "FolderLock::take"),
    ("src/logdir/import.rs", "PartitionGuard"),
    ("src/logdir/brokers_files.rs", "self.lock_root()"),
    ("src/promote/apply.rs", "Every other process is kept out"),
    ("src/logdir/mod.rs", "fn lock_root"),
    ("src/logdir/topic.rs", "The caller holds the root lock"),
    ("src/logdir/checkpoints.rs", "The caller holds the root lock"),
];

#[test]
fn partitions_are_changed_under_their_guard_only() {
    let mut findings = Vec::new();
    for source in sources(&["src/storage", "src/logdir", "src/consume", "src/archive"]) {
        let tests = source.text.lines().position(|line| line == "#[cfg(test)]").unwrap_or(usize::MAX);
        let permitted = CHANGED_IN.iter().find(|(path, _)| source.path == *path);
        if permitted.is_some_and(|(_, evidence)| source.text.contains(evidence)) {
            continue;
        }
        for (number, line) in source.code().into_iter().filter(|(number, _)| *number <= tests) {
            if let Some(change) = CHANGES.iter().find(|change| line.contains(*change)) {
                findings.push(format!(
                    "{}:{number}: {change} belongs where a PartitionGuard, or the root lock, is held: take one, and name the \
                     file in CHANGED_IN",
                    source.path
                ));
            }
        }
    }
    // By path nothing can be renamed or removed at all.
    let door = fs::read_to_string(root().join("src/disk/mod.rs")).expect("the door is there");
    let (_, by_path) = door.split_once("pub trait Disk:").expect("it has the trait");
    let (by_path, _) = by_path.split_once("\n}").expect("the trait ends");
    for change in ["fn rename", "fn remove", "fn truncate"] {
        if by_path.contains(change) {
            findings.push(format!("src/disk/mod.rs: {change} by path: put it on Folder, relative to an open folder"));
        }
    }
    refuse(&findings);
}

/// What panics where its output cannot be written, or ends the process. Its one place may write by system calls only.
const TALK: [(&str, &str); 10] = [
    ("print!", "give it to `ui.data`"),
    ("println!", "give it to `ui.data`"),
    ("eprint!", "say it with `ui.status`, `ui.warning` or `ui::say`"),
    ("eprintln!", "say it with `ui.status`, `ui.warning` or `ui::say`"),
    ("io::stdout", "give it to `ui.data`"),
    ("io::stderr", "say it with `ui.status`, `ui.warning` or `ui::say`"),
    ("stdio::stdout", "give it to `ui.data`, or ask the `ui` what it is"),
    ("stdio::stderr", "say it with `ui.status`, `ui.warning` or `ui::say`"),
    ("process::exit", "return an `Exit`: what was begun is ended in order"),
    ("process::abort", "return an error"),
];
/// Where they may be named: what is asked there is whether it is a terminal, or open.
const TALK_IN: [(&str, &[&str]); 3] = [
    ("src/cli/ui.rs", &["io::stdout", "io::stderr", "stdio::stdout", "stdio::stderr"]),
    ("src/cli/startup.rs", &["stdio::stdout"]),
    // The records of a consumer, which --ack closes at their end, and what the handlers of a queue say.
    ("src/disk/outlet.rs", &["stdio::stdout", "stdio::stderr"]),
];

#[test]
fn output_has_one_place_and_no_panic() {
    let mut findings = Vec::new();
    for source in sources(&["src"]) {
        let permitted = TALK_IN.iter().find(|(path, _)| source.path == *path).map_or(&[][..], |(_, names)| names);
        let tests = source.text.lines().position(|line| line == "#[cfg(test)]").unwrap_or(usize::MAX);
        for (number, line) in source.code().into_iter().filter(|(number, _)| *number <= tests) {
            for (name, instead) in TALK.iter().filter(|(name, _)| !permitted.contains(name)) {
                if words(&line, name).next().is_some() {
                    findings.push(format!("{}:{number}: {name}: {instead}", source.path));
                }
            }
            if line.contains("clippy::print_std") {
                findings.push(format!("{}:{number}: no lint on output is switched off: see TALK", source.path));
            }
            let is_std = |name| words(&line, name).next().is_some();
            if (is_std("io::stdout") || is_std("io::stderr")) && !line.contains("is_terminal()") {
                findings.push(format!("{}:{number}: std's stdout and stderr are asked, not written to", source.path));
            }
        }
    }
    refuse(&findings);
}

#[test]
fn no_code_of_ours_is_unsafe() {
    let mut findings = Vec::new();
    for source in sources(&["src"]) {
        for (number, line) in source.code() {
            let is_ctors = source.path == "src/cli/startup.rs" && line == "#[ctor::ctor(unsafe)]";
            if !is_ctors && (words(&line, "unsafe").next().is_some() || line.contains("unsafe_code")) {
                findings
                    .push(format!("{}:{number}: unsafe: use rustix, nix or std, which have it checked", source.path));
            }
        }
    }
    refuse(&findings);
}

#[test]
fn nothing_is_marked_unfinished() {
    let mut findings = Vec::new();
    for source in sources(&EVERYWHERE).iter().filter(|source| !source.is_this_file()) {
        for (number, line) in source.lines() {
            for (word, instead) in UNFINISHED {
                if words(line, word).next().is_some() {
                    findings.push(format!("{}:{number}: {word}: {instead}", source.path));
                }
            }
        }
    }
    refuse(&findings);
}

#[test]
fn lines_are_plain_and_short() {
    let mut findings = Vec::new();
    for source in sources(&EVERYWHERE) {
        for (number, line) in source.lines() {
            let path = &source.path;
            if line.contains('\t') {
                findings.push(format!("{path}:{number}: a tab: indent with spaces, and write \\t in a string"));
            }
            if line.ends_with(char::is_whitespace) {
                findings.push(format!("{path}:{number}: spaces at the end of the line: remove them"));
            }
            let width = line.chars().count();
            if width > LONGEST_LINE {
                findings.push(format!("{path}:{number}: {width} characters: break the line before {LONGEST_LINE}"));
            }
        }
    }
    refuse(&findings);
}

/// Each file of a folder needs a `mod` line in the file that leads it.
fn forgotten(folder: &str, leader: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let paths = listed(&root().join(folder));
    if paths.is_empty() {
        return findings;
    }
    let leader_path = format!("{folder}/{leader}");
    let text = fs::read_to_string(root().join(&leader_path))
        .unwrap_or_else(|_| panic!("{leader_path} is missing: without it nothing in {folder} is built"));
    let modules: Vec<String> = text
        .lines()
        .map(without_comments_and_strings)
        .filter_map(|line| {
            let (before, name) = line.rsplit_once("mod ")?;
            let is_module = before.is_empty() || before.trim_end().starts_with("pub");
            Some(name.strip_suffix(';')?.to_owned()).filter(|_| is_module)
        })
        .collect();
    for path in paths {
        let is_module = path.extension().is_some_and(|extension| extension == "rs") || path.join("mod.rs").exists();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if is_module && !path.ends_with(leader) && !modules.contains(&name) {
            findings.push(format!("{folder}/{name} is never built: add `mod {name};` to {leader_path}"));
        }
    }
    findings
}

#[test]
fn no_file_is_forgotten() {
    let mut findings = forgotten("src/cli/commands", "mod.rs");
    for folder in ["units", "format", "disk", "stream", "storage", "logdir", "archive", "consume", "cli"] {
        findings.extend(forgotten(&format!("src/{folder}"), "mod.rs"));
    }
    for folder in ["tests/cli", "tests/kafka", "tests/storage"] {
        findings.extend(forgotten(folder, "main.rs"));
    }
    refuse(&findings);
}

#[test]
fn no_file_is_too_long() {
    let mut findings = Vec::new();
    for source in sources(&["src"]) {
        let lines = source.text.lines().take_while(|line| line.trim() != "#[cfg(test)]").count();
        let allowed = LONG_FILES.iter().any(|(path, _)| *path == source.path);
        if lines > LONGEST_FILE && !allowed {
            findings.push(format!(
                "{}: {lines} lines before its tests: see whether it is two files, or add it to LONG_FILES with a reason",
                source.path
            ));
        }
        if lines <= LONGEST_FILE && allowed {
            findings.push(format!("{}: {lines} lines now: remove it from LONG_FILES", source.path));
        }
    }
    refuse(&findings);
}
