//! Whether what is said of a damaged log, and done about it, is right.

use super::super::support::{NOW, ROOT, open_log_dir};
use super::logs::{APPENDED, Batch, Files, Log, State, batch, files, offset_of, partition, path, read};
use super::truth::{Truth, is_foreign, tail};
use kdir::disk::Disk;
use kdir::disk::faulty::FaultyDisk;
use kdir::logdir::{LogDir, TopicFindings};
use kdir::storage::Durability;
use kdir::storage::check::{Finding, Problem, Severity};
use kdir::storage::repair::DamagedRecords;
use memchr::memmem;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// What must hold in every case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    /// What is sound is not called damaged or lost, can be read and be written to.
    FalseAlarm,
    /// Acknowledged records that are gone or altered are called damaged or lost, at their place.
    Silent,
    /// No record that is there is called lost.
    FalseLoss,
    /// Other bytes that are not what they were are noticed.
    Unnoticed,
    /// A repair of a log in which nothing was changed changes no byte.
    Touches,
    /// A plain repair keeps every sound batch.
    RepairLoses,
    /// No repair gives a batch an offset that it did not have, but for its own.
    Renumbers,
    /// After a repair that gives up what is lost, nothing is damaged or lost.
    Left,
    /// It keeps every sound batch that is in its place, and readers show it.
    GivesUpSound,
    /// No offset that was acknowledged is given again, with and without a repair.
    OffsetAgain,
    /// A writer cuts no sound batch.
    WriterLoses,
    /// A reader shows no record at a wrong offset or with wrong bytes, unless it ends with an error.
    ShowsWrong,
    /// A reader that ends without an error has shown every sound record in its place.
    Hides,
}

#[derive(Debug)]
pub(super) struct Judged {
    /// The worst severity that was found.
    pub(super) verdict: Option<Severity>,
    /// Why nobody can tell from the disk that something is wrong.
    pub(super) undecidable: Option<&'static str>,
    pub(super) wrong: BTreeMap<Rule, String>,
}

fn verify(disk: &FaultyDisk) -> kdir::logdir::Result<TopicFindings> {
    let dir = LogDir::open(Arc::new(disk.clone()), Path::new(ROOT))?;
    dir.begin_verification(&[], || {})?.run(1, &|_| {})
}

fn findings(disk: &FaultyDisk) -> Vec<Finding> {
    verify(disk).map_or(Vec::new(), |found| found.all().map(|(_, finding)| finding.clone()).collect())
}

/// The repair that touches nothing but what can be put right for certain.
fn repair(disk: &FaultyDisk) {
    repair_as(disk, DamagedRecords::Keep);
}

/// The repair that gives up what is lost.
fn give_up(disk: &FaultyDisk) {
    repair_as(disk, DamagedRecords::GiveUp);
}

/// What fails is left as it is, which is judged by the disk.
fn repair_as(disk: &FaultyDisk, damaged_records: DamagedRecords) {
    let Ok(found) = verify(disk) else { return };
    let Ok(dir) = open_log_dir(disk) else { return };
    for plan in found.plan_repair(damaged_records) {
        let _ = dir.apply_repair(&plan, 1, &mut Vec::new());
    }
}

/// Appends a batch; returns the offset that it was given.
fn produce(disk: &FaultyDisk) -> kdir::logdir::Result<i64> {
    let dir = open_log_dir(disk)?;
    let handle = dir.partition(&dir.topic(&partition().topic)?, 0)?;
    let guard = handle.guard()?;
    let mut writer = dir.open_writer(&handle, &guard, Durability::Synced, NOW)?;
    let appended = writer.append(&guard, &mut [&mut batch(0, APPENDED, "none")], NOW)?;
    drop(guard);
    handle.close(&mut writer, NOW)?;
    Ok(appended.base_offset.0)
}

fn logs(files: &Files) -> impl Iterator<Item = &Vec<u8>> {
    files.iter().filter(|(name, _)| name.starts_with("app-0/") && name.ends_with(".log")).map(|(_, bytes)| bytes)
}

