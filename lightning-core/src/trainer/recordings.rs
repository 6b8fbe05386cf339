//! Waiting for what a proxy elsewhere records.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use crate::{
    agent::{Hook, HookFuture, RolloutContext},
    transport::Asking,
    types::{Resource, Secret},
};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Has the report of an attempt wait until the proxies that its models are behind have recorded its calls, so that nobody
/// reads half a trace. For runners in other processes than the proxy's.
pub(super) struct WaitForRecordings {
    asking: Asking,
    /// How long, in case the proxy cannot reach its store, or is gone.
    patience: Duration,
}

/// What a proxy says of an attempt.
#[derive(Deserialize)]
struct Answer {
    recorded: bool,
}

impl WaitForRecordings {
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            asking: Asking::default(),
            patience,
        }
    }

    /// Resolves when all is recorded, or this proxy cannot tell; errors with what was wrong when it took too long.
    async fn until_recorded(&self, url: &str, key: Option<&Secret>) -> Result<(), String> {
        let deadline = Instant::now() + self.patience;
        let mut pause = FIRST_PAUSE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let problem = match self.asking.get(url, key, left).await {
                Ok((200, body)) => match serde_json::from_slice(&body) {
                    Ok(Answer { recorded: false }) => "the proxy has not stored them".to_owned(),
                    // Or a server that answers everything.
                    Ok(Answer { recorded: true }) | Err(_) => return Ok(()),
                },
                // Python's proxy has no such page.
                Ok((404 | 405 | 501, _)) => return Ok(()),
                Ok((status @ 400..=499, _)) => return Err(format!("the proxy answered with {status}")),
                Ok((status, _)) => format!("the proxy answered with {status}"),
                Err(error) => error,
            };
            if deadline.saturating_duration_since(Instant::now()) <= pause {
                return Err(problem);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

impl Hook for WaitForRecordings {
    fn on_trace_end<'a>(&'a self, cx: &'a RolloutContext) -> HookFuture<'a> {
        Box::pin(async move {
            let (rollout_id, attempt_id) = (&cx.rollout().rollout_id, &cx.attempt().attempt_id);
            let mut asked = Vec::new();
            for (_, resource) in cx.resources().iter() {
                let Resource::Llm(llm) = resource else { continue };
                let Some(url) = llm.recordings_of(rollout_id, attempt_id) else {
                    continue;
                };
                if asked.contains(&url) {
                    continue;
                }
                if let Err(problem) = self.until_recorded(&url, llm.api_key.as_ref()).await {
                    tracing::warn!(
                        target: "lightning::runner",
                        rollout_id = %rollout_id,
                        attempt_id = %attempt_id,
                        problem,
                        "the calls of an attempt are not known to be recorded; it ends all the same"
                    );
                }
                asked.push(url);
            }
            Ok(())
        })
    }
}
