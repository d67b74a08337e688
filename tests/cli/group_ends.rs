//! What keeps members out of a group, and what ends them: a reset, a deletion, a topic or partition that is gone.

use crate::group_members::{MemberRun, lags, produce, read_until, shares, topic};
use crate::support::{Running, next, until};
use predicates::str::contains;
use rustix::process::Signal;
use std::process::Stdio;
use std::time::{Duration, Instant};

#[test]
fn a_member_waits_while_members_are_kept_out() {
    let kdir = topic(1);
    produce(&kdir, 0..10);
    kdir.run(&["-q", "groups", "reset", "g", "-t", "orders", "--to", "4"]).code(0);
    // One lock on all slots, of an open file and not of a process, as `reset` takes it.
    let hold = "import fcntl, os, struct, sys, time\n\
                file = os.open(sys.argv[1], os.O_RDWR)\n\
                fcntl.fcntl(file, 37, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 1 << 17, 0))\n\
                print('held', flush=True)\n\
                time.sleep(1)\n";
    let file = kdir.path("orders-0/g.group");
    let mut command = std::process::Command::new("python3");
    command.args(["-S", "-E", "-c", hold]).arg(&file).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut holder = Running::start(command);
    assert_eq!(next(&holder.lines()), "held");
    let started = Instant::now();
    assert_eq!(kdir.text(&["consume", "orders", "-g", "g"]).lines().count(), 6);
    assert!(started.elapsed() > Duration::from_millis(700), "{:?}", started.elapsed());
    holder.status();
}

#[test]
fn a_member_ends_when_others_cannot_see_it_any_more() {
    let kdir = topic(1);
    let member = MemberRun::start(&kdir, &["-F"]);
    until("it is a member", || shares(&kdir) == [1]);
    std::fs::remove_file(kdir.path("orders-0/g.group")).unwrap();
    let (code, _, told) = member.running.end();
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("g.group was removed"), "{told}");
}

#[test]
fn a_member_ends_when_its_topic_is_deleted_and_commits_nothing_of_the_next_one() {
    let kdir = topic(2);
    produce(&kdir, 0..20);
    let mut member = MemberRun::start(&kdir, &["-F"]);
    read_until(&mut [&mut member], 0..20);
    kdir.run(&["-q", "delete", "orders", "--yes"]).code(0);
    kdir.create("orders", &["--partitions", "2"]);
    produce(&kdir, 100..120);
    let (code, _, told) = member.running.end();
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("orders was deleted"), "{told}");
    assert!(kdir.json(&["-q", "groups", "list", "-o", "json"]).is_empty());
    assert_eq!(kdir.text(&["consume", "orders", "-g", "g"]).lines().count(), 20);
}

#[test]
fn what_was_committed_of_an_earlier_topic_of_the_name_counts_for_nothing() {
    let kdir = topic(1);
    produce(&kdir, 0..20);
    kdir.run(&["-q", "consume", "orders", "-g", "g"]).code(0);
    // As rm leaves it: nobody has told the group.
    std::fs::remove_dir_all(kdir.path("orders-0")).unwrap();
    std::fs::remove_file(kdir.path("orders.json")).unwrap();
    kdir.create("orders", &[]);
    produce(&kdir, 100..130);
    let run = kdir.run(&["consume", "orders", "-g", "g"]).code(0).stderr(contains("orders-0"));
    assert_eq!(String::from_utf8_lossy(&run.get_output().stdout).lines().count(), 30);
    assert_eq!(kdir.text(&["consume", "orders", "-g", "g"]), "");
}

#[test]
fn where_partition_0_is_elsewhere_there_are_no_members() {
    let kdir = topic(2);
    produce(&kdir, 0..10);
    kdir.disown("orders");
    std::fs::remove_dir_all(kdir.path("orders-0")).unwrap();
    kdir.run(&["consume", "orders", "-g", "g"]).code(1).stderr(contains("orders-0"));
    assert_eq!(kdir.text(&["consume", "orders", "-g", "g", "--no-commit"]).lines().count(), 5);
}

#[test]
fn what_was_removed_before_a_group_has_read_it_is_told_and_the_rest_is_printed() {
    let kdir = topic(1);
    produce(&kdir, 0..20);
    kdir.run(&["-q", "consume", "orders", "-g", "g", "-n", "5"]).code(0);
    kdir.run(&["-q", "delete-records", "orders", "--before-offset", "12", "--yes"]).code(0);
    let run = kdir
        .run(&["consume", "orders", "-g", "g"])
        .code(0)
        .stderr(contains("offsets 5 to 11 of orders-0 were removed"));
    assert_eq!(String::from_utf8_lossy(&run.get_output().stdout).lines().count(), 8);
    assert_eq!(lags(&kdir), [0]);
}

#[test]
fn a_partition_that_is_not_there_cannot_be_chosen() {
    let kdir = topic(2);
    kdir.run(&["consume", "orders", "-g", "g", "-p", "2"]).code(1).stderr(contains("partition 2"));
}

#[test]
fn a_group_is_not_deleted_under_a_member_that_has_come_to_another_topic() {
    let kdir = topic(1);
    produce(&kdir, 0..10);
    kdir.create("other", &[]);
    kdir.produce("other", &[], "1\n");
    kdir.run(&["-q", "consume", "orders", "-g", "g"]).code(0);
    let mut asked =
        Running::start(kdir.process_of_script("sleep 0.1; exec script -qec \"$1 groups delete g\" /dev/null", &[]));
    std::thread::sleep(Duration::from_millis(600));
    let _member = Running::start(kdir.process(&["consume", "other", "-g", "g", "-F"]));
    until("it is a member", || kdir.json(&["-q", "groups", "describe", "g", "--members", "-o", "json"]).len() == 1);
    asked.write("y\n");
    let (code, out, told) = asked.end();
    assert_eq!(code, Some(1), "{out}{told}");
    assert!(format!("{out}{told}").contains("g has members: "), "{out}{told}");
    assert_eq!(kdir.json(&["-q", "groups", "describe", "g", "-o", "json"]).len(), 2);
}

#[test]
fn a_reset_waits_for_members_if_it_is_told_to() {
    let kdir = topic(2);
    produce(&kdir, 0..10);
    let mut member = MemberRun::start(&kdir, &["-F"]);
    read_until(&mut [&mut member], 0..10);
    let reset = ["groups", "reset", "g", "--topic", "orders", "--to", "0", "--wait", "-o", "json"];
    let mut waiting = Running::start(kdir.process(&reset));
    std::thread::sleep(Duration::from_millis(300));
    assert!(waiting.try_status().is_none());
    member.running.signal(Signal::TERM);
    member.running.status();
    let (code, rows, told) = waiting.end();
    assert_eq!((code, rows.lines().count()), (Some(0), 2), "{told}");
    assert!(told.contains(&format!("waiting for the end of {} ", member.running.id())), "{told}");
    assert_eq!(kdir.text(&["consume", "orders", "-g", "g"]).lines().count(), 10);
}

#[test]
fn a_deleted_group_leaves_no_file_and_can_be_joined_again() {
    let kdir = topic(2);
    produce(&kdir, 0..10);
    kdir.run(&["-q", "consume", "orders", "-g", "g"]).code(0);
    assert!(kdir.path("orders-0/g.group").exists());
    kdir.run(&["-q", "groups", "delete", "g", "--yes"]).code(0);
    assert!(!kdir.path("orders-0/g.group").exists());
    assert_eq!(kdir.text(&["consume", "orders", "-g", "g"]).lines().count(), 10);
}
