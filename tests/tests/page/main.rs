//! The status page: its answers over raw sockets, and itself in a real browser.
//!
//! `HOMEPORT_WRITE_DOCS=1 cargo test -p homeport-tests --test page screenshots` writes the images in `agent/docs/page`.

mod browser;
mod http;
