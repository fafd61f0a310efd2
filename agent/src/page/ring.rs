//! Records of this run in memory: what the page follows where there is no ledger.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::ledger::{Entry, Page, Source};

/// Records that are kept until the page has read them. It reads all the time; a minute with very many episodes
/// is a few hundred records.
const KEPT_RECORDS: usize = 4_096;
/// Bytes of them. Beyond either, the oldest go, and the page says that it has missed some.
const KEPT_BYTES: usize = 16 << 20;

/// See the module.
#[derive(Debug)]
pub struct Ring {
    kept: Mutex<Kept>,
    size: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    records: VecDeque<Arc<str>>,
    bytes: usize,
    first: u64,
}

impl Default for Ring {
    fn default() -> Self {
        Self { kept: Mutex::default(), size: watch::Sender::new(0) }
    }
}

impl Ring {
    /// Adds a record, one line with or without its newline. Never waits for a reader.
    pub fn push(&self, record: &str) {
        let record: Arc<str> = record.trim_end_matches('\n').into();
        let mut kept = self.kept();
        kept.bytes += record.len();
        kept.records.push_back(record);
        while kept.records.len() > KEPT_RECORDS || kept.bytes > KEPT_BYTES {
            let Some(oldest) = kept.records.pop_front() else { break };
            kept.bytes -= oldest.len();
            kept.first += 1;
        }
        let size = kept.first + kept.records.len() as u64;
        drop(kept);
        self.size.send_replace(size);
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        // Whatever panicked, records are whole: they are moved, never changed.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for Ring {
    fn first(&self) -> u64 {
        self.kept().first
    }

    fn size(&self) -> watch::Receiver<u64> {
        self.size.subscribe()
    }

    fn read(&self, from: u64, page: Page) -> io::Result<Vec<Entry>> {
        let kept = self.kept();
        let Some(offset) = from.checked_sub(kept.first) else {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("record {from} is not kept any more"),
            ));
        };
        let mut bytes = 0;
        let records = kept.records.iter().skip(usize::try_from(offset).unwrap_or(usize::MAX));
        let entries = records.zip(from..).take(page.entries).take_while(|(record, _)| {
            let fits = bytes == 0 || bytes < page.bytes;
            bytes += record.len();
            fits
        });
        Ok(entries.map(|(record, index)| Entry { index, record: Arc::clone(record) }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Page = Page { entries: usize::MAX, bytes: usize::MAX };

    #[test]
    fn it_reads_like_a_ledger() {
        let ring = Ring::default();
        ring.push("a\n");
        ring.push("b");
        assert_eq!(*ring.size().borrow(), 2);
        let read = |from, page| -> Vec<(u64, String)> {
            let entries = ring.read(from, page).expect("kept");
            entries.into_iter().map(|entry| (entry.index, entry.record.to_string())).collect()
        };
        assert_eq!(read(0, ALL), [(0, "a".to_owned()), (1, "b".to_owned())]);
        assert_eq!(read(1, ALL), [(1, "b".to_owned())]);
        assert_eq!(read(2, ALL), []);
        assert_eq!(read(0, Page { entries: 1, bytes: 0 }), [(0, "a".to_owned())]);
        assert_eq!(read(0, Page { entries: 9, bytes: 1 }), [(0, "a".to_owned())]);
    }

    #[test]
    fn the_oldest_go_and_asking_for_them_says_so() {
        let ring = Ring::default();
        for number in 0..KEPT_RECORDS + 3 {
            ring.push(&number.to_string());
        }
        assert_eq!(ring.first(), 3);
        let error = ring.read(2, ALL).expect_err("gone");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(
            ring.read(3, ALL).expect("kept").first().map(|entry| entry.record.to_string()),
            Some("3".into())
        );
        assert_eq!(*ring.size().borrow(), KEPT_RECORDS as u64 + 3);
    }
}
