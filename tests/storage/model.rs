//! Random histories of one partition, held against a plain list.

use super::support::{NOW, append_at, disk_with_partition, open_at, read_on, reader_at};
use kdir::disk::faulty::FaultyDisk;
use kdir::storage::{Checkpoints, LogConfig, LogWriter, retention, sync_now};
use kdir::units::Offset;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    /// Writer 0 or 1 appends so many records.
    Append(usize, usize),
    /// Writer 0 or 1 syncs, and what it appended is durable with everything before.
    Sync(usize),
    /// A writer is closed and opened anew.
    Reopen(usize),
    /// The log start moves forward by so much.
    DeleteRecords(i64),
    /// Retention keeps so many bytes.
    Retain(i64),
    /// All processes die.
    Kill,
    /// The power fails.
    Crash(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..2_usize, 1..4_usize).prop_map(|(writer, count)| Step::Append(writer, count)),
        3 => (0..2_usize).prop_map(Step::Sync),
        1 => (0..2_usize).prop_map(Step::Reopen),
        1 => (1..5_i64).prop_map(Step::DeleteRecords),
        1 => (0..600_i64).prop_map(Step::Retain),
        1 => Just(Step::Kill),
        1 => any::<u64>().prop_map(Step::Crash),
    ]
}

struct World {
    disk: FaultyDisk,
    config: LogConfig,
    checkpoints: Checkpoints,
    writers: Vec<LogWriter>,
    /// Every record that was ever appended, by offset.
    appended: Vec<String>,
    /// Everything below was acknowledged.
    durable: i64,
    number: usize,
}

impl World {
    fn new() -> Self {
        let config = LogConfig { segment_bytes: 300, index_interval_bytes: 100, ..LogConfig::default() };
        let (disk, checkpoints) = (disk_with_partition(), Checkpoints::default());
        let mut world =
            Self { disk, config, checkpoints, writers: Vec::new(), appended: Vec::new(), durable: 0, number: 0 };
        world.open_writers();
        world
    }

    fn open_writers(&mut self) {
        let open = |_| open_at(&self.disk, self.config.clone(), self.checkpoints).unwrap();
        self.writers = (0..2).map(open).collect();
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Append(writer, count) => {
                let values: Vec<String> = (0..count).map(|at| format!("{}", self.number + at)).collect();
                self.number += count;
                let values_ref: Vec<&str> = values.iter().map(String::as_str).collect();
                let appended = append_at(&mut self.writers[writer], &values_ref, NOW + self.number as i64).unwrap();
                assert_eq!(appended.base_offset.0, self.appended.len() as i64);
                self.appended.extend(values);
            }
            Step::Sync(writer) => {
                let durable = sync_now(self.writers[writer].pending_sync()).unwrap();
                self.durable = self.durable.max(durable.through.0);
                if durable.rolled {
                    self.checkpoints.recovery_point = self.checkpoints.recovery_point.max(durable.through);
                }
            }
            Step::Reopen(writer) => {
                self.writers[writer].close(NOW).unwrap();
                self.writers[writer] = open_at(&self.disk, self.config.clone(), self.checkpoints).unwrap();
            }
            Step::DeleteRecords(count) => {
                self.run(&Step::Append(0, 1));
                self.run(&Step::Sync(0));
                let end = self.appended.len() as i64;
                self.checkpoints.log_start_offset.0 = (self.checkpoints.log_start_offset.0 + count).min(end);
            }
            Step::Retain(bytes) => {
                let limits = LogConfig { retention_bytes: bytes, ..self.config.clone() };
                let Checkpoints { log_start_offset, recovery_point } = self.checkpoints;
                let writer = &mut self.writers[0];
                let plan = retention::apply(writer, &limits, log_start_offset, recovery_point, NOW, |_| {}).unwrap();
                self.checkpoints.log_start_offset = log_start_offset.max(plan.log_start_offset());
            }
            Step::Kill => {
                self.disk = self.disk.kill();
                self.open_writers();
            }
            Step::Crash(seed) => {
                self.writers.clear();
                self.disk = self.disk.crash(seed);
                self.open_writers();
                let end = self.writers[1].log_end_offset().0.max(self.writers[0].log_end_offset().0);
                assert!(end >= self.durable, "log end {end}, acknowledged up to {}", self.durable);
                assert!(end <= self.appended.len() as i64, "nothing that was never written");
                self.appended.truncate(end as usize);
                // The log start moves with what retention removed, as far as that was durable.
                let start = reader_at(&self.disk, Checkpoints::default()).log_start_offset();
                self.checkpoints.log_start_offset = self.checkpoints.log_start_offset.max(start).min(Offset(end));
                self.durable = self.durable.max(self.checkpoints.log_start_offset.0);
            }
        }
        self.check(step);
    }

    fn check(&self, step: &Step) {
        let log = reader_at(&self.disk, self.checkpoints);
        let start = log.log_start_offset().0.max(self.checkpoints.log_start_offset.0);
        let read = read_on(log).unwrap();
        let expected: Vec<(i64, String)> =
            (start..self.appended.len() as i64).map(|at| (at, self.appended[at as usize].clone())).collect();
        assert_eq!(read, expected, "after {step:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn any_history_reads_as_the_list_that_it_appended(steps in proptest::collection::vec(step(), 1..40)) {
        let mut world = World::new();
        for step in &steps {
            world.run(step);
        }
    }
}
