//! What `__share_group_state` says of one partition and one group: which offsets are to be delivered, and how often each was.
//!
//! A snapshot replaces what was known; updates add to it. Of an offset, the largest delivery count counts, and of equal ones
//! the largest state, whatever came last: so updates can come in any order and any number of times, and only a snapshot lowers
//! a count. When a record was tried, or is to count as tried, is what came last. Below the start offset nothing is known or
//! delivered. Source: Kafka's `ShareCoordinatorShard.replay`, `PersisterStateBatchCombiner`.

use crate::format::internal::share_records::{DeliveryState, ShareSnapshot, ShareUpdate, StateBatch};
use crate::format::internal::value::Struct;
use crate::units::{Offset, Timestamp};
use std::collections::BTreeMap;
use std::ops::Range;

/// How the delivery of one offset stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// Its state.
    pub state: DeliveryState,
    /// How often it was delivered.
    pub count: i16,
    /// When that was written last; the lowest number where only a snapshot says it.
    pub at: Timestamp,
}

impl Delivery {
    /// The time of what only a snapshot says.
    pub const NEVER: Timestamp = Timestamp(0);

    /// This one and a later word of the same offset.
    fn and(self, other: Self) -> Self {
        let rank = |it: &Self| (it.count, it.state);
        match rank(&self).cmp(&rank(&other)) {
            std::cmp::Ordering::Less | std::cmp::Ordering::Equal => other,
            std::cmp::Ordering::Greater => self,
        }
    }

    /// When a terminal state was written says nothing, and without it neighbours are one run.
    fn settled(self) -> Self {
        if self.state.is_terminal() { Self { at: Self::NEVER, ..self } } else { self }
    }
}

/// Neighbouring offsets whose delivery stands the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    last: i64,
    delivery: Delivery,
}

/// The deliveries of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareState {
    snapshot_epoch: i32,
    state_epoch: i32,
    leader_epoch: i32,
    created: Timestamp,
    /// `None` where a broker has yet to choose it.
    start: Option<i64>,
    /// By first offset. They do not overlap, and no two that touch stand the same.
    runs: BTreeMap<i64, Run>,
    /// How many offsets are terminal.
    complete: u64,
}

impl ShareState {
    /// The state of a partition of which nothing was delivered, from an offset on.
    #[must_use]
    pub fn new(start: Offset, leader_epoch: i32, now: Timestamp) -> Self {
        let (snapshot_epoch, state_epoch) = (0, 1);
        let (runs, complete) = (BTreeMap::new(), 0);
        Self { snapshot_epoch, state_epoch, leader_epoch, created: now, start: Some(start.0), runs, complete }
    }

    /// What a snapshot says.
    #[must_use]
    pub(super) fn of_snapshot(value: &Struct<'_>) -> Self {
        let int = |name: &str| value.int(name).unwrap_or_default();
        let int32 = |name: &str| i32::try_from(int(name)).unwrap_or_default();
        let mut state = Self {
            snapshot_epoch: int32("snapshotEpoch"),
            state_epoch: int32("stateEpoch"),
            leader_epoch: int32("leaderEpoch"),
            created: Timestamp(int("createTimestamp")),
            start: Some(int("startOffset")).filter(|&start| start >= 0),
            runs: BTreeMap::new(),
            complete: 0,
        };
        batches(value).for_each(|batch| state.set(&batch, Delivery::NEVER));
        state
    }

    /// Takes over what an update says that was written at that time.
    pub(super) fn update(&mut self, value: &Struct<'_>, at: Timestamp) {
        if let Some(epoch) = value.int("leaderEpoch").and_then(|epoch| i32::try_from(epoch).ok()) {
            self.leader_epoch = self.leader_epoch.max(epoch);
        }
        if let Some(start) = value.int("startOffset") {
            self.raise_start(Offset(start));
        }
        batches(value).for_each(|batch| self.set(&batch, at));
    }

    /// The first offset that may be to be delivered; `None` where a broker has yet to choose it.
    #[must_use]
    pub fn start_offset(&self) -> Option<Offset> {
        self.start.map(Offset)
    }

    /// How many offsets from there on are never delivered again.
    #[must_use]
    pub const fn complete_count(&self) -> u64 {
        self.complete
    }

    /// How the delivery of an offset stands; `None` where it was never delivered. Not for those below the start offset.
    #[must_use]
    pub fn delivery(&self, offset: Offset) -> Option<Delivery> {
        let (_, run) = self.runs.range(..=offset.0).next_back()?;
        (run.last >= offset.0).then_some(run.delivery)
    }

