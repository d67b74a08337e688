//! One row a damage: what the next writer does, and what a reader shows meanwhile.

use super::support::{
    NOW, append, append_at, batch_size, bytes_of, cut_of, disk_with_partition, folder, log_path, names, open, open_at,
    overwrite, path, read_on, reader, reader_at, values, view,
};
use kdir::disk::faulty::FaultyDisk;
use kdir::storage::file_name::FileKind;
use kdir::storage::{Checkpoints, LogConfig, StorageError};
use kdir::units::{Offset, Timestamp};

/// Three batches: a, b, c.
fn three_batches() -> (FaultyDisk, Vec<u8>) {
    let disk = disk_with_partition();
    let mut writer = open(&disk);
    for value in ["a", "b", "c"] {
        append(&mut writer, &[value]);
    }
    let bytes = bytes_of(&disk, &log_path(0));
    (disk, bytes)
}

#[test]
fn a_torn_last_batch_is_the_end_for_readers_and_cut_by_the_next_writer() {
    let (_, whole) = three_batches();
    let batch = whole.len() / 3;
    for left in 1..batch {
        let (disk, _) = three_batches();
        overwrite(&disk, &log_path(0), &whole[..2 * batch + left]);
        assert_eq!(values(&disk), ["a", "b"], "{left} bytes left");
        let mut writer = open(&disk);
        let notices = writer.take_notices();
        if whole[2 * batch..2 * batch + left].iter().all(|&byte| byte == 0) {
            // The high bytes of an offset cannot be told from preallocated zeros, and hold nothing either.
            assert_eq!(notices, []);
            continue;
        }
        assert_eq!(cut_of(&notices), [left as u64]);
        let kept: Vec<String> = names(&disk).into_iter().filter(|name| name.starts_with("cut-")).collect();
        assert_eq!(kept, [format!("cut-00000000000000000000-{}", 2 * batch)]);
        assert_eq!(bytes_of(&disk, &folder().join(&kept[0])), whole[2 * batch..2 * batch + left]);
        append(&mut writer, &["d"]);
        assert_eq!(values(&disk), ["a", "b", "d"]);
    }
}

#[test]
fn a_wrong_byte_in_the_last_batch_is_cut_unless_it_was_durable() {
    let (disk, mut bytes) = three_batches();
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    overwrite(&disk, &log_path(0), &bytes);
    assert_eq!(values(&disk), ["a", "b"]);
    let durable = Checkpoints::of_files(Offset(3), Offset::ZERO);
    assert!(matches!(read_on(reader_at(&disk, durable)), Err(StorageError::Corrupt { .. })));
    assert!(matches!(open_at(&disk, LogConfig::default(), durable), Err(StorageError::Corrupt { .. })));
    assert_eq!(bytes_of(&disk, &log_path(0)), bytes, "corruption is left as it is");
    assert_eq!(open(&disk).log_end_offset(), Offset(2));
}

#[test]
fn damage_with_a_valid_batch_behind_it_is_corruption_and_never_cut() {
    let (disk, mut bytes) = three_batches();
    let batch = bytes.len() / 3;
    bytes[batch + 40] ^= 1;
    overwrite(&disk, &log_path(0), &bytes);
    let Err(StorageError::Corrupt { path, position, offset, .. }) = read_on(reader(&disk)) else {
        panic!("corruption was not reported")
    };
    assert_eq!((path, position.0, offset), (log_path(0), batch as u64, Offset(1)));
    let opened = open_at(&disk, LogConfig::default(), Checkpoints::default());
    assert!(matches!(opened, Err(StorageError::Corrupt { .. })));
    assert_eq!(bytes_of(&disk, &log_path(0)), bytes);
}

#[test]
fn damage_in_a_length_does_not_hide_the_batches_behind_it() {
    let (disk, mut bytes) = three_batches();
    let batch = bytes.len() / 3;
    bytes[batch + 9] = 0x70;
    overwrite(&disk, &log_path(0), &bytes);
    assert!(matches!(read_on(reader(&disk)), Err(StorageError::Corrupt { .. })));
    assert!(open_at(&disk, LogConfig::default(), Checkpoints::default()).is_err());
}

