//! Servers: who accepts, and who sends.

use std::{
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net::{SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
};

use anyhow::{Context as _, Result, ensure};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde_json::json;

use super::{
    finish,
    how::{self, How},
};
use crate::{
    say, say_sent,
    sys::{Fork, fork},
};

#[derive(clap::Args)]
pub(crate) struct Serve {
    #[arg(long)]
    listen: SocketAddr,
    /// For each client
    #[arg(long)]
    bytes: u64,
    #[arg(long, value_enum, default_value = "plain")]
    mode: Mode,
    /// End after this many
    #[arg(long, default_value_t = 1)]
    clients: u32,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Mode {
    /// One process listens, accepts and sends
    Plain,
    /// As plain, with sendfile(2)
    Sendfile,
    /// The process that listens makes a worker, which accepts and sends
    Prefork,
    /// The process that accepts makes a child for each client, as sshd does
    Fork,
    /// The process that accepts hands the connection to another one over a Unix socket
    Pass,
}

pub(crate) fn serve(serve: &Serve) -> Result<()> {
    let listener = TcpListener::bind(serve.listen).with_context(|| format!("listen at {}", serve.listen))?;
    match serve.mode {
        Mode::Plain | Mode::Sendfile => {
            say_listening(serve)?;
            answer_all(&listener, serve)
        }
        Mode::Prefork => match fork()? {
            Fork::Parent(worker) => {
                say_listening(serve)?;
                wait_for(worker)
            }
            Fork::Child => answer_all(&listener, serve),
        },
        Mode::Fork => {
            say_listening(serve)?;
            for _ in 0..serve.clients {
                let (stream, _) = listener.accept()?;
                match fork()? {
                    Fork::Parent(child) => {
                        drop(stream);
                        wait_for(child)?;
                    }
                    Fork::Child => return answer(stream, serve),
                }
            }
            Ok(())
        }
        Mode::Pass => {
            let (ours, theirs) = UnixStream::pair()?;
            match fork()? {
                Fork::Parent(child) => {
                    drop(theirs);
                    say_listening(serve)?;
                    for _ in 0..serve.clients {
                        let (stream, _) = listener.accept()?;
                        pass(&ours, &stream)?;
                    }
                    wait_for(child)
                }
                Fork::Child => {
                    drop((ours, listener));
                    (0..serve.clients).try_for_each(|_| answer(take(&theirs)?, serve))
                }
            }
        }
    }
}

fn say_listening(serve: &Serve) -> Result<()> {
    say(&json!({ "listening": serve.listen, "pid": std::process::id() }))
}

fn answer_all(listener: &TcpListener, serve: &Serve) -> Result<()> {
    (0..serve.clients).try_for_each(|_| answer(listener.accept()?.0, serve))
}

fn answer(mut stream: TcpStream, serve: &Serve) -> Result<()> {
    let how = if matches!(serve.mode, Mode::Sendfile) { How::Sendfile } else { How::Write };
    how::send(&mut stream, how, serve.bytes)?;
    say_sent(serve.bytes)?;
    finish(stream)
}

fn wait_for(child: rustix::process::Pid) -> Result<()> {
    let status = rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty())?;
    let ended_well = status.is_some_and(|(_, status)| status.exit_status() == Some(0));
    ensure!(ended_well, "child process ended with {status:?}");
    Ok(())
}

fn pass(channel: &UnixStream, stream: &TcpStream) -> Result<()> {
    let descriptors = [stream.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ensure!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)), "no space for a descriptor");
    rustix::net::sendmsg(channel, &[IoSlice::new(b"x")], &mut ancillary, SendFlags::empty())?;
    Ok(())
}

fn take(channel: &UnixStream) -> Result<TcpStream> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    rustix::net::recvmsg(channel, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::empty())?;
    let descriptor: Option<OwnedFd> = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok(TcpStream::from(descriptor.context("no descriptor came")?))
}
