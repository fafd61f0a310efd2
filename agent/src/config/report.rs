//! Collects faults and warnings while the sections are read, so that all of them are reported at once.

use std::{ops::Range, sync::Arc};

use super::fault::{Fault, Position, Warning};

/// Characters of a value that a fault repeats: enough to recognise it, short enough for one line.
const MAX_SEEN_CHARS: usize = 60;

/// Bytes of the longest source line that a fault repeats. A hostile file of one endless line would otherwise be
/// copied into each of its faults.
const MAX_SOURCE_LINE_BYTES: usize = 200;

/// A key path with the text it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) path: String,
    pub(super) span: Range<usize>,
}

/// A value with its place, for checks that compare values.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    pub(super) place: Place,
    pub(super) value: T,
}

/// The faults and warnings of one file.
pub(super) struct Report<'t> {
    file: Arc<str>,
    text: &'t str,
    line_starts: Vec<usize>,
    pub(super) faults: Vec<Fault>,
    warnings: Vec<Warning>,
}

impl<'t> Report<'t> {
    pub(super) fn new(file: &str, text: &'t str) -> Self {
        let line_starts = [0].into_iter().chain(text.match_indices('\n').map(|(idx, _)| idx + 1)).collect();
        Self { file: file.into(), text, line_starts, faults: Vec::new(), warnings: Vec::new() }
    }

    /// The value at `place` cannot be used.
    pub(super) fn fault(&mut self, place: &Place, problem: impl Into<String>, accepted: impl Into<String>) {
        let seen = Some(self.seen(&place.span));
        self.push_fault(place, seen, problem.into(), accepted.into());
    }

    /// A fault about a whole section or file, whose text is not repeated.
    pub(super) fn fault_without_value(
        &mut self,
        place: &Place,
        problem: impl Into<String>,
        accepted: impl Into<String>,
    ) {
        self.push_fault(place, None, problem.into(), accepted.into());
    }

    /// The value at `place` is probably not what was meant.
    pub(super) fn warn(&mut self, place: &Place, message: impl Into<String>) {
        let position = Some(self.position(&place.span));
        let file = Arc::clone(&self.file);
        self.warnings.push(Warning { file, key: place.path.clone(), position, message: message.into() });
    }

    /// Faults, or else warnings, in the order of the file.
    pub(super) fn conclude(mut self) -> Result<Vec<Warning>, Vec<Fault>> {
        let order = |position: &Option<Position>| position.as_ref().map(|place| (place.line, place.column));
        if self.faults.is_empty() {
            self.warnings.sort_by_key(|warning| order(&warning.position));
            Ok(self.warnings)
        } else {
            self.faults.sort_by_key(|fault| order(&fault.position));
            Err(self.faults)
        }
    }

    fn push_fault(&mut self, place: &Place, seen: Option<String>, problem: String, accepted: String) {
        let position = Some(self.position(&place.span));
        let file = Arc::clone(&self.file);
        self.faults.push(Fault { file, key: place.path.clone(), position, seen, problem, accepted });
    }

    /// The text of a value, on one line and shortened.
    fn seen(&self, span: &Range<usize>) -> String {
        let text = self.text.get(span.clone()).unwrap_or_default();
        let mut words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some((end, _)) = words.char_indices().nth(MAX_SEEN_CHARS) {
            words.truncate(end);
            words.push_str("...");
        }
        words
    }

    fn position(&self, span: &Range<usize>) -> Position {
        let line_idx = self.line_starts.partition_point(|start| *start <= span.start).saturating_sub(1);
        let start = self.line_starts[line_idx];
        let end = self.line_starts.get(line_idx + 1).map_or(self.text.len(), |next| next - 1);
        let n_chars = |range: Range<usize>| self.text.get(range).map_or(0, |text| text.chars().count());
        let source = (end - start <= MAX_SOURCE_LINE_BYTES)
            .then(|| self.text.get(start..end).unwrap_or_default().trim_end().to_owned());
        Position {
            line: line_idx + 1,
            column: n_chars(start..span.start) + 1,
            width: n_chars(span.start..span.end.min(end)).max(1),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_counts_lines_and_characters_from_one() {
        let text = "a = 1\n\n  é = \"x\"\r\nlast";
        let report = Report::new("t", text);
        for (needle, line, column, width) in
            [("a", 1, 1, 1), ("é", 3, 3, 1), ("\"x\"", 3, 7, 3), ("last", 4, 1, 4), ("\n\n", 1, 6, 1)]
        {
            let start = text.find(needle).expect(needle);
            let position = report.position(&(start..start + needle.len()));
            assert_eq!((position.line, position.column, position.width), (line, column, width), "{needle:?}");
        }
        assert_eq!(report.position(&(text.len()..text.len())).line, 4);
    }

    #[test]
    fn long_values_and_long_lines_are_not_repeated_in_full() {
        let text = "x".repeat(1_000);
        let report = Report::new("t", &text);
        assert_eq!(report.seen(&(0..1_000)).len(), MAX_SEEN_CHARS + 3);
        assert_eq!(report.position(&(5..6)).source, None);
    }
}
