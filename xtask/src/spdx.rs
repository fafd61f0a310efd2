//! Whether a licence expression can be met with the licences we accept.
//!
//! Grammar, as crates use it: names joined by `OR`, `AND` (binding tighter) and `WITH`, and parentheses. The old
//! separator `/` means `OR`.

use anyhow::{Result, bail, ensure};

/// `AND` needs both sides accepted, `OR` either. A name with an exception is accepted as a whole, or by its licence
/// alone: an SPDX exception only ever permits more.
pub(crate) fn is_accepted(expression: &str, accepted: &[String]) -> Result<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words, accepted };
    let result = parser.either()?;
    ensure!(
        parser.words.is_empty(),
        "licence expression `{expression}`: cannot read from `{}` on",
        parser.words[0]
    );
    Ok(result)
}

struct Parser<'a> {
    words: &'a [&'a str],
    accepted: &'a [String],
}

impl Parser<'_> {
    fn either(&mut self) -> Result<bool> {
        let mut result = self.both()?;
        while self.take("OR") {
            result |= self.both()?;
        }
        Ok(result)
    }

    fn both(&mut self) -> Result<bool> {
        let mut result = self.one()?;
        while self.take("AND") {
            result &= self.one()?;
        }
        Ok(result)
    }

    fn one(&mut self) -> Result<bool> {
        if self.take("(") {
            let result = self.either()?;
            ensure!(self.take(")"), "licence expression: a parenthesis is not closed");
            return Ok(result);
        }
        let name = self.name()?;
        if self.take("WITH") {
            let whole = format!("{name} WITH {}", self.name()?);
            return Ok(self.accepts(name) || self.accepts(&whole));
        }
        Ok(self.accepts(name))
    }

    fn accepts(&self, name: &str) -> bool {
        self.accepted.iter().any(|accepted| accepted == name)
    }

    fn take(&mut self, word: &str) -> bool {
        let Some((first, rest)) = self.words.split_first() else { return false };
        if *first != word {
            return false;
        }
        self.words = rest;
        true
    }
}

impl<'a> Parser<'a> {
    fn name(&mut self) -> Result<&'a str> {
        match self.words.split_first() {
            Some((name, rest)) if !["AND", "OR", "WITH", "(", ")"].contains(name) => {
                self.words = rest;
                Ok(name)
            }
            Some((word, _)) => bail!("licence expression: a licence name was expected, not `{word}`"),
            None => bail!("licence expression: a licence name was expected, not its end"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_accepted;

    #[track_caller]
    fn check(expression: &str, expected: bool) {
        let accepted = ["MIT", "Apache-2.0", "Unicode-3.0"].map(str::to_owned);
        assert_eq!(is_accepted(expression, &accepted).ok(), Some(expected), "{expression}");
    }

    #[test]
    fn one_accepted_side_of_or_is_enough() {
        check("MIT OR GPL-2.0-only", true);
        check("Unlicense/MIT", true);
        check("GPL-2.0-only OR LGPL-2.1-only", false);
    }

    #[test]
    fn both_sides_of_and_are_needed() {
        check("(MIT OR Apache-2.0) AND Unicode-3.0", true);
        check("MIT AND OpenSSL", false);
        check("OpenSSL AND ISC OR MIT", true);
    }

    #[test]
    fn an_exception_never_takes_away() {
        check("Apache-2.0 WITH LLVM-exception", true);
        check("GPL-2.0-only WITH Classpath-exception-2.0", false);
    }

    #[test]
    fn nonsense_is_an_error() {
        for expression in ["", "MIT OR", "(MIT", "MIT MIT", "AND MIT"] {
            assert!(is_accepted(expression, &[]).is_err(), "{expression}");
        }
    }
}