#[test]
fn a_torn_batch_in_a_segment_that_has_a_successor_is_corruption() {
    let disk = disk_with_partition();
    let config = LogConfig { segment_bytes: 150, ..LogConfig::default() };
    let mut writer = open_at(&disk, config.clone(), Checkpoints::default()).unwrap();
    for value in ["a", "b", "c"] {
        append(&mut writer, &[value]);
    }
    let bytes = bytes_of(&disk, &log_path(0));
    overwrite(&disk, &log_path(0), &bytes[..bytes.len() - 1]);
    assert!(matches!(read_on(reader(&disk)), Err(StorageError::Corrupt { .. })));
    assert!(matches!(open_at(&disk, config, Checkpoints::default()), Err(StorageError::Corrupt { .. })));
}

#[test]
fn zeros_at_the_end_are_cut_silently() {
    for zeros in [1, 61, 5000] {
        let (disk, mut bytes) = three_batches();
        let size = bytes.len();
        bytes.resize(size + zeros, 0);
        overwrite(&disk, &log_path(0), &bytes);
        assert_eq!(values(&disk), ["a", "b", "c"]);
        let mut writer = open(&disk);
        assert_eq!(writer.take_notices(), []);
        assert_eq!(bytes_of(&disk, &log_path(0)).len(), size);
        append(&mut writer, &["d"]);
        assert_eq!(values(&disk), ["a", "b", "c", "d"]);
    }
}

#[test]
fn a_log_that_ends_before_its_recovery_point_is_corruption() {
    let (disk, bytes) = three_batches();
    overwrite(&disk, &log_path(0), &bytes[..bytes.len() / 3]);
    let durable = Checkpoints::of_files(Offset(3), Offset::ZERO);
    assert!(matches!(open_at(&disk, LogConfig::default(), durable), Err(StorageError::Corrupt { .. })));
}

#[test]
fn a_log_that_ends_before_its_log_start_goes_on_at_the_log_start() {
    let (disk, _) = three_batches();
    let started = Checkpoints { log_start_offset: Offset(10), ..Checkpoints::default() };
    let mut writer = open_at(&disk, LogConfig::default(), started).unwrap();
    assert_eq!(append(&mut writer, &["d"]).base_offset, Offset(10));
    assert_eq!(read_on(reader_at(&disk, started)).unwrap(), [(10, "d".to_owned())]);
}

