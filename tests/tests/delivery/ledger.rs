//! A ledger in memory.

use std::{
    io,
    sync::{Arc, Mutex},
};

use homeport::ledger::{Entry, Page, Source};
use tokio::sync::watch;

pub(crate) struct Memory {
    entries: Mutex<Vec<Entry>>,
    size: watch::Sender<u64>,
}

impl Memory {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { entries: Mutex::default(), size: watch::channel(0).0 })
    }

    /// Records that carry their index as `n`, of about the size of a real one.
    pub(crate) fn append(&self, count: u64) {
        let padding = "x".repeat(1_500);
        for _ in 0..count {
            let n = *self.size.borrow();
            self.push(&format!(
                "{{\"class_uid\":6002,\"severity_id\":1,\"n\":{n},\"metadata\":{{\"logged_time\":1}},\"padding\":\"{padding}\"}}"
            ));
        }
    }

    pub(crate) fn push(&self, record: &str) {
        let mut entries = self.entries.lock().expect("not poisoned");
        let index = entries.len() as u64;
        entries.push(Entry { index, record: record.into() });
        drop(entries);
        self.size.send_replace(index + 1);
    }
}

impl Source for Memory {
    fn first(&self) -> u64 {
        0
    }

    fn size(&self) -> watch::Receiver<u64> {
        self.size.subscribe()
    }

    fn read(&self, from: u64, page: Page) -> io::Result<Vec<Entry>> {
        let entries = self.entries.lock().expect("not poisoned");
        let mut bytes = 0;
        let within = |entry: &&Entry| {
            let is_first = bytes == 0;
            bytes += entry.record.len();
            is_first || bytes <= page.bytes
        };
        Ok(entries.iter().skip(from as usize).take(page.entries).take_while(within).cloned().collect())
    }
}
