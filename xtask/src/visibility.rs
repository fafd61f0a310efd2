//! Makes `agent/docs/VISIBILITY.md` from what the tests of `tests/tests/paths` found: `cargo xtask visibility`.
//!
//! Each run of those tests leaves a file per kernel, `visibility/<release>.jsonl` below `target`, or below
//! `target/vm/<kernel>/out` when it ran in a virtual machine. Rows of kernels that were
//! not run again stay as they are on the page: they are kept beside it, in `agent/docs/visibility/`.

use std::{
    collections::{BTreeMap, HashSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::tool;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only say whether the page is what the kept files make of it
    #[arg(long)]
    check: bool,
}

/// One path on one kernel, as `tests/tests/paths/row.rs` writes it.
#[derive(Clone, Deserialize)]
struct Row {
    path: String,
    group: String,
    title: String,
    kernel: String,
    state: String,
    sent_bytes: u64,
    nic_bytes: u64,
    counted_bytes: u64,
    residual_bytes: i64,
    owner: String,
    quality: String,
    sensor: String,
    reason: String,
}

/// All kernels, oldest first, by major and minor number; of each path the row of the latest release.
type Kernels = BTreeMap<Vec<u64>, Vec<Row>>;

pub(crate) fn run(args: &Args) -> Result<()> {
    let docs = tool::workspace().join("agent/docs");
    let kept = docs.join("visibility");
    if !args.check {
        fs::create_dir_all(&kept)?;
        let target = tool::target_dir();
        keep(&target.join("visibility"), &kept)?;
        // There are none before the first run of a virtual machine.
        for machine in fs::read_dir(target.join("vm")).into_iter().flatten() {
            keep(&machine?.path().join("out/visibility"), &kept)?;
        }
    }
    let page = page(&read(&kept)?)?;
    let path = docs.join("VISIBILITY.md");
    if args.check {
        let is_same = fs::read_to_string(&path).is_ok_and(|text| text == page);
        ensure!(is_same, "{} is not what its data make of it: run `cargo xtask visibility`", path.display());
        return Ok(());
    }
    fs::write(&path, page)?;
    println!("visibility: {}", path.display());
    Ok(())
}

/// Takes over the files of a run: of several rows for one path the last one counts, in the order of the table.
fn keep(from: &Path, kept: &Path) -> Result<()> {
    let Ok(files) = fs::read_dir(from) else { return Ok(()) };
    for file in files {
        let file = file?.path();
        if file.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        let name = file.file_name().context("a file has a name")?;
        let old = fs::read_to_string(kept.join(name)).unwrap_or_default();
        let new = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let mut lines = BTreeMap::new();
        for line in old.lines().chain(new.lines()) {
            let row: Row =
                serde_json::from_str(line).with_context(|| format!("{}: {line}", file.display()))?;
            lines.insert(row.path, line.to_owned());
        }
        let text: String = lines.values().map(|line| format!("{line}\n")).collect();
        fs::write(kept.join(name), text)?;
    }
    Ok(())
}

fn read(kept: &Path) -> Result<Kernels> {
    let mut kernels = Kernels::new();
    let mut files = fs::read_dir(kept)
        .with_context(|| format!("list {}", kept.display()))?
        .map(|file| Ok(file?.path()))
        .collect::<Result<Vec<_>>>()?;
    files.sort_by_key(|file| numbers(&file.to_string_lossy()));
    for file in files {
        let text = fs::read_to_string(file)?;
        for line in text.lines() {
            let row: Row = serde_json::from_str(line)?;
            let series = numbers(&row.kernel).into_iter().take(2).collect();
            let rows = kernels.entry(series).or_default();
            rows.retain(|other: &Row| other.path != row.path);
            rows.push(row);
        }
    }
    ensure!(!kernels.is_empty(), "no run of the tests yet: `cargo xtask test`");
    Ok(kernels)
}

/// The numbers of a release, for the order of kernels.
fn numbers(release: &str) -> Vec<u64> {
    release.split(|letter: char| !letter.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

fn page(kernels: &Kernels) -> Result<String> {
    let mut text = INTRODUCTION.to_owned();
    let order = order()?;
    write!(text, "\n## On one page\n\n| Path |")?;
    for rows in kernels.values() {
        let mut names: Vec<_> = releases(rows).into_iter().map(short).collect();
        names.dedup();
        write!(text, " {} |", names.join(", "))?;
    }
    write!(text, "\n|---|{}\n", "---|".repeat(kernels.len()))?;
    let mut group = "";
    for (path_group, path, title) in &order {
        if group != path_group {
            group = path_group;
            writeln!(text, "| **{group}** |{}", " |".repeat(kernels.len()))?;
        }
        write!(text, "| {title} |")?;
        for rows in kernels.values() {
            let row = rows.iter().find(|row| row.path == *path);
            write!(text, " {} |", row.map_or("not run".to_owned(), in_short))?;
        }
        text.push('\n');
    }
    for rows in kernels.values() {
        in_full(&mut text, rows, &order)?;
    }
    Ok(text)
}

/// Group, name and title of each path, in the order of the tests' table.
fn order() -> Result<Vec<(String, String, String)>> {
    let table = tool::workspace().join("tests/tests/paths/table.rs");
    let text = fs::read_to_string(&table).with_context(|| format!("read {}", table.display()))?;
    let mut order = Vec::new();
    let mut group = String::new();
    let mut known = HashSet::new();
    for line in text.lines().skip_while(|line| !line.starts_with("paths! {")) {
        if let Some(name) = line.strip_prefix("    \"").and_then(|rest| rest.strip_suffix("\": {")) {
            name.clone_into(&mut group);
        } else if let Some((name, rest)) = line.trim().split_once(", \"")
            && let Some((title, _)) = rest.split_once("\",")
            && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
            && known.insert(name.to_owned())
        {
            order.push((group.clone(), name.to_owned(), title.to_owned()));
        }
    }
    ensure!(!order.is_empty(), "no paths in {}", table.display());
    Ok(order)
}

/// From which releases the rows are, oldest first.
fn releases(rows: &[Row]) -> Vec<&str> {
    let mut releases: Vec<&str> = rows.iter().map(|row| row.kernel.as_str()).collect();
    releases.sort_by_key(|release| numbers(release));
    releases.dedup();
    releases
}

/// A kernel's release without what a distribution adds.
fn short(release: &str) -> &str {
    release.split(['-', '+']).next().unwrap_or(release)
}

fn in_short(row: &Row) -> String {
    match row.state.as_str() {
        "impossible" => "-".to_owned(),
        "bypass" => format!("residual {}", grouped(row.residual_bytes)),
        _ if row.residual_bytes == 0 => format!("0 of {}", grouped(row.nic_bytes as i64)),
        _ => format!("**{}** of {}", grouped(row.residual_bytes), grouped(row.nic_bytes as i64)),
    }
}

fn in_full(text: &mut String, rows: &[Row], order: &[(String, String, String)]) -> Result<()> {
    let releases = releases(rows);
    let several = releases.len() > 1;
    write!(text, "\n## Linux {}\n\n", releases.join(", "))?;
    let (name, line) = if several { (" Release |", "---|") } else { ("", "") };
    write!(
        text,
        "| Path | Sent | Card | Counted | Difference | Owner | Seen at |{name}\n|---|--:|--:|--:|--:|---|---|{line}\n"
    )?;
    let mut impossible = String::new();
    for (group, path, _) in order {
        let Some(row) = rows.iter().find(|row| row.path == *path) else { continue };
        if row.state == "impossible" {
            writeln!(impossible, "- {group}, {}: {}", row.title, row.reason)?;
            continue;
        }
        // Without the unit that the tests run in.
        let name = row.owner.rsplit('/').next().unwrap_or_default();
        let owner = match row.state.as_str() {
            "bypass" => "nobody: past everything but the card".to_owned(),
            _ if row.quality == "unknown" => name.to_owned(),
            _ => format!("{name} ({})", row.quality),
        };
        let numbers =
            [row.sent_bytes as i64, row.nic_bytes as i64, row.counted_bytes as i64, row.residual_bytes];
        let [sent, nic, counted, residual] = numbers.map(grouped);
        writeln!(
            text,
            "| {}: {} | {sent} | {nic} | {counted} | {residual} | {owner} | {} |{}",
            row.group,
            row.title,
            row.sensor,
            if several { format!(" {} |", short(&row.kernel)) } else { String::new() }
        )?;
    }
    if !impossible.is_empty() {
        write!(text, "\nNot possible on this kernel, with what it said when it was tried:\n\n{impossible}")?;
    }
    Ok(())
}

/// 1234567 as `1,234,567`.
fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (idx, digit) in digits.chars().enumerate() {
        if idx > 0 && (digits.len() - idx).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

const INTRODUCTION: &str = "\
# What is seen

Every way out of a host that we know, played by the tests (`tests/tests/paths`) with the real agent on real kernels. This
page is made from their runs by `cargo xtask visibility`; nothing in it is written by hand.

- *Sent* is what the programs handed to the kernel. It can be more on the card: headers, handshakes, acknowledgements,
  retransmissions, encryption.
- *Card* is what the network card counted meanwhile, without link headers. It is the reference.
- *Counted* is what the agent accounted for, in flows and as frames that are not IP.
- *Difference* is card minus counted. It must be 0, except where something goes past everything but the card
  (kernel bypass): there it must be exactly what went past, and the reconciliation makes a finding of it.
- *Owner* is who is named for it. `exact`: the task that sent. `inherited`: the process that opened the socket, or that
  listened; all there is before 6.3. `resolved`: found in the process table.
- *Seen at* is the ledger it is in: of sockets, or of frames at the interface.

On the overview, `0 of N` means that of N bytes on the card none is missing and none was counted twice.
";

#[cfg(test)]
mod tests {
    use super::{grouped, numbers, order};

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (-1000, "-1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn kernels_are_in_order() {
        assert!(numbers("5.10.0-46-amd64") < numbers("6.1.0-9"));
        assert!(numbers("6.1.0-9") < numbers("6.12.1"));
    }

    #[test]
    fn the_tests_table_is_read() {
        let order = order().expect("the table");
        assert_eq!(order[0].1, "tcp_client");
        assert!(order.iter().any(|(group, path, _)| group == "Packet sockets" && path == "xdp"));
    }
}
