//! Runs the end-to-end tests on other kernels: `cargo xtask vm [--kernel NAME...] [--test NAME...] [-- FILTER...]`.
//!
//! Debian's kernels are fetched by package and booted in QEMU without hardware support, so that this works wherever
//! the tests do. The guest's root is this machine's, read-only, with a layer in memory: the programs and test binaries
//! of this machine run there under another kernel. KERNELS.md tells what each kernel can do.
//!
//! | file | what for |
//! |---|---|
//! | `archive` | packages of other Debian suites, without touching this machine's |
//! | `emulator` | QEMU, and how it comes here |
//! | `kernels` | the matrix, and how a kernel comes here |
//! | `initramfs` | the guest's first file system, with `init.sh` |
//! | `guest` | one run in QEMU, with `guest.sh` |
//! | `binaries` | the test binaries that cargo builds |
//! | `short` | the selection that every change is tested with |

mod archive;
mod binaries;
pub(crate) mod emulator;
mod guest;
pub(crate) mod initramfs;
pub(crate) mod kernels;
pub(crate) mod short;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};

use self::{
    binaries::TestBinary,
    emulator::Emulator,
    guest::{Guest, Outcome},
    kernels::{KERNELS, Kernel, Unpacked},
};
use crate::{packages, setup, tool};

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
    /// The short selection, on the oldest kernel and a newer one
    #[arg(long, conflicts_with_all = ["kernels", "tests", "shell"])]
    ci: bool,
    /// All kernels at once, for machines with a processor for each
    #[arg(long)]
    together: bool,
    /// Run this line of shell in the guest instead of tests
    #[arg(long, conflicts_with = "tests")]
    shell: Option<String>,
    /// Parts of the names of the tests to run, and options of the test harness
    #[arg(last = true)]
    filters: Vec<String>,
}

