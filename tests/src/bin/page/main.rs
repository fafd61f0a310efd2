//! Serves the status page with a synthetic agent behind it, for whoever works on the page:
//! `cargo run -p homeport-tests --bin page -- violation`.

use std::{process::ExitCode, thread, time::Duration};

use anyhow::{Result, bail};
use homeport_tests::page::fixture::{Fixture, Scale};

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<()> {
    let scale = match std::env::args().nth(1).as_deref() {
        None | Some("violation") => Scale::Violation,
        Some("calm") => Scale::Calm,
        Some("large") => Scale::Large,
        Some(other) => bail!("{other}: violation, calm or large is accepted"),
    };
    let fixture = Fixture::serve(scale, |_| {})?;
    println!("{}", fixture.url());
    // One more finding now and then, to see the page change.
    for number in 10_000.. {
        thread::sleep(Duration::from_secs(20));
        if scale != Scale::Calm {
            fixture.records.push(&fixture.finding(number, "open").0.to_string());
        }
    }
    Ok(())
}
