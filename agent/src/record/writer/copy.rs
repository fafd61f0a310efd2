//! A copy on standard output, by a thread of its own: a reader that stalls must not hold up the file.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, channel, sync_channel},
    },
    time::Duration,
};

/// Batches on their way to the copy; beyond that it loses lines, counted.
const COPY_BATCHES: usize = 1_024;

/// At the end the copy gets this long to be read.
const FINISH: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Copy {
    lines: SyncSender<Vec<u8>>,
    /// Closed when the thread has written everything.
    done: Receiver<()>,
    lost_batches: Arc<AtomicU64>,
}

impl Copy {
    pub(super) fn start(lost_batches: Arc<AtomicU64>) -> io::Result<Self> {
        let (lines, inbox) = sync_channel::<Vec<u8>>(COPY_BATCHES);
        let (finished, done) = channel();
        let lost = Arc::clone(&lost_batches);
        std::thread::Builder::new().name("records-copy".to_owned()).spawn(move || {
            crate::confine::thread();
            let mut stdout = io::stdout();
            for lines in inbox {
                if stdout.write_all(&lines).and_then(|()| stdout.flush()).is_err() {
                    lost.fetch_add(1, Ordering::Relaxed);
                }
            }
            drop(finished);
        })?;
        Ok(Self { lines, done, lost_batches })
    }

    pub(super) fn send(&self, lines: Vec<u8>) {
        if self.lines.try_send(lines).is_err() {
            self.lost_batches.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lets the thread write what it has, if someone reads it.
    pub(super) fn finish(self) {
        drop(self.lines);
        // Closed or timed out: either way the wait is over.
        let _ = self.done.recv_timeout(FINISH);
    }
}
