//! Topics read through the library, as `kdir consume` does it: how reading ends, and which positions it leaves.

use super::support::{Heard, NOW, disk_with_log_dir, open_log_dir, overwrite};
use kdir::consume::merge::Order;
use kdir::consume::{
    Commit, ConsumeError, Consumer, CursorFile, Ended, Environment, Event, Interrupt, Options, Positions,
};
use kdir::consume::{Result, Selection};
use kdir::disk::Disk;
use kdir::disk::faulty::FaultyDisk;
use kdir::disk::outlet::Outlet;
use kdir::format::batch::BatchBuilder;
use kdir::format::record::NewRecord;
use kdir::logdir::config::TopicConfig;
use kdir::logdir::{Created, LogDirs, NewTopic};
use kdir::produce::{SyncPolicy, TopicWriter};
use kdir::stream::filter::{Filter, Part, Test};
use kdir::stream::output::RecordFormat;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

const CURSOR: &str = "/d/cursor";

/// A topic of two partitions; each has these values, each in a batch of its own.
fn topic(values: &[&str]) -> FaultyDisk {
    let disk = disk_with_log_dir();
    let log_dir = open_log_dir(&disk).unwrap();
    let new = NewTopic { name: "app".parse().unwrap(), partitions: 2, config: TopicConfig::default() };
    let Created::New(topic) = log_dir.create_topic(&new).unwrap() else { panic!("it was there already") };
    let listener = Arc::new(Heard::default());
    let mut writer = TopicWriter::new(log_dir, topic, SyncPolicy::Always, listener.listener()).unwrap();
    for (partition, value) in (0..2).flat_map(|partition| values.iter().map(move |value| (partition, value))) {
        let mut builder = BatchBuilder::new(0);
        builder.push(&NewRecord { timestamp: NOW, key: None, value: Some(value.as_bytes()), headers: &[] });
        writer.append(partition, &mut [builder.finish(None, usize::MAX).unwrap()], NOW).unwrap();
    }
    writer.finish(NOW).unwrap();
    disk
}

fn options() -> Options {
    Options {
        selection: Selection { topics: vec!["app".parse().unwrap()], ..Selection::default() },
        order: Order::Partition,
        format: RecordFormat::Value { delimiter: b"\n".to_vec() },
        records_max: None,
        follow: false,
        idle_timeout: None,
        speed: None,
    }
}

/// An output that is open to the end of the program, as stdout is.
fn outlet(descriptor: impl Into<OwnedFd>) -> Outlet {
    let kept: &'static OwnedFd = Box::leak(Box::new(descriptor.into()));
    Outlet::of(kept.as_fd())
}

