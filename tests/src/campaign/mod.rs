//! Campaigns: long runs that try to break a promise, and say with figures whether it held.
//!
//! Each is a function from a plan to a [`Report`]. The program `soak` runs them with large numbers
//! (`cargo xtask soak NAME`); the end-to-end tests run them with small ones.
//!
//! | file | what for |
//! |---|---|
//! | `flows` | very many flows at once, and very many one after the other |
//! | `verify` | a ledger before homeport's and somebody else's eyes, sound and damaged |
//! | `restart` | restarts at random moments under four transfers, and the sum of all records |
//! | `ledger` | kills at random moments while the ledger is written |
//! | `kill` | the same with sinks, and with the whole agent: receivers have what the ledger has |
//! | `burst` | hundreds of violations at once, and when a real Alertmanager shows them |
//! | `inbox` | a receiver that remembers what came |
//! | `outage` | a receiver that is away for a minute |
//! | `year` | the ledger of a host's year: its size, and how quick it is read |
//! | `memory` | what the agent takes |
//! | `random` | numbers that a seed repeats |
//! | `report` | the table at the end |

pub mod burst;
pub mod flows;
mod inbox;
pub mod kill;
pub mod ledger;
mod memory;
pub mod outage;
mod random;
mod report;
pub mod restart;
pub mod verify;
pub mod year;

pub use self::{
    random::Random,
    report::{Figure, Report},
};

/// Shows on a terminal what a campaign is doing. Silent elsewhere: a log wants the table, not the way to it.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    shown: bool,
}

impl Progress {
    /// To standard error, if a person looks at it.
    pub fn on_terminal() -> Self {
        Self { shown: std::io::IsTerminal::is_terminal(&std::io::stderr()) }
    }

    /// For tests.
    pub const fn silent() -> Self {
        Self { shown: false }
    }

    /// What is being done now.
    pub fn tell(self, text: impl std::fmt::Display) {
        if self.shown {
            eprintln!("  {text}");
        }
    }
}
