//! Sinks that speak HTTP: one client each, one request at a time.
//!
//! Certificates, keys and tokens are read when the client is made, and it is made anew after a failure: what was
//! renewed on disk is in use with the next attempt.

use std::{error::Error as _, time::Duration};

use reqwest::{
    Client, Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
    redirect::Policy,
};

use super::{
    secret::{Secret, SetupError},
    settings::HttpSettings,
    tls::{self, Use},
};
use crate::clock::WallTime;

/// Bytes of an answer that are read: for the reason, and so that the connection can be used again.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// Characters of an answer that stand in a reason.
const MAX_QUOTED_CHARS: usize = 160;

/// A receiver.
#[derive(Clone, Debug)]
pub struct Http {
    settings: HttpSettings,
    connect_timeout: Duration,
    client: Option<Client>,
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// How long the receiver wants to be left alone.
    pub retry_after: Option<Duration>,
    /// The media type of the body, if it says so.
    pub media_type: Option<String>,
    /// The body, or the first part of it.
    pub body: Vec<u8>,
    /// All of the body came.
    pub is_whole: bool,
}

impl Http {
    /// Nothing is read or opened yet.
    pub const fn new(settings: HttpSettings, connect_timeout: Duration) -> Self {
        Self { settings, connect_timeout, client: None }
    }

    /// Posts a body.
    ///
    /// # Errors
    ///
    /// Why there is no answer, in words.
    pub async fn post(&mut self, url: &str, headers: HeaderMap, body: Vec<u8>) -> Result<Answer, String> {
        let client = match &self.client {
            Some(client) => client.clone(),
            None => {
                let (settings, connect_timeout) = (self.settings.clone(), self.connect_timeout);
                let used = use_of([url]);
                let made =
                    tokio::task::spawn_blocking(move || client(&settings, connect_timeout, used)).await;
                let made = made.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
                self.client.insert(made).clone()
            }
        };
        let answer = async {
            let response = client.post(url).headers(headers).body(body).send().await?;
            read(response).await
        };
        let answer = answer.await.map_err(|error| words(&error));
        if !answer.as_ref().is_ok_and(|answer| answer.status.is_success()) {
            self.client = None;
        }
        answer
    }
}

impl Answer {
    /// For people: the status, and the begin of what was said.
    pub fn reason(&self) -> String {
        let said = String::from_utf8_lossy(&self.body);
        let said: String = said.trim().chars().take(MAX_QUOTED_CHARS).collect();
        let status = self.status;
        if said.is_empty() { format!("answered {status}") } else { format!("answered {status}: {said}") }
    }
}

/// What a client for these addresses needs certificates for.
pub(super) fn use_of<'a>(urls: impl IntoIterator<Item = &'a str>) -> Use {
    if urls.into_iter().all(|url| url.starts_with("http:")) { Use::Plain } else { Use::Tls }
}

/// Makes a client. Blocks.
///
/// # Errors
///
/// When a file that it needs cannot be used.
pub fn client(settings: &HttpSettings, connect_timeout: Duration, used: Use) -> Result<Client, SetupError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &settings.headers {
        let name = HeaderName::try_from(name).map_err(|error| SetupError::Other(error.to_string()))?;
        let value = HeaderValue::try_from(value).map_err(|error| SetupError::Other(error.to_string()))?;
        headers.append(name, value);
    }
    if let Some(path) = &settings.token_file {
        let token = Secret::read_line(path)?;
        let mut value = HeaderValue::try_from([b"Bearer ", token.expose()].concat())
            .map_err(|_| SetupError::file(path, "cannot stand in a header"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Client::builder()
        .tls_backend_preconfigured(tls::client_config(&settings.tls, used)?)
        .default_headers(headers)
        .user_agent(concat!("homeport/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect_timeout)
        // A redirect would send records, and the token, where nobody configured them to go.
        .redirect(Policy::none())
        .no_proxy()
        .http1_only()
        .build()
        .map_err(|error| SetupError::Other(words(&error)))
}

async fn read(mut response: Response) -> Result<Answer, reqwest::Error> {
    let status = response.status();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| parse_retry_after(value, WallTime::now()));
    let media_type = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|value| value.trim().to_ascii_lowercase());
    let mut body = Vec::new();
    // The status is the answer; a body that breaks off takes nothing back where only the status counts.
    let is_whole = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break body.len() <= MAX_ANSWER_BYTES,
            Err(_) => break false,
        }
        if body.len() > MAX_ANSWER_BYTES {
            break false;
        }
    };
    body.truncate(MAX_ANSWER_BYTES);
    Ok(Answer { status, retry_after, media_type, body, is_whole })
}

/// Seconds, or a date (RFC 9110, 10.2.3).
fn parse_retry_after(value: &str, now: WallTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let zoned = jiff::fmt::rfc2822::DateTimeParser::new().parse_zoned(value).ok()?;
    let seconds = zoned.timestamp().as_second().saturating_sub(now.unix_seconds());
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// An error with its causes: reqwest itself only says that sending failed.
fn words(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// Whether a URL can be posted to, and whether what is sent there is encrypted or stays on this host.
///
/// # Errors
///
/// What is wrong with it.
pub fn check_url(text: &str) -> Result<bool, String> {
    let url = match Url::parse(text) {
        // The crate's words are about relative links.
        Err(_) if !text.contains("://") => return Err("does not begin with https:// or http://".to_owned()),
        url => url.map_err(|error| error.to_string())?,
    };
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("has the scheme {}", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has credentials in it".to_owned());
    }
    let Some(host) = url.host_str() else { return Err("has no host".to_owned()) };
    let is_loopback = host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    Ok(url.scheme() == "https" || is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_may_ask_for_seconds_or_for_a_date() {
        let now = WallTime::from_unix_seconds(784_111_770);
        for (value, expected) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(parse_retry_after(value, now).map(|wait| wait.as_secs()), expected, "{value:?}");
        }
    }

    #[test]
    fn urls_say_whether_they_are_safe() {
        for (url, expected) in [
            ("https://siem.example.org/in", Ok(true)),
            ("http://127.0.0.1:9093", Ok(true)),
            ("http://[::1]:9093", Ok(true)),
            ("http://siem.example.org/in", Ok(false)),
        ] {
            assert_eq!(check_url(url), expected, "{url}");
        }
        for url in ["", "siem.example.org", "ftp://example.org", "https://u:p@example.org"] {
            assert!(check_url(url).is_err(), "{url}");
        }
    }
}
