//! Options of the campaign `kill`.

use homeport_tests::campaign::kill::Plan;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often the process with the ledger and the sinks is killed
    #[arg(long, default_value_t = 900)]
    kills: u32,
    /// The longest it may live, in milliseconds, once it writes as a rule
    #[arg(long, default_value_t = 300)]
    most_ms: u64,
    /// How often the whole agent is killed
    #[arg(long, default_value_t = 100)]
    agent_kills: u32,
    /// The longest the agent may live, in milliseconds, once it watches as a rule
    #[arg(long, default_value_t = 3_000)]
    agent_most_ms: u64,
}

impl Args {
    pub(crate) const fn plan(&self, seed: u64) -> Plan {
        let Self { kills, most_ms, agent_kills, agent_most_ms } = *self;
        Plan { kills, most_ms, most_entries: 10_000, agent_kills, agent_most_ms, seed }
    }
}
