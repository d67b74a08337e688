//! Every kind of log with every kind of damage, at every place that matters: what is said of it, and what is done about it,
//! against what was really done to it.
//!
//! Each log is there as kdir leaves it and as a broker does, where both write such logs: see [`logs`]. What is really wrong is
//! found out by [`truth`], and what has to follow from it is a [`Rule`] each, held by [`judge`]. What breaks one today is in
//! [`KNOWN`], counted, so that the list can only shrink. Nothing that would tell what is wrong with some cases is on the disk:
//! they are counted by the reasons that [`truth`] gives, and a verdict on them may be any.
//!
//! With `--nocapture` the test prints the table of damages, logs and verdicts. Two damages to one log are tried by
//! `cargo test --test storage -- --ignored matrix::`.

mod damage;
mod judge;
mod known;
mod logs;
mod truth;

use damage::{Damage, Place};
use judge::{Judged, Rule};
use kdir::storage::check::Severity;
use known::{KNOWN, KNOWN_OF_PAIRS, Known};
use logs::Log;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many pairs of damages are tried.
const PAIRS: usize = 20_000;

struct Case<'a> {
    log: &'a Log,
    damage: &'a Damage,
    place: Place,
}

/// Damage to a damaged log.
struct Pair<'a> {
    first: Case<'a>,
    second: Case<'a>,
}

impl Case<'_> {
    fn judged(&self) -> Judged {
        let mut state = self.log.sound.clone();
        self.damage.do_to(self.log, &mut state, self.place);
        judge::judge(self.log, &state)
    }

    fn described(&self) -> String {
        format!("{}: {} {}", name_of(self.log), self.damage.name, damage::described(self.log, self.place))
    }
}

fn name_of(log: &Log) -> String {
    format!("{} {}", log.owner.name(), log.kind)
}

#[test]
fn a_damage_at_any_place_of_any_log_is_judged_and_repaired_right() {
    let (logs, damages) = (logs::all(), damage::all());
    let mut cases = Vec::new();
    for damage in &damages {
        for log in &logs {
            cases.extend(damage.places(log).into_iter().map(|place| Case { log, damage, place }));
        }
    }
    let judged = judge_all(&cases, Case::judged);
    println!("{}", table(&logs, &damages, &cases, &judged));
    let wrong = wrong(&cases, &judged);
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
#[ignore = "half a minute, and it finds other cases with each change"]
fn two_damages_to_one_log_lose_nothing_sound_either() {
    let (logs, damages) = (logs::all(), damage::all());
    let mut random = 1_u64;
    let mut below = |count: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize % count
    };
    let mut pairs = Vec::new();
    while pairs.len() < PAIRS {
        let log = &logs[below(logs.len())];
        let mut case = || {
            let damage = &damages[below(damages.len())];
            let places = damage.places(log);
            (!places.is_empty()).then(|| Case { log, damage, place: places[below(places.len())] })
        };
        if let (Some(first), Some(second)) = (case(), case()) {
            pairs.push(Pair { first, second });
        }
    }
    let judged = judge_all(&pairs, Pair::judged);
    let (mut counts, mut text) = ([0; KNOWN_OF_PAIRS.len()], String::new());
    for (pair, judged) in pairs.iter().zip(&judged) {
        let is_known = |rule: Rule| [&pair.first, &pair.second].iter().any(|case| known_of(case, rule).is_some());
        for (rule, what) in judged.wrong.iter().filter(|(rule, _)| !is_known(**rule)) {
            let Some(at) = KNOWN_OF_PAIRS.iter().position(|known| known.0 == *rule) else { continue };
            counts[at] += 1;
            writeln!(text, "{rule:?}: {}, then {}: {what}", pair.first.described(), pair.second.described()).unwrap();
        }
    }
    let expected = KNOWN_OF_PAIRS.map(|known| known.1);
    assert_eq!(counts, expected, "of {KNOWN_OF_PAIRS:?}\n{text}");
}

impl Pair<'_> {
    fn judged(&self) -> Judged {
        let mut state = self.first.log.sound.clone();
        for case in [&self.first, &self.second] {
            case.damage.do_to(case.log, &mut state, case.place);
        }
        judge::judge(self.first.log, &state)
    }
}

fn judge_all<C: Sync>(cases: &[C], judge: fn(&C) -> Judged) -> Vec<Judged> {
    let (next, judged) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(at) else { break };
            let verdict = judge(case);
            judged.lock().unwrap().insert(at, verdict);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
    judged.into_inner().unwrap().into_values().collect()
}

/// The known reason for which a case breaks a rule.
fn known_of(case: &Case<'_>, rule: Rule) -> Option<usize> {
    let log = name_of(case.log);
    let is_of = |it: &Known| it.is(&case.damage.name, &log) && it.cases.iter().any(|(other, _)| *other == rule);
    KNOWN.iter().position(is_of)
}

