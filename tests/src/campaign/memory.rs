//! What a process has in memory, and what its maps were charged by the kernel.

use std::{collections::HashMap, fs};

use anyhow::{Context as _, Result};

/// Bytes of one process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// In memory now.
    pub(super) resident: u64,
    /// The most that ever was.
    pub(super) highest: u64,
    /// The part of `resident` that are maps shared with the kernel side.
    pub(super) maps: u64,
}

impl Memory {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// When the process is gone.
    pub(super) fn of(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let mut memory = Self {
            resident: kib_line(&status, "VmRSS:").context("VmRSS")?,
            highest: kib_line(&status, "VmHWM:").context("VmHWM")?,
            maps: 0,
        };
        let mut in_map = false;
        for line in fs::read_to_string(format!("/proc/{pid}/smaps"))?.lines() {
            // A mapping begins with its address range; what follows are fields with a colon.
            if line.split(' ').next().is_some_and(|word| word.contains('-')) {
                in_map = line.contains("bpf-map");
            } else if in_map {
                memory.maps += kib_line(line, "Rss:").unwrap_or(0);
            }
        }
        Ok(memory)
    }

    /// Without what it shares with the kernel side.
    pub(super) const fn own(self) -> u64 {
        self.resident.saturating_sub(self.maps)
    }
}

/// What the maps of a process were charged when they were made (`memlock`), each once.
///
/// # Errors
///
/// When the process is gone.
pub(super) fn map_bytes(pid: u32) -> Result<u64> {
    let mut maps = HashMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // Descriptors come and go.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        let field =
            |name| text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
        if let (Some(id), Some(Ok(bytes))) =
            (field("map_id:"), field("memlock:").map(|value| value.parse::<u64>()))
        {
            maps.insert(id, bytes);
        }
    }
    Ok(maps.values().sum())
}

fn kib_line(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}
