//! The text of the manual page kdir-queue(7): what a work queue is here, and what corresponds to it elsewhere.
//!
//! What is said of RabbitMQ and ActiveMQ was seen on RabbitMQ 3.10.8 and 4.0.5, ActiveMQ Artemis 2.40.0 and ActiveMQ Classic
//! 5.17.6, as they are installed; what is said of Amazon SQS is from its documentation.

use super::manual::{Section, TopicPage};

pub(crate) const PAGE: TopicPage = TopicPage {
    name: "queue",
    about: "work queues, beside those of other systems",
    sections: SECTIONS,
    examples: EXAMPLES,
    see_also: "`kdir-work`(1), `kdir-groups`(1), `kdir-produce`(1), `kdir-kafka`(7)",
};

const SECTIONS: &[Section] = &[
    (
        "DESCRIPTION",
        &[
            "`kdir work` makes a queue of a topic: each record goes to one handler at a time, and is acknowledged, tried \
             again or given up. No server is needed. A record is claimed by a lock in the kernel, which worker and handler \
             hold, and which falls when both have ended. What was done is kept in Kafka's own records for share groups.",
            "A record is handled again only where a worker died between the end of its handler and the note of it; with \
             `--sync DURATION` also what was done in that time before a power failure. So a handler should bear to run \
             twice.",
            "The record stays in the topic, for other groups and for `kdir consume`, until retention removes it. \
             Retention goes by age and size, and not by what was done, but for `kdir retention --spare-groups`.",
        ],
        &[],
    ),
    (
        "AMAZON SQS",
        &[],
        &[
            (
                "Visibility timeout",
                "None: a claim lasts as long as its worker or handler lives. A handler that hangs is bounded by `--timeout`.",
            ),
            (
                "ReceiveCount, maxReceiveCount",
                "KDIR_ATTEMPT and `--max-attempts`. The count is exact, and written before the handler starts.",
            ),
            ("Dead-letter queue", "The topic dlq.TOPIC, or `--dead-letter`. It is made when it is needed."),
            (
                "Redrive",
                "`kdir work dlq.TOPIC -g redrive -- kdir produce TOPIC`, see EXAMPLES. kdir has no separate command for it.",
            ),
            (
                "FIFO queue, MessageGroupId",
                "`--ordered key`: a record waits while an earlier one with its key is not done. After a dead letter the next \
                 one goes on.",
            ),
            ("Delay", "`kdir produce --delay` and `--at`, of any length, record by record; SQS has up to 15 minutes."),
            ("Long polling", "`--follow`."),
            ("What kdir has not", "Deduplication within 5 minutes (FIFO queues), and more than one machine."),
        ],
    ),
    (
        "RABBITMQ",
        &[],
        &[
            (
                "basic.ack",
                "Exit status 0. It is durable before the next record is taken. RabbitMQ does not answer an ack, and some that \
                 came shortly before a crash of the server were lost.",
            ),
            (
                "basic.nack with requeue",
                "Any other exit status. RabbitMQ gives the message out again at once; here it waits for `--backoff`, and \
                 others go on in the meantime.",
            ),
            ("basic.reject without requeue", "An exit status of `--reject-exit`."),
            (
                "Prefetch",
                "`-j N` is N consumers with a prefetch of 1: no record lies in the buffer of a worker that is busy, and none \
                 is counted that was not tried.",
            ),
            (
                "x-delivery-limit",
                "`--max-attempts`. RabbitMQ has it for quorum queues only and counts redeliveries: a limit of 4 is 5 \
                 attempts.",
            ),
            (
                "Dead-letter exchange",
                "The topic dlq.TOPIC. Without one RabbitMQ drops what it gives up; `--dead-letter none` does.",
            ),
            (
                "Message TTL",
                "`--max-age`, for all records of a run; what is too old is a dead letter. Not message by message.",
            ),
            ("Delayed messages", "`kdir produce --delay`. RabbitMQ needs a plugin, or TTL and a dead-letter exchange."),
            ("Single active consumer", "`--ordered partition`."),
            ("consumer_timeout", "`--timeout`, which ends the handler before the record goes to another."),
            ("queue.purge", "`kdir groups reset GROUP --topic TOPIC --to latest`. The records stay in the topic."),
            (
                "What kdir has not",
                "Priorities of messages (the order of the TOPICs is strict), exchanges, bindings and other routing, limits on \
                 the length of a queue, and a network.",
            ),
        ],
    ),
    (
        "ACTIVEMQ",
        &[],
        &[
            (
                "Redelivery policy",
                "`--backoff` and `--max-attempts`. Artemis tries 10 times without a pause, and does not count a delivery that \
                 is under way when the broker dies. Classic tries 7 times, a second apart, and begins again after a restart of \
                 the broker. Here an attempt counts before it starts.",
            ),
            (
                "Message groups (JMSXGroupID)",
                "`--ordered key`. It orders and does not stick: whichever worker is free gets the next record of a key. Where \
                 a group must stay with one worker, use partitions: `kdir consume --group`.",
            ),
            ("Scheduled delivery", "`kdir produce --delay` and `--at`."),
            ("DLQ, ActiveMQ.DLQ", "dlq.TOPIC, one for each topic, with the reason in a header."),
            ("Prefetch limit", "As with RabbitMQ."),
            (
                "What kdir has not",
                "Selectors, priorities, expiry message by message, detection of duplicates (Artemis), JMS.",
            ),
        ],
    ),
    (
        "KAFKA",
        &[],
        &[
            (
                "Share groups (KIP-932)",
                "The same state: a broker from 4.1 on that is started on the log dir goes on with what is not done, with \
                 counts that go on, and kdir goes on after it. A broker gives up after 5 deliveries by default, and before \
                 4.4 keeps no dead letters.",
            ),
            (
                "Brokers before 4.1",
                "They have no share groups as they are kept now: `kdir work` refuses their log dirs. Of a log dir of kdir's \
                 own that was worked, 3.9 leaves the records alone, and 2.8 gives up all groups of that partition of \
                 `__consumer_offsets`.",
            ),
            ("Acquisition lock (30 s)", "None, as with the visibility timeout."),
            ("Dead letters (KIP-1191)", "The same headers and the same prefix, dlq."),
            ("share.auto.offset.reset", "`--from-offset`: earliest here, latest there."),
            ("Back-off", "Of kdir only: a broker delivers a released record at once."),
        ],
    ),
];

const EXAMPLES: &[&str] = &[
    "kdir produce --create jobs < urls.txt",
    "kdir work jobs -g fetch -j 8 -- sh -c 'read -r url; curl -fsSO \"$url\"'",
    "kdir groups describe fetch --records",
    "kdir work dlq.jobs -g redrive -- kdir produce jobs",
];
