//! The RPM package, for Red Hat's, SUSE's and their kin.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{About, tree};
use crate::tool;

const PLACES: tree::Places = tree::Places { zsh: "usr/share/zsh/site-functions/_homeport" };

/// `quick`: large, for a test that is over in a minute.
pub(super) fn make(about: &About, binary: &Path, out: &Path, quick: bool) -> Result<PathBuf> {
    let out = fs::canonicalize(out)?;
    let root = out.join("rpm-root");
    tree::lay_out(&root, binary, &PLACES)?;
    let template = tool::workspace().join("agent/deploy/rpm/homeport.spec");
    let template = fs::read_to_string(&template).with_context(|| format!("read {}", template.display()))?;
    let spec = out.join("homeport.spec");
    fs::write(
        &spec,
        template
            .replace("@VERSION@", &about.version)
            .replace("@SUMMARY@", about.summary)
            .replace("@DESCRIPTION@", &about.description.join("\n"))
            .replace("@TREE@", &root.display().to_string()),
    )?;
    let top = out.join("rpm");
    let define = |name: &str, value: &Path| format!("{name} {}", value.display());
    let mut build = Command::new("rpmbuild");
    if quick {
        build.args(["--define", "_binary_payload w0.gzdio"]);
    }
    tool::run(
        build
            .args(["-bb", "--quiet"])
            .args(["--define", &define("_topdir", &top)])
            .args(["--define", &define("_rpmdir", &out)])
            .args(["--define", "_rpmfilename homeport-%{VERSION}.%{ARCH}.rpm"])
            .arg(&spec),
    )?;
    let machine = tool::output(Command::new("rpm").args(["--eval", "%{_target_cpu}"]))?;
    fs::remove_file(&spec)?;
    Ok(out.join(format!("homeport-{}.{}.rpm", about.version, machine.trim())))
}
