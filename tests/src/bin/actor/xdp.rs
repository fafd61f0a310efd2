//! AF_XDP: frames go from a ring in memory to the driver, past everything that counts.

use std::{
    os::fd::AsFd as _,
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};

use crate::{
    frame::Content,
    impossible::needs,
    say_sent,
    sys::{self, Shared},
};

/// Frames in the ring: a power of two.
const FRAMES: u32 = 64;
const FRAME_BYTES: u32 = 2048;
/// Sending from memory takes no longer unless it hangs.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub(crate) struct Send {
    #[command(flatten)]
    content: Content,
}

pub(crate) fn send(send: &Send) -> Result<()> {
    let content = &send.content;
    let raw = SocketType::RAW;
    let socket =
        needs("AF_XDP", rustix::net::socket_with(AddressFamily::XDP, raw, SocketFlags::empty(), None))?;
    let length = (FRAMES * FRAME_BYTES) as usize;
    let memory = Shared::map(None, length)?;
    // As old kernels know it; newer ones take the short form, too.
    let region = libc::xdp_umem_reg_v1 {
        addr: memory.address(),
        len: length as u64,
        chunk_size: FRAME_BYTES,
        headroom: 0,
    };
    needs("XDP_UMEM_REG", sys::set_option(&socket, libc::SOL_XDP, libc::XDP_UMEM_REG, &region))?;
    for ring in [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_TX_RING] {
        sys::set_option(&socket, libc::SOL_XDP, ring, &FRAMES)?;
    }
    let offsets = sys::xdp_offsets(&socket)?;
    let (tx, done) = (offsets.tx, offsets.cr);
    let tx_length = tx.desc as usize + FRAMES as usize * size_of::<libc::xdp_desc>();
    let tx_ring = Shared::map(Some((socket.as_fd(), libc::XDP_PGOFF_TX_RING)), tx_length)?;
    let done_at = libc::XDP_UMEM_PGOFF_COMPLETION_RING as i64;
    let done_length = done.desc as usize + FRAMES as usize * size_of::<u64>();
    let done_ring = Shared::map(Some((socket.as_fd(), done_at)), done_length)?;
    needs("AF_XDP on this interface", sys::bind_xdp(&socket, content.ifindex()?))?;

    let frame = content.frame();
    ensure!(frame.len() <= FRAME_BYTES as usize, "the frame is too large");
    for idx in 0..FRAMES {
        memory.write((idx * FRAME_BYTES) as usize, &frame);
    }
    for number in 0..content.count as u32 {
        let idx = number % FRAMES;
        let at = tx.desc as usize + idx as usize * size_of::<libc::xdp_desc>();
        tx_ring.write(at, &u64::from(idx * FRAME_BYTES).to_ne_bytes());
        tx_ring.write(at + 8, &(frame.len() as u32).to_ne_bytes());
        tx_ring.write(at + 12, &0_u32.to_ne_bytes());
        tx_ring.number(tx.producer as usize).store(number + 1, Ordering::Release);
        let deadline = Instant::now() + PATIENCE;
        while !done_ring.reached(done.producer as usize, number + 1) {
            // "Busy" and "try again" mean just that.
            let _ = rustix::net::send(&socket, &[], SendFlags::DONTWAIT);
            ensure!(Instant::now() < deadline, "frame {number} does not leave");
            thread::yield_now();
        }
        done_ring.number(done.consumer as usize).store(number + 1, Ordering::Release);
    }
    say_sent(content.payload_bytes())
}
