use serde_json::json;

use super::area;
use crate::types::{
    AttemptQuery, AttemptSortField, AttemptStatus, FilterLogic, NewRollout, ResourcesQuery,
    ResourcesSortField, RolloutId, RolloutMode, RolloutQuery, RolloutSortField, RolloutStatus, SortOrder,
};

const NONE: [RolloutId; 0] = [];

async fn ids_of(f: &super::Fixture, query: RolloutQuery) -> Vec<RolloutId> {
    let page = f.store.query_rollouts(query).await.unwrap();
    page.items
        .into_iter()
        .map(|found| found.rollout.rollout_id)
        .collect()
}

fn sorted(by: RolloutSortField, order: SortOrder) -> RolloutQuery {
    RolloutQuery {
        sort_by: Some(by),
        sort_order: order,
        ..Default::default()
    }
}

area! { "queries";
    async fn rollouts_come_in_the_order_of_their_creation(f) {
        let ids = f.enqueue_many(20).await;
        assert_eq!(ids_of(&f, RolloutQuery::default()).await, ids);
    }

    async fn rollouts_are_found_by_status(f) {
        let ids = f.enqueue_many(4).await;
        f.set_status(&ids[1], RolloutStatus::Failed).await;
        f.set_status(&ids[2], RolloutStatus::Cancelled).await;
        let both = vec![RolloutStatus::Cancelled, RolloutStatus::Failed];
        let query = RolloutQuery { status_in: Some(both), ..Default::default() };
        assert_eq!(ids_of(&f, query).await, ids[1..3]);
    }

    async fn a_status_that_was_left_no_longer_matches(f) {
        let id = f.enqueue().await.rollout_id;
        f.set_status(&id, RolloutStatus::Running).await;
        let queued = RolloutQuery { status_in: Some(vec![RolloutStatus::Queuing]), ..Default::default() };
        assert_eq!(ids_of(&f, queued).await, NONE);
        let running = RolloutQuery { status_in: Some(vec![RolloutStatus::Running]), ..Default::default() };
        assert_eq!(ids_of(&f, running).await, [id]);
    }

    async fn rollouts_are_found_by_ids_in_the_order_of_their_creation(f) {
        let ids = f.enqueue_many(4).await;
        let wanted = vec![ids[3].clone(), "ro-none".into(), ids[0].clone(), ids[3].clone()];
        let query = RolloutQuery { rollout_id_in: Some(wanted), ..Default::default() };
        assert_eq!(ids_of(&f, query).await, [ids[0].clone(), ids[3].clone()]);
    }

    async fn rollouts_are_found_by_a_part_of_their_id(f) {
        let ids = f.enqueue_many(3).await;
        let query = |text: &str| RolloutQuery { rollout_id_contains: Some(text.to_owned()), ..Default::default() };
        assert_eq!(ids_of(&f, query(&ids[1].as_str()[3..])).await, [ids[1].clone()]);
        assert_eq!(ids_of(&f, query("ro-")).await, ids);
        assert_eq!(ids_of(&f, query("")).await, ids);
        assert_eq!(ids_of(&f, query("nowhere")).await, NONE);
    }

    async fn an_empty_list_matches_nothing(f) {
        f.enqueue_many(2).await;
        let query = RolloutQuery { status_in: Some(vec![]), ..Default::default() };
        assert_eq!(ids_of(&f, query).await, NONE);
        let query = RolloutQuery { rollout_id_in: Some(vec![]), ..Default::default() };
        assert_eq!(ids_of(&f, query).await, NONE);
    }

    async fn with_and_every_filter_must_match(f) {
        let ids = f.enqueue_many(3).await;
        f.set_status(&ids[0], RolloutStatus::Failed).await;
        f.set_status(&ids[1], RolloutStatus::Failed).await;
        let query = RolloutQuery {
            status_in: Some(vec![RolloutStatus::Failed]),
            rollout_id_in: Some(ids[1..].to_vec()),
            ..Default::default()
        };
        assert_eq!(ids_of(&f, query).await, [ids[1].clone()]);
    }

    async fn with_or_one_filter_must_match(f) {
        let ids = f.enqueue_many(4).await;
        f.set_status(&ids[0], RolloutStatus::Failed).await;
        let query = RolloutQuery {
            status_in: Some(vec![RolloutStatus::Failed]),
            rollout_id_in: Some(vec![ids[2].clone()]),
            filter_logic: FilterLogic::Or,
            ..Default::default()
        };
        assert_eq!(ids_of(&f, query).await, [ids[0].clone(), ids[2].clone()]);
    }

    async fn with_or_and_no_filter_everything_matches(f) {
        let ids = f.enqueue_many(2).await;
        let query = RolloutQuery { filter_logic: FilterLogic::Or, ..Default::default() };
        assert_eq!(ids_of(&f, query).await, ids);
    }

    async fn with_or_an_empty_list_adds_nothing(f) {
        let ids = f.enqueue_many(2).await;
        let query = RolloutQuery {
            status_in: Some(vec![]),
            rollout_id_in: Some(vec![ids[1].clone()]),
            filter_logic: FilterLogic::Or,
            ..Default::default()
        };
        assert_eq!(ids_of(&f, query).await, [ids[1].clone()]);
    }

    async fn rollouts_sort_in_both_directions(f) {
        let mut ids = f.enqueue_many(5).await;
        ids.sort();
        assert_eq!(ids_of(&f, sorted(RolloutSortField::RolloutId, SortOrder::Asc)).await, ids);
        ids.reverse();
        assert_eq!(ids_of(&f, sorted(RolloutSortField::RolloutId, SortOrder::Desc)).await, ids);
    }

    async fn ties_keep_the_order_of_creation_in_both_directions(f) {
        let ids = f.enqueue_many(4).await;
        assert_eq!(ids_of(&f, sorted(RolloutSortField::StartTime, SortOrder::Asc)).await, ids);
        assert_eq!(ids_of(&f, sorted(RolloutSortField::StartTime, SortOrder::Desc)).await, ids);
    }

    async fn a_missing_end_time_is_later_than_all_others(f) {
        let ids = f.enqueue_many(3).await;
        for id in [&ids[2], &ids[1]] {
            f.advance(1.0);
            f.set_status(id, RolloutStatus::Failed).await;
        }
        let ascending = [ids[2].clone(), ids[1].clone(), ids[0].clone()];
        assert_eq!(ids_of(&f, sorted(RolloutSortField::EndTime, SortOrder::Asc)).await, ascending);
        let descending = [ids[0].clone(), ids[1].clone(), ids[2].clone()];
        assert_eq!(ids_of(&f, sorted(RolloutSortField::EndTime, SortOrder::Desc)).await, descending);
    }

    async fn a_missing_text_is_before_all_others(f) {
        let train = NewRollout::new(json!(1)).mode(RolloutMode::Train);
        let train = f.store.enqueue_rollout(train).await.unwrap().rollout_id;
        let none = f.enqueue().await.rollout_id;
        let test = NewRollout::new(json!(2)).mode(RolloutMode::Test);
        let test = f.store.enqueue_rollout(test).await.unwrap().rollout_id;
        assert_eq!(ids_of(&f, sorted(RolloutSortField::Mode, SortOrder::Asc)).await, [none, test, train]);
    }

    async fn rollouts_sort_by_the_name_of_their_status(f) {
        let ids = f.enqueue_many(3).await;
        f.set_status(&ids[1], RolloutStatus::Cancelled).await;
        f.set_status(&ids[2], RolloutStatus::Failed).await;
        let expected = [ids[1].clone(), ids[2].clone(), ids[0].clone()];
        assert_eq!(ids_of(&f, sorted(RolloutSortField::Status, SortOrder::Asc)).await, expected);
    }

    async fn a_query_shows_the_latest_attempt(f) {
        let started = f.start_plain().await;
        let second = f.store.start_attempt(started.rollout_id.clone(), None).await.unwrap();
        let page = f.store.query_rollouts(RolloutQuery::default()).await.unwrap();
        assert_eq!(page.items[0].attempt, Some(second.attempt));
    }

    async fn attempts_come_by_their_sequence_id(f) {
        let id = f.start_plain().await.rollout_id.clone();
        for _ in 0..11 {
            f.store.start_attempt(id.clone(), None).await.unwrap();
        }
        let numbers: Vec<u32> = f.attempts(&id).await.iter().map(|a| a.sequence_id).collect();
        assert_eq!(numbers, (1..=12).collect::<Vec<_>>());
    }

    async fn attempts_sort_by_other_fields(f) {
        let first = f.start_plain().await;
        let second = f.store.start_attempt(first.rollout_id.clone(), Some("a".into())).await.unwrap();
        f.report(&first, AttemptStatus::Failed).await;
        let order = async |by, order| {
            let query = AttemptQuery { sort_by: Some(by), sort_order: order, ..Default::default() };
            let page = f.store.query_attempts(&first.rollout_id, query).await.unwrap();
            page.items.iter().map(|a| a.sequence_id).collect::<Vec<_>>()
        };
        assert_eq!(second.attempt.sequence_id, 2);
        assert_eq!(order(AttemptSortField::WorkerId, SortOrder::Asc).await, [2, 1]);
        assert_eq!(order(AttemptSortField::Status, SortOrder::Asc).await, [1, 2]);
        assert_eq!(order(AttemptSortField::EndTime, SortOrder::Desc).await, [2, 1]);
        assert_eq!(order(AttemptSortField::SequenceId, SortOrder::Desc).await, [2, 1]);
    }

    async fn resources_are_found_by_id_and_by_a_part_of_it(f) {
        for id in ["rs-apple", "rs-grape", "rs-plum"] {
            f.store.update_resources(id.into(), Default::default()).await.unwrap();
        }
        let found = async |id: Option<&str>, part: Option<&str>| {
            let query = ResourcesQuery {
                resources_id: id.map(Into::into),
                resources_id_contains: part.map(Into::into),
                ..Default::default()
            };
            let page = f.store.query_resources(query).await.unwrap();
            page.items.iter().map(|r| r.resources_id.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(found(Some("rs-plum"), None).await, ["rs-plum"]);
        assert_eq!(found(None, Some("ap")).await, ["rs-apple", "rs-grape"]);
        assert_eq!(found(Some("rs-plum"), Some("ap")).await, [""; 0]);
    }

    async fn resources_sort_by_version_and_time(f) {
        for (id, versions) in [("rs-a", 3), ("rs-b", 1), ("rs-c", 2)] {
            for _ in 0..versions {
                f.advance(1.0);
                f.store.update_resources(id.into(), Default::default()).await.unwrap();
            }
        }
        f.advance(1.0);
        f.store.update_resources("rs-b".into(), Default::default()).await.unwrap();
        let order = async |by| {
            let query = ResourcesQuery { sort_by: Some(by), sort_order: SortOrder::Desc, ..Default::default() };
            let page = f.store.query_resources(query).await.unwrap();
            page.items.iter().map(|r| r.resources_id.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(order(ResourcesSortField::Version).await, ["rs-a", "rs-b", "rs-c"]);
        assert_eq!(order(ResourcesSortField::UpdateTime).await, ["rs-b", "rs-c", "rs-a"]);
        assert_eq!(order(ResourcesSortField::CreateTime).await, ["rs-c", "rs-b", "rs-a"]);
    }
}
