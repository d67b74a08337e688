//! What was committed in transactions of a broker's clients: kdir goes on exactly there, and only there.

use super::clients::{Clients, shown_by_kdir};
use super::{TOPIC, assert_quiet};
use crate::broker::{Broker, Kafka};
use crate::support::{Kdir, until};
use serde_json::{Value, json};
use std::collections::BTreeMap;

crate::on_every_kafka! { kdir_goes_on_exactly_where_a_transaction_has_committed, }

const END: i64 = 10;

/// The first offset of each partition that kdir prints as a member of the group, which goes on to the end without a gap.
fn firsts_of_kdir(kdir: &Kdir, group: &str) -> BTreeMap<i64, i64> {
    let mut places = BTreeMap::<i64, Vec<i64>>::new();
    for record in kdir.json(&["-q", "consume", TOPIC, "-g", group, "-o", "json"]) {
        let number = |name: &str| record[name].as_i64().unwrap();
        places.entry(number("partition")).or_default().push(number("offset"));
    }
    for offsets in places.values() {
        assert_eq!(*offsets, (offsets[0]..END).collect::<Vec<_>>());
    }
    places.into_iter().map(|(partition, offsets)| (partition, offsets[0])).collect()
}

fn send(clients: &mut Clients, producer: &str, group: &str, offsets: &[(i64, i64)]) {
    let offsets: Vec<Value> = offsets.iter().map(|(partition, offset)| json!([TOPIC, partition, offset])).collect();
    clients.step("offsets", json!({"producer": producer, "group": group, "offsets": offsets}));
}

fn kdir_goes_on_exactly_where_a_transaction_has_committed(kafka: Kafka) {
    let kdir = Kdir::new();
    let mut broker = Broker::start(kafka, &kdir);
    let mut clients = Clients::start(&broker);
    clients.step("create", json!({"topic": TOPIC, "partitions": 3}));
    clients.step("create", json!({"topic": "out", "partitions": 1}));
    for partition in 0..3 {
        clients.step("produce", json!({"topic": TOPIC, "partition": partition, "count": END}));
    }
    let begin = |clients: &mut Clients, producer: &str| {
        clients.step("begin", json!({"producer": producer}));
        clients.step("send", json!({"producer": producer, "topic": "out", "partition": 0, "count": 2}));
    };
    let end = |clients: &mut Clients, producer: &str, commits: bool| {
        clients.step("end", json!({"producer": producer, "commits": commits}));
    };
    begin(&mut clients, "one");
    send(&mut clients, "one", "both-g", &[(0, 4), (1, 3)]);
    send(&mut clients, "one", "committed-g", &[(2, 9)]);
    end(&mut clients, "one", true);
    begin(&mut clients, "one");
    send(&mut clients, "one", "both-g", &[(0, 8), (2, 5)]);
    send(&mut clients, "one", "aborted-g", &[(0, 1), (1, 2), (2, 3)]);
    end(&mut clients, "one", false);
    begin(&mut clients, "two");
    send(&mut clients, "two", "both-g", &[(1, 7)]);
    send(&mut clients, "two", "open-g", &[(0, 6)]);
    send(&mut clients, "two", "later-g", &[(0, 6)]);
    // Older brokers drop what is forgotten before it is decided, and have it again once they have read their log.
    if kafka == Kafka::K4 {
        clients.step("alter", json!({"group": "forgotten-g", "offsets": [[TOPIC, 0, 2]]}));
        send(&mut clients, "two", "forgotten-g", &[(0, 6), (1, 6)]);
        clients.step("forget", json!({"group": "forgotten-g", "offsets": [[TOPIC, 0]]}));
    }
    until("kdir and the tool show the same", || shown_by_kdir(&kdir).committed == clients.shown().committed);
    broker.stop();

    let firsts = |offsets: [i64; 3]| (0..).zip(offsets).collect::<BTreeMap<i64, i64>>();
    assert_eq!(firsts_of_kdir(&kdir, "both-g"), firsts([4, 3, 0]));
    assert_eq!(firsts_of_kdir(&kdir, "committed-g"), firsts([0, 0, 9]));
    assert_eq!(firsts_of_kdir(&kdir, "aborted-g"), firsts([0, 0, 0]));
    assert_eq!(firsts_of_kdir(&kdir, "open-g"), firsts([0, 0, 0]));
    kdir.assert_sound();

    // The open transaction is committed: what kdir has committed since is not taken back by it.
    broker.start_again();
    end(&mut clients, "two", true);
    begin(&mut clients, "one");
    send(&mut clients, "one", "both-g", &[(2, 1)]);
    end(&mut clients, "one", true);
    until("kdir and the tool show the same again", || shown_by_kdir(&kdir).committed == clients.shown().committed);
    let committed = shown_by_kdir(&kdir).committed;
    let of = |group: &str| {
        let of = committed.iter().filter(|((of, _), _)| of == group);
        of.map(|((_, partition), offset)| (&**partition, *offset)).collect::<Vec<_>>()
    };
    assert_eq!(of("both-g"), [("orders-0", END), ("orders-1", END), ("orders-2", 1)]);
    assert_eq!(of("open-g"), [("orders-0", END), ("orders-1", END), ("orders-2", END)]);
    assert_eq!(of("later-g"), [("orders-0", 6)]);
    if kafka == Kafka::K4 {
        assert_eq!(of("forgotten-g"), [("orders-1", 6)]);
    }
    assert_quiet(&broker);
    broker.stop();
    assert_eq!(firsts_of_kdir(&kdir, "later-g"), firsts([6, 0, 0]));
    assert_eq!(firsts_of_kdir(&kdir, "both-g"), [(2, 1)].into());
}
