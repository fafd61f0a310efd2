//! Can the answer be trusted? What is not covered becomes a finding, with a life like that of an alert: opened,
//! updated, closed.
//!
//! | file | what for |
//! |---|---|
//! | `findings` | episodes of coverage: bytes past us, attachments that vanished |
//! | `selftest` | the stations of a datagram that must come out as a finding |
//! | `statement` | covered, reduced or not covered, and why |
//!
//! Pure: no aya, no tokio, no JSON, no clock.

pub mod findings;
pub mod selftest;
pub mod statement;
