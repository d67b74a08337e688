//! A broker takes over the partition folders that the program wrote.

use crate::broker::{Broker, Kafka};
use crate::histories::{History, files};
use crate::support::Kdir;
use std::collections::BTreeMap;
use std::fs;

/// How the broker takes over the folders.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// Without the mark of a clean shutdown: it reads every batch and makes the indexes anew.
    Checked,
    /// With the mark: it believes what is there.
    Trusted,
}

/// A broker that runs on the folders that the program wrote.
pub(crate) fn started(kafka: Kafka, source: &Kdir, served: &Kdir, histories: &[History], start: Start) -> Broker {
    let mut broker = Broker::start(kafka, served);
    create_all(&broker, histories);
    broker.stop();
    hand_over(source, served, histories, start);
    broker.start_again();
    assert_eq!(broker.log().contains("Skipping recovery"), start == Start::Trusted, "{}", broker.log());
    same_indexes(source, served, histories, start);
    broker
}

/// The names of the topics.
pub(crate) fn topics(histories: &[History]) -> Vec<&str> {
    histories.iter().map(|history| history.topic).collect()
}

/// The folders of the partitions of a topic.
pub(crate) fn folders(history: &History) -> impl Iterator<Item = String> {
    (0..history.partitions).map(|partition| format!("{}-{partition}", history.topic))
}

/// Creates the topics on the broker, with the configurations that matter to what a broker does with the records.
fn create_all(broker: &Broker, histories: &[History]) {
    let mut alike = BTreeMap::<(u32, Vec<&str>), Vec<&str>>::new();
    for history in histories {
        // Kafka 4 has no smaller segments; most of ours are.
        let mut configuration = vec!["retention.ms=-1", "segment.bytes=1048576"];
        if history.topic == "stamped" {
            configuration.push("message.timestamp.type=LogAppendTime");
        }
        alike.entry((history.partitions, configuration)).or_default().push(history.topic);
    }
    for ((partitions, configuration), topics) in alike {
        broker.create(&topics.join(","), partitions, &configuration);
    }
}

/// Puts the folders that the program wrote in the place of those of a stopped broker, of which the topic ids are kept.
fn hand_over(source: &Kdir, served: &Kdir, histories: &[History], start: Start) {
    for folder in histories.iter().flat_map(folders) {
        let theirs = served.path(&folder);
        // 2.8 makes none for a partition that is empty.
        let metadata = fs::read(theirs.join("partition.metadata")).ok();
        fs::remove_dir_all(&theirs).unwrap();
        fs::create_dir(&theirs).unwrap();
        for name in source.entries(&folder) {
            fs::copy(source.path(&folder).join(&name), theirs.join(&name)).unwrap();
        }
        match metadata {
            Some(metadata) => fs::write(theirs.join("partition.metadata"), metadata).unwrap(),
            None => fs::remove_file(theirs.join("partition.metadata")).unwrap(),
        }
    }
    let is_ours = |row: &String| histories.iter().any(|history| row.split(' ').next() == Some(history.topic));
    if start == Start::Checked {
        fs::remove_file(served.path(".kafka_cleanshutdown")).unwrap();
        let mut rows = checkpoint(served, "recovery-point-offset-checkpoint");
        rows.retain(|row| !is_ours(row));
        write_checkpoint(served, "recovery-point-offset-checkpoint", &rows);
    }
    let mut rows = checkpoint(served, "log-start-offset-checkpoint");
    rows.retain(|row| !is_ours(row));
    let ours = checkpoint(source, "log-start-offset-checkpoint");
    assert!(ours.iter().any(|row| row == "deleted 0 700"), "{ours:?}");
    rows.extend(ours);
    write_checkpoint(served, "log-start-offset-checkpoint", &rows);
}

/// The rows of a checkpoint file.
fn checkpoint(kdir: &Kdir, name: &str) -> Vec<String> {
    fs::read_to_string(kdir.path(name)).unwrap().lines().skip(2).map(str::to_owned).collect()
}

fn write_checkpoint(kdir: &Kdir, name: &str, rows: &[String]) {
    let rows: String = rows.iter().map(|row| format!("{row}\n")).collect();
    fs::write(kdir.path(name), format!("0\n{}\n{rows}", rows.lines().count())).unwrap();
}

/// Whether it kept the indexes or made them anew, they are those that the program wrote.
fn same_indexes(source: &Kdir, served: &Kdir, histories: &[History], start: Start) {
    for history in histories {
        for (suffix, entry_size) in [(".index", 8), (".timeindex", 12)] {
            for path in files(source, history.topic, suffix) {
                let name = path.strip_prefix(source.log_dir()).unwrap();
                let (ours, theirs) = (fs::read(&path).unwrap(), fs::read(served.log_dir().join(name)).unwrap());
                // The file of an active segment is as large as it may become.
                let theirs: Vec<&[u8]> =
                    theirs.chunks(entry_size).take_while(|entry| entry.iter().any(|&byte| byte != 0)).collect();
                let mut ours: Vec<&[u8]> = ours.chunks(entry_size).collect();
                if start == Start::Checked && suffix == ".timeindex" {
                    // Each process that closes a log adds what it has seen to the time index, as a broker does.
                    ours.retain(|entry| theirs.contains(entry) || !["stamped", "one-by-one"].contains(&history.topic));
                }
                assert_eq!(theirs, ours, "{name:?}");
            }
        }
    }
}
