//! What is written about kdir is true: the README's examples are run, and the committed completion scripts and manual
//! pages are what the binary prints.
//!
//! trycmd runs the README's console blocks in order, in one fresh log dir, and passes over every line that begins with
//! another program than kdir without a word. So nothing of that kind gets there: a line that pipes into kdir must have a
//! twin under `tests/cmd` (a `.toml` that begins with the same line as a comment, and the input as `.stdin`), and its
//! input is given to kdir as a file when the README is run. Any other foreign line is refused.
#![expect(clippy::disallowed_methods, reason = "tests look at files directly; the one door is a rule of src/")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const KDIR: &str = env!("CARGO_BIN_EXE_kdir");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()))
}

/// trycmd in a clean environment, with the log dir set.
fn cases(log_dir: &str) -> trycmd::TestCases {
    let cases = trycmd::TestCases::new();
    cases.register_bin("kdir", Path::new(KDIR));
    for (name, value) in
        [("KDIR_LOG_DIR", log_dir), ("TZ", "UTC"), ("NO_COLOR", "1"), ("CLICOLOR_FORCE", ""), ("COLUMNS", "100")]
    {
        cases.env(name, value);
    }
    cases
}

/// The lines of the console blocks of a text, with their numbers; `None` stands for a line outside of them.
fn console_lines(text: &str) -> Vec<(usize, &str, bool)> {
    let mut inside = false;
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with("```") {
            inside = !inside && line.trim_end() == "```console";
            lines.push((number, line, false));
        } else {
            lines.push((number, line, inside));
        }
    }
    lines
}

/// A console line that pipes into kdir: what is before the pipe, and the arguments behind it.
fn piped(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("$ ").filter(|command| !command.starts_with("kdir "))?.split_once(" | kdir ")
}

/// The twins under tests/cmd by the console line that they repeat, without its `$ `.
fn twins() -> BTreeMap<String, PathBuf> {
    let mut twins = BTreeMap::new();
    for path in
        files(&root().join("tests/cmd")).into_iter().filter(|path| path.extension().is_some_and(|e| e == "toml"))
    {
        let text = read(&path);
        let line = text.lines().next().and_then(|first| first.strip_prefix("# $ ")).unwrap_or_else(|| {
            panic!("{} does not say what it repeats: begin it with `# $ <the README's line>`", path.display())
        });
        twins.insert(line.to_owned(), path);
    }
    twins
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a folder can be listed").path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_example_of_the_readme_is_run() {
    let readme = read(&root().join("README.md"));
    let twins = twins();
    let mut used = Vec::new();
    for (number, line, inside) in console_lines(&readme) {
        if !inside || !line.starts_with("$ ") || line.starts_with("$ export KDIR_LOG_DIR=") {
            continue;
        }
        if line.starts_with("$ kdir ") {
            assert!(
                !line.contains(" | ") && !line.contains(" > "),
                "README.md line {number} pipes kdir into something, which trycmd cannot run: use a ```sh block"
            );
            continue;
        }
        let Some((left, _)) = piped(line) else {
            panic!("README.md line {number} begins with another program and would be skipped: use a ```sh block")
        };
        let twin = twins.get(&line[2..]).unwrap_or_else(|| {
            panic!("README.md line {number} has no twin: add a tests/cmd/*.toml that begins with `# {line}`")
        });
        let output = Command::new("sh").args(["-c", left]).output().expect("sh runs");
        let stdin = twin.with_extension("stdin");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            read(&stdin),
            "{} is not what `{left}` prints, as README.md line {number} has it: write that there",
            stdin.display()
        );
        used.push(twin);
    }
    for (line, twin) in &twins {
        assert!(
            used.contains(&twin),
            "{} repeats a line that is not in README.md any more ({line}): remove it",
            twin.display()
        );
    }
}

#[test]
fn the_examples_with_input_from_a_pipe_work() {
    let folder = tempfile::tempdir().unwrap();
    let log_dir = folder.path().join("my-log-dir");
    let log_dir = log_dir.to_str().expect("the folder for temporary files is UTF-8");
    let made = Command::new(KDIR).args(["--log-dir", log_dir, "create", "orders", "-P", "2"]).status().unwrap();
    assert!(made.success());
    cases(log_dir).case("tests/cmd/*.toml");
}

