//! Sends through io_uring: the kernel sends, the process only asks for it.

use std::os::fd::{AsFd, AsRawFd as _};

use anyhow::{Result, bail, ensure};
use io_uring::{IoUring, cqueue, opcode, types::Fd};

use crate::impossible::needs;

/// Who takes what is asked for, and whether it is copied.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// The process hands it over with a system call.
    Submitted,
    /// A thread of the kernel looks for it.
    Polled,
    /// The pages of the process are sent as they are.
    Uncopied,
}

pub(crate) struct Sender {
    ring: IoUring,
    style: Style,
}

impl Sender {
    pub(crate) fn new(style: Style) -> Result<Self> {
        let ring = match style {
            Style::Polled => IoUring::builder().setup_sqpoll(2000).build(8),
            Style::Submitted | Style::Uncopied => IoUring::new(8),
        };
        Ok(Self { ring: needs("io_uring", ring)?, style })
    }

    /// Sends a part of `bytes`, from its beginning; says how much it was.
    pub(crate) fn send(&mut self, socket: impl AsFd, bytes: &'static [u8]) -> Result<usize> {
        let socket = Fd(socket.as_fd().as_raw_fd());
        let (start, length) = (bytes.as_ptr(), bytes.len() as u32);
        let entry = match self.style {
            Style::Submitted | Style::Polled => opcode::Send::new(socket, start, length).build(),
            Style::Uncopied => opcode::SendZc::new(socket, start, length).build(),
        };
        // SAFETY: the bytes live as long as the program, and the caller's socket as long as this call, which
        // waits for the answer.
        if unsafe { self.ring.submission().push(&entry) }.is_err() {
            bail!("the ring is full");
        }
        let mut sent = None;
        let mut is_held = false;
        while sent.is_none() || is_held {
            self.ring.submit_and_wait(1)?;
            for answer in self.ring.completion() {
                if cqueue::notif(answer.flags()) {
                    is_held = false;
                } else {
                    is_held = cqueue::more(answer.flags());
                    sent = Some(answer.result());
                }
            }
        }
        let sent = sent.unwrap_or_default();
        if sent < 0 {
            needs("this operation of io_uring", Err(std::io::Error::from_raw_os_error(-sent)))?;
        }
        ensure!(sent > 0, "nothing was sent");
        Ok(sent as usize)
    }
}
