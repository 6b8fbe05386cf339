//! What goes on as it came, and what does not.

use std::time::Duration;

use lightning_core::llm_proxy::{
    ApiFamily, ControlProxy as _, ProxyBackend, ProxyModel, ReverseProxy, TimeLimits,
};
use serde_json::json;

use super::{
    upstream::{Upstream, json_answer, with_headers},
    world::{CHAT, chat, get, model, post, proxy, quick, send},
};

#[tokio::test]
async fn a_body_goes_on_byte_by_byte_but_for_the_model() {
    let answer = b"{\"x_unknown\" : 1e400,\"choices\":[], \"\\u00e9\":0.10}\n";
    let upstream = Upstream::always(json_answer("200 OK", answer)).await;
    let proxy = proxy(model(&upstream)).await;
    let body = b"\t{ \"zzz\": 1.000e-7, \"model\" :\"m\",\"big\":123456789012345678901234567890, \"bad\":\"\xff\xfe\",\n \"a\":null}\n";
    let got = send(&proxy, "POST", CHAT, &[], body).await;
    assert_eq!((got.status, &got.body[..]), (200, &answer[..]));
    let expected = b"\t{ \"zzz\": 1.000e-7, \"model\" :\"up\",\"big\":123456789012345678901234567890, \"bad\":\"\xff\xfe\",\n \"a\":null}\n";
    assert_eq!(upstream.seen()[0].body, expected);
}

#[tokio::test]
async fn headers_go_on_but_for_the_key_and_those_of_the_connection() {
    let headers = [
        "content-type: application/json",
        "x-request-id: up-7",
        "x-ratelimit-remaining: 3",
        "set-cookie: a=1",
        "set-cookie: b=2",
        "connection: keep-alive, x-private",
        "x-private: 1",
        "keep-alive: timeout=5",
    ];
    let upstream = Upstream::always(with_headers("201 Created", &headers, "{}")).await;
    let mut spec = model(&upstream);
    spec.backends[0] = ProxyBackend::new(upstream.base_url())
        .api_key("sk-backend")
        .header("x-team", "red");
    let proxy = proxy(spec).await;
    let sent = [
        "authorization: Bearer sk-client",
        "x-api-key: sk-client",
        "x-team: blue",
        "x-stainless-lang: python",
        "accept-encoding: gzip, br",
        "user-agent: OpenAI/Python",
        "connection: keep-alive, x-hop",
        "x-hop: 1",
        "te: trailers",
    ];
    let got = send(
        &proxy,
        "POST",
        &format!("{CHAT}?api-version=7&x=%20"),
        &sent,
        chat().to_string(),
    )
    .await;
    assert_eq!(got.status, 201);
    assert_eq!(got.header("x-request-id"), Some("up-7"));
    assert_eq!(got.head.matches("set-cookie").count(), 2);
    for gone in ["x-private", "keep-alive"] {
        assert_eq!(got.header(gone), None, "{gone}");
    }
    assert!(
        got.header("lightning-overhead-us")
            .unwrap()
            .parse::<u64>()
            .unwrap()
            < 1_000_000
    );
    assert_eq!(
        got.header("lightning-backend"),
        Some(upstream.base_url().as_str())
    );

    let seen = &upstream.seen()[0];
    assert_eq!(seen.line(), "POST /v1/chat/completions?api-version=7&x=%20");
    let expected = [
        ("authorization", Some("Bearer sk-backend")),
        ("x-api-key", None),
        ("x-team", Some("red")),
        ("x-stainless-lang", Some("python")),
        ("accept-encoding", Some("gzip, br")),
        ("user-agent", Some("OpenAI/Python")),
        ("x-hop", None),
        ("te", None),
        ("host", Some(&*upstream.address.to_string())),
    ];
    for (name, value) in expected {
        assert_eq!(seen.header(name), value, "{name}");
    }
    assert!(!format!("{proxy:?} {:?}", proxy.models()).contains("sk-backend"));
}

#[tokio::test]
async fn every_path_is_served_with_and_without_an_attempt() {
    let upstream = Upstream::always(json_answer("200 OK", "{}")).await;
    let proxy = ReverseProxy::builder()
        .model(model(&upstream))
        .model(ProxyModel::new("claude", format!("http://{}", upstream.address)).family(ApiFamily::Anthropic))
        .build()
        .unwrap();
    proxy.start().await.unwrap();
    let paths = [
        ("m", "/v1/chat/completions"),
        ("m", "/v1/completions"),
        ("m", "/v1/embeddings"),
        ("m", "/v1/responses"),
        ("claude", "/v1/messages"),
        ("claude", "/v1/messages/count_tokens"),
    ];
    for (model, path) in paths {
        for prefix in ["", "/rollout/ro-1/attempt/at-1"] {
            let got = post(&proxy, &format!("{prefix}{path}"), &json!({"model": model})).await;
            assert_eq!(got.status, 200, "{path}: {}", got.text());
            assert_eq!(upstream.seen().last().unwrap().line(), format!("POST {path}"));
        }
    }
    let listed = get(&proxy, "/rollout/ro-1/attempt/at-1/v1/models").await.json();
    assert_eq!(
        (&listed["data"][0]["id"], &listed["data"][1]["id"]),
        (&json!("m"), &json!("claude"))
    );
    let listed = send(
        &proxy,
        "GET",
        "/v1/models",
        &["anthropic-version: 2023-06-01"],
        "",
    )
    .await;
    assert_eq!(listed.json()["first_id"], "claude");
    assert_eq!(get(&proxy, "/v1/models/m").await.json()["object"], "model");
    assert_eq!(get(&proxy, "/v1/models/n").await.status, 404);
    assert_eq!(get(&proxy, "/health").await.json()["status"], "ok");
    let metrics = get(&proxy, "/metrics").await.text();
    assert!(
        metrics.contains("lightning_llm_proxy_calls_total{model=\"m\"} 8"),
        "{metrics}"
    );
}