    /// Whether an offset is never delivered again.
    #[must_use]
    pub fn is_terminal(&self, offset: Offset) -> bool {
        self.start.is_some_and(|start| offset.0 < start)
            || self.delivery(offset).is_some_and(|delivery| delivery.state.is_terminal())
    }

    /// How many of some offsets have a terminal state. Not for those below the start offset.
    #[must_use]
    pub fn complete_in(&self, offsets: &Range<Offset>) -> u64 {
        let in_it = |(batch, _): (StateBatch, Timestamp)| {
            let (first, end) = (batch.first.max(offsets.start), batch.last.next().min(offsets.end));
            if batch.state.is_terminal() { u64::try_from(end - first).unwrap_or(0) } else { 0 }
        };
        self.batches().map(in_it).sum()
    }

    /// How many of some offsets may be to be delivered.
    #[must_use]
    pub fn unfinished_in(&self, offsets: &Range<Offset>) -> u64 {
        let first = self.start.map_or(offsets.start, |start| offsets.start.max(Offset(start)));
        let all = u64::try_from(offsets.end - first).unwrap_or(0);
        all - self.complete_in(&(first..offsets.end)).min(all)
    }

    /// The first offset from this one on that may be to be delivered.
    #[must_use]
    pub fn next_unfinished(&self, mut offset: Offset) -> Offset {
        offset = self.start.map_or(offset, |start| offset.max(Offset(start)));
        while let Some((_, run)) = self.runs.range(..=offset.0).next_back()
            && run.last >= offset.0
            && run.delivery.state.is_terminal()
        {
            offset = Offset(run.last + 1);
        }
        offset
    }

    /// The runs of offsets that were delivered, in order, with when that was written last.
    pub fn batches(&self) -> impl Iterator<Item = (StateBatch, Timestamp)> {
        self.runs.iter().map(|(&first, run)| {
            let Delivery { state, count, at } = run.delivery;
            (StateBatch { first: Offset(first), last: Offset(run.last), state, count }, at)
        })
    }

    /// How many runs there are.
    #[must_use]
    pub fn run_count(&self) -> usize {
        self.runs.len()
    }

    /// The offset after the last one that was delivered.
    #[must_use]
    pub fn tried_to(&self) -> Offset {
        self.runs.last_key_value().map_or(Offset::ZERO, |(_, run)| Offset(run.last + 1))
    }

    /// Moves the start offset forward.
    pub(super) fn raise_start(&mut self, start: Offset) {
        if start.0 < 0 || self.start.is_some_and(|before| before >= start.0) {
            return;
        }
        self.start = Some(start.0);
        while let Some((&first, &run)) = self.runs.first_key_value().filter(|(first, _)| **first < start.0) {
            self.remove(first);
            if run.last >= start.0 {
                self.insert(start.0, run.last, run.delivery);
            }
        }
    }

    /// Says how the delivery of some offsets stands, where that is more than what is known.
    pub(super) fn set(&mut self, batch: &StateBatch, at: Timestamp) {
        let (first, last) = (batch.first.0.max(self.start.unwrap_or(0)), batch.last.0);
        if first > last {
            return;
        }
        let new = Delivery { state: batch.state, count: batch.count, at }.settled();
        let mut next = first;
        for (from, run) in self.take_overlapping(first, last) {
            if from < first {
                self.insert(from, first - 1, run.delivery);
            }
            let (begins, ends) = (from.max(first), run.last.min(last));
            if next < begins {
                self.insert(next, begins - 1, new);
            }
            self.insert(begins, ends, run.delivery.and(new));
            if run.last > last {
                self.insert(last + 1, run.last, run.delivery);
            }
            next = ends + 1;
        }
        if next <= last {
            self.insert(next, last, new);
        }
    }

    /// Says that an offset that is to be delivered was delivered so often and no more, the last time then; only a snapshot can
    /// say that.
    pub(super) fn lower(&mut self, offset: Offset, count: i16, at: Timestamp) {
        for (from, run) in self.take_overlapping(offset.0, offset.0) {
            if from < offset.0 {
                self.insert(from, offset.0 - 1, run.delivery);
            }
            self.insert(offset.0, offset.0, Delivery { count, at, ..run.delivery });
            if run.last > offset.0 {
                self.insert(offset.0 + 1, run.last, run.delivery);
            }
        }
    }

