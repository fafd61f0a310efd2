//! Hands frames over on a connection and finds out whether the receiver has read them.

use std::{io, sync::Arc, time::Duration};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::probe::unacknowledged_bytes;

/// Between two looks at what is not acknowledged yet. The receiver has closed by then, so one look is the rule.
const LOOK: Duration = Duration::from_millis(5);

pub(super) async fn plain(mut stream: TcpStream, frames: &[u8]) -> io::Result<()> {
    stream.write_all(frames).await?;
    stream.shutdown().await?;
    until_closed(&mut stream).await?;
    until_acknowledged(&stream).await
}

pub(super) async fn encrypted(
    stream: TcpStream,
    config: Arc<ClientConfig>,
    host: &str,
    frames: &[u8],
) -> io::Result<()> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let mut stream = TlsConnector::from(config).connect(name, stream).await?;
    stream.write_all(frames).await?;
    stream.shutdown().await?;
    match until_closed(&mut stream).await {
        Ok(()) => {}
        // Many receivers, rsyslog among them, close the connection without the farewell of TLS. Somebody on the path
        // could have forged this; they could have swallowed the messages behind a forged acknowledgement as well.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
        Err(error) => return Err(error),
    }
    until_acknowledged(stream.get_ref().0).await
}

/// Reads until the receiver closes its direction. Syslog receivers send nothing; what they send is not for us.
async fn until_closed(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut buffer = [0; 512];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// A receiver that closed just when our bytes were under way has not read them: its kernel does not acknowledge them and
/// resets the connection.
async fn until_acknowledged(stream: &TcpStream) -> io::Result<()> {
    loop {
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        if unacknowledged_bytes(stream)? == 0 {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}
