//! Does what we saw add up to what the network card says it sent?
//!
//! ```text
//!   card = socket + forwarded + packet + time-wait + non-IP + residual          per edge interface
//!   residual = buffers + framing + dropped + unexplained                        what is known to make a difference
//! ```
//!
//! All terms are bytes of whole frames, link header included, as `tc` sees them leave. What is *unexplained* beyond
//! the tolerance left past us (kernel bypass), or was counted and did not leave. The page `RECONCILIATION.md` says
//! the same for operators.
//!
//! | file | what for |
//! |---|---|
//! | `terms` | the terms by name, with their definitions: records, metrics and documentation are made of it |
//! | `meter` | counters that wrap or begin again |
//! | `compare` | two points in time, what differs, and what explains it |
//! | `interface` | one interface over time: samples, intervals, tolerance |
//! | `attribution` | the second identity: frames of local sockets against bytes with an owner |
//! | `discards` | what the kernel says it discarded between the two |
//! | `owners` | the second identity over time: looks, intervals, what is certain |
//!
//! Pure: no aya, no tokio, no JSON, no clock. Numbers come in, numbers go out.

pub mod attribution;
mod compare;
mod discards;
mod interface;
mod meter;
mod owners;
pub mod terms;

use serde::{Deserialize, Serialize};

pub use self::{
    compare::{Comparison, Counting, Explained, Limits},
    discards::Discards,
    interface::{InterfaceLedger, Queue, Report, Sample},
    owners::{Look, OwnersLedger, OwnersReport, TOLERANCE_BYTES},
    terms::{Seen, TERMS, Term},
};

/// Bytes of frames, and how many frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Bytes, link header included.
    pub bytes: u64,
    /// Frames on the wire.
    pub frames: u64,
}

impl Amount {
    /// Bytes and frames.
    pub const fn new(bytes: u64, frames: u64) -> Self {
        Self { bytes, frames }
    }

    /// The sum; a plateau at the end of the range.
    pub const fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            frames: self.frames.saturating_add(other.frames),
        }
    }

    /// What was added since `earlier`; zero where the counter began again.
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(earlier.bytes),
            frames: self.frames.saturating_sub(earlier.frames),
        }
    }

    /// Nothing.
    pub const fn is_zero(self) -> bool {
        self.bytes == 0 && self.frames == 0
    }
}

/// A difference of two amounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Bytes.
    pub bytes: i64,
    /// Frames.
    pub frames: i64,
}

impl Difference {
    /// Bytes and frames.
    pub const fn new(bytes: i64, frames: i64) -> Self {
        Self { bytes, frames }
    }

    /// `left` minus `right`.
    pub fn between(left: Amount, right: Amount) -> Self {
        Self { bytes: signed(left.bytes, right.bytes), frames: signed(left.frames, right.frames) }
    }

    /// An amount as a difference to nothing.
    pub fn of(amount: Amount) -> Self {
        Self::between(amount, Amount::default())
    }

    /// The sum.
    pub const fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            frames: self.frames.saturating_add(other.frames),
        }
    }

    /// This less `other`.
    pub const fn minus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
            frames: self.frames.saturating_sub(other.frames),
        }
    }

    /// Nothing.
    pub const fn is_zero(self) -> bool {
        self.bytes == 0 && self.frames == 0
    }
}

/// Counters fit in 63 bits for centuries; what does not is at the end of the range rather than wrapped.
fn signed(left: u64, right: u64) -> i64 {
    let difference = i128::from(left) - i128::from(right);
    i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
}
