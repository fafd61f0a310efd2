//! homeport proves where a storage server's data goes.
//!
//! Reading order, which is also the order in which knowledge flows:
//!
//! | room | what it is for |
//! |---|---|
//! | [`clock`] | kernel, monotonic and wall time as different types |
//! | [`flow`] | who sent how much to where: types, and the bounded flow table |
//! | [`geo`] | where an address is, with the evidence for it |
//! | [`policy`] | may it go there: presets, workloads, exceptions, verdicts |
//! | [`alert`] | violations become episodes: opened, updated, closed |
//! | [`reconcile`] | does what we saw add up to what the network cards say they sent |
//! | [`coverage`] | what is not covered becomes a finding, and a statement |
//! | [`record`] | the outward, versioned form of an episode or an interval (OCSF) |
//! | [`ledger`] | the records, append-only and signed |
//! | [`sink`] | each receiver a cursor over the ledger |
//! | [`page`] | the status page: read only, for people |
//! | [`top`] | the terminal view |
//! | [`metrics`] | figures for Prometheus |
//! | [`report`] | the residency statement of a period, made from the ledger alone |
//! | [`config`] | what the operator wrote, and the valid configuration made of it |
//!
//! `flow`, the types of `geo`, `policy` and `alert` are the pure core: they have never heard of aya, tokio,
//! JSON or a clock. Time is an argument, and every decision runs in a table test without root.

pub mod alert;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
mod confine;
pub mod control;
pub mod coverage;
pub mod exit;
mod fixed_text;
pub mod flow;
pub mod geo;
pub mod ledger;
pub mod metrics;
pub mod page;
pub mod policy;
pub mod probe;
pub mod process;
pub mod reconcile;
pub mod record;
pub mod report;
pub mod sink;
mod table;
pub mod top;
