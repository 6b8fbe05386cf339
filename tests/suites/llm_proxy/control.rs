//! Starting, stopping, pausing, and changing models while agents call.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::FutureExt as _;
use lightning_core::{
    llm_proxy::{
        CallLimits, ControlProxy as _, LlmProxy, LlmProxyError, ProxyBackend, ProxyModel, ReverseProxy,
        SecretSource,
    },
    types::Resource,
};
use serde_json::json;
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    upstream::{Upstream, json_answer, say, with_headers},
    world::{CHAT, Client, chat, get, model, post, proxy, send},
};

/// A server that answers when it gets a permit.
async fn held() -> (Upstream, Arc<Semaphore>) {
    let permits = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&permits);
    let upstream = Upstream::start(move |_, stream| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            say(stream, with_headers("200 OK", &[], "done")).await
        }
    })
    .await;
    (upstream, permits)
}

#[tokio::test]
async fn a_pause_turns_new_calls_away_and_a_drain_waits_for_the_others() {
    let (upstream, permits) = held().await;
    let proxy = ReverseProxy::builder()
        .model(model(&upstream))
        .pause_retry_after(Duration::from_secs(7))
        .build()
        .unwrap();
    proxy.start().await.unwrap();
    let mut before = Client::connect(&proxy).await;
    before.send("POST", CHAT, &[], chat().to_string()).await;
    upstream.arrived(1).await;

    let mut drained = proxy.drain();
    assert!((&mut drained).now_or_never().is_none());
    let refused = post(&proxy, CHAT, &chat()).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("7")));
    assert_eq!(refused.json()["error"]["type"], "rate_limit_error");
    let refused = post(&proxy, "/v1/messages", &chat()).await;
    assert_eq!((refused.status, &refused.json()["type"]), (429, &json!("error")));
    assert_eq!(get(&proxy, "/health").await.json()["status"], "paused");
    assert_eq!(get(&proxy, "/v1/models").await.status, 200);
    assert!((&mut drained).now_or_never().is_none());

    permits.add_permits(1);
    assert_eq!(before.answer().await.text(), "done");
    drained.await.unwrap();
    assert_eq!(upstream.count(), 1);
    proxy.resume().await.unwrap();
    permits.add_permits(1);
    assert_eq!(post(&proxy, CHAT, &chat()).await.status, 200);
}

