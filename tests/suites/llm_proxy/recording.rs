//! What the store has in the end of calls that were large, odd, packed, or made while it was away.

use std::{io::Write as _, sync::Arc, time::Duration};

use flate2::{Compression, write::GzEncoder};
use lightning_core::{
    llm_proxy::{ControlProxy as _, LlmProxyError, ProxyModel, ReverseProxy, ReverseProxyBuilder},
    semconv,
    store::{MemoryStore, Store},
    testing::Faults,
    types::{AttemptedRollout, NewRollout, RolloutMode, Span, SpanQuery, SpanStatusCode},
};
use serde_json::{Value, json};

use super::{
    upstream::{END, STREAM, Upstream, chunk, json_answer, with_headers},
    world::{Answer, CHAT, chat, echo, get, model, post},
};

/// A proxy that records, and one attempt.
struct Bench {
    store: Arc<dyn Store>,
    faults: Faults,
    proxy: ReverseProxy,
    made: AttemptedRollout,
}

impl Bench {
    async fn start(model: ProxyModel) -> Self {
        Self::with(model, |builder| builder).await
    }

    async fn with(
        model: ProxyModel,
        settings: impl FnOnce(ReverseProxyBuilder) -> ReverseProxyBuilder,
    ) -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let faults = Faults::new();
        let builder = ReverseProxy::builder().model(model);
        let builder = builder.store(faults.wrap(Arc::clone(&store)));
        let proxy = settings(builder).build().unwrap();
        proxy.start().await.unwrap();
        let made = started(&*store, None).await;
        Self {
            store,
            faults,
            proxy,
            made,
        }
    }

    async fn call(&self) -> Answer {
        post(&self.proxy, &format!("{}{CHAT}", prefix(&self.made)), &chat()).await
    }

    async fn asked(&self, query: &str) -> Answer {
        get(&self.proxy, &format!("{}/recorded{query}", prefix(&self.made))).await
    }

    async fn recorded(&self) -> Result<(), LlmProxyError> {
        let made = &self.made;
        let waiting = self.proxy.recorded(&made.rollout_id, &made.attempt.attempt_id);
        tokio::time::timeout(Duration::from_secs(120), waiting)
            .await
            .expect("it is recorded at some time")
    }

    /// The spans of the calls, once all are there.
    async fn calls(&self) -> Vec<Span> {
        self.recorded().await.unwrap();
        let query = SpanQuery::of(self.made.rollout_id.clone());
        let spans = self.store.query_spans(query).await.unwrap().items;
        let calls = spans
            .into_iter()
            .filter(|span| span.name == semconv::PROXY_REQUEST);
        calls.collect()
    }
}

async fn started(store: &dyn Store, mode: Option<RolloutMode>) -> AttemptedRollout {
    let mut rollout = NewRollout::new(json!("task"));
    rollout.mode = mode;
    store.start_rollout(rollout, None).await.unwrap()
}

fn prefix(made: &AttemptedRollout) -> String {
    format!("/rollout/{}/attempt/{}", made.rollout_id, made.attempt.attempt_id)
}

fn said(text: &str) -> Vec<u8> {
    let answer = json!({
        "id": "c-1", "object": "chat.completion", "model": "up",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
    });
    answer.to_string().into_bytes()
}

fn content(span: &Span) -> &str {
    span.attributes["gen_ai.completion.0.content"].as_str().unwrap()
}

fn is_cut(span: &Span) -> bool {
    span.attributes.contains_key(semconv::CALL_TRUNCATED)
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(|digit| !digit.is_whitespace()).collect();
    let pairs = digits.chunks(2).map(|pair| pair.iter().collect::<String>());
    pairs.map(|pair| u8::from_str_radix(&pair, 16).unwrap()).collect()
}

/// What the usual encoders make of [`said`] with `Grüße 🌩`.
const PACKED: [(&str, &str); 2] = [
    (
        "br",
        "1b9a0060ad8b77cc86dc18de4857e4d9acded44b110cfd95c3a97b29f255969f8cbc0502ef94430a128aa0e4f4afed29c2c2 \
     d63a2c5d7d5b646f0ba64e4e404edf2e8fb3020b726f9ec7d8fa82b894a1154f479021c3710855b3009200ff50cd6ae93e02 \
     bffdcb040645dec09f4464dc47ae02d201",
    ),
    (
        "zstd",
        "28b52ffd209b35040032c91e24a035e9ff3f08a4260c8687e4a8b01201444a724dc836b9d29af5cf450b74363379558103cf \
     75b3516196bd41abe40e1b8a75dcaee0dae5e905c1ddbef209f13c6f55cdc9ac6e47659ba74720504000a108206a0cb7b762 \
     ebde1d3b3214332e4f04fb0397e6d3996dbe5d9715368984537371e76067bcdce4ee0402004984f65f10ce",
    ),
];

