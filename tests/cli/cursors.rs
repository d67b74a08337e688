//! What `kdir consume --cursor-file` keeps: in which file, from where on, and when a record counts.

use crate::support::{Kdir, Running, next, until};
use predicates::str::{contains, starts_with};
use rustix::process::{Pid, Signal};
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

pub(crate) fn numbered(count: u64) -> Kdir {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], (1..=count).map(|number| format!("{number}\n")).collect::<String>());
    kdir
}

pub(crate) fn consume(kdir: &Kdir, file: &Path, args: &[&str]) -> String {
    kdir.text(&[&["consume", "app", "--cursor-file", file.to_str().unwrap()], args].concat())
}

/// The offset that a cursor file has for the first partition of the topic.
pub(crate) fn position(file: &Path) -> u64 {
    let text = fs::read_to_string(file).unwrap();
    let row = text.lines().find_map(|line| line.strip_prefix("app 0 ")).expect("it has the partition");
    row.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_link_to_a_cursor_file_is_followed() {
    let kdir = numbered(3);
    let (link, target) = (kdir.temp().join("link"), kdir.temp().join("there/cursor"));
    fs::create_dir(kdir.temp().join("there")).unwrap();
    symlink("there/cursor", &link).unwrap();
    assert_eq!(consume(&kdir, &link, &["-n", "2"]), "1\n2\n");
    assert!(link.is_symlink());
    assert_eq!(position(&target), 2);
    assert_eq!(consume(&kdir, &target, &[]), "3\n");
    assert_eq!(fs::read_dir(kdir.temp().join("there")).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn files_beside_a_cursor_file_stay_as_they_are() {
    let kdir = numbered(3);
    let file = kdir.temp().join("cursor");
    let (other, secret) = (kdir.temp().join("cursor.tmp"), kdir.temp().join("secret"));
    fs::write(&other, "mine").unwrap();
    fs::write(&secret, "secret").unwrap();
    symlink(&secret, kdir.temp().join(".cursor.kdir.tmp")).unwrap();
    assert_eq!(consume(&kdir, &file, &[]), "1\n2\n3\n");
    assert_eq!(fs::read_to_string(&other).unwrap(), "mine");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
    assert_eq!(position(&file), 3);
}

#[test]
fn a_cursor_file_that_no_other_can_take_the_place_of_is_written_in_place() {
    let kdir = numbered(12);
    // A name to which nothing can be added.
    let file = kdir.temp().join("c".repeat(255));
    assert_eq!(consume(&kdir, &file, &["-n", "2"]), "1\n2\n");
    let inode = fs::metadata(&file).unwrap().ino();
    assert_eq!(consume(&kdir, &file, &["-n", "9"]).lines().count(), 9);
    assert_eq!(position(&file), 11);
    assert_eq!(consume(&kdir, &file, &[]), "12\n");
    assert_eq!(fs::metadata(&file).unwrap().ino(), inode);
}

#[test]
fn a_cursor_file_that_cannot_be_written_is_an_error_before_the_first_record() {
    let kdir = numbered(3);
    let file = kdir.temp().join("nowhere/cursor");
    kdir.run(&["consume", "app", "--cursor-file", file.to_str().unwrap()])
        .code(1)
        .stdout("")
        .stderr(starts_with(format!("kdir: cannot open {}: No such file", file.display())));
}

#[test]
fn a_tail_is_where_a_cursor_begins() {
    let kdir = Kdir::with_topic("app", &["-P", "2"]);
    for partition in ["0", "1"] {
        for number in 1..=5 {
            let at = format!("@{number}");
            kdir.produce("app", &["-p", partition, "--timestamp", &at], format!("{partition} {number}\n"));
        }
    }
    let file = kdir.temp().join("cursor");
    // Nothing is taken, and yet the next run knows where the first began.
    assert_eq!(piped(&kdir, "consume app --tail 3", "true"), "");
    kdir.produce("app", &["-p", "0", "--timestamp", "@6"], "0 6\n");
    assert_eq!(consume(&kdir, &file, &["--tail", "3"]), "1 4\n0 5\n1 5\n0 6\n");
    kdir.produce("app", &["-p", "1"], (7..=20).map(|number| format!("1 {number}\n")).collect::<String>());
    assert_eq!(consume(&kdir, &file, &["--tail", "3"]).lines().count(), 14, "it goes on at the positions");
}

/// What `reader` prints of the output of `consume`, with the position in the file `cursor`.
fn piped(kdir: &Kdir, consume: &str, reader: &str) -> String {
    let (program, file) = (env!("CARGO_BIN_EXE_kdir"), kdir.temp().join("cursor"));
    let script = format!("{program} {consume} --cursor-file {} | {{ {reader}; }}", file.display());
    let mut shell = Command::new("/bin/sh");
    let output = shell.args(["-c", &script]).env("KDIR_LOG_DIR", kdir.log_dir()).env("TZ", "UTC").output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn readers_that_buffer_and_go_early_see_again_what_they_have_not_dealt_with() {
    let kdir = numbered(20_000);
    let readers = [
        ("python3 -c 'import sys; [print(next(sys.stdin), end=\"\") for it in range(3)]'", 3),
        ("jq -n '[limit(4; inputs)]'", 4),
        ("head -n 1", 1),
        ("sed 1q", 1),
        ("grep -m 1 -x 500", 500),
    ];
    for (reader, dealt_with) in readers {
        let _ = fs::remove_file(kdir.temp().join("cursor"));
        piped(&kdir, "consume app", reader);
        let position = position(&kdir.temp().join("cursor"));
        assert!(
            position <= dealt_with,
            "{reader}: {dealt_with} records were dealt with, and the position is {position}"
        );
    }
}

#[test]
fn with_commit_taken_a_position_passes_what_was_taken_and_no_more() {
    let kdir = numbered(200_000);
    let file = kdir.temp().join("cursor");
    assert_eq!(piped(&kdir, "consume app --commit taken", "wc -l").trim(), "200000");
    assert_eq!(position(&file), 200_000);
    fs::remove_file(&file).unwrap();
    piped(&kdir, "consume app --commit taken", "sleep 0.3");
    assert_eq!(position(&file), 0, "nothing was taken");
    // A follower's last record counts as well.
    fs::remove_file(&file).unwrap();
    let args =
        ["consume", "app", "-F", "--from-offset", "-2", "--commit", "taken", "--cursor-file", file.to_str().unwrap()];
    let mut follower = Running::start(kdir.process(&args));
    let lines = follower.lines();
    assert_eq!([next(&lines), next(&lines)], ["199999", "200000"]);
    until("the position is kept", || position(&file) == 200_000);
    follower.signal(Signal::TERM);
    assert_eq!(follower.wait().0, Some(143));
}

/// A run that is told on its stdin what is done.
fn acknowledged(kdir: &Kdir, args: &[&str]) -> Running {
    let file = kdir.temp().join("cursor");
    let mut command =
        kdir.process(&[&["consume", "app", "--ack", "--cursor-file", file.to_str().unwrap()], args].concat());
    command.stdin(Stdio::piped());
    Running::start(command)
}

#[test]
fn what_is_acknowledged_in_order_counts_and_nothing_else() {
    let kdir = numbered(5);
    let mut consumer = acknowledged(&kdir, &[]);
    let lines = consumer.lines();
    (1..=5).for_each(|number| assert_eq!(next(&lines), number.to_string()));
    consumer.write("ok\n\nok");
    let (code, _, stderr) = consumer.end();
    assert_eq!(
        (code, &*stderr),
        (Some(0), "warning: 2 records were not acknowledged: the next run prints what was not\n")
    );
    assert_eq!(position(&kdir.temp().join("cursor")), 3);
    // The end of stdout comes before that of the acknowledgements, for a reader that writes them when it ends.
    let mut consumer = acknowledged(&kdir, &[]);
    let lines = consumer.lines();
    assert_eq!([next(&lines), next(&lines)], ["4", "5"]);
    assert!(lines.recv().is_err(), "stdout has ended");
    consumer.write("ok\nok\n");
    assert_eq!(consumer.wait(), (Some(0), String::new(), String::new()));
    assert_eq!(position(&kdir.temp().join("cursor")), 5);
}

#[test]
fn a_record_that_is_acknowledged_out_of_order_waits_for_those_before_it() {
    let kdir = numbered(5);
    let file = kdir.temp().join("cursor");
    for (acks, expected) in [("0=1\n0=0\n0=3\n", 2), ("0=3\n0=4\n", 2), ("0:2\n", 3), ("0:4\n0:4\n0:3\n", 5)] {
        let begin = if file.exists() { position(&file) } else { 0 };
        let mut consumer = acknowledged(&kdir, &[]);
        let lines = consumer.lines();
        (begin..5).for_each(|_| drop(next(&lines)));
        consumer.write(acks);
        assert_eq!(consumer.end().0, Some(0));
        assert_eq!(position(&file), expected, "{acks:?}");
    }
}

#[test]
fn an_acknowledgement_of_what_was_not_printed_is_an_error_and_counts_for_nothing() {
    let kdir = numbered(5);
    for (acks, what) in [
        ("ok\n0:2\n", "line 2 of the acknowledgements, \"0:2\": the first line has another form"),
        ("0:0\n0:3\n", "line 2 of the acknowledgements, \"0:3\": no record with that offset was printed"),
        ("0=0\n1=0\n", "line 2 of the acknowledgements, \"1=0\": no such partition is read"),
        (
            "ok\ndone\n",
            "line 2 of the acknowledgements, \"done\": it is not `ok`, PARTITION:OFFSET or PARTITION=OFFSET",
        ),
    ] {
        let _ = fs::remove_file(kdir.temp().join("cursor"));
        let mut consumer = acknowledged(&kdir, &["--max-in-flight", "3", "-F"]);
        let lines = consumer.lines();
        (1..=3).for_each(|number| assert_eq!(next(&lines), number.to_string()));
        consumer.write(acks);
        let (code, _, stderr) = consumer.end();
        assert_eq!(code, Some(1), "{acks:?}");
        assert!(stderr.contains(what), "{stderr}");
        assert_eq!(position(&kdir.temp().join("cursor")), 1, "{acks:?}");
    }
}

#[test]
fn no_more_records_are_printed_than_may_be_unacknowledged() {
    let kdir = numbered(5);
    let mut consumer = acknowledged(&kdir, &["--max-in-flight", "2", "-F"]);
    let lines = consumer.lines();
    assert_eq!([next(&lines), next(&lines)], ["1", "2"]);
    assert!(lines.recv_timeout(Duration::from_millis(300)).is_err());
    for number in 3..=5 {
        consumer.write("ok\n");
        assert_eq!(next(&lines), number.to_string());
    }
    consumer.write("ok\nok\n");
    until("all is kept", || position(&kdir.temp().join("cursor")) == 5);
    consumer.signal(Signal::TERM);
    assert_eq!(consumer.wait(), (Some(143), String::new(), String::new()));
}

#[test]
fn a_reader_that_waits_to_be_rid_of_its_acknowledgements_is_not_waited_for() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "123456789\n".repeat(60_000));
    // awk reads no more while the pipe that it writes to is full, and in one write there may be more records than that holds
    // acknowledgements.
    let script = "mkfifo acks; \"$KDIR\" consume app --ack --max-in-flight 65535 --cursor-file cursor <acks | \
                  (sleep 1; exec awk '{ print \"0:\" NR - 1 }') >acks";
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).env("KDIR", env!("CARGO_BIN_EXE_kdir")).env("KDIR_LOG_DIR", kdir.log_dir());
    command.current_dir(kdir.temp()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut pipeline = Running::start(command);
    assert!(pipeline.status().success());
    assert_eq!(position(&kdir.temp().join("cursor")), 60_000);
}

#[test]
fn acknowledgements_need_a_cursor_file_and_no_other_rule() {
    let kdir = numbered(1);
    let file = kdir.temp().join("cursor");
    let file = file.to_str().unwrap();
    kdir.run(&["consume", "app", "--ack"]).code(2).stderr(contains("--cursor-file"));
    kdir.run(&["consume", "app", "--commit", "taken"]).code(2).stderr(contains("--cursor-file"));
    kdir.run(&["consume", "app", "--cursor-file", file, "--ack", "--commit", "taken"])
        .code(2)
        .stderr(contains("--commit"));
    kdir.run(&["consume", "app", "--cursor-file", file, "--ack=1"])
        .code(2)
        .stderr(contains("expected 0, or 3 or more"));
    kdir.run(&["consume", "app", "--cursor-file", file, "--ack=77"])
        .code(1)
        .stdout("")
        .stderr(starts_with("kdir: --ack=77: the descriptor cannot be read"));
}

#[test]
fn where_to_begin_is_asked_in_the_first_run_and_what_is_new_later_is_read_from_its_start() {
    let kdir = numbered(5);
    let file = kdir.temp().join("cursor");
    assert_eq!(consume(&kdir, &file, &["--from-offset", "latest"]), "");
    let first = fs::read(&file).unwrap();
    kdir.run(&["-q", "alter", "app", "--partitions", "2"]).code(0);
    kdir.produce("app", &["-p", "1"], "100\n101\n");
    for from in ["latest", "-1", "0:5,1:2", "1"] {
        fs::write(&file, &first).unwrap();
        assert_eq!(consume(&kdir, &file, &["--from-offset", from]), "100\n101\n", "{from}");
    }
    fs::write(&file, &first).unwrap();
    let range = ["--from-offset", "latest", "--to-offset", "0:5,1:1"];
    assert_eq!(consume(&kdir, &file, &range), "100\n", "the range is not empty");
    kdir.create("app-2", &[]);
    kdir.produce("app-2", &[], "200\n");
    let pattern = ["consume", "app*", "--cursor-file", file.to_str().unwrap(), "--from-offset", "latest"];
    assert_eq!(kdir.text(&pattern), "101\n200\n");
    kdir.run(&["-q", "delete", "app", "--yes"]).code(0);
    kdir.create("app", &[]);
    kdir.produce("app", &[], "300\n");
    kdir.run(&pattern).code(0).stdout("300\n").stderr(contains("ignoring the position of app-0"));
}

#[test]
fn with_commit_taken_a_position_passes_nothing_that_is_on_its_way_when_a_signal_comes() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], format!("{}\n", "x".repeat(999)).repeat(8000));
    let file = kdir.temp().join("cursor");
    for round in 0..12 {
        let _ = fs::remove_file(&file);
        let mut args = vec!["consume", "app", "--commit", "taken", "--cursor-file", file.to_str().unwrap()];
        if round % 2 == 1 {
            args.extend(["--commit-every", "0s"]);
        }
        let mut consumer = kdir.process(&args).spawn().unwrap();
        let mut output = consumer.stdout.take().unwrap();
        let (mut bytes, mut taken) = (vec![0; 64 << 10], 0);
        for _ in 0..20 + round {
            taken += output.read(&mut bytes).unwrap();
            std::thread::sleep(Duration::from_millis(3));
        }
        rustix::process::kill_process(Pid::from_child(&consumer), Signal::TERM).unwrap();
        while consumer.try_wait().unwrap().is_none() {
            taken += output.read(&mut bytes[..4096]).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
        let passed = position(&file);
        assert!(passed <= taken as u64 / 1000, "round {round}: {taken} bytes were taken, and {passed} records passed");
    }
}

