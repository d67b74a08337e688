//! On a terminal: widths, colour, and Ctrl-C.

use crate::support::{Kdir, Running, until};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

/// The side of a terminal that a person sits at.
pub(crate) struct Terminal(File);

impl Terminal {
    /// A terminal, and what a program has as its stdin or stdout there.
    pub(crate) fn new(columns: u16) -> (Self, File) {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let path = ptsname(&person, Vec::new()).unwrap().into_string().unwrap();
        let program = File::options().read(true).write(true).open(path).unwrap();
        tcsetwinsize(&program, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        (Self(File::from(person)), program)
    }

    pub(crate) fn type_keys(&mut self, keys: &str) {
        self.0.write_all(keys.as_bytes()).unwrap();
    }

    /// All that is printed until the program has ended.
    fn printed(mut self) -> String {
        let (mut printed, mut buffer) = (Vec::new(), [0; 4096]);
        // When nobody has the other side any more, reading is an error.
        while let Ok(count @ 1..) = self.0.read(&mut buffer) {
            printed.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8(printed).unwrap().replace('\r', "")
    }
}

/// What a command prints on a terminal of that width, with those variables and no NO_COLOR.
fn printed(kdir: &Kdir, args: &[&str], columns: u16, variables: &[(&str, &str)]) -> String {
    let (terminal, program) = Terminal::new(columns);
    let mut command = kdir.process(args);
    command.env_remove("NO_COLOR").env_remove("COLUMNS").envs(variables.iter().copied());
    command.stdin(Stdio::null()).stdout(program);
    let mut running = Running::start(command);
    assert!(running.status().success());
    terminal.printed()
}

#[test]
fn a_terminal_that_does_not_know_its_width_has_room_for_all_columns() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "one\n");
    let plain = [("TERM", "dumb")];
    for args in
        [&["list"][..], &["describe", "app"], &["offsets", "app", "--at", "earliest"], &["retention", "--dry-run"]]
    {
        let wide = printed(&kdir, args, 500, &plain);
        assert!(wide.contains("app"), "{wide}");
        assert_eq!(printed(&kdir, args, 0, &plain), wide, "{args:?}");
        assert_eq!(printed(&kdir, args, 0, &[("TERM", "dumb"), ("COLUMNS", "0")]), wide, "{args:?}");
    }
    // Where the terminal does not say it, the environment may.
    let described = printed(&kdir, &["describe", "app"], 60, &plain);
    assert_ne!(described, printed(&kdir, &["describe", "app"], 500, &plain));
    assert_eq!(printed(&kdir, &["describe", "app"], 0, &[("TERM", "dumb"), ("COLUMNS", "60")]), described);
}

#[test]
fn a_table_is_not_broken_within_words_on_a_narrow_terminal() {
    let kdir = Kdir::with_topic("app", &[]);
    let list = printed(&kdir, &["list"], 80, &[("TERM", "dumb")]);
    for columns in [1, 10, 20] {
        assert_eq!(printed(&kdir, &["list"], columns, &[("TERM", "dumb")]), list, "{columns} columns");
    }
}

#[test]
fn a_dumb_terminal_and_one_whose_user_wants_no_colour_get_none() {
    let kdir = Kdir::with_topic("app", &[]);
    for (variables, is_coloured) in [
        (&[("TERM", "xterm")][..], true),
        (&[("TERM", "dumb")], false),
        (&[("TERM", "xterm"), ("NO_COLOR", "1")], false),
        (&[("TERM", "xterm"), ("NO_COLOR", "")], true),
        (&[("TERM", "dumb"), ("CLICOLOR_FORCE", "1")], true),
    ] {
        for args in [&["list"][..], &["--help"]] {
            let printed = printed(&kdir, args, 80, variables);
            assert_eq!(printed.contains('\x1b'), is_coloured, "{args:?} {variables:?}: {printed:?}");
        }
    }
}

#[test]
fn a_loop_of_a_shell_ends_at_ctrl_c() {
    let kdir = Kdir::with_topic("app", &[]);
    for arguments in ["-q produce app", "consume -F app --cursor-file cursor", "consume -F app"] {
        let (mut terminal, program) = Terminal::new(80);
        let script = format!("while :; do '{}' {arguments}; echo again >>looped; done", env!("CARGO_BIN_EXE_kdir"));
        let mut command = Command::new("setsid");
        command.args(["--ctty", "bash", "-c", &script]).env("KDIR_LOG_DIR", kdir.log_dir()).current_dir(kdir.temp());
        command.stdin(program.try_clone().unwrap()).stdout(program).stderr(Stdio::null());
        let mut shell = Running::start(command);
        // Only once it can store what was typed does the signal find it at work.
        if arguments.contains("produce") {
            terminal.type_keys("typed\n");
            until("the line is stored", || kdir.values("app").contains("typed"));
        } else {
            let mut read = String::new();
            until("it prints", || {
                let mut buffer = [0; 256];
                let count = terminal.0.read(&mut buffer).unwrap();
                read.push_str(&String::from_utf8_lossy(&buffer[..count]));
                read.contains("typed")
            });
        }
        terminal.type_keys("\x03");
        assert_eq!(shell.status().signal(), Some(2), "{arguments}");
        assert!(!kdir.temp().join("looped").exists(), "{arguments}");
    }
}
