//! Options of the campaign `year`.

use homeport_tests::campaign::year::Plan;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Minutes of the host
    #[arg(long, default_value_t = 525_600)]
    minutes: u64,
}

impl Args {
    pub(crate) const fn plan(&self, seed: u64) -> Plan {
        Plan { minutes: self.minutes, is_timed: !cfg!(debug_assertions), seed }
    }
}