#[test]
fn a_position_that_cannot_be_kept_is_an_error_where_the_reader_has_gone_as_well() {
    let kdir = numbered(1000);
    let folder = kdir.temp().join("there");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("cursor");
    let mut consumer = kdir.process(&["consume", "app", "--cursor-file", file.to_str().unwrap()]).spawn().unwrap();
    let mut output = consumer.stdout.take().unwrap();
    let mut chunk = [0; 2];
    output.read_exact(&mut chunk).unwrap();
    assert_eq!(&chunk, b"1\n");
    fs::remove_dir_all(&folder).unwrap();
    // By now the second chunk is there, and looked at only now and then. That it is begun is what is to be kept.
    std::thread::sleep(Duration::from_millis(300));
    output.read_exact(&mut chunk[..1]).unwrap();
    drop(output);
    let output = consumer.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("cursor"), "{stderr}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn empty_lines_that_a_kill_leaves_after_the_positions_are_passed_over() {
    let kdir = numbered(12);
    // A name to which nothing can be added, so it is written in place.
    let file = kdir.temp().join("c".repeat(255));
    assert_eq!(consume(&kdir, &file, &["-n", "2"]), "1\n2\n");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}\n\n\n")).unwrap();
    assert_eq!(consume(&kdir, &file, &["-n", "1"]), "3\n");
    assert_eq!(fs::read_to_string(&file).unwrap(), text.replace("app 0 2 ", "app 0 3 "));
    fs::write(&file, "0\n1\napp 0 11\n\n").unwrap();
    assert_eq!(consume(&kdir, &file, &[]), "12\n");
    fs::write(&file, "\n\n").unwrap();
    kdir.run(&["consume", "app", "--cursor-file", file.to_str().unwrap()])
        .code(1)
        .stderr(contains("keeps no positions"));
}

