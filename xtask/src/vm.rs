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

use std::{fmt::Write as _, time::Duration};

use anyhow::{Result, ensure};

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
    /// Run this line of shell in the guest instead of tests
    #[arg(long, conflicts_with = "tests")]
    shell: Option<String>,
    /// Parts of the names of the tests to run, and options of the test harness
    #[arg(last = true)]
    filters: Vec<String>,
}

pub(crate) fn run(args: Args) -> Result<()> {
    let kernels = if args.kernels.is_empty() {
        KERNELS.to_vec()
    } else {
        args.kernels.iter().map(|name| Kernel::named(name)).collect::<Result<_>>()?
    };
    let job = match args.shell {
        Some(line) => Job::Shell(line),
        None => Job::Tests { binaries: args.tests, filters: args.filters },
    };
    // Whoever names a kernel wants it; in a run of all, one that no mirror has is only told.
    let outcomes = run_on(&kernels, &job, !args.kernels.is_empty())?;
    let table = table(&outcomes);
    print!("{table}");
    ensure!(outcomes.iter().all(Line::is_good), "not every kernel passed");
    Ok(())
}

/// What to do in the guest.
pub(crate) enum Job {
    /// Tests: of which binaries, and which names. All where empty.
    Tests { binaries: Vec<String>, filters: Vec<String> },
    /// A line of shell.
    Shell(String),
}

/// What became of one kernel.
pub(crate) struct Line {
    kernel: Kernel,
    release: String,
    outcome: Result<(Summary, Duration), String>,
    tolerated: bool,
}

impl Line {
    pub(crate) fn is_good(&self) -> bool {
        match &self.outcome {
            Ok((summary, _)) => summary.failed == 0,
            Err(_) => self.tolerated,
        }
    }

    pub(crate) fn summary(&self) -> Summary {
        match &self.outcome {
            Ok((summary, _)) => *summary,
            Err(_) if self.tolerated => Summary::default(),
            Err(_) => Summary { passed: 0, failed: 1 },
        }
    }
}

/// Runs on one kernel after the other, the failures of one notwithstanding.
pub(crate) fn run_on(kernels: &[Kernel], job: &Job, all_required: bool) -> Result<Vec<Line>> {
    setup::ensure()?;
    setup::ensure_programs(&packages::VM)?;
    ensure!(cfg!(target_arch = "x86_64"), "the kernel matrix runs on x86_64 only");
    let script = script(job)?;
    let vm = tool::target_dir().join("vm");
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
pub(crate) fn table(lines: &[Line]) -> String {
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

/// The lines of shell that the guest runs.
fn script(job: &Job) -> Result<String> {
    tool::run(tool::cargo("build").args(["--locked", "--bins"]).args(tool::PRODUCT))?;
    let agent = tool::target_dir().join("debug/homeport");
    let mut script = String::from("failures=0\n");
    let directory = tool::workspace().join("tests");
    for (name, value) in [
        ("HOMEPORT_BIN", agent.display().to_string()),
        ("HOMEPORT_TEST_PATIENCE", PATIENCE.to_string()),
        ("HOMEPORT_VM_OUT", "/run/homeport-vm/out".to_owned()),
        ("CARGO_MANIFEST_DIR", directory.display().to_string()),
    ] {
        let _ = writeln!(script, "export {name}={}", quoted(&value));
    }
    let _ = writeln!(script, "cd {}", quoted(&directory.display().to_string()));
    match job {
        Job::Shell(line) => {
            let _ = writeln!(
                script,
                "sh -c {} && echo 'test result: ok. 1 passed; 0 failed;' || failures=1",
                quoted(line)
            );
        }
        Job::Tests { binaries, filters } => {
            for TestBinary { path, .. } in binaries::build(binaries)? {
                let filters: Vec<String> = filters.iter().map(|filter| quoted(filter)).collect();
                let _ = writeln!(
                    script,
                    "{} --test-threads=1 --color never {} || failures=$((failures + 1))",
                    quoted(&path.display().to_string()),
                    filters.join(" ")
                );
            }
        }
    }
    Ok(script)
}

/// As the shell reads it back.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
