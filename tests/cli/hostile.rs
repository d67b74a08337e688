//! Directories that were not made by friends: links, foreign names, files in the place of folders, and permissions.

use crate::support::{Kdir, json_lines};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, starts_with};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

#[test]
fn foreign_names_in_a_log_dir_are_left_alone_and_hide_nothing() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "one\n");
    for file in ["notes.json", "app.json.bak", "x.deleted", ".hidden", "-1", "a b", "app-0.log", "\u{1f}\u{202e}name"] {
        fs::write(kdir.path(file), "not a topic\n").unwrap();
    }
    fs::write(kdir.path("app-0/00000000000000000007.index"), "an index without a log").unwrap();
    fs::write(kdir.path("app-0/cut-x"), "x").unwrap();
    fs::create_dir(kdir.path("app-0/folder.log")).unwrap();
    let before = kdir.contents();
    assert_eq!(kdir.values("app"), "one\n");
    kdir.run(&["list", "-o", "tsv"]).code(0).stdout("app\t1\t1\t71\n").stderr("");
    kdir.run(&["describe", "-o", "tsv"]).code(0).stderr("");
    kdir.run(&["verify", "-q"]).code(0).stdout("").stderr("");
    kdir.run(&["repair", "-q"]).code(0).stdout("").stderr("");
    kdir.run(&["retention", "-q"]).code(0).stdout("").stderr("");
    assert_eq!(kdir.contents(), before);
    kdir.produce("app", &[], "two\n");
    kdir.run(&["delete", "app", "-y", "-q"]).code(1);
    assert_eq!(kdir.values("app"), "one\ntwo\n");
    fs::remove_dir(kdir.path("app-0/folder.log")).unwrap();
    fs::remove_file(kdir.path("app-0/cut-x")).unwrap();
    kdir.run(&["delete", "app", "-y", "-q"]).code(0);
    assert!(kdir.path("notes.json").exists() && kdir.path("app.json.bak").exists() && kdir.path("x.deleted").exists());
}

#[test]
fn a_name_cannot_leave_the_log_dir() {
    let kdir = Kdir::with_topic("app", &[]);
    for name in ["..", ".", "../x", "a/b", "/etc/passwd", "", "a\0b", "a\nb", "ключ"] {
        let Ok(run) = std::panic::catch_unwind(|| kdir.command(&["create", name]).output()) else { continue };
        let Ok(run) = run else { continue };
        assert_eq!((run.status.code(), run.stdout.len()), (Some(2), 0), "{name:?}");
    }
    // Nor can one in a topic file.
    let path = kdir.path("app.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"name\": \"app\"", "\"name\": \"../app\"")).unwrap();
    kdir.run(&["consume", "app"])
        .code(4)
        .stdout("")
        .stderr(starts_with(format!("kdir: {} is damaged: ", path.display())));
    fs::write(&path, text.replace("\"name\": \"app\"", "\"name\": \"other\"")).unwrap();
    kdir.run(&["delete", "app", "-y"]).code(4).stdout("");
    assert!(kdir.path("app-0").is_dir());
}

#[test]
fn a_file_in_the_place_of_a_partitions_folder_is_named() {
    let kdir = Kdir::with_topic("app", &["-P", "2"]);
    fs::remove_dir_all(kdir.path("app-1")).unwrap();
    fs::write(kdir.path("app-1"), "not a folder").unwrap();
    let named = || contains(kdir.path("app-1").display().to_string()).and(contains("Not a directory"));
    kdir.run(&["consume", "app"]).code(1).stdout("").stderr(named());
    kdir.feed(&["produce", "app", "-p", "1"], "x\n").code(1).stdout("").stderr(named());
    kdir.run(&["describe"]).code(1).stderr(named());
    let found = kdir.command(&["verify", "-o", "json"]).assert().code(4);
    assert_eq!(json_lines(&found.get_output().stdout)[0]["problem"], "unreadable");
    assert_eq!(fs::read(kdir.path("app-1")).unwrap(), b"not a folder");
}

#[test]
fn a_folder_in_the_place_of_a_file_is_named() {
    for file in ["recovery-point-offset-checkpoint", "app-0/leader-epoch-checkpoint", "app.json"] {
        let kdir = Kdir::with_topic("app", &[]);
        let _ = fs::remove_file(kdir.path(file));
        fs::create_dir(kdir.path(file)).unwrap();
        let run = kdir.command(&["produce", "app"]).write_stdin("x\n").output().unwrap();
        let stderr = String::from_utf8(run.stderr).unwrap();
        if file == "app.json" {
            // A folder is no topic file; without one, the topic's folders are a broker's.
            continue;
        }
        assert_eq!(run.status.code(), Some(1), "{file}: {stderr}");
        assert!(stderr.contains(&kdir.path(file).display().to_string()), "{file}: {stderr}");
    }
}

