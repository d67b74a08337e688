//! Applies retention to a partition: what is planned without a lock is applied under guards, by the limits in force then.
//!
//! Where readers are spared, their positions are read again for each piece, under the guard and with the locks under which
//! positions change ([`Readers::hold`]), which are kept until the piece is gone. A reader that goes on in the meantime makes
//! the plan keep more than it had to. One that is set back is seen, and what it wants again stays; or its new position is
//! written after the piece is gone, and the writer finds a log start offset past the one that it planned with. The locks are
//! taken in the order partition, then positions, and a holder of the latter never waits for a partition.

use super::unread::Nobody;
use super::{LogDirError, Partition, Readers, Result, Unread};
use crate::disk::FolderLock;
use crate::storage::retention::{self, Decision, Limits, Plan, PlanTimes, Verdict};
use crate::storage::{LogView, Notice};
use crate::units::{Offset, Timestamp};

/// How often a log is planned without a lock before it is held for that.
const ROUNDS_MAX: usize = 3;

/// Limits to apply in place of a topic's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimitOverrides {
    /// In place of `retention.ms`; negative is no limit.
    pub retention_ms: Option<i64>,
    /// In place of `retention.bytes`; negative is no limit.
    pub retention_bytes: Option<i64>,
}

/// What a run decided and by which limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionPlan {
    /// A decision for each segment.
    pub plan: Plan,
    /// The limits that were asked.
    pub limits: Limits,
    /// When the records were written that are deleted and kept, as it was planned.
    pub times: PlanTimes,
    /// The reader that segments are kept for although a limit reaches them; `None` where none is kept so.
    pub spared_for: Option<Unread>,
    /// Below it nothing is kept for a reader.
    spared_from: Offset,
}

/// Readers whose unread records are kept.
pub struct Sparing<'a, R> {
    /// The readers.
    pub readers: &'a mut R,
    /// What these limits reach is not kept for them, however far behind they are.
    pub max: Limits,
}

impl Partition {
    /// Decides what retention would do now. Changes nothing.
    ///
    /// # Errors
    /// When the topic was deleted, the log is corrupt at its end, or the disk fails.
    pub fn plan_retention(&self, overrides: LimitOverrides, now: Timestamp) -> Result<RetentionPlan> {
        self.plan_retention_sparing(overrides, &mut Sparing { readers: &mut Nobody, max: Limits::NONE }, now)
    }

    /// Decides the same where segments are kept for readers. These are asked only where a limit reaches something.
    ///
    /// # Errors
    /// As [`Partition::plan_retention`], and when the readers' positions cannot be read.
    pub fn plan_retention_sparing<R: Readers>(
        &self,
        overrides: LimitOverrides,
        sparing: &mut Sparing<'_, R>,
        now: Timestamp,
    ) -> Result<RetentionPlan, R::Error> {
        let limits = self.limits(Limits::of(&*self.config()?), overrides)?;
        let view = self.view()?;
        let plan = retention::plan(&view, &limits, now).map_err(LogDirError::from)?;
        let mut planned =
            RetentionPlan { plan, limits, times: PlanTimes::default(), spared_for: None, spared_from: Offset::ZERO };
        if !planned.plan.going().all(is_below_log_start) {
            self.spare(&view, &mut planned, sparing, now)?;
        }
        planned.times = planned.plan.times(&view).map_err(LogDirError::from)?;
        Ok(planned)
    }

    fn spare<R: Readers>(
        &self,
        view: &LogView,
        planned: &mut RetentionPlan,
        sparing: &mut Sparing<'_, R>,
        now: Timestamp,
    ) -> Result<(), R::Error> {
        if sparing.max != Limits::NONE {
            let beyond = retention::plan(view, &sparing.max, now).map_err(LogDirError::from)?;
            planned.spared_from = beyond.log_start_offset();
        }
        let Some(unread) = sparing.readers.slowest(self, view.log_start_offset())? else { return Ok(()) };
        planned.plan.spare(unread.from.max(planned.spared_from));
        planned.spared_for = planned.plan.spared().next().is_some().then_some(unread);
        Ok(())
    }

    /// Applies retention. The log is planned without a lock and the plan applied piece by piece, so that producers wait for
    /// no longer than a piece takes; what has changed since, limits as well as segments, is planned again. `on_removed` is
    /// called for each segment that is gone. Returns the decisions on what went.
    ///
    /// # Errors
    /// When the topic was deleted, a broker has the log dir, or the disk fails. What was removed before stays removed, and
    /// the log has no hole.
    pub fn apply_retention(
        &self,
        overrides: LimitOverrides,
        now: Timestamp,
        notices: &mut Vec<Notice>,
        on_removed: impl FnMut(&Decision),
    ) -> Result<RetentionPlan> {
        let mut sparing = Sparing { readers: &mut Nobody, max: Limits::NONE };
        self.apply_retention_sparing(overrides, &mut sparing, now, notices, on_removed)
    }

