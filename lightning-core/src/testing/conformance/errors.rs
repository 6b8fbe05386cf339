use serde_json::json;

use super::{area, fixture::span};
use crate::{
    store::{AttemptRef, NotFound, SpanOutcome, StoreError},
    types::{
        AttemptPatch, AttemptQuery, AttemptStatus, NewRollout, PageRequest, ResourcesQuery, RolloutConfig,
        RolloutPatch, RolloutQuery, RolloutStatus, SpanQuery, WorkerQuery,
    },
};

fn is_invalid<T: std::fmt::Debug>(answer: &Result<T, StoreError>, wanted: &str) -> bool {
    matches!(answer, Err(StoreError::Invalid { field, .. }) if field.ends_with(wanted))
}

fn bad_configs() -> [(RolloutConfig, &'static str); 5] {
    let plain = RolloutConfig::default;
    [
        (
            RolloutConfig {
                max_attempts: 0,
                ..plain()
            },
            "max_attempts",
        ),
        (
            RolloutConfig {
                timeout_seconds: Some(-1.0),
                ..plain()
            },
            "timeout_seconds",
        ),
        (
            RolloutConfig {
                timeout_seconds: Some(f64::NAN),
                ..plain()
            },
            "timeout_seconds",
        ),
        (
            RolloutConfig {
                unresponsive_seconds: Some(-0.5),
                ..plain()
            },
            "unresponsive_seconds",
        ),
        (
            RolloutConfig {
                unresponsive_seconds: Some(f64::INFINITY),
                ..plain()
            },
            "unresponsive_seconds",
        ),
    ]
}

area! { "errors";
    async fn reading_an_unknown_rollout_gives_nothing(f) {
        let id = "ro-none".into();
        assert_eq!(f.store.get_rollout_by_id(&id).await, Ok(None));
        assert_eq!(f.store.get_latest_attempt(&id).await, Ok(None));
        assert_eq!(f.store.query_attempts(&id, AttemptQuery::default()).await.unwrap().total, 0);
        assert_eq!(f.store.query_spans(SpanQuery::of("ro-none")).await.unwrap().total, 0);
    }

    async fn a_queued_rollout_has_no_latest_attempt(f) {
        let id = f.enqueue().await.rollout_id;
        assert_eq!(f.store.get_latest_attempt(&id).await, Ok(None));
    }

    async fn reading_unknown_workers_and_resources_gives_nothing(f) {
        assert_eq!(f.store.get_worker_by_id(&"none".into()).await, Ok(None));
        assert_eq!(f.store.get_resources_by_id(&"rs-none".into(), None).await, Ok(None));
        assert_eq!(f.store.get_latest_resources().await, Ok(None));
    }

    async fn updating_an_unknown_rollout_is_an_error(f) {
        let error = f.patch(&"ro-none".into(), RolloutPatch::default()).await.unwrap_err();
        assert_eq!(error, NotFound::UpdatedRollout("ro-none".into()).into());
        assert_eq!(error.to_string(), "Item does not exist with primary key(s): ro-none");
    }

    async fn starting_an_attempt_of_an_unknown_rollout_is_an_error(f) {
        let error = f.store.start_attempt("ro-none".into(), Some("w".into())).await.unwrap_err();
        assert_eq!(error, NotFound::Rollout("ro-none".into()).into());
        assert_eq!(error.to_string(), "Rollout ro-none not found");
        assert_eq!(f.store.get_worker_by_id(&"w".into()).await, Ok(None));
    }

    async fn updating_an_attempt_of_an_unknown_rollout_is_an_error(f) {
        let patch = AttemptPatch::status(AttemptStatus::Running);
        let answer = f.store.update_attempt("ro-none".into(), "at-none".into(), patch).await;
        assert_eq!(answer, Err(NotFound::Rollout("ro-none".into()).into()));
    }

    async fn updating_an_unknown_attempt_is_an_error(f) {
        let id = f.start_plain().await.rollout_id.clone();
        let patch = AttemptPatch::status(AttemptStatus::Running);
        let error = f.store.update_attempt(id.clone(), "at-none".into(), patch).await.unwrap_err();
        assert_eq!(error.to_string(), format!("Attempt at-none not found for rollout {id}"));
    }

    async fn an_attempt_belongs_to_one_rollout_only(f) {
        let (one, other) = (f.start_plain().await, f.start_plain().await);
        let patch = AttemptPatch::status(AttemptStatus::Succeeded);
        let attempt = AttemptRef::from(&one.attempt.attempt_id);
        let answer = f.store.update_attempt(other.rollout_id.clone(), attempt, patch).await;
        assert!(matches!(answer, Err(StoreError::NotFound(NotFound::Attempt { .. }))), "{answer:?}");
        assert_eq!(f.status(&one.rollout_id).await, RolloutStatus::Preparing);
    }

    async fn updating_the_latest_of_no_attempts_is_an_error(f) {
        let id = f.enqueue().await.rollout_id;
        let answer = f.store.update_attempt(id.clone(), AttemptRef::Latest, AttemptPatch::default()).await;
        assert_eq!(answer, Err(NotFound::NoAttempts(id).into()));
    }

    async fn waiting_for_the_end_of_an_unknown_attempt_is_an_error(f) {
        let unknown = f.store.wait_for_attempt_end(&"ro-none".into(), &"at-none".into()).await;
        assert_eq!(unknown, Err(NotFound::Rollout("ro-none".into()).into()));
        let id = f.start_plain().await.rollout_id.clone();
        let unknown = f.store.wait_for_attempt_end(&id, &"at-none".into()).await;
        assert!(matches!(unknown, Err(StoreError::NotFound(NotFound::Attempt { .. }))), "{unknown:?}");
    }

    async fn a_span_of_an_unknown_rollout_is_rejected(f) {
        let error = f.store.add_span(span(&"ro-none".into(), &"at-none".into(), 1)).await.unwrap_err();
        assert_eq!(error, NotFound::Rollout("ro-none".into()).into());
    }

    async fn a_span_of_an_unknown_attempt_is_rejected(f) {
        let id = f.start_plain().await.rollout_id.clone();
        let error = f.store.add_span(span(&id, &"at-none".into(), 1)).await.unwrap_err();
        assert!(matches!(error, StoreError::NotFound(NotFound::Attempt { .. })), "{error:?}");
        assert_eq!(f.status(&id).await, RolloutStatus::Preparing);
    }

    async fn a_rejected_span_does_not_affect_its_batch(f) {
        let started = f.start_plain().await;
        let unknown = span(&"ro-none".into(), &"at-none".into(), 1);
        let batch = vec![f.span(&started, 1), unknown, f.span(&started, 2), f.span(&started, 1)];
        let outcomes = f.store.add_many_spans(batch).await.unwrap();
        assert_eq!(
            outcomes,
            [
                SpanOutcome::Stored,
                SpanOutcome::Rejected(NotFound::Rollout("ro-none".into()).into()),
                SpanOutcome::Stored,
                SpanOutcome::Duplicate,
            ]
        );
        assert_eq!(f.spans(&started.rollout_id).await.len(), 2);
    }

    async fn a_configuration_without_sense_is_refused_at_creation(f) {
        for (config, field) in bad_configs() {
            let new = || NewRollout::new(json!(1)).config(config.clone());
            assert!(is_invalid(&f.store.enqueue_rollout(new()).await, field), "{config:?} was enqueued");
            assert!(is_invalid(&f.store.start_rollout(new(), None).await, field), "{config:?} was started");
        }
        assert_eq!(f.store.statistics().await.unwrap().total_rollouts, 0);
    }

    async fn a_configuration_without_sense_is_refused_in_an_update(f) {
        let made = f.enqueue().await;
        for (config, field) in bad_configs() {
            let patch = RolloutPatch {
                config: Some(config),
                status: Some(RolloutStatus::Cancelled),
                ..RolloutPatch::default()
            };
            assert!(is_invalid(&f.patch(&made.rollout_id, patch).await, field));
        }
        assert_eq!(f.rollout(&made.rollout_id).await, made);
    }

    async fn time_limits_of_zero_are_accepted(f) {
        let config = RolloutConfig {
            timeout_seconds: Some(0.0),
            unresponsive_seconds: Some(0.0),
            ..RolloutConfig::default()
        };
        let started = f.start(config).await;
        assert_eq!(f.attempt(&started).await.status, AttemptStatus::Preparing);
        f.advance(0.5);
        assert_eq!(f.attempt(&started).await.status, AttemptStatus::Timeout);
    }

    async fn of_a_refused_batch_no_rollout_is_made(f) {
        let bad = NewRollout::new(json!(2)).config(RolloutConfig { max_attempts: 0, ..Default::default() });
        let batch = vec![NewRollout::new(json!(1)), bad, NewRollout::new(json!(3))];
        assert!(is_invalid(&f.store.enqueue_many_rollouts(batch).await, "max_attempts"));
        assert_eq!(f.store.query_rollouts(RolloutQuery::default()).await.unwrap().total, 0);
        assert_eq!(f.claimed_id().await, None);
    }

    async fn a_limit_of_zero_is_refused_by_every_query(f) {
        let page = PageRequest { limit: Some(0), offset: 0 };
        let id = f.start_plain().await.rollout_id.clone();
        let rollouts = RolloutQuery { page, ..Default::default() };
        let attempts = AttemptQuery { page, ..Default::default() };
        let spans = SpanQuery { page, ..SpanQuery::of(id.clone()) };
        let workers = WorkerQuery { page, ..Default::default() };
        let resources = ResourcesQuery { page, ..Default::default() };
        assert!(is_invalid(&f.store.query_rollouts(rollouts).await, "limit"));
        assert!(is_invalid(&f.store.query_attempts(&id, attempts).await, "limit"));
        assert!(is_invalid(&f.store.query_spans(spans).await, "limit"));
        assert!(is_invalid(&f.store.query_workers(workers).await, "limit"));
        assert!(is_invalid(&f.store.query_resources(resources).await, "limit"));
    }
}
