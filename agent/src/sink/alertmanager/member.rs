//! One member of the cluster: told changes at once, and everything every so often.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use reqwest::{
    StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde_json::Value;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use super::{Shared, alerts::Alert};
use crate::{
    clock::WallTime,
    sink::{
        http::Http,
        retry::Backoff,
        settings::AlertmanagerSettings,
        status::Board,
        worker::{Order, Worker, random},
    },
};

/// Alerts in one request.
const MAX_ALERTS: usize = 256;

/// See the module.
pub(super) struct Member {
    number: usize,
    url: String,
    sink: String,
    http: Http,
    timeout: Duration,
    resend: Duration,
    shared: Arc<Shared>,
    board: Board,
    order: watch::Receiver<Order>,
    backoff: Backoff,
    /// Records whose alerts it refused.
    refused: BTreeSet<u64>,
}

/// Not told, or not all of it.
struct Failed {
    reason: String,
    after: Option<Duration>,
}

impl Member {
    pub(super) fn new(
        number: usize,
        url: &str,
        settings: &AlertmanagerSettings,
        worker: &Worker,
        order: watch::Receiver<Order>,
        shared: Arc<Shared>,
    ) -> Self {
        let timeout = worker.settings.timeout;
        Self {
            number,
            url: format!("{url}/api/v2/alerts"),
            sink: worker.settings.name.clone(),
            http: Http::new(settings.http.clone(), timeout),
            timeout,
            resend: settings.resend,
            shared,
            board: worker.board.clone(),
            order,
            backoff: Backoff::new(worker.settings.retry),
            refused: BTreeSet::new(),
        }
    }

    /// Until told to end; then once more, if there is something that it does not know.
    pub(super) async fn run(mut self) {
        let mut version = self.shared.version.subscribe();
        let mut order = self.order.clone();
        // What it has; none: nobody knows.
        let mut known = None;
        let mut all_due = Instant::now();
        loop {
            let told = self.shared.alerts().version();
            let began = Instant::now();
            // Changes do not put off what keeps everything else alive.
            let news_since = known.filter(|_| began < all_due);
            let next = match self.tell(news_since).await {
                Ok(count) => {
                    self.backoff.succeeded();
                    if news_since.is_none() {
                        all_due = began + self.resend;
                    }
                    known = Some(told);
                    if self.shared.acknowledge(self.number, told) {
                        self.board.succeeded(count);
                    }
                    all_due
                }
                Err(failed) => {
                    let wait = self.backoff.failed(failed.after, random());
                    self.shared.failed(self.number);
                    self.board.failed(&format!("{}: {}", self.url, failed.reason));
                    if self.backoff.failures() == 1 {
                        let (sink, url, reason) = (&self.sink, &self.url, &failed.reason);
                        tracing::warn!(sink, url, reason, "the member takes no alerts; again until it does");
                    }
                    known = None;
                    Instant::now() + wait
                }
            };
            if *order.borrow() != Order::Run {
                return;
            }
            let has_failed = known.is_none();
            tokio::select! {
                _ = async { order.wait_for(|order| *order != Order::Run).await.map(drop) } => {
                    let is_told = known.is_some_and(|known| known >= self.shared.alerts().version());
                    if *order.borrow() == Order::Stop || is_told {
                        return;
                    }
                }
                () = sleep_until(next) => {}
                // One that fails is left alone until its time has come.
                changed = version.wait_for(|version| *version > told), if !has_failed => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Tells what changed since a version, or everything; says how many alerts that were.
    async fn tell(&mut self, known: Option<u64>) -> Result<u64, Failed> {
        let mut alerts = self.shared.alerts().news(known, WallTime::now());
        // Until there is another record about it.
        alerts.retain(|alert| alert.index.is_none_or(|index| !self.refused.contains(&index)));
        let count = alerts.len() as u64;
        for alerts in alerts.chunks(MAX_ALERTS) {
            if let Err(reason) = self.post(alerts).await? {
                // One of them is to blame.
                for alert in alerts {
                    if let Err(reason) = self.post(std::slice::from_ref(alert)).await?
                        && let Some(index) = alert.index
                    {
                        tracing::error!(sink = self.sink, index, reason, "an alert was refused");
                        self.shared.refuse(index, reason);
                        self.refused.insert(index);
                    }
                }
                tracing::debug!(sink = self.sink, reason, "refused, and sent one by one");
            }
        }
        Ok(count)
    }

    /// The inner error is a refusal of what was sent.
    async fn post(&mut self, alerts: &[Alert]) -> Result<Result<(), String>, Failed> {
        let bodies: Vec<&Value> = alerts.iter().map(|alert| &alert.body).collect();
        let failed = |reason: String| Failed { reason, after: None };
        let body = serde_json::to_vec(&bodies).map_err(|error| failed(error.to_string()))?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let answer = timeout(self.timeout, self.http.post(&self.url, headers, body)).await;
        let answer =
            answer.map_err(|_| failed(format!("no answer within {} ms", self.timeout.as_millis())))?;
        let answer = answer.map_err(failed)?;
        match answer.status {
            status if status.is_success() => Ok(Ok(())),
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
                Ok(Err(answer.reason()))
            }
            _ => Err(Failed { reason: answer.reason(), after: answer.retry_after }),
        }
    }
}
