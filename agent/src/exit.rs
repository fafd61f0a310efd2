//! Exit codes, so that a service manager or a script can act on the reason.

use std::process::ExitCode;

/// Why a command ended. The numbers are documented in `homeport help` and never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything was well.
    Success,
    /// Something failed that has no code of its own.
    Failure,
    /// The configuration has faults. (2 is what clap uses for a wrong command line.)
    Configuration,
    /// Not enough rights.
    NotPermitted,
    /// This kernel lacks a required part.
    Unsupported,
    /// A database or an output cannot be used.
    Unusable,
    /// No agent answers on the control socket.
    NoAgent,
    /// `coverage`, `selftest`: bytes may leave uncounted, or findings do not become records.
    NotCovered,
    /// `coverage`: everything is counted, but not everything that is promised holds.
    Reduced,
    /// `ledger`: what is there is not what was signed, or something is missing.
    NotProven,
    /// `status`: violations are open.
    OutOfPolicy,
    /// `status`: in policy and covered, but a sink does not get its records.
    Undelivered,
}

impl Exit {
    /// Every code with its meaning, for the help text and the documentation.
    pub const ALL: [(Self, &'static str); 12] = [
        (Self::Success, "success"),
        (Self::Failure, "something failed; the message says what"),
        (Self::Configuration, "the configuration has faults; all of them are printed"),
        (Self::NotPermitted, "not enough rights: run as root"),
        (Self::Unsupported, "this kernel or host lacks a required part"),
        (Self::Unusable, "a database or an output cannot be used"),
        (Self::NoAgent, "no agent answers on the control socket"),
        (Self::NotCovered, "coverage: bytes may leave uncounted, or findings do not become records"),
        (Self::Reduced, "coverage: everything is counted, but not everything that is promised holds"),
        (Self::NotProven, "ledger: what is there is not what was signed, or something is missing"),
        (Self::OutOfPolicy, "status: violations are open"),
        (Self::Undelivered, "status: in policy and covered, but a sink does not get its records"),
    ];

    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Configuration => 3,
            Self::NotPermitted => 4,
            Self::Unsupported => 5,
            Self::Unusable => 6,
            Self::NoAgent => 7,
            Self::NotCovered => 8,
            Self::Reduced => 9,
            Self::NotProven => 10,
            Self::OutOfPolicy => 11,
            Self::Undelivered => 12,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error that knows its exit code.
#[derive(Debug)]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    /// What to tell.
    pub error: anyhow::Error,
}

impl Failure {
    /// An error with a code.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into() }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(Exit::Failure, error)
    }
}
