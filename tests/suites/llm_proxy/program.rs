//! The proxy as a program of its own.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use lightning_core::{
    llm_proxy::ProxyConfig,
    semconv,
    server::{ServerOptions, StoreServer},
    store::{MemoryStore, SqliteStore, Store},
    types::{AttemptedRollout, NewRollout, Span, SpanQuery},
};
use lightning_tests::scratch::Scratch;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{
    upstream::{END, STREAM, Upstream, chunk, json_answer, say},
    world::{Answer, CHAT, Client, chat, echo},
};

fn program(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lightning_under_test"));
    command
        .args(["proxy", "--port", "0", "--config"])
        .arg(config)
        .stdin(Stdio::null())
        .env_remove("LIGHTNING_STORE_URL")
        .env_remove("LIGHTNING_LOG");
    command
}

/// The program, until it is dropped.
struct Program {
    process: Child,
    address: String,
    greeting: String,
    log: mpsc::Receiver<String>,
}

impl Program {
    fn start(mut command: Command) -> Self {
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, log) = mpsc::channel();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        thread::spawn(move || {
            stderr
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        let mut greeting = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut greeting)
            .unwrap();
        let address = greeting.trim().rsplit_once("http://");
        let address = address.unwrap_or_else(|| panic!("{greeting}")).1.to_owned();
        Self {
            process,
            address,
            greeting,
            log,
        }
    }

