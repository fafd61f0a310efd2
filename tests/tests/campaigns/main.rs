//! Short versions of the campaigns about the ledger and its delivery; `cargo xtask soak` runs the long ones.

use homeport_tests::campaign::{Progress, Random, Report, burst, kill, outage, year};

fn check(run: impl FnOnce(u64) -> anyhow::Result<Report>) -> anyhow::Result<()> {
    let seed = Random::fresh_seed();
    let report = run(seed)?;
    println!("{report}\nseed {seed}");
    report.check()
}

#[test]
fn whoever_is_killed_receivers_have_what_the_ledger_has() -> anyhow::Result<()> {
    check(|seed| kill::run(&kill::Plan::short(seed), Progress::silent()))
}

#[test]
fn an_agent_that_is_killed_again_and_again_delivers_what_its_ledger_has() -> anyhow::Result<()> {
    check(|seed| kill::run(&kill::Plan::short_agent(seed), Progress::silent()))
}

/// Times are for an optimized build to promise: `cargo xtask soak burst`.
#[test]
fn every_violation_of_a_burst_is_shown_by_alertmanager() -> anyhow::Result<()> {
    check(|_| burst::run(&burst::Plan::short(), Progress::silent()))
}

#[test]
fn a_receiver_that_was_away_gets_everything_in_order() -> anyhow::Result<()> {
    check(|seed| outage::run(&outage::Plan::short(seed), Progress::silent()))
}

#[test]
fn minutes_take_their_part_of_a_gigabyte_a_year_and_are_verified_and_shown() -> anyhow::Result<()> {
    check(|seed| year::run(&year::Plan::short(seed), Progress::silent()))
}