#[test]
fn a_file_of_kafkas_is_never_taken_for_a_cursor_file() {
    let kdir = Kdir::with_topic("app", &["-c", "segment.bytes=100"]);
    kdir.produce("app", &["--batch-size", "1"], "1\n2\n3\n4\n");
    let link = kdir.temp().join("link");
    let checkpoint = kdir.path("recovery-point-offset-checkpoint");
    symlink(&checkpoint, &link).unwrap();
    let before = kdir.contents();
    for file in [checkpoint, kdir.path(".lock"), kdir.path("cleaner-offset-checkpoint"), link] {
        kdir.run(&["consume", "app", "--cursor-file", file.to_str().unwrap()])
            .code(2)
            .stdout("")
            .stderr(contains("has the name of one of Kafka's own files: name another --cursor-file"));
    }
    assert_eq!(kdir.contents(), before);
}

#[test]
fn acknowledgements_on_a_closed_descriptor_are_an_error() {
    let kdir = numbered(3);
    let args = ["consume", "app", "--cursor-file", "cursor"];
    let ended = |ack: &str, script| {
        let mut command = kdir.process_of_script(script, &[&args[..], &[ack]].concat());
        command.current_dir(kdir.temp());
        Running::start(command).wait()
    };
    for number in 3..10 {
        let ack = format!("--ack={number}");
        let (code, stdout, stderr) = ended(&ack, "exec 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-; exec \"$@\"");
        assert_eq!((code, &*stdout), (Some(1), ""), "{stderr}");
        assert!(stderr.starts_with(&format!("kdir: {ack}: the descriptor cannot be read: ")), "{stderr}");
        assert!(stderr.contains("No such file"), "{stderr}");
    }
    let (code, stdout, stderr) = ended("--ack", "exec \"$@\" <&-");
    assert_eq!((code, &*stdout), (Some(1), ""), "{stderr}");
    assert!(stderr.starts_with("kdir: cannot read stdin"), "{stderr}");
    assert!(!kdir.temp().join("cursor").exists());
}