#[tokio::test]
async fn what_the_client_leaves_open_is_filled_in() {
    let upstream = Upstream::always(json_answer("200 OK", "{}")).await;
    let mut spec = model(&upstream)
        .parameter("temperature", 0.5)
        .parameter("seed", 7)
        .parameter("stop", json!(["\n\"", "ü"]));
    spec.backends[0] = spec.backends[0].clone().with_token_ids().with_logprobs();
    spec.backends[0].stream_usage = true;
    let proxy = proxy(spec).await;
    let body = r#"{"model":"m","seed":null,"stream":true}"#;
    send(&proxy, "POST", CHAT, &[], body).await;
    let attributed = format!("/rollout/ro-1/attempt/at-1{CHAT}");
    send(&proxy, "POST", &attributed, &[], body).await;
    let completions = "/rollout/ro-1/attempt/at-1/v1/completions";
    send(
        &proxy,
        "POST",
        completions,
        &[],
        r#"{"model":"m","seed":1,"logprobs":null}"#,
    )
    .await;
    let embeddings = "/rollout/ro-1/attempt/at-1/v1/embeddings";
    send(&proxy, "POST", embeddings, &[], r#"{"model":"m","seed":1}"#).await;

    let seen: Vec<String> = upstream
        .seen()
        .iter()
        .map(|seen| String::from_utf8(seen.body.clone()).unwrap())
        .collect();
    let defaults = r#""stop":["\n\"","ü"],"temperature":0.5"#;
    assert_eq!(
        seen,
        [
            format!(r#"{{"model":"up","seed":null,"stream":true,{defaults}}}"#),
            format!(
                r#"{{"model":"up","seed":null,"stream":true,{defaults},"return_token_ids":true,"logprobs":true,"stream_options":{{"include_usage":true}}}}"#
            ),
            format!(r#"{{"model":"up","seed":1,"logprobs":null,{defaults},"return_token_ids":true}}"#),
            format!(r#"{{"model":"up","seed":1,{defaults}}}"#),
        ]
    );
}

#[tokio::test]
async fn what_is_wrong_is_said_in_the_familys_own_shape() {
    let upstream = Upstream::always(json_answer("200 OK", "{}")).await;
    let proxy = ReverseProxy::builder()
        .model(ProxyModel::new("llama-small", upstream.base_url()))
        .model(ProxyModel::new("claude", upstream.base_url()).family(ApiFamily::Anthropic))
        .max_body_bytes(1000)
        .build()
        .unwrap();
    proxy.start().await.unwrap();

    let unknown = post(&proxy, CHAT, &json!({"model": "llama-smal"})).await;
    assert_eq!(unknown.status, 404);
    assert!(
        unknown.message().contains("did you mean `llama-small`?"),
        "{}",
        unknown.message()
    );
    assert_eq!(unknown.json()["error"]["code"], "model_not_found");
    let unknown = post(&proxy, CHAT, &json!({"model": "gpt"})).await;
    assert!(
        unknown.message().contains("there are: llama-small, claude"),
        "{}",
        unknown.message()
    );

    let wrong = post(&proxy, CHAT, &json!({"model": "claude"})).await;
    assert_eq!(
        (wrong.status, &wrong.json()["error"]["type"]),
        (400, &json!("invalid_request_error"))
    );
    assert!(wrong.message().contains("/v1/messages"), "{}", wrong.message());
    let wrong = post(&proxy, "/v1/messages", &json!({"model": "llama-small"}))
        .await
        .json();
    assert_eq!(
        (&wrong["type"], &wrong["error"]["type"]),
        (&json!("error"), &json!("invalid_request_error"))
    );
    let unknown = post(&proxy, "/v1/messages", &json!({"model": "x"})).await.json();
    assert_eq!(unknown["error"]["type"], "not_found_error");

    let cases: [(&str, &str, &[&str], String, u16); 9] = [
        ("POST", CHAT, &[], "{\"model\"".to_owned(), 400),
        ("POST", CHAT, &[], "[]".to_owned(), 400),
        ("POST", CHAT, &[], String::new(), 400),
        ("POST", CHAT, &[], "{}".to_owned(), 400),
        ("POST", CHAT, &[], "{\"model\":3}".to_owned(), 400),
        (
            "POST",
            CHAT,
            &[],
            format!("{{\"model\":\"{}\"}}", "x".repeat(1000)),
            413,
        ),
        ("POST", CHAT, &["content-encoding: gzip"], "x".to_owned(), 415),
        ("GET", CHAT, &[], String::new(), 405),
        ("POST", "/v1/chat", &[], "{}".to_owned(), 404),
    ];
    for (method, path, headers, body, status) in cases {
        let got = send(&proxy, method, path, headers, &body).await;
        assert_eq!(got.status, status, "{method} {path} {body:.40}: {}", got.text());
        assert!(!got.message().is_empty());
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn an_answer_of_the_backend_that_is_an_error_comes_through_as_it_is() {
    let body = br#"{"error": {"message": "maximum context length is 8", "x": [1.0]}}"#;
    let upstream = Upstream::always(json_answer("400 Bad Request", body)).await;
    let proxy = proxy(model(&upstream)).await;
    let got = post(&proxy, CHAT, &chat()).await;
    assert_eq!((got.status, &got.body[..]), (400, &body[..]));
    assert_eq!(upstream.count(), 1, "a 400 is never tried again");
}

#[tokio::test]
async fn a_token_is_asked_for_where_one_was_set() {
    let upstream = Upstream::always(json_answer("200 OK", "{}")).await;
    let proxy = ReverseProxy::builder()
        .model(model(&upstream))
        .token("s3cret")
        .build()
        .unwrap();
    proxy.start().await.unwrap();
    let body = chat().to_string();
    assert_eq!(send(&proxy, "POST", CHAT, &[], &body).await.status, 401);
    assert_eq!(
        send(&proxy, "POST", CHAT, &["authorization: Bearer no"], &body)
            .await
            .status,
        401
    );
    assert_eq!(get(&proxy, "/v1/models").await.status, 401);
    assert_eq!(get(&proxy, "/health").await.status, 200);
    assert_eq!(
        send(&proxy, "POST", CHAT, &["authorization: Bearer s3cret"], &body)
            .await
            .status,
        200
    );
    assert_eq!(
        send(&proxy, "POST", CHAT, &["x-api-key: s3cret"], &body)
            .await
            .status,
        200
    );
    assert_eq!(upstream.count(), 2);
    assert!(upstream.seen().iter().all(|seen| !seen.head.contains("s3cret")));
}

#[tokio::test]
async fn a_page_in_a_browser_is_kept_out() {
    let upstream = Upstream::always(json_answer("200 OK", "{}")).await;
    let proxy = proxy(model(&upstream)).await;
    let headers = ["origin: https://evil.example", "content-type: text/plain"];
    let got = send(&proxy, "POST", CHAT, &headers, chat().to_string()).await;
    assert_eq!((got.status, upstream.count()), (403, 0));
}

#[tokio::test]
async fn https_and_paths_in_base_urls_are_understood() {
    let upstream = Upstream::always(json_answer("200 OK", "{}")).await;
    let host = format!("http://{}", upstream.address);
    let places = [
        (ApiFamily::OpenAi, "", "/v1/chat/completions"),
        (ApiFamily::OpenAi, "/", "/v1/chat/completions"),
        (ApiFamily::OpenAi, "/v1/", "/v1/chat/completions"),
        (
            ApiFamily::OpenAi,
            "/v1beta/openai",
            "/v1beta/openai/chat/completions",
        ),
        (ApiFamily::Anthropic, "", "/v1/messages"),
        (ApiFamily::Anthropic, "/v1", "/v1/messages"),
        (ApiFamily::Anthropic, "/bedrock/", "/bedrock/v1/messages"),
    ];
    for (family, path, expected) in places {
        let proxy = proxy(ProxyModel::new("m", format!("{host}{path}")).family(family)).await;
        let route = if family == ApiFamily::OpenAi {
            CHAT
        } else {
            "/v1/messages"
        };
        assert_eq!(post(&proxy, route, &chat()).await.status, 200);
        assert_eq!(
            upstream.seen().last().unwrap().line(),
            format!("POST {expected}"),
            "{path}"
        );
    }
    // Nobody speaks TLS there, which must not be waited for longer than for a connection.
    let limits = TimeLimits {
        connect: Duration::from_millis(50),
        ..TimeLimits::default()
    };
    let silent = Upstream::start(|_, stream| async { Some(stream) }).await;
    let model = ProxyModel::new("m", format!("https://{}/v1", silent.address));
    let proxy = proxy(model.time_limits(limits).retries(quick())).await;
    let got = post(&proxy, CHAT, &chat()).await;
    assert_eq!(got.status, 502, "{}", got.text());
    assert!(
        got.message().contains("no connection within 50ms"),
        "{}",
        got.message()
    );
}
