//! The clsact qdisc that filters hang on before Linux 6.6: made where there is none, and removed with the last filter if
//! we made it.

use std::{io, thread};

use aya::programs::tc;
use futures_util::TryStreamExt as _;
use netlink_packet_route::tc::{TcAttribute, TcHandle};
use rtnetlink::Handle;

use super::pins::Pins;

/// Makes sure that an interface has one; true if it is ours.
pub(super) fn make((index, name): (u32, &str), pins: Option<&Pins>) -> bool {
    // Written down first: whoever is killed in between must not leave one that nobody knows of.
    let is_noted = pins.is_some_and(|pins| pins.note_qdisc(index));
    // Where there is one already, the kernel refuses another.
    let is_made = tc::qdisc_add_clsact(name).is_ok();
    if is_noted
        && !is_made
        && let Some(pins) = pins
    {
        pins.forget_qdisc(index);
    }
    is_made
}

/// Removes it, unless somebody's filters hang on it, or it is not there; false then.
///
/// # Errors
///
/// When rtnetlink does not answer, or refuses.
pub(super) fn remove_unused(index: u32) -> io::Result<bool> {
    // Callers are inside and outside of a runtime; a thread of its own serves both.
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection()?;
            tokio::spawn(connection);
            remove(&handle, index).await.map_err(io::Error::other)
        })
    };
    thread::spawn(work).join().unwrap_or_else(|_| Err(io::Error::other("removing a qdisc")))
}

async fn remove(handle: &Handle, index: u32) -> Result<bool, rtnetlink::Error> {
    let Ok(interface) = i32::try_from(index) else { return Ok(false) };
    let mut found = None;
    let mut qdiscs = std::pin::pin!(handle.qdisc().get().execute());
    while let Some(message) = qdiscs.try_next().await? {
        let is_clsact =
            message.attributes.iter().any(|it| matches!(it, TcAttribute::Kind(kind) if kind == "clsact"));
        if message.header.index == interface && is_clsact {
            found = Some(message);
        }
    }
    let Some(qdisc) = found else { return Ok(false) };
    for request in
        [handle.traffic_filter(interface).get().ingress(), handle.traffic_filter(interface).get().egress()]
    {
        let mut filters = std::pin::pin!(request.execute());
        let mut is_used = false;
        // Read to the end: an answer that is left behind would be taken for the next one.
        while filters.try_next().await?.is_some() {
            is_used = true;
        }
        if is_used {
            return Ok(false);
        }
    }
    let mut request = handle.qdisc().del(interface);
    request.message_mut().header.parent = TcHandle::CLSACT;
    request.message_mut().header.handle = qdisc.header.handle;
    request.execute().await?;
    Ok(true)
}
