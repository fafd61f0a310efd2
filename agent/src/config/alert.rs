//! `[alert]`: when violations become episodes, and when episodes end.

use std::time::Duration;

use super::{
    keys,
    reader::{Item, Section, whole},
    report::Report,
};

/// When violations become episodes, and when episodes end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert {
    /// An outgoing attempt without payload is reported after this.
    pub attempt_grace: Duration,
    /// An episode closes after this long without bytes.
    pub quiet: Duration,
    /// An open episode is updated at least this often while bytes flow.
    pub update: Duration,
}

impl Default for Alert {
    fn default() -> Self {
        Self {
            attempt_grace: Duration::from_millis(3_000),
            quiet: Duration::from_secs(60),
            update: Duration::from_secs(60),
        }
    }
}

pub(super) fn read(report: &mut Report<'_>, root: &mut Section<'_>) -> Alert {
    let default = Alert::default();
    let Some(mut section) = root.section(report, "alert", &keys::ALERT) else { return default };
    let grace = |report: &mut Report<'_>, item: &Item<'_>| {
        whole(report, item, 0..=600_000).map(Duration::from_millis)
    };
    let seconds =
        |report: &mut Report<'_>, item: &Item<'_>| whole(report, item, 1..=86_400).map(Duration::from_secs);
    let alert = Alert {
        attempt_grace: section.optional(report, "attempt_grace_ms", grace).unwrap_or(default.attempt_grace),
        quiet: section.optional(report, "quiet_secs", seconds).unwrap_or(default.quiet),
        update: section.optional(report, "update_secs", seconds).unwrap_or(default.update),
    };
    section.finish(report);
    alert
}
