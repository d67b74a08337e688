//! Members of a group share partitions: in any order of what they do, nobody has what another has, and in the end all have
//! their share.

use super::support::{disk_with_log_dir, open_log_dir, topic_config};
use kdir::groups::{Assignment, Balance, FileSystems, Membership};
use kdir::logdir::{Alteration, LogDirError, NewTopic, Topic};
use kdir::units::TopicPartition;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// What happens to one of the members, whose number is taken modulo how many there are.
#[derive(Debug, Clone, Copy)]
enum Step {
    Join,
    /// It ends or dies: the kernel makes no difference.
    Leave(usize),
    Balance(usize),
    /// It gives up what it is to give up.
    GiveUp(usize),
    /// Partitions are added to the topic.
    Grow(i32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Join),
        1 => any::<usize>().prop_map(Step::Leave),
        6 => any::<usize>().prop_map(Step::Balance),
        3 => any::<usize>().prop_map(Step::GiveUp),
        1 => (1..5).prop_map(Step::Grow),
    ]
}

struct Model {
    disk: kdir::disk::faulty::FaultyDisk,
    topics: Vec<Topic>,
    members: Vec<(Membership, Vec<TopicPartition>)>,
}

impl Model {
    fn new(partitions: &[i32]) -> Self {
        let disk = disk_with_log_dir();
        let log_dir = open_log_dir(&disk).unwrap();
        let make = |(number, &partitions): (usize, &i32)| {
            let name = format!("t{number}").parse().unwrap();
            log_dir.create_topic(&NewTopic { name, partitions, config: topic_config(&[]) }).unwrap();
            log_dir.topic(&format!("t{number}").parse().unwrap()).unwrap()
        };
        let topics = partitions.iter().enumerate().map(make).collect();
        Self { disk, topics, members: Vec::new() }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Join => {
                let log_dir = open_log_dir(&self.disk).unwrap();
                let text = format!("{} host", self.members.len());
                let mut member =
                    Membership::new(&log_dir, &"g".parse().unwrap(), (Assignment::Shared, FileSystems::Local), text);
                self.topics.iter().for_each(|topic| drop(member.join(topic).unwrap()));
                self.members.push((member, Vec::new()));
            }
            Step::Grow(by) => {
                let log_dir = open_log_dir(&self.disk).unwrap();
                let name = self.topics[0].name.clone();
                let partitions = self.topics[0].partitions.len() as i32 + by;
                let more = Alteration { config: None, partitions: Some(partitions) };
                log_dir.alter_topic::<LogDirError>(&name, |_| Ok(more)).unwrap();
                self.topics[0] = log_dir.topic(&name).unwrap();
                for (member, _) in &mut self.members {
                    member.join(&self.topics[0]).unwrap();
                }
            }
            Step::Leave(_) | Step::Balance(_) | Step::GiveUp(_) if self.members.is_empty() => {}
            Step::Leave(at) => drop(self.members.swap_remove(at % self.members.len())),
            Step::Balance(at) => {
                let at = at % self.members.len();
                let (member, surplus) = &mut self.members[at];
                let balance: Balance = member.balance().unwrap();
                *surplus = balance.surplus;
            }
            Step::GiveUp(at) => {
                let at = at % self.members.len();
                let (member, surplus) = &mut self.members[at];
                surplus.drain(..).for_each(|partition| member.give_up(&partition).unwrap());
            }
        }
    }

    fn owned(&self) -> Vec<Vec<TopicPartition>> {
        self.members.iter().map(|(member, _)| member.owned().collect()).collect()
    }

    fn assert_nobody_shares(&self) {
        let mut all = BTreeSet::new();
        for partition in self.owned().into_iter().flatten() {
            assert!(all.insert(partition.clone()), "{partition} has two owners");
        }
    }

    /// Everybody looks and gives, as often as there are members.
    fn settle(&mut self) {
        for _ in 0..=self.members.len() {
            for at in 0..self.members.len() {
                self.take(Step::Balance(at));
                self.take(Step::GiveUp(at));
                self.assert_nobody_shares();
            }
        }
    }

    fn assert_shared_evenly(&self) {
        if self.members.is_empty() {
            return;
        }
        let owned = self.owned();
        for topic in &self.topics {
            let shares: Vec<usize> =
                owned.iter().map(|of| of.iter().filter(|it| it.topic == topic.name).count()).collect();
            assert_eq!(shares.iter().sum::<usize>(), topic.partitions.len(), "{shares:?}");
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            assert!(most - least <= 1, "{shares:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn whatever_members_do_nobody_has_what_another_has_and_in_the_end_all_have_their_share(
        partitions in proptest::collection::vec(1..50_i32, 1..3), steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut model = Model::new(&partitions);
        for step in steps {
            model.take(step);
            model.assert_nobody_shares();
        }
        model.settle();
        model.assert_shared_evenly();
        // Who looks again changes nothing.
        let before = model.owned();
        model.settle();
        prop_assert_eq!(model.owned(), before);
    }
}

#[test]
fn of_many_topics_with_one_partition_not_all_go_to_one_member() {
    let mut model = Model::new(&[1; 12]);
    (0..3).for_each(|_| model.take(Step::Join));
    model.settle();
    let shares: Vec<usize> = model.owned().iter().map(Vec::len).collect();
    assert!(shares.iter().all(|&share| share > 0), "{shares:?}");
}

#[test]
fn a_topic_that_is_deleted_ends_its_members() {
    let mut model = Model::new(&[3]);
    model.take(Step::Join);
    model.take(Step::Balance(0));
    let partition = model.owned()[0][0].clone();
    assert!(model.members[0].0.has(&partition).unwrap());
    let log_dir = open_log_dir(&model.disk).unwrap();
    log_dir.delete_topic(&model.topics[0].name, |_| ()).unwrap();
    log_dir
        .create_topic(&NewTopic { name: model.topics[0].name.clone(), partitions: 3, config: topic_config(&[]) })
        .unwrap();
    assert!(!model.members[0].0.has(&partition).unwrap());
    assert!(model.members[0].0.balance().unwrap_err().to_string().contains("deleted"));
}