fn holds(files: &Files, batch: &Batch) -> bool {
    logs(files).any(|bytes| memmem::find(bytes, &batch.bytes).is_some())
}

/// Offsets that the bytes of a batch have, outside the checksum, in the logs.
fn bases(files: &Files, batch: &[u8]) -> BTreeSet<i64> {
    let tail = tail(batch);
    let head = batch.len() - tail.len();
    let places = |bytes: &Vec<u8>| {
        let base = |at: usize| bytes.get(at.checked_sub(head)?..).map(offset_of);
        memmem::find_iter(bytes, tail).filter_map(base).collect::<Vec<_>>()
    };
    logs(files).flat_map(places).collect()
}

fn with_offset(batch: &[u8], offset: i64) -> Vec<u8> {
    [&offset.to_be_bytes(), &batch[8..]].concat()
}

/// The first batch that is in the logs with an offset that it never had; foreign ones too.
fn renumbered(truth: &Truth<'_>, after: &Files) -> Option<String> {
    let of = |batch: &[u8]| {
        let (own, known) = (offset_of(batch), bases(&truth.after, batch));
        let is_new = |base: &i64| {
            let known_as = |known: &i64| truth.may_be_flipped_from(&with_offset(batch, *known), *base);
            *base != own && !known.contains(base) && !known.iter().any(known_as)
        };
        let new = bases(after, batch).into_iter().find(is_new)?;
        Some(format!("the batch at {own} has the offset {new}"))
    };
    let pieces = truth.state.segments.values().flatten().filter(|piece| is_foreign(&piece.bytes));
    let of_log = truth.log.batches.iter().map(|batch| &batch.bytes[..]);
    of_log.chain(pieces.map(|piece| &piece.bytes[..])).find_map(of)
}

/// What is wrong with what a reader has shown.
fn shown_wrong(truth: &Truth<'_>, shown: &[(i64, Vec<u8>)]) -> Option<String> {
    let records = &truth.log.records;
    let mut next = 0;
    for (offset, content) in shown {
        if *offset < next {
            return Some(format!("offset {offset} after {next}"));
        }
        next = offset + 1;
        // A whole batch of another log that claims offsets which this one does not have, or fits into it but for one bit, is
        // nothing that a reader can know.
        let is_elsewhere = is_foreign(content) && (!records.contains_key(offset) || truth.fits_in(*offset));
        if records.get(offset) != Some(content) && !is_elsewhere {
            return Some(format!("at offset {offset}: {}", String::from_utf8_lossy(content)));
        }
    }
    None
}

/// A record of a batch in its place that a reader has not shown.
fn hidden(truth: &Truth<'_>, shown: &[(i64, Vec<u8>)]) -> Option<i64> {
    let shown: BTreeSet<i64> = shown.iter().map(|it| it.0).collect();
    let in_place = truth.in_place.iter().map(|&it| &truth.log.batches[it]);
    let mut offsets = in_place.flat_map(|it| truth.log.records.range(it.first..=it.last)).map(|it| *it.0);
    offsets.find(|offset| !shown.contains(offset))
}

pub(super) fn judge(log: &Log, state: &State) -> Judged {
    let (truth, disk) = (Truth::of(log, state), log.disk_with(state));
    let found = findings(&disk);
    let mut judged = Judged {
        verdict: found.iter().map(Finding::severity).max(),
        undecidable: truth.why_nobody_can_tell(),
        wrong: BTreeMap::new(),
    };
    judge_verdict(&truth, &found, &mut judged.wrong);
    judge_reading(&truth, &disk, &mut judged.wrong);
    judge_writing(&truth, &disk.kill(), &mut judged.wrong);
    judge_repair(&truth, &disk.kill(), &mut judged.wrong);
    judge_giving_up(&truth, &disk.kill(), &mut judged.wrong);
    judged
}

