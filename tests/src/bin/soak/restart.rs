//! Options of the campaign `restart`.

use std::path::PathBuf;

use homeport_tests::campaign::restart::Plan;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often the agent goes and comes back
    #[arg(long, default_value_t = 200)]
    cycles: u32,
    /// A build with another layout of its maps; without one there are no upgrades
    #[arg(long, value_name = "PROGRAM")]
    other_build: Option<PathBuf>,
    /// Leave `limits.max_sockets` as it is
    #[arg(long)]
    one_size: bool,
}

impl Args {
    pub(crate) fn plan(&self, seed: u64) -> Plan {
        Plan { cycles: self.cycles, seed, other_build: self.other_build.clone(), resize: !self.one_size }
    }
}
