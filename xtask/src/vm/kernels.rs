//! The kernels of the matrix: which there are, and how they come here from Debian's packages.
//!
//! A kernel that was fetched once stays under `target/vm/kernels` and needs no network again; removing its directory
//! fetches the latest.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    archive::{self, Archive},
    initramfs,
};
use crate::tool;

/// A line of the matrix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel {
    /// As given to `--kernel`.
    pub(crate) name: &'static str,
    /// Debian suites that have it, the one with the latest first.
    suites: &'static [&'static str],
    /// How its packages' names begin after `linux-image-`.
    version: &'static str,
    /// Whether a run without it has failed. A mirror may lack the newest; the others are in every mirror of Debian.
    pub(crate) required: bool,
}

/// Debian 11, 12 and 13, and what Debian 13 offers beside its own.
pub(crate) const KERNELS: [Kernel; 4] = [
    Kernel { name: "5.10", suites: &["bullseye-security", "bullseye"], version: "5.10.", required: true },
    Kernel { name: "6.1", suites: &["bookworm-security", "bookworm"], version: "6.1.", required: true },
    Kernel { name: "6.12", suites: &["trixie-security", "trixie"], version: "6.12.", required: true },
    Kernel { name: "newest", suites: &["trixie-backports", "sid"], version: "", required: false },
];

/// The plain flavour: the cloud kernels are smaller, but lack modules of storage servers.
const FLAVOUR: &str = "-amd64";

/// Modules that no test needs, and that are most of the size.
const LEFT_OUT: [&str; 7] = [
    "*/kernel/drivers/gpu",
    "*/kernel/drivers/media",
    "*/kernel/drivers/net/ethernet",
    "*/kernel/drivers/net/wireless",
    "*/kernel/sound",
    "./usr/share",
    "*/System.map-*",
];

/// The packages of a kernel that was not here; none when it was.
pub(crate) struct Packages(Vec<PathBuf>);

/// A kernel that is here and can be booted.
pub(crate) struct Unpacked {
    pub(crate) image: PathBuf,
    pub(crate) initramfs: PathBuf,
    /// A root directory that has nothing but `lib/modules`.
    pub(crate) root: PathBuf,
    /// As `uname -r` will say.
    pub(crate) release: String,
}

impl Kernel {
    pub(crate) fn named(name: &str) -> Result<Self> {
        KERNELS.into_iter().find(|kernel| kernel.name == name).with_context(|| {
            let names = KERNELS.map(|kernel| kernel.name).join(", ");
            format!("kernel {name} is unknown: there are {names}")
        })
    }

    /// Fetches its packages, unless it is here.
    ///
    /// # Errors
    ///
    /// When they cannot be had. All that fails afterwards is a fault of this program or of the kernel.
    pub(crate) fn download(self, vm: &Path) -> Result<Packages> {
        initramfs::busybox(vm)?;
        if self.root(vm).exists() {
            return Ok(Packages(Vec::new()));
        }
        let mut failures = Vec::new();
        for suite in self.suites {
            match self.fetch_from(suite, vm) {
                Ok(files) => return Ok(Packages(files)),
                Err(error) => failures.push(format!("{suite}: {error:#}")),
            }
        }
        bail!("cannot fetch kernel {}: {}", self.name, failures.join("; "))
    }

    /// Unpacks it, unless that was done before.
    pub(crate) fn unpack(self, packages: &Packages, vm: &Path) -> Result<Unpacked> {
        let root = self.root(vm);
        if !root.exists() {
            // Complete or not there: what was interrupted is made again.
            let unfinished = vm.join("kernels").join(format!("{}.unfinished", self.name));
            if unfinished.exists() {
                fs::remove_dir_all(&unfinished)?;
            }
            unpack(&packages.0, &unfinished)?;
            fs::rename(&unfinished, &root).with_context(|| format!("move {}", unfinished.display()))?;
        }
        let release = release_in(&root)?;
        let unpacked =
            Unpacked { image: root.join("vmlinuz"), initramfs: root.join("initramfs"), root, release };
        initramfs::write(&unpacked, vm)?;
        Ok(unpacked)
    }

    fn root(self, vm: &Path) -> PathBuf {
        vm.join("kernels").join(self.name)
    }

    fn fetch_from(self, suite: &str, vm: &Path) -> Result<Vec<PathBuf>> {
        let archive = Archive::open(suite, &vm.join("archive"))?;
        let prefix = format!("linux-image-{}", self.version);
        let images = archive.packages(&prefix)?;
        let release = images
            .iter()
            .filter_map(|image| image.strip_prefix("linux-image-")?.strip_suffix(FLAVOUR))
            .filter(|release| is_plain(release))
            .max_by_key(|release| numbers(release))
            .with_context(|| format!("no package {prefix}*{FLAVOUR}"))?;
        // From 6.19 on, image, modules and the list of what is built in are packages of their own.
        let mut packages = Vec::new();
        for part in ["linux-image-", "linux-base-", "linux-binary-", "linux-modules-"] {
            let name = format!("{part}{release}{FLAVOUR}");
            if archive.packages(&name)?.contains(&name) {
                packages.push(name);
            }
        }
        archive.download(&packages)
    }
}

/// A version with numbers, and not another flavour such as `cloud` or `rt`, nor an unsigned or debug package.
fn is_plain(release: &str) -> bool {
    release.starts_with(|first: char| first.is_ascii_digit())
        && release.contains('.')
        && !["-cloud", "-rt", "-unsigned", "-dbg"].iter().any(|word| release.contains(word))
}

/// The numbers in a version, for comparison.
fn numbers(release: &str) -> Vec<u64> {
    release.split(|letter: char| !letter.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

fn unpack(packages: &[PathBuf], into: &Path) -> Result<()> {
    for package in packages {
        archive::unpack(package, into, &LEFT_OUT)?;
        fs::remove_file(package).with_context(|| format!("remove {}", package.display()))?;
    }
    // Where / and /usr are one, modules are packed below /usr.
    if into.join("usr/lib/modules").exists() {
        let lib = into.join("lib");
        fs::create_dir_all(&lib)?;
        fs::rename(into.join("usr/lib/modules"), lib.join("modules"))?;
    }
    let release = release_in(into)?;
    let image =
        [into.join(format!("boot/vmlinuz-{release}")), into.join(format!("lib/modules/{release}/vmlinuz"))]
            .into_iter()
            .find(|path| path.exists())
            .context("the packages hold no kernel image")?;
    fs::rename(image, into.join("vmlinuz"))?;
    tool::run(Command::new("depmod").arg("--basedir").arg(into).arg(&release))
}

fn release_in(root: &Path) -> Result<String> {
    let modules = root.join("lib/modules");
    let mut names = fs::read_dir(&modules)
        .with_context(|| format!("list {}", modules.display()))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<_>>>()?;
    ensure!(names.len() == 1, "one kernel expected in {}, there are {names:?}", modules.display());
    Ok(names.remove(0))
}

#[cfg(test)]
mod tests {
    use super::{is_plain, numbers};

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert!(numbers("5.10.0-46") > numbers("5.10.0-9"));
        assert!(numbers("6.12.117+deb13") > numbers("6.12.115+deb13.1"));
        assert!(numbers("7.3.4+deb13") > numbers("6.19.14+deb13"));
    }

    #[test]
    fn other_flavours_and_meta_packages_are_left_out() {
        assert!(is_plain("6.12.117+deb13"));
        for release in ["6.12.117+deb13-cloud", "5.10.0-46-rt", "amd64", "6"] {
            assert!(!is_plain(release), "{release}");
        }
    }
}
