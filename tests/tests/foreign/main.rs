//! Ledgers before somebody else's eyes.

use homeport_tests::campaign::{Progress, Random, verify};

#[test]
fn another_implementation_verifies_the_ledger_and_both_find_each_damage() -> anyhow::Result<()> {
    let seed = Random::fresh_seed();
    let report = verify::run(&verify::Plan::short(seed), Progress::silent())?;
    println!("{report}\nseed {seed}");
    report.check()
}