    /// The same partition, of which nothing was delivered from an offset on. Of the state's epoch too it is the same: a broker
    /// that begins it again, as its tool asks it to, does so with the epoch of the group, which is to be no smaller.
    #[must_use]
    pub(super) fn begun_again(&self, start: Offset) -> Self {
        let snapshot_epoch = self.snapshot_epoch + 1;
        Self { snapshot_epoch, start: Some(start.0), runs: BTreeMap::new(), complete: 0, ..self.clone() }
    }

    /// The value of the next snapshot, which the updates that are written from here on follow.
    pub(super) fn next_snapshot(&mut self, now: Timestamp) -> Vec<u8> {
        self.snapshot_epoch += 1;
        self.snapshot(now)
    }

    /// The value of a snapshot of this.
    pub(super) fn snapshot(&self, now: Timestamp) -> Vec<u8> {
        let batches: Vec<StateBatch> = self.batches().map(|(batch, _)| batch).collect();
        let snapshot = ShareSnapshot {
            snapshot_epoch: self.snapshot_epoch,
            state_epoch: self.state_epoch,
            leader_epoch: self.leader_epoch,
            start_offset: Offset(self.start.unwrap_or(-1)),
            delivery_complete_count: self.complete_of_record(),
            created: self.created,
            written: now,
            batches: &batches,
        };
        snapshot.encode()
    }

    /// The value of an update with what has changed, which was taken over before.
    pub(super) fn update_of(&self, changed: &[StateBatch]) -> Vec<u8> {
        let update = ShareUpdate {
            snapshot_epoch: self.snapshot_epoch,
            leader_epoch: self.leader_epoch,
            start_offset: Offset(self.start.unwrap_or(-1)),
            delivery_complete_count: self.complete_of_record(),
            batches: changed,
        };
        update.encode()
    }

    fn complete_of_record(&self) -> i32 {
        i32::try_from(self.complete).unwrap_or(i32::MAX)
    }

    /// Removes the runs that reach into `first..=last`, and returns them in order.
    fn take_overlapping(&mut self, first: i64, last: i64) -> Vec<(i64, Run)> {
        let before = self.runs.range(..first).next_back().filter(|(_, run)| run.last >= first);
        let starts: Vec<i64> = before.into_iter().chain(self.runs.range(first..=last)).map(|(&from, _)| from).collect();
        starts.into_iter().filter_map(|from| Some((from, self.remove(from)?))).collect()
    }

    fn remove(&mut self, first: i64) -> Option<Run> {
        let run = self.runs.remove(&first)?;
        if run.delivery.state.is_terminal() {
            self.complete -= (run.last - first + 1) as u64;
        }
        Some(run)
    }

    /// Adds a run that overlaps none, as one with those that it touches and that stand the same.
    fn insert(&mut self, mut first: i64, mut last: i64, delivery: Delivery) {
        let before = self.runs.range(..first).next_back().filter(|(_, it)| it.last + 1 == first);
        if let Some((&from, _)) = before.filter(|(_, it)| it.delivery == delivery) {
            self.remove(from);
            first = from;
        }
        if let Some(run) = self.runs.get(&(last + 1)).filter(|it| it.delivery == delivery).copied() {
            self.remove(last + 1);
            last = run.last;
        }
        if delivery.state.is_terminal() {
            self.complete += (last - first + 1) as u64;
        }
        self.runs.insert(first, Run { last, delivery });
    }
}

/// The state batches of a value, but for those in states that no release up to 4.4 writes.
fn batches(value: &Struct<'_>) -> impl Iterator<Item = StateBatch> {
    value.structs("stateBatches").filter_map(|batch| {
        let (first, last) = (batch.int("firstOffset")?, batch.int("lastOffset")?);
        let state = DeliveryState::from_number(batch.int("deliveryState")?)?;
        let count = i16::try_from(batch.int("deliveryCount")?).ok()?;
        let (is_order, is_end) = (0 <= first && first <= last, last == i64::MAX);
        (is_order && !is_end).then_some(StateBatch { first: Offset(first), last: Offset(last), state, count })
    })
}

#[cfg(test)]
mod tests {
    use super::DeliveryState::{Acknowledged, Archived, Available};
    use super::*;
    use proptest::prelude::*;

    fn batch(first: i64, last: i64, state: DeliveryState, count: i16) -> StateBatch {
        StateBatch { first: Offset(first), last: Offset(last), state, count }
    }

    fn new() -> ShareState {
        ShareState::new(Offset(0), 0, Timestamp(1))
    }

    fn listed(state: &ShareState) -> Vec<(i64, i64, DeliveryState, i16)> {
        state.batches().map(|(it, _)| (it.first.0, it.last.0, it.state, it.count)).collect()
    }

