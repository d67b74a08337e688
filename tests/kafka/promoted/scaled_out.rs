//! From one node to three: replicas move, the first node leaves, and nothing is lost.

use super::{complaints_but_of_added, log_dir, promote_and_start, records, served, topics};
use crate::broker::{Broker, CLUSTER, Kafka};
use crate::support::{Kdir, until};
use serde_json::Value;

const QUORUM: &str = "org.apache.kafka.tools.MetadataQuorumCommand";
const FEATURES: &str = "org.apache.kafka.tools.FeatureCommand";

/// Has brokers take every partition of topics, and waits until they have.
fn reassign(broker: &Broker, topics: &[&str], brokers: &str) {
    let words = topics.iter().flat_map(|topic| ["+", "reassign", topic, brokers]);
    broker.client(&words.skip(1).collect::<Vec<_>>(), b"");
}

/// A second node takes every partition over, and the first leaves.
fn scales_out(kafka: Kafka) {
    let (kdir, other) = (log_dir(kafka), Kdir::new());
    let names = topics(&kdir);
    // The id that the second is formatted with.
    let mut first = promote_and_start(kafka, &kdir, &["--cluster-id", CLUSTER]);
    let before = records(&kdir);
    let mut second = first.joined_by(&other);
    let moved = ["cut", "old", "compacted"];
    reassign(&first, &moved, "1,2");
    reassign(&first, &moved, "2");
    assert_eq!(served(&first, &names), before);
    second.stop();
    first.stop();
    let of_moved = |it: &&Value| moved.contains(&it["topic"].as_str().unwrap());
    let expected: Vec<Value> = before.iter().filter(of_moved).cloned().collect();
    assert_eq!(records(&other), expected);
    other.run(&["verify"]).code(0);
    kdir.run(&["verify"]).code(0);
}

/// Two more nodes take replicas of everything, and a vote each. Then the first one, which was promoted, leaves for good.
fn grows_to_three(kafka: Kafka, features: &[&str]) {
    let (kdir, two, three) = (log_dir(kafka), Kdir::new(), Kdir::new());
    let names = topics(&kdir);
    let args = ["--quorum", "dynamic", "--cluster-id", CLUSTER, "--kafka", kafka.release()];
    let mut first = promote_and_start(kafka, &kdir, &args);
    let before = records(&kdir);
    for feature in features {
        first.tool(FEATURES, "--bootstrap-server", &["upgrade", "--feature", feature]);
    }
    let mut peers = [first.peer(&two, 2), first.peer(&three, 3)];
    for peer in &mut peers {
        peer.start_again();
        let add = ["--command-config", &peer.properties(), "add-controller"];
        // It has to have caught up; where the answer came too late, it is a voter already.
        until("a controller is added", || match first.try_tool(QUORUM, "--bootstrap-controller", &add) {
            Ok(_) => true,
            Err(said) => said.contains("DuplicateVoter"),
        });
    }
    let all: Vec<&str> =
        names.iter().map(String::as_str).chain(["__consumer_offsets", "__share_group_state"]).collect();
    reassign(&first, &all, "1,2,3");
    assert_eq!(served(&first, &names), before);
    reassign(&first, &all, "2,3");
    for peer in &peers {
        assert_eq!(complaints_but_of_added(peer), Vec::<String>::new());
    }
    let meta = std::fs::read_to_string(kdir.path("meta.properties")).unwrap();
    let id = meta.lines().find_map(|line| line.strip_prefix("directory.id=")).unwrap();
    let remove = ["remove-controller", "--controller-id", "1", "--controller-directory-id", id];
    first.stop();
    peers[0].tool(QUORUM, "--bootstrap-controller", &remove);
    let status = peers[0].tool(QUORUM, "--bootstrap-controller", &["describe", "--status"]);
    let voters = status.lines().find(|line| line.starts_with("CurrentVoters:")).unwrap();
    let has = |id: u32| voters.contains(&format!("\"id\": {id}"));
    assert_eq!([1, 2, 3].map(has), [false, true, true], "{voters}");
    for peer in &peers {
        assert_eq!(served(peer, &names), before);
    }
    let taken = peers[1].client(&["member", "readers", "orders", "5"], b"");
    assert_eq!(String::from_utf8(taken).unwrap().lines().count(), 15);
    let [mut one, mut other] = peers;
    one.stop();
    other.kill();
    for (node, leaves) in [(&two, "two"), (&three, "three")] {
        assert_eq!(records(node), before, "{leaves}");
    }
    two.run(&["verify"]).code(0);
}

fn grows_to_three_and_the_first_leaves(kafka: Kafka) {
    grows_to_three(kafka, &[]);
}

fn grows_to_three_with_eligible_leader_replicas(kafka: Kafka) {
    grows_to_three(kafka, &["eligible.leader.replicas.version=1"]);
}

crate::on_every_kafka!(kafka_4 = K4: scales_out, grows_to_three_and_the_first_leaves,
    grows_to_three_with_eligible_leader_replicas,);
