//! The first file system of the guest: busybox, a dozen modules, and the script that mounts the real one.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use super::{archive, kernels::Unpacked};
use crate::tool;

/// What a guest does first.
pub(crate) struct First {
    /// Modules that its script needs; theirs come along.
    pub(crate) modules: &'static [&'static str],
    pub(crate) init: &'static str,
}

/// The host's files over virtio, and a layer to write to.
const HOST_FILES: First =
    First { modules: &["virtio_pci", "9pnet_virtio", "9p", "overlay"], init: include_str!("init.sh") };

/// Writes it anew, because it is quick: a second.
pub(crate) fn write(kernel: &Unpacked, vm: &Path) -> Result<()> {
    make(kernel, vm, &HOST_FILES, &kernel.initramfs)
}

/// The same for another beginning, in a file of its own.
pub(crate) fn make(kernel: &Unpacked, vm: &Path, first: &First, to: &Path) -> Result<()> {
    let busybox = busybox(vm)?;
    let content = to.with_extension("d");
    if content.exists() {
        fs::remove_dir_all(&content)?;
    }
    fs::create_dir_all(content.join("modules"))?;
    fs::copy(&busybox, content.join("busybox"))?;
    fs::write(content.join("init"), first.init)?;
    tool::run_quietly(Command::new("chmod").args(["755", "init", "busybox"]).current_dir(&content))?;
    let mut order = String::new();
    for module in modules(kernel, first.modules)? {
        let name = copy_module(&module, &content.join("modules"), &busybox)?;
        order += &format!("{name}\n");
    }
    fs::write(content.join("modules/order"), order)?;

    let mut cpio = Command::new(&busybox);
    cpio.args(["cpio", "-o", "-H", "newc"]).current_dir(&content);
    let archive = fs::File::create(to)?;
    let mut child = cpio.stdin(Stdio::piped()).stdout(archive).stderr(Stdio::null()).spawn()?;
    let names = tool::output(Command::new("find").arg(".").current_dir(&content))?;
    child.stdin.take().context("cpio reads from a pipe")?.write_all(names.as_bytes())?;
    ensure!(child.wait()?.success(), "cpio failed");
    Ok(())
}

/// The modules in the order in which they load.
fn modules(kernel: &Unpacked, wanted: &[&str]) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for module in wanted {
        let mut modprobe = Command::new(tool::find("modprobe").context("modprobe is missing")?);
        modprobe.arg("--dirname").arg(&kernel.root).args(["--set-version", &kernel.release]);
        // Lines are "insmod FILE" or "builtin NAME".
        let lines = tool::output(modprobe.args(["--show-depends", module]))?;
        for file in lines.lines().filter_map(|line| line.strip_prefix("insmod ")) {
            let file = PathBuf::from(file.trim());
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

/// Copies a module, unpacked, and returns its name.
fn copy_module(module: &Path, into: &Path, busybox: &Path) -> Result<String> {
    let name = module.file_name().context("a module has a name")?.to_string_lossy().into_owned();
    let Some(plain) = name.strip_suffix(".xz") else {
        fs::copy(module, into.join(&name)).with_context(|| format!("copy {}", module.display()))?;
        return Ok(name);
    };
    let unpacked = fs::File::create(into.join(plain))?;
    tool::run_quietly(Command::new(busybox).args(["xzcat"]).arg(module).stdout(unpacked))?;
    Ok(plain.to_owned())
}

/// A busybox without libraries. Its package excludes the other busybox that many systems boot with, so it is not
/// installed but unpacked.
pub(crate) fn busybox(vm: &Path) -> Result<PathBuf> {
    let program = |root: &Path| {
        ["bin/busybox", "usr/bin/busybox"].map(|path| root.join(path)).into_iter().find(|path| path.exists())
    };
    let root = vm.join("busybox");
    if let Some(path) = program(&root) {
        return Ok(path);
    }
    fs::create_dir_all(vm)?;
    for package in archive::download_here(&["busybox-static".to_owned()], vm)? {
        archive::unpack(&package, &root, &[])?;
    }
    program(&root).context("package busybox-static has no busybox")
}
