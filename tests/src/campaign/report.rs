//! What a campaign found: a table of figures, and which promises were broken.

use std::fmt;

use anyhow::{Result, bail};

/// One line of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What was measured, with its unit.
    pub what: String,
    /// The measurement.
    pub value: String,
    /// What was promised, and whether it was kept; nothing for a mere number.
    pub promise: Option<(String, bool)>,
}

/// What a campaign found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order of the campaign.
    pub figures: Vec<Figure>,
}

impl Report {
    /// A number without a promise.
    pub fn figure(&mut self, what: impl Into<String>, value: impl ToString) {
        self.figures.push(Figure { what: what.into(), value: value.to_string(), promise: None });
    }

    /// A number that must be exactly so.
    pub fn exactly<T: PartialEq + fmt::Display>(&mut self, what: impl Into<String>, promised: T, value: T) {
        let kept = promised == value;
        self.promise(what, value, promised, kept);
    }

    /// A number that must not be larger.
    pub fn at_most<T: PartialOrd + fmt::Display>(&mut self, what: impl Into<String>, limit: T, value: T) {
        let kept = value <= limit;
        self.promise(what, value, format!("<= {limit}"), kept);
    }

    /// Any other promise, in words.
    pub fn promise(
        &mut self,
        what: impl Into<String>,
        value: impl ToString,
        promised: impl ToString,
        kept: bool,
    ) {
        let promise = Some((promised.to_string(), kept));
        self.figures.push(Figure { what: what.into(), value: value.to_string(), promise });
    }

    /// Fails when a promise was broken.
    ///
    /// # Errors
    ///
    /// With all of them.
    pub fn check(&self) -> Result<()> {
        let broken: Vec<String> = self
            .figures
            .iter()
            .filter_map(|figure| match &figure.promise {
                Some((promised, false)) => {
                    Some(format!("{}: {}, promised {promised}", figure.what, figure.value))
                }
                Some((_, true)) | None => None,
            })
            .collect();
        if !broken.is_empty() {
            bail!("{} promises were broken: {}", broken.len(), broken.join("; "));
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// What is longer is a text for whoever looks for the cause, and moves no column.
        const WIDEST: usize = 80;
        let width = |column: fn(&Figure) -> usize| {
            self.figures.iter().map(column).filter(|width| *width <= WIDEST).max().unwrap_or(0)
        };
        let (whats, values) =
            (width(|figure| figure.what.chars().count()), width(|figure| figure.value.chars().count()));
        for Figure { what, value, promise } in &self.figures {
            let promise = match promise {
                Some((promised, kept)) => {
                    format!("  {:<6} promised {promised}", if *kept { "ok" } else { "BROKEN" })
                }
                None => String::new(),
            };
            writeln!(f, "  {what:<whats$}  {value:>values$}{promise}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_promise_fails_and_is_named() {
        let mut report = Report::default();
        report.figure("flows", 5);
        report.at_most("memory, MB", 64.0, 63.5);
        assert!(report.check().is_ok());
        report.exactly("difference, bytes", 0, 12);
        let error = report.check().expect_err("broken").to_string();
        assert!(error.contains("difference, bytes: 12") && !error.contains("memory"), "{error}");
        assert!(report.to_string().contains("BROKEN"), "{report}");
    }
}
