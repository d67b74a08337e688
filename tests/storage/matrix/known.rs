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

/// Each entry goes when what it names is put right.
pub(super) const KNOWN: &[Known] = &[];

/// What must not happen to a log, however it is damaged, even where nobody can say what is wrong; and how many pairs of damages
/// bring it about that do not do so by one of them alone. A sound batch that was moved to the end, past damage, is still taken
/// for the inside of a torn append; and an epoch is corrected by a file that was rebuilt from a damaged one.
pub(super) const KNOWN_OF_PAIRS: [(Rule, usize); 5] =
    [(Rule::RepairLoses, 5), (Rule::Renumbers, 0), (Rule::OffsetAgain, 1), (Rule::WriterLoses, 2), (Rule::Hides, 0)];
