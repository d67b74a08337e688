//! The text of the manual page kdir-kafka(7): from a log dir of kdir's to a Kafka cluster, and back.

use super::manual::{Section, TopicPage};

pub(crate) const PAGE: TopicPage = TopicPage {
    name: "kafka",
    about: "from a log dir to a Kafka cluster, and back",
    sections: SECTIONS,
    examples: EXAMPLES,
    see_also: "`kdir-promote`(1), `kdir-demote`(1), `kdir-verify`(1), `kdir-retention`(1), `kdir-queue`(7)",
};

const SECTIONS: &[Section] = &[
    (
        "DESCRIPTION",
        &[
            "A log dir of kdir's has the layout of Kafka's own. What a broker lacks in it is the metadata of its cluster: what \
             topics there are. `kdir promote` writes that, and an unmodified broker with KRaft (3.9 and later) starts on the \
             directory and serves it. No record is copied, so it takes as long for a gigabyte as for a terabyte.",
            "`kdir demote` is the way back: what the broker's metadata knows of topics becomes topic files. Between the two, \
             kdir reads the log dir of a stopped broker by that metadata, and changes no topic in it.",
        ],
        &[],
    ),
    (
        "TO ONE BROKER",
        &[
            "Stop everything that writes with kdir. `kdir verify` should find nothing wrong. `kdir promote --dry-run` names each \
             topic, what the broker would delete at its first check, and settings that it would not take.",
            "Then `kdir promote`, and start the broker with the command that it prints. Without `--kafka` the cluster has the \
             features of 3.9, with which every later release starts; `kafka-features.sh upgrade --release-version 4.3` raises \
             them. The group protocol of KIP-848 needs those of 4.0, share groups those of 4.2.",
            "The broker must run as a user who may write to the log dir, and kdir must not write to it while it runs.",
        ],
        &[],
    ),
    (
        "WHAT COMES ALONG",
        &[],
        &[
            ("Records, ids, configuration", "As they are. Indexes are checked by the broker when it starts."),
            (
                "Consumer groups",
                "Their offsets are in `__consumer_offsets`, which becomes the broker's. Each group gets a record that keeps \
                 its offsets for a week from the promotion on.",
            ),
            ("Work queues", "Their state is that of share groups: see `kdir-queue`(7)."),
            (
                "Producer ids, leader epochs",
                "Those of a broker that had the log dir before go on above all that are in use.",
            ),
            (
                "Users, access rules, quotas",
                "kdir has none. In a log dir that was formatted, those of format are kept.",
            ),
        ],
    ),
    (
        "TO THREE BROKERS",
        &[
            "With one broker running, prepare the next node: `process.roles=broker`, its own `node.id`, listener and empty \
             `log.dirs`, and the `controller.quorum.voters` of the first. Format it with the id of the cluster that promote has \
             printed (`kafka-storage.sh format -t ID -c node2.properties`), and start it.",
            "`kafka-reassign-partitions.sh` gives each partition its replicas: a file with \
             {\"partitions\":[{\"topic\":\"app\",\"partition\":0,\"replicas\":[1,2,3]},...]}, then `--execute` and \
             `--verify`. Raise the replication factor of the internal topics in the same way, and set `min.insync.replicas` \
             to 2.",
            "With `--replicas 1,2,3` promote declares the replicas at once: the other nodes catch up when they join.",
            "The first node is the cluster's only controller. For it to leave, promote with `--quorum dynamic`, and make two \
             other nodes `process.roles=broker,controller` with the first in their `controller.quorum.bootstrap.servers`; format \
             them with `--no-initial-controllers`. Each gets a vote with `kafka-metadata-quorum.sh --bootstrap-controller \
             10.0.0.7:9093 --command-config node2.properties add-controller`. Then reassign every partition to these two and \
             stop the first node. `kafka-metadata-quorum.sh --bootstrap-controller NODE2:9093 remove-controller \
             --controller-id 1 --controller-directory-id ID` removes its vote; ID is `directory.id` in its `meta.properties`. \
             In `controller.quorum.bootstrap.servers` of the two, put their own addresses in its place.",
        ],
        &[],
    ),
    (
        "AND BACK",
        &[
            "Bring every partition to one broker with `kafka-reassign-partitions.sh`, and stop that one last. Then `kdir demote` \
             on its log dir. A partition that is not whole there, or in sync elsewhere, is refused by name.",
            "Topics that the cluster has deleted are gone, and partitions that it has added are there. A later promotion makes a \
             new cluster, with another id.",
        ],
        &[],
    ),
    (
        "A CLUSTER THAT RUNS",
        &[
            "It takes no topics from a directory. Create them with `kafka-topics.sh`, and send the records: `kdir consume app -o \
             json | kcat -P`, or `kdir consume app | kafka-console-producer.sh`. Offsets are then new ones.",
        ],
        &[],
    ),
    (
        "KAFKA 2.8 AND ZOOKEEPER",
        &["`kdir promote` does not write for them. Start the broker on the log dir, and create each topic with \
             `kafka-topics.sh --create` and as many partitions as it has: the broker takes the folders as they are."],
        &[],
    ),
];

const EXAMPLES: &[&str] = &[
    "kdir verify && kdir promote --dry-run",
    "kdir promote --kafka 4.3 --listener 10.0.0.7:9092 --controller 10.0.0.7:9093 --keep",
    "kafka-server-start.sh /srv/log/server.properties",
    "kdir demote -d /srv/log",
];
