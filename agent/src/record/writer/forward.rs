//! The ledger first, and then the record file, until the file is a sink like others.
//!
//! Lines count as written when both have them. When the file fails, the ledger has what is tried again: it is
//! skipped there by its number.

use std::{collections::HashSet, io};

use crate::{
    clock::KernelTime,
    record::{
        lifecycle::Event,
        writer::{
            engine::Now,
            files::Files,
            ledger::LedgerTarget,
            tail::sequence,
            target::{FileTarget, Target},
        },
    },
};

/// See the module.
pub(crate) struct Forward<F: Files> {
    ledger: LedgerTarget,
    file: FileTarget<F>,
    /// In the ledger, and not known to be in the file.
    only_in_ledger: HashSet<u64>,
    /// In the file and not in the ledger: written by an agent that had none, or after the ledger was lost.
    only_in_file: HashSet<u64>,
}

impl<F: Files> Forward<F> {
    /// With the numbers at the end of both.
    pub(crate) fn new(
        ledger: LedgerTarget,
        file: FileTarget<F>,
        in_ledger: &HashSet<u64>,
        in_file: &HashSet<u64>,
    ) -> Self {
        let only_in_ledger = in_ledger.difference(in_file).copied().collect();
        let only_in_file = in_file.difference(in_ledger).copied().collect();
        Self { ledger, file, only_in_ledger, only_in_file }
    }
}

impl<F: Files> Target for Forward<F> {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let without = |known: &HashSet<u64>| {
            if known.is_empty() {
                return lines.to_vec();
            }
            let lines = lines.split_inclusive(|byte| *byte == b'\n');
            let unknown = lines.filter(|line| sequence(line).is_none_or(|number| !known.contains(&number)));
            unknown.flatten().copied().collect()
        };
        let numbers = || lines.split(|byte| *byte == b'\n').filter_map(sequence);
        let for_ledger = without(&self.only_in_ledger);
        if !for_ledger.is_empty() {
            self.ledger.write(&for_ledger)?;
        }
        let for_file = without(&self.only_in_file);
        if let Err(error) = self.file.write(&for_file) {
            self.only_in_ledger.extend(numbers());
            return Err(error);
        }
        if !self.only_in_ledger.is_empty() || !self.only_in_file.is_empty() {
            for number in numbers() {
                self.only_in_ledger.remove(&number);
                self.only_in_file.remove(&number);
            }
        }
        Ok(())
    }

    fn reopen(&mut self) {
        self.file.reopen();
    }

    fn due(&self) -> Option<KernelTime> {
        self.ledger.due()
    }

    fn tick(&mut self, now: Now) {
        self.ledger.tick(now);
    }

    fn finish(&mut self, now: Now) {
        self.ledger.finish(now);
    }

    fn take_events(&mut self) -> Vec<Event> {
        self.ledger.take_events()
    }
}
