//! What receivers on TCP have in common: they accept until they end, and may come back on their port.

use std::{future::Future, net::SocketAddr, time::Duration};

use anyhow::Result;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    task::{AbortHandle, JoinSet},
};

/// Serves every connection. Connections end with the task, as those of a process do.
pub(super) fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F + Send + 'static) -> AbortHandle
where
    F: Future<Output = ()> + Send + 'static,
{
    let task = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(serve(stream));
        }
    });
    task.abort_handle()
}

/// Listens on the same port once `away` has passed.
pub(super) async fn again(address: SocketAddr, away: Duration) -> Result<TcpListener> {
    tokio::time::sleep(away).await;
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket.listen(64)?)
}
