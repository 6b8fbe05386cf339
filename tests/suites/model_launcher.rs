//! Servers of models as processes of ours, with a program that stands in for vLLM.
#![cfg(unix)]

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use lightning_core::{
    chat::{ChatModel as _, ChatRequest, HttpChat, Message},
    llm_proxy::{ControlProxy as _, LlmProxy, ProxyModel, ReverseProxy},
    model_launcher::{LaunchError, LaunchedModel, ModelLauncher, ModelState},
    store::MemoryStore,
    types::{Llm, Resource},
};
use lightning_tests::scratch::Scratch;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

const STAND_IN: &str = env!("CARGO_BIN_EXE_vllm_stand_in");
/// Longer than anything takes; what hangs fails.
const LONG: Duration = Duration::from_secs(120);

fn command(more: &[&str]) -> Vec<String> {
    let base = [STAND_IN, "serve", "{checkpoint}", "--port", "{port}"];
    base.iter().chain(more).map(ToString::to_string).collect()
}

fn launcher(more: &[&str]) -> ModelLauncher {
    ModelLauncher::new(command(more))
        .unwrap()
        .restart_pause(Duration::from_millis(1))
}

/// What the server answers at a path.
async fn ask(url: &str, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap())
        .await
        .unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    // Who dies does not answer.
    let _ = stream.read_to_string(&mut answer).await;
    answer.rsplit("\r\n").next().unwrap_or_default().to_owned()
}

/// A connection that ends with the process behind this address.
async fn hold(url: &str) -> TcpStream {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap())
        .await
        .unwrap();
    stream.write_all(b"GET /hold HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'h');
    stream
}

async fn gone(mut held: TcpStream) {
    // It may end in order or be reset.
    let ended = timeout(LONG, held.read_u8()).await.expect("it has gone");
    ended.unwrap_err();
}

async fn worker_of(url: &str) -> String {
    format!("http://127.0.0.1:{}", ask(url, "GET", "/worker").await)
}

/// What a model answers: the stand-in says its checkpoint.
async fn says(llm: Llm) -> String {
    let model = HttpChat::builder(llm).retries(0).build().unwrap();
    model
        .ask(&ChatRequest::new([Message::user("who?")]))
        .await
        .unwrap()
        .text
}

async fn until(model: &LaunchedModel, wanted: impl Fn(&ModelState) -> bool) -> ModelState {
    let mut states = model.watch();
    let state = timeout(LONG, states.wait_for(wanted))
        .await
        .expect("in time")
        .unwrap();
    state.clone()
}

fn is_ready(state: &ModelState) -> bool {
    matches!(state, ModelState::Ready { .. })
}