#[tokio::test]
async fn changed_models_are_for_new_calls() {
    let (old, permits) = held().await;
    let new = Upstream::always(json_answer("200 OK", r#""new""#)).await;
    let proxy = proxy(model(&old)).await;
    let mut before = Client::connect(&proxy).await;
    before.send("POST", CHAT, &[], chat().to_string()).await;
    old.arrived(1).await;

    proxy
        .set_models(vec![model(&new), ProxyModel::new("n", new.base_url())])
        .await
        .unwrap();
    assert_eq!(post(&proxy, CHAT, &chat()).await.text(), r#""new""#);
    assert_eq!(post(&proxy, CHAT, &json!({"model": "n"})).await.status, 200);
    proxy
        .set_models(vec![ProxyModel::new("n", new.base_url())])
        .await
        .unwrap();
    assert_eq!(post(&proxy, CHAT, &chat()).await.status, 404);
    assert_eq!(get(&proxy, "/v1/models").await.json()["data"][0]["id"], "n");

    permits.add_permits(1);
    assert_eq!(
        before.answer().await.text(),
        "done",
        "a call under way is not touched"
    );
}

#[tokio::test]
async fn models_that_cannot_be_leave_all_as_it_was() {
    let upstream = Upstream::always(json_answer("200 OK", "{}")).await;
    let proxy = proxy(model(&upstream)).await;
    let with = |change: &dyn Fn(&mut ProxyModel)| {
        let mut changed = model(&upstream);
        change(&mut changed);
        changed
    };
    let cases: Vec<(Vec<ProxyModel>, &str)> = vec![
        (vec![], "`models`"),
        (vec![model(&upstream), model(&upstream)], "`models[1].name`"),
        (vec![with(&|m| m.name.clear())], "`models[0].name`"),
        (vec![with(&|m| m.backends.clear())], "`models[0].backends`"),
        (
            vec![with(&|m| m.backends.push(m.backends[0].clone()))],
            "`models[0].backends[1].name`",
        ),
        (
            vec![with(&|m| m.backends[0].weight = 0.0)],
            "`models[0].backends[0].weight`",
        ),
        (
            vec![with(&|m| m.backends[0].weight = f64::NAN)],
            "`models[0].backends[0].weight`",
        ),
        (
            vec![with(&|m| m.breaker.failures = 0)],
            "`models[0].breaker.failures`",
        ),
        (
            vec![with(&|m| m.limits.concurrency = Some(0))],
            "`models[0].limits.concurrency`",
        ),
        (
            vec![with(&|m| m.limits.requests_per_minute = Some(-1.0))],
            "`models[0].limits.requests_per_minute`",
        ),
        (
            vec![with(&|m| {
                m.backends[0].api_key = Some(SecretSource::env("LIGHTNING_NO_SUCH_KEY"));
            })],
            "`models[0].backends[0].api_key`: the environment variable `LIGHTNING_NO_SUCH_KEY` is not set",
        ),
        (
            vec![with(&|m| {
                m.backends[0].api_key = Some(SecretSource::file("/no/such/key"));
            })],
            "`models[0].backends[0].api_key`: the file `/no/such/key` cannot be read",
        ),
        (
            vec![with(&|m| {
                m.backends[0] = ProxyBackend::new("http://h/v1").header("x\n", "v");
            })],
            "`models[0].backends[0].headers.x\n`",
        ),
        (
            vec![with(&|m| {
                m.backends[0] = ProxyBackend::new("http://h/v1").api_key("sk-a\nb");
            })],
            "`models[0].backends[0].api_key`: it holds characters",
        ),
    ];
    for (models, expected) in cases {
        let error = proxy.set_models(models).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("sk-a"), "{error}");
    }
    for url in [
        "",
        "h:80",
        "ftp://h",
        "http://",
        "http://:80",
        "http://u:p@h/v1",
        "http://h/v1?x=1",
        "http://h/ü",
        "http://h/ /",
    ] {
        let error = proxy
            .set_models(vec![ProxyModel::new("m", url)])
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`models[0].backends[0].base_url`"),
            "{url}: {error}"
        );
    }
    assert_eq!(proxy.models(), [model(&upstream)]);
    assert_eq!(post(&proxy, CHAT, &chat()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_lost_while_models_change_under_load() {
    let first = Upstream::always(json_answer("200 OK", r#"{"host":1}"#)).await;
    let second = Upstream::always(json_answer("200 OK", r#"{"host":2}"#)).await;
    let proxy = proxy(model(&first)).await;
    let over = Arc::new(AtomicBool::new(false));
    let mut agents = JoinSet::new();
    for _ in 0..16 {
        let (proxy, over) = (proxy.clone(), Arc::clone(&over));
        agents.spawn(async move {
            let mut client = Client::connect(&proxy).await;
            let mut calls = 0;
            while !over.load(Ordering::SeqCst) {
                client.send("POST", CHAT, &[], chat().to_string()).await;
                let got = client.answer().await;
                assert_eq!(got.status, 200, "{}", got.text());
                calls += 1;
            }
            calls
        });
    }
    for round in 0..100 {
        let upstream = if round % 2 == 0 { &second } else { &first };
        proxy.set_models(vec![model(upstream)]).await.unwrap();
        // What is asked for from now on goes to the new one.
        let host = post(&proxy, CHAT, &chat()).await.json()["host"].as_u64();
        assert_eq!(host, Some(2 - round % 2));
    }
    over.store(true, Ordering::SeqCst);
    let mut calls = 0;
    while let Some(done) = agents.join_next().await {
        calls += done.unwrap();
    }
    assert_eq!(first.count() + second.count(), calls + 100);
}

#[tokio::test]
async fn a_restart_keeps_the_address() {
    let upstream = Upstream::always(json_answer("200 OK", "{}")).await;
    let proxy = ReverseProxy::builder().model(model(&upstream)).build().unwrap();
    assert!(!proxy.is_running() && proxy.address().is_none());
    assert!(matches!(
        proxy.as_resource(None),
        Err(LlmProxyError::Unavailable { .. })
    ));
    proxy.stop().await.unwrap();
    proxy.start().await.unwrap();
    proxy.start().await.unwrap();
    let address = proxy.address().unwrap();
    assert!(proxy.is_running() && address.port() != 0 && address.ip().is_loopback());
    let handle: LlmProxy = proxy.clone().into();
    handle.restart().await.unwrap();
    assert_eq!(proxy.address(), Some(address));
    assert_eq!(post(&proxy, CHAT, &chat()).await.status, 200);
    handle.stop().await.unwrap();
    assert!(!proxy.is_running());
    let refused = tokio::net::TcpStream::connect(address).await;
    assert!(refused.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_stop_lets_calls_under_way_end() {
    let (upstream, permits) = held().await;
    let proxy = proxy(model(&upstream)).await;
    let mut client = Client::connect(&proxy).await;
    client.send("POST", CHAT, &[], chat().to_string()).await;
    upstream.arrived(1).await;
    let mut stopping = proxy.stop();
    assert!((&mut stopping).now_or_never().is_none());
    permits.add_permits(1);
    assert_eq!(client.answer().await.text(), "done");
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever_and_the_last_handle_ends_it() {
    let (upstream, _permits) = held().await;
    for stops in [true, false] {
        let proxy = ReverseProxy::builder()
            .model(model(&upstream))
            .stop_grace(Duration::from_millis(20))
            .build()
            .unwrap();
        proxy.start().await.unwrap();
        let mut client = Client::connect(&proxy).await;
        client.send("POST", CHAT, &[], chat().to_string()).await;
        upstream.arrived(if stops { 1 } else { 2 }).await;
        if stops {
            proxy.stop().await.unwrap();
        } else {
            drop(proxy);
        }
        let mut rest = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut client.stream, &mut rest).await;
        assert!(rest.is_empty(), "the connection is closed without an answer");
    }
}

#[tokio::test]
async fn where_it_cannot_listen_is_said() {
    let upstream = Upstream::always("").await;
    let at = |address: &str| ReverseProxy::builder().model(model(&upstream)).address(address);
    let taken = upstream.address.to_string();
    let error = at(&taken).build().unwrap().start().await.unwrap_err();
    assert!(
        matches!(error, LlmProxyError::Bind { .. }) && error.to_string().contains(&taken),
        "{error}"
    );
    let error = at("0.0.0.0:0").build().unwrap().start().await.unwrap_err();
    assert!(matches!(error, LlmProxyError::Open { .. }), "{error}");
    let proxy = at("0.0.0.0:0").token("t").build().unwrap();
    proxy.start().await.unwrap();
    assert!(proxy.url().unwrap().starts_with("http://127.0.0.1:"));
    let proxy = at("0.0.0.0:0")
        .insecure()
        .public_url("http://gpu-box:9/")
        .build()
        .unwrap();
    proxy.start().await.unwrap();
    let Resource::ProxyLlm(llm) = proxy.as_resource(None).unwrap() else {
        panic!("a proxy gives out models behind a proxy")
    };
    assert_eq!(llm.endpoint, "http://gpu-box:9/v1");
    let got = send(&proxy, "GET", "/v1/models", &["host: gpu-box"], "").await;
    assert_eq!(got.status, 200);
}

#[tokio::test]
async fn its_resource_leads_to_it() {
    let upstream = Upstream::always(json_answer("200 OK", "{}")).await;
    let proxy = ReverseProxy::builder()
        .model(model(&upstream))
        .model(ProxyModel::new("n", upstream.base_url()))
        .token("s3")
        .build()
        .unwrap();
    proxy.start().await.unwrap();
    let Resource::ProxyLlm(llm) = proxy.as_resource(Some("n")).unwrap() else {
        panic!("a proxy gives out models behind a proxy")
    };
    assert_eq!(
        (llm.endpoint, llm.model.as_str()),
        (format!("{}/v1", proxy.url().unwrap()), "n")
    );
    assert_eq!(llm.api_key.unwrap().expose(), "s3");
    let error = proxy.as_resource(Some("o")).unwrap_err();
    assert_eq!(error.to_string(), "the proxy has no model `o`; it has: m, n");
}

#[tokio::test]
async fn a_model_is_granted_so_many_calls_at_once() {
    let (upstream, permits) = held().await;
    let limits = CallLimits {
        concurrency: Some(2),
        max_wait: Duration::from_millis(500),
        ..CallLimits::default()
    };
    let proxy = proxy(model(&upstream).limits(limits)).await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect(&proxy).await;
        client.send("POST", CHAT, &[], chat().to_string()).await;
        clients.push(client);
    }
    upstream.arrived(2).await;
    let refused = post(&proxy, CHAT, &chat()).await;
    assert_eq!((refused.status, upstream.count()), (429, 2));
    assert!(refused.header("retry-after").is_some());
    permits.add_permits(3);
    for client in &mut clients {
        assert_eq!(client.answer().await.status, 200);
    }
    assert_eq!(post(&proxy, CHAT, &chat()).await.status, 200);
}

#[tokio::test]
async fn a_model_is_granted_so_many_calls_a_minute() {
    let upstream = Upstream::always(json_answer("200 OK", "{}")).await;
    let limits = CallLimits {
        requests_per_minute: Some(1.0),
        max_wait: Duration::from_secs(1),
        ..CallLimits::default()
    };
    let proxy = proxy(model(&upstream).limits(limits)).await;
    assert_eq!(post(&proxy, CHAT, &chat()).await.status, 200);
    let refused = post(&proxy, CHAT, &chat()).await;
    assert_eq!((refused.status, upstream.count()), (429, 1));
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((50..=60).contains(&after), "{after}");
}
