//! Options of the campaign `outage`.

use std::time::Duration;

use homeport_tests::campaign::outage::Plan;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long the receiver is away
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    away: u64,
    /// Milliseconds between two batches of four records on average
    #[arg(long, default_value_t = 20)]
    pause_ms: u64,
}

impl Args {
    pub(crate) const fn plan(&self, seed: u64) -> Plan {
        Plan { away: Duration::from_secs(self.away), pause_ms: self.pause_ms, is_timed: true, seed }
    }
}
