//! `__transaction_state`: the transactional ids and their last transaction.
//!
//! `transactionStatus` is 0 empty, 1 ongoing, 2 prepare commit, 3 prepare abort, 4 complete commit, 5 complete abort, 6 dead,
//! 7 prepare epoch fence. Source: `TransactionLogKey.json`, `TransactionLogValue.json`, `TransactionState.java`.

use super::coordinator::RecordKind;
use super::schema::Kind::{Int8, Int16, Int32, Int64, List, Struct, Text};
use super::schema::{Field, field};

/// The one kind of records.
pub(super) static KINDS: [RecordKind; 1] = [RecordKind::new(0, KEY, 1, 1, VALUE)];

const PARTITIONS: &[Field] = &[field("topic", Text), field("partitionIds", List(&Int32))];

const KEY: &[Field] = &[field("transactionalId", Text)];

const VALUE: &[Field] = &[
    field("producerId", Int64),
    field("previousProducerId", Int64).since(1).tag(0),
    field("nextProducerId", Int64).since(1).tag(1),
    field("producerEpoch", Int16),
    field("nextProducerEpoch", Int16).since(1).tag(3),
    field("transactionTimeoutMs", Int32),
    field("transactionStatus", Int8),
    field("transactionPartitions", List(&Struct(PARTITIONS))).nullable(),
    field("transactionLastUpdateTimestampMs", Int64),
    field("transactionStartTimestampMs", Int64),
    field("clientTransactionVersion", Int16).since(1).tag(2),
];