#[test]
fn a_signal_ends_a_run_whose_reader_takes_nothing_of_a_large_record() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "x".repeat(900_000) + "\n");
    let file = kdir.temp().join("cursor");
    let follower = Running::start(kdir.process(&["consume", "app", "-F", "--cursor-file", file.to_str().unwrap()]));
    // Its first position is kept before the record is written.
    until("the run has begun", || fs::metadata(&file).is_ok_and(|file| file.len() > 0));
    std::thread::sleep(Duration::from_millis(100));
    follower.signal(Signal::TERM);
    assert_eq!(follower.wait().0, Some(143));
    assert_eq!(position(&file), 0);
}

#[test]
fn a_reader_that_acknowledges_gets_whole_records_also_when_a_signal_comes() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], format!("{}\n", "x".repeat(1000)).repeat(900));
    let mut consumer = acknowledged(&kdir, &["--max-in-flight", "5000"]);
    until("the run has begun", || fs::metadata(kdir.temp().join("cursor")).is_ok_and(|file| file.len() > 0));
    // The pipe is full by then, and its end is in the middle of a record.
    std::thread::sleep(Duration::from_millis(200));
    consumer.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(100));
    let lines: Vec<String> = consumer.lines().iter().collect();
    assert!(!lines.is_empty() && lines.len() < 900, "{} records", lines.len());
    assert!(lines.iter().all(|line| line.len() == 1000), "{}", lines.last().unwrap().len());
    consumer.write("ok\n".repeat(lines.len()));
    assert_eq!(consumer.end().0, Some(143));
    assert_eq!(position(&kdir.temp().join("cursor")), lines.len() as u64);
}

#[test]
fn an_acknowledgement_that_a_dying_reader_has_cut_counts_for_nothing() {
    let kdir = numbered(20);
    let mut consumer = acknowledged(&kdir, &[]);
    let lines = consumer.lines();
    (0..20).for_each(|_| drop(next(&lines)));
    // It was to be 0=17.
    consumer.write("0=0\n0=2\n0=3\n0=15\n0=1");
    assert_eq!(consumer.end().0, Some(0));
    assert_eq!(position(&kdir.temp().join("cursor")), 1);
}