type Wrong = BTreeMap<Rule, String>;

fn judge_verdict(truth: &Truth<'_>, found: &[Finding], wrong: &mut Wrong) {
    let described = |it: &Finding| format!("{}: {} ({})", it.path.display(), it.problem, it.severity().name());
    let all = || found.iter().map(described).collect::<Vec<_>>().join("; ");
    let worst = found.iter().map(Finding::severity).max();
    if truth.is_unharmed() && worst.is_some_and(Severity::is_wrong) {
        wrong.insert(Rule::FalseAlarm, all());
    }
    let is_about = |it: &&Finding, least: Severity| it.severity() >= least && truth.is_about(it);
    let lost = truth.lost();
    // Of what cannot be known for certain, a broker's gaps at least have to be shown.
    let is_brokers_gap = truth.undecidable == Some("gaps") && !truth.log.is_compacted;
    let least = match truth.undecidable {
        None => Some(Severity::Damaged),
        Some(_) => is_brokers_gap.then_some(Severity::Note),
    };
    if let (Some(first), Some(least)) = (lost.first(), least)
        && !found.iter().any(|it| is_about(&it, least))
    {
        wrong.insert(Rule::Silent, format!("from {} on: {}", first.first, all()));
    }
    let is_of_log = |name: &&str| [".log", ".index", ".timeindex"].iter().any(|suffix| name.ends_with(suffix));
    if truth.changed().iter().all(is_of_log)
        && let Some(what) = found.iter().find_map(|it| falsely_lost(truth, it))
    {
        wrong.insert(Rule::FalseLoss, what);
    }
    if truth.has_extra && lost.is_empty() && truth.undecidable.is_none() && found.is_empty() {
        wrong.insert(Rule::Unnoticed, "bytes that were not written".into());
    }
    if let Some((name, least)) = truth.to_be_noticed()
        && !found.iter().any(|it| {
            it.severity() >= least && (name == "app.json" || it.path.starts_with(path(name.split('/').next().unwrap())))
        })
    {
        wrong.insert(Rule::Unnoticed, format!("{name}: {}", all()));
    }
}

/// A record that is there, among those that a finding says are lost.
fn falsely_lost(truth: &Truth<'_>, finding: &Finding) -> Option<String> {
    let next = match finding.problem {
        Problem::DamagedBatch { next_offset, .. } | Problem::MissingOffsets { next_offset } => next_offset,
        Problem::EndsBelowRecoveryPoint { recovery_point: next }
        | Problem::EndsBelowHighWatermark { high_watermark: next } => next,
        _ => return None,
    };
    let lost = finding.offset?.0..next.0;
    let in_place = truth.in_place.iter().map(|&it| &truth.log.batches[it]);
    let there = in_place.flat_map(|it| truth.log.records.range(it.first..=it.last)).find(|it| lost.contains(it.0))?;
    Some(format!("{} of {lost:?}: {}", there.0, finding.problem))
}

fn judge_reading(truth: &Truth<'_>, disk: &FaultyDisk, wrong: &mut Wrong) {
    let (shown, error) = read(disk);
    if truth.is_unharmed() && (error.is_some() || shown.len() != truth.log.records.len()) {
        wrong.insert(Rule::FalseAlarm, format!("read {} records, {error:?}", shown.len()));
    }
    if error.is_some() {
        return;
    }
    if let Some(what) = shown_wrong(truth, &shown).filter(|_| !truth.could_be_cleaned) {
        wrong.insert(Rule::ShowsWrong, what);
    }
    if let Some(offset) = hidden(truth, &shown) {
        wrong.insert(Rule::Hides, format!("offset {offset}"));
    }
}

fn judge_writing(truth: &Truth<'_>, disk: &FaultyDisk, wrong: &mut Wrong) {
    match produce(disk) {
        Err(error) if truth.is_unharmed() => drop(wrong.insert(Rule::FalseAlarm, format!("produce: {error}"))),
        Err(_) => {}
        Ok(offset) => judge_offset(truth, offset, "without a repair", wrong),
    }
    if let Some(batch) = gone(truth, &files(disk), &truth.sound) {
        wrong.insert(Rule::WriterLoses, format!("the batch at {batch}"));
    }
}

