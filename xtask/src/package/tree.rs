//! The files of a package, laid out as they are on a host.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::tool;

/// Where distributions differ.
pub(super) struct Places {
    /// Completions of zsh.
    pub(super) zsh: &'static str,
}

/// Files from the repository: from, to.
const FILES: &[(&str, &str)] = &[
    ("agent/deploy/systemd/homeport.service", "usr/lib/systemd/system/homeport.service"),
    ("agent/deploy/systemd/homeport.sysusers", "usr/lib/sysusers.d/homeport.conf"),
    ("agent/deploy/homeport.toml", "etc/homeport/homeport.toml"),
    ("NOTICE", "usr/share/doc/homeport/NOTICE"),
    ("README.md", "usr/share/doc/homeport/README.md"),
    ("CHANGELOG.md", "usr/share/doc/homeport/CHANGELOG.md"),
];

/// Directories from the repository.
const DIRECTORIES: &[(&str, &str)] = &[
    ("agent/docs", "usr/share/doc/homeport/docs"),
    ("agent/deploy/prometheus", "usr/share/doc/homeport/examples/prometheus"),
    ("agent/deploy/alertmanager", "usr/share/doc/homeport/examples/alertmanager"),
    ("agent/deploy/grafana", "usr/share/doc/homeport/examples/grafana"),
    ("agent/deploy/opentelemetry", "usr/share/doc/homeport/examples/opentelemetry"),
    ("agent/deploy/container", "usr/share/doc/homeport/examples/container"),
    ("agent/deploy/kubernetes", "usr/share/doc/homeport/examples/kubernetes"),
];

/// Lays the tree out below `root`, which is made anew.
pub(super) fn lay_out(root: &Path, binary: &Path, places: &Places) -> Result<()> {
    if root.exists() {
        fs::remove_dir_all(root).with_context(|| format!("remove {}", root.display()))?;
    }
    let from = tool::workspace();
    install(binary, &root.join("usr/bin/homeport"), 0o755)?;
    strip(&root.join("usr/bin/homeport"))?;
    for (source, target) in FILES {
        install(&from.join(source), &root.join(target), 0o644)?;
    }
    for (source, target) in DIRECTORIES {
        install_directory(&from.join(source), &root.join(target))?;
    }
    generate(binary, root, places)
}

/// Manual pages and completions, made by the program itself so that they never differ from it.
fn generate(binary: &Path, root: &Path, places: &Places) -> Result<()> {
    let pages = root.join("usr/share/man/man1");
    fs::create_dir_all(&pages)?;
    tool::run_quietly(Command::new(binary).args(["generate", "man"]).arg(&pages))?;
    for page in list(&pages)? {
        tool::run_quietly(Command::new("gzip").args(["--best", "--no-name"]).arg(&page))?;
    }
    let shells = [
        ("bash", "usr/share/bash-completion/completions/homeport"),
        ("fish", "usr/share/fish/vendor_completions.d/homeport.fish"),
        ("zsh", places.zsh),
    ];
    for (shell, target) in shells {
        let text = tool::output(Command::new(binary).args(["generate", "completions", shell]))?;
        let target = root.join(target);
        make_parent(&target)?;
        fs::write(&target, text).with_context(|| format!("write {}", target.display()))?;
    }
    Ok(())
}

/// Without symbols a package is a fifth of the size; panics still name their place.
fn strip(program: &Path) -> Result<()> {
    tool::run_quietly(Command::new("strip").args(["--strip-unneeded"]).arg(program))
}

fn install(source: &Path, target: &Path, mode: u32) -> Result<()> {
    make_parent(target)?;
    fs::copy(source, target).with_context(|| format!("copy {} to {}", source.display(), target.display()))?;
    fs::set_permissions(target, fs::Permissions::from_mode(mode))?;
    Ok(())
}

fn install_directory(source: &Path, target: &Path) -> Result<()> {
    for path in list(source)? {
        let Some(name) = path.file_name() else { continue };
        if path.is_dir() {
            install_directory(&path, &target.join(name))?;
        } else {
            install(&path, &target.join(name), 0o644)?;
        }
    }
    Ok(())
}

fn make_parent(path: &Path) -> Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))
}

/// What is in a directory, in an order that does not depend on the disk.
fn list(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}
