//! Applies retention to a partition: what is planned without a lock is applied under guards, by the limits in force then.

use super::{Partition, Result};
use crate::storage::Notice;
use crate::storage::retention::{self, Decision, Limits, Plan, PlanTimes};
use crate::units::Timestamp;

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
}

impl Partition {
    /// Decides what retention would do now. Changes nothing.
    ///
    /// # Errors
    /// When the topic was deleted, the log is corrupt at its end, or the disk fails.
    pub fn plan_retention(&self, overrides: LimitOverrides, now: Timestamp) -> Result<RetentionPlan> {
        let limits = self.limits(Limits::of(&*self.config()?), overrides)?;
        let view = self.view()?;
        let plan = retention::plan(&view, &limits, now)?;
        let times = plan.times(&view)?;
        Ok(RetentionPlan { plan, limits, times })
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
        mut on_removed: impl FnMut(&Decision),
    ) -> Result<RetentionPlan> {
        let mut removed: Vec<Decision> = Vec::new();
        let mut on_removed = |decision: &Decision| {
            removed.push(*decision);
            on_removed(decision);
        };
        for _ in 0..ROUNDS_MAX {
            let planned = self.plan_retention(overrides, now)?;
            let going = planned.plan.going().count();
            if self.apply_plan(&planned, overrides, now, notices, &mut on_removed)? == going {
                return Ok(planned.after(removed));
            }
        }
        // A log that is always being changed is planned while nobody can change it.
        let guard = self.guard()?;
        let planned = self.plan_retention(overrides, now)?;
        let going = planned.plan.going().count();
        let mut done = 0;
        while done < going {
            match retention::apply(&guard, &planned.plan.decisions[done..going], now, notices, &mut on_removed)? {
                0 => break,
                count => done += count,
            }
        }
        Ok(planned.after(removed))
    }

    /// Removes what a plan says goes, as far as it still holds. Returns how many segments are gone.
    fn apply_plan(
        &self,
        planned: &RetentionPlan,
        overrides: LimitOverrides,
        now: Timestamp,
        notices: &mut Vec<Notice>,
        on_removed: &mut dyn FnMut(&Decision),
    ) -> Result<usize> {
        let going = planned.plan.going().count();
        let mut done = 0;
        while done < going {
            let guard = self.guard()?;
            if self.limits(Limits::of(guard.config()), overrides)? != planned.limits {
                break;
            }
            match retention::apply(&guard, &planned.plan.decisions[done..going], now, notices, &mut *on_removed)? {
                0 => break,
                count => done += count,
            }
        }
        Ok(done)
    }

    /// The limits of the topic, with those of `overrides` in their place. With either of them given, a topic whose limits
    /// are in its broker's metadata has no other.
    fn limits(&self, own: Limits, overrides: LimitOverrides) -> Result<Limits> {
        let is_known = self.is_configured_here()?;
        let own_or_none = |own| if is_known { own } else { -1 };
        Ok(Limits {
            retention_ms: overrides.retention_ms.unwrap_or(own_or_none(own.retention_ms)),
            retention_bytes: overrides.retention_bytes.unwrap_or(own_or_none(own.retention_bytes)),
            ..own
        })
    }
}

impl RetentionPlan {
    /// The plan as it was carried out: what was removed, and what was to be kept.
    fn after(self, removed: Vec<Decision>) -> Self {
        let Plan { decisions, log_end_offset } = self.plan;
        let kept = decisions.into_iter().filter(|decision| !decision.verdict.goes());
        let decisions = removed.into_iter().chain(kept).collect();
        let (limits, times) = (self.limits, self.times);
        Self { plan: Plan { decisions, log_end_offset }, limits, times }
    }
}
