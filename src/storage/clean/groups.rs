//! Which neighbouring segments become one.
//!
//! Neighbours join while their logs fit `segment.bytes`, their indexes fit `segment.index.bytes`, and their offsets the 31
//! bits of an index entry; sizes are those before. An empty segment is exempt from the last. A group of one segment of which
//! nothing goes is left as it is, which a broker would copy.
//! Source: `Cleaner.groupSegmentsBySize`.

use super::survey::Surveyed;
use crate::storage::LogConfig;
use std::ops::Range;

/// The places of the segments of each group.
pub(super) fn group(segments: &[Surveyed], config: &LogConfig) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let mut start = 0;
    while start < segments.len() {
        let sizes = |segment: &Surveyed| {
            let source = &segment.source;
            [source.segment.size, source.offset_index_size, source.time_index_size]
        };
        let limits = [config.segment_bytes, config.segment_index_bytes, config.segment_index_bytes];
        let base = segments[start].source.segment.base_offset;
        let mut sums = sizes(&segments[start]);
        let mut end = start + 1;
        while let Some(next) = segments.get(end) {
            let with_next: [u64; 3] = std::array::from_fn(|at| sums[at] + sizes(next)[at]);
            let fits = with_next.iter().zip(limits).all(|(sum, limit)| *sum <= limit);
            let is_near = next.source.segment.size == 0 || next.source.end - base <= 1 << 31;
            if !fits || !is_near {
                break;
            }
            sums = with_next;
            end += 1;
        }
        groups.push(start..end);
        start = end;
    }
    groups
}
