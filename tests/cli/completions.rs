//! `kdir completions`, and what a shell is told about the log dir.

use crate::support::Kdir;
use predicates::str::{contains, starts_with};

/// A log dir with topics of several kinds.
fn three_topics() -> Kdir {
    let kdir = Kdir::with_topic("orders", &["-P", "3", "-c", "segment.bytes=2MiB"]);
    kdir.create("orders-eu", &[]);
    kdir.create("greetings", &["-P", "2"]);
    kdir
}

/// What the lines become when they are typed into a bash, `*` at the end standing for all completions and a tab for itself.
fn typed(kdir: &Kdir, lines: &[&str]) -> Vec<String> {
    // kdir is a function that shows its arguments. ESC * has readline insert all completions.
    let mut stdin =
        "source <(KDIR_COMPLETE=bash \"$KDIR\")\nkdir() { local IFS=' '; echo \"<$*>\"; }\ncd \"$HOME\"\n".to_owned();
    for line in lines {
        stdin.push_str(&line.replace('*', "\x1b*"));
        stdin.push('\n');
    }
    // Without a terminal of its own, so that it does not take that of the tests.
    let mut bash = assert_cmd::Command::new("setsid");
    bash.args(["--wait", "bash", "--norc", "--noprofile", "-i"]).env_clear();
    bash.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", kdir.temp());
    bash.env("KDIR", env!("CARGO_BIN_EXE_kdir")).env("KDIR_LOG_DIR", kdir.log_dir());
    let output = bash.write_stdin(stdin).assert().success().get_output().stdout.clone();
    let shown = String::from_utf8(output).unwrap();
    shown.lines().map(|line| line.trim_matches(['<', '>']).to_owned()).collect()
}

fn assert_typed(kdir: &Kdir, cases: &[(&str, &str)]) {
    let (lines, expected): (Vec<&str>, Vec<&str>) = cases.iter().copied().unzip();
    let lines: Vec<String> = lines.into_iter().map(|line| format!("kdir {line}")).collect();
    assert_eq!(typed(kdir, &lines.iter().map(String::as_str).collect::<Vec<_>>()), expected);
}

#[test]
fn bash_completes_the_names_of_topics() {
    let kdir = three_topics();
    assert_typed(
        &kdir,
        &[
            ("consume *", "consume greetings orders orders-eu"),
            ("consume gr\tor\t-\t", "consume greetings orders-eu"),
            ("alter ord*", "alter orders orders-eu"),
            ("delete-records g\t", "delete-records greetings"),
            ("describe g\t", "describe greetings"),
            ("offsets --at latest g\t", "offsets --at latest greetings"),
            ("produce -k key g\t", "produce -k key greetings"),
            ("repair g\t", "repair greetings"),
            ("retention g\t", "retention greetings"),
            ("verify g\t", "verify greetings"),
            ("delete g\t", "delete greetings"),
            ("consume nope\t", "consume nope"),
            // What is named already is not offered again.
            ("delete orders orders-eu *", "delete orders orders-eu greetings"),
            ("delete greetings g\t", "delete greetings g"),
            ("produce orders -z sn\t", "produce orders -z snappy"),
        ],
    );
}

#[test]
fn bash_completes_from_the_log_dir_of_the_command_line() {
    let kdir = three_topics();
    let other = kdir.temp().join("ot her");
    kdir.run(&["-q", "create", "elsewhere", "-d", other.to_str().unwrap()]).code(0);
    assert_typed(
        &kdir,
        &[
            ("consume -d 'ot her' *", "consume -d ot her elsewhere"),
            ("consume --log-dir=ot\\ her *", "consume --log-dir=ot her elsewhere"),
            ("-qd ~/ot\\ her consume *", &format!("-qd {} consume elsewhere", other.display())),
            ("--log-dir \"ot her\" verify *", "--log-dir ot her verify elsewhere"),
            ("consume -d./log gr*", "consume -d./log greetings"),
            ("consume -d missing gr*", "consume -d missing gr"),
        ],
    );
    assert!(!kdir.temp().join("missing").exists());
}

#[test]
fn bash_completes_partitions_of_the_topic_that_is_named() {
    assert_typed(
        &three_topics(),
        &[
            ("consume orders -p *", "consume orders -p 0 1 2"),
            ("consume greetings --partition=*", "consume greetings --partition=0 1"),
            ("consume greetings --partition 0,*", "consume greetings --partition 0,0 0,1"),
            ("offsets --at earliest orders-eu -p *", "offsets --at earliest orders-eu -p 0"),
            ("produce greetings -p *", "produce greetings -p 0 1"),
            ("consume nope -p *", "consume nope -p"),
        ],
    );
}

#[test]
fn bash_completes_configuration_keys_and_words() {
    assert_typed(
        &three_topics(),
        &[
            ("create -c segment.by\t1", "create -c segment.bytes=1"),
            ("alter orders --config retention.*", "alter orders --config retention.bytes= retention.ms="),
            ("create --config=prea\t", "create --config=preallocate="),
            ("create -c preallocate=*", "create -c preallocate=true false"),
            ("create -c cleanup.policy=c\t", "create -c cleanup.policy=compact"),
            ("alter orders --unset *", "alter orders --unset segment.bytes"),
            ("alter orders --unset=\t", "alter orders --unset=segment.bytes"),
            ("alter --unset segment.*", "alter --unset segment.bytes segment.index.bytes segment.jitter.ms segment.ms"),
        ],
    );
}

