//! A receiver of webhooks that remembers in which order which records came, and now and then fails as receivers do.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Random;

/// What came.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// Number and id of each record, in the order in which it came; those that came again are in it again.
    pub(super) records: Vec<(u64, String)>,
    /// Requests that were answered with an error, or not at all, though their records were taken.
    pub(super) faults: u64,
    /// Requests that could not be understood.
    pub(super) garbled: Vec<String>,
}

struct State {
    received: Mutex<Received>,
    random: Mutex<Random>,
    /// One request in so many is answered badly; none when zero.
    fault_every: u64,
    is_over: AtomicBool,
}

impl State {
    fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See the module. It ends when this is dropped.
pub(super) struct Inbox {
    address: SocketAddr,
    state: Arc<State>,
}

impl Inbox {
    /// Listens.
    pub(super) fn start(fault_every: u64, seed: u64) -> Result<Self> {
        Self::on(TcpListener::bind("127.0.0.1:0")?, fault_every, seed)
    }

    /// Serves a listener that somebody else has made, in another network namespace perhaps.
    pub(super) fn on(listener: TcpListener, fault_every: u64, seed: u64) -> Result<Self> {
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            received: Mutex::default(),
            random: Mutex::new(Random::from_seed(seed)),
            fault_every,
            is_over: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), state) = (stream, Arc::clone(&shared)) else { continue };
                // A sender that is killed is what this is about.
                thread::spawn(move || serve(stream, &state));
            }
        });
        Ok(Self { address, state })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/in", self.address)
    }

    /// What came until now.
    pub(super) fn received(&self) -> MutexGuard<'_, Received> {
        self.state.received()
    }
}

impl Inbox {
    /// Nobody listens any more, and connections that are there end with their next request.
    pub(super) fn close(&self) {
        self.state.is_over.store(true, Ordering::SeqCst);
        // The thread that accepts looks around.
        let _ = TcpStream::connect(self.address);
    }

    /// Listens again on the same port, with what came before.
    pub(super) fn again(&self) -> Result<Self> {
        let again = Self::on(TcpListener::bind(self.address)?, self.state.fault_every, 0)?;
        *again.received() = std::mem::take(&mut *self.received());
        Ok(again)
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.close();
    }
}

fn serve(mut stream: TcpStream, state: &State) -> io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(body) = read(&mut stream, &mut buffer)? {
        if state.is_over.load(Ordering::SeqCst) {
            return Ok(());
        }
        let is_understood = match parse(&body) {
            Ok(records) => {
                state.received().records.extend(records);
                true
            }
            Err(error) => {
                state.received().garbled.push(format!("{error:#}"));
                false
            }
        };
        let fault = match state.fault_every {
            0 => u64::MAX,
            every => {
                let mut random = state.random.lock().unwrap_or_else(PoisonError::into_inner);
                random.within(0..=2 * every - 1)
            }
        };
        let status = match fault {
            // Taken, and yet an error; or the answer is lost.
            0 => "503 Service Unavailable",
            1 => {
                state.received().faults += 1;
                return Ok(());
            }
            _ if is_understood => "200 OK",
            _ => "400 Bad Request",
        };
        state.received().faults += u64::from(fault == 0);
        stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes())?;
    }
    Ok(())
}

fn parse(body: &[u8]) -> Result<Vec<(u64, String)>> {
    let records: Vec<Value> = serde_json::from_slice(body)?;
    records.iter().map(number_and_id).collect()
}

/// What a record is known by.
pub(super) fn number_and_id(record: &Value) -> Result<(u64, String)> {
    let metadata = &record["metadata"];
    let id = metadata["uid"].as_str().context("metadata.uid")?;
    Ok((metadata["sequence"].as_u64().context("metadata.sequence")?, id.to_owned()))
}

fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    let mut chunk = vec![0; 1 << 16];
    loop {
        if let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
            while buffer.len() < end + 4 + length {
                match stream.read(&mut chunk)? {
                    0 => return Ok(None),
                    count => buffer.extend_from_slice(&chunk[..count]),
                }
            }
            let body = buffer[end + 4..end + 4 + length].to_vec();
            buffer.drain(..end + 4 + length);
            return Ok(Some(body));
        }
        match stream.read(&mut chunk)? {
            0 => return Ok(None),
            count => buffer.extend_from_slice(&chunk[..count]),
        }
    }
}
