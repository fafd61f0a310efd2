//! Receivers for the agent's sinks: real ones, and ones that misbehave as told.
//!
//! | file | what for |
//! |---|---|
//! | `alertmanager` | a real Prometheus Alertmanager |
//! | `otlp` | an OTLP receiver whose messages are generated from the official files, with a script of faults |
//! | `stream` | a syslog receiver on TCP with a script of faults |
//! | `rsyslog` | rsyslog, as a process of its own |
//! | `certificates` | an authority for a test |
//! | `listen` | accepting connections, and coming back on the same port |
//! | `delivery` | a ledger in memory, and the agent's own sinks over it |

pub mod alertmanager;
pub mod certificates;
pub mod delivery;
mod listen;
pub mod otlp;
pub mod rsyslog;
pub mod stream;