    #[test]
    fn what_is_left_of_some_offsets_is_counted_and_found() {
        let mut state = ShareState::new(Offset(2), 0, Timestamp(1));
        state.set(&batch(2, 3, Acknowledged, 1), Timestamp(5));
        state.set(&batch(4, 6, Archived, 5), Timestamp(5));
        state.set(&batch(8, 9, Available, 1), Timestamp(5));
        let range = |from, to| Offset(from)..Offset(to);
        let unfinished =
            [(0, 10), (0, 2), (3, 8), (5, 5), (9, 3)].map(|(from, to)| state.unfinished_in(&range(from, to)));
        assert_eq!(unfinished, [3, 0, 1, 0, 0]);
        assert_eq!((state.complete_in(&range(3, 6)), state.complete_in(&range(7, 20))), (3, 0));
        assert_eq!([0, 4, 7, 30].map(|offset| state.next_unfinished(Offset(offset)).0), [7, 7, 7, 30]);
    }

    #[test]
    fn runs_are_split_and_joined() {
        let mut state = new();
        state.set(&batch(0, 9, Available, 1), Timestamp(5));
        state.set(&batch(3, 5, Acknowledged, 1), Timestamp(6));
        state.set(&batch(8, 12, Available, 2), Timestamp(7));
        let expected = [(0, 2, Available, 1), (3, 5, Acknowledged, 1), (6, 7, Available, 1), (8, 12, Available, 2)];
        assert_eq!(listed(&state), expected);
        assert_eq!(state.complete_count(), 3);
        state.set(&batch(0, 2, Acknowledged, 1), Timestamp(8));
        assert_eq!(listed(&state)[0], (0, 5, Acknowledged, 1));
        state.raise_start(Offset(4));
        assert_eq!((state.complete_count(), listed(&state)[0]), (2, (4, 5, Acknowledged, 1)));
        state.lower(Offset(10), 1, Timestamp(9));
        assert_eq!(listed(&state)[2..], [(8, 9, Available, 2), (10, 10, Available, 1), (11, 12, Available, 2)]);
        state.lower(Offset(10), 0, Timestamp(9));
        assert_eq!(state.delivery(Offset(10)), Some(Delivery { state: Available, count: 0, at: Timestamp(9) }));
        assert!(state.is_terminal(Offset(3)) && state.is_terminal(Offset(4)) && !state.is_terminal(Offset(6)));
    }

    #[test]
    fn what_is_done_stays_done_and_the_last_failure_says_when() {
        let mut state = new();
        state.set(&batch(0, 0, Archived, 3), Timestamp(5));
        state.set(&batch(0, 0, Available, 3), Timestamp(9));
        state.set(&batch(0, 0, Acknowledged, 2), Timestamp(9));
        assert_eq!(listed(&state), [(0, 0, Archived, 3)]);
        state.set(&batch(1, 1, Available, 1), Timestamp(7));
        state.set(&batch(1, 1, Available, 1), Timestamp(6));
        assert_eq!(state.delivery(Offset(1)).unwrap().at, Timestamp(6));
    }

    fn any_batch() -> impl Strategy<Value = StateBatch> {
        let states = prop_oneof![Just(Available), Just(Acknowledged), Just(Archived)];
        (0_i64..40, 0_i64..8, states, 0_i16..4)
            .prop_map(|(first, more, state, count)| batch(first, first + more, state, count))
    }

    proptest! {
        /// Against one entry an offset.
        #[test]
        fn the_order_of_updates_does_not_matter(batches in prop::collection::vec(any_batch(), 0..30), start in 0_i64..20) {
            let (mut state, mut reversed) = (new(), new());
            let mut model = BTreeMap::<i64, (i16, DeliveryState)>::new();
            for it in &batches {
                state.set(it, Timestamp(1));
                for offset in it.first.0..=it.last.0 {
                    let known = model.entry(offset).or_insert((it.count, it.state));
                    *known = (*known).max((it.count, it.state));
                }
            }
            batches.iter().rev().for_each(|it| reversed.set(it, Timestamp(1)));
            prop_assert_eq!(&state, &reversed);
            state.raise_start(Offset(start));
            model.retain(|&offset, _| offset >= start);
            for offset in start..50 {
                let found = state.delivery(Offset(offset)).map(|it| (it.count, it.state));
                prop_assert_eq!(found, model.get(&offset).copied());
            }
            let complete = model.values().filter(|(_, state)| state.is_terminal()).count();
            prop_assert_eq!(state.complete_count(), complete as u64);
        }
    }
}
