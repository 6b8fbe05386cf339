//! What Prometheus is told.

use lightning_core::types::{NewRollout, RolloutMode};
use serde_json::json;

use crate::raw::Server;

#[tokio::test]
async fn requests_commands_and_the_state_of_the_store_are_counted() {
    let server = Server::start().await;
    let body = json!({"rollouts": [{"input": 1, "mode": "train"}, {"input": 2}]});
    server
        .post("/v1/agl/queues/rollouts/enqueue", &body)
        .await
        .expect(201);
    server
        .store
        .start_rollout(NewRollout::new(json!(3)).mode(RolloutMode::Val), None)
        .await
        .unwrap();
    server
        .post("/v1/agl/rollouts/ro-none", &json!({}))
        .await
        .expect(404);
    server
        .post("/v1/agl/rollouts/ro-nobody", &json!({}))
        .await
        .expect(404);
    server
        .send("MADEUP", "/v1/agl/health", &[], b"")
        .await
        .expect(405);
    let parked = tokio::spawn({
        let store = server.store.clone();
        async move {
            store
                .wait_for_rollouts(
                    &store
                        .query_rollouts(Default::default())
                        .await
                        .unwrap()
                        .items
                        .iter()
                        .map(|r| r.rollout_id.clone())
                        .collect::<Vec<_>>(),
                    None,
                )
                .await
        }
    });
    while server.store.statistics().await.unwrap().extra["waiters"] != 1 {
        tokio::task::yield_now().await;
    }
    for path in ["/v1/prometheus", "/v1/prometheus/"] {
        let page = server.get(path).await;
        assert_eq!(page.status, 200);
        let text = page.text();
        for line in [
            r#"lightning_http_requests_total{method="POST",route="/v1/agl/queues/rollouts/enqueue",status="201"} 1"#,
            r#"lightning_http_requests_total{method="POST",route="/v1/agl/rollouts/{rollout_id}",status="404"} 2"#,
            r#"lightning_commands_total{command="enqueue_rollouts",outcome="ok"} 1"#,
            r#"lightning_commands_total{command="update_rollout",outcome="not_found"} 2"#,
            r#"lightning_rollouts_created_total{mode="train"} 1"#,
            r#"lightning_rollouts_created_total{mode="none"} 1"#,
            r#"lightning_rollouts{status="queuing",mode="train"} 1"#,
            r#"lightning_rollouts{status="queuing",mode="none"} 1"#,
            r#"lightning_rollouts{status="queuing",mode="val"} 0"#,
            r#"lightning_rollouts{status="preparing",mode="val"} 1"#,
            "lightning_queue_length 2.0",
            "lightning_waiters 1.0",
            "lightning_spans 0.0",
            "lightning_span_bytes 0.0",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
        assert!(
            text.contains(r#"lightning_http_request_seconds_bucket{le="0.0001",method="POST""#),
            "{text}"
        );
        assert!(
            !text.contains("ro-nobody") && !text.contains("MADEUP"),
            "labels are made up by callers:\n{text}"
        );
        assert!(text.ends_with("# EOF\n"));
    }
    parked.abort();
}
