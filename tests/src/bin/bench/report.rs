//! What was measured, as Markdown: for the terminal, and for `agent/docs/PERFORMANCE.md`.

use std::{
    fmt::{self, Write as _},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result};

use crate::stats::Quartiles;

const BEGIN: &str = "<!-- Everything up to the closing mark is written by `cargo xtask bench`. -->";
const END: &str = "<!-- End of what `cargo xtask bench` writes. -->";

/// The page when there is none yet. What stands outside the marks is never touched.
const EMPTY_PAGE: &str = "# Performance\n\n";

/// A table with a sentence or two before it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) title: &'static str,
    pub(crate) text: String,
    pub(crate) columns: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// A promise, and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) limit: f64,
    pub(crate) measured: Measured,
    /// What the figure is made of, for whoever finds it too large.
    pub(crate) why: String,
}

/// A figure, and how far it may be off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Not a number: not measured.
    pub(crate) value: f64,
    /// Half the width of its 95 % interval; zero for what is simply read.
    pub(crate) uncertainty: f64,
}

impl From<f64> for Measured {
    fn from(value: f64) -> Self {
        Self { value, uncertainty: 0.0 }
    }
}

impl From<Quartiles> for Measured {
    fn from(quartiles: Quartiles) -> Self {
        Self { value: quartiles.median, uncertainty: quartiles.uncertainty() }
    }
}

impl std::ops::Sub for Measured {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { value: self.value - other.value, uncertainty: self.uncertainty.hypot(other.uncertainty) }
    }
}

const MISSED: &str = "**missed**";
const UNDECIDED: &str = "not decided: the machine was too unsteady";

impl Budget {
    fn verdict(&self) -> &'static str {
        let Measured { value, uncertainty } = self.measured;
        if value.is_nan() {
            "not measured"
        } else if value + uncertainty <= self.limit {
            "ok"
        } else if value - uncertainty > self.limit {
            MISSED
        } else {
            UNDECIDED
        }
    }
}

/// Everything of one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) head: String,
    pub(crate) budgets: Vec<Budget>,
    pub(crate) tables: Vec<Table>,
    pub(crate) remarks: Vec<String>,
}

impl Report {
    /// `why`: what the figure is made of; printed when the budget is missed.
    pub(crate) fn budget(
        &mut self,
        (what, limit, unit): (&'static str, f64, &'static str),
        measured: impl Into<Measured>,
        why: impl Into<String>,
    ) {
        self.budgets.push(Budget { what, unit, limit, measured: measured.into(), why: why.into() });
    }

    pub(crate) fn table(&mut self, table: Table) {
        // At once, so that a long run shows that it lives.
        eprintln!("{table}");
        self.tables.push(table);
    }

    pub(crate) fn remark(&mut self, text: String) {
        eprintln!("{text}\n");
        self.remarks.push(text);
    }

    /// Replaces the generated part of the page at `path`.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let page = fs::read_to_string(path).unwrap_or_else(|_| format!("{EMPTY_PAGE}{BEGIN}\n{END}\n"));
        let page = replace_generated(&page, &self.to_string())
            .with_context(|| format!("{} has no generated part between {BEGIN} and {END}", path.display()))?;
        fs::write(path, page).with_context(|| format!("write {}", path.display()))
    }
}

/// `None`: the marks are missing.
fn replace_generated(page: &str, generated: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", generated.trim()))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.head)?;
        if !self.budgets.is_empty() {
            writeln!(f, "## Budgets\n\n| what | budget | measured | |\n|---|---|---|---|")?;
        }
        for budget in &self.budgets {
            let Budget { what, unit, limit, measured: Measured { value: figure, uncertainty }, .. } = budget;
            let mut value = String::new();
            if !figure.is_nan() {
                write!(value, "{figure:.*} {unit}", digits(*limit))?;
                if *uncertainty > 0.0 {
                    write!(value, " (+- {uncertainty:.*})", digits(*limit))?;
                }
            }
            writeln!(f, "| {what} | <= {limit} {unit} | {value} | {} |", budget.verdict())?;
        }
        writeln!(f)?;
        let missed: Vec<_> = self.budgets.iter().filter(|budget| budget.verdict() == MISSED).collect();
        if !missed.is_empty() {
            writeln!(f, "## What the missed budgets are made of\n")?;
        }
        for Budget { what, why, .. } in missed {
            writeln!(f, "- {what}: {why}.")?;
        }
        writeln!(f)?;
        for table in &self.tables {
            writeln!(f, "{table}")?;
        }
        if !self.remarks.is_empty() {
            writeln!(f, "## Remarks on this run\n")?;
        }
        for remark in &self.remarks {
            writeln!(f, "- {remark}")?;
        }
        Ok(())
    }
}

/// Small limits are compared with decimals.
const fn digits(limit: f64) -> usize {
    if limit < 10.0 { 2 } else { 1 }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## {}\n\n{}\n", self.title, self.text)?;
        writeln!(f, "| {} |", self.columns.join(" | "))?;
        writeln!(f, "|{}", "---|".repeat(self.columns.len()))?;
        for row in &self.rows {
            writeln!(f, "| {} |", row.join(" | "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_wrote_stays() {
        let page = format!("# Title\nbefore\n{BEGIN}\nold\n{END}\nafter\n");
        let page = replace_generated(&page, "new").expect("marks are there");
        assert_eq!(page, format!("# Title\nbefore\n{BEGIN}\n\nnew\n\n{END}\nafter\n"));
        assert_eq!(replace_generated("no marks", "new"), None);
    }

    fn budget(value: f64, uncertainty: f64) -> Budget {
        let measured = Measured { value, uncertainty };
        Budget { what: "x", unit: "ns", limit: 40.0, measured, why: "it is a test".to_owned() }
    }

    #[test]
    fn a_budget_without_a_figure_is_neither_kept_nor_missed() {
        assert_eq!(budget(40.0, 0.0).verdict(), "ok");
        assert_eq!(budget(40.1, 0.0).verdict(), MISSED);
        assert_eq!(budget(f64::NAN, 0.0).verdict(), "not measured");
    }

    #[test]
    fn what_noise_may_have_done_decides_nothing() {
        assert_eq!(budget(38.0, 1.0).verdict(), "ok");
        assert_eq!(budget(39.5, 1.0).verdict(), UNDECIDED);
        assert_eq!(budget(40.5, 1.0).verdict(), UNDECIDED);
        assert_eq!(budget(42.0, 1.0).verdict(), MISSED);
    }

    #[test]
    fn a_missed_budget_says_what_it_is_made_of() {
        let report = Report { budgets: vec![budget(38.0, 0.0), budget(42.0, 0.0)], ..Report::default() };
        let text = report.to_string();
        assert_eq!(text.matches("- x: it is a test.").count(), 1, "{text}");
    }
}
