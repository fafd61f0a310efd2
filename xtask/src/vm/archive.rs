//! Debian packages of other suites, fetched without touching what is installed here.
//!
//! apt does the work, with a source list and a state directory of its own: signatures are checked, and neither the
//! machine's lists nor its packages change. The mirrors are those that the machine itself uses.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::tool;

/// Releases of Debian whose mirrors also have all the others.
const DEBIAN: [&str; 8] =
    ["bullseye", "bookworm", "trixie", "forky", "oldstable", "stable", "testing", "sid"];

/// Debian's keys, where its own packages put them.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Where one suite is fetched from.
pub(crate) struct Archive {
    directory: PathBuf,
}

impl Archive {
    /// Reads the package list of `suite`, such as `trixie` or `trixie-security`, from this machine's mirror.
    pub(crate) fn open(suite: &str, directory: &Path) -> Result<Self> {
        let archive = Self { directory: directory.join(suite) };
        let mirror = mirror_for(suite)?;
        for part in ["lists/partial", "cache/archives/partial"] {
            let path = archive.directory.join(part);
            fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        }
        let trust =
            if Path::new(KEYRING).exists() { format!("[signed-by={KEYRING}] ") } else { String::new() };
        let sources = archive.directory.join("sources.list");
        fs::write(&sources, format!("deb {trust}{mirror} {suite} main\n"))
            .with_context(|| format!("write {}", sources.display()))?;
        tool::run(archive.apt("apt-get").args(["--quiet", "--error-on=any", "update"]))?;
        Ok(archive)
    }

    /// Names of packages that begin so.
    pub(crate) fn packages(&self, prefix: &str) -> Result<Vec<String>> {
        let names = tool::output(self.apt("apt-cache").args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Fetches packages and returns their files.
    pub(crate) fn download(&self, packages: &[String]) -> Result<Vec<PathBuf>> {
        download(self.apt("apt-get").args(["--quiet", "download"]).args(packages), &self.directory)
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = apt(program);
        let directory = self.directory.display();
        for option in [
            format!("Dir::Etc::sourcelist={directory}/sources.list"),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("Dir::State::Lists={directory}/lists"),
            // Only what the suite offers, not what happens to be installed here.
            "Dir::State::status=/dev/null".to_owned(),
            format!("Dir::Cache={directory}/cache"),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            // apt's own user cannot write below a home directory.
            "APT::Sandbox::User=".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        command
    }
}

/// Fetches packages from the sources of this machine, as it is configured.
pub(crate) fn download_here(packages: &[String], directory: &Path) -> Result<Vec<PathBuf>> {
    let mut command = apt("apt-get");
    command.args(["-o", "APT::Sandbox::User=", "--quiet", "download"]).args(packages);
    download(&mut command, directory)
}

/// What apt would install for `package`: itself, and what it needs that is not here.
pub(crate) fn would_install(package: &str) -> Result<Vec<String>> {
    let update = || tool::run(apt("apt-get").args(["--quiet", "--error-on=any", "update"]));
    // Only root may; others have the lists that are there.
    if tool::is_root()? {
        update()?;
    }
    let plan = tool::output(apt("apt-get").env("LC_ALL", "C").args([
        "install",
        "--simulate",
        "--quiet",
        "--no-install-recommends",
        package,
    ]))?;
    // Lines such as "Inst NAME (VERSION ...)".
    let names = plan.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next());
    Ok(names.map(str::to_owned).collect())
}

/// A mirror that does not answer must not hold up everything else.
fn apt(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--signal=INT", "240", program]);
    command
}

fn download(command: &mut Command, directory: &Path) -> Result<Vec<PathBuf>> {
    // A directory of its own: whatever is in it afterwards was asked for.
    let fetched = directory.join("fetched");
    if fetched.exists() {
        fs::remove_dir_all(&fetched).with_context(|| format!("remove {}", fetched.display()))?;
    }
    fs::create_dir_all(&fetched).with_context(|| format!("create {}", fetched.display()))?;
    tool::run(command.current_dir(&fetched))?;
    let files = fs::read_dir(&fetched).with_context(|| format!("list {}", fetched.display()))?;
    files.map(|entry| Ok(entry?.path())).collect()
}

/// The address of the mirror that this machine uses for suites of that kind.
fn mirror_for(suite: &str) -> Result<String> {
    let targets = tool::output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(RELEASE)",
        "Created-By: Packages",
    ]))?;
    let mirror = targets.lines().find_map(|line| {
        let (address, release) = line.split_once(' ')?;
        let base = release.split(['-', '/']).next()?;
        (DEBIAN.contains(&base) && is_security(release) == is_security(suite)).then(|| address.to_owned())
    });
    mirror.with_context(|| format!("no package source of this machine is a Debian mirror with {suite}"))
}

fn is_security(suite: &str) -> bool {
    suite.ends_with("-security")
}

/// Unpacks a package's files, leaving out paths that match one of the patterns of tar.
pub(crate) fn unpack(package: &Path, into: &Path, without: &[&str]) -> Result<()> {
    fs::create_dir_all(into).with_context(|| format!("create {}", into.display()))?;
    let mut contents = Command::new("dpkg-deb");
    let mut contents =
        contents.arg("--fsys-tarfile").arg(package).stdout(std::process::Stdio::piped()).spawn()?;
    let mut tar = Command::new("tar");
    tar.arg("--extract").arg("--directory").arg(into).arg("--no-same-owner");
    tar.args(without.iter().map(|pattern| format!("--exclude={pattern}")));
    tar.stdin(contents.stdout.take().context("dpkg-deb writes to a pipe")?);
    tool::run(&mut tar).with_context(|| format!("unpack {}", package.display()))?;
    ensure!(contents.wait()?.success(), "dpkg-deb cannot read {}", package.display());
    Ok(())
}
