//! The consumer protocol, which members of a classic group exchange through the coordinator: an i16 version, then fields.
//!
//! Never flexible. Source: `ConsumerProtocolSubscription.json`, `ConsumerProtocolAssignment.json`.

use super::schema::Kind::{Bytes, Int32, List, Struct, Text};
use super::schema::{Field, NEVER, Schema, field};

/// The fields of a member that hold it, each with its schema.
pub(super) const FIELDS: [(&str, Schema); 2] = [
    ("subscription", Schema { latest: 3, flexible: NEVER, fields: SUBSCRIPTION }),
    ("assignment", Schema { latest: 3, flexible: NEVER, fields: ASSIGNMENT }),
];

const TOPIC_PARTITION: &[Field] = &[field("topic", Text), field("partitions", List(&Int32))];

const SUBSCRIPTION: &[Field] = &[
    field("topics", List(&Text)),
    field("userData", Bytes).nullable(),
    field("ownedPartitions", List(&Struct(TOPIC_PARTITION))).since(1),
    field("generationId", Int32).since(2),
    field("rackId", Text).since(3).nullable(),
];

const ASSIGNMENT: &[Field] =
    &[field("assignedPartitions", List(&Struct(TOPIC_PARTITION))), field("userData", Bytes).nullable()];
