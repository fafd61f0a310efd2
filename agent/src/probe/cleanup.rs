//! The end of counting: removes what agents have left in the kernel.

use std::path::Path;

use aya::programs::{TcAttachType, tc};

use super::{
    hooks::has_tcx,
    pins::{PinError, Pins, is_bpffs},
    programs::{Kind, PROGRAMS},
    qdisc,
};

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Links, by name.
    pub links: Vec<String>,
    /// Sets of maps.
    pub sets: usize,
    /// Filters on clsact qdiscs (kernels before 6.6), as program and interface.
    pub filters: Vec<(String, String)>,
    /// Interfaces whose clsact qdisc was ours, and is gone. It stays while filters of others hang on it.
    pub qdiscs: Vec<u32>,
}

/// Removes everything that is pinned in `pin_dir`, the directory included.
///
/// # Errors
///
/// When an agent runs with it, or something cannot be removed.
pub fn cleanup(pin_dir: &Path) -> Result<Removed, PinError> {
    let mut removed = Removed::default();
    if !pin_dir.exists() || !is_bpffs(pin_dir) {
        return Ok(removed);
    }
    let unusable = |error| PinError::Unusable { path: pin_dir.to_owned(), error };
    let pins = Pins::open(pin_dir)?;
    removed.links = pins.links().map_err(unusable)?.into_iter().map(|(name, _)| name).collect();
    removed.links.sort();
    removed.sets = pins.sets().map_err(unusable)?.len();
    if !has_tcx() {
        removed.filters = remove_filters();
    }
    for interface in pins.qdiscs() {
        match qdisc::remove_unused(interface) {
            Ok(true) => removed.qdiscs.push(interface),
            Ok(false) => {}
            Err(error) => return Err(unusable(error)),
        }
    }
    pins.remove().map_err(unusable)?;
    Ok(removed)
}

fn remove_filters() -> Vec<(String, String)> {
    let interfaces = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let names = interfaces.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .flat_map(|interface| {
            let programs = PROGRAMS.iter().filter(|program| program.kind == Kind::Classifier);
            programs.map(move |program| (program.name.to_owned(), interface.clone()))
        })
        .filter(|(program, interface)| {
            tc::qdisc_detach_program(interface, TcAttachType::Egress, program).is_ok()
        })
        .collect()
}
