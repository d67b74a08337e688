//! How a command line is read: repeated options, numbers with a minus, contradictions, and what is said of words that other
//! programs take.

use crate::support::Kdir;
use predicates::str::{contains, starts_with};
use std::fs;

#[test]
fn the_last_of_a_repeated_option_wins() {
    let kdir = Kdir::with_topic("app", &["-P", "3", "-P", "2", "--retention", "1d", "--retention", "2d"]);
    kdir.produce("app", &["-k", "a", "-k", "b", "--timestamp", "@1", "--timestamp", "@2", "-Z", "-Z"], "v0\nv1\n");
    let shown = kdir.text(&[
        "consume",
        "app",
        "-f",
        "no",
        "-n",
        "1",
        "-n",
        "2",
        "-f",
        "%k %T %s\\n",
        "--color=always",
        "--color=never",
    ]);
    assert_eq!(shown, "b 2000 v0\nb 2000 v1\n");
    assert_eq!(kdir.text(&["consume", "app", "-o", "json", "-o", "value", "--tail", "7", "--tail", "1"]), "v1\n");
    let rows =
        kdir.text(&["offsets", "app", "--at", "latest", "--at", "earliest", "-o", "json", "-o", "tsv", "-q", "-q"]);
    assert_eq!(rows, "app\t0\t0\t\napp\t1\t0\t\n");
    assert!(kdir.text(&["describe", "app", "-o", "json"]).contains(r#""retention.ms":"172800000""#));
}

#[test]
fn no_option_but_a_list_refuses_to_be_repeated() {
    let mut program = kdir::cli::command();
    program.build();
    for command in program.get_subcommands() {
        for option in command.get_opts().filter(|it| it.get_long().is_some()) {
            let (name, long) = (command.get_name(), format!("--{}", option.get_long().unwrap()));
            // Whatever is wrong with the values, that the option is there twice is not.
            let twice: Vec<&str> = match option.get_action().takes_values() {
                true => vec![name, &long, "1", &long, "1"],
                false => vec![name, &long, &long],
            };
            let output = Kdir::new().run(&twice).get_output().stderr.clone();
            let said = String::from_utf8(output).unwrap();
            assert!(!said.contains("multiple times"), "{twice:?}: {said}");
        }
    }
}

#[test]
fn a_number_with_a_minus_is_the_value_of_its_option() {
    let kdir = Kdir::with_topic("app", &["--retention", "-1", "--retention-bytes", "-1"]);
    kdir.produce("app", &["-k", "-5", "--timestamp", "-1"], "v0\nv1\n");
    assert_eq!(kdir.text(&["consume", "app", "--from-offset", "-1", "-f", "%k %s\\n"]), "-5 v1\n");
    assert_eq!(kdir.text(&["consume", "app", "--to-offset", "-1"]), "v0\n");
    assert_eq!(kdir.text(&["consume", "app", "--key", "-5", "--grep", "0"]), "v0\n");
    assert_eq!(kdir.text(&["offsets", "app", "--at", "-1", "-o", "tsv"]), "app\t0\t2\t\n");
    assert_eq!(kdir.text(&["offsets", "app", "--at", "-2", "-o", "tsv"]), "app\t0\t0\t\n");
    kdir.run(&["consume", "app", "-n", "-1"])
        .code(2)
        .stdout("")
        .stderr("kdir: --max-records: -1 is negative: give a whole number\n");
    kdir.run(&["consume", "app", "-p", "-1"]).code(1).stdout("").stderr(contains("has no partition -1"));
    for option in ["--since", "--until"] {
        kdir.run(&["consume", "app", option, "-2x"])
            .code(2)
            .stdout("")
            .stderr(starts_with(format!("kdir: {option}: invalid time \"-2x\"")));
    }
    kdir.run(&["create", "x", "-P", "-1"])
        .code(2)
        .stdout("")
        .stderr("kdir: --partitions: \"-1\" is not a number of partitions: use 1 to 100000\n");
}

#[test]
fn a_negative_amount_is_named_as_what_is_wrong_with_the_value() {
    let kdir = Kdir::with_topic("app", &[]);
    for (words, message) in [
        (&["produce", "app", "--linger", "-1s"][..], "--linger: \"-1s\" is negative: expected numbers with units"),
        (&["produce", "app", "--linger=-1s"], "--linger: \"-1s\" is negative: "),
        (&["produce", "app", "--linger", "-.5s"], "--linger: \"-.5s\" is negative: "),
        (&["produce", "app", "--batch-size", "-5KiB"], "--batch-size: \"-5KiB\" is negative: use bytes"),
        (&["produce", "app", "--batch-size", "-1"], "--batch-size: \"-1\" is negative: use bytes"),
        (
            &["produce", "app", "--sync", "-1s"],
            "--sync: expected always, end, never or a duration: \"-1s\" is negative",
        ),
        (&["produce", "app", "--rate", "-5MiB"], "--rate: -5MiB is negative: expected a number of records"),
        (&["produce", "app", "--rate", "-5"], "--rate: -5 is negative: expected a number of records"),
        (&["create", "x", "--retention", "-7d"], "--retention: \"-7d\" is negative: "),
        (&["create", "x", "--retention-bytes", "-5MiB"], "--retention-bytes: \"-5MiB\" is negative: "),
        (&["alter", "app", "--retention-bytes", "-2"], "--retention-bytes: \"-2\" is negative: "),
        (&["retention", "app", "--retention", "-7d"], "--retention: \"-7d\" is negative: "),
        (&["consume", "app", "-F", "--idle-timeout", "-5s"], "--idle-timeout: \"-5s\" is negative: "),
        (&["consume", "app", "--speed", "-2x"], "--speed: -2x is negative: expected a number above 0"),
        (&["consume", "app", "--max-records", "-1"], "--max-records: -1 is negative"),
        (&["consume", "app", "-n", "-1k"], "--max-records: -1k is negative"),
        (&["consume", "app", "--ack=-1"], "--ack: -1 is negative: expected the number of a descriptor"),
        (&["consume", "app", "-F", "-5s"], "consume has no option -5"),
        (&["consume", "app", "-5s"], "consume has no option -5"),
    ] {
        kdir.run(words).code(2).stdout("").stderr(starts_with(format!("kdir: {message}")));
    }
    assert_eq!(kdir.text(&["list", "-o", "tsv"]).lines().count(), 1, "no topic was made");
}

#[test]
fn contradictions_are_refused_by_name() {
    let kdir = Kdir::with_topic("app", &[]);
    for (args, message) in [
        (
            &["create", "x", "--retention", "1s", "-c", "retention.ms=5"][..],
            "--retention cannot be used with --config retention.ms: both set retention.ms",
        ),
        (
            &["create", "x", "--retention-bytes", "5", "-c", "retention.bytes=5"],
            "--retention-bytes cannot be used with --config retention.bytes: both set retention.bytes",
        ),
        (
            &["create", "x", "-c", "retention.ms=5", "-c", "retention.ms=6"],
            "--config retention.ms is given twice, as 5 and as 6",
        ),
        (
            &["alter", "app", "--unset", "retention.ms", "-c", "retention.ms=5"],
            "--unset retention.ms cannot be used with --config retention.ms",
        ),
        (&["list", "-q", "-v"], "--quiet cannot be used with --verbose"),
    ] {
        kdir.run(args).code(2).stdout("").stderr(format!("kdir: {message}\n"));
    }
    kdir.run(&["-q", "create", "x", "-c", "retention.ms=5", "-c", "retention.ms=5"]).code(0).stderr("");
}

#[test]
fn help_of_a_command_is_asked_for_in_either_way() {
    let kdir = Kdir::new();
    let help = kdir.text(&["consume", "--help"]);
    assert!(help.starts_with("Print records\n"), "{help}");
    assert_eq!(kdir.text(&["help", "consume"]), help);
    assert_eq!(kdir.text(&["help"]), kdir.text(&["--help"]));
    kdir.run(&["help", "nope"]).code(2).stdout("").stderr(starts_with("kdir: there is no command nope\n"));
}

#[test]
fn words_of_other_programs_work_or_have_a_pointed_hint() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "v0\n");
    assert_eq!(kdir.text(&["ls"]), kdir.text(&["list"]));
    assert_eq!(kdir.text(&["cat", "app"]), "v0\n");
    for (args, hint) in [
        (&["consume", "-t", "app"][..], "name the topic without an option: `kdir consume TOPIC`"),
        (&["describe", "--topic=app"], "name the topic without an option: `kdir describe TOPIC`"),
        (&["consume", "app", "--from-beginning"], "consume begins at the log start"),
        (&["consume", "app", "--consumer-group", "g"], "use -g GROUP"),
        (&["consume", "app", "--offset", "3"], "--from-offset"),
        (&["consume", "app", "--limit", "3"], "-n N"),
        (&["consume", "app", "-c", "3"], "-n N"),
        (&["list", "--json"], "use -o json"),
        (&["delete", "app", "--force"], "--yes"),
        (&["consume", "app", "-b", "localhost:9092"], "connects to no broker"),
        (&["produce", "app", "--bootstrap-server", "localhost:9092"], "connects to no broker"),
        (&["-C", "-t", "app"], "`kdir consume TOPIC`"),
        (&["-b", "localhost:9092", "-L"], "connects to no broker"),
        (&["rm", "app"], "`kdir delete TOPIC`"),
        (&["create", "x", "--replication-factor", "1"], "kdir keeps one copy"),
        (&["offsets", "app", "--time", "-1"], "--at"),
        (&["consume", "app", "--tial", "3"], "did you mean --tail?"),
        (&["consme", "app"], "did you mean `kdir consume`?"),
        (&["consume", "app", "-f"], "use -F"),
        (&["consume", "app", "--no-such"], "`kdir help consume` lists what it takes"),
    ] {
        let run = kdir.run(args).code(2).stdout("");
        let said = String::from_utf8(run.get_output().stderr.clone()).unwrap();
        let (message, shown) = said.split_once("\nhint: ").unwrap_or_else(|| panic!("{args:?} has no hint: {said}"));
        assert!(message.starts_with("kdir: ") && !message.contains('\n'), "{args:?}: {said}");
        assert!(shown.contains(hint), "{args:?}: {said}");
    }
}