fn judge_offset(truth: &Truth<'_>, offset: i64, when: &str, wrong: &mut Wrong) {
    if truth.undecidable.is_none() && offset < truth.log.acknowledged.min(truth.promised_with_log()) {
        wrong.insert(Rule::OffsetAgain, format!("{when}: {offset} of {}", truth.log.acknowledged));
    }
}

/// The folder of a broker that is missing is reported as long as it is, by what a file knows of it, and left to the broker.
fn judge_missing_folder(truth: &Truth<'_>, disk: &FaultyDisk, after: &Files, wrong: &mut Wrong) {
    let owner = kdir::storage::check::Owner::Broker;
    let is_reported = |it: &Finding| it.path == path("app-0") && it.problem == Problem::MissingFolder { owner };
    if truth.is_known_to_have_records() && !findings(disk).iter().any(is_reported) {
        wrong.insert(Rule::Silent, "the folder is not reported".into());
    }
    if after.keys().any(|name| name.starts_with("app-0/")) || disk.stat(&path("app-0")).unwrap().is_some() {
        wrong.insert(Rule::Touches, "the folder is made".into());
    }
}

/// The first of these batches that no log holds any more.
fn gone(truth: &Truth<'_>, after: &Files, batches: &BTreeSet<usize>) -> Option<i64> {
    let is_gone = |it: &&Batch| !holds(after, it);
    batches.iter().map(|&it| &truth.log.batches[it]).find(is_gone).map(|it| it.first)
}

fn judge_repair(truth: &Truth<'_>, disk: &FaultyDisk, wrong: &mut Wrong) {
    repair(disk);
    let mut after = files(disk);
    after.remove(".lock");
    let before = truth.after.iter().filter(|(name, _)| *name != ".lock");
    if truth.changed().is_empty() && !after.iter().eq(before) {
        wrong.insert(Rule::Touches, "files".into());
    }
    if let Some(batch) = gone(truth, &after, &truth.sound) {
        wrong.insert(Rule::RepairLoses, format!("the batch at {batch}"));
    }
    if let Some(what) = renumbered(truth, &after) {
        wrong.insert(Rule::Renumbers, what);
    }
}

fn judge_giving_up(truth: &Truth<'_>, disk: &FaultyDisk, wrong: &mut Wrong) {
    give_up(disk);
    let after = files(disk);
    if truth.is_for_the_broker_to_make() {
        return judge_missing_folder(truth, disk, &after, wrong);
    }
    let left = findings(disk).into_iter().filter(|it| it.severity() >= Severity::Damaged);
    if let Some(finding) = left.into_iter().next() {
        wrong.insert(Rule::Left, format!("{}: {}", finding.path.display(), finding.problem));
    }
    if let Some(batch) = gone(truth, &after, &truth.in_place) {
        wrong.insert(Rule::GivesUpSound, format!("the batch at {batch}"));
    }
    if let Some(what) = renumbered(truth, &after) {
        wrong.insert(Rule::Renumbers, what);
    }
    let (shown, error) = read(disk);
    if !wrong.contains_key(&Rule::Left) {
        if let Some(offset) = hidden(truth, &shown) {
            wrong.insert(Rule::GivesUpSound, format!("offset {offset} is not shown, {error:?}"));
        }
        match produce(disk) {
            Ok(offset) => judge_offset(truth, offset, "after giving up", wrong),
            Err(error) => drop(wrong.insert(Rule::Left, format!("produce: {error}"))),
        }
    }
    if let Some(what) = shown_wrong(truth, &shown).filter(|_| !truth.could_be_cleaned && error.is_none()) {
        wrong.insert(Rule::ShowsWrong, format!("after giving up: {what}"));
    }
}
