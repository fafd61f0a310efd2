//! A syslog receiver on TCP (octet counting) with a script of faults.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpSocket, TcpStream},
    task::AbortHandle,
};

use super::listen;

/// What to do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Play {
    /// Read everything, then close.
    Read,
    /// Read so many bytes, then end as a program that is killed: with the rest unread.
    Die(usize),
    /// Close at once, nothing read.
    Close,
    /// Read nothing, for ever.
    Hang,
    /// Read everything and never close.
    Keep,
    /// Read so many bytes, wait as long, and so on.
    Slowly(usize, Duration),
}

#[derive(Debug, Default)]
struct State {
    script: VecDeque<Play>,
    messages: Vec<String>,
    faults: Vec<String>,
    connections: usize,
}

/// A running receiver. It ends when this is dropped.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: AbortHandle,
}

impl Receiver {
    /// Starts one that plays the script, and then reads everything.
    ///
    /// # Errors
    ///
    /// When there is no port.
    pub fn start(script: impl IntoIterator<Item = Play>) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        // Small, so that a receiver that does not read is felt; connections inherit it.
        socket.set_recv_buffer_size(8 << 10)?;
        socket.bind("127.0.0.1:0".parse()?)?;
        let state = State { script: script.into_iter().collect(), ..State::default() };
        Self::on(socket.listen(64)?, Arc::new(Mutex::new(state)))
    }

    fn on(listener: TcpListener, state: Arc<Mutex<State>>) -> Result<Self> {
        let address = listener.local_addr()?;
        let shared = Arc::clone(&state);
        let task = listen::accept(listener, move |stream| serve(stream, Arc::clone(&shared)));
        Ok(Self { address, state, task })
    }

    /// Ends it, and starts it on the same port once `away` has passed.
    ///
    /// # Errors
    ///
    /// When the port is gone.
    pub async fn restart(self, away: Duration) -> Result<Self> {
        let (address, state) = (self.address, Arc::clone(&self.state));
        drop(self);
        Self::on(listen::again(address, away).await?, state)
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Messages that were read as a whole, in order, repetitions included.
    pub fn messages(&self) -> Vec<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).messages.clone()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).connections
    }

    /// What came that is no octet counting.
    pub fn faults(&self) -> Vec<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).faults.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    let play = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.connections += 1;
        state.script.pop_front().unwrap_or(Play::Read)
    };
    if let Err(error) = perform(stream, play, &state).await {
        state.lock().unwrap_or_else(PoisonError::into_inner).faults.push(format!("{play:?}: {error:#}"));
    }
}

async fn perform(mut stream: TcpStream, play: Play, state: &Mutex<State>) -> Result<()> {
    let (piece, wait, most) = match play {
        Play::Read | Play::Keep => (4_096, Duration::ZERO, usize::MAX),
        Play::Die(most) => (most, Duration::ZERO, most),
        Play::Close => return Ok(()),
        Play::Hang => std::future::pending().await,
        Play::Slowly(piece, wait) => (piece, wait, usize::MAX),
    };
    let mut waiting = Vec::new();
    let mut buffer = vec![0; piece];
    let mut read = 0;
    while read < most {
        // A sender that gives up is no fault.
        let room = piece.min(most - read);
        let Ok(count) = stream.read(&mut buffer[..room]).await else { return Ok(()) };
        if count == 0 {
            if play == Play::Keep {
                std::future::pending::<()>().await;
            }
            return Ok(());
        }
        read += count;
        waiting.extend_from_slice(&buffer[..count]);
        while let Some(message) = next(&mut waiting)? {
            state.lock().unwrap_or_else(PoisonError::into_inner).messages.push(message);
        }
        tokio::time::sleep(wait).await;
    }
    until_more(&stream).await
}

/// Whoever dies leaves something unread: that is what makes the kernel reset the connection.
async fn until_more(stream: &TcpStream) -> Result<()> {
    let mut one = [0; 1];
    stream.peek(&mut one).await?;
    Ok(())
}

/// Takes the next message out of what was read.
fn next(waiting: &mut Vec<u8>) -> Result<Option<String>> {
    let Some(blank) = waiting.iter().position(|byte| *byte == b' ') else {
        if waiting.len() > 8 {
            bail!("no count: {:?}", String::from_utf8_lossy(waiting));
        }
        return Ok(None);
    };
    let count: usize = std::str::from_utf8(&waiting[..blank])?.parse().context("the count")?;
    let end = blank + 1 + count;
    if waiting.len() < end {
        return Ok(None);
    }
    let message = String::from_utf8(waiting[blank + 1..end].to_vec())?;
    waiting.drain(..end);
    Ok(Some(message))
}
