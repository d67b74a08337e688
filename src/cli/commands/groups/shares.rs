//! How far share groups are, partition by partition and record by record.

use super::totals;
use crate::cli::report::{Cell, Column, json_only, number, text};
use crate::format::internal::share_records::DeliveryState;
use crate::groups::{Claimed, Delivery, Group, GroupKind, GroupState, ShareRow, TopicLogs, TriedRecord};
use crate::units::{GroupId, Offset, Timestamp};
use crate::work::Backoff;
use serde_json::json;
use std::collections::BTreeSet;

/// No more processes are named in a row of a table.
const NAMED_MAX: usize = 5;

pub(super) const COLUMNS: [Column; 16] = [
    text("group", "GROUP"),
    text("type", "").leaves(1),
    text("state", "").leaves(1),
    text("topic", "TOPIC"),
    number("partition", "PARTITION"),
    number("start_offset", "START"),
    number("log_start_offset", "LOG START").leaves(1),
    number("log_end_offset", "LOG END"),
    number("lag", "LAG"),
    number("in_flight", "IN FLIGHT"),
    text("pids", "PIDS").leaves(2),
    number("retrying", "RETRYING"),
    number("done_ahead", "DONE AHEAD").leaves(3),
    number("oldest_ms", "OLDEST"),
    number("lost", "").leaves(1),
    json_only("claimed"),
];

pub(super) const RECORD_COLUMNS: [Column; 9] = [
    text("group", "GROUP"),
    text("topic", "TOPIC"),
    number("partition", "PARTITION"),
    number("offset", "OFFSET"),
    text("state", "STATE"),
    number("attempts", "ATTEMPTS"),
    text("last_attempt", "LAST ATTEMPT").leaves(1),
    text("due", "DUE"),
    number("pid", "PID"),
];

/// The row of a partition.
pub(super) fn cells(
    id: &GroupId,
    (group, state): (&Group, GroupState),
    row: &ShareRow,
    oldest: Option<Timestamp>,
) -> Vec<Cell> {
    let offset = |offset: Option<Offset>| offset.map_or(Cell::Nothing, |offset| Cell::Number(offset.0));
    let claimed = |it: &Claimed| json!({"offset": it.offset.0, "pid": it.pid});
    vec![
        Cell::text(id),
        Cell::text(group.kind().name()),
        Cell::text(state.name()),
        Cell::text(&row.partition.topic),
        Cell::Number(row.partition.partition.into()),
        offset(row.start_offset()),
        offset(row.log_start_offset),
        offset(row.log_end_offset),
        row.lag().map_or(Cell::Nothing, Cell::Number),
        Cell::Number(row.claimed.len() as i64),
        pids(&row.claimed),
        Cell::Number(row.retrying() as i64),
        Cell::Number(row.done_ahead() as i64),
        oldest.map_or(Cell::Nothing, |oldest| Cell::Age(totals::behind(oldest))),
        Cell::Number(row.lost()),
        Cell::Json(row.claimed.iter().map(claimed).collect()),
    ]
}

/// The processes that handle records.
fn pids(claimed: &[Claimed]) -> Cell {
    let pids: BTreeSet<u32> = claimed.iter().filter_map(|it| it.pid).collect();
    let mut named: Vec<String> = pids.iter().take(NAMED_MAX).map(u32::to_string).collect();
    if pids.len() > NAMED_MAX {
        named.push("...".into());
    }
    if named.is_empty() { Cell::Nothing } else { Cell::Text(named.join(",")) }
}

/// A row for each record of a partition that was tried or is being handled.
pub(super) fn record_rows<'a>(
    id: &'a GroupId,
    row: &'a ShareRow,
    now: Timestamp,
) -> impl Iterator<Item = Vec<Cell>> + 'a {
    // What the next worker will wait is not known; where several run, they are likely to be started alike.
    let backoff = row.notes.iter().find_map(|note| Backoff::of_note(note));
    row.records().map(move |record| {
        let TriedRecord { offset, delivery, claimed } = &record;
        let at = delivery.map(|it| it.at).filter(|&at| at != Delivery::NEVER);
        let is_waiting = claimed.is_none() && delivery.is_some_and(|it| !it.state.is_terminal());
        let due = at.zip(backoff).zip(*delivery).filter(|_| is_waiting);
        let due = due.map(|((at, backoff), delivery)| backoff.due(at, delivery.count, now));
        vec![
            Cell::text(id),
            Cell::text(&row.partition.topic),
            Cell::Number(row.partition.partition.into()),
            Cell::Number(offset.0),
            Cell::text(state_of(&record)),
            Cell::Number(delivery.map_or(0, |it| it.count).into()),
            Cell::time(at),
            Cell::time(due),
            claimed.as_ref().and_then(|it| it.pid).map_or(Cell::Nothing, |pid| Cell::Number(pid.into())),
        ]
    })
}

fn state_of(record: &TriedRecord) -> &'static str {
    match (&record.claimed, record.delivery) {
        (Some(_), _) | (_, None) => "in flight",
        (None, Some(Delivery { state: DeliveryState::Acknowledged, .. })) => "done",
        (None, Some(Delivery { state: DeliveryState::Archived, .. })) => "given up",
        // It was in a run with others, which failed and counts for none of them.
        (None, Some(Delivery { count: 0, .. })) => "waiting",
        (None, Some(_)) => "retrying",
    }
}

/// Whether a group is one of those that have rows here.
pub(super) fn is_one(group: &Group) -> bool {
    group.kind() == GroupKind::Share
}

/// What there is of partitions for sums.
pub(super) fn standings(rows: &[ShareRow], logs: &mut TopicLogs<'_>) -> anyhow::Result<Vec<totals::Standing>> {
    let standing = |row: &ShareRow| {
        let next = logs.oldest_timestamp(row)?;
        Ok(totals::Standing { topic: row.partition.topic.clone(), lag: row.lag(), next, lost: row.lost() })
    };
    rows.iter().map(standing).collect()
}
