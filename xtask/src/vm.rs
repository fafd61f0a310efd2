//! Runs the end-to-end tests on other kernels: `cargo xtask vm [--kernel NAME...] [--test NAME...] [-- FILTER...]`.
//!
//! Debian's kernels are fetched by package and booted in QEMU without hardware support, so that this works wherever
//! the tests do. The guest's root is this machine's, read-only, with a layer in memory: the programs and test binaries
//! of this machine run there under another kernel. KERNELS.md tells what each kernel can do.
//!
//! | file | what for |
//! |---|---|
//! | `archive` | packages of other Debian suites, without touching this machine's |
//! | `kernels` | the matrix, and how a kernel comes here |
//! | `initramfs` | the guest's first file system, with `init.sh` |
//! | `guest` | one run in QEMU, with `guest.sh` |
//! | `binaries` | the test binaries that cargo builds |

mod archive;
mod binaries;
mod guest;
mod initramfs;
mod kernels;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use self::{
    binaries::TestBinary,
    guest::Guest,
    kernels::{KERNELS, Kernel},
};
use crate::{packages, setup, summary::Summary, tool};

/// Emulated code runs 10 to 30 times slower; what tests wait for is given this much more time.
const PATIENCE: u32 = 15;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Kernels of the matrix, such as 5.10 or newest; all of them when left out
    #[arg(long = "kernel", num_args = 1..)]
    kernels: Vec<String>,
    /// Test binaries of package homeport-tests; all of them when left out
    #[arg(long = "test", num_args = 1..)]
    tests: Vec<String>,
    /// The part that `cargo xtask ci` runs
    #[arg(long, conflicts_with_all = ["kernels", "tests", "shell"])]
    ci: bool,
    /// Run this line of shell in the guest instead of tests
    #[arg(long, conflicts_with = "tests")]
    shell: Option<String>,
    /// Parts of the names of the tests to run, and options of the test harness
    #[arg(last = true)]
    filters: Vec<String>,
}

pub(crate) fn run(args: Args) -> Result<()> {
    if args.ci {
        let summary = run_for_ci()?;
        ensure!(summary.failed == 0, "not every kernel passed");
        return Ok(());
    }
    let kernels = if args.kernels.is_empty() {
        KERNELS.to_vec()
    } else {
        args.kernels.iter().map(|name| Kernel::named(name)).collect::<Result<_>>()?
    };
    let job = match args.shell {
        Some(line) => Job::Shell(line),
        None => Job::Tests(vec![Selection { binaries: args.tests, filters: args.filters }]),
    };
    // Whoever names a kernel wants it; in a run of all, one that no mirror has is only told.
    let outcomes = run_on(&kernels, &job, !args.kernels.is_empty())?;
    let table = table(&outcomes);
    print!("{table}");
    ensure!(outcomes.iter().all(Line::is_good), "not every kernel passed");
    Ok(())
}

/// What to do in the guest.
enum Job {
    Tests(Vec<Selection>),
    /// A line of shell.
    Shell(String),
}

/// Some tests of some binaries; all of them where a list is empty.
struct Selection {
    binaries: Vec<String>,
    filters: Vec<String>,
}

/// What a change is tested with: the oldest kernel, and one with everything that the host's does not have to have.
const CI_KERNELS: [&str; 2] = ["5.10", "6.12"];

/// Binaries and parts of names: all ways out that share one agent, what doctor says, and who is the owner. An emulated
/// kernel takes about 10 s for each test with an agent of its own.
const CI_TESTS: [(&str, &[&str]); 3] = [
    ("kernel", &[]),
    ("paths", &["tcp_", "udp_", "raw_", "kernel_", "packet_raw"]),
    (
        "end_to_end",
        &[
            "a_child_made_for_the_connection",
            "the_agent_counts_sockets_of_its_own_namespace_only",
            "frames_of_a_container",
            "a_connection_older_than_the_agent",
        ],
    ),
];

/// The short selection, `cargo xtask vm --ci`; the sum of all kernels.
pub(crate) fn run_for_ci() -> Result<Summary> {
    let kernels = CI_KERNELS.iter().map(|name| Kernel::named(name)).collect::<Result<Vec<_>>>()?;
    let selections = CI_TESTS.iter().map(|(binary, filters)| Selection {
        binaries: vec![(*binary).to_owned()],
        filters: filters.iter().map(|&filter| filter.to_owned()).collect(),
    });
    let lines = run_on(&kernels, &Job::Tests(selections.collect()), true)?;
    print!("{}", table(&lines));
    Ok(lines.iter().map(Line::summary).fold(Summary::default(), |mut sum, summary| {
        sum += summary;
        sum
    }))
}

/// What became of one kernel.
struct Line {
    kernel: Kernel,
    release: String,
    outcome: Result<(Summary, Duration), String>,
    tolerated: bool,
}

impl Line {
    fn is_good(&self) -> bool {
        match &self.outcome {
            Ok((summary, _)) => summary.failed == 0,
            Err(_) => self.tolerated,
        }
    }

