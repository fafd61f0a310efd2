//! The agent's sinks against receivers: real ones, and ones that misbehave. Nothing is lost, the order stays, and what a
//! receiver refuses is in the dead-letter file, exactly.

mod otlp;
mod syslog;
