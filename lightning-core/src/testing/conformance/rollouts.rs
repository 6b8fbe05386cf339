use serde_json::{Value, json};

use super::{area, fixture::retrying};
use crate::types::{
    AttemptStatus, JsonObject, NewRollout, RolloutConfig, RolloutMode, RolloutPatch, RolloutStatus, Update,
};

fn notes() -> JsonObject {
    JsonObject::from_iter([("note".to_owned(), json!("kept"))])
}

area! { "rollouts";
    async fn a_rollout_keeps_what_it_was_made_with(f) {
        let config = RolloutConfig { timeout_seconds: Some(5.0), ..retrying(3, &[AttemptStatus::Timeout]) };
        let new = NewRollout::new(json!({"question": ["ünïcode", null, 1.5]}))
            .mode(RolloutMode::Val)
            .resources_id("rs-chosen")
            .config(config.clone())
            .metadata(notes());
        let made = f.store.enqueue_rollout(new).await.unwrap();
        assert_eq!(*made.input, json!({"question": ["ünïcode", null, 1.5]}));
        assert_eq!((made.mode, made.resources_id.clone()), (Some(RolloutMode::Val), Some("rs-chosen".into())));
        assert_eq!((&made.config, &made.metadata), (&config, &Some(notes())));
        assert_eq!(f.rollout(&made.rollout_id).await, made);
    }

    async fn a_new_rollout_starts_now_and_has_not_ended(f) {
        f.advance(7.5);
        let made = f.enqueue().await;
        assert_eq!((made.start_time, made.end_time), (f.now(), None));
    }

    async fn metadata_that_is_left_out_is_an_empty_object(f) {
        assert_eq!(f.enqueue().await.metadata, Some(JsonObject::new()));
    }

    async fn a_config_that_is_left_out_has_no_limits_and_one_attempt(f) {
        assert_eq!(f.enqueue().await.config, RolloutConfig::default());
        assert_eq!(RolloutConfig::default().max_attempts, 1);
    }

    async fn an_input_may_be_null(f) {
        let made = f.store.enqueue_rollout(NewRollout::new(Value::Null)).await.unwrap();
        assert_eq!(*f.rollout(&made.rollout_id).await.input, Value::Null);
    }

    async fn a_started_rollout_is_preparing_with_its_first_attempt(f) {
        let started = f.start_plain().await;
        assert_eq!(started.status, RolloutStatus::Preparing);
        assert_eq!((started.attempt.status, started.attempt.sequence_id), (AttemptStatus::Preparing, 1));
        assert_eq!(started.attempt.worker_id, Some("w".into()));
        assert_eq!(started.metadata, Some(JsonObject::new()));
    }

    async fn an_unclaimed_rollout_is_shown_without_an_attempt(f) {
        let id = f.enqueue().await.rollout_id;
        assert_eq!(f.store.get_rollout_by_id(&id).await.unwrap().unwrap().attempt, None);
    }

    async fn a_rollout_is_shown_with_its_latest_attempt(f) {
        let started = f.start_plain().await;
        let second = f.store.start_attempt(started.rollout_id.clone(), None).await.unwrap();
        let shown = f.store.get_rollout_by_id(&started.rollout_id).await.unwrap().unwrap();
        assert_eq!(shown.attempt, Some(second.attempt));
    }

    async fn a_terminal_status_sets_the_end_time(f) {
        for status in [RolloutStatus::Succeeded, RolloutStatus::Failed, RolloutStatus::Cancelled] {
            let id = f.enqueue().await.rollout_id;
            f.advance(1.0);
            let updated = f.set_status(&id, status).await;
            assert_eq!((updated.status, updated.end_time), (status, Some(f.now())));
        }
    }

    async fn a_status_that_is_not_terminal_clears_the_end_time(f) {
        let others = [
            RolloutStatus::Queuing,
            RolloutStatus::Preparing,
            RolloutStatus::Running,
            RolloutStatus::Requeuing,
        ];
        for status in others {
            let id = f.enqueue().await.rollout_id;
            f.set_status(&id, RolloutStatus::Failed).await;
            let updated = f.set_status(&id, status).await;
            assert_eq!((updated.status, updated.end_time), (status, None));
        }
    }

    async fn an_update_without_fields_changes_nothing(f) {
        let made = f.enqueue().await;
        f.advance(1.0);
        assert_eq!(f.patch(&made.rollout_id, RolloutPatch::default()).await.unwrap(), made);
        assert_eq!(f.rollout(&made.rollout_id).await, made);
    }

    async fn an_update_sets_the_fields_that_it_names(f) {
        let made = f.enqueue().await;
        let config = retrying(4, &[AttemptStatus::Unresponsive]);
        let patch = RolloutPatch {
            input: Update::Set(json!("new").into()),
            mode: Update::Set(RolloutMode::Test),
            resources_id: Update::Set("rs-new".into()),
            config: Some(config.clone()),
            metadata: Update::Set(notes()),
            status: None,
        };
        let updated = f.patch(&made.rollout_id, patch).await.unwrap();
        assert_eq!((&*updated.input, updated.mode), (&json!("new"), Some(RolloutMode::Test)));
        assert_eq!((updated.resources_id.clone(), &updated.config), (Some("rs-new".into()), &config));
        assert_eq!((&updated.metadata, updated.status), (&Some(notes()), RolloutStatus::Queuing));
        assert_eq!(f.rollout(&made.rollout_id).await, updated);
    }

    async fn an_update_to_null_clears_the_field(f) {
        let new = NewRollout::new(json!(1)).mode(RolloutMode::Train).resources_id("rs-x").metadata(notes());
        let made = f.store.enqueue_rollout(new).await.unwrap();
        let patch = RolloutPatch {
            input: Update::Clear,
            mode: Update::Clear,
            resources_id: Update::Clear,
            metadata: Update::Clear,
            ..RolloutPatch::default()
        };
        let updated = f.patch(&made.rollout_id, patch).await.unwrap();
        assert_eq!((&*updated.input, updated.mode), (&Value::Null, None));
        assert_eq!((updated.resources_id, updated.metadata), (None, None));
    }

    async fn an_update_leaves_the_attempts_alone(f) {
        let started = f.start_plain().await;
        f.set_status(&started.rollout_id, RolloutStatus::Cancelled).await;
        assert_eq!(f.attempt(&started).await, started.attempt);
    }

    async fn an_enqueued_rollout_uses_the_latest_resources(f) {
        f.store.add_resources(Default::default()).await.unwrap();
        f.advance(1.0);
        let latest = f.store.add_resources(Default::default()).await.unwrap();
        assert_eq!(f.enqueue().await.resources_id, Some(latest.resources_id));
    }

    async fn a_started_rollout_uses_the_latest_resources(f) {
        let latest = f.store.add_resources(Default::default()).await.unwrap();
        assert_eq!(f.start_plain().await.rollout.resources_id, Some(latest.resources_id));
    }

    async fn resources_that_a_rollout_names_win_over_the_latest(f) {
        f.store.add_resources(Default::default()).await.unwrap();
        let new = NewRollout::new(json!(1)).resources_id("rs-mine");
        assert_eq!(f.store.enqueue_rollout(new).await.unwrap().resources_id, Some("rs-mine".into()));
    }

    async fn without_resources_a_rollout_names_none(f) {
        assert_eq!(f.enqueue().await.resources_id, None);
    }

    async fn statistics_count_what_is_stored(f) {
        let ids = f.enqueue_many(3).await;
        let claimed = f.store.dequeue_rollout(Some("w".into())).await.unwrap().unwrap();
        f.store.start_attempt(ids[0].clone(), Some("v".into())).await.unwrap();
        f.add_span(&claimed, 1).await;
        f.store.add_resources(Default::default()).await.unwrap();
        f.advance(2.0);
        let figures = f.store.statistics().await.unwrap();
        assert_eq!((figures.total_rollouts, figures.total_attempts, figures.total_spans), (3, 2, 1));
        assert_eq!((figures.total_resources, figures.total_workers), (1, 2));
        assert!(!figures.name.is_empty() && figures.uptime >= 2.0);
    }
}
