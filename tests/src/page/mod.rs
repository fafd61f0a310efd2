//! The status page under test: served by the agent's own code with a synthetic agent behind it, and looked at with a
//! real browser.

pub mod browser;
pub mod fixture;