#[test]
fn indexes_that_are_missing_short_foreign_or_garbage_are_put_right() {
    let config = LogConfig { index_interval_bytes: 200, ..LogConfig::default() };
    let fill = |disk: &FaultyDisk, timestamp: Timestamp| {
        let mut writer = open_at(disk, config.clone(), Checkpoints::default()).unwrap();
        for number in 0..100 {
            append_at(&mut writer, &[&format!("value {number}")], timestamp + number).unwrap();
        }
        writer.close(NOW).unwrap();
    };
    let disk = disk_with_partition();
    fill(&disk, NOW);
    let right = [FileKind::OffsetIndex, FileKind::TimeIndex].map(|kind| (kind, bytes_of(&disk, &path(0, kind))));
    assert!(right.iter().all(|(_, bytes)| bytes.len() > 100));
    let foreign_disk = disk_with_partition();
    fill(&foreign_disk, NOW + -1_000_000);
    for (kind, bytes) in &right {
        let foreign = bytes_of(&foreign_disk, &path(0, FileKind::TimeIndex));
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 0x10;
        let mut preallocated = bytes.clone();
        preallocated.resize(10_000, 0);
        let damages: [(&str, Option<&[u8]>); 9] = [
            ("missing", None),
            ("empty", Some(&[])),
            ("short", Some(&bytes[..bytes.len() / 2])),
            ("torn", Some(&bytes[..bytes.len() - 3])),
            ("foreign", Some(&foreign)),
            ("garbage", Some(&[0xa5; 1000])),
            ("zeros", Some(&[0; 1000])),
            ("flipped", Some(&flipped)),
            ("preallocated", Some(&preallocated)),
        ];
        for (what, damaged) in damages {
            match damaged {
                Some(damaged) => overwrite(&disk, &path(0, *kind), damaged),
                None => disk.remove_file(&path(0, *kind)).unwrap(),
            }
            for offset in [0, 1, 50, 99] {
                let mut log = reader(&disk);
                log.seek(Offset(offset));
                assert_eq!(read_on(log).unwrap()[0].0, offset, "{what} {kind:?}");
            }
            for at in [0, 1, 50, 99] {
                let found = view(&disk).offset_for_time(NOW + at).unwrap();
                assert_eq!(found, Some((Offset(at), NOW + at)), "{what} {kind:?}");
            }
            assert_eq!(view(&disk).offset_for_time(NOW + 100).unwrap(), None, "{what} {kind:?}");
            assert_eq!(view(&disk).log_end_offset().unwrap(), Offset(100), "{what} {kind:?}");
            let mut writer = open_at(&disk, config.clone(), Checkpoints::default()).unwrap();
            append_at(&mut writer, &["one more"], NOW + 99).unwrap();
            writer.close(NOW).unwrap();
            assert_eq!(writer.log_end_offset(), Offset(101));
            drop(writer);
            // Back to a hundred records for the next damage.
            let log = bytes_of(&disk, &log_path(0));
            let kept = log.len() - super::support::batch_size("one more") as usize;
            overwrite(&disk, &log_path(0), &log[..kept]);
            drop(open_at(&disk, config.clone(), Checkpoints::default()).unwrap());
            for (kind, bytes) in &right {
                let rebuilt = bytes_of(&disk, &path(0, *kind));
                // The final time entry comes when a writer that has appended closes.
                assert!(bytes.starts_with(&rebuilt) && rebuilt.len() + 12 >= bytes.len(), "{what} {kind:?}");
                overwrite(&disk, &path(0, *kind), bytes);
            }
        }
    }
}

#[test]
fn files_marked_as_deleted_are_removed_and_stray_ones_stay() {
    let (disk, _) = three_batches();
    overwrite(&disk, &folder().join("00000000000000000000.log.deleted"), b"x");
    overwrite(&disk, &folder().join("a stray file"), b"x");
    assert_eq!(values(&disk), ["a", "b", "c"]);
    drop(open(&disk));
    assert!(!names(&disk).contains(&"00000000000000000000.log.deleted".to_owned()));
    assert!(names(&disk).contains(&"a stray file".to_owned()));
}

#[test]
fn what_lies_below_the_recovery_point_is_not_read_again() {
    let disk = disk_with_partition();
    let config = LogConfig { index_interval_bytes: 1000, ..LogConfig::default() };
    let mut writer = open_at(&disk, config.clone(), Checkpoints::default()).unwrap();
    let value = "x".repeat(100);
    for number in 0..10_000 {
        append_at(&mut writer, &[&value], NOW + number).unwrap();
    }
    kdir::storage::sync_now(writer.pending_sync(), kdir::storage::SyncFor::Acknowledgement).unwrap();
    writer.close(NOW).unwrap();
    drop(writer);
    let size = bytes_of(&disk, &log_path(0)).len() as u64;
    disk.reset_counts();
    drop(open_at(&disk, config.clone(), Checkpoints::default()).unwrap());
    let all = disk.bytes_read();
    disk.reset_counts();
    let durable = Checkpoints::of_files(Offset(9_990), Offset::ZERO);
    drop(open_at(&disk, config, durable).unwrap());
    assert!(all >= size, "{all} of {size}");
    assert!(disk.bytes_read() < 20_000, "{} of {size}", disk.bytes_read());
}

