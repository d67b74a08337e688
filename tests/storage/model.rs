//! Random histories of one partition, held against a plain list.

use super::support::{
    NOW, Writer, append_at, append_at_once, disk_with_partition, guard, open_at, read_on, reader_at, verify, view_at,
};
use kdir::disk::faulty::FaultyDisk;
use kdir::storage::retention::{self, Limits, Plan};
use kdir::storage::{Checkpoints, LogConfig, LogView, PartitionGuard, SyncFor, sync_now};
use kdir::units::{Offset, Timestamp};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    /// Writer 0 or 1 appends so many records, at a time so far from the first.
    Append(usize, usize, i64),
    /// Writer 0 or 1 appends so many batches of one record at once, each later than the one before by so much.
    AppendAtOnce(usize, usize, i64),
    /// From now on segments have so many bytes, and index entries so far apart.
    Alter(u64, u64),
    /// Somebody reads from an offset on, so far (in hundredths) into the log.
    ReadFromOffset(i64),
    /// Somebody asks for the first record at or after a time.
    ReadFromTime(i64),
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
        8 => (0..2_usize, 1..4_usize, 0..40_i64).prop_map(|(writer, count, time)| Step::Append(writer, count, time)),
        4 => (0..2_usize, 2..12_usize, -3..4_i64).prop_map(|(writer, count, by)| Step::AppendAtOnce(writer, count, by)),
        1 => (150..700_u64, 0..400_u64).prop_map(|(segment, interval)| Step::Alter(segment, interval)),
        2 => (0..=100_i64).prop_map(Step::ReadFromOffset),
        2 => (-1..42_i64).prop_map(Step::ReadFromTime),
        3 => (0..2_usize).prop_map(Step::Sync),
        1 => (0..2_usize).prop_map(Step::Reopen),
        1 => (1..5_i64).prop_map(Step::DeleteRecords),
        1 => (0..600_i64).prop_map(Step::Retain),
        1 => Just(Step::Kill),
        1 => any::<u64>().prop_map(Step::Crash),
    ]
}

/// Applies the retention that is in force under `guard`. The plan that it went by.
pub(super) fn retain(guard: &PartitionGuard) -> Plan {
    let view = LogView::of(guard.folder().clone(), guard.checkpoints()).unwrap();
    let plan = retention::plan(&view, &Limits::of(guard.config()), NOW).unwrap();
    let going = &plan.decisions[..plan.going().count()];
    let mut gone = 0;
    while gone < going.len() {
        let count = retention::apply(guard, &going[gone..], NOW, &mut Vec::new(), |_| {}).unwrap();
        assert!(count > 0, "nothing has changed since the plan, and {} segments are left", going.len() - gone);
        gone += count;
    }
    plan
}