#[tokio::test]
async fn a_server_is_waited_for_and_stopped() {
    let model = launcher(&["--warm-up", "3"])
        .env("CHECKPOINT", "it is {checkpoint}")
        .start("step-1")
        .await
        .unwrap();
    let url = model.url().unwrap();
    assert_eq!(says(Llm::new(format!("{url}/v1"), "policy")).await, "step-1");
    assert_eq!(ask(&url, "GET", "/environment").await, "it is step-1");
    assert_eq!(
        model.proxy_model("policy"),
        ProxyModel::new("policy", format!("{url}/v1"))
    );
    let held = hold(&url).await;
    model.stop().await;
    gone(held).await;
    assert!(
        TcpStream::connect(url.strip_prefix("http://").unwrap())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn what_ends_before_it_is_ready_says_what_it_wrote() {
    let folder = Scratch::fast();
    let lives = folder.path("lives");
    let error = launcher(&["--lives", lives.to_str().unwrap(), "0"])
        .start("step-1")
        .await
        .unwrap_err();
    assert!(matches!(error, LaunchError::ExitedEarly { .. }), "{error:?}");
    let said = error.to_string();
    assert!(
        said.contains("exit status: 3")
            && said.contains("CUDA out of memory")
            && said.contains("loading step-1"),
        "{said}"
    );
    let missing = ModelLauncher::new(["no-such-program", "{checkpoint}"]).unwrap();
    let said = missing.start("x").await.unwrap_err().to_string();
    assert!(
        said.contains("exit status: 127") && said.contains("no-such-program"),
        "{said}"
    );
    let nowhere = launcher(&[])
        .folder(folder.path("none"))
        .start("x")
        .await
        .unwrap_err();
    assert!(matches!(nowhere, LaunchError::Start { .. }), "{nowhere:?}");
    for (command, needle) in [
        (vec![], "no program"),
        (vec![" ", "{checkpoint}"], "no program"),
        (vec!["vllm", "serve"], "{checkpoint}"),
        (vec!["vllm", "{checkpoint}\0"], "zero byte"),
    ] {
        let said = ModelLauncher::new(command).unwrap_err().to_string();
        assert!(said.contains(needle), "{said}");
    }
}

#[tokio::test]
async fn what_is_never_ready_is_stopped_in_the_end() {
    let told = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = told.local_addr().unwrap().port().to_string();
    let launcher = launcher(&["--never-ready", "--tell", &port])
        .health_path("ready")
        .start_timeout(Duration::from_secs(2));
    let (error, held) = tokio::join!(launcher.start("step-1"), told.accept());
    let error = error.unwrap_err();
    let LaunchError::Unhealthy { url, last, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(
        url.ends_with("/ready") && error.to_string().contains("start_timeout"),
        "{error}"
    );
    // On a busy machine it may not even have come to answer.
    let answers = [
        "answered 503 Service Unavailable",
        "refused the connection",
        "gave no answer",
    ];
    assert!(answers.contains(&last.as_str()), "{error}");
    gone(held.unwrap().0).await;
}

#[tokio::test]
async fn the_whole_group_goes_with_a_server_even_if_it_ignores_the_request() {
    let ignoring = ["/bin/sh", "-c", "trap '' TERM; exec \"$0\" \"$@\""].map(str::to_owned);
    let command = ignoring.into_iter().chain(command(&["--worker"]));
    let launcher = ModelLauncher::new(command)
        .unwrap()
        .stop_grace(Duration::from_millis(100));
    for dropped in [false, true] {
        let model = launcher.start("step-1").await.unwrap();
        let url = model.url().unwrap();
        let (server, worker) = (hold(&url).await, hold(&worker_of(&url).await).await);
        if dropped {
            drop(model);
        } else {
            model.stop().await;
        }
        gone(server).await;
        gone(worker).await;
    }
}

/// A proxy before a model, and what agents get of it.
async fn proxy_of(model: &LaunchedModel) -> (ReverseProxy, Llm) {
    let proxy = ReverseProxy::builder()
        .model(ProxyModel::new("other", "http://127.0.0.1:9/v1"))
        .model(model.proxy_model("policy").parameter("temperature", 0.5))
        .store(Arc::new(MemoryStore::new()))
        .build()
        .unwrap();
    proxy.start().await.unwrap();
    let Resource::ProxyLlm(llm) = proxy.as_resource(Some("policy")).unwrap() else {
        panic!("no model behind a proxy")
    };
    (proxy, Llm::new(llm.endpoint, "policy"))
}

#[tokio::test]
async fn the_next_checkpoint_is_served_and_proxies_follow() {
    let model = launcher(&["--warm-up", "1", "--worker"])
        .start("step-1")
        .await
        .unwrap();
    let (proxy, llm) = proxy_of(&model).await;
    model.follow(proxy.clone()).await.unwrap();
    assert_eq!(says(llm.clone()).await, "step-1");
    for number in 2..4 {
        let before = model.url().unwrap();
        let (server, worker) = (hold(&before).await, hold(&worker_of(&before).await).await);
        let next = format!("step-{number}");
        model.swap(&next).await.unwrap();
        gone(server).await;
        gone(worker).await;
        assert!(matches!(model.state(), ModelState::Ready { checkpoint, .. } if checkpoint == next));
        assert_eq!(says(llm.clone()).await, next, "and it is not paused");
        let models = proxy.models();
        let now = format!("{}/v1", model.url().unwrap());
        assert_eq!(models[0], ProxyModel::new("other", "http://127.0.0.1:9/v1"));
        assert_eq!(
            models[1],
            ProxyModel::new("policy", now).parameter("temperature", 0.5)
        );
    }
    let stranger = ReverseProxy::builder()
        .model(ProxyModel::new("other", "http://127.0.0.1:9/v1"))
        .build()
        .unwrap();
    let error = model.follow(LlmProxy::from(stranger)).await.unwrap_err();
    assert!(error.to_string().contains(&model.url().unwrap()), "{error}");
    model.stop().await;
    proxy.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_dies_is_started_again_until_it_is_too_often() {
    let folder = Scratch::fast();
    let lives = folder.path("lives");
    let model = launcher(&["--lives", lives.to_str().unwrap(), "3"])
        .restarts(2)
        .start("step-1")
        .await
        .unwrap();
    let (proxy, llm) = proxy_of(&model).await;
    model.follow(proxy.clone()).await.unwrap();
    for _ in 0..2 {
        let before = model.url().unwrap();
        ask(&before, "POST", "/die").await;
        // It may be ready again on the same port, as far as this can tell, so the file says how often it began.
        until(&model, |state| {
            !is_ready(state) || matches!(state, ModelState::Ready { url, .. } if *url != before)
        })
        .await;
        until(&model, is_ready).await;
        assert_eq!(says(llm.clone()).await, "step-1");
    }
    assert_eq!(std::fs::metadata(&lives).unwrap().len(), 3);
    ask(&model.url().unwrap(), "POST", "/die").await;
    let state = until(&model, |state| matches!(state, ModelState::Failed(_))).await;
    let ModelState::Failed(LaunchError::GaveUp { times: 3, how, .. }) = &state else {
        panic!("{state:?}")
    };
    assert!(how == "exit status: 9", "{how}");
    assert!(model.url().is_none());
    let said = HttpChat::builder(llm.clone()).retries(0).build().unwrap();
    assert!(
        said.ask(&ChatRequest::new([Message::user("who?")]))
            .await
            .is_err(),
        "calls fail, and do not hang"
    );
    // Who asks for it gets another chance.
    assert!(matches!(
        model.swap("step-2").await,
        Err(LaunchError::ExitedEarly { .. })
    ));
    std::fs::write(&lives, "").unwrap();
    model.swap("step-3").await.unwrap();
    assert_eq!(says(llm).await, "step-3");
    model.stop().await;
    proxy.stop().await.unwrap();
}

#[tokio::test]
async fn a_successor_that_ends_before_it_is_ready_counts_as_another_death() {
    let folder = Scratch::fast();
    let lives = folder.path("lives");
    let model = launcher(&["--lives", lives.to_str().unwrap(), "1"])
        .restarts(1)
        .start("step-1")
        .await
        .unwrap();
    ask(&model.url().unwrap(), "POST", "/die").await;
    let state = until(&model, |state| matches!(state, ModelState::Failed(_))).await;
    let ModelState::Failed(error @ LaunchError::GaveUp { times: 2, .. }) = &state else {
        panic!("{state:?}")
    };
    let said = error.to_string();
    assert!(
        said.contains("exit status: 3") && said.contains("CUDA out of memory"),
        "{said}"
    );
    assert_eq!(std::fs::metadata(&lives).unwrap().len(), 2);
    model.stop().await;
}

#[tokio::test]
async fn a_later_order_goes_before_one_that_takes_its_time() {
    let model = launcher(&["--stuck-on", "step-2"]).start("step-1").await.unwrap();
    let mut states = model.watch();
    let (first, second) = tokio::join!(model.swap("step-2"), async {
        let starting = |state: &ModelState| matches!(state, ModelState::Starting);
        timeout(LONG, states.wait_for(starting)).await.unwrap().unwrap();
        model.swap("step-3").await
    });
    assert!(matches!(first, Err(LaunchError::Interrupted)), "{first:?}");
    second.unwrap();
    assert!(matches!(model.state(), ModelState::Ready { checkpoint, .. } if checkpoint == "step-3"));
    model.stop().await;
}

/// No process is left when the one that holds the server is killed, whether the server heeds TERM or not.
#[tokio::test]
async fn nothing_is_left_when_we_are_killed() {
    let ignoring = ["/bin/sh", "-c", "trap '' TERM; exec \"$0\" \"$@\""].map(str::to_owned);
    for before in [&ignoring[..], &[]] {
        let mut holder = Command::new(env!("CARGO_BIN_EXE_launching"))
            .args(before.iter().cloned().chain(command(&["--worker"])))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap())
            .read_line(&mut url)
            .unwrap();
        let url = url.trim();
        let (server, worker) = (hold(url).await, hold(&worker_of(url).await).await);
        holder.kill().unwrap();
        holder.wait().unwrap();
        gone(server).await;
        gone(worker).await;
    }
}