pub(crate) fn run(args: Args) -> Result<()> {
    setup::ensure()?;
    if args.ci {
        let short::Verdict { summary, left_out } = short::run(short::LIMIT)?;
        ensure!(summary.failed == 0, "not every kernel passed");
        // Whoever asks for it wants it.
        ensure!(left_out.is_empty(), "not tested: {}", left_out.join("; "));
        return Ok(());
    }
    setup::ensure_programs(&packages::VM)?;
    setup::ensure_programs(&packages::VM_PATHS)?;
    let kernels = if args.kernels.is_empty() {
        KERNELS.to_vec()
    } else {
        args.kernels.iter().map(|name| Kernel::named(name)).collect::<Result<_>>()?
    };
    let job = match args.shell {
        Some(line) => Job::Shell(line),
        None => Job::Tests(vec![Selection { binaries: args.tests, filters: args.filters }]),
    };
    let emulator = Emulator::ensure(&directory())?;
    let pace = if args.together { Pace::Together(None) } else { Pace::OneByOne };
    let lines = run_on(&kernels, &job, &emulator, pace)?;
    print!("{}", table(&lines));
    // Whoever names a kernel wants it; in a run of all, one that not every mirror has is only told.
    let is_named = !args.kernels.is_empty();
    let is_good = |line: &Line| match &line.end {
        End::Ran(outcome) => outcome.summary.failed == 0,
        End::CannotBeHad(_) => !is_named && !line.kernel.required,
        End::Broke(_) => false,
    };
    ensure!(lines.iter().all(is_good), "not every kernel passed");
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

/// What became of one kernel.
struct Line {
    kernel: Kernel,
    release: String,
    end: End,
}

#[derive(Clone)]
enum End {
    /// Its tests ran.
    Ran(Outcome),
    /// No mirror has it, or none can be reached.
    CannotBeHad(String),
    /// It could not be unpacked, did not boot, or ended before its tests did.
    Broke(String),
}

/// How several kernels share the processors.
#[derive(Clone, Copy)]
enum Pace {
    /// One after the other, for as long as it takes.
    OneByOne,
    /// All at once; where an end is given, until then.
    Together(Option<Instant>),
}

/// Where kernels, guests and QEMU are.
pub(crate) fn directory() -> PathBuf {
    tool::target_dir().join("vm")
}

/// Runs on each kernel, the failures of others notwithstanding.
fn run_on(kernels: &[Kernel], job: &Job, emulator: &Emulator, pace: Pace) -> Result<Vec<Line>> {
    ensure!(cfg!(target_arch = "x86_64"), "the kernel matrix runs on x86_64 only");
    let vm = directory();
    let prepared: Vec<_> = kernels.iter().map(|kernel| (*kernel, prepare(*kernel, &vm, pace))).collect();
    let built = build(job)?;
    let finish = |(kernel, prepared): &(Kernel, Result<Unpacked, End>)| match prepared {
        Ok(unpacked) => {
            let end = boot(*kernel, unpacked, emulator, (job, &built), pace)
                .map_or_else(|error| End::Broke(format!("{error:#}")), End::Ran);
            Line { kernel: *kernel, release: unpacked.release.clone(), end }
        }
        Err(end) => Line { kernel: *kernel, release: String::new(), end: end.clone() },
    };
    let lines: Vec<_> = match pace {
        Pace::OneByOne => prepared.iter().map(finish).collect(),
        Pace::Together(_) => thread::scope(|scope| {
            let finish = &finish;
            let running: Vec<_> = prepared.iter().map(|one| scope.spawn(move || finish(one))).collect();
            running.into_iter().map(|thread| thread.join().expect("no panic in a guest's thread")).collect()
        }),
    };
    for Line { kernel, end, .. } in &lines {
        if let End::Broke(error) | End::CannotBeHad(error) = end {
            println!("vm: kernel {}: {error}", kernel.name);
        }
    }
    Ok(lines)
}

/// Brings a kernel here.
fn prepare(kernel: Kernel, vm: &Path, pace: Pace) -> Result<Unpacked, End> {
    println!("\nvm: kernel {}", kernel.name);
    if let Pace::Together(Some(end)) = pace
        && end <= Instant::now()
    {
        return Err(End::CannotBeHad("the time was over before it could be fetched".to_owned()));
    }
    let packages = kernel.download(vm).map_err(|error| End::CannotBeHad(format!("{error:#}")))?;
    kernel.unpack(&packages, vm).map_err(|error| End::Broke(format!("{error:#}")))
}

fn boot(
    kernel: Kernel,
    unpacked: &Unpacked,
    emulator: &Emulator,
    (job, built): (&Job, &[TestBinary]),
    pace: Pace,
) -> Result<Outcome> {
    let guest = Guest::new(unpacked, emulator, directory().join(kernel.name))?;
    // Each guest has its own links: another run may begin meanwhile.
    let script = script(job, built, &directory().join(kernel.name).join("bin"))?;
    match pace {
        Pace::OneByOne => guest.run(&script, None, ""),
        Pace::Together(end) => guest.run(&script, end, &format!("{}: ", kernel.name)),
    }
}

/// One line per kernel: what it is, and how it went.
fn table(lines: &[Line]) -> String {
    let mut text = String::from("\n");
    for Line { kernel, release, end } in lines {
        let said = match end {
            End::Ran(Outcome { summary, took, is_complete }) => {
                let rest = if *is_complete { "" } else { ", and the time was over" };
                format!("{summary} in {} s{rest}", took.as_secs())
            }
            End::CannotBeHad(error) | End::Broke(error) => {
                error.lines().next().unwrap_or_default().to_owned()
            }
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "kernel {:<8}{release:<24}{said}", kernel.name);
    }
    text
}

/// Builds what the job runs.
fn build(job: &Job) -> Result<Vec<TestBinary>> {
    match job {
        Job::Shell(_) => binaries::build(&["kernel".to_owned()]),
        Job::Tests(selections) if selections.iter().any(|selection| selection.binaries.is_empty()) => {
            binaries::build(&[])
        }
        Job::Tests(selections) => binaries::build(
            &selections.iter().flat_map(|selection| selection.binaries.clone()).collect::<Vec<_>>(),
        ),
    }
}

/// The lines of shell that the guest runs, with links to all programs in `bin`.
fn script(job: &Job, built: &[TestBinary], bin: &Path) -> Result<String> {
    fs::create_dir_all(bin).with_context(|| format!("create {}", bin.display()))?;
    for name in ["homeport", "actor"] {
        link(&tool::target_dir().join("debug").join(name), bin)?;
    }
    let mut script = String::from("failures=0\n");
    let directory = tool::workspace().join("tests");
    for (name, value) in [
        ("HOMEPORT_BIN", bin.join("homeport").display().to_string()),
        ("HOMEPORT_TEST_PATIENCE", PATIENCE.to_string()),
        // Nobody else has this clock: tests may set it by hours.
        ("HOMEPORT_TEST_OWN_CLOCK", "1".to_owned()),
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