#[test]
fn a_topic_that_is_not_there_is_not_made_by_every_command() {
    let kdir = Kdir::with_topic("app", &[]);
    for args in [
        &["consume", "nope"][..],
        &["describe", "nope"],
        &["verify", "nope"],
        &["delete", "nope", "-y"],
        &["list", "nope"],
        &["alter", "nope", "-P", "2"],
        &["retention", "nope"],
        &["offsets", "nope", "--at", "latest"],
    ] {
        kdir.run(args)
            .code(1)
            .stdout("")
            .stderr(predicates::str::ends_with("\nhint: `kdir list` shows what is there\n"));
    }
    kdir.feed(&["produce", "nope"], "v\n")
        .code(1)
        .stdout("")
        .stderr(predicates::str::ends_with("\nhint: make it with `kdir create nope`, or add --create\n"));
}

/// The examples of the help of the program and of each command but `produce`, `work` and `demote`, which have tests of their own:
/// each is run in a shell as it is printed, where jq and man print what they read.
#[test]
fn the_examples_of_the_help_work() {
    let kdir = Kdir::new();
    let log_dir = kdir.temp().join(".local/share/kdir");
    let kdir = kdir.with_log_dir(log_dir);
    fs::create_dir_all(kdir.temp().join(".local/share/bash-completion/completions")).unwrap();
    let mut program = kdir::cli::command();
    let mut examples_of = |name: &str| {
        let command = if name.is_empty() { &mut program } else { program.find_subcommand_mut(name).unwrap() };
        let within = [&*command].into_iter().chain(command.get_subcommands().filter(|_| !name.is_empty()));
        let helps = within.map(|command| {
            command.get_after_long_help().unwrap_or_else(|| panic!("{command} has no example")).to_string()
        });
        let lines = helps.flat_map(|help| help.lines().map(str::to_owned).collect::<Vec<_>>());
        lines.filter_map(|line| line.strip_prefix("  ").map(str::to_owned)).collect::<Vec<_>>()
    };
    let all = [
        "",
        "create",
        "list",
        "describe",
        "alter",
        "consume",
        "get",
        "offsets",
        "groups",
        "retention",
        "compact",
        "verify",
        "repair",
        "dump",
        "export",
        "import",
        "delete-records",
        "completions",
        "man",
        "delete",
        "promote",
    ];
    assert_eq!(kdir.subcommands().len(), all.len() + 2);
    for name in all {
        for example in examples_of(name) {
            // What follows a topic without end is ended here; nothing is waited for as long as a person would.
            let ends = if example.contains("-F") && !example.contains("--idle-timeout") {
                " --idle-timeout 200ms"
            } else {
                ""
            };
            let script = format!("jq() {{ cat; }}; man() {{ cat; }}; {example}{ends}").replace("30s", "200ms");
            let output = crate::recipes::shell(&kdir, &script).output().unwrap();
            assert!(output.status.success(), "{example}: {}", String::from_utf8_lossy(&output.stderr));
            let is_silent = [
                "'2h ago' --until",
                "||",
                "repair",
                "> ",
                "import",
                "completions",
                "alter",
                "create",
                "delete ",
                "--members",
                "--records",
            ]
            .iter()
            .any(|word| example.contains(word));
            assert!(!output.stdout.is_empty() || is_silent, "{example} prints nothing");
        }
        // An example of its own has deleted the group.
        if name == "groups" {
            kdir.run(&["-q", "groups", "reset", "billing", "--topic", "orders", "--to", "0"]).code(0);
        }
        if name == "create" {
            kdir.create("app-1", &[]);
            kdir.create("orders", &["-P", "2"]);
            kdir.run(&["-q", "groups", "reset", "billing", "--topic", "orders", "--to", "0"]).code(0);
            kdir.create("users", &["-c", "cleanup.policy=compact"]);
            kdir.produce("users", &["-K", ":"], "alice:1\nbob:2\nalice:3\n");
            let lines: String = (0..3000).map(|it| format!("alice:{it}\n")).collect();
            kdir.produce("app", &["-p", "0", "-K", ":", "-H", "source=web"], lines);
            kdir.produce("app-1", &[], "v\n");
            kdir.produce("app", &["-p", "1"], "exact text\nERROR\n".repeat(1300));
        }
    }
    kdir.run(&["list", "app"]).code(1);
}
