//! The cases that break a rule today.

use super::judge::Rule;

/// Cases that break rules for one reason.
pub(super) struct Known {
    pub(super) why: &'static str,
    /// The names of the damages.
    pub(super) damages: &'static [&'static str],
    /// What the name of the log holds.
    pub(super) log: &'static str,
    /// How many cases break which rule. A lower number is progress.
    pub(super) cases: &'static [(Rule, usize)],
}

impl Known {
    pub(super) fn is(&self, damage: &str, log: &str) -> bool {
        self.damages.contains(&damage) && log.contains(self.log)
    }
}

const FOREIGN: &[&str] =
    &["foreign above for batch", "foreign below for batch", "foreign above inserted", "foreign below inserted"];

/// Each entry goes when what it names is put right.
pub(super) const KNOWN: &[Known] = &[
    Known {
        why: "a batch of another log that has as many records is taken for the lost one if one bit of its base offset differs",
        damages: FOREIGN,
        log: "",
        cases: &[(Rule::Renumbers, 7), (Rule::ShowsWrong, 7)],
    },
    Known {
        why: "a reader shows the same offset twice where a compressed message of the old formats begins too early",
        damages: &["flip in offset"],
        log: "broker",
        cases: &[(Rule::ShowsWrong, 4)],
    },
    Known {
        why: "a broker's folder that is missing is not made again",
        damages: &["folder missing"],
        log: "broker",
        cases: &[(Rule::Left, 32)],
    },
    Known {
        why: "without the cluster's metadata, nothing says that a topic id is another topic's",
        damages: &["partition.metadata foreign", "partition.metadata missing"],
        log: "broker",
        cases: &[(Rule::Unnoticed, 64)],
    },
    Known {
        why: "of segments that have changed names, some still overlap",
        damages: &["log there again", "logs swapped", "log foreign"],
        log: "",
        cases: &[(Rule::Left, 3)],
    },
    Known {
        why: "a writer refuses preallocated zeros after a batch that follows a gap",
        damages: &["zeros appended"],
        log: "follower",
        cases: &[(Rule::FalseAlarm, 1), (Rule::Left, 1)],
    },
];

/// What must not happen to a log, however it is damaged, even where nobody can say what is wrong; and how many pairs of damages
/// bring it about that do not do so by one of them alone. Most are a torn end, by which a reader and a writer take sound
/// batches between two damages for the inside of an append; `durable-end`, which counts for nothing without
/// `leader-epoch-checkpoint`; and an epoch that is taken from a damaged batch.
pub(super) const KNOWN_OF_PAIRS: [(Rule, usize); 5] =
    [(Rule::RepairLoses, 4), (Rule::Renumbers, 3), (Rule::OffsetAgain, 56), (Rule::WriterLoses, 9), (Rule::Hides, 20)];
