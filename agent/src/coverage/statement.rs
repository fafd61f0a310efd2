//! The statement: covered, reduced or not covered, and why.

/// Whether the answer can be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Every byte is counted, and what could be missing would be told.
    #[default]
    Covered,
    /// Everything is counted; names, places or promises are missing.
    Reduced,
    /// Bytes may leave uncounted, or what is found does not become a record.
    NotCovered,
}

impl State {
    /// From the best to the worst.
    pub const ALL: [Self; 3] = [Self::Covered, Self::Reduced, Self::NotCovered];

    /// The word of the control socket and of records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Covered => "covered",
            Self::Reduced => "reduced",
            Self::NotCovered => "not covered",
        }
    }
}

/// Why the state is not better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// How bad it is.
    pub state: State,
    /// What is concerned: a program, a condition, a finding.
    pub part: String,
    /// In words.
    pub text: String,
}

/// The worst of all reasons decides.
pub fn judge(reasons: &[Reason]) -> State {
    reasons.iter().map(|reason| reason.state).max().unwrap_or_default()
}

/// What a lasting condition of this part means.
pub fn of_condition(part: &str) -> State {
    match part {
        // Frames without a socket are not seen; kernel counters cannot be read; nothing can be proven later; what
        // leaves against policy does not come out as a finding.
        "interfaces" | "kernel-maps" | "records" | "self-test" => State::NotCovered,
        _ => State::Reduced,
    }
}

/// What a missing program means.
pub const fn of_program(required: bool) -> State {
    if required { State::NotCovered } else { State::Reduced }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(state: State) -> Reason {
        Reason { state, part: "x".to_owned(), text: String::new() }
    }

    #[test]
    fn the_worst_reason_decides_and_without_any_all_is_covered() {
        let cases = [
            (vec![], State::Covered),
            (vec![State::Reduced], State::Reduced),
            (vec![State::Reduced, State::NotCovered, State::Reduced], State::NotCovered),
        ];
        for (states, expected) in cases {
            let reasons: Vec<Reason> = states.into_iter().map(reason).collect();
            assert_eq!(judge(&reasons), expected, "{reasons:?}");
        }
    }

    #[test]
    fn what_loses_bytes_or_records_is_not_covered() {
        for part in ["interfaces", "kernel-maps", "records", "self-test"] {
            assert_eq!(of_condition(part), State::NotCovered, "{part}");
        }
        assert_eq!(of_condition("database-age"), State::Reduced);
        assert_eq!((of_program(true), of_program(false)), (State::NotCovered, State::Reduced));
    }
}
