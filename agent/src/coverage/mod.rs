//! Can the answer be trusted? What is not covered becomes a finding, with a life like that of an alert: opened,
//! updated, closed.
//!
//! | file | what for |
//! |---|---|
//! | `findings` | episodes of coverage: bytes past us, attachments that vanished, a self-test that failed |
//!
//! Pure: no aya, no tokio, no JSON, no clock.

pub mod findings;
