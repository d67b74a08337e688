//! Several users, images of containers, and what cron does not give.

use crate::support::{Kdir, Running, hold_as_a_broker};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, ends_with};
use rustix::process::{getegid, geteuid};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// All that is in a log dir, with itself.
fn paths(kdir: &Kdir) -> Vec<PathBuf> {
    let files = kdir.contents().into_keys().map(|name| kdir.path(&name));
    let folders = fs::read_dir(kdir.log_dir()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    files.chain(folders).chain([kdir.log_dir()]).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// Does what makes all kinds of files there are, with that umask.
fn fill(kdir: &Kdir, umask: &str) {
    for (args, stdin) in [
        (&["create", "app", "-P", "2", "-c", "segment.bytes=100"][..], ""),
        (&["produce", "app"], "one\ntwo\nthree\nfour\n"),
        (&["alter", "app", "--partitions", "3"], ""),
        (&["delete-records", "app", "--yes", "--before-offset", "0:1"], ""),
        (&["repair"], ""),
    ] {
        let script = format!("umask {umask}; exec \"$@\"");
        let mut process = Running::start(kdir.process_of_script(&script, &[&["-q"], args].concat()));
        process.write(stdin);
        let (code, _, stderr) = process.end();
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{args:?}");
    }
    kdir.assert_sound();
}

#[test]
fn what_is_made_in_a_log_dir_has_its_permissions_for_the_group_whatever_the_umask() {
    for (of_log_dir, umask, of_folders, of_files) in [
        (0o2775, "077", 0o2770, 0o660),
        (0o2775, "022", 0o2775, 0o664),
        (0o2750, "022", 0o2750, 0o640),
        (0o700, "002", 0o700, 0o600),
        (0o755, "002", 0o755, 0o644),
    ] {
        let kdir = Kdir::new();
        fs::create_dir(kdir.log_dir()).unwrap();
        fs::set_permissions(kdir.log_dir(), Permissions::from_mode(of_log_dir)).unwrap();
        fill(&kdir, umask);
        assert!(kdir.contents().len() > 20);
        for path in paths(&kdir).into_iter().filter(|path| *path != kdir.log_dir()) {
            let expected = if path.is_dir() { of_folders } else { of_files };
            assert_eq!(mode(&path), expected, "{of_log_dir:o}, umask {umask}: {} {:o}", path.display(), mode(&path));
        }
    }
}

#[test]
fn what_root_makes_in_a_users_log_dir_is_the_users_where_the_test_is_roots() {
    if !geteuid().is_root() {
        eprintln!("NOT RUN: only root can make files for another user");
        return;
    }
    let kdir = Kdir::new();
    fs::create_dir(kdir.log_dir()).unwrap();
    chown(kdir.log_dir(), Some(65534), Some(65533)).unwrap();
    fill(&kdir, "077");
    for path in paths(&kdir) {
        let facts = fs::metadata(&path).unwrap();
        assert_eq!((facts.uid(), facts.gid()), (65534, 65533), "{}", path.display());
    }
}

#[test]
fn a_lock_file_that_can_only_be_read_keeps_no_one_out() {
    let kdir = Kdir::with_topic("app", &[]);
    fs::set_permissions(kdir.path(".lock"), Permissions::from_mode(0o444)).unwrap();
    let mut producer = Running::start(kdir.process_bound_by_modes(&["-q", "produce", "app"]));
    producer.write("one\n");
    assert_eq!(producer.end(), (Some(0), String::new(), String::new()));
    // It keeps brokers out all the same, and is kept out by them.
    let _broker = hold_as_a_broker(&kdir.path(".lock"));
    let mut refused = Running::start(kdir.process_bound_by_modes(&["-q", "produce", "app"]));
    let _ = refused.try_write("one\n");
    let (code, _, stderr) = refused.end();
    assert_eq!(code, Some(1));
    assert!(stderr.contains("is in use by a running Kafka broker"), "{stderr}");
}

#[test]
fn a_denied_permission_is_told_with_the_owner_the_mode_and_who_asked() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "one\n");
    let name = |option: &str| {
        let output = std::process::Command::new("id").arg(option).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let (user, group) = (name("-un"), name("-gn"));
    let (log, folder) = (kdir.segment("app-0", 0, "log"), kdir.path("app-0"));
    for (closed, mode, args) in [
        (&log, 0o044, &["consume", "app"][..]),
        (&log, 0o444, &["produce", "app"]),
        (&folder, 0o055, &["consume", "app"]),
        (&folder, 0o055, &["produce", "app"]),
        (&folder, 0o555, &["produce", "app"]),
        (&kdir.log_dir(), 0o055, &["list"]),
        (&kdir.log_dir(), 0o555, &["create", "other"]),
        (&kdir.log_dir(), 0o655, &["consume", "app"]),
    ] {
        let before = fs::metadata(closed).unwrap();
        fs::set_permissions(closed, Permissions::from_mode(mode)).unwrap();
        let mut process = Running::start(kdir.process_bound_by_modes(&[&["-q"], args].concat()));
        let _ = process.try_write("one\n");
        let (code, stdout, stderr) = process.end();
        fs::set_permissions(closed, before.permissions()).unwrap();
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{mode:o} {args:?}: {stderr}");
        let hint = format!(
            ": Permission denied\nhint: {} is owned by {user}:{group} with mode {mode:04o}, and you are {user}, \
             in group {group}: run as {user}, or change its owner, group or mode\n",
            closed.display()
        );
        assert!(stderr.starts_with("kdir: cannot ") && stderr.ends_with(&hint), "{mode:o} {args:?}: {stderr}");
    }
    assert!(getegid().as_raw() == fs::metadata(&log).unwrap().gid());
}

#[test]
fn a_log_dir_in_the_image_of_a_container_can_be_changed() {
    let kdir = Kdir::with_topic("app", &["-P", "2"]);
    kdir.produce("app", &[], "one\ntwo\nthree\n");
    kdir.create("other", &[]);
    kdir.produce("other", &[], "four\n");
    kdir.create("brokers", &[]);
    kdir.disown("brokers");
    // The log dir is the lower layer of an overlay: a folder in it cannot be renamed.
    let script = r#"exec unshare -Urm sh -euc '
        mkdir "$HOME/upper" "$HOME/merged"
        mount -t tmpfs none "$HOME/upper"
        mkdir "$HOME/upper/files" "$HOME/upper/work"
        layers="lowerdir=$KDIR_LOG_DIR,upperdir=$HOME/upper/files,workdir=$HOME/upper/work"
        mount -t overlay none -o "$layers,userxattr" "$HOME/merged" || mount -t overlay none -o "$layers" "$HOME/merged"
        export KDIR_LOG_DIR="$HOME/merged"
        ! mv -T --no-copy "$HOME/merged/other-0" "$HOME/merged/renamed-0" 2>/dev/null
        echo five | "$1" -q produce other
        "$1" delete app brokers --yes
        "$1" create app
        echo six | "$1" -q produce app
        "$1" consume app other
        "$1" list -o tsv
        "$1" -q verify
        ls -A "$HOME/merged"' sh "$@""#;
    let done = Running::start(kdir.process_of_script(script, &[])).end();
    let expected = "four\nfive\nsix\napp\t1\t1\t71\nother\t1\t2\t144\n.lock\napp-0\napp.json\nother-0\nother.json\n\
                    recovery-point-offset-checkpoint\n";
    let told = "deleted topic app\ndeleted topic brokers\ncreated topic app with 1 partition";
    assert_eq!((done.0, done.1.as_str()), (Some(0), expected), "{}", done.2);
    assert!(done.2.starts_with(told), "{}", done.2);
}

#[test]
fn without_a_home_and_in_a_folder_that_is_gone_it_works_with_a_log_dir() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "one\n");
    let script = r#"mkdir "$HOME/gone" && cd "$HOME/gone" && rmdir "$HOME/gone" && unset HOME && exec "$@""#;
    for (args, expected) in [(&["consume", "app"][..], "one\n"), (&["-q", "create", "new"], "")] {
        let done = Running::start(kdir.process_of_script(script, args)).end();
        assert_eq!(done, (Some(0), expected.to_owned(), String::new()));
    }
    let script = "unset KDIR_LOG_DIR HOME && exec unshare -U \"$@\"";
    let (code, stdout, stderr) = Running::start(kdir.process_of_script(script, &["list"])).end();
    // The user that an empty namespace maps all to may have a home after all.
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    assert!(
        stderr.starts_with("kdir: no home directory is known: ") || stderr.contains("there is no log dir"),
        "{stderr}"
    );
}

