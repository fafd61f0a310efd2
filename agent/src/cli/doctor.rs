//! `homeport doctor`

mod report;

use std::path::Path;

use self::report::{Mark, Report};
use super::{ConfigArgs, table};
use crate::{
    app,
    clock::WallTime,
    control::{self, AskError},
    exit::{Exit, Failure},
    geo::gate::Freshness,
    probe::{
        NamespaceBy, Probe, ProbeError, ProbeSettings, edge,
        links::Links,
        programs::{OLDEST_KERNEL, PROGRAMS, State},
        support::{self, NETNS_COOKIE, TCX},
    },
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    let (config, path) = args.config.load()?;
    let mut report = Report::new(args.json);
    match &path {
        Some(path) => report.line(Mark::Ok, "configuration", &path.display().to_string()),
        None => {
            report.line(Mark::Note, "configuration", "no file: built-in policy us-only, embedded database")
        }
    }
    kernel(&mut report);
    if !rustix::process::geteuid().is_root() {
        report.line(Mark::Note, "rights", "not root: what the kernel allows cannot be tried out");
    }
    match app::find_cgroup(config.host.cgroup.as_deref()) {
        Ok(cgroup) => {
            let private = if cgroup.private { " (a private mount: the host has none)" } else { "" };
            report.line(Mark::Ok, "cgroup2", &format!("{}{private}", cgroup.path.display()));
            let settings = ProbeSettings {
                cgroup: cgroup.path.clone(),
                own_namespace_only: false,
                exact_owners: config.host.exact_owners,
                // Enough to try whether the kernel takes the programs.
                slots: 1024,
                ring_bytes: 1 << 20,
                pin_dir: None,
            };
            programs(&mut report, &settings);
        }
        Err(failure) => report.line(Mark::Missing, "cgroup2", &format!("{:#}", failure.error)),
    }
    interfaces(&mut report, &config.host.interfaces)?;
    databases(&mut report, &config);
    running_agent(&mut report, &config.agent.socket);
    limits(&mut report);
    let (sentence, exit) = match report.worst() {
        Mark::Missing => (
            "A required part is missing: `homeport run` will not start, or will not do what it promises.",
            Exit::Unsupported,
        ),
        Mark::Reduced => (
            "Everything required is there; what is reduced is said in every record of coverage.",
            Exit::Success,
        ),
        Mark::Ok | Mark::Note => ("Everything is there.", Exit::Success),
    };
    report.finish(sentence)?;
    Ok(exit)
}

fn kernel(report: &mut Report) {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    if support::version(&release) >= Some(OLDEST_KERNEL) {
        report.line(Mark::Ok, "kernel", &release);
    } else {
        let (major, minor) = OLDEST_KERNEL;
        report.line(Mark::Missing, "kernel", &format!("{release}; accepted are {major}.{minor} and newer"));
    }
    if Path::new("/sys/kernel/btf/vmlinux").exists() {
        report.line(Mark::Ok, "BTF", "/sys/kernel/btf/vmlinux");
    } else {
        report.line(
            Mark::Reduced,
            "BTF",
            "no /sys/kernel/btf/vmlinux: no exact senders, no names of short-lived processes",
        );
    }
}

/// Loads and attaches for a moment what `run` would, because a table of versions does not know this kernel.
fn programs(report: &mut Report, settings: &ProbeSettings) {
    match Probe::start(settings, None) {
        Ok(probe) => {
            for status in probe.status() {
                let program = status.program;
                let hook = format!("{} on {}", program.name, program.hook);
                match &status.state {
                    State::Attached | State::Loaded => {
                        let detail = format!("{hook}: {}", program.purpose);
                        report.named(Mark::Ok, "program", program.name, &detail);
                    }
                    State::NotNeeded(reason) => {
                        let detail = format!("{hook}: not needed, {reason}");
                        report.named(Mark::Note, "program", program.name, &detail);
                    }
                    State::Refused(reason) => {
                        let reason = reason.lines().next().unwrap_or_default();
                        let detail = format!("{hook}: {}; {reason}", program.without);
                        report.named(Mark::Reduced, "program", program.name, &detail);
                    }
                }
            }
            features(report, &probe);
        }
        Err(ProbeError::NotPermitted) => {
            report.line(Mark::Missing, "programs", &ProbeError::NotPermitted.to_string());
            for program in PROGRAMS.iter().filter(|program| program.required) {
                report.line(
                    Mark::Note,
                    "program",
                    &format!("{} on {} is required: {}", program.name, program.hook, program.purpose),
                );
            }
        }
        Err(error) => {
            report.line(Mark::Missing, "programs", error.to_string().lines().next().unwrap_or_default())
        }
    }
}

