//! What is tried again, where, and when.

use std::{collections::BTreeMap, time::Duration};

use lightning_core::llm_proxy::{BreakerLimits, ProxyBackend, ProxyModel, Retries, ReverseProxy};
use tokio::{io::AsyncWriteExt as _, time::Instant};

use super::{
    upstream::{STREAM, Upstream, json_answer, say, with_headers},
    world::{CHAT, chat, get, model, post, proxy, quick},
};

fn ok() -> Vec<u8> {
    json_answer("200 OK", r#"{"ok":true}"#)
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_nothing_else() {
    for (status, tries) in [
        ("408 Request Timeout", 2),
        ("409 Conflict", 2),
        ("429 Too Many Requests", 2),
        ("500 Internal Server Error", 2),
        ("503 Service Unavailable", 2),
        ("529 Overloaded", 2),
        ("400 Bad Request", 1),
        ("401 Unauthorized", 1),
        ("404 Not Found", 1),
        ("413 Payload Too Large", 1),
        ("422 Unprocessable Entity", 1),
    ] {
        let upstream = Upstream::script([json_answer(status, "{}"), ok()]).await;
        let proxy = proxy(model(&upstream)).await;
        let got = post(&proxy, CHAT, &chat()).await;
        assert_eq!(upstream.count(), tries, "{status}");
        let expected = if tries == 2 {
            200
        } else {
            status[..3].parse().unwrap()
        };
        assert_eq!(got.status, expected);
        let bodies: Vec<_> = upstream.seen().into_iter().map(|seen| seen.body).collect();
        assert!(
            bodies.windows(2).all(|pair| pair[0] == pair[1]),
            "the same is sent again"
        );
    }
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_answer_is_tried_again() {
    // Nothing at all, a part of a head, a head alone.
    for piece in [
        "",
        "HTTP/1.1 200",
        STREAM,
        "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n",
    ] {
        let upstream = Upstream::start(move |seen, mut stream| async move {
            if seen.number < 2 {
                stream.write_all(piece.as_bytes()).await.ok()?;
                return None;
            }
            say(stream, ok()).await
        })
        .await;
        let proxy = proxy(model(&upstream)).await;
        let got = post(&proxy, CHAT, &chat()).await;
        assert_eq!((got.status, upstream.count()), (200, 3), "{piece}");
    }
}

#[tokio::test]
async fn the_last_answer_is_the_clients_when_tries_run_out() {
    let headers = ["retry-after: 0", "x-which: last"];
    let last = with_headers("503 Service Unavailable", &headers, "not yet");
    let upstream = Upstream::always(last).await;
    let proxy = proxy(model(&upstream).retries(Retries { max: 2, ..quick() })).await;
    let got = post(&proxy, CHAT, &chat()).await;
    assert_eq!(
        (got.status, got.text().as_str(), upstream.count()),
        (503, "not yet", 3)
    );
    assert_eq!(got.header("x-which"), Some("last"));

    let nobody = ProxyModel::new("m", "http://127.0.0.1:1/v1").retries(quick());
    let got = post(&super::world::proxy(nobody).await, CHAT, &chat()).await;
    assert_eq!(
        (got.status, got.json()["error"]["type"].as_str()),
        (502, Some("server_error"))
    );
}

#[tokio::test]
async fn retry_after_is_waited_for_unless_it_is_too_long() {
    let busy = |after: &str| {
        with_headers(
            "429 Too Many Requests",
            &[&format!("retry-after: {after}")],
            "busy",
        )
    };
    let upstream = Upstream::script([busy("1"), ok()]).await;
    let proxy = proxy(model(&upstream)).await;
    let began = Instant::now();
    assert_eq!(post(&proxy, CHAT, &chat()).await.status, 200);
    assert!(began.elapsed() >= Duration::from_secs(1));

    // The client is told instead, and may come again by itself.
    for after in ["3600", "Fri, 31 Dec 2100 23:59:59 GMT"] {
        let upstream = Upstream::script([busy(after), ok()]).await;
        let proxy = super::world::proxy(model(&upstream)).await;
        let got = post(&proxy, CHAT, &chat()).await;
        assert_eq!((got.status, got.header("retry-after")), (429, Some(after)));
        assert_eq!(upstream.count(), 1);
    }
}

async fn fleet(count: usize) -> (Vec<Upstream>, ProxyModel) {
    let mut fleet = Vec::new();
    for number in 0..count {
        fleet.push(Upstream::always(json_answer("200 OK", format!(r#"{{"host":{number}}}"#))).await);
    }
    let backends = fleet
        .iter()
        .enumerate()
        .map(|(number, upstream)| ProxyBackend::new(upstream.base_url()).name(format!("host-{number}")));
    let model = ProxyModel::new("m", "http://unused")
        .backends(backends)
        .retries(quick());
    (fleet, model)
}

async fn host_of(proxy: &ReverseProxy, rollout: usize) -> u64 {
    let path = format!("/rollout/ro-{rollout}/attempt/at-{rollout}{CHAT}");
    let got = post(proxy, &path, &chat()).await;
    assert_eq!(got.status, 200, "{}", got.text());
    got.json()["host"].as_u64().unwrap()
}

#[tokio::test]
async fn a_rollout_stays_with_its_backend_and_moves_when_that_fails() {
    let (mut fleet, mut model) = fleet(3).await;
    model.breaker = BreakerLimits {
        failures: 2,
        pause: Duration::from_secs(3600),
    };
    let proxy = proxy(model).await;
    let mut homes = BTreeMap::new();
    for round in 0..3 {
        for rollout in 0..30 {
            let host = host_of(&proxy, rollout).await;
            assert_eq!(*homes.entry(rollout).or_insert(host), host, "round {round}");
        }
    }
    for host in 0..3 {
        let share = homes.values().filter(|home| **home == host).count();
        assert!(share >= 3, "host {host} has {share} of 30 rollouts");
    }
    drop(fleet.remove(0));
    for rollout in 0..30 {
        let host = host_of(&proxy, rollout).await;
        assert_ne!(host, 0);
        if homes[&rollout] != 0 {
            assert_eq!(host, homes[&rollout], "those of the others stay");
        }
        assert_eq!(host, host_of(&proxy, rollout).await);
    }
    let metrics = get(&proxy, "/metrics").await.text();
    let is_up =
        |host, up| metrics.contains(&format!("backend_up{{model=\"m\",backend=\"host-{host}\"}} {up}"));
    assert!(is_up(0, 0) && is_up(1, 1) && is_up(2, 1), "{metrics}");
}

#[tokio::test]
async fn another_backend_is_tried_at_once() {
    let busy = Upstream::always(with_headers(
        "429 Too Many Requests",
        &["retry-after: 3600"],
        "busy",
    ))
    .await;
    let free = Upstream::always(ok()).await;
    let backends = [&busy, &free].map(|upstream| ProxyBackend::new(upstream.base_url()));
    let proxy = proxy(ProxyModel::new("m", "http://unused").backends(backends)).await;
    for rollout in 0..20 {
        let path = format!("/rollout/ro-{rollout}/attempt/a{CHAT}");
        assert_eq!(post(&proxy, &path, &chat()).await.status, 200);
    }
    assert!(busy.count() > 0 && free.count() == 20);
}

#[tokio::test]
async fn a_backend_that_fails_again_and_again_is_left_alone_and_tried_later() {
    let broken = json_answer("500 Internal Server Error", "{}");
    let upstream = Upstream::script([broken.clone(), broken.clone(), broken, ok()]).await;
    let pause = Duration::from_secs(1);
    let model = model(&upstream)
        .retries(Retries::never())
        .breaker(BreakerLimits { failures: 3, pause });
    let proxy = proxy(model).await;
    for _ in 0..3 {
        assert_eq!(post(&proxy, CHAT, &chat()).await.status, 500);
    }
    let got = post(&proxy, CHAT, &chat()).await;
    assert_eq!((got.status, upstream.count()), (503, 3), "nobody is asked");
    assert_eq!(got.header("retry-after"), Some("1"));
    tokio::time::sleep(pause).await;
    assert_eq!(post(&proxy, CHAT, &chat()).await.status, 200);
    assert_eq!(post(&proxy, CHAT, &chat()).await.status, 200);
}

#[tokio::test]
async fn a_call_with_tries_left_waits_for_a_backend_that_was_left_alone() {
    let broken = json_answer("500 Internal Server Error", "{}");
    let upstream = Upstream::script([broken.clone(), broken, ok()]).await;
    let model = model(&upstream).breaker(BreakerLimits {
        failures: 1,
        pause: Duration::from_millis(50),
    });
    let proxy = proxy(model.retries(Retries { max: 8, ..quick() })).await;
    assert_eq!(post(&proxy, CHAT, &chat()).await.status, 200);
    assert_eq!(upstream.count(), 3);
}
