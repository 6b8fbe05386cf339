use serde_json::json;

use super::area;
use crate::types::{
    AttemptStatus, FilterLogic, JsonObject, RolloutStatus, SortOrder, Span, SpanContext, SpanEvent, SpanLink,
    SpanQuery, SpanSortField, SpanStatusCode, TextFilter, Timestamp,
};

async fn names(f: &super::Fixture, query: SpanQuery) -> Vec<String> {
    let page = f.store.query_spans(query).await.unwrap();
    page.items.into_iter().map(|span| span.name).collect()
}

fn object(value: &serde_json::Value) -> JsonObject {
    value.as_object().cloned().unwrap()
}

area! { "spans";
    async fn a_span_comes_back_as_it_went_in(f) {
        let started = f.start_plain().await;
        let mut span = f.span(&started, 1);
        span.parent_id = Some("00000000000000aa".to_owned());
        span.status.status_code = SpanStatusCode::Error;
        span.status.description = Some("bröken".to_owned());
        span.attributes = object(&json!({"text": "ü", "list": [1, 2], "float": 0.1, "yes": true}));
        span.events = vec![SpanEvent {
            name: "exception".to_owned(),
            attributes: object(&json!({"exception.type": "E"})),
            timestamp: Some(Timestamp::from_secs_f64(2.5)),
            extra: object(&json!({"unknown": 1})),
        }];
        span.links = vec![SpanLink {
            context: SpanContext::new("ab".repeat(16), "cd".repeat(8)),
            attributes: Some(object(&json!({"why": "because"}))),
            extra: JsonObject::new(),
        }];
        span.start_time = Some(Timestamp::from_secs_f64(1.25));
        span.end_time = Some(Timestamp::from_secs_f64(2.75));
        span.parent = Some(SpanContext::new("ab".repeat(16), "00000000000000aa"));
        span.extra = object(&json!({"kind": "internal", "deep": {"er": null}}));
        f.store.add_span(span.clone()).await.unwrap();
        assert_eq!(f.spans(&started.rollout_id).await, [span]);
    }

    async fn the_first_span_makes_attempt_and_rollout_running(f) {
        let started = f.start_plain().await;
        f.advance(1.0);
        f.add_span(&started, 1).await;
        let attempt = f.attempt(&started).await;
        assert_eq!((attempt.status, attempt.last_heartbeat_time), (AttemptStatus::Running, Some(f.now())));
        assert_eq!(f.status(&started.rollout_id).await, RolloutStatus::Running);
    }

    async fn every_span_is_a_sign_of_life(f) {
        let started = f.start_plain().await;
        for number in 1..=3 {
            f.advance(1.0);
            f.add_span(&started, number).await;
            assert_eq!(f.attempt(&started).await.last_heartbeat_time, Some(f.now()));
        }
    }

    async fn a_span_after_the_end_is_only_a_sign_of_life(f) {
        for status in [AttemptStatus::Succeeded, AttemptStatus::Failed] {
            let started = f.start_plain().await;
            let reported = f.report(&started, status).await;
            let ended = f.rollout(&started.rollout_id).await;
            f.advance(1.0);
            f.add_span(&started, 1).await;
            let attempt = f.attempt(&started).await;
            assert_eq!((attempt.status, attempt.end_time), (status, reported.end_time));
            assert_eq!(attempt.last_heartbeat_time, Some(f.now()));
            assert_eq!(f.rollout(&started.rollout_id).await, ended);
        }
    }

    async fn a_span_of_a_failed_attempt_leaves_a_requeued_rollout_in_the_queue(f) {
        let started = f.start(super::fixture::retrying(2, &[AttemptStatus::Failed])).await;
        f.report(&started, AttemptStatus::Failed).await;
        f.add_span(&started, 1).await;
        assert_eq!(f.status(&started.rollout_id).await, RolloutStatus::Requeuing);
        assert_eq!(f.claimed_id().await, Some(started.rollout_id.clone()));
    }

    async fn a_span_of_a_live_attempt_takes_up_a_requeued_rollout(f) {
        let started = f.start_plain().await;
        f.add_span(&started, 1).await;
        f.set_status(&started.rollout_id, RolloutStatus::Requeuing).await;
        f.add_span(&started, 2).await;
        assert_eq!(f.status(&started.rollout_id).await, RolloutStatus::Running);
        assert_eq!(f.claimed_id().await, None);
    }

    async fn a_span_leaves_a_rollout_that_was_queued_anew(f) {
        let started = f.start_plain().await;
        f.set_status(&started.rollout_id, RolloutStatus::Queuing).await;
        f.add_span(&started, 1).await;
        assert_eq!(f.status(&started.rollout_id).await, RolloutStatus::Queuing);
        assert_eq!(f.claimed_id().await, Some(started.rollout_id.clone()));
    }

    async fn a_span_of_an_older_attempt_moves_only_that_attempt(f) {
        let first = f.start_plain().await;
        let second = f.store.start_attempt(first.rollout_id.clone(), None).await.unwrap();
        f.add_span(&first, 1).await;
        assert_eq!(f.attempt(&first).await.status, AttemptStatus::Running);
        assert_eq!(f.attempt(&second).await.status, AttemptStatus::Preparing);
        assert_eq!(f.status(&first.rollout_id).await, RolloutStatus::Preparing);
    }

    async fn a_span_of_a_cancelled_rollout_leaves_it_cancelled(f) {
        let started = f.start_plain().await;
        f.set_status(&started.rollout_id, RolloutStatus::Cancelled).await;
        f.add_span(&started, 1).await;
        assert_eq!(f.status(&started.rollout_id).await, RolloutStatus::Cancelled);
        assert_eq!(f.attempt(&started).await.status, AttemptStatus::Running);
    }

    async fn a_duplicate_is_dropped(f) {
        let started = f.start_plain().await;
        f.add_span(&started, 1).await;
        let mut again = f.span(&started, 1);
        again.name = "again".to_owned();
        assert_eq!(f.store.add_span(again).await, Ok(false));
        assert_eq!(names(&f, SpanQuery::of(started.rollout_id.clone())).await, ["span 1"]);
        assert_eq!(f.store.statistics().await.unwrap().total_spans, 1);
    }

    async fn a_duplicate_is_no_sign_of_life(f) {
        let started = f.start_plain().await;
        f.add_span(&started, 1).await;
        let heard_of = f.attempt(&started).await.last_heartbeat_time;
        f.advance(1.0);
        f.store.add_span(f.span(&started, 1)).await.unwrap();
        assert_eq!(f.attempt(&started).await.last_heartbeat_time, heard_of);
    }

    async fn a_duplicate_lifts_the_counter(f) {
        let started = f.start_plain().await;
        f.add_span(&started, 1).await;
        f.store.add_span(Span { sequence_id: 40, ..f.span(&started, 1) }).await.unwrap();
        assert_eq!(f.next_sequence_id(started.rollout_id.as_str()).await, 41);
    }

    async fn two_attempts_may_use_the_same_span_id(f) {
        let first = f.start_plain().await;
        let second = f.store.start_attempt(first.rollout_id.clone(), None).await.unwrap();
        f.add_span(&first, 1).await;
        f.add_span(&second, 1).await;
        assert_eq!(f.spans(&first.rollout_id).await.len(), 2);
    }

    async fn sequence_ids_count_from_one(f) {
        let id = f.start_plain().await.rollout_id.clone();
        for expected in 1..=3 {
            assert_eq!(f.next_sequence_id(id.as_str()).await, expected);
        }
    }

    async fn attempts_of_a_rollout_share_the_counter(f) {
        let first = f.start_plain().await;
        let second = f.store.start_attempt(first.rollout_id.clone(), None).await.unwrap();
        let targets = [&first, &second, &first].map(|of| (of.rollout_id.clone(), of.attempt.attempt_id.clone()));
        assert_eq!(f.store.get_many_span_sequence_ids(targets.to_vec()).await, Ok(vec![1, 2, 3]));
    }

    async fn rollouts_have_counters_of_their_own(f) {
        let (one, other) = (f.start_plain().await, f.start_plain().await);
        let targets = [&one, &other, &one].map(|of| (of.rollout_id.clone(), of.attempt.attempt_id.clone()));
        assert_eq!(f.store.get_many_span_sequence_ids(targets.to_vec()).await, Ok(vec![1, 1, 2]));
    }

    async fn a_greater_sequence_id_lifts_the_counter(f) {
        let started = f.start_plain().await;
        f.add_span(&started, 17).await;
        assert_eq!(f.next_sequence_id(started.rollout_id.as_str()).await, 18);
    }

    async fn a_smaller_sequence_id_does_not_lower_the_counter(f) {
        let started = f.start_plain().await;
        f.add_span(&started, 17).await;
        f.add_span(&started, 3).await;
        assert_eq!(f.next_sequence_id(started.rollout_id.as_str()).await, 18);
    }

    async fn a_sequence_id_beyond_all_bounds_is_rejected_and_leaves_the_counter(f) {
        let started = f.start_plain().await;
        let span = Span { sequence_id: u64::MAX, ..f.span(&started, 1) };
        let error = f.store.add_span(span).await.unwrap_err();
        assert!(matches!(error, crate::store::StoreError::Invalid { field: "sequence_id", .. }), "{error:?}");
        assert_eq!(f.next_sequence_id(started.rollout_id.as_str()).await, 1);
        let greatest = Span { sequence_id: (1 << 53) - 1, ..f.span(&started, 1) };
        assert_eq!(f.store.add_span(greatest).await, Ok(true));
        assert_eq!(f.next_sequence_id(started.rollout_id.as_str()).await, 1 << 53);
    }

    async fn the_counter_of_an_unknown_rollout_starts_at_one(f) {
        assert_eq!(f.next_sequence_id("ro-none").await, 1);
        assert_eq!(f.next_sequence_id("ro-none").await, 2);
    }

    async fn spans_come_by_sequence_id(f) {
        let started = f.start_plain().await;
        for number in [3, 1, 2] {
            f.add_span(&started, number).await;
        }
        assert_eq!(names(&f, SpanQuery::of(started.rollout_id.clone())).await, ["span 1", "span 2", "span 3"]);
    }

    async fn spans_of_one_sequence_id_come_in_the_order_of_their_arrival(f) {
        let started = f.start_plain().await;
        for number in [9, 4, 7] {
            f.store.add_span(Span { sequence_id: 1, ..f.span(&started, number) }).await.unwrap();
        }
        assert_eq!(names(&f, SpanQuery::of(started.rollout_id.clone())).await, ["span 9", "span 4", "span 7"]);
    }

    async fn spans_sort_by_other_fields(f) {
        let started = f.start_plain().await;
        for (number, start) in [(1, None), (2, Some(9.0)), (3, Some(4.0))] {
            let start_time = start.map(Timestamp::from_secs_f64);
            f.store.add_span(Span { start_time, ..f.span(&started, number) }).await.unwrap();
        }
        let by = |field, order| SpanQuery {
            sort_by: Some(field),
            sort_order: order,
            ..SpanQuery::of(started.rollout_id.clone())
        };
        let ascending = names(&f, by(SpanSortField::StartTime, SortOrder::Asc)).await;
        assert_eq!(ascending, ["span 3", "span 2", "span 1"]);
        let descending = names(&f, by(SpanSortField::Name, SortOrder::Desc)).await;
        assert_eq!(descending, ["span 3", "span 2", "span 1"]);
    }

    async fn spans_are_those_of_the_rollout_that_is_asked_for(f) {
        let (one, other) = (f.start_plain().await, f.start_plain().await);
        f.add_span(&one, 1).await;
        f.add_span(&other, 2).await;
        assert_eq!(names(&f, SpanQuery::of(other.rollout_id.clone())).await, ["span 2"]);
    }

    async fn spans_can_be_asked_for_by_attempt(f) {
        let first = f.start_plain().await;
        let second = f.store.start_attempt(first.rollout_id.clone(), None).await.unwrap();
        f.add_span(&first, 1).await;
        f.add_span(&second, 2).await;
        let of = || SpanQuery::of(first.rollout_id.clone());
        assert_eq!(names(&f, of().attempt(first.attempt.attempt_id.clone())).await, ["span 1"]);
        assert_eq!(names(&f, of().latest_attempt()).await, ["span 2"]);
        assert_eq!(names(&f, of().attempt("at-none")).await, [""; 0]);
    }

    async fn the_latest_of_no_attempts_has_no_spans(f) {
        let id = f.enqueue().await.rollout_id;
        assert_eq!(names(&f, SpanQuery::of(id).latest_attempt()).await, [""; 0]);
    }

    async fn spans_are_found_by_their_texts(f) {
        let started = f.start_plain().await;
        f.add_span(&started, 1).await;
        let child = Span { parent_id: Some("0000000000000001".to_owned()), ..f.span(&started, 2) };
        f.store.add_span(child).await.unwrap();
        let of = || SpanQuery::of(started.rollout_id.clone());
        let by_name = SpanQuery { name: TextFilter::equals("span 2"), ..of() };
        assert_eq!(names(&f, by_name).await, ["span 2"]);
        let by_part = SpanQuery { name: TextFilter::contains("pan"), ..of() };
        assert_eq!(names(&f, by_part).await, ["span 1", "span 2"]);
        let by_parent = SpanQuery { parent_id: TextFilter::contains("1"), ..of() };
        assert_eq!(names(&f, by_parent).await, ["span 2"]);
        let by_id = SpanQuery { span_id: TextFilter::equals("0000000000000001"), ..of() };
        assert_eq!(names(&f, by_id).await, ["span 1"]);
        let by_trace = SpanQuery { trace_id: TextFilter::contains("nowhere"), ..of() };
        assert_eq!(names(&f, by_trace).await, [""; 0]);
    }

    async fn with_or_one_text_must_match_but_rollout_and_attempt_always(f) {
        let (one, other) = (f.start_plain().await, f.start_plain().await);
        let second = f.store.start_attempt(one.rollout_id.clone(), None).await.unwrap();
        for number in 1..=3 {
            f.add_span(&one, number).await;
            f.add_span(&other, number).await;
            f.add_span(&second, number).await;
        }
        let query = SpanQuery {
            name: TextFilter::equals("span 1"),
            span_id: TextFilter::equals("0000000000000003"),
            filter_logic: FilterLogic::Or,
            ..SpanQuery::of(one.rollout_id.clone()).attempt(one.attempt.attempt_id.clone())
        };
        assert_eq!(names(&f, query).await, ["span 1", "span 3"]);
    }

    async fn a_big_batch_of_spans_is_stored_whole(f) {
        let started = f.start_plain().await;
        let outcomes = f.store.add_many_spans((1..=2000).map(|n| f.span(&started, n)).collect()).await.unwrap();
        assert_eq!(outcomes.len(), 2000);
        let numbers: Vec<u64> = f.spans(&started.rollout_id).await.iter().map(|s| s.sequence_id).collect();
        assert_eq!(numbers, (1..=2000).collect::<Vec<_>>());
    }
}
