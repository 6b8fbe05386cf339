use super::area;
use crate::types::{
    AttemptQuery, PageRequest, ResourcesQuery, RolloutQuery, RolloutStatus, SpanQuery, WorkerQuery,
};

fn part(limit: usize, offset: usize) -> PageRequest {
    PageRequest {
        limit: Some(limit),
        offset,
    }
}

area! { "paging";
    async fn a_page_holds_at_most_the_limit(f) {
        let ids = f.enqueue_many(5).await;
        let query = RolloutQuery { page: part(2, 0), ..Default::default() };
        let page = f.store.query_rollouts(query).await.unwrap();
        assert_eq!(page.items.iter().map(|r| r.rollout_id.clone()).collect::<Vec<_>>(), ids[..2]);
        assert_eq!((page.limit, page.offset, page.total), (2, 0, 5));
    }

    async fn a_page_begins_at_the_offset(f) {
        let ids = f.enqueue_many(5).await;
        let query = RolloutQuery { page: part(2, 3), ..Default::default() };
        let page = f.store.query_rollouts(query).await.unwrap();
        assert_eq!(page.items.iter().map(|r| r.rollout_id.clone()).collect::<Vec<_>>(), ids[3..]);
        assert_eq!((page.limit, page.offset, page.total), (2, 3, 5));
    }

    async fn a_page_beyond_the_end_is_empty(f) {
        f.enqueue_many(3).await;
        let query = RolloutQuery { page: part(10, 7), ..Default::default() };
        let page = f.store.query_rollouts(query).await.unwrap();
        assert_eq!((page.items.len(), page.total), (0, 3));
    }

    async fn without_a_limit_everything_comes(f) {
        f.enqueue_many(250).await;
        let page = f.store.query_rollouts(RolloutQuery::default()).await.unwrap();
        assert_eq!((page.items.len(), page.limit, page.total), (250, -1, 250));
    }

    async fn without_a_limit_the_offset_counts_all_the_same(f) {
        let ids = f.enqueue_many(4).await;
        let query = RolloutQuery { page: PageRequest { limit: None, offset: 3 }, ..Default::default() };
        let page = f.store.query_rollouts(query).await.unwrap();
        assert_eq!(page.items[0].rollout_id, ids[3]);
        assert_eq!((page.items.len(), page.total), (1, 4));
    }

    async fn the_total_counts_what_matches_before_paging(f) {
        let ids = f.enqueue_many(6).await;
        for id in &ids[..4] {
            f.set_status(id, RolloutStatus::Failed).await;
        }
        let query = RolloutQuery {
            status_in: Some(vec![RolloutStatus::Failed]),
            page: part(1, 2),
            ..Default::default()
        };
        let page = f.store.query_rollouts(query).await.unwrap();
        assert_eq!(page.items[0].rollout_id, ids[2]);
        assert_eq!((page.items.len(), page.total), (1, 4));
    }

    async fn the_pages_of_a_query_put_together_are_the_whole(f) {
        let ids = f.enqueue_many(23).await;
        let mut seen = Vec::new();
        for offset in (0..23).step_by(5) {
            let query = RolloutQuery { page: part(5, offset), ..Default::default() };
            let page = f.store.query_rollouts(query).await.unwrap();
            seen.extend(page.items.into_iter().map(|r| r.rollout_id.clone()));
        }
        assert_eq!(seen, ids);
    }

    async fn attempts_are_paged(f) {
        let id = f.start_plain().await.rollout_id.clone();
        for _ in 0..3 {
            f.store.start_attempt(id.clone(), None).await.unwrap();
        }
        let query = AttemptQuery { page: part(2, 1), ..Default::default() };
        let page = f.store.query_attempts(&id, query).await.unwrap();
        assert_eq!(page.items.iter().map(|a| a.sequence_id).collect::<Vec<_>>(), [2, 3]);
        assert_eq!((page.limit, page.offset, page.total), (2, 1, 4));
    }

    async fn spans_are_paged(f) {
        let started = f.start_plain().await;
        for number in 1..=5 {
            f.add_span(&started, number).await;
        }
        let query = SpanQuery { page: part(2, 2), ..SpanQuery::of(started.rollout_id.clone()) };
        let page = f.store.query_spans(query).await.unwrap();
        assert_eq!(page.items.iter().map(|s| s.sequence_id).collect::<Vec<_>>(), [3, 4]);
        assert_eq!((page.limit, page.offset, page.total), (2, 2, 5));
    }

    async fn workers_are_paged(f) {
        for id in ["a", "b", "c"] {
            f.store.update_worker(id.into(), None).await.unwrap();
        }
        let page = f.store.query_workers(WorkerQuery { page: part(1, 1), ..Default::default() }).await.unwrap();
        assert_eq!(page.items[0].worker_id, "b");
        assert_eq!((page.items.len(), page.total), (1, 3));
    }

    async fn resources_are_paged(f) {
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(f.store.add_resources(Default::default()).await.unwrap().resources_id);
        }
        let query = ResourcesQuery { page: part(5, 1), ..Default::default() };
        let page = f.store.query_resources(query).await.unwrap();
        assert_eq!(page.items.iter().map(|r| r.resources_id.clone()).collect::<Vec<_>>(), ids[1..]);
        assert_eq!(page.total, 3);
    }
}