fn consume(
    disk: &FaultyDisk,
    options: &Options,
    (outlet, interrupt): (Outlet, Option<Interrupt<'_>>),
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Ended> {
    let file_system: Arc<dyn Disk> = Arc::new(disk.clone());
    let log_dirs = LogDirs::open(&file_system, &["/d".into()]).unwrap();
    let positions = Positions::CursorFile(CursorFile::lock(&file_system, Path::new(CURSOR))?);
    let environment = Environment { outlet, commit: Commit::Processed, commit_every: None, interrupt, clock: || NOW };
    Consumer::open(&log_dirs, options, positions, environment, tell)?.run()
}

/// What is read into a file.
fn into_a_file(disk: &FaultyDisk, options: &Options) -> String {
    let mut file = tempfile::tempfile().unwrap();
    let output = (outlet(file.try_clone().unwrap()), None);
    let ended =
        consume(disk, options, output, &mut |event| assert!(matches!(event, Event::Written { .. }), "{event:?}"));
    assert_eq!(ended.unwrap(), Ended::Complete);
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

/// The positions in the two partitions.
fn kept(disk: &FaultyDisk) -> Vec<i64> {
    let file = CursorFile::lock(&(Arc::new(disk.clone()) as Arc<dyn Disk>), Path::new(CURSOR)).unwrap();
    file.kept().unwrap().iter().map(|it| it.offset.0).collect()
}

#[test]
fn a_consumer_reads_on_where_the_last_one_ended() {
    let disk = topic(&["a", "b", "c"]);
    assert_eq!(into_a_file(&disk, &Options { records_max: Some(4), ..options() }), "a\nb\nc\na\n");
    assert_eq!(kept(&disk), [3, 1]);
    assert_eq!(into_a_file(&disk, &options()), "b\nc\n");
    assert_eq!(kept(&disk), [3, 3]);
    assert_eq!(into_a_file(&disk, &options()), "");
}

#[test]
fn of_what_a_pipes_reader_took_last_before_it_went_nothing_counts() {
    let values: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let disk = topic(&values.iter().map(String::as_str).collect::<Vec<_>>());
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    // Takes each chunk in one go, as it comes, and goes after the third.
    let reader = std::thread::spawn(move || {
        let (mut reader, mut taken) = (File::from(reader), [0; 1 << 16]);
        [(); 3].map(|()| {
            let count = reader.read(&mut taken).unwrap();
            taken[..count].iter().filter(|byte| **byte == b'\n').count() as i64
        })
    });
    let ended = consume(&disk, &options(), (outlet(writer), None), &mut |_| {});
    // It may be writing just when the reader goes.
    assert!(matches!(ended, Ok(Ended::OutputClosed) | Err(ConsumeError::Output(_))), "{ended:?}");
    let [first, second, third] = reader.join().unwrap();
    assert!(third > 0);
    assert_eq!(kept(&disk), [first + second, 0]);
}

#[test]
fn a_request_to_stop_leaves_the_position_before_what_is_in_the_pipe() {
    let disk = topic(&["a", "b", "c"]);
    let (_reader, writer) = rustix::pipe::pipe().unwrap();
    let (request, waker) = rustix::pipe::pipe().unwrap();
    rustix::io::write(&waker, b"x").unwrap();
    let interrupt = Interrupt { descriptor: request.as_fd(), has_come: || true };
    let ended = consume(&disk, &options(), (outlet(writer), Some(interrupt)), &mut |_| {});
    assert_eq!(ended.unwrap(), Ended::Stopped);
    assert_eq!(kept(&disk), [0, 0]);
}

#[test]
fn a_request_to_stop_ends_a_search_that_finds_nothing() {
    let disk = topic(&["a"; 1000]);
    let (_reader, writer) = rustix::pipe::pipe().unwrap();
    let (request, _waker) = rustix::pipe::pipe().unwrap();
    let interrupt = Interrupt { descriptor: request.as_fd(), has_come: || true };
    let filter = Filter::new(vec![Test { part: Part::Key, pattern: None, inverted: false }]);
    let selection = Selection { filter, ..options().selection };
    let ended = consume(&disk, &Options { selection, ..options() }, (outlet(writer), Some(interrupt)), &mut |_| {});
    assert_eq!(ended.unwrap(), Ended::Stopped);
    assert!(kept(&disk).iter().all(|&position| position < 1000), "{:?}", kept(&disk));
}

#[test]
fn a_partition_that_cannot_be_read_is_an_event_and_the_others_are_read() {
    let disk = topic(&["a", "b", "c"]);
    overwrite(&disk, Path::new("/d/app-0/00000000000000000000.log"), &[0xff; 40]);
    let file = tempfile::tempfile().unwrap();
    let mut failed = 0;
    let output = (outlet(file.try_clone().unwrap()), None);
    let ended = consume(&disk, &options(), output, &mut |event| {
        failed += i32::from(matches!(event, Event::Failed { error: ConsumeError::LogDir(_) }));
    });
    assert_eq!(ended.unwrap(), Ended::Complete);
    assert_eq!(failed, 1);
    assert_eq!(kept(&disk)[1..], [3]);
}