#[test]
fn retention_of_a_log_dir_that_is_not_there_yet_is_done_and_quiet_says_nothing() {
    let kdir = Kdir::new();
    let told = format!("there is no log dir {}, so there is nothing to delete\n", kdir.log_dir().display());
    for args in [&["retention"][..], &["retention", "--dry-run"], &["retention", "app"]] {
        kdir.run(args).code(0).stdout("").stderr(told.clone());
        kdir.run(&[&["-q"], args].concat()).code(0).stdout("").stderr("");
    }
    assert!(!kdir.log_dir().exists());
    for (options, is_told) in [(&[][..], false), (&["-o", "tsv"], true), (&["--dry-run"], true)] {
        let kdir = Kdir::with_topic("app", &["--retention", "1h"]);
        kdir.produce("app", &["--timestamp", "1700000000000"], "old\n");
        let done = kdir.run(&[&["retention", "-q"], options].concat()).code(0).stderr("");
        assert_eq!(!done.get_output().stdout.is_empty(), is_told, "{options:?}");
        assert_eq!(kdir.values("app").is_empty(), !options.contains(&"--dry-run"), "{options:?}");
    }
    kdir.run(&["list"]).code(1).stdout("").stderr(contains("there is no log dir").and(ends_with("--log-dir\n")));
}
