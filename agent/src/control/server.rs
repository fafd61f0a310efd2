//! The agent's end of the control socket.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

use super::{Refusal, Request, parse_request};
use crate::app::snapshot::Query;

/// Clients at the same time; more wait in the kernel's queue.
const MAX_CLIENTS: usize = 8;
/// Longest question in bytes.
const MAX_REQUEST_BYTES: u64 = 4096;
/// A client that has not asked, or not read its answer, within this time is dropped.
const PATIENCE: Duration = Duration::from_secs(10);

/// Removes the socket's file when dropped.
pub struct ControlServer {
    path: PathBuf,
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        let _ = remove_socket(&self.path);
    }
}

/// Removes a socket that an agent has left; false when there is none.
///
/// # Errors
///
/// When something else has this name, which is left alone, or the socket cannot be removed.
pub fn remove_socket(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            let problem = "agent.socket names something that is no socket, which was left alone; accepted is a name \
                           that is free, or of a socket";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, problem));
        }
        Ok(_) => {}
    }
    fs::remove_file(path)?;
    Ok(true)
}

/// Opens the socket and answers from then on.
///
/// # Errors
///
/// When the socket cannot be made, or another agent answers on it.
pub fn serve(path: &Path, queries: mpsc::Sender<Query>) -> io::Result<ControlServer> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another agent answers on this socket"));
    }
    remove_socket(path)?;
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    let places = Arc::new(Semaphore::new(MAX_CLIENTS));
    tokio::spawn(async move {
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let queries = queries.clone();
                    tokio::spawn(async move {
                        if let Err(error) = timeout(PATIENCE, answer(stream, queries)).await.unwrap_or(Ok(()))
                        {
                            tracing::debug!(%error, "control client");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: wait, do not spin.
                    tracing::warn!(%error, "control socket");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    });
    Ok(ControlServer { path: path.to_owned() })
}

async fn answer(stream: UnixStream, queries: mpsc::Sender<Query>) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    let own = rustix::process::geteuid().as_raw();
    let (reader, mut writer) = stream.into_split();
    let mut line = Vec::new();
    BufReader::new(reader.take(MAX_REQUEST_BYTES)).read_until(b'\n', &mut line).await?;
    let text = if peer != 0 && peer != own {
        refusal(format!("user {peer} may not ask; accepted are root and user {own}"))
    } else {
        match parse_request(&line) {
            Ok(Request::Flows { limit }) => {
                let query = |reply| Query::Flows { limit, reply };
                tell(&queries, query, |snapshot| serde_json::to_vec(&snapshot.view())).await
            }
            Ok(Request::Coverage {}) => {
                tell(&queries, Query::Coverage, |snapshot| serde_json::to_vec(&snapshot.view())).await
            }
            Ok(Request::Status {}) => tell(&queries, Query::Status, |view| serde_json::to_vec(&view)).await,
            Ok(Request::Selftest {}) => {
                tell(&queries, Query::SelfTest, |view| serde_json::to_vec(&view)).await
            }
            Err(error) => refusal(error),
        }
    };
    writer.write_all(&text).await?;
    writer.shutdown().await
}

/// Asks the loop for a snapshot, and makes the text elsewhere: that takes time.
async fn tell<T: Send + 'static>(
    queries: &mpsc::Sender<Query>,
    query: impl FnOnce(oneshot::Sender<T>) -> Query,
    text: impl FnOnce(T) -> serde_json::Result<Vec<u8>> + Send + 'static,
) -> Vec<u8> {
    let (reply, answer) = oneshot::channel();
    if queries.send(query(reply)).await.is_err() {
        return refusal("the agent is stopping".to_owned());
    }
    let Ok(snapshot) = answer.await else { return refusal("the agent is stopping".to_owned()) };
    match tokio::task::spawn_blocking(move || text(snapshot)).await {
        Ok(Ok(mut text)) => {
            text.push(b'\n');
            text
        }
        Ok(Err(error)) => refusal(error.to_string()),
        Err(error) => refusal(error.to_string()),
    }
}

fn refusal(error: String) -> Vec<u8> {
    let mut text = serde_json::to_vec(&Refusal { error }).unwrap_or_default();
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_is_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, socket) = (directory.path().join("file"), directory.path().join("socket"));
        fs::write(&file, "precious").expect("written");
        let error = remove_socket(&file).expect_err("it is a file");
        assert!(error.to_string().contains("no socket"), "{error}");
        assert_eq!(fs::read(&file).expect("it is there"), b"precious");
        assert!(!remove_socket(&socket).expect("nothing is there"));
        std::os::unix::net::UnixListener::bind(&socket).expect("bound");
        assert!(remove_socket(&socket).expect("removed"));
        assert!(!socket.exists());
    }
}
