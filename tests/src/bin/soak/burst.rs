//! Options of the campaign `burst`.

use homeport_tests::campaign::burst::Plan;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Violations, each at a place of its own
    #[arg(long, default_value_t = 300)]
    violations: u32,
    /// Milliseconds between two of them
    #[arg(long, default_value_t = 5)]
    pause_ms: u64,
}

impl Args {
    pub(crate) const fn plan(&self) -> Plan {
        Plan { violations: self.violations, pause_ms: self.pause_ms, is_timed: true }
    }
}
