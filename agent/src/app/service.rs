//! What the service manager is told: ready, alive, reloading, stopping.
//!
//! Sent without waiting. `sd_notify::notify` waits while the manager does not read, and the loop that observes would
//! wait with it.

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

use sd_notify::NotifyState;

/// Tells, if there is a manager that wants to know. When it does not read, the message is lost, and nothing else.
pub(super) fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = send(states) {
        tracing::debug!(%error, "telling the service manager");
    }
}

/// The loop turns. Said only where the manager asked for it (`WatchdogSec=`).
pub(super) fn alive() {
    if sd_notify::watchdog_enabled().is_some() {
        tell(&[NotifyState::Watchdog]);
    }
}

fn send(states: &[NotifyState<'_>]) -> io::Result<()> {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(&path)?,
    };
    let text: String = states.iter().map(|state| format!("{state}\n")).collect();
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(text.as_bytes(), &address).map(drop)
}
