//! The `homeport` command.

use std::process::ExitCode;

use clap::Parser as _;
use homeport::cli::{Cli, tell};

fn main() -> ExitCode {
    let cli = Cli::parse();
    if !cli.outlives_its_reader() {
        end_with_the_reader();
    }
    match cli.run() {
        Ok(exit) => exit.into(),
        Err(failure) => {
            tell(&failure);
            failure.exit.into()
        }
    }
}

/// `homeport flows | head` ends as `cat | head` does. Rust ignores SIGPIPE, and printing panics then.
fn end_with_the_reader() {
    // SAFETY: SIG_DFL is no function of ours, nothing else changes the handler of this signal, and there is only one
    // thread yet.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}
