//! The members of groups: those that run, and those that a broker wrote down last.

use crate::cli::report::{Cell, Column, number, text};
use crate::groups::{Group, TopicLogs};
use crate::units::{GroupId, TopicName, TopicPartition};

pub(super) const COLUMNS: [Column; 8] = [
    text("group", "GROUP"),
    text("topic", "TOPIC"),
    text("member", "MEMBER"),
    text("host", "HOST").leaves(1),
    text("client_id", "").leaves(2),
    text("state", "STATE"),
    number("partitions", "PARTITIONS"),
    text("assigned", "ASSIGNED"),
];

/// The state of a member that a broker wrote down.
const RECORDED: &str = "recorded";

/// A row for each member and each topic that it reads.
pub(super) fn rows(
    (id, group): (&GroupId, &Group),
    logs: &mut TopicLogs<'_>,
    is_meant: impl Fn(&TopicPartition) -> bool,
) -> anyhow::Result<Vec<Vec<Cell>>> {
    let is_shown = |topic: &TopicName, partitions: &[i32]| {
        let is_meant = |&partition: &i32| is_meant(&TopicPartition { topic: topic.clone(), partition });
        partitions.iter().any(is_meant) || partitions.is_empty() && is_meant(&0)
    };
    // Workers share records.
    let is_shared = super::shares::is_one(group);
    let row =
        |topic: &TopicName, (member, host, client_id): (String, &str, Option<&str>), state, partitions: &[i32]| {
            let has_partitions = !is_shared || state == RECORDED;
            let numbers: Vec<String> = partitions.iter().map(ToString::to_string).collect();
            vec![
                Cell::text(id),
                Cell::text(topic),
                Cell::Text(member),
                Cell::text(host),
                client_id.map_or(Cell::Nothing, Cell::text),
                Cell::text(state),
                if has_partitions { Cell::Number(partitions.len() as i64) } else { Cell::Nothing },
                if has_partitions { Cell::Text(numbers.join(",")) } else { Cell::Nothing },
            ]
        };
    let mut rows = Vec::new();
    for member in logs.running_members(id, group)?.iter().filter(|it| is_shown(&it.topic, &it.partitions)) {
        let (pid, host) = member.text.split_once(' ').unwrap_or((&member.text, ""));
        let state = if member.is_manual { "manual" } else { "running" };
        rows.push(row(&member.topic, (format!("kdir-{pid}"), host, None), state, &member.partitions));
    }
    for ((name, topic), mut partitions) in logs.recorded_assignments(group)? {
        if is_shown(&topic, &partitions) {
            let recorded = &group.recorded_members[&name];
            partitions.sort_unstable();
            rows.push(row(&topic, (name, &recorded.host, Some(&recorded.client_id)), RECORDED, &partitions));
        }
    }
    Ok(rows)
}