#[test]
fn a_partition_may_be_linked_in_and_a_link_that_leads_nowhere_is_nothing() {
    let kdir = Kdir::with_topic("app", &["-P", "2"]);
    kdir.produce("app", &[], "one\ntwo\n");
    let elsewhere = kdir.temp().join("elsewhere");
    fs::rename(kdir.path("app-1"), &elsewhere).unwrap();
    symlink(&elsewhere, kdir.path("app-1")).unwrap();
    symlink(kdir.temp().join("nowhere"), kdir.path("gone-0")).unwrap();
    symlink(kdir.log_dir(), kdir.path("app-0/loop")).unwrap();
    assert_eq!(kdir.values("app"), "one\ntwo\n");
    kdir.produce("app", &["-p", "1"], "three\n");
    kdir.run(&["verify", "-q"]).code(0).stdout("").stderr("");
    kdir.create("other", &[]);
    kdir.run(&["delete", "app", "-y", "-q"]).code(1).stderr(contains(kdir.path("app-0/loop").display().to_string()));
    fs::remove_file(kdir.path("app-0/loop")).unwrap();
    let linked = kdir.temp().join("elsewhere/00000000000000000000.log");
    let records = fs::read(&linked).unwrap();
    let link = kdir.path("app-1").display().to_string();
    // Deleting a topic removes its files, and of a folder that is linked in only the link.
    kdir.run(&["delete", "app", "-y"]).code(0).stdout("").stderr(
        contains("was a symbolic link: it was removed, the folder that it led to was not").and(contains(&link)),
    );
    assert!(!records.is_empty());
    assert_eq!(fs::read(&linked).unwrap(), records);
    let left: Vec<String> = kdir.entries("").into_iter().filter(|name| name.contains("app")).collect();
    assert_eq!(left, Vec::<String>::new());
    assert!(kdir.path("other-0").is_dir());
}

#[test]
fn a_log_that_is_a_pipe_or_a_device_does_not_hang() {
    let kdir = Kdir::with_topic("app", &[]);
    let log = kdir.segment("app-0", 0, "log");
    fs::remove_file(&log).unwrap();
    symlink("/dev/zero", &log).unwrap();
    kdir.run(&["consume", "app"]).stdout("");
    kdir.run(&["verify", "-q"]).stdout("");
}

#[test]
fn a_pipe_in_the_place_of_a_topic_file_is_named_and_does_not_hang() {
    let kdir = Kdir::with_topic("app", &[]);
    let pipe = kdir.path("x.json");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let mut list = kdir.command(&["list", "-o", "tsv"]);
    list.timeout(std::time::Duration::from_secs(60))
        .assert()
        .code(1)
        .stdout(starts_with("app\t1\t"))
        .stderr(format!("kdir: cannot read {}: it is not a regular file\n", pipe.display()));
}

#[test]
fn a_link_in_the_place_of_a_temporary_file_is_not_written_through() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "one\n");
    let victim = kdir.file("victim", "somebody's own\n");
    let cursor = kdir.temp().join("cursor");
    symlink(&victim, kdir.temp().join("cursor.tmp")).unwrap();
    symlink(&victim, kdir.path("log-start-offset-checkpoint.tmp")).unwrap();
    kdir.run(&["consume", "app", "--cursor-file", cursor.to_str().unwrap()]).code(0).stdout("one\n").stderr("");
    kdir.run(&["-q", "delete-records", "--yes", "app", "--before-offset", "0:1"]).code(0).stderr("");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "somebody's own\n");
    assert!(fs::symlink_metadata(&cursor).unwrap().is_file());
}

#[test]
fn files_have_the_permissions_that_the_umask_leaves_and_are_never_writable_by_all() {
    for (umask, file, folder) in [("022", 0o644, 0o755), ("077", 0o600, 0o700), ("000", 0o664, 0o775)] {
        let kdir = Kdir::new();
        let line = format!(
            "umask {umask}; k={}; $k -q create app -P 2 -c segment.bytes=100 && yes | head -n 9 | $k -q produce app \
             --batch-size 1 && $k -q delete-records --yes app --before-offset 0:1",
            env!("CARGO_BIN_EXE_kdir")
        );
        let mut shell = std::process::Command::new("sh");
        shell.env_clear().env("KDIR_LOG_DIR", kdir.log_dir()).env("PATH", "/usr/bin:/bin").args(["-c", &line]);
        let run = shell.output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let mut paths = vec![kdir.log_dir()];
        let mut seen = 0;
        while let Some(path) = paths.pop() {
            let metadata = fs::metadata(&path).unwrap();
            let mode = metadata.permissions().mode() & 0o777;
            assert_eq!(mode, if metadata.is_dir() { folder } else { file }, "umask {umask}: {}", path.display());
            seen += 1;
            if metadata.is_dir() {
                paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        assert!(seen > 10, "{seen}");
    }
}