#[test]
fn the_readme_shows_what_kdir_prints() {
    let folder = tempfile::tempdir().unwrap();
    // trycmd runs a file's commands in the folder beside it that ends in `.in`.
    fs::create_dir(folder.path().join("README.in")).unwrap();
    let twins = twins();
    let mut copy = String::new();
    let mut after_output = false;
    for (_, line, inside) in console_lines(&read(&root().join("README.md"))) {
        let is_output = inside && !line.starts_with("$ ") && !line.starts_with("? ");
        if after_output && !is_output {
            // trycmd takes the last line of an output to end in a newline only where an empty line follows.
            copy.push('\n');
        }
        after_output = is_output && !line.is_empty();
        match piped(line).filter(|_| inside) {
            Some((_, arguments)) => {
                let twin =
                    twins.get(&line[2..]).unwrap_or_else(|| panic!("no tests/cmd/*.toml begins with `# {line}`"));
                let input = twin.with_extension("stdin");
                copy.push_str(&format!("$ kdir {arguments} '{}'", input.display()));
            }
            // How long it took is the one thing that differs from run to run.
            None if inside && line.starts_with("produced ") && line.ends_with(" s") => {
                let (what, _) = line.rsplit_once(" in ").expect("a summary says how long it took");
                copy.push_str(&format!("{what} in [..] s"));
            }
            None => copy.push_str(line),
        }
        copy.push('\n');
    }
    let path = folder.path().join("README.md");
    fs::write(&path, copy).unwrap();
    cases("./my-log-dir").case(&path).run();
}

/// What a command that cannot fail prints.
fn printed(arguments: &[&str]) -> String {
    let output = Command::new(KDIR).env_clear().args(arguments).output().expect("kdir runs");
    assert!(output.status.success(), "kdir {} fails", arguments.join(" "));
    String::from_utf8(output.stdout).expect("what kdir prints for packagers is UTF-8")
}

/// Compares a folder with what should be in it, file by file; with UPDATE set, makes it so.
fn check_generated(folder: &str, wanted: &BTreeMap<String, String>) {
    const RUN: &str = "run `UPDATE=1 cargo test --test docs` and look at the difference";
    let folder = root().join(folder);
    let update = std::env::var_os("UPDATE").is_some();
    if update {
        fs::create_dir_all(&folder).expect("the folder can be made");
    }
    let mut wrong = Vec::new();
    for (name, text) in wanted {
        let path = folder.join(name);
        let found = fs::read_to_string(&path).ok();
        if found.as_ref() == Some(text) {
            continue;
        }
        if update {
            fs::write(&path, text).expect("the file can be written");
        } else {
            let what = if found.is_none() { "is missing" } else { "is not what kdir prints" };
            wrong.push(format!("{} {what}", path.display()));
        }
    }
    for path in files(&folder) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if wanted.contains_key(&name) {
            continue;
        }
        if update {
            fs::remove_file(&path).expect("the leftover can be removed");
        } else {
            wrong.push(format!("{} is left over from something that is gone", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}: {RUN}", wrong.join("; "));
}

#[test]
fn the_completion_scripts_are_what_kdir_prints() {
    let scripts = [("bash", "kdir.bash"), ("zsh", "_kdir"), ("fish", "kdir.fish")];
    let wanted = scripts.map(|(shell, name)| (name.to_owned(), printed(&["completions", shell])));
    check_generated("completions", &wanted.into());
}

#[test]
fn the_manual_pages_are_what_kdir_prints() {
    let mut wanted = BTreeMap::from([("kdir.1".to_owned(), printed(&["man"]))]);
    for command in kdir::cli::command().get_subcommands() {
        let name = command.get_name();
        wanted.insert(format!("kdir-{name}.1"), printed(&["man", name]));
    }
    for subject in ["queue", "kafka"] {
        wanted.insert(format!("kdir-{subject}.7"), printed(&["man", subject]));
    }
    check_generated("man", &wanted);
}

/// Has a program look at the manual pages, and fails with what it says.
fn check_pages(program: &str, arguments: &[&str]) {
    let mut command = Command::new(program);
    let output = command.args(arguments).args(files(&root().join("man"))).output();
    let output = output.unwrap_or_else(|error| panic!("{program} cannot be run, of the package {program}: {error}"));
    let said = String::from_utf8([output.stdout, output.stderr].concat()).expect("what they say is UTF-8");
    assert!(output.status.success() && said.is_empty(), "{program}: {}\n{said}", output.status);
}

#[test]
#[ignore = "needs mandoc and groff"]
fn the_manual_pages_are_free_of_warnings() {
    assert!(files(&root().join("man")).len() > 1, "there are no pages");
    check_pages("mandoc", &["-T", "lint"]);
    check_pages("groff", &["-ww", "-man", "-Tutf8", "-z"]);
}
