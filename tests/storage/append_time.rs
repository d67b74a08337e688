//! The timestamps that a log gives at the append: `message.timestamp.type=LogAppendTime`.

use super::support::{NOW, Writer, disk_with_partition, open_at, reader, verify, view};
use kdir::disk::faulty::FaultyDisk;
use kdir::format::batch::{BatchBuilder, compressor};
use kdir::format::header::{BatchHeader, TimestampType};
use kdir::format::record::NewRecord;
use kdir::storage::{Checkpoints, LogConfig, Next};
use kdir::units::{Offset, Timestamp};

fn config() -> LogConfig {
    LogConfig { timestamp_type: TimestampType::LogAppendTime, index_interval_bytes: 0, ..LogConfig::default() }
}

/// Appends batches of one record each, of which the producer says that it is of 1970.
fn append(writer: &mut Writer, count: usize, codec: &str, now: Timestamp) {
    let mut builders: Vec<BatchBuilder> = (0..count).map(|_| BatchBuilder::new(0)).collect();
    for builder in &mut builders {
        builder.push(&NewRecord { timestamp: Timestamp(7), value: Some(&[b'x'; 100]), ..NewRecord::default() });
        builder.finish(compressor(codec.parse().unwrap()).as_mut(), usize::MAX).unwrap();
    }
    let mut batches: Vec<&mut [u8]> = builders.iter_mut().map(BatchBuilder::finished).collect();
    let mut left = &mut batches[..];
    while !left.is_empty() {
        let appended = writer.append(left, now).unwrap();
        left = &mut left[appended.batch_count..];
    }
}

/// The headers of all batches; each has a right checksum, or it would not be read.
fn headers(disk: &FaultyDisk) -> Vec<BatchHeader> {
    let (mut log, mut headers) = (reader(disk), Vec::new());
    while let Next::Batch(header) = log.next().unwrap() {
        headers.push(header);
    }
    headers
}

#[test]
fn append_times_never_step_back_whatever_producer_waited_longer_for_the_lock() {
    for codec in ["none", "zstd"] {
        let disk = disk_with_partition();
        let [mut one, mut other] = [0; 2].map(|_| open_at(&disk, config(), Checkpoints::default()).unwrap());
        append(&mut one, 2, codec, NOW + 1000);
        append(&mut other, 3, codec, NOW);
        append(&mut one, 1, codec, NOW + 2000);
        append(&mut other, 1, codec, NOW + 2001);
        let headers = headers(&disk);
        let times: Vec<i128> = headers.iter().map(|header| header.max_timestamp.since(NOW)).collect();
        assert_eq!(times, [1000, 1000, 1000, 1000, 1000, 2000, 2001], "{codec}");
        for header in headers {
            assert_eq!(header.timestamp_type(), TimestampType::LogAppendTime);
            assert_eq!(header.base_timestamp, Timestamp(7), "the producer's own time stays in the batch");
        }
        assert_eq!(verify(&disk, Checkpoints::default()), []);
    }
}

#[test]
fn append_times_do_not_step_back_over_a_roll_either() {
    let disk = disk_with_partition();
    let config = LogConfig { segment_bytes: 400, ..config() };
    let [mut one, mut other] = [0; 2].map(|_| open_at(&disk, config.clone(), Checkpoints::default()).unwrap());
    for step in 0..20 {
        append(&mut one, 1, "none", NOW + 10 * step + 5);
        append(&mut other, 2, "none", NOW + 10 * step);
    }
    let times: Vec<Timestamp> = headers(&disk).iter().map(|header| header.max_timestamp).collect();
    assert_eq!(times.len(), 60);
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(times[59], NOW + 195);
    assert_eq!(verify(&disk, Checkpoints::default()), []);
}

#[test]
fn an_append_time_is_what_a_look_up_by_time_finds() {
    let disk = disk_with_partition();
    let mut writer = open_at(&disk, config(), Checkpoints::default()).unwrap();
    for step in 0..10 {
        append(&mut writer, 5, "none", NOW + 100 * step);
    }
    let log = view(&disk);
    assert_eq!(log.offset_for_time(NOW + 250).unwrap(), Some((Offset(15), NOW + 300)));
    assert_eq!(log.offset_for_time(NOW + 900).unwrap(), Some((Offset(45), NOW + 900)));
    assert_eq!(log.offset_for_time(NOW + 901).unwrap(), None);
}

#[test]
fn under_create_time_records_keep_the_time_that_they_were_given() {
    let disk = disk_with_partition();
    append(&mut open_at(&disk, LogConfig::default(), Checkpoints::default()).unwrap(), 2, "none", NOW);
    for header in headers(&disk) {
        assert_eq!((header.timestamp_type(), header.max_timestamp), (TimestampType::CreateTime, Timestamp(7)));
    }
}
