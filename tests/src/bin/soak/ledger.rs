//! Options of the campaign `ledger`.

use homeport_tests::campaign::ledger::Plan;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often the writer is killed
    #[arg(long, default_value_t = 1_000)]
    kills: u32,
    /// The longest it may live, in milliseconds
    #[arg(long, default_value_t = 300)]
    most_ms: u64,
}

impl Args {
    pub(crate) const fn plan(&self, seed: u64) -> Plan {
        Plan { kills: self.kills, most_ms: self.most_ms, most_entries: 20_000, seed }
    }
}
