//! Measures the budgets: `cargo xtask bench` builds and starts this program as root.
//!
//! | file | what for |
//! |---|---|
//! | `programs` | nanoseconds per run of a program over the same frame, again and again |
//! | `packets` | nanoseconds per packet, with nothing, an empty program, one ledger, both |
//! | `streams` | TCP throughput, request rate, connection rate |
//! | `sweep` | reading the counters of up to 100,000 flows |
//! | `latency` | first packet to user space |
//! | `memory` | what the maps take from the kernel |
//! | `agent` | the real agent: memory, idle processor time, first packet to synced record |
//! | `records` | appending to the ledger, and what a burst needs |
//! | `quiet` | what else the machine did during the run |
//! | `slices` | the method: interleaved slices, medians of ratios |
//! | `hooks`, `bpf` | the product's programs, attached and detached at will |
//! | `lab` | namespaces and a cgroup, gone when the bench ends |
//!
//! Traffic stays between two namespaces, and every part is bounded in time.

mod agent;
mod bpf;
mod datagrams;
mod hooks;
mod lab;
mod latency;
mod memory;
mod packets;
mod programs;
mod quiet;
mod records;
mod report;
mod slices;
mod stats;
mod streams;
mod sweep;

use std::{fs, path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, ValueEnum};

use crate::{lab::Lab, quiet::Machine, report::Report};

#[derive(Parser)]
#[command(about = "Measures homeport's budgets; needs root")]
struct Args {
    /// A few seconds per section: shows that everything runs, not how fast
    #[arg(long)]
    quick: bool,
    /// The page whose generated part is replaced after a complete run
    #[arg(long)]
    write: Option<PathBuf>,
    /// What to measure; everything when left out
    sections: Vec<Section>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Section {
    Programs,
    Packets,
    Streams,
    Sweep,
    Latency,
    Memory,
    Records,
    Agent,
}

/// Whether figures are wanted, or only proof of life.
#[derive(Clone, Copy, Debug)]
struct Scale {
    quick: bool,
}

impl Scale {
    const fn pick<T: Copy>(self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("the bench loads eBPF programs and makes network namespaces: run it as root");
    }
    let scale = Scale { quick: args.quick };
    let mut report = Report { head: head(scale)?, ..Report::default() };
    let lab = Arc::new(Lab::new()?);
    let machine = Machine::now()?;
    let complete = args.sections.is_empty();
    for section in Section::value_variants() {
        if complete || args.sections.contains(section) {
            measure(*section, &lab, scale, &mut report).with_context(|| format!("section {section:?}"))?;
        }
    }
    drop(lab);
    report.head += &machine.during()?;
    println!("{report}");
    match &args.write {
        Some(path) if complete && !args.quick => report.write(path),
        Some(_) | None => Ok(()),
    }
}

fn measure(section: Section, lab: &Arc<Lab>, scale: Scale, report: &mut Report) -> Result<()> {
    match section {
        Section::Programs => programs::run(lab, scale, report),
        Section::Packets => packets::run(lab, scale, report),
        Section::Streams => streams::run(lab, scale, report),
        Section::Sweep => sweep::run(lab, scale, report),
        Section::Latency => latency::run(lab, scale, report),
        Section::Memory => memory::run(lab, scale, report),
        Section::Records => records::run(scale, report),
        Section::Agent => agent::run(lab, scale, report),
    }
}

/// The machine, the day and the method.
fn head(scale: Scale) -> Result<String> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| format!("read {path}"));
    let cpuinfo = read("/proc/cpuinfo")?;
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name").and_then(|rest| rest.split_once(": ")))
        .map_or("unknown processor", |(_, model)| model);
    let processors = std::thread::available_parallelism()?;
    let virtual_machine = if cpuinfo.contains("hypervisor") { ", virtual machine" } else { "" };
    let quick = if scale.quick { "\n\n**A quick run: the figures are not to be relied on.**" } else { "" };
    Ok(format!(
        "{model}, {processors} processors{virtual_machine}; Linux {}; {}.\n\n\
         Every comparison alternates slices without and with the programs within a fraction of a second, because \
         clocks drift: *without, attach, warm up, with, detach, warm up, without*. One triple gives one difference \
         (with minus the mean of both without) and one ratio; the tables show the median of all triples, and the \
         quartiles in brackets. Candidates take turns within one run.{quick}\n",
        read("/proc/sys/kernel/osrelease")?.trim(),
        jiff::Timestamp::now().strftime("%Y-%m-%d"),
    ))
}