/// What newer kernels do better, without a program of its own.
fn features(report: &mut Report, probe: &Probe) {
    for (feature, there) in
        [(TCX, probe.attaches_to_tcx()), (NETNS_COOKIE, probe.namespaces() == NamespaceBy::Cookie)]
    {
        if there {
            report.named(Mark::Ok, "feature", feature.name, feature.name);
        } else {
            let detail = format!("no {}: {}", feature.name, feature.without);
            report.named(Mark::Note, "feature", feature.name, &detail);
        }
    }
    if probe.namespaces() == NamespaceBy::Nothing {
        report.line(
            Mark::Reduced,
            "namespaces",
            "this kernel cannot tell the namespace of a packet: host.namespaces = \"own\" is not possible",
        );
    }
}

fn interfaces(report: &mut Report, named: &[String]) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let links = runtime.block_on(async { Links::connect()?.list().await.map_err(std::io::Error::other) });
    let links = match links {
        Ok(links) => links,
        Err(error) => {
            report.line(Mark::Missing, "interfaces", &format!("rtnetlink: {error}"));
            return Ok(());
        }
    };
    let mut edges = 0;
    let tells_parents = links.iter().any(|link| link.parent.is_some());
    for link in &links {
        match edge::judge_among(link, named) {
            Ok(reason) => {
                edges += 1;
                report.line(
                    Mark::Ok,
                    "edge",
                    &format!("{} ({reason}), {} sent so far", link.name, table::bytes(link.tx_bytes)),
                );
            }
            Err(reason) => report.line(Mark::Note, "not an edge", &format!("{} ({reason})", link.name)),
        }
        if let Some(why) = edge::doubt(link, tells_parents).filter(|_| named.is_empty()) {
            report.line(Mark::Reduced, "edge", &format!("{}: {why}; host.interfaces settles it", link.name));
        }
    }
    for name in named.iter().filter(|name| !links.iter().any(|link| link.name == **name)) {
        report.line(Mark::Reduced, "edge", &format!("{name} of host.interfaces does not exist"));
    }
    if edges == 0 {
        report.line(
            Mark::Reduced,
            "edge",
            "no edge interface: nothing can be reconciled, and forwarded frames are not seen",
        );
    }
    Ok(())
}

fn databases(report: &mut Report, config: &crate::config::Config) {
    let now = WallTime::now();
    match app::open_databases(config, now) {
        Ok(databases) => {
            for database in databases.locator(config).databases() {
                let age = database.age_days(now);
                let mark = match Freshness::of_age(age) {
                    Freshness::Fresh => Mark::Ok,
                    Freshness::Old | Freshness::Stale => Mark::Reduced,
                };
                report.line(mark, "database", &format!("{database}; {age} days old"));
            }
        }
        Err(error) => report.line(Mark::Missing, "database", &error.to_string()),
    }
}

/// What the agent that runs now says of itself.
fn running_agent(report: &mut Report, socket: &Path) {
    match control::ask_flows(socket, Some(0)) {
        Ok((view, _)) => {
            if view.degraded.is_empty() {
                report.line(Mark::Ok, "running agent", &format!("watching since {}", view.started));
            }
            for condition in view.degraded {
                report.line(
                    Mark::Reduced,
                    "running agent",
                    &format!("degraded, {}: {}", condition.part, condition.reason),
                );
            }
        }
        Err(AskError::NoAgent { .. }) => {
            report.line(Mark::Note, "running agent", &format!("none answers on {}", socket.display()));
        }
        Err(error) => report.line(Mark::Reduced, "running agent", &error.to_string()),
    }
}

/// What no host agent of this kind can see, whatever the kernel allows.
fn limits(report: &mut Report) {
    for limit in [
        "kernel bypass (AF_XDP, PACKET_QDISC_BYPASS, DPDK, RDMA): only as a difference to the counters of the card",
        "traffic of firmware and management controllers",
        "where a VPN or proxy behind an approved address sends the data on to",
        "what happens while the agent is not running",
    ] {
        report.line(Mark::Note, "not seen", limit);
    }
}