    /// Resolves when this was logged.
    fn has_said(&self, text: &str) -> String {
        loop {
            let line = self.log.recv_timeout(Duration::from_secs(60));
            let line = line.unwrap_or_else(|error| panic!("it did not say `{text}`: {error}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.process.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    async fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        let mut client = Client::to(&self.address).await;
        client.send(method, path, &[], body.to_string()).await;
        client.answer().await
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn with_model(name: &str, upstream: &Upstream) -> String {
    let url = upstream.base_url();
    format!("models:\n  - name: {name}\n    backends:\n      - base_url: {url}\n")
}

async fn started(store: &dyn Store) -> AttemptedRollout {
    store
        .start_rollout(NewRollout::new(json!("task")), None)
        .await
        .unwrap()
}

fn prefix(made: &AttemptedRollout) -> String {
    format!("/rollout/{}/attempt/{}", made.rollout_id, made.attempt.attempt_id)
}

async fn spans(store: &dyn Store, made: &AttemptedRollout) -> Vec<Span> {
    let query = SpanQuery::of(made.rollout_id.clone());
    store.query_spans(query).await.unwrap().items
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_runs_a_proxy_from_a_file() {
    let upstream = echo().await;
    let scratch = Scratch::fast();
    let file = scratch.path("models.yaml");
    std::fs::write(&file, with_model("m", &upstream)).unwrap();
    let running = Program::start(program(&file));
    assert!(
        running.greeting.contains("records nothing"),
        "{}",
        running.greeting
    );
    assert_eq!(running.send("POST", CHAT, &chat()).await.status, 200);
    drop(running);

    // What is wrong with a file is said with its place, and without a key.
    for (wrong, place) in [
        ("base_url: ftp://h", "models.yaml:4"),
        ("base_url: http://h\n        api_key: 12345678", "models.yaml:5"),
        ("base_url: http://h\n        wieght: 2", "wieght"),
        (
            "base_url: http://h\n        api_key: {env: LIGHTNING_NO_SUCH_KEY}",
            "models[0].backends[0].api_key",
        ),
    ] {
        std::fs::write(
            &file,
            format!("models:\n  - name: m\n    backends:\n      - {wrong}\n"),
        )
        .unwrap();
        let out = program(&file).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(
            !out.status.success() && said.contains("models.yaml") && said.contains(place),
            "{said}"
        );
        assert!(!said.contains("12345678"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hang_up_has_the_file_read_again_and_breaks_nothing_off() {
    let permits = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&permits);
    let before = Upstream::start(move |_, mut stream| {
        let gate = Arc::clone(&gate);
        async move {
            tokio::io::AsyncWriteExt::write_all(&mut stream, STREAM.as_bytes())
                .await
                .ok()?;
            tokio::io::AsyncWriteExt::write_all(&mut stream, &chunk("data: 1\n\n"))
                .await
                .ok()?;
            gate.acquire().await.unwrap().forget();
            say(stream, [&chunk("data: 2\n\n"), END.as_bytes()].concat()).await
        }
    })
    .await;
    let after = Upstream::always(json_answer("200 OK", r#""after""#)).await;
    let scratch = Scratch::fast();
    let file = scratch.path("models.yaml");
    std::fs::write(&file, with_model("m", &before)).unwrap();
    let running = Program::start(program(&file));
    let mut under_way = Client::to(&running.address).await;
    under_way.send("POST", CHAT, &[], chat().to_string()).await;
    under_way.head().await;
    assert_eq!(under_way.chunk().await.unwrap(), b"data: 1\n\n");

    std::fs::write(&file, with_model("m", &after)).unwrap();
    running.signal("HUP");
    running.has_said("the models were changed");
    assert_eq!(running.send("POST", CHAT, &chat()).await.text(), r#""after""#);

    // A file that cannot be used changes nothing, and is told of.
    std::fs::write(&file, "models: []\n").unwrap();
    running.signal("HUP");
    let said = running.has_said("the models stay as they were");
    assert!(said.contains("there are none"), "{said}");
    std::fs::remove_file(&file).unwrap();
    running.signal("HUP");
    running.has_said("the models stay as they were");
    assert_eq!(running.send("POST", CHAT, &chat()).await.text(), r#""after""#);

    std::fs::write(&file, with_model("n", &after)).unwrap();
    running.signal("HUP");
    running.has_said("the models were changed");
    assert_eq!(running.send("POST", CHAT, &chat()).await.status, 404);
    assert_eq!(
        running.send("POST", CHAT, &json!({"model": "n"})).await.status,
        200
    );

    permits.add_permits(1);
    assert_eq!(under_way.chunk().await.unwrap(), b"data: 2\n\n");
    assert_eq!(under_way.chunk().await.as_deref(), Some(&b""[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_records_at_a_server_which_may_come_later() {
    let upstream = echo().await;
    let scratch = Scratch::fast();
    let file = scratch.path("models.yaml");
    std::fs::write(&file, with_model("m", &upstream)).unwrap();
    // Whoever connects is heard when the store is there.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let made = started(&*store).await;

    let mut command = program(&file);
    command
        .args(["--store", &url])
        .env_remove("LIGHTNING_STORE_TOKEN");
    let running = Program::start(command);
    assert!(
        !running.greeting.contains("records nothing"),
        "{}",
        running.greeting
    );
    let path = prefix(&made);
    assert_eq!(
        running
            .send("POST", &format!("{path}{CHAT}"), &chat())
            .await
            .status,
        200
    );
    let asked = format!("{path}/recorded?wait_seconds=0");
    let told = running.send("GET", &asked, &json!(null)).await.json();
    assert_eq!(told, json!({"recorded": false, "calls": 1}));

    let stop = CancellationToken::new();
    let server = StoreServer::on(listener, Arc::clone(&store), ServerOptions::default()).unwrap();
    let serving = tokio::spawn(server.serve(stop.clone()));
    // Each request waits for a while, so that who asks again does not poll.
    while running
        .send("GET", &format!("{path}/recorded"), &json!(null))
        .await
        .json()["recorded"]
        != true
    {}
    let spans = spans(&*store, &made).await;
    assert_eq!(
        spans
            .iter()
            .filter(|span| span.name == semconv::PROXY_REQUEST)
            .count(),
        1
    );
    drop(running);
    stop.cancel();
    serving.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_records_in_a_file_and_ends_when_that_is_done() {
    let upstream = echo().await;
    let scratch = Scratch::fast();
    let file = scratch.path("models.yaml");
    std::fs::write(&file, with_model("m", &upstream)).unwrap();
    let database = scratch.path("store.db");
    let store = SqliteStore::open(&database).unwrap();
    let made = started(&store).await;
    drop(store);

    let mut command = program(&file);
    command.args(["--store", &format!("sqlite:{}", database.display())]);
    let mut running = Program::start(command);
    for _ in 0..20 {
        let path = format!("{}{CHAT}", prefix(&made));
        assert_eq!(running.send("POST", &path, &chat()).await.status, 200);
    }
    running.signal("TERM");
    assert!(running.process.wait().unwrap().success());
    let store = SqliteStore::open(&database).unwrap();
    let spans = spans(&store, &made).await;
    assert_eq!(
        spans
            .iter()
            .filter(|span| span.name == semconv::PROXY_REQUEST)
            .count(),
        20
    );
}

#[test]
fn the_file_in_the_book_is_one() {
    let page = include_str!("../../../docs/src/llm-proxy.md");
    let (_, rest) = page.split_once("```yaml\n").unwrap();
    let (yaml, _) = rest.split_once("```").unwrap();
    let scratch = Scratch::fast();
    let file = scratch.path("models.yaml");
    std::fs::write(&file, yaml).unwrap();
    let config = ProxyConfig::read(&file).unwrap();
    let names: Vec<_> = config.models.iter().map(|model| model.name.as_str()).collect();
    assert_eq!(names, ["small", "claude"]);
    assert_eq!(config.models[0].backends.len(), 2);
}
