//! A real llama.cpp behind the proxy. Runs only if `MODEL_GGUF` names the file of a chat model; then `LIGHTNING_GGUF_PYTHON` (or
//! else `python3`) has to be an interpreter with `xllamacpp`. `tests/python/fetch_weights.py` gets a model that is small enough.

use std::{
    env,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
};

use lightning_core::{
    chat::{ChatRequest, Message},
    llm_proxy::{ControlProxy as _, ProxyBackend, ProxyModel, ReverseProxy},
    semconv,
    store::{MemoryStore, Store},
    types::{AttemptedRollout, Llm, NewRollout, Span, SpanQuery},
};
use serde_json::{Value, json};

use super::world::{CHAT, Client, post, send};

/// llama.cpp's server with the model, until it is dropped.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    /// `None` if nobody asked for one.
    fn start() -> Option<Self> {
        let model = env::var_os("MODEL_GGUF").filter(|model| !model.is_empty())?;
        assert!(
            Path::new(&model).is_file(),
            "MODEL_GGUF names no file: {}",
            model.display()
        );
        let python = env::var_os("LIGHTNING_GGUF_PYTHON").unwrap_or_else(|| "python3".into());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/serve_gguf.py");
        let mut process = Command::new(python)
            .arg(script)
            .arg(model)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("LIGHTNING_GGUF_PYTHON is an interpreter");
        let mut stderr = process.stderr.take().unwrap();
        let log = thread::spawn(move || {
            let mut log = Vec::new();
            let _ = stderr.read_to_end(&mut log);
            String::from_utf8_lossy(&log).into_owned()
        });
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        if line.is_empty() {
            let _ = process.wait();
            panic!("no llama.cpp (pip install xllamacpp): {}", log.join().unwrap());
        }
        let url = line.trim().to_owned();
        Some(Self { process, url })
    }

    /// Asks the server itself, beside the model's interface.
    async fn ask(&self, path: &str, body: &Value) -> Value {
        let address = self.url.trim_start_matches("http://").trim_end_matches("/v1");
        let mut client = Client::to(address).await;
        client
            .send(
                "POST",
                path,
                &["content-type: application/json"],
                body.to_string(),
            )
            .await;
        client.answer().await.json()
    }

    /// The ids of a text's tokens, as the model has them.
    async fn tokens(&self, text: &str) -> Vec<u64> {
        let asked = json!({"content": text, "add_special": false, "parse_special": true});
        let told = self.ask("/tokenize", &asked).await;
        let ids = told["tokens"].as_array().unwrap().iter();
        ids.map(|id| id.as_u64().unwrap()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn spans(store: &dyn Store, proxy: &ReverseProxy, made: &AttemptedRollout) -> Vec<Span> {
    let (rollout, attempt) = (&made.rollout_id, &made.attempt.attempt_id);
    proxy.recorded(rollout, attempt).await.unwrap();
    let query = SpanQuery::of(rollout.clone());
    store.query_spans(query).await.unwrap().items
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_a_real_model_are_recorded_token_by_token() {
    let Some(server) = Server::start() else {
        return;
    };
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut backend = ProxyBackend::new(&server.url).model("gguf").with_logprobs();
    backend.stream_usage = true;
    let model = ProxyModel::new("small", &server.url)
        .backends([backend])
        .parameter("temperature", 0)
        .parameter("seed", 7);
    let builder = ReverseProxy::builder().model(model).store(Arc::clone(&store));
    let proxy = builder.build().unwrap();
    proxy.start().await.unwrap();

    let messages = json!([{"role": "user", "content": "Write a haiku about rain."}]);
    for streams in [false, true] {
        let rollout = NewRollout::new(json!("task"));
        let made = store.start_rollout(rollout, None).await.unwrap();
        let prefix = format!("/rollout/{}/attempt/{}", made.rollout_id, made.attempt.attempt_id);
        let request = json!({"model": "small", "messages": messages, "max_tokens": 8, "stream": streams});
        let got = post(&proxy, &format!("{prefix}{CHAT}"), &request).await;
        assert_eq!((got.status, got.complete), (200, true), "{}", got.text());
        assert_eq!(got.text().contains("data: [DONE]"), streams);

        let spans = spans(&*store, &proxy, &made).await;
        let [call, raw] = &spans[..] else {
            panic!("{spans:?}")
        };
        assert_eq!(
            (call.name.as_str(), raw.name.as_str()),
            (semconv::PROXY_REQUEST, semconv::RAW_REQUEST)
        );
        let said = call.attributes["gen_ai.completion.0.content"].as_str().unwrap();
        // What the model itself counts.
        let asked = server
            .ask("/apply-template", &json!({"messages": messages}))
            .await;
        let prompt = server.tokens(asked["prompt"].as_str().unwrap()).await;
        assert_eq!(
            call.attributes[semconv::GEN_AI_PROMPT_TOKENS],
            json!(prompt.len())
        );
        let ids: Vec<Vec<u64>> = serde_json::from_str(
            raw.attributes["llm.hosted_vllm.response_token_ids"]
                .as_str()
                .unwrap(),
        )
        .unwrap();
        assert_eq!(
            call.attributes[semconv::GEN_AI_COMPLETION_TOKENS],
            json!(ids[0].len())
        );
        // The ids are those of what was said: a haiku of so many tokens does not come to its end.
        assert_eq!(ids, [server.tokens(said).await], "{said}");
        let logprobs: Vec<Value> =
            serde_json::from_str(raw.attributes["logprobs.content"].as_str().unwrap()).unwrap();
        assert_eq!(logprobs.len(), ids[0].len());
        assert!(
            logprobs
                .iter()
                .all(|token| token["logprob"].as_f64().unwrap() <= 0.0)
        );
    }

    // Our own client at the same place, and what the server refuses, in whatever way.
    let llm = Llm::new(format!("{}/v1", proxy.url().unwrap()), "small");
    let request = ChatRequest::new([Message::user("What is 2 + 2? Answer with one number.")]);
    let mut stream = llm.chat().unwrap().stream(&request).await.unwrap();
    let mut text = String::new();
    while let Some(piece) = stream.next().await.unwrap() {
        text.push_str(&piece.text);
    }
    assert!(text.contains('4'), "{text}");
    let wrong = json!({"model": "small", "messages": "none"});
    let refused = send(&proxy, "POST", CHAT, &[], wrong.to_string()).await;
    assert!(refused.status >= 400, "{}", refused.text());
}
