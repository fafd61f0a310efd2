//! The control socket: a Unix socket that answers questions, one line of JSON each way.
//!
//! Only the user of the agent and root may ask (file mode, and the credentials of the peer). A client that is slow,
//! silent, or sends nonsense costs one task and a few kilobytes, for a few seconds.

mod client;
mod server;

use serde::{Deserialize, Serialize};

pub use self::{
    client::{AskError, ask_coverage, ask_flows, ask_selftest, ask_status},
    server::{ControlServer, remove_socket, serve},
};

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// The flow table, and what goes with it.
    Flows {
        /// Only so many flows, those with the most bytes; all of them without.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
    },
    /// What is covered, and what not.
    Coverage {},
    /// Whether anything is out of policy, whether that can be trusted, and who hears of it.
    Status {},
    /// Send a datagram and see whether it comes out as a finding.
    Selftest {},
}

/// Reads a question.
///
/// # Errors
///
/// Says what would be accepted.
pub fn parse_request(line: &[u8]) -> Result<Request, String> {
    serde_json::from_slice(line).map_err(|error| {
        format!("not a request: {error}; accepted is one line of JSON such as {{\"ask\":\"flows\"}}")
    })
}

/// What is said instead of an answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// Why.
    pub error: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_and_nonsense_is_refused() {
        assert_eq!(parse_request(b"{\"ask\":\"flows\"}\n"), Ok(Request::Flows { limit: None }));
        assert_eq!(parse_request(b"{\"ask\":\"flows\",\"limit\":0}"), Ok(Request::Flows { limit: Some(0) }));
        assert_eq!(parse_request(b"{\"ask\":\"coverage\"}"), Ok(Request::Coverage {}));
        assert_eq!(parse_request(b"{\"ask\":\"selftest\"}"), Ok(Request::Selftest {}));
        assert_eq!(parse_request(b"{\"ask\":\"status\"}"), Ok(Request::Status {}));
        for line in [
            &b""[..],
            b"flows",
            b"{}",
            b"{\"ask\":\"shutdown\"}",
            b"{\"ask\":\"flows\",\"x\":1}",
            b"{\"ask\":\"flows\",\"limit\":-1}",
            b"\xff",
        ] {
            let error = parse_request(line).expect_err("refused");
            assert!(error.contains("accepted"), "{error}");
        }
    }
}
