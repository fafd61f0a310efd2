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

use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
use prost::Message as _;

use super::PROTOBUF;
use crate::sink::{Outcome, Rejected, http::Answer};

/// See the module. `sent` are the indices in the request.
pub(super) fn outcome(answer: &Answer, sent: &[u64]) -> Outcome {
    match answer.status.as_u16() {
        200..=299 => accepted(answer, sent),
        429 | 502 | 503 | 504 => Outcome::Retry { reason: answer.reason(), after: answer.retry_after },
        400..=599 => Outcome::Refused { reason: answer.reason() },
        _ => Outcome::Retry { reason: answer.reason(), after: None },
    }
}

fn accepted(answer: &Answer, sent: &[u64]) -> Outcome {
    let no_answer = |why: &str| Outcome::Retry {
        reason: format!("{}, which is no answer of OTLP ({why})", answer.reason()),
        after: None,
    };
    let taken = |rejected| Outcome::Taken { entries: sent.len(), rejected };
    if !answer.is_whole {
        return no_answer("it broke off");
    }
    if answer.body.is_empty() {
        return taken(Vec::new());
    }
    if let Some(kind) = answer.media_type.as_deref().filter(|kind| *kind != PROTOBUF) {
        return no_answer(kind);
    }
    let partial = match ExportLogsServiceResponse::decode(answer.body.as_slice()) {
        Ok(response) => response.partial_success.unwrap_or_default(),
        Err(error) => return no_answer(&error.to_string()),
    };
    let ExportLogsPartialSuccess { rejected_log_records: count, error_message } = partial;
    let message = harmless(&error_message);
    if count <= 0 {
        if !message.is_empty() {
            tracing::warn!(message, "the OTLP receiver took everything, and warns");
        }
        return taken(Vec::new());
    }
    let reason = if usize::try_from(count).is_ok_and(|count| count >= sent.len()) {
        format!("rejected: {message}")
    } else {
        format!("the receiver rejected {count} of {} records, it does not say which: {message}", sent.len())
    };
    taken(sent.iter().map(|index| Rejected { index: *index, reason: reason.clone() }).collect())
}

/// At most 200 characters, and none that drives a terminal or breaks a line.
fn harmless(text: &str) -> String {
    let printable = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.chars().map(printable).take(200).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;

    fn answer(status: u16, body: Vec<u8>) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).expect("a status"),
            retry_after: None,
            media_type: Some(PROTOBUF.to_owned()),
            body,
            is_whole: true,
        }
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
        let empty = ExportLogsServiceResponse::default().encode_to_vec();
        assert_eq!(outcome(&answer(200, empty), &SENT), taken());
        assert_eq!(outcome(&answer(200, partial(0, "please slow down")), &SENT), taken());
        let page = b"<html>log in".to_vec();
        for answer in [
            Answer { media_type: Some("text/html".to_owned()), ..answer(200, page.clone()) },
            Answer { media_type: None, ..answer(200, page.clone()) },
            answer(200, page),
            Answer { is_whole: false, ..answer(200, Vec::new()) },
        ] {
            assert!(matches!(outcome(&answer, &SENT), Outcome::Retry { .. }), "{answer:?}");
        }
    }

    #[test]
    fn only_four_statuses_are_tried_again() {
        for status in 400..600 {
            let answer = answer(status, b"because".to_vec());
            let reason = answer.reason();
            assert!(reason.ends_with(": because"), "{reason}");
            let expected = match status {
                429 | 502 | 503 | 504 => Outcome::Retry { reason, after: None },
                _ => Outcome::Refused { reason },
            };
            assert_eq!(outcome(&answer, &SENT), expected);
        }
        for status in [301, 308] {
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
        let reason = "the receiver rejected 1 of 3 records, it does not say which: too old";
        assert_eq!(rejected[0].reason, reason);
        let Outcome::Taken { rejected, .. } = outcome(&answer(200, partial(1, "too\nold")), &[7]) else {
            panic!("not taken");
        };
        assert_eq!(rejected, [Rejected { index: 7, reason: "rejected: too old".to_owned() }]);
    }
}
