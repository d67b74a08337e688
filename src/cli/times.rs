//! The local zone, and where the lines of an input have theirs.

use super::exit;
use super::ui::Ui;
use crate::stream::line_time::{LineTime, TimePlace};
use crate::units::{LocalZone, Passes, TimeFormat};
use jiff::tz::TimeZone;
use regex::bytes::Regex;

/// The rule of glibc for summer time where TZ names a summer zone without one, as in `CET-1CEST`.
const DEFAULT_RULE: &str = ",M3.2.0,M11.1.0";

/// The zone of the user: TZ, or that of the system. What is not known is UTC, with a warning.
pub(crate) fn system_zone(ui: Ui) -> TimeZone {
    if let Ok(zone) = TimeZone::try_system() {
        return zone;
    }
    let Some(name) = std::env::var_os("TZ") else {
        // A system that has zones and none set is in UTC on purpose; one without a tz database may be so by accident.
        if jiff::tz::db().is_definitively_empty() {
            ui.warning(
                "no time zone is set, and this system has no tz database: local times are read and shown in UTC",
            );
        }
        return TimeZone::UTC;
    };
    let name = name.to_string_lossy();
    if let Ok(zone) = TimeZone::posix(&format!("{name}{DEFAULT_RULE}")) {
        return zone;
    }
    let reason = if jiff::tz::db().is_definitively_empty() { " (this system has no tz database)" } else { "" };
    ui.warning(&format!("TZ={name} is not a known time zone{reason}: local times are read and shown in UTC"));
    TimeZone::UTC
}

/// Where each line of an input has its own timestamp.
#[derive(Debug, clap::Args)]
pub(crate) struct LineTimeArgs {
    /// Take each record's timestamp from the start of its line, as in '%Y-%m-%d %H:%M:%S' or rfc3339
    ///
    /// The format is strftime's, or one of these: `rfc3339` (2026-11-22T10:00:00Z, with any zone; an
    /// offset has minutes, as +01:00), `syslog` (Nov 22 10:00:00,
    /// or RFC 3339, after a priority such as `<34>` or not), `clf` (in [], as in the access logs of nginx and
    /// Apache), `epoch` (seconds, with or without a fraction), `epoch-ms`, `epoch-us` (as in journald's JSON).
    ///
    /// %z, %Z and %Q each read Z, UTC, +01:00, +0100, a name such as Europe/Berlin, or an abbreviation with one meaning; a line
    /// with another zone, or with none, is an error. A zone that is written in the format is that of every line. A format without
    /// a zone is in the local one (TZ): of an hour that comes twice in autumn, the second is meant once the times step back by
    /// more than a minute; a time that the clocks skip in spring is read an hour later, as if they had not been put forward.
    /// Without a year, the time is the latest one up to a day ahead.
    ///
    /// A line without a time, as those of a stack trace, has that of the line before it; a first line without one is an
    /// error. At most 256 bytes of a time are looked at.
    #[arg(long, value_name = "STRFTIME|NAME", conflicts_with = "timestamp", help_heading = "Records")]
    timestamp_format: Option<String>,
    /// Take it from where REGEX matches in the line: from its first group, or from all of it [default format: rfc3339]
    #[arg(long, value_name = "REGEX", conflicts_with = "timestamp", help_heading = "Records")]
    timestamp_regex: Option<Regex>,
    /// Take it from the field NAME of the JSON object that the line is [default format: rfc3339]
    #[arg(long, value_name = "NAME", conflicts_with_all = ["timestamp", "timestamp_regex"], help_heading = "Records")]
    timestamp_field: Option<String>,
}

impl LineTimeArgs {
    pub(crate) fn is_given(&self) -> bool {
        self.timestamp_format.is_some() || self.timestamp_regex.is_some() || self.timestamp_field.is_some()
    }

    pub(crate) fn read(&self, zone: &LocalZone) -> anyhow::Result<Option<LineTime>> {
        if !self.is_given() {
            return Ok(None);
        }
        let place = match (&self.timestamp_regex, &self.timestamp_field) {
            (Some(pattern), _) => TimePlace::Match(pattern.clone()),
            (None, Some(name)) => TimePlace::Field(name.clone()),
            (None, None) => TimePlace::Start,
        };
        let format = TimeFormat::new(self.timestamp_format.as_deref().unwrap_or("rfc3339"), zone);
        let format = format.map_err(|error| exit::usage(format!("--timestamp-format: {error}")))?;
        Ok(Some(LineTime::new(place, format)))
    }
}

/// Warns of timestamps in milliseconds that are likely to be in seconds.
pub(crate) fn warn_of_seconds(ui: Ui, records: u64) {
    if records > 0 {
        let records = super::commands::counted(records, "record");
        ui.warning(&format!(
            "{records} with a timestamp in January or February 1970: timestamps are milliseconds, and these may be seconds"
        ));
    }
}

/// Warns of local times that come twice: nothing in them says which is meant.
pub(crate) fn warn_of_passes(ui: Ui, Passes { ambiguous, second, .. }: Passes) {
    if ambiguous > 0 {
        let records = super::commands::counted(ambiguous, "record");
        ui.warning(&format!(
            "{records} without a zone in an hour that comes twice, as the clocks are put back: {} read as the first pass, \
             {second}, after a step back, as the second",
            ambiguous - second
        ));
    }
}
