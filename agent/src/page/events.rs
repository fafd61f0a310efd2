//! Server-sent events: what changed, each second at most.
//!
//! | event | data |
//! |---|---|
//! | `hello` | `instance` and `revision`: where this stream begins |
//! | `reset` | the same; what was remembered of this stream is not known here: ask for everything again |
//! | `status` | as `/api/v1/status`, when it changed |
//! | `tick` | `time`, when nothing else changed: the agent is there |
//! | `episode` | a row of `/api/v1/episodes` |
//! | `history` | an interval was recorded |
//! | `silent` | the agent does not answer |
//!
//! The id of an event is `INSTANCE.REVISION`. Whoever comes back with it (`Last-Event-ID`) gets the episodes that
//! changed since.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, LazyLock},
    time::Duration,
};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Interval, MissedTickBehavior, interval},
};

use super::{desk::Desk, feed::Changes, routes::Shared};
use crate::clock::WallTime;

/// Streams at the same time: each holds a connection for as long as somebody looks at the page.
const MAX_STREAMS: usize = 32;
/// How often the agent is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Tells ids of this process from those of one before.
static INSTANCE: LazyLock<String> = LazyLock::new(|| format!("{:x}", WallTime::now().0));

/// Room for streams.
pub(super) struct Places(Arc<Semaphore>);

impl Default for Places {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_STREAMS)))
    }
}

struct Stream {
    desk: Arc<Desk>,
    changes: watch::Receiver<Changes>,
    revision: u64,
    intervals: u64,
    /// The latest status without its time.
    told: String,
    ready: VecDeque<Event>,
    clock: Interval,
    _place: OwnedSemaphorePermit,
}

pub(super) async fn events(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let Ok(place) = Arc::clone(&shared.events.0).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], "too many streams\n")
            .into_response();
    };
    let changes = shared.desk.memory.changes();
    let now = *changes.borrow();
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let known = last.and_then(|id| {
        let (instance, revision) = id.split_once('.')?;
        revision.parse::<u64>().ok().filter(|revision| instance == *INSTANCE && *revision <= now.episodes)
    });
    let mut clock = interval(EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stream = Stream {
        desk: shared.desk,
        changes,
        revision: known.unwrap_or(now.episodes),
        intervals: now.intervals,
        told: String::new(),
        ready: VecDeque::new(),
        clock,
        _place: place,
    };
    let name = if last.is_some() && known.is_none() { "reset" } else { "hello" };
    let hello = serde_json::json!({ "instance": *INSTANCE, "revision": stream.revision });
    stream.ready.push_back(stream.event(name, stream.revision).data(hello.to_string()));
    if known.is_some() {
        stream.tell_changes();
    }
    let events = stream::unfold(stream, |mut stream| async move {
        let event = stream.next().await;
        Some((Ok::<_, Infallible>(event), stream))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response()
}

impl Stream {
    fn event(&self, name: &str, revision: u64) -> Event {
        Event::default().event(name).id(format!("{}.{revision}", *INSTANCE))
    }

    async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return event;
            }
            tokio::select! {
                _ = self.clock.tick() => self.tell_status().await,
                Ok(()) = self.changes.changed() => self.tell_changes(),
            }
        }
    }

    async fn tell_status(&mut self) {
        let time = serde_json::json!({ "time": WallTime::now().to_string() }).to_string();
        let Some(status) = self.desk.status().await else {
            self.ready.push_back(self.event("silent", self.revision).data(time));
            return;
        };
        let lasting = without_times(&status);
        let event = if lasting == self.told {
            self.event("tick", self.revision).data(time)
        } else {
            self.event("status", self.revision).data(status)
        };
        self.told = lasting;
        self.ready.push_back(event);
    }

    fn tell_changes(&mut self) {
        let now = *self.changes.borrow_and_update();
        let changed = self.desk.memory.look().episodes.changed_since(self.revision);
        for (revision, row) in changed {
            self.revision = revision;
            if let Ok(text) = serde_json::to_string(&row) {
                self.ready.push_back(self.event("episode", revision).data(text));
            }
        }
        if now.intervals != self.intervals {
            self.intervals = now.intervals;
            self.ready.push_back(self.event("history", self.revision).data("{}"));
        }
    }
}

/// A status without the moment it was taken: the same, when nothing happened.
fn without_times(status: &str) -> String {
    let mut view: serde_json::Value = serde_json::from_str(status).unwrap_or_default();
    if let Some(view) = view.as_object_mut() {
        view.remove("time");
        if let Some(coverage) = view.get_mut("coverage").and_then(serde_json::Value::as_object_mut) {
            coverage.remove("time");
            // It moves while nothing happens.
            coverage.remove("clock");
        }
    }
    view.to_string()
}