#[tokio::test]
async fn packed_answers_go_through_as_they_are_and_are_read() {
    for (encoding, packed) in PACKED {
        let packed = bytes(packed);
        let headers = [
            "content-type: application/json",
            &format!("content-encoding: {encoding}"),
        ];
        let upstream = Upstream::always(with_headers("200 OK", &headers, &packed)).await;
        let bench = Bench::start(model(&upstream)).await;
        let got = bench.call().await;
        assert_eq!(
            (got.header("content-encoding"), &got.body),
            (Some(encoding), &packed)
        );
        let calls = bench.calls().await;
        assert_eq!((calls.len(), content(&calls[0])), (1, "Grüße 🌩"), "{encoding}");
        assert!(!is_cut(&calls[0]), "{encoding}");
    }
    // One that nobody knows goes through as well, and the record says why it tells no more.
    let headers = ["content-encoding: pied-piper"];
    let upstream = Upstream::always(with_headers("200 OK", &headers, "packed")).await;
    let bench = Bench::start(model(&upstream)).await;
    assert_eq!(bench.call().await.text(), "packed");
    let status = &bench.calls().await[0].status;
    assert_eq!(
        status.description.as_deref(),
        Some("the answer is encoded as `pied-piper`, which is not recorded")
    );
}

/// A few megabytes that would be a gigabyte: it costs the client nothing, and the proxy no more than its limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bomb_goes_through_as_it_is_and_is_recorded_as_cut() {
    let packed = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let bomb = [
        packed(&said("before it")),
        packed(&[b' '; 1 << 20]).repeat(1 << 10),
    ]
    .concat();
    assert!(bomb.len() < 8 << 20);
    let headers = ["content-type: application/json", "content-encoding: gzip"];
    let upstream = Upstream::always(with_headers("200 OK", &headers, &bomb)).await;
    let bench = Bench::start(model(&upstream)).await;
    for _ in 0..2 {
        assert!(bench.call().await.body == bomb);
    }
    let calls = bench.calls().await;
    assert_eq!(calls.len(), 2);
    for call in &calls {
        // Space may follow what was said, so as far as it was read it is whole.
        assert_eq!((content(call), is_cut(call)), ("before it", true));
    }
}

#[tokio::test]
async fn ten_megabytes_are_recorded_whole_and_more_than_is_kept_as_cut() {
    let large = "ü".repeat(5_000_000);
    let upstream = Upstream::always(json_answer("200 OK", said(&large))).await;
    let bench = Bench::start(model(&upstream)).await;
    assert_eq!(bench.call().await.body, said(&large));
    let calls = bench.calls().await;
    assert!(content(&calls[0]) == large && !is_cut(&calls[0]));

    let bench = Bench::with(model(&upstream), |builder| builder.capture_bytes(1_000)).await;
    assert_eq!(bench.call().await.body, said(&large), "the client gets all of it");
    let calls = bench.calls().await;
    assert_eq!((calls.len(), is_cut(&calls[0])), (1, true));
}

#[tokio::test]
async fn bytes_that_are_no_text_are_recorded_as_far_as_they_are() {
    let event = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\xff\xfeb\"}}]}\n\n";
    let mut answer = STREAM.as_bytes().to_vec();
    answer.extend(chunk(event));
    answer.extend(chunk("data: [DONE]\n\n"));
    answer.extend(END.as_bytes());
    let streamed = Upstream::always(answer).await;
    let bench = Bench::start(model(&streamed)).await;
    let got = bench.call().await;
    assert_eq!(&got.body[..event.len()], event);
    let calls = bench.calls().await;
    assert_eq!(content(&calls[0]), "a\u{fffd}\u{fffd}b");

    let whole = Upstream::always(json_answer("200 OK", b"{\"choices\":\xff}")).await;
    let bench = Bench::start(model(&whole)).await;
    assert_eq!(bench.call().await.body, b"{\"choices\":\xff}");
    let status = &bench.calls().await[0].status;
    assert_eq!(status.description.as_deref(), Some("the answer is no JSON"));
}

