//! The status page: has anything left the approved countries, and can that answer be trusted?
//!
//! ```text
//!   browser --> server (limits) --> guard (host, token, method) --> routes --> desk --> the loop, once a second at most
//!                                                                      \--> memory <-- feed <-- ledger, records of this run
//! ```
//!
//! It has a thread and a runtime of its own: whatever clients do, the loop that counts answers one question a second
//! and does nothing else for them. Read only: there is no request that changes anything but who is logged in.
//!
//! | file | what for |
//! |---|---|
//! | `server` | connections: how many, how long, how large; TLS |
//! | `guard` | what every request must pass, and what every answer says to the browser |
//! | `token` | who may read |
//! | `routes`, `events` | the answers |
//! | `desk` | what the loop says, asked at most once a second for all clients together |
//! | `feed` | follows the records, in the ledger and of this run |
//! | `history`, `episodes` | what is remembered of them |
//! | `ring` | records of this run |
//! | `assets` | the files of the page, embedded |
//! | `map/` | draws the map, at development time |

mod assets;
mod desk;
pub mod episodes;
mod events;
mod feed;
mod guard;
pub mod history;
mod ring;
mod routes;
mod server;
mod slow;
mod tls;
mod token;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

pub use self::{
    desk::{Live, Look, Looking},
    ring::Ring,
    server::{MAX_CONNECTIONS, Server},
};
use crate::{
    config::{Page, PageTls},
    ledger::Source,
};

/// Version of everything under `/api/v1/`.
pub const SCHEMA: u32 = 1;

/// How the page is served.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// File with the token.
    pub token_file: Option<PathBuf>,
    /// Certificate and key.
    pub tls: Option<PageTls>,
    /// Names in lower case that a request may be for, besides addresses and `localhost`.
    pub host_names: Vec<String>,
}

impl Settings {
    /// As configured; `None`: there is no page.
    pub fn new(page: &Page) -> Option<Self> {
        Some(Self {
            listen: page.listen?,
            token_file: page.token_file.clone(),
            tls: page.tls.clone(),
            host_names: page.host_names.clone(),
        })
    }
}

/// What history is made of.
#[derive(Clone)]
pub struct Records {
    /// Everything that was recorded, where there is a ledger. Indexes are places in it, which a proof can be asked for.
    pub ledger: Option<Arc<dyn Source>>,
    /// What this run has recorded, even while the disk takes nothing.
    pub run: Arc<dyn Source>,
}

/// Opens the page and serves it until the answer is dropped.
///
/// # Errors
///
/// When the address cannot be bound, or files of token or TLS cannot be used.
pub fn serve(settings: Settings, live: Arc<dyn Live>, records: Records) -> io::Result<Server> {
    server::start(settings, live, records)
}
