//! Copies of a log dir, made while it is written to.

use crate::support::{Kdir, Running, next};
use std::fs;
use std::path::Path;
use std::process::Command;

/// How a backup is made of a log dir that is written to. What went while it was made is missed by the tool and by nobody
/// else: small files are replaced and marks removed all the time.
fn copy_live(from: &Path, to: &Path) {
    let output = Command::new("cp").arg("-a").arg(from).arg(to).env("LC_ALL", "C").output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() == told.is_empty(), "{}: {told}", output.status);
    assert!(told.lines().all(|line| line.ends_with("No such file or directory")), "{told}");
}

/// The same with tar, which also says that files have changed.
fn archive_live(from: &Path, to: &Path) {
    let archive = to.with_extension("tar");
    let output =
        Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(from).arg(".").env("LC_ALL", "C").output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    let is_told = |line: &str| {
        line.ends_with("file changed as we read it")
            || line.ends_with("File removed before we read it")
            || line.ends_with("No such file or directory")
            || line.ends_with("Exiting with failure status due to previous errors")
    };
    assert!(told.lines().all(is_told), "{told}");
    fs::create_dir(to).unwrap();
    assert!(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(to).status().unwrap().success());
}

#[test]
fn a_copy_made_while_producers_run_is_written_to_and_holds_all_that_was_acknowledged_before() {
    let kdir = Kdir::with_topic("app", &["-c", "segment.bytes=4000"]);
    let args = ["-q", "produce", "app", "-o", "json", "--sync", "always", "--batch-size", "200"];
    let mut producer = Running::start(kdir.process(&args));
    let lines = producer.lines();
    let (mut fed, mut acknowledged) = (0, 0);
    for round in 0..8 {
        let feed: String = (fed..fed + 300).map(|number| format!("line {number}\n")).collect();
        producer.write(&feed);
        fed += 300;
        while acknowledged < fed - 150 {
            let line: serde_json::Value = serde_json::from_str(&next(&lines)).unwrap();
            acknowledged = line["last_offset"].as_u64().unwrap() + 1;
        }
        let copy = kdir.temp().join(format!("copy {round}"));
        let make = if round % 2 == 0 { copy_live } else { archive_live };
        make(&kdir.log_dir(), &copy);
        let copied = Kdir::new().with_log_dir(copy);
        // The checkpoint files were perhaps copied after the log: what they promise of the original is no promise here.
        copied.feed(&["-q", "produce", "app"], "after\n").code(0);
        let values = copied.values("app");
        let found: Vec<&str> = values.lines().collect();
        assert!(found.len() as u64 > acknowledged, "round {round}: {} of {acknowledged}", found.len());
        for (number, line) in found[..found.len() - 1].iter().enumerate() {
            assert_eq!(*line, format!("line {number}"), "round {round}");
        }
        assert_eq!(found.last(), Some(&"after"));
    }
    assert_eq!(producer.end().0, Some(0));
}

#[test]
fn a_copy_that_ends_below_what_the_checkpoint_file_promises_is_no_corruption_and_the_original_is() {
    let kdir = Kdir::with_topic("app", &["-c", "segment.bytes=1000"]);
    for number in 0..40 {
        kdir.produce("app", &[], format!("line {number}\n"));
    }
    let copied = Kdir::new().with_log_dir(kdir.temp().join("copy"));
    assert!(Command::new("cp").arg("-a").arg(kdir.log_dir()).arg(copied.log_dir()).status().unwrap().success());
    for it in [&kdir, &copied] {
        let last = it.entries("app-0").into_iter().rfind(|name| name.ends_with(".log")).unwrap();
        fs::File::options().write(true).open(it.path(&format!("app-0/{last}"))).unwrap().set_len(0).unwrap();
    }
    kdir.feed(&["-q", "produce", "app"], "next\n").code(4);
    copied.feed(&["-q", "produce", "app"], "next\n").code(0);
    copied.assert_sound();
    assert!(copied.values("app").ends_with("\nnext\n"));
}