#[tokio::test]
async fn what_breaks_off_is_recorded_as_far_as_it_came() {
    let piece = chunk("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"half\"}}]}\n\n");
    let upstream = Upstream::start(move |_, mut stream| {
        let answer = [STREAM.as_bytes(), &piece].concat();
        async move {
            tokio::io::AsyncWriteExt::write_all(&mut stream, &answer)
                .await
                .ok()?;
            None
        }
    })
    .await;
    let bench = Bench::start(model(&upstream)).await;
    assert!(!bench.call().await.complete);
    let calls = bench.calls().await;
    assert_eq!(
        (content(&calls[0]), calls[0].status.status_code),
        ("half", SpanStatusCode::Error)
    );
    let problem = calls[0].status.description.as_deref().unwrap();
    assert!(
        problem.contains("the connection to the backend was lost"),
        "{problem}"
    );
}

#[tokio::test]
async fn who_waits_for_recordings_is_told_when_the_store_does_not_come() {
    let upstream = echo().await;
    let patience = Duration::from_millis(50);
    let bench = Bench::with(model(&upstream), |builder| builder.record_patience(patience)).await;
    bench.faults.break_down();
    for _ in 0..2 {
        assert_eq!(bench.call().await.status, 200);
    }
    let error = bench.recorded().await.unwrap_err();
    assert!(matches!(error, LlmProxyError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("2 calls of the attempt"), "{error}");
    // Nobody's patience is longer than the proxy's.
    for query in ["", "?wait_seconds=0", "?wait_seconds=1e9"] {
        let told = bench.asked(query).await.json();
        assert_eq!(told, json!({"recorded": false, "calls": 2}), "{query}");
    }
    for query in [
        "?wait_seconds=",
        "?wait_seconds=-1",
        "?wait_seconds=NaN",
        "?wait=1",
    ] {
        assert_eq!(bench.asked(query).await.status, 400, "{query}");
    }
    bench.faults.mend();
    while bench.asked("").await.json() != json!({"recorded": true}) {}
    assert_eq!(bench.calls().await.len(), 2);
}

#[tokio::test]
async fn what_a_rollout_is_for_decides_what_is_filled_in() {
    let upstream = Upstream::always(json_answer("200 OK", "{}")).await;
    let mut spec = model(&upstream)
        .parameter("temperature", 0.5)
        .parameter("top_p", 0.9);
    for (mode, temperature) in [("train", 1.0), ("val", 0.0)] {
        let parameters = json!({"temperature": temperature, "seed": 7});
        let parameters = parameters.as_object().unwrap().clone();
        match mode {
            "train" => spec.parameters_by_mode.train = parameters,
            _ => spec.parameters_by_mode.val = parameters,
        }
    }
    let bench = Bench::start(spec).await;
    let body = async |path: &str, request: &Value| {
        assert_eq!(post(&bench.proxy, path, request).await.status, 200);
        let seen = upstream.seen().last().unwrap().json();
        json!([seen["temperature"], seen["top_p"], seen["seed"]])
    };
    let plain = json!({"model": "m"});
    let usual = json!([0.5, 0.9, null]);
    for (mode, expected) in [
        (Some(RolloutMode::Train), json!([1.0, 0.9, 7])),
        (Some(RolloutMode::Val), json!([0.0, 0.9, 7])),
        (Some(RolloutMode::Test), usual.clone()),
        (None, usual.clone()),
    ] {
        let made = started(&*bench.store, mode).await;
        let path = format!("{}{CHAT}", prefix(&made));
        assert_eq!(body(&path, &plain).await, expected, "{mode:?}");
        // Once more, from what is remembered; and what the request says itself stays.
        let own = json!({"model": "m", "temperature": 0.25, "seed": null});
        let mut of_request = expected.clone();
        (of_request[0], of_request[2]) = (json!(0.25), json!(null));
        assert_eq!(body(&path, &own).await, of_request, "{mode:?}");
    }
    assert_eq!(body(CHAT, &plain).await, usual, "a call of no rollout");
    assert_eq!(
        body(&format!("/rollout/ro-x/attempt/at-x{CHAT}"), &plain).await,
        usual
    );

    // A store that is away is not waited for, nor is its silence taken for an answer.
    let made = started(&*bench.store, Some(RolloutMode::Train)).await;
    let path = format!("{}{CHAT}", prefix(&made));
    bench.faults.break_down();
    assert_eq!(body(&path, &plain).await, usual);
    bench.faults.mend();
    assert_eq!(body(&path, &plain).await, json!([1.0, 0.9, 7]));
}
