//! The model on messages of the old formats, of which there are no rounds of a broker: written out by hand after its source.

use super::bytes::{Fields, LOG_APPEND_TIME, Record, batches, encoded, encoded_message, encoded_wrapper};
use super::cleaner_model::{GroupEnd, ModelConfig, ModelSegment, clean};

const GZIP: u8 = 1;
const TIME_MS: i64 = 1_700_000_000_000;
const HOUR_MS: i64 = 3_600_000;

fn record(offset: i64, key: &str, value: Option<&str>) -> Record {
    let part = |text: &str| text.as_bytes().to_vec();
    let timestamp = TIME_MS + offset;
    Record { offset, timestamp, key: Some(part(key)), value: value.map(part), headers: Vec::new() }
}

fn segment(base: i64, mtime_ms: i64, log: Vec<u8>) -> ModelSegment {
    ModelSegment { base, mtime_ms, log, index: Vec::new(), timeindex: Vec::new(), txnindex: Vec::new() }
}

/// Each segment stays one.
fn config(first_dirty: i64, limit: i64, group_end_rule: GroupEnd) -> ModelConfig {
    ModelConfig {
        delete_retention_ms: HOUR_MS,
        segment_bytes: 1,
        segment_index_bytes: 1 << 20,
        index_interval_bytes: 4096,
        now_ms: TIME_MS + 1000 * HOUR_MS,
        first_dirty,
        limit,
        log_start: 0,
        group_end_rule,
    }
}

/// A batch in the active segment.
fn active(base: i64) -> ModelSegment {
    let it = record(base, "active", Some("v"));
    let fields = Fields { base_timestamp: it.timestamp, max_timestamp: it.timestamp, ..Fields::plain(base, base) };
    segment(base, TIME_MS, encoded(&fields, &[it]))
}

fn newer(offset: i64, key: &str) -> Vec<u8> {
    encoded_message(1, 0, &record(offset, key, Some("newer")))
}

#[test]
fn messages_that_are_not_compressed_are_kept_or_removed_and_never_rewritten() {
    for magic in [0, 1] {
        let kept = encoded_message(magic, 0, &record(0, "a", Some("1")));
        let removed = encoded_message(magic, 0, &record(1, "b", Some("1")));
        let tombstone = encoded_message(magic, 0, &record(2, "c", None));
        let last = encoded_message(magic, 0, &record(3, "b", Some("2")));
        let log = [&kept[..], &removed, &tombstone, &last].concat();
        let (cleaned, _) = clean(&[segment(0, TIME_MS, log), active(4)], &config(0, 4, GroupEnd::AsBroker));
        // No segment is clean yet: the tombstone is kept.
        assert_eq!(cleaned[0].files.log, [&kept[..], &tombstone, &last].concat(), "v{magic}");
    }
}

#[test]
fn what_is_left_of_a_wrapper_is_a_batch_of_its_own() {
    let inside = [
        record(10, "a", Some("1")),
        record(11, "b", Some("1")),
        record(13, "c", None),
        record(14, "d", Some("1")),
        record(15, "a", Some("2")),
    ];
    for (magic, attributes) in [(0, GZIP), (1, GZIP), (1, GZIP | LOG_APPEND_TIME as u8)] {
        let wrapper = encoded_wrapper(magic, attributes, TIME_MS + 99, &inside);
        let first = segment(10, TIME_MS, wrapper);
        let second = segment(16, TIME_MS, [newer(16, "a"), newer(17, "d")].concat());
        let segments = [first, second, active(18)];
        for (group_end_rule, last) in [(GroupEnd::AsBroker, 13), (GroupEnd::EachGroup, 15)] {
            let (cleaned, end) = clean(&segments, &config(10, 18, group_end_rule));
            let [batch] = &batches(&cleaned[0].files.log)[..] else { panic!("one batch") };
            assert_eq!(end, 18);
            assert_eq!((batch.magic, batch.fields.base, batch.fields.last), (2, 11, last));
            assert_eq!(batch.fields.attributes, i16::from(attributes), "v{magic}: codec and type, no horizon");
            let fields = &batch.fields;
            assert_eq!((fields.leader_epoch, fields.producer_id, fields.producer_epoch), (-1, -1, -1));
            let times = match (magic, attributes) {
                (0, _) => [-1, -1],
                (1, GZIP) => [TIME_MS + 11, TIME_MS + 13],
                _ => [TIME_MS + 99; 2],
            };
            let with_time = |at: usize, timestamp| Record { timestamp, ..inside[at].clone() };
            assert_eq!(batch.records, [with_time(1, times[0]), with_time(2, times[1])], "v{magic}");
            assert_eq!((fields.base_timestamp, fields.max_timestamp), (times[0], times[1]), "v{magic}");
        }
    }
}

#[test]
fn a_wrapper_that_is_kept_whole_is_kept_as_it_is() {
    let wrapper = encoded_wrapper(1, GZIP, TIME_MS, &[record(0, "a", Some("1")), record(4, "b", None)]);
    let (cleaned, _) = clean(&[segment(0, TIME_MS, wrapper.clone()), active(5)], &config(0, 5, GroupEnd::EachGroup));
    assert!(cleaned[0].files.log == wrapper && !cleaned[0].changed);
}

/// A tombstone goes where its segment is no younger than the last clean one was `delete.retention.ms` ago.
#[test]
fn tombstones_go_by_the_age_of_their_segment() {
    let tombstone = |offset: i64, key: &str| encoded_message(1, 0, &record(offset, key, None));
    let segments = [
        segment(0, TIME_MS - HOUR_MS, tombstone(0, "old")),
        segment(1, TIME_MS - HOUR_MS + 1, tombstone(1, "young")),
        // The last clean one: from here the time is counted.
        segment(2, TIME_MS, newer(2, "a")),
        segment(3, TIME_MS - 2 * HOUR_MS, tombstone(3, "dirty and old")),
        active(4),
    ];
    let (cleaned, _) = clean(&segments, &config(3, 5, GroupEnd::AsBroker));
    let counts: Vec<usize> = cleaned.iter().map(|it| batches(&it.files.log).len()).collect();
    assert_eq!(counts, [0, 1, 1, 0, 1]);
    // Where the first dirty offset is inside a segment, that one is the last clean one.
    let segments = [
        segment(0, TIME_MS, newer(0, "a")),
        segment(2, TIME_MS - 3 * HOUR_MS, [tombstone(2, "b"), newer(3, "c")].concat()),
        active(4),
    ];
    for (first_dirty, count) in [(2, 1), (3, 2)] {
        let (cleaned, _) = clean(&segments, &config(first_dirty, 4, GroupEnd::AsBroker));
        assert_eq!(batches(&cleaned[1].files.log).len(), count, "from {first_dirty}");
    }
}

#[test]
fn an_old_message_that_ends_the_round_becomes_an_empty_batch() {
    let tombstones = encoded_wrapper(1, GZIP, TIME_MS + 3, &[record(2, "a", None), record(3, "b", None)]);
    let segments = [segment(0, TIME_MS, newer(0, "c")), segment(2, TIME_MS - HOUR_MS, tombstones), active(4)];
    let (cleaned, _) = clean(&segments, &config(2, 4, GroupEnd::AsBroker));
    let [batch] = &batches(&cleaned[1].files.log)[..] else { panic!("one batch") };
    let fields = Fields { leader_epoch: -1, max_timestamp: TIME_MS + 3, ..Fields::plain(2, 3) };
    assert_eq!((batch.magic, &batch.fields, batch.raw.len()), (2, &fields, 61));
}
