//! Tells the service manager how we are, without ever waiting for it.
//!
//! The notification socket blocks when nobody reads it, so a thread of its own does the telling. The loop hands
//! over what to say; when the thread is stuck, pings of the watchdog are dropped, and everything else waits its turn.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use sd_notify::NotifyState;

/// Messages that wait for the thread.
const WAITING: usize = 16;

/// What to say.
enum Message {
    Ready,
    Reloading,
    Stopping,
    Alive,
}

pub(super) struct ServiceManager {
    messages: Option<SyncSender<Message>>,
}

impl ServiceManager {
    /// Does nothing when no service manager listens.
    pub(super) fn connect() -> Self {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Self { messages: None };
        }
        let (messages, inbox) = sync_channel(WAITING);
        let thread = thread::Builder::new().name("sd-notify".to_owned()).spawn(move || tell(&inbox));
        match thread {
            Ok(_) => Self { messages: Some(messages) },
            Err(error) => {
                tracing::warn!(%error, "the service manager will hear nothing");
                Self { messages: None }
            }
        }
    }

    pub(super) fn ready(&self) {
        self.say(Message::Ready);
    }

    pub(super) fn reloading(&self) {
        self.say(Message::Reloading);
    }

    pub(super) fn stopping(&self) {
        self.say(Message::Stopping);
    }

    /// The loop turns. Said only when systemd asked for it (`WatchdogSec=`).
    pub(super) fn alive(&self) {
        if sd_notify::watchdog_enabled().is_some() {
            self.say(Message::Alive);
        }
    }

    fn say(&self, message: Message) {
        if let Some(messages) = &self.messages {
            // Full: the manager does not read. It hears of us again when it does.
            let _ = messages.try_send(message);
        }
    }
}

fn tell(inbox: &Receiver<Message>) {
    while let Ok(message) = inbox.recv() {
        let result = match message {
            Message::Ready => sd_notify::notify(&[NotifyState::Ready]),
            Message::Reloading => match NotifyState::monotonic_usec_now() {
                Ok(now) => sd_notify::notify(&[NotifyState::Reloading, now]),
                Err(error) => Err(error),
            },
            Message::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
            Message::Alive => sd_notify::notify(&[NotifyState::Watchdog]),
        };
        if let Err(error) = result {
            tracing::debug!(%error, "telling the service manager");
        }
    }
}
