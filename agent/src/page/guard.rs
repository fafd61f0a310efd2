//! What every request must pass, and what every answer says to the browser.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::token::Token;

/// The only body there is comes from the login form.
pub(super) const MAX_BODY_BYTES: usize = 4 << 10;

/// Nothing but our own files, nothing inline, nobody around us, no form to elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// For every answer.
const HEADERS: [(HeaderName, &str); 8] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    (header::VARY, "Accept-Encoding, Cookie, Authorization"),
];

/// See the module.
pub(super) struct Guard {
    host_names: Vec<String>,
    pub(super) token: Option<Arc<Token>>,
    is_tls: bool,
}

impl Guard {
    pub(super) const fn new(host_names: Vec<String>, token: Option<Arc<Token>>, is_tls: bool) -> Self {
        Self { host_names, token, is_tls }
    }

    /// The name of the cookie. A browser takes the prefixed one over TLS only, and from nobody but this host.
    pub(super) const fn cookie(&self) -> &'static str {
        if self.is_tls { "__Host-homeport" } else { "homeport" }
    }

    /// Attributes of the cookie.
    pub(super) const fn cookie_attributes(&self) -> &'static str {
        if self.is_tls {
            "Path=/; HttpOnly; SameSite=Strict; Secure"
        } else {
            "Path=/; HttpOnly; SameSite=Strict"
        }
    }

    /// Whether the page may be asked for by this name. A site of somebody else whose name suddenly leads here (DNS
    /// rebinding) has a name of its own; an address cannot be made to lead elsewhere.
    fn knows(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split_once(']').map_or(rest, |(name, _)| name),
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        let name = name.to_ascii_lowercase();
        name == "localhost" || name.parse::<IpAddr>().is_ok() || self.host_names.contains(&name)
    }

    fn is_known_reader(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = text(header::AUTHORIZATION).and_then(|value| value.split_once(' '));
        if let Some((scheme, shown)) = bearer {
            return scheme.eq_ignore_ascii_case("bearer") && token.accepts(shown.trim().as_bytes());
        }
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        cookies
            .flat_map(|cookies| cookies.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='))
            .any(|(name, value)| name == self.cookie() && token.accepts_session(value))
    }

    fn check(&self, request: &Request) -> Result<(), Box<Response>> {
        let refuse = |status: StatusCode, text: &'static str| Err(Box::new((status, text).into_response()));
        let headers = request.headers();
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let path = request.uri().path();
        let is_session = matches!(path, "/login" | "/logout") && self.token.is_some();

        let mut hosts = headers.get_all(header::HOST).iter();
        match (hosts.next().map(HeaderValue::to_str), hosts.next()) {
            (Some(Ok(host)), None) if self.knows(host) => {}
            (Some(Ok(_)), None) => {
                let text = "this name is not known here; name it in page.host_names\n";
                return refuse(StatusCode::MISDIRECTED_REQUEST, text);
            }
            (Some(Ok(_) | Err(_)) | None, _) => {
                return refuse(StatusCode::BAD_REQUEST, "one Host header is needed\n");
            }
        }
        let is_post = *request.method() == Method::POST && is_session;
        if !matches!(*request.method(), Method::GET | Method::HEAD) && !is_post {
            let allow = if is_session { "GET, HEAD, POST" } else { "GET, HEAD" };
            let text = "the status page is read only\n";
            let response = (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, allow)], text).into_response();
            return Err(Box::new(response));
        }
        let length = text(header::CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        if length > MAX_BODY_BYTES as u64 {
            return refuse(StatusCode::PAYLOAD_TOO_LARGE, "nothing here takes a body of this size\n");
        }
        if !is_post && (length > 0 || headers.contains_key(header::TRANSFER_ENCODING)) {
            return refuse(StatusCode::BAD_REQUEST, "nothing here takes a body\n");
        }
        // Browsers say where a request comes from. A link from elsewhere may open the page, nothing else.
        let site = text(HeaderName::from_static("sec-fetch-site"));
        let is_foreign = matches!(site, Some("cross-site" | "same-site"));
        let is_navigation = text(HeaderName::from_static("sec-fetch-mode")) == Some("navigate");
        if is_foreign && (!is_navigation || is_post) {
            return refuse(StatusCode::FORBIDDEN, "not from another site\n");
        }

        // What the login form is made of is no secret.
        if self.is_known_reader(headers) || is_session || path.starts_with("/assets/") {
            return Ok(());
        }
        if path == "/" && !headers.contains_key(header::AUTHORIZATION) {
            return Err(Box::new((StatusCode::SEE_OTHER, [(header::LOCATION, "/login")]).into_response()));
        }
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer realm=\"homeport\"")];
        Err(Box::new((StatusCode::UNAUTHORIZED, challenge, "a token is needed\n").into_response()))
    }
}

/// The layer around all routes.
pub(super) async fn guard(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let mut response = match guard.check(&request) {
        Ok(()) => next.run(request).await,
        Err(response) => *response,
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // What is not said to be kept is not kept: where data goes is nobody's business on a shared computer.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_and_addresses_are_answered() {
        let guard = Guard::new(vec!["storage-1".to_owned()], None, false);
        for host in [
            "localhost",
            "localhost:9646",
            "127.0.0.1:9646",
            "[::1]:9646",
            "[::1]",
            "Storage-1:9646",
            "192.0.2.1",
        ] {
            assert!(guard.knows(host), "{host}");
        }
        for host in [
            "",
            "example.org",
            "example.org:9646",
            "localhost.example.org",
            "storage-1.example.org",
            "[::1",
            "127.0.0.1.example.org",
        ] {
            assert!(!guard.knows(host) || host == "[::1", "{host}");
        }
    }
}
