//! Connections: how many, how long, how large; then requests.

use std::{
    future::poll_fn,
    io::{self, Write as _},
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
    time::Duration,
};

use axum::{Router, body::Body, extract::Request};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    sync::{Semaphore, oneshot},
    time::timeout,
};

use super::{
    Records, Settings,
    desk::{Desk, Live},
    feed::{self, Memory},
    guard::Guard,
    routes,
    slow::Slow,
    tls::Tls,
    token::Token,
};
use crate::confine;
/// Connections at the same time. A browser needs six of them; each costs some 40 KiB while it is served. One more is
/// told to come back later.
pub const MAX_CONNECTIONS: usize = 128;
/// A request has to be there, and a handshake done, within this time.
const REQUEST_PATIENCE: Duration = Duration::from_secs(10);
/// A client that reads nothing for this long is left.
const READ_PATIENCE: Duration = Duration::from_secs(20);
/// Request line and headers together, in bytes.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// A browser sends about 20.
const MAX_HEADERS: usize = 64;

const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\n\
                      Connection: close\r\n\r\n";
const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// The running page. It ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl Server {
    /// Where it listens: with the port, if any was asked for.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

pub(super) fn start(settings: Settings, live: Arc<dyn Live>, records: Records) -> io::Result<Server> {
    let token = settings.token_file.as_deref().map(Token::read).transpose()?.map(Arc::new);
    let tls = settings.tls.clone().map(Tls::open).transpose()?.map(Arc::new);
    let listener = TcpListener::bind(settings.listen)
        .map_err(|error| io::Error::new(error.kind(), format!("page.listen {}: {error}", settings.listen)))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let guard = Arc::new(Guard::new(settings.host_names.clone(), token, tls.is_some()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel::<()>();
    thread::Builder::new().name("page".to_owned()).spawn(move || {
        confine::thread();
        let memory = Arc::new(Memory::default());
        let desk = Arc::new(Desk::new(live, Arc::clone(&memory)));
        let router = routes::router(desk, guard);
        runtime.block_on(async {
            if let Some(ledger) = records.ledger {
                tokio::spawn(feed::follow(ledger, true, Arc::clone(&memory)));
            }
            tokio::spawn(feed::follow(records.run, false, memory));
            tokio::select! {
                result = accept(listener, tls, router) => {
                    if let Err(error) = result {
                        tracing::error!(%error, "the status page has ended");
                    }
                }
                // Dropped or told: both mean the end.
                _ = stopped => {}
            }
        });
        runtime.shutdown_background();
    })?;
    Ok(Server { address, _stop: stop })
}

async fn accept(listener: TcpListener, tls: Option<Arc<Tls>>, router: Router) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, or a client that is gone already: wait, do not spin.
                tracing::debug!(%error, "status page");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            turn_away(stream, tls.is_some());
            continue;
        };
        let (router, tls) = (router.clone(), tls.clone());
        tokio::spawn(async move {
            // Answers are written in one piece.
            let _ = stream.set_nodelay(true);
            match tls {
                None => talk(stream, router).await,
                Some(tls) => match timeout(REQUEST_PATIENCE, tls.acceptor().accept(stream)).await {
                    Ok(Ok(stream)) => talk(stream, router).await,
                    Ok(Err(error)) => tracing::debug!(%error, "TLS handshake of a reader of the page"),
                    Err(_) => tracing::debug!("TLS handshake of a reader of the page: too slow"),
                },
            }
            drop(place);
        });
    }
}

/// Says so without waiting for anything; under TLS nothing can be said yet.
fn turn_away(stream: TcpStream, is_tls: bool) {
    if is_tls {
        return;
    }
    if let Ok(mut stream) = stream.into_std() {
        // A client that cannot be told is gone.
        let _ = stream.write_all(BUSY);
    }
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(stream: S, router: Router) {
    let service = TowerToHyperService::new(router);
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        hyper::service::Service::call(&service, request.map(Body::new))
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_PATIENCE)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(Slow::new(stream, READ_PATIENCE)), service);
    let result = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner();
    if let Err(error) = result {
        tracing::debug!(%error, "reader of the page");
        // Whoever has begun a request is told; whoever was idle just ends.
        if error.is_timeout() && !parts.read_buf.is_empty() {
            let _ = stream.write_all(TOO_SLOW).await;
        }
    }
    let _ = stream.shutdown().await;
}
