//! The harness of the end-to-end tests and of the demo: a lab of network namespaces, the real agent in it, real
//! programs that send, and the arithmetic that compares what the agent says with what the network card counted.
//!
//! | file | what for |
//! |---|---|
//! | `kernel` | what to expect of the kernel that the tests run on |
//! | `lab` | a storage host, a router and three peers, each a network namespace |
//! | `patience` | how much longer things may take on an emulated processor |
//! | `running` | child processes that end with their owner, and the lines they print |
//! | `actor` | starts the sending and receiving programs of `src/bin/actor` |
//! | `settings` | configuration files for the agent |
//! | `pins` | where agents under test pin their maps |
//! | `agent` | starts, asks and stops the agent |
//! | `database` | a country database that is read in no time |
//! | `disks` | disks that fail as real ones do |
//! | `flows` | what `homeport flows --json` prints |
//! | `ledger` | a ledger as an outsider reads it |
//! | `server_records` | what the agent of a storage server writes, by the million |
//! | `records` | what the agent wrote: findings, grouped into episodes |
//! | `receiver` | receivers for the sinks of the agent: rsyslog, OTLP, and ones that misbehave |
//! | `schema` | the published schemas, and whether a record keeps to them |
//! | `page` | the status page behind a synthetic agent, and a browser |
//! | `scene` | a lab with an agent, and the comparison with the network card |
//! | `faults` | whether the page of faults tells the truth |
//! | `foreign` | another implementation of the ledger's formats |
//! | `campaign` | long runs with figures, and their short versions for the tests |
//!
//! All of it needs root, and says so instead of skipping.

pub mod actor;
pub mod agent;
pub mod campaign;
pub mod database;
pub mod disks;
#[cfg(test)]
mod faults;
pub mod flows;
pub mod foreign;
pub mod kernel;
pub mod lab;
pub mod ledger;
pub mod links;
pub mod page;
pub mod patience;
pub mod pins;
pub mod receiver;
pub mod records;
pub mod running;
pub mod scene;
pub mod schema;
pub mod server_records;
pub mod settings;