/// The cases that break a rule and are not known to, and the known ones that do not any more.
fn wrong(cases: &[Case<'_>], judged: &[Judged]) -> String {
    let (mut known, mut unknown) = (BTreeMap::<(usize, Rule), usize>::new(), BTreeMap::<(Rule, &str), usize>::new());
    let mut text = String::new();
    for (case, judged) in cases.iter().zip(judged) {
        for (&rule, what) in &judged.wrong {
            match known_of(case, rule) {
                Some(at) => *known.entry((at, rule)).or_default() += 1,
                None => {
                    *unknown.entry((rule, &case.damage.name)).or_default() += 1;
                    writeln!(text, "{rule:?}: {}: {what}", case.described()).unwrap();
                }
            }
        }
    }
    for ((rule, damage), count) in unknown {
        writeln!(text, "{rule:?} is broken by {count} cases of {damage:?} that are not known to").unwrap();
    }
    for (at, Known { why, cases, .. }) in KNOWN.iter().enumerate() {
        for (rule, expected) in *cases {
            let count = known.get(&(at, *rule)).copied().unwrap_or(0);
            if count != *expected {
                writeln!(text, "{rule:?} is broken by {count} cases, not {expected}: {why}").unwrap();
            }
        }
    }
    text
}

/// Letters for the worst that verify says of a case.
const VERDICTS: [(char, Option<Severity>, &str); 7] = [
    ('-', None, "nothing"),
    ('n', Some(Severity::Note), "note"),
    ('d', Some(Severity::Derived), "derived"),
    ('u', Some(Severity::Unfinished), "unfinished"),
    ('B', Some(Severity::BlocksBroker), "blocks a broker"),
    ('D', Some(Severity::Damaged), "damaged"),
    ('L', Some(Severity::Lost), "lost"),
];

/// One row a damage, one column a log: the worst verdict, `?` where a case cannot be decided, and how many cases are wrong.
fn table(logs: &[Log], damages: &[Damage], cases: &[Case<'_>], judged: &[Judged]) -> String {
    let mut text = String::new();
    for (number, log) in logs.iter().enumerate() {
        writeln!(text, "{:>2}  {}, {} batches", number + 1, name_of(log), log.batches.len()).unwrap();
    }
    let numbers: String = (1..=logs.len()).map(|number| format!("{number:>5}")).collect();
    writeln!(text, "{:36}{numbers}", "").unwrap();
    let mut cells = BTreeMap::<(&str, usize), Vec<&Judged>>::new();
    for (case, judged) in cases.iter().zip(judged) {
        let column = logs.iter().position(|log| std::ptr::eq(log, case.log)).unwrap();
        cells.entry((&case.damage.name, column)).or_default().push(judged);
    }
    for damage in damages {
        let cell = |column| cells.get(&(damage.name.as_str(), column)).map_or(String::new(), |cell| described(cell));
        let row: String = (0..logs.len()).map(|column| format!("{:>5}", cell(column))).collect();
        writeln!(text, "{:36}{row}", damage.name).unwrap();
    }
    text + &totals(logs, damages, judged)
}

fn described(cell: &[&Judged]) -> String {
    let worst = cell.iter().map(|it| it.verdict).max().flatten();
    let letter = VERDICTS.iter().find(|it| it.1 == worst).unwrap().0;
    let mark = if cell.iter().any(|it| it.undecidable.is_some()) { "?" } else { "" };
    match cell.iter().filter(|it| !it.wrong.is_empty()).count() {
        0 => format!("{letter}{mark}"),
        wrong => format!("{letter}{mark}!{wrong}"),
    }
}

fn totals(logs: &[Log], damages: &[Damage], judged: &[Judged]) -> String {
    let mut text = format!("{} logs, {} damages, {} cases\n", logs.len(), damages.len(), judged.len());
    for (letter, severity, name) in VERDICTS {
        let count = judged.iter().filter(|it| it.verdict == severity).count();
        writeln!(text, "{count:>6}  {letter}  {name}").unwrap();
    }
    let mut reasons = BTreeMap::<&str, usize>::new();
    judged.iter().filter_map(|it| it.undecidable).for_each(|reason| *reasons.entry(reason).or_default() += 1);
    for (reason, count) in reasons {
        writeln!(text, "{count:>6}  ?  cannot be decided: {reason}").unwrap();
    }
    let mut rules = BTreeMap::<Rule, usize>::new();
    judged.iter().flat_map(|it| it.wrong.keys()).for_each(|rule| *rules.entry(*rule).or_default() += 1);
    for (rule, count) in rules {
        writeln!(text, "{count:>6}  !  {rule:?}").unwrap();
    }
    let wrong = judged.iter().filter(|it| !it.wrong.is_empty()).count();
    writeln!(text, "{wrong:>6}  !  cases in which a rule is broken").unwrap();
    text
}
