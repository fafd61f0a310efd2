//! Options of the campaign `verify`.

use homeport_tests::campaign::verify::Plan;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Entries of the ledger; a year of one host is about 535,600
    #[arg(long, default_value_t = 1_000_000)]
    entries: u64,
    /// Damaged copies
    #[arg(long, default_value_t = 200)]
    corruptions: u64,
}

impl Args {
    pub(crate) const fn plan(&self, seed: u64) -> Plan {
        Plan {
            entries: self.entries,
            corruptions: self.corruptions,
            is_timed: !cfg!(debug_assertions),
            ..Plan::long(seed)
        }
    }
}
