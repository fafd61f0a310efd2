//! Options of the campaign `flows`.

use std::time::Duration;

use homeport_tests::campaign::flows::Plan;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Flows open at once; four in ten are TCP connections
    #[arg(long, default_value_t = 100_000)]
    at_once: u64,
    /// Flows one after the other; a fifth are TCP connections
    #[arg(long, default_value_t = 1_000_000)]
    then: u64,
    /// Time for the latter
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    within: u64,
    /// `limits.max_sockets` of the agent
    #[arg(long, default_value_t = 131_072)]
    max_sockets: u32,
}

impl Args {
    pub(crate) const fn plan(&self, seed: u64) -> Plan {
        let brief_connections = self.then / 5;
        let shared_datagrams = self.then / 5 * 2;
        Plan {
            kept_connections: self.at_once / 10 * 4,
            kept_datagrams: self.at_once - self.at_once / 10 * 4,
            brief_connections,
            shared_datagrams,
            brief_datagrams: self.then - brief_connections - shared_datagrams,
            within: Duration::from_secs(self.within),
            max_sockets: self.max_sockets,
            ..Plan::long(seed)
        }
    }
}
