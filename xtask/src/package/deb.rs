//! The Debian package.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{About, tree};
use crate::tool;

const PLACES: tree::Places = tree::Places { zsh: "usr/share/zsh/vendor-completions/_homeport" };

/// Runs on the host where it is installed.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// `quick`: large, for a test that is over in a minute.
pub(super) fn make(about: &About, binary: &Path, out: &Path, quick: bool) -> Result<PathBuf> {
    let root = out.join("deb");
    tree::lay_out(&root, binary, &PLACES)?;
    let architecture = tool::output(Command::new("dpkg").arg("--print-architecture"))?;
    let architecture = architecture.trim();
    let meta = root.join("DEBIAN");
    fs::create_dir_all(&meta)?;
    let copyright = root.join("usr/share/doc/homeport/copyright");
    fs::write(&copyright, copyright_text()?).with_context(|| format!("write {}", copyright.display()))?;
    for script in SCRIPTS {
        let target = meta.join(script);
        fs::copy(tool::workspace().join("agent/deploy/debian").join(script), &target)
            .with_context(|| format!("copy the script {script}"))?;
        fs::set_permissions(&target, fs::Permissions::from_mode(0o755))?;
    }
    fs::write(meta.join("conffiles"), "/etc/homeport/homeport.toml\n")?;
    fs::write(
        meta.join("control"),
        control(about, architecture, dependencies(out, &root)?.as_deref(), kib(&root)?),
    )?;
    let package = out.join(format!("homeport_{}_{architecture}.deb", about.version));
    // Files belong to root whoever builds.
    let mut build = Command::new("dpkg-deb");
    if quick {
        build.arg("-Znone");
    }
    tool::run(build.args(["--root-owner-group", "--build"]).arg(&root).arg(&package))?;
    Ok(package)
}

fn control(about: &About, architecture: &str, depends: Option<&str>, kib: u64) -> String {
    // A program that needs no library of the host's has none to depend on.
    let depends = depends.map(|depends| format!("Depends: {depends}\n")).unwrap_or_default();
    let description: String = about.description.iter().map(|line| format!(" {line}\n")).collect();
    format!(
        "Package: homeport\nVersion: {}\nArchitecture: {architecture}\nMaintainer: homeport <homeport@localhost>\n\
         Installed-Size: {kib}\n{depends}Section: admin\nPriority: optional\n\
         Description: {}\n{description}",
        about.version, about.summary
    )
}

/// The libraries that the program is linked with, in the versions it needs; none when it is static.
fn dependencies(out: &Path, root: &Path) -> Result<Option<String>> {
    let program = fs::canonicalize(root.join("usr/bin/homeport"))?;
    let headers = tool::output(Command::new("readelf").args(["--wide", "--dynamic"]).arg(&program))?;
    if !headers.contains("(NEEDED)") {
        return Ok(None);
    }
    // dpkg-shlibdeps insists on the directory of a source package.
    let source = out.join("source");
    fs::create_dir_all(source.join("debian"))?;
    fs::write(source.join("debian/control"), "Source: homeport\n\nPackage: homeport\nArchitecture: any\n")?;
    let mut command = Command::new("dpkg-shlibdeps");
    command.arg("-O").arg(program).current_dir(&source);
    let text = tool::output(&mut command)?;
    fs::remove_dir_all(&source)?;
    let line = text.lines().find_map(|line| line.strip_prefix("shlibs:Depends="));
    Ok(Some(line.context("dpkg-shlibdeps names no library")?.to_owned()))
}

fn kib(root: &Path) -> Result<u64> {
    let text = tool::output(Command::new("du").args(["--summarize", "--apparent-size", "-k"]).arg(root))?;
    let number = text.split_whitespace().next().context("du prints a number")?;
    number.parse().with_context(|| format!("du prints a number, not {number}"))
}

/// In Debian's machine-readable format.
fn copyright_text() -> Result<String> {
    let licence = |name: &str| -> Result<String> {
        let text =
            fs::read_to_string(tool::workspace().join(name)).with_context(|| format!("read {name}"))?;
        let line = |line: &str| if line.trim().is_empty() { " .\n".to_owned() } else { format!(" {line}\n") };
        Ok(text.lines().map(line).collect())
    };
    Ok(format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         Upstream-Name: homeport\n\
         Comment: what the program contains of others is named in NOTICE beside this file\n\n\
         Files: *\nCopyright: the homeport authors\nLicense: Expat or Apache-2.0\n\n\
         License: Expat\n{}\nLicense: Apache-2.0\n On Debian systems the text is in /usr/share/common-licenses/Apache-2.0\n",
        licence("LICENSE-MIT")?
    ))
}
