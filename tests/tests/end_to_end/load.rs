//! Many flows: the short version of `cargo xtask soak flows`.

use homeport_tests::campaign::{Progress, flows};

#[test]
fn more_flows_than_counters_are_counted_to_the_byte() {
    let report = flows::run(&flows::Plan::short(1), Progress::silent()).expect("the campaign runs");
    println!("{report}");
    report.check().expect("every promise is kept");
}
