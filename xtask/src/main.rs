//! homeport's tasks: `cargo xtask <command>`, one file per command.
//!
//! Every command that compiles the agent runs `setup` first, which returns at once when nothing is missing.

mod bench;
mod ci;
mod demo;
mod embed_database;
mod foreign;
mod fuzz;
mod licences;
mod lint;
mod package;
mod packages;
mod setup;
mod soak;
mod spdx;
mod summary;
mod test;
mod tool;
#[path = "../../agent/build/toolchain.rs"]
mod toolchain;
mod visibility;
mod vm;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "homeport's tasks", disable_help_subcommand = true)]
enum Task {
    /// Install what building and testing need; says so and does nothing when it is all there
    Setup,
    /// Run the unit tests, then the end-to-end tests (these need root)
    Test,
    /// Check formatting, both clippy passes (host and BPF), documentation, licences and sources
    Lint,
    /// Everything a change must pass: lint, test, demo
    Ci,
    /// Run the end-to-end tests on Debian's kernels, in virtual machines
    Vm(vm::Args),
    /// Show the agent at work on this machine
    Demo(demo::Args),
    /// Measure the budgets
    Bench(bench::Args),
    /// Run a long campaign against the agent: many flows, and what else `soak --help` lists
    Soak(soak::Args),
    /// Feed arbitrary bytes to the parsers
    Fuzz(fuzz::Args),
    /// Make the page of what is seen, from what the tests found on each kernel
    Visibility(visibility::Args),
    /// Make a .deb and an .rpm
    Package(package::Args),
    /// Compress a country database into the agent
    EmbedDatabase(embed_database::Args),
}

fn main() -> ExitCode {
    let outcome = match Task::parse() {
        Task::Setup => setup::run(),
        Task::Test => test::run(),
        Task::Lint => lint::run(),
        Task::Ci => ci::run(),
        Task::Vm(args) => vm::run(args),
        Task::Demo(args) => demo::run(args),
        Task::Bench(args) => bench::run(args),
        Task::Soak(args) => soak::run(args),
        Task::Fuzz(args) => fuzz::run(args),
        Task::Visibility(args) => visibility::run(&args),
        Task::Package(args) => package::run(args),
        Task::EmbedDatabase(args) => embed_database::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
