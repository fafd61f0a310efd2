//! The kinds of sinks.

mod appetite;
pub mod otlp;
pub mod syslog;