    fn summary(&self) -> Summary {
        match &self.outcome {
            Ok((summary, _)) => *summary,
            Err(_) if self.tolerated => Summary::default(),
            Err(_) => Summary { passed: 0, failed: 1 },
        }
    }
}

/// Runs on one kernel after the other, the failures of one notwithstanding.
fn run_on(kernels: &[Kernel], job: &Job, all_required: bool) -> Result<Vec<Line>> {
    setup::ensure()?;
    setup::ensure_programs(&packages::VM)?;
    ensure!(cfg!(target_arch = "x86_64"), "the kernel matrix runs on x86_64 only");
    let vm = tool::target_dir().join("vm");
    let script = script(job, &vm.join("bin"))?;
    let mut lines = Vec::new();
    for kernel in kernels {
        println!("\nvm: kernel {}", kernel.name);
        let mut line =
            Line { kernel: *kernel, release: String::new(), outcome: Err(String::new()), tolerated: false };
        match kernel.unpacked(&vm) {
            Ok(unpacked) => {
                line.release.clone_from(&unpacked.release);
                let outcome =
                    Guest::new(&unpacked, vm.join(kernel.name)).and_then(|guest| guest.run(&script));
                line.outcome = outcome
                    .map(|outcome| (outcome.summary, outcome.took))
                    .map_err(|error| format!("{error:#}"));
            }
            Err(error) => {
                line.outcome = Err(format!("{error:#}"));
                line.tolerated = !kernel.required && !all_required;
            }
        }
        if let Err(error) = &line.outcome {
            println!("vm: kernel {}: {error}", kernel.name);
        }
        lines.push(line);
    }
    Ok(lines)
}

/// One line per kernel: what it is, and how it went.
fn table(lines: &[Line]) -> String {
    let mut text = String::from("\n");
    for Line { kernel, release, outcome, .. } in lines {
        let said = match outcome {
            Ok((summary, took)) => format!("{summary} in {} s", took.as_secs()),
            Err(error) => error.lines().next().unwrap_or_default().to_owned(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "kernel {:<8}{release:<24}{said}", kernel.name);
    }
    text
}

/// The lines of shell that the guest runs, with links to all programs in `bin`.
fn script(job: &Job, bin: &Path) -> Result<String> {
    let built = match job {
        Job::Shell(_) => binaries::build(&["kernel".to_owned()])?,
        Job::Tests(selections) if selections.iter().any(|selection| selection.binaries.is_empty()) => {
            binaries::build(&[])?
        }
        Job::Tests(selections) => binaries::build(
            &selections.iter().flat_map(|selection| selection.binaries.clone()).collect::<Vec<_>>(),
        )?,
    };
    if bin.exists() {
        fs::remove_dir_all(bin).with_context(|| format!("remove {}", bin.display()))?;
    }
    fs::create_dir_all(bin).with_context(|| format!("create {}", bin.display()))?;
    for name in ["homeport", "actor"] {
        link(&tool::target_dir().join("debug").join(name), bin)?;
    }
    let mut script = String::from("failures=0\n");
    let directory = tool::workspace().join("tests");
    for (name, value) in [
        ("HOMEPORT_BIN", bin.join("homeport").display().to_string()),
        ("HOMEPORT_TEST_PATIENCE", PATIENCE.to_string()),
        ("HOMEPORT_VM_OUT", "/run/homeport-vm/out".to_owned()),
        ("CARGO_MANIFEST_DIR", directory.display().to_string()),
    ] {
        let _ = writeln!(script, "export {name}={}", quoted(&value));
    }
    let _ = writeln!(script, "cd {}", quoted(&directory.display().to_string()));
    match job {
        Job::Shell(line) => {
            let passed = "echo 'test result: ok. 1 passed; 0 failed;'";
            let _ = writeln!(script, "sh -c {} && {passed} || failures=1", quoted(line));
        }
        Job::Tests(selections) => {
            for Selection { binaries, filters } in selections {
                let filters: Vec<String> = filters.iter().map(|filter| quoted(filter)).collect();
                let chosen = |built: &&TestBinary| binaries.is_empty() || binaries.contains(&built.name);
                for TestBinary { path, .. } in built.iter().filter(chosen) {
                    let program = link(path, bin)?;
                    let _ = writeln!(
                        script,
                        "{} --test-threads=1 --color never {} || failures=$((failures + 1))",
                        quoted(&program.display().to_string()),
                        filters.join(" ")
                    );
                }
            }
        }
    }
    Ok(script)
}

/// A second name for a program, because cargo may put its next version under the first one while the guest runs.
fn link(program: &Path, bin: &Path) -> Result<PathBuf> {
    let name = program.file_name().context("a program has a name")?;
    let to = bin.join(name);
    fs::hard_link(program, &to).with_context(|| format!("link {} to {}", program.display(), to.display()))?;
    Ok(to)
}

/// As the shell reads it back.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
