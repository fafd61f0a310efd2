//! Witnesses: somebody else remembers how far a ledger had come, and refuses one that goes back.
//!
//! A ledger proves by itself that its entries belong together. That no other version of it is shown to somebody else,
//! and that no old state was put back, only others can say: they have seen it. C2SP tlog-witness.
//!
//! | file | what for |
//! |---|---|
//! | `protocol` | the one request, `add-checkpoint`, and its answers |
//! | `memory` | what a witness remembers, durable before it signs |
//! | `server` | `homeport witness` |
//! | `client` | offers a ledger's checkpoint, and keeps the signatures beside it |
//! | `watch` | the witnesses of a running agent |
//! | `tls` | HTTPS without OpenSSL |

pub mod client;
pub mod memory;
pub mod protocol;
pub mod server;
mod tls;
pub mod watch;

#[cfg(test)]
mod tests;