    /// Applies it where segments are kept for readers: by the positions that they have under the guard.
    ///
    /// # Errors
    /// As [`Partition::apply_retention`], and when the readers' positions cannot be read.
    pub fn apply_retention_sparing<R: Readers>(
        &self,
        overrides: LimitOverrides,
        sparing: &mut Sparing<'_, R>,
        now: Timestamp,
        notices: &mut Vec<Notice>,
        mut on_removed: impl FnMut(&Decision),
    ) -> Result<RetentionPlan, R::Error> {
        let mut removed: Vec<Decision> = Vec::new();
        let mut on_removed = |decision: &Decision| {
            removed.push(*decision);
            on_removed(decision);
        };
        for _ in 0..ROUNDS_MAX {
            let planned = self.plan_retention_sparing(overrides, sparing, now)?;
            let going = planned.plan.going().count();
            if self.apply_plan(&planned, overrides, sparing, now, notices, &mut on_removed)? == going {
                return Ok(planned.after(removed));
            }
        }
        // A log that is always being changed is planned while nobody can change it.
        let guard = self.guard()?;
        let _held = sparing.readers.hold()?;
        let planned = self.plan_retention_sparing(overrides, sparing, now)?;
        let going = planned.plan.going().count();
        let mut done = 0;
        while done < going {
            let rest = &planned.plan.decisions[done..going];
            match retention::apply(&guard, rest, now, notices, &mut on_removed).map_err(LogDirError::from)? {
                0 => break,
                count => done += count,
            }
        }
        Ok(planned.after(removed))
    }

    /// Removes what a plan says goes, as far as it still holds. Returns how many segments are gone.
    fn apply_plan<R: Readers>(
        &self,
        planned: &RetentionPlan,
        overrides: LimitOverrides,
        sparing: &mut Sparing<'_, R>,
        now: Timestamp,
        notices: &mut Vec<Notice>,
        on_removed: &mut dyn FnMut(&Decision),
    ) -> Result<usize, R::Error> {
        let going = planned.plan.going().count();
        let mut done = 0;
        while done < going {
            let guard = self.guard()?;
            if self.limits(Limits::of(guard.config()), overrides)? != planned.limits {
                break;
            }
            let (rest, _held) = self.still_read(planned, &planned.plan.decisions[done..going], sparing)?;
            match retention::apply(&guard, rest, now, notices, &mut *on_removed).map_err(LogDirError::from)? {
                0 => break,
                count => done += count,
            }
        }
        Ok(done)
    }

    /// Those of the segments that go, up to the first that a reader wants by now, and what keeps readers from wanting more.
    fn still_read<'p, R: Readers>(
        &self,
        planned: &RetentionPlan,
        going: &'p [Decision],
        sparing: &mut Sparing<'_, R>,
    ) -> Result<(&'p [Decision], Vec<FolderLock>), R::Error> {
        if going.iter().all(is_below_log_start) {
            return Ok((going, Vec::new()));
        }
        let held = sparing.readers.hold()?;
        let Some(unread) = sparing.readers.slowest(self, planned.times.log_start_offset)? else {
            return Ok((going, held));
        };
        let from = unread.from.max(planned.spared_from);
        let is_read = |it: &&Decision| is_below_log_start(it) || it.next_offset <= from;
        Ok((&going[..going.iter().take_while(is_read).count()], held))
    }

    /// The limits of the topic, with those of `overrides` in their place. With either of them given, a topic whose limits
    /// are in its broker's metadata has no other.
    fn limits(&self, own: Limits, overrides: LimitOverrides) -> Result<Limits> {
        // Of a topic that a broker decides on, only limits of its own are there; our file says nothing in a broker's log dir.
        let is_known = self.topic_id().is_none() || self.is_configured_here()?;
        let own_or_none = |own| if is_known { own } else { -1 };
        Ok(Limits {
            retention_ms: overrides.retention_ms.unwrap_or(own_or_none(own.retention_ms)),
            retention_bytes: overrides.retention_bytes.unwrap_or(own_or_none(own.retention_bytes)),
            ..own
        })
    }
}

/// Whether nobody can read the segment, so that no reader is asked.
fn is_below_log_start(decision: &Decision) -> bool {
    decision.verdict == Verdict::BelowLogStart
}

impl RetentionPlan {
    /// The plan as it was carried out: what was removed, and what was to be kept.
    fn after(mut self, removed: Vec<Decision>) -> Self {
        let kept = self.plan.decisions.into_iter().filter(|decision| !decision.verdict.goes());
        self.plan.decisions = removed.into_iter().chain(kept).collect();
        self
    }
}
