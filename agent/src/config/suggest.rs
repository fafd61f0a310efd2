//! Did you mean...?

/// Edits up to which a word is taken for a slip of the finger: a third of it, and one at least.
const fn tolerated_edits(word: &str) -> usize {
    if word.len() < 6 { 1 } else { word.len() / 3 }
}

/// The known word that was probably meant.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Beyond the longest key there is, nothing is near; and the distance takes time by the product of lengths.
    if word.len() > 64 {
        return None;
    }
    let folded = word.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|candidate| (distance(&folded, &candidate.to_lowercase().replace('-', "_")), candidate))
        .filter(|(edits, candidate)| *edits <= tolerated_edits(candidate))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// `; did you mean x?`, or nothing.
pub(super) fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map_or_else(String::new, |candidate| format!("; did you mean {candidate}?"))
}

/// Edits between two words: letters put in, left out, replaced, or two neighbours swapped, the commonest slip.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for left_idx in 0..left.len() {
        let mut row = vec![left_idx + 1];
        for right_idx in 0..right.len() {
            let above = &rows[left_idx];
            let replaced = above[right_idx] + usize::from(left[left_idx] != right[right_idx]);
            let mut edits = replaced.min(above[right_idx + 1] + 1).min(row[right_idx] + 1);
            if left_idx > 0
                && right_idx > 0
                && left[left_idx] == right[right_idx - 1]
                && left[left_idx - 1] == right[right_idx]
            {
                edits = edits.min(rows[left_idx - 1][right_idx - 1] + 1);
            }
            row.push(edits);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let keys = ["approved_countries", "denied_countries", "until", "from", "unknown", "preset"];
        for (word, expected) in [
            ("approved_country", Some("approved_countries")),
            ("approved-countries", Some("approved_countries")),
            ("Preset", Some("preset")),
            ("untill", Some("until")),
            ("form", Some("from")),
            ("unkown", Some("unknown")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, keys), expected, "{word}");
        }
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
