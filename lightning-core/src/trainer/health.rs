//! Watches the health of a run while it goes on, and tells.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    alerts::{Alert, Alerts, AttemptSeen, Watch, Webhook},
    clock::{Clock, SystemClock},
    store::Store,
    terminal::Screen,
    types::{
        Attempt, AttemptStatus, PageRequest, RolloutQuery, RolloutSortField, RolloutStatus, SortOrder, Span,
        final_reward,
    },
};

/// How long the end of a run waits for alerts that are still to be sent.
const LAST_ALERTS: Duration = Duration::from_secs(3);

type Delivery = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Watches one run.
pub(super) struct Health {
    clock: Arc<dyn Clock>,
    watch: Mutex<Watch>,
    screen: Option<Screen>,
    webhook: Mutex<Option<Webhook>>,
    delivery: Mutex<Option<Delivery>>,
    ended: CancellationToken,
    /// Rules that take the place of those that the run began with.
    changed: watch::Receiver<Option<Alerts>>,
}

impl Health {
    pub(super) fn new(
        alerts: &Alerts,
        changed: watch::Receiver<Option<Alerts>>,
        run_id: &str,
        screen: Option<Screen>,
    ) -> Arc<Self> {
        let clock = Arc::new(SystemClock::new());
        let webhook = alerts.webhook_url().map(|url| {
            let (webhook, delivery) = Webhook::new(url.to_owned(), run_id.to_owned());
            (webhook, Box::pin(delivery) as Delivery)
        });
        let (webhook, delivery) = webhook.unzip();
        Arc::new(Self {
            watch: Mutex::new(Watch::new(alerts.clone(), clock.now())),
            clock,
            screen,
            webhook: Mutex::new(webhook),
            delivery: Mutex::new(delivery),
            ended: CancellationToken::new(),
            changed,
        })
    }

    /// Watches while the run goes on, and sends what is to be sent; the end of the run waits for that for a short time only.
    pub(super) async fn during<R>(
        &self,
        store: &dyn Store,
        run: impl Future<Output = Result<R, super::TrainerError>>,
    ) -> Result<R, super::TrainerError> {
        let watched = async {
            let outcome = tokio::select! {
                biased;
                outcome = run => outcome,
                never = self.look(store) => match never {},
            };
            if outcome.is_ok() {
                let now = self.clock.now();
                let news = self.watch().end(now);
                self.tell(news);
            }
            // Without a sender, the delivery ends when all is sent.
            *self.webhook.lock().unwrap_or_else(PoisonError::into_inner) = None;
            self.ended.cancel();
            outcome
        };
        let delivery = self
            .delivery
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let delivered = async {
            let Some(delivery) = delivery else { return };
            let out_of_patience = async {
                self.ended.cancelled().await;
                tokio::time::sleep(LAST_ALERTS).await;
            };
            tokio::select! {
                () = delivery => {}
                () = out_of_patience => {
                    tracing::warn!(target: "lightning::trainer", "the last alerts could not be sent in time");
                }
            }
        };
        tokio::join!(watched, delivered).0
    }

    /// All alerts so far.
    pub(super) fn alerts(&self) -> Vec<Alert> {
        self.watch().raised().to_vec()
    }

    /// Checks what breaks rules by the passing of time, at the moments at which that can be.
    async fn look(&self, store: &dyn Store) -> std::convert::Infallible {
        let mut changed = self.changed.clone();
        // It may have been said before the run began.
        let said = changed.borrow_and_update().clone();
        if let Some(rules) = said {
            self.watch().set_alerts(rules);
        }
        loop {
            let (next, wants_queue) = {
                let watch = self.watch();
                (watch.next_check(self.clock.now()), watch.wants_oldest_queued())
            };
            let due = async {
                match next {
                    Some(at) => self.clock.sleep_past(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                // Without a sender nothing changes any more.
                Ok(()) = changed.changed() => {
                    let rules = changed.borrow_and_update().clone();
                    if let Some(rules) = rules {
                        self.watch().set_alerts(rules);
                    }
                }
                else => std::future::pending().await,
            }
            if wants_queue {
                let queued = RolloutQuery {
                    status_in: Some(vec![RolloutStatus::Queuing, RolloutStatus::Requeuing]),
                    sort_by: Some(RolloutSortField::StartTime),
                    sort_order: SortOrder::Asc,
                    page: PageRequest::first(1),
                    ..RolloutQuery::default()
                };
                // A store that is out of reach is told of by those who need it.
                if let Ok(page) = store.query_rollouts(queued).await {
                    let oldest = page.items.first().map(|rollout| rollout.start_time);
                    self.watch().oldest_queued(oldest);
                }
            }
            let now = self.clock.now();
            let news = self.watch().check(now);
            self.tell(news);
        }
    }

    fn tell(&self, news: Vec<Alert>) {
        for alert in news {
            tracing::warn!(target: "lightning::trainer", rule = ?alert.rule, alert = %alert, "the run is not well");
            if let Some(screen) = &self.screen {
                screen.print(&format!("alert: {alert}"));
            }
            let webhook = self.webhook.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(webhook) = &*webhook {
                webhook.send(alert);
            }
        }
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears of an attempt that has ended.
    pub(super) fn attempt_ended(&self, attempt: &Attempt, spans: &[Span]) {
        if attempt.was_interrupted() {
            return;
        }
        let limits = [AttemptStatus::Timeout, AttemptStatus::Unresponsive];
        let seen = AttemptSeen {
            succeeded: attempt.status == AttemptStatus::Succeeded,
            rewarded: final_reward(spans).is_some(),
            timed_out: limits.contains(&attempt.status),
        };
        let now = self.clock.now();
        let news = {
            let mut watch = self.watch();
            watch.attempt_ended(seen, now);
            watch.check(now)
        };
        self.tell(news);
    }
}
