//! An HTTP server that does what it is told to, with every fault that a receiver can have.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::net::{Shutdown, shutdown};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

/// What to do with a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// This status, with further header lines.
    Status(u16, &'static str),
    /// 200, but only after this time. What came counts as received.
    Late(Duration),
    /// Nothing, and the connection stays open. What came counts as received.
    Hang,
    /// The connection is reset once the body is there. What came counts as received.
    Reset,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// What a body means: a status.
type Judge = fn(&[u8]) -> u16;

#[derive(Default)]
struct State {
    script: Mutex<VecDeque<Answer>>,
    /// For requests beyond the script: what a body means.
    judge: Mutex<Option<Judge>>,
    requests: Mutex<Vec<Request>>,
    is_over: AtomicBool,
}

pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    scheme: &'static str,
    state: Arc<State>,
    listener: Arc<TcpListener>,
    accepting: Option<JoinHandle<()>>,
}

impl Receiver {
    pub(crate) fn start(tls: Option<Arc<ServerConfig>>) -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address"), tls)
    }

    pub(crate) fn start_at(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Self {
        Self::serve(TcpListener::bind(address).expect("a listener"), tls)
    }

    pub(crate) fn serve(listener: TcpListener, tls: Option<Arc<ServerConfig>>) -> Self {
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State::default());
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = Arc::new(listener);
        let (shared, accepted_from) = (Arc::clone(&state), Arc::clone(&listener));
        let accepting = thread::spawn(move || {
            for stream in accepted_from.incoming() {
                if shared.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (state, tls) = (Arc::clone(&shared), tls.clone());
                thread::spawn(move || {
                    // A client that goes away is none of our business.
                    let _ = match tls {
                        Some(tls) => match ServerConnection::new(tls) {
                            Ok(connection) => serve(&mut StreamOwned::new(connection, stream), &state),
                            Err(_) => Ok(()),
                        },
                        None => serve(&mut { stream }, &state),
                    };
                });
            }
        });
        Self { address, scheme, state, listener, accepting: Some(accepting) }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}/in", self.scheme, self.address)
    }

    pub(crate) fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.state.script.lock().expect("not poisoned").extend(answers);
    }

    pub(crate) fn judge(&self, judge: fn(&[u8]) -> u16) {
        *self.state.judge.lock().expect("not poisoned") = Some(judge);
    }

    pub(crate) fn is_script_done(&self) -> bool {
        self.state.script.lock().expect("not poisoned").is_empty()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().expect("not poisoned").clone()
    }

    /// Every record of every array that came, in order.
    pub(crate) fn records(&self) -> Vec<Value> {
        let bodies =
            self.requests().into_iter().filter_map(|request| serde_json::from_slice(&request.body).ok());
        bodies.flat_map(|body: Vec<Value>| body).collect()
    }

    /// The field `n` of every record of every array that came, in order.
    pub(crate) fn received(&self) -> Vec<u64> {
        self.records().iter().filter_map(|record| record["n"].as_u64()).collect()
    }
}

impl Drop for Receiver {
    /// Afterwards the port is free.
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::SeqCst);
        // The thread that accepts looks around. A connection would not reach it from another network namespace.
        let _ = shutdown(&*self.listener, Shutdown::Both);
        if let Some(accepting) = self.accepting.take() {
            // It has nothing to say.
            let _ = accepting.join();
        }
    }
}

trait Stream: Read + Write {
    fn reset(&self) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn reset(&self) -> io::Result<()> {
        rustix::net::sockopt::set_socket_linger(self, Some(Duration::ZERO)).map_err(io::Error::from)
    }
}

impl Stream for StreamOwned<ServerConnection, TcpStream> {
    fn reset(&self) -> io::Result<()> {
        self.sock.reset()
    }
}

fn serve(stream: &mut impl Stream, state: &State) -> io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(request) = read(stream, &mut buffer)? {
        if state.is_over.load(Ordering::SeqCst) {
            return Ok(());
        }
        let judge = *state.judge.lock().expect("not poisoned");
        let judged = Answer::Status(judge.map_or(200, |judge| judge(&request.body)), "");
        let answer = state.script.lock().expect("not poisoned").pop_front().unwrap_or(judged);
        let is_received = !matches!(answer, Answer::Status(status, _) if !(200..300).contains(&status));
        if is_received {
            state.requests.lock().expect("not poisoned").push(request);
        }
        let (status, more) = match answer {
            Answer::Status(status, more) => (status, more),
            Answer::Late(after) => {
                thread::sleep(after);
                (200, "")
            }
            Answer::Hang => {
                // Until the client gives up.
                let mut rest = [0; 64];
                while stream.read(&mut rest)? > 0 {}
                return Ok(());
            }
            Answer::Reset => return stream.reset(),
        };
        let text = format!("HTTP/1.1 {status} So\r\n{more}content-length: 2\r\n\r\n{{}}");
        stream.write_all(text.as_bytes())?;
        stream.flush()?;
    }
    Ok(())
}

fn read(stream: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<Option<Request>> {
    let mut chunk = [0; 16_384];
    loop {
        if let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok())
                .unwrap_or(0_usize);
            if buffer.len() >= end + 4 + length {
                let body = buffer[end + 4..end + 4 + length].to_vec();
                buffer.drain(..end + 4 + length);
                return Ok(Some(Request { head, body }));
            }
        }
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Ok(None);
        }
        buffer.extend_from_slice(&chunk[..count]);
    }
}
