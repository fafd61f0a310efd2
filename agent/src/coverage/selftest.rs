//! How far a self-test came.

/// The stations of the datagram, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It left the socket.
    Sent,
    /// The kernel side counted it, and the agent read that.
    Counted,
    /// It has an owner: this agent.
    Owned,
    /// The policy engine says that it is a violation.
    Judged,
    /// It became a record.
    Recorded,
    /// The record is on disk.
    Durable,
}

impl Stage {
    /// The word of the control socket.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Counted => "counted",
            Self::Owned => "owned",
            Self::Judged => "judged",
            Self::Recorded => "recorded",
            Self::Durable => "durable",
        }
    }

    /// The station after this one; the last one stays.
    pub const fn next(self) -> Self {
        match self {
            Self::Sent => Self::Counted,
            Self::Counted => Self::Owned,
            Self::Owned => Self::Judged,
            Self::Judged => Self::Recorded,
            Self::Recorded | Self::Durable => Self::Durable,
        }
    }

    /// What it means that this station was not reached in time.
    pub const fn without(self) -> &'static str {
        match self {
            Self::Sent => "it could not be sent",
            Self::Counted => "the kernel side did not count it: is the socket ledger attached?",
            Self::Owned => "nobody said that it was ours",
            Self::Judged => "it was not judged",
            Self::Recorded => "it did not become a record",
            Self::Durable => "its record was not on disk in time",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_leads_to_the_next_until_the_record_is_durable() {
        let mut stage = Stage::Sent;
        let mut words = vec![stage.as_str()];
        while stage.next() != stage {
            assert!(stage.next() > stage);
            stage = stage.next();
            words.push(stage.as_str());
        }
        assert_eq!(words, ["sent", "counted", "owned", "judged", "recorded", "durable"]);
    }
}