struct World {
    disk: FaultyDisk,
    config: LogConfig,
    checkpoints: Checkpoints,
    writers: Vec<Writer>,
    /// Every record that was ever appended, with its time, by offset.
    appended: Vec<(String, Timestamp)>,
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
        for writer in &mut self.writers {
            writer.go_by(self.config.clone(), self.checkpoints);
        }
        match *step {
            Step::Append(writer, count, time) => {
                let values: Vec<String> = (0..count).map(|at| format!("{}", self.number + at)).collect();
                self.number += count;
                let values_ref: Vec<&str> = values.iter().map(String::as_str).collect();
                let appended = append_at(&mut self.writers[writer], &values_ref, NOW + time).unwrap();
                assert_eq!(appended.base_offset.0, self.appended.len() as i64);
                self.appended.extend(values.into_iter().map(|value| (value, NOW + time)));
            }
            Step::AppendAtOnce(writer, count, by) => {
                let values: Vec<String> = (0..count).map(|at| format!("{}", self.number + at)).collect();
                self.number += count;
                let times = (0..).map(|at| NOW + (20 + at * by));
                let records: Vec<(&str, Timestamp)> = values.iter().map(String::as_str).zip(times).collect();
                let went = append_at_once(&mut self.writers[writer], &records).unwrap();
                assert_eq!(went[0].base_offset.0, self.appended.len() as i64);
                assert_eq!(went.iter().map(|it| it.batch_count).sum::<usize>(), count);
                self.appended.extend(records.iter().map(|(value, time)| ((*value).to_owned(), *time)));
            }
            Step::Alter(segment_bytes, index_interval_bytes) => {
                self.config = LogConfig { segment_bytes, index_interval_bytes, ..self.config.clone() };
            }
            Step::ReadFromOffset(hundredths) => {
                let mut log = reader_at(&self.disk, self.checkpoints);
                let start = log.view().log_start_offset().0;
                let from = start + (self.appended.len() as i64 - start) * hundredths / 100;
                log.seek(Offset(from));
                assert_eq!(read_on(log).unwrap(), self.expected(from), "from {from}");
            }
            Step::ReadFromTime(time) => {
                let log = view_at(&self.disk, self.checkpoints);
                let start = log.log_start_offset().0;
                let wanted = (start..).zip(&self.appended[start as usize..]).find(|(_, (_, at))| *at >= NOW + time);
                let wanted = wanted.map(|(offset, (_, at))| (Offset(offset), *at));
                assert_eq!(log.offset_for_time(NOW + time).unwrap(), wanted, "at {time}");
            }
            Step::Sync(writer) => {
                let durable = sync_now(self.writers[writer].pending_sync(), SyncFor::Acknowledgement).unwrap();
                self.durable = self.durable.max(durable.through.0);
                if let Some(point) = durable.recovery_point {
                    let recovery_point = self.checkpoints.recovery_point.max(point);
                    self.checkpoints = Checkpoints::of_files(recovery_point, self.checkpoints.log_start_offset);
                }
            }
            Step::Reopen(writer) => {
                self.writers[writer].close(NOW).unwrap();
                self.writers[writer] = open_at(&self.disk, self.config.clone(), self.checkpoints).unwrap();
            }
            Step::DeleteRecords(count) => {
                self.run(&Step::Append(0, 1, 20));
                self.run(&Step::Sync(0));
                let end = self.appended.len() as i64;
                self.checkpoints.log_start_offset.0 = (self.checkpoints.log_start_offset.0 + count).min(end);
            }
            Step::Retain(bytes) => {
                let limits = LogConfig { retention_bytes: bytes, ..self.config.clone() };
                let plan = retain(&guard(&self.disk, limits, self.checkpoints).unwrap());
                self.checkpoints.log_start_offset = self.checkpoints.log_start_offset.max(plan.log_start_offset());
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
                let start = view_at(&self.disk, Checkpoints::default()).log_start_offset();
                self.checkpoints.log_start_offset = self.checkpoints.log_start_offset.max(start).min(Offset(end));
                self.durable = self.durable.max(self.checkpoints.log_start_offset.0);
            }
        }
        self.check(step);
    }

    fn check(&self, step: &Step) {
        let log = reader_at(&self.disk, self.checkpoints);
        let start = log.view().log_start_offset().0.max(self.checkpoints.log_start_offset.0);
        assert_eq!(read_on(log).unwrap(), self.expected(start), "after {step:?}");
        assert_eq!(verify(&self.disk, self.checkpoints), [], "after {step:?}");
    }

    fn expected(&self, start: i64) -> Vec<(i64, String)> {
        (start..self.appended.len() as i64).map(|at| (at, self.appended[at as usize].0.clone())).collect()
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

/// Found as a random history: behind an empty active segment a writer noted an older one, took it for the active one, and
/// synced nothing else from then on.
#[test]
fn a_writer_that_began_at_an_empty_segment_syncs_what_comes_into_it() {
    use Step::{Append, Crash, DeleteRecords, Sync};
    let mut world = World::new();
    let cut_to_an_empty_segment = Crash(13_246_413_471_328_555_600);
    let mut steps = vec![Append(0, 1, 0); 6];
    steps.extend([cut_to_an_empty_segment, Sync(0), Append(1, 1, 0), DeleteRecords(1), Append(0, 1, 0), Sync(0)]);
    for step in &steps {
        world.run(step);
    }
    for seed in 0..50 {
        let end = world.disk.crash(seed);
        assert_eq!(view_at(&end, world.checkpoints).log_end_offset().unwrap(), Offset(world.durable), "seed {seed}");
    }
}