#[test]
fn bash_completes_commands_options_and_files() {
    let kdir = three_topics();
    kdir.file("input.txt", "one\n");
    assert_typed(
        &kdir,
        &[
            ("delete-\t", "delete-records"),
            ("man prod\t", "man produce"),
            ("produce orders --batch\t", "produce orders --batch-size"),
            ("produce orders inp\t", "produce orders input.txt"),
            ("dump log/gr*", "dump log/greetings-0/ log/greetings-1/ log/greetings.json"),
            ("consume orders --order par\t", "consume orders --order partition"),
        ],
    );
}

/// What a shell is told of a command line, the last word being completed.
fn told(kdir: &Kdir, shell: &str, line: &str) -> String {
    let words: Vec<&str> = ["--"].into_iter().chain(line.split(' ')).collect();
    let mut command = kdir.command(&words);
    command.env("KDIR_COMPLETE", shell).env("_CLAP_COMPLETE_INDEX", (words.len() - 2).to_string());
    let output = command.assert().stderr("").get_output().clone();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_shell_is_told_the_same() {
    let kdir = three_topics();
    for shell in ["bash", "zsh", "fish"] {
        assert_eq!(told(&kdir, shell, "kdir consume orders").trim_end(), "orders\norders-eu", "{shell}");
        assert_eq!(told(&kdir, shell, "kdir consume orders -p ").trim_end(), "0\n1\n2", "{shell}");
        assert!(told(&kdir, shell, "kdir create -c segment.b").starts_with("segment.bytes="), "{shell}");
    }
}

#[test]
fn completing_writes_nothing_and_is_silent_about_what_is_wrong() {
    let kdir = Kdir::new();
    assert_eq!(told(&kdir, "bash", "kdir consume a"), "");
    assert!(!kdir.log_dir().exists());
    kdir.create("app", &[]);
    std::fs::write(kdir.path("app.json"), "nonsense").unwrap();
    let before = kdir.contents();
    assert_eq!(told(&kdir, "bash", "kdir consume a"), "app\n");
    assert_eq!(told(&kdir, "bash", "kdir consume app -p "), "");
    assert_eq!(told(&kdir, "bash", "kdir nope "), told(&kdir, "bash", "kdir "));
    assert_eq!(told(&kdir, "tcsh", "kdir consume a"), "");
    assert_eq!(kdir.contents(), before);
}

#[test]
fn a_shell_without_a_script_is_refused_and_the_variable_of_others_is_not_ours() {
    let kdir = Kdir::with_topic("app", &[]);
    let mut command = kdir.command(&[]);
    command.env("KDIR_COMPLETE", "tcsh").assert().code(2).stdout("").stderr(contains("`bash`, `fish`, `zsh`"));
    let mut command = kdir.command(&["-q", "produce", "app"]);
    command.env("COMPLETE", "bash").write_stdin("one\n").assert().code(0).stdout("").stderr("");
    assert_eq!(kdir.values("app"), "one\n");
}

#[test]
fn the_scripts_of_bash_zsh_and_fish_ask_kdir() {
    let kdir = three_topics();
    for shell in ["bash", "zsh", "fish"] {
        let script = kdir.text(&["completions", shell]);
        assert!(
            script.contains(&format!("KDIR_COMPLETE={shell} ")) && script.contains(" kdir -- "),
            "{shell}: {script}"
        );
    }
    assert!(kdir.text(&["completions", "zsh"]).starts_with("#compdef kdir\n"));
    let script = "source <(kdir completions bash); COMP_WORDS=(kdir consume or) COMP_CWORD=2; _kdir kdir or consume 2>&1; \
                  echo ${COMPREPLY[@]}";
    let output = crate::recipes::shell(&kdir, script).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "orders orders-eu\n");
}

#[test]
fn names_every_subcommand_in_the_scripts_of_other_shells() {
    let kdir = Kdir::new();
    for (shell, mark) in
        [("elvish", "edit:completion:arg-completer[kdir]"), ("powershell", "Register-ArgumentCompleter")]
    {
        let script = kdir.text(&["completions", shell]);
        assert!(script.contains(mark), "{shell}: {script}");
        for subcommand in kdir.subcommands() {
            assert!(script.contains(&subcommand), "{shell} does not know {subcommand}");
        }
        assert!(script.contains("from-offset"), "{shell}");
    }
}

#[test]
fn refuses_a_shell_that_it_does_not_know() {
    let kdir = Kdir::new();
    kdir.run(&["completions", "tcsh"]).code(2).stdout("").stderr(contains("is not bash"));
    kdir.run(&["completions"]).code(2).stdout("").stderr(starts_with("kdir: completions needs SHELL\n"));
}

#[test]
fn needs_no_log_dir() {
    let kdir = Kdir::new();
    kdir.run(&["completions", "bash"]).code(0).stderr("");
    assert!(!kdir.log_dir().exists());
}
