//! What the answer of an OTLP receiver means.
//!
//! | answer | outcome |
//! |---|---|
//! | 2xx, protobuf or empty | taken |
//! | 2xx with `partial_success` that rejects records | taken; those of the request go to the dead-letter file |
//! | 2xx with something else | again: nobody said that it was taken |
//! | 429, 502, 503, 504 | again, after `Retry-After` |
//! | 1xx, 3xx | again: that is a matter of configuration |
//! | any other 4xx or 5xx | refused: the specification forbids to try again |
//!
//! `partial_success` gives a number and not which. When it is as large as the request, all of it was rejected. Else
//! every record of the request goes to the dead-letter file with that number in its reason: sending them once more to
//! find out which is forbidden too, and losing one is worse than keeping some that arrived. Batches of one make it exact.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
use prost::Message as _;

use super::LONGEST_WAIT;
use crate::{
    clock::WallTime,
    sink::{Outcome, Rejected},
};

/// An answer as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    /// It says that it is protobuf, or nothing.
    pub(super) is_protobuf: bool,
    pub(super) body: Vec<u8>,
}

/// See the module. `sent` are the indices in the request.
pub(super) fn outcome(answer: &Answer, sent: &[u64]) -> Outcome {
    match answer.status {
        200..=299 => accepted(answer, sent),
        429 | 502 | 503 | 504 => Outcome::Retry { reason: words(answer), after: answer.retry_after },
        400..=599 => Outcome::Refused { reason: words(answer) },
        _ => Outcome::Retry { reason: words(answer), after: None },
    }
}

fn accepted(answer: &Answer, sent: &[u64]) -> Outcome {
    let taken = |rejected| Outcome::Taken { entries: sent.len(), rejected };
    if answer.body.is_empty() {
        return taken(Vec::new());
    }
    if !answer.is_protobuf {
        return Outcome::Retry { reason: format!("{}: not an answer of OTLP", words(answer)), after: None };
    }
    let response = match ExportLogsServiceResponse::decode(answer.body.as_slice()) {
        Ok(response) => response,
        Err(error) => {
            return Outcome::Retry {
                reason: format!("{}: not an answer of OTLP: {error}", answer.status),
                after: None,
            };
        }
    };
    match response.partial_success {
        Some(ExportLogsPartialSuccess { rejected_log_records: 1.., .. }) => {}
        Some(ExportLogsPartialSuccess { error_message, .. }) if !error_message.is_empty() => {
            tracing::warn!(message = harmless(&error_message), "the OTLP receiver took everything and warns");
            return taken(Vec::new());
        }
        _ => return taken(Vec::new()),
    }
    let Some(partial) = response.partial_success else { return taken(Vec::new()) };
    let (count, message) = (partial.rejected_log_records, harmless(&partial.error_message));
    let reason = if usize::try_from(count).is_ok_and(|count| count >= sent.len()) {
        format!("rejected: {message}")
    } else {
        format!("the receiver rejected {count} of {} records, it does not say which: {message}", sent.len())
    };
    taken(sent.iter().map(|index| Rejected { index: *index, reason: reason.clone() }).collect())
}

/// `Retry-After`: seconds, or a date.
pub(super) fn retry_after(text: &str, now: WallTime) -> Option<Duration> {
    let wait = match text.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp().as_second();
            Duration::from_secs(u64::try_from(date.saturating_sub(now.unix_seconds())).unwrap_or(0))
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

/// The status and the beginning of what came with it.
fn words(answer: &Answer) -> String {
    // A receiver of OTLP sends a `google.rpc.Status`, whose text stands in it as it is.
    let text = harmless(&String::from_utf8_lossy(&answer.body));
    if text.is_empty() {
        format!("HTTP {}", answer.status)
    } else {
        format!("HTTP {}: {text}", answer.status)
    }
}

/// At most 200 characters, and none that drives a terminal or breaks a line.
fn harmless(text: &str) -> String {
    let printable = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.chars().map(printable).take(200).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: Vec<u8>) -> Answer {
        Answer { status, retry_after: None, is_protobuf: true, body }
    }

    fn partial(rejected: i64, message: &str) -> Vec<u8> {
        let partial =
            ExportLogsPartialSuccess { rejected_log_records: rejected, error_message: message.to_owned() };
        ExportLogsServiceResponse { partial_success: Some(partial) }.encode_to_vec()
    }

    fn taken() -> Outcome {
        Outcome::Taken { entries: 3, rejected: Vec::new() }
    }

    const SENT: [u64; 3] = [7, 8, 9];

    #[test]
    fn only_an_answer_of_otlp_is_a_positive_one() {
        assert_eq!(outcome(&answer(200, Vec::new()), &SENT), taken());
        assert_eq!(outcome(&answer(204, Vec::new()), &SENT), taken());
        assert_eq!(
            outcome(&answer(200, ExportLogsServiceResponse::default().encode_to_vec()), &SENT),
            taken()
        );
        assert_eq!(outcome(&answer(200, partial(0, "please slow down")), &SENT), taken());
        for (is_protobuf, body) in [(false, "<html>log in"), (true, "<html>log in")] {
            let answer = Answer { is_protobuf, ..answer(200, body.into()) };
            assert!(matches!(outcome(&answer, &SENT), Outcome::Retry { .. }), "{answer:?}");
        }
    }

    #[test]
    fn only_four_statuses_are_tried_again() {
        for status in 400..600 {
            let outcome = outcome(&answer(status, b"because".to_vec()), &SENT);
            let reason = format!("HTTP {status}: because");
            let expected = match status {
                429 | 502 | 503 | 504 => Outcome::Retry { reason, after: None },
                _ => Outcome::Refused { reason },
            };
            assert_eq!(outcome, expected);
        }
        for status in [101, 301, 308] {
            assert!(matches!(outcome(&answer(status, Vec::new()), &SENT), Outcome::Retry { .. }));
        }
    }

    #[test]
    fn a_partial_success_is_never_tried_again_and_never_silent() {
        let Outcome::Taken { entries: 3, rejected } = outcome(&answer(200, partial(1, "too old")), &SENT)
        else {
            panic!("not taken");
        };
        assert_eq!(rejected.iter().map(|rejected| rejected.index).collect::<Vec<_>>(), SENT);
        assert_eq!(
            rejected[0].reason,
            "the receiver rejected 1 of 3 records, it does not say which: too old"
        );
        let Outcome::Taken { rejected, .. } = outcome(&answer(200, partial(1, "too\nold")), &[7]) else {
            panic!("not taken");
        };
        assert_eq!(rejected, [Rejected { index: 7, reason: "rejected: too old".to_owned() }]);
    }

    #[test]
    fn a_receiver_says_how_long_to_wait_in_two_ways() {
        let now = WallTime::from_unix_seconds(1_772_323_200); // 2026-03-01T00:00:00Z, a Sunday
        for (text, seconds) in [
            ("5", Some(5)),
            ("0", Some(0)),
            ("Sun, 01 Mar 2026 00:01:00 GMT", Some(60)),
            ("Sat, 28 Feb 2026 00:00:00 GMT", Some(0)),
            ("99999999999", Some(3_600)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(retry_after(text, now), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
