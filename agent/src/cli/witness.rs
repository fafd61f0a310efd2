//! `homeport witness`

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::{Context as _, anyhow};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use super::{log, out};
use crate::{
    exit::{Exit, Failure},
    ledger::{
        audit::note::{Algorithm, Key},
        witness::{
            memory::{Memory, key},
            server::{Witness, serve},
        },
    },
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Address and port to listen at, plain HTTP
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7380")]
    listen: SocketAddr,
    /// Where its key and its memory are; made when it is not there
    #[arg(long, value_name = "DIR")]
    state_dir: PathBuf,
    /// Its name in signatures, such as witness.example.org/storage
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Public key of a ledger to watch (homeport ledger key); may be repeated
    #[arg(long, value_name = "VKEY", required = true)]
    log: Vec<String>,
}

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    log::start();
    let unusable = |error: anyhow::Error| Failure::new(Exit::Unusable, error);
    let mut logs = Vec::new();
    for text in &args.log {
        let key = Key::parse(text).map_err(|fault| unusable(anyhow!("--log {text}: {fault}")))?;
        if key.algorithm() != Algorithm::Log {
            return Err(unusable(anyhow!("--log {text}: this is a key of a witness, not of a log")));
        }
        logs.push(key);
    }
    let memory = Memory::open(&args.state_dir).map_err(|error| unusable(error.into()))?;
    let cosigner = key(&args.state_dir, &args.name).map_err(|error| unusable(error.into()))?;
    tell(&format!("key      {}", cosigner.key()));
    for log in &logs {
        let size = memory.latest(log.name()).map_or(0, |head| head.size);
        tell(&format!("watches  {} ({size} entries seen)", log.name()));
    }
    let witness = Arc::new(Witness::new(cosigner, logs, memory));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(args.listen)
            .await
            .with_context(|| format!("listen at {}", args.listen))
            .map_err(unusable)?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tell(&format!("listens  http://{}", listener.local_addr()?));
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        serve(witness, listener, stop).await?;
        Ok(Exit::Success)
    })
}

/// Prints a line. A witness goes on when nobody can read it.
fn tell(line: &str) {
    if let Err(failure) = out::line(line) {
        tracing::warn!(line, error = format!("{:#}", failure.error), "a line could not be printed");
    }
}
