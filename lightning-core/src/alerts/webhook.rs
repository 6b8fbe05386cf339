//! Sends alerts to an address.

use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;

use super::Alert;

/// How many alerts wait to be sent at most.
const WAITING: usize = 64;
/// How long one may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is sent.
#[derive(Serialize)]
struct Body<'a> {
    run_id: &'a str,
    #[serde(flatten)]
    alert: &'a Alert,
}

/// Where alerts are sent.
pub(crate) struct Webhook {
    sender: mpsc::Sender<Alert>,
}

impl Webhook {
    /// The webhook, and what has to be awaited beside the run: it sends one alert after the other, until the webhook is
    /// dropped and all is sent.
    pub(crate) fn new(url: String, run_id: String) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, mut alerts) = mpsc::channel::<Alert>(WAITING);
        let deliver = async move {
            while let Some(alert) = alerts.recv().await {
                let body = Body {
                    run_id: &run_id,
                    alert: &alert,
                };
                let sent = match serde_json::to_vec(&body) {
                    Ok(body) => post(&url, body).await,
                    Err(error) => Err(error.to_string()),
                };
                if let Err(error) = sent {
                    tracing::warn!(target: "lightning::run", error, "an alert could not be sent");
                }
            }
        };
        (Self { sender }, deliver)
    }

    /// Sends an alert as soon as that is possible; never waits.
    pub(crate) fn send(&self, alert: Alert) {
        if self.sender.try_send(alert).is_err() {
            tracing::warn!(target: "lightning::run", "an alert was dropped: too many wait to be sent");
        }
    }
}

#[cfg(feature = "client")]
async fn post(url: &str, body: Vec<u8>) -> Result<(), String> {
    crate::transport::post_json(url, body, TIMEOUT).await
}

#[cfg(not(feature = "client"))]
async fn post(_: &str, _: Vec<u8>) -> Result<(), String> {
    let _ = TIMEOUT;
    Err("webhooks need the feature `client` of lightning-core".to_owned())
}
