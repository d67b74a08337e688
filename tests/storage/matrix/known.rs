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
const WRONG_OFFSETS: &[&str] = &["flip in offset", "flip 2^10 in offset", "flip 2^40 in offset", "rest moved up"];
/// Bytes that are no valid batch any more.
const DAMAGED: &[&str] = &[
    "cut in header",
    "cut in records",
    "cut at last byte",
    "cut, then zeros",
    "zeros for batch",
    "zeros for header",
    "zeros for records",
    "zeros to end",
    "zeros across",
    "zeros inserted",
    "junk for batch",
    "junk across",
    "junk inserted",
    "junk to end",
    "junk appended",
    "flip in value",
    "flip in checksum",
    "flip in length",
    "flip high in length",
    "flip in magic",
    "flip in attributes",
];
const BROKER_FILES: &[&str] = &[
    "meta.properties empty",
    "meta.properties zeroed",
    "partition.metadata missing",
    "partition.metadata empty",
    "partition.metadata zeroed",
    "partition.metadata torn",
    "partition.metadata foreign",
];

/// Each entry goes when what it names is put right.
pub(super) const KNOWN: &[Known] = &[
    Known {
        why: "an entry of the offset index alone lets a plain repair renumber the sound last batch",
        damages: &["dropped"],
        log: "broker",
        cases: &[(Rule::RepairLoses, 13), (Rule::Renumbers, 13), (Rule::GivesUpSound, 13)],
    },
    Known {
        why: "of two batches that have changed places before a gap, one is renumbered into the gap",
        damages: &["swapped"],
        log: "compacted",
        cases: &[(Rule::RepairLoses, 6), (Rule::Renumbers, 6), (Rule::ShowsWrong, 6)],
    },
    Known {
        why: "a batch of another log is given the offsets of the lost one if it has as many records",
        damages: FOREIGN,
        log: "",
        cases: &[(Rule::Renumbers, 288), (Rule::ShowsWrong, 235)],
    },
    Known {
        why: "the offset of a compressed message of the old formats is held against nothing, though readers stop there",
        damages: WRONG_OFFSETS,
        log: "broker",
        cases: &[(Rule::Silent, 24), (Rule::Unnoticed, 1), (Rule::GivesUpSound, 23)],
    },
    Known {
        why: "a reader shows the same offset twice where a compressed message of the old formats begins too early",
        damages: &["flip in offset"],
        log: "broker",
        cases: &[(Rule::ShowsWrong, 7)],
    },
    Known {
        why: "damage after a batch that follows a gap is said to begin before that batch",
        damages: DAMAGED,
        log: "",
        cases: &[(Rule::FalseLoss, 93)],
    },
    Known {
        why: "offsets that a gap claims to be missing are in the next segment",
        damages: &["log foreign", "rest moved up"],
        log: "kdir",
        cases: &[(Rule::FalseLoss, 12)],
    },
    Known {
        why: "the empty batch for the lost records begins before a batch that follows a gap",
        damages: DAMAGED,
        log: "",
        cases: &[(Rule::Left, 324)],
    },
    Known {
        why: "the row in replication-offset-checkpoint names a partition that is not there, and nobody looks for it",
        damages: &["folder missing"],
        log: "broker",
        cases: &[(Rule::Silent, 31), (Rule::Left, 32)],
    },
    Known {
        why: "the row in recovery-point-offset-checkpoint says that the partition was made in full",
        damages: &["folder emptied"],
        log: "kdir",
        cases: &[(Rule::Silent, 6)],
    },
    Known {
        why: "what a broker does not start on is not looked at",
        damages: BROKER_FILES,
        log: "broker",
        cases: &[(Rule::Unnoticed, 224)],
    },
    Known {
        why: "there is no remedy for a batch that contradicts the next one, or the next segment",
        damages: WRONG_OFFSETS,
        log: "",
        cases: &[(Rule::Left, 189)],
    },
    Known {
        why: "where gaps are legal, a copy of a batch is not known for one",
        damages: &["written twice", "once more at end", "two written twice"],
        log: "",
        cases: &[(Rule::Left, 24)],
    },
    Known {
        why: "there is no remedy for a batch that contradicts the next one",
        damages: &["swapped", "foreign above for batch", "foreign above inserted"],
        log: "",
        cases: &[(Rule::Left, 86)],
    },
    Known {
        why: "there is no remedy for segments that overlap",
        damages: &["log there again", "logs swapped", "log foreign"],
        log: "",
        cases: &[(Rule::Left, 97)],
    },
    Known {
        why: "there is no remedy for a segment whose log is missing and whose index is there",
        damages: &["log missing", "log renamed"],
        log: "broker",
        cases: &[(Rule::Left, 24)],
    },
    Known {
        why: "of two batches that contradict each other the lower end is taken for the log end",
        damages: &["flip in offset"],
        log: "closed",
        cases: &[(Rule::FalseLoss, 3)],
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
    [(Rule::RepairLoses, 7), (Rule::Renumbers, 9), (Rule::OffsetAgain, 54), (Rule::WriterLoses, 8), (Rule::Hides, 18)];