#[test]
fn of_what_others_append_a_writer_reads_no_more_than_headers() {
    let disk = disk_with_partition();
    let (mut one, mut other) = (open(&disk), open(&disk));
    append(&mut one, &["first"]);
    let value = "x".repeat(100_000);
    for _ in 0..10 {
        append(&mut other, &[&value]);
    }
    disk.reset_counts();
    assert_eq!(append(&mut one, &["last"]).base_offset, Offset(11));
    assert!(disk.bytes_read() < 150_000, "{} bytes", disk.bytes_read());
    assert_eq!(values(&disk).len(), 12);
}

#[test]
fn what_a_killed_writer_left_half_written_is_cut_by_one_that_has_the_log_open() {
    for left in 12..batch_size("c") {
        let disk = disk_with_partition();
        let (mut one, mut other) = (open(&disk), open(&disk));
        for value in ["a", "b", "c"] {
            append(&mut other, &[value]);
        }
        let bytes = bytes_of(&disk, &log_path(0));
        let whole = bytes.len() as u64 - batch_size("c");
        overwrite(&disk, &log_path(0), &bytes[..(whole + left) as usize]);
        append(&mut one, &["d"]);
        assert_eq!(cut_of(&one.take_notices()), [left]);
        assert_eq!(values(&disk), ["a", "b", "d"]);
    }
}

#[test]
fn a_log_that_was_put_in_the_place_of_an_open_one_is_checked() {
    let disk = disk_with_partition();
    let mut writer = open(&disk);
    append(&mut writer, &["a"]);
    for value in ["b", "c"] {
        append(&mut open(&disk), &[value]);
    }
    let mut bytes = bytes_of(&disk, &log_path(0));
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    disk.remove_file(&log_path(0)).unwrap();
    overwrite(&disk, &log_path(0), &bytes);
    append(&mut writer, &["d"]);
    assert_eq!(cut_of(&writer.take_notices()), [batch_size("c")]);
    assert_eq!(values(&disk), ["a", "b", "d"]);
}

#[test]
fn an_epoch_is_begun_where_none_was_and_carried_by_batches() {
    let (disk, _) = three_batches();
    assert_eq!(bytes_of(&disk, &folder().join("leader-epoch-checkpoint")), b"0\n1\n0 0\n");
    overwrite(&disk, &folder().join("leader-epoch-checkpoint"), b"");
    drop(open(&disk));
    assert_eq!(bytes_of(&disk, &folder().join("leader-epoch-checkpoint")), b"0\n1\n0 3\n");
    overwrite(&disk, &folder().join("leader-epoch-checkpoint"), b"0\n2\n0 0\n7 2\n");
    let before = bytes_of(&disk, &log_path(0)).len();
    append(&mut open(&disk), &["d"]);
    assert_eq!(bytes_of(&disk, &log_path(0))[before + 12..before + 16], 7_i32.to_be_bytes());
}

#[test]
fn a_segment_whose_name_and_content_disagree_is_corruption_and_found() {
    let config = LogConfig { segment_bytes: 150, ..LogConfig::default() };
    for (from, to) in [(2, 3), (2, 1), (0, 1)] {
        let disk = disk_with_partition();
        let mut writer = open_at(&disk, config.clone(), Checkpoints::default()).unwrap();
        for value in ["a", "b", "c", "d", "e"] {
            append(&mut writer, &[value]);
        }
        for kind in [FileKind::Log, FileKind::OffsetIndex, FileKind::TimeIndex] {
            disk.rename(&path(from, kind), &path(to, kind)).unwrap();
        }
        let before = names(&disk);
        let what = format!("{from} named {to}");
        assert!(!super::support::verify(&disk, Checkpoints::default()).is_empty(), "{what}");
        let opened = open_at(&disk, config.clone(), Checkpoints::default());
        // A name below the content could be that of a segment whose first records a cleaner has taken.
        assert!(to < from || matches!(opened, Err(StorageError::Corrupt { .. })), "{what}");
        assert_eq!(names(&disk), before, "{what}: nothing was made or removed");
    }
}
