//! The answers.

use std::{io::Write as _, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use flate2::{Compression, write::GzEncoder};
use serde::{Deserialize, Serialize};

use super::{
    SCHEMA,
    assets::{self, Asset},
    desk::Desk,
    episodes::EpisodeRow,
    events,
    guard::{Guard, MAX_BODY_BYTES, guard},
    history::Range,
};
use crate::{
    app::snapshot::FlowRow,
    clock::WallTime,
    metrics::{self, Scrape},
};

/// The login form has to be there within this time.
const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// A wrong token costs this long: guessing is slow, a typing error is not.
const WRONG_TOKEN: Duration = Duration::from_millis(500);
/// Compressing less than this gains nothing.
const MIN_COMPRESSED_BYTES: usize = 1_000;

/// What the answers are made of.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) desk: Arc<Desk>,
    pub(super) guard: Arc<Guard>,
    pub(super) events: Arc<events::Places>,
}

pub(super) fn router(desk: Arc<Desk>, guarded: Arc<Guard>) -> Router {
    let shared = Shared { desk, guard: Arc::clone(&guarded), events: Arc::default() };
    Router::new()
        .route("/", get(async |headers: HeaderMap| send_asset(&headers, &assets::PAGE)))
        .route("/login", get(login_form).post(login))
        .route("/logout", post(logout))
        .route("/assets/{name}", get(asset))
        .route("/api/v1/status", get(status))
        .route("/api/v1/flows", get(flows))
        .route("/api/v1/episodes", get(episodes))
        .route("/api/v1/episodes/{id}", get(episode))
        .route("/api/v1/history", get(history))
        .route("/api/v1/events", get(events::events))
        .route("/metrics", get(figures))
        .with_state(shared)
        .layer(middleware::from_fn_with_state(guarded, guard))
}

async fn asset(headers: HeaderMap, Path(name): Path<String>) -> Response {
    match assets::find(&name) {
        Some(asset) => send_asset(&headers, asset),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn send_asset(headers: &HeaderMap, asset: &Asset) -> Response {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    // Asked for each time, sent only when it has changed: a new agent may bring another page.
    let common = [(header::ETAG, asset.tag()), (header::CACHE_CONTROL, "no-cache")];
    if known.is_some_and(|known| known.split(',').any(|tag| tag.trim() == asset.tag())) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    let kind = [(header::CONTENT_TYPE, asset.content_type)];
    if takes_gzip(headers) {
        return (common, kind, [(header::CONTENT_ENCODING, "gzip")], asset.compressed()).into_response();
    }
    (common, kind, asset.content()).into_response()
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|accepted| {
        accepted.split(',').any(|one| {
            let (name, weight) = one.split_once(';').unwrap_or((one, ""));
            name.trim().eq_ignore_ascii_case("gzip")
                && !matches!(weight.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000")
        })
    })
}

/// As small as it is worth.
pub(super) fn compress(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    // Writing to memory cannot fail; were it to, an empty answer is noticed by every reader.
    if encoder.write_all(content).is_err() {
        return Vec::new();
    }
    encoder.finish().unwrap_or_default()
}

fn send_text(headers: &HeaderMap, text: String) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    if text.len() >= MIN_COMPRESSED_BYTES && takes_gzip(headers) {
        return (kind, [(header::CONTENT_ENCODING, "gzip")], compress(text.as_bytes())).into_response();
    }
    (kind, text).into_response()
}

fn send<T: Serialize>(headers: &HeaderMap, view: &T) -> Response {
    match serde_json::to_string(view) {
        Ok(text) => send_text(headers, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn no_agent() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the agent is stopping or does not answer\n").into_response()
}

async fn status(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    match shared.desk.status().await {
        Some(text) => send_text(&headers, text),
        None => no_agent(),
    }
}

/// For Prometheus. A scrape costs no more than a look at the page, and shares it.
async fn figures(State(shared): State<Shared>) -> Response {
    let Some(look) = shared.desk.look().await else { return no_agent() };
    let Some(coverage) = look.coverage.clone() else { return no_agent() };
    // Rows of flows are no series.
    let flows = look.flows.without_rows();
    let (exceptions, figures) = (look.overview.exceptions.clone(), look.overview.figures.clone());
    let scrape = Scrape { version: env!("CARGO_PKG_VERSION"), flows, coverage, exceptions, figures };
    match metrics::render(scrape) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[derive(Serialize)]
struct Flows<'a> {
    schema: u32,
    time: &'a str,
    rows: u64,
    flows: &'a [FlowRow],
}

async fn flows(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let Some(look) = shared.desk.look().await else { return no_agent() };
    let flows = &look.flows;
    send(&headers, &Flows { schema: SCHEMA, time: &flows.time, rows: flows.rows, flows: &flows.flows })
}

#[derive(Serialize)]
struct Episodes {
    schema: u32,
    revision: u64,
    episodes: Vec<EpisodeRow>,
}

async fn episodes(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let (revision, episodes) = {
        let inner = shared.desk.memory.look();
        (inner.episodes.revision(), inner.episodes.rows())
    };
    send(&headers, &Episodes { schema: SCHEMA, revision, episodes })
}

async fn episode(State(shared): State<Shared>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    let known = shared.desk.memory.look().episodes.get(&id);
    match known {
        Some(episode) => send(&headers, &episode),
        None => (StatusCode::NOT_FOUND, "no episode of this id is remembered\n").into_response(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryQuery {
    #[serde(default)]
    range: Range,
}

async fn history(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Query(query): Query<HistoryQuery>,
) -> Response {
    let current = shared.desk.current().await;
    let now = WallTime::now().unix_seconds();
    let view = shared.desk.memory.look().history.view(query.range, now, &current);
    send(&headers, &view)
}

async fn login_form(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    match shared.guard.token {
        Some(_) => send_asset(&headers, &assets::LOGIN),
        None => (StatusCode::SEE_OTHER, [(header::LOCATION, "/")]).into_response(),
    }
}

/// Takes `token=...` as plain text, which is how the form sends it: a token needs no escapes.
async fn login(State(shared): State<Shared>, headers: HeaderMap, body: Body) -> Response {
    let Some(token) = &shared.guard.token else { return StatusCode::NOT_FOUND.into_response() };
    let body = match tokio::time::timeout(BODY_PATIENCE, to_bytes(body, MAX_BODY_BYTES)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    let shown = body.trim_ascii().strip_prefix(b"token=").unwrap_or_default();
    if !token.accepts(shown.trim_ascii()) {
        tracing::warn!("a wrong token was shown to the status page");
        tokio::time::sleep(WRONG_TOKEN).await;
        let mut response = send_asset(&HeaderMap::new(), &assets::LOGIN_WRONG);
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        return response;
    }
    drop(headers);
    leave(&shared.guard, token.session(), "")
}

async fn logout(State(shared): State<Shared>) -> Response {
    match &shared.guard.token {
        Some(_) => leave(&shared.guard, "", "; Max-Age=0"),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn leave(guard: &Guard, session: &str, more: &str) -> Response {
    let cookie = format!("{}={session}; {}{more}", guard.cookie(), guard.cookie_attributes());
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, "/")]).into_response();
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}
