//! An OTLP receiver over HTTP whose messages are generated from the official files.
//!
//! It speaks just as much HTTP as a client with a known length needs, on bare sockets: the faults are on that level.

use std::{
    collections::{BTreeMap, VecDeque},
    io::Read as _,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use flate2::read::GzDecoder;
use prost::Message as _;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

use super::listen;

/// What `build.rs` makes of the official files.
#[expect(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
#[allow(rustdoc::invalid_html_tags, reason = "the official comments are no HTML")]
pub mod messages {
    include!(concat!(env!("OUT_DIR"), "/otlp.rs"));
}

pub use messages::opentelemetry::proto::{
    collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse},
    common::v1::{KeyValue, any_value::Value},
    logs::v1::LogRecord,
    resource::v1::Resource,
};

/// What to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Play {
    /// Take it.
    Accept,
    /// Take it and say so after a while.
    AcceptLate(Duration),
    /// Take it, and lose the answer.
    AcceptAndReset,
    /// Take all but so many.
    Partial(i64, &'static str),
    /// Answer with a status, and headers.
    Status(u16, &'static str),
    /// Answer with a page, as a portal between us would.
    Page,
    /// Never answer.
    Hang,
    /// Reset the connection once the request is there.
    Reset,
    /// Reset it in the middle of the request.
    ResetEarly,
    /// Take requests of at most so many records, and answer 413 to others.
    AtMost(usize),
    /// Take requests without a record of this body, and answer 400 to others.
    Without(String),
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Request {
    /// Headers, their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// What it says.
    pub logs: ExportLogsServiceRequest,
    /// What was done with it.
    pub play: Play,
}

#[derive(Debug, Default)]
struct State {
    script: VecDeque<Play>,
    otherwise: Option<Play>,
    requests: Vec<Request>,
    accepted: Vec<LogRecord>,
}

/// A running receiver. It ends when this is dropped.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: AbortHandle,
}

impl Receiver {
    /// Starts one that plays the script, and then takes everything.
    ///
    /// # Errors
    ///
    /// When there is no port.
    pub async fn start(script: impl IntoIterator<Item = Play>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let state = State { script: script.into_iter().collect(), ..State::default() };
        Self::on(listener, Arc::new(Mutex::new(state)))
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

    /// What to do from now on, when the script is over.
    pub fn otherwise(&self, play: Play) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).otherwise = Some(play);
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}/v1/logs", self.address)
    }

    /// Every request that came as a whole.
    pub fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).requests.clone()
    }

    /// The records that were taken, in order, repetitions included.
    pub fn accepted(&self) -> Vec<LogRecord> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).accepted.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The value of an attribute.
pub fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()
}

/// The place of a record in the ledger.
pub fn index(record: &LogRecord) -> Option<u64> {
    match attribute(&record.attributes, "egress.ledger.index")? {
        Value::IntValue(index) => u64::try_from(*index).ok(),
        _ => None,
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut stream = BufReader::new(stream);
    // A client that goes away ends this; a request that is none is a failure of the test that looks for it.
    while let Ok(true) = one(&mut stream, &state).await {}
}

/// One request; whether another may follow.
async fn one(stream: &mut BufReader<TcpStream>, state: &Mutex<State>) -> Result<bool> {
    let Some(headers) = head(stream).await? else { return Ok(false) };
    let play = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let otherwise = state.otherwise.clone();
        state.script.pop_front().or(otherwise).unwrap_or(Play::Accept)
    };
    if play == Play::ResetEarly {
        let mut some = [0; 1];
        stream.read_exact(&mut some).await?;
        stream.get_ref().set_zero_linger()?;
        return Ok(false);
    }
    let length: usize = headers.get("content-length").context("a length")?.parse()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    if headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip") {
        let mut unpacked = Vec::new();
        GzDecoder::new(body.as_slice()).read_to_end(&mut unpacked)?;
        body = unpacked;
    }
    ensure!(headers.get("content-type").is_some_and(|kind| kind == "application/x-protobuf"), "{headers:?}");
    let logs = ExportLogsServiceRequest::decode(body.as_slice())?;
    let records: Vec<LogRecord> = logs
        .resource_logs
        .iter()
        .flat_map(|logs| &logs.scope_logs)
        .flat_map(|logs| logs.log_records.clone())
        .collect();
    let request = Request { headers, logs, play: play.clone() };
    let keep = |count: usize| {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.accepted.extend(records.iter().take(count).cloned());
    };
    state.lock().unwrap_or_else(PoisonError::into_inner).requests.push(request);
    let protobuf = "content-type: application/x-protobuf\r\n";
    match play {
        Play::Accept => {
            keep(usize::MAX);
            answer(stream, 200, protobuf, &[]).await?;
        }
        Play::AcceptLate(wait) => {
            keep(usize::MAX);
            tokio::time::sleep(wait).await;
            answer(stream, 200, protobuf, &[]).await?;
        }
        Play::AcceptAndReset => {
            keep(usize::MAX);
            stream.get_ref().set_zero_linger()?;
            return Ok(false);
        }
        Play::Partial(rejected, message) => {
            keep(records.len().saturating_sub(usize::try_from(rejected)?));
            let partial = ExportLogsPartialSuccess {
                rejected_log_records: rejected,
                error_message: message.to_owned(),
            };
            let body = ExportLogsServiceResponse { partial_success: Some(partial) }.encode_to_vec();
            answer(stream, 200, protobuf, &body).await?;
        }
        Play::Status(status, headers) => answer(stream, status, headers, b"as told").await?,
        Play::Page => answer(stream, 200, "content-type: text/html\r\n", b"<html>log in first").await?,
        Play::Hang => std::future::pending().await,
        Play::Reset | Play::ResetEarly => {
            stream.get_ref().set_zero_linger()?;
            return Ok(false);
        }
        Play::AtMost(most) if records.len() > most => answer(stream, 413, "", b"too large").await?,
        Play::Without(body) if records.iter().any(|record| says(record, &body)) => {
            answer(stream, 400, "", b"cannot read this").await?;
        }
        Play::AtMost(_) | Play::Without(_) => {
            keep(usize::MAX);
            answer(stream, 200, protobuf, &[]).await?;
        }
    }
    Ok(true)
}

fn says(record: &LogRecord, text: &str) -> bool {
    let body = record.body.as_ref().and_then(|body| body.value.as_ref());
    matches!(body, Some(Value::StringValue(said)) if said == text)
}

/// The headers of the next request; none when there is no next one.
async fn head(stream: &mut BufReader<TcpStream>) -> Result<Option<BTreeMap<String, String>>> {
    let mut headers = BTreeMap::new();
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    ensure!(line.starts_with("POST /v1/logs "), "{line:?}");
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim().split_once(':') else { return Ok(Some(headers)) };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
}

async fn answer(stream: &mut BufReader<TcpStream>, status: u16, headers: &str, body: &[u8]) -> Result<()> {
    let head = format!("HTTP/1.1 {status} as told\r\n{headers}content-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    Ok(stream.flush().await?)
}
