//! What a run costs, and who hears that it is not well.

use std::{path::Path, sync::Arc, time::Duration};

use lightning_core::{
    agent::agent_fn,
    alerts::{AlertRule, Alerts},
    prelude::*,
    run::{ModelUsage, Prices, RunError, StopReason, StopWhen},
    store::MemoryStore,
    trainer::{FitReport, TrainerBuilder, With},
    types::NewRollout,
};
use lightning_tests::scratch::Scratch;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{json_of, soon};

/// Enqueues all tasks and waits.
#[algo]
async fn run_all(store: Arc<dyn Store>, train_dataset: Dataset<u64>) -> anyhow::Result<()> {
    let new = train_dataset
        .iter()
        .map(|task| NewRollout::new(json!(task)))
        .collect();
    let made = store.enqueue_many_rollouts(new).await?;
    let ids: Vec<_> = made.into_iter().map(|rollout| rollout.rollout_id).collect();
    store.wait_for_rollouts(&ids, None).await?;
    Ok(())
}

fn trainer(alerts: Alerts) -> TrainerBuilder<With<u64, ()>> {
    Trainer::builder()
        .quiet()
        .algorithm(run_all::algorithm())
        .store(Arc::new(MemoryStore::new()) as Arc<dyn Store>)
        .alerts(alerts)
}

/// Fails on odd tasks from 100 on, is silent on other ones from 100 on, and is good at the rest.
async fn fit(alerts: Alerts, tasks: Vec<u64>) -> FitReport<()> {
    let agent = agent_fn(|task: u64, _| async move {
        anyhow::ensure!(task < 100 || task % 2 == 0, "too hard");
        Ok(1.0)
    });
    let trainer = trainer(alerts).build().unwrap();
    soon(trainer.fit(agent, tasks, None)).await.unwrap()
}

fn rules<O>(report: &FitReport<O>) -> Vec<AlertRule> {
    report.alerts.iter().map(|alert| alert.rule).collect()
}

/// Takes one request and gives its body.
async fn receive(listener: &TcpListener) -> Value {
    let (mut connection, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    loop {
        let mut part = [0; 1024];
        let read = connection.read(&mut part).await.unwrap();
        request.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            line.to_lowercase()
                .strip_prefix("content-length: ")?
                .parse::<usize>()
                .ok()
        });
        if body.len() >= length.unwrap() {
            assert!(head.starts_with("POST /alerts HTTP/1.1"), "{head}");
            let body = serde_json::from_str(body).unwrap();
            connection
                .write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
                .await
                .unwrap();
            return body;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_fails_is_told_to_the_webhook_and_in_the_report() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/alerts", listener.local_addr().unwrap());
    let odd = (0..12).map(|task| 101 + 2 * task).collect();
    let (report, body) = tokio::join!(
        fit(Alerts::default().no_reward_at_all(false).webhook(url), odd),
        soon(receive(&listener))
    );
    assert_eq!(rules(&report), [AlertRule::Failures]);
    assert_eq!(
        (&body["rule"], &body["run_id"]),
        (&json!("failures"), &json!(report.run_id))
    );
    assert_eq!(body["message"], json!(report.alerts[0].message));
    assert!(
        report.alerts[0]
            .message
            .contains("10 of the last 10 rollouts failed")
    );
    assert_eq!(
        format!("{:?}", report.exit_code()),
        format!("{:?}", std::process::ExitCode::from(3))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_nobody_serves_or_that_never_answers_does_not_hold_the_run() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hanging = format!("http://{}/alerts", silent.local_addr().unwrap());
    for url in [
        "http://127.0.0.1:1/alerts".to_owned(),
        hanging,
        "no url".to_owned(),
    ] {
        let odd = (0..12).map(|task| 101 + 2 * task).collect();
        let report = fit(Alerts::default().webhook(url), odd).await;
        assert_eq!(rules(&report), [AlertRule::Failures, AlertRule::NoRewardAtAll]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_quietly_produces_nothing_is_told_and_one_that_is_well_is_not() {
    let report = fit(Alerts::default(), (0..20).collect()).await;
    assert_eq!(rules(&report), []);
    assert_eq!(
        format!("{:?}", report.exit_code()),
        format!("{:?}", std::process::ExitCode::SUCCESS)
    );
    let trainer = trainer(Alerts::default()).build().unwrap();
    let silent = agent_fn(|_: u64, _| async {});
    let report = soon(trainer.fit(silent, (0..3).collect::<Vec<u64>>(), None))
        .await
        .unwrap();
    assert_eq!(rules(&report), [AlertRule::NoRewardAtAll]);
    let report = fit(Alerts::none(), (0..20).map(|task| 101 + 2 * task).collect()).await;
    assert_eq!(rules(&report), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_in_which_nothing_ends_is_told_while_it_goes_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/alerts", listener.local_addr().unwrap());
    let alerts = Alerts::none()
        .no_progress(Duration::from_millis(50))
        .oldest_queued(Duration::from_millis(50))
        .webhook(url);
    let trainer = trainer(alerts).build().unwrap();
    let stuck = agent_fn(|_: u64, _| async { std::future::pending::<f64>().await });
    let told = async {
        let mut rules = [receive(&listener).await, receive(&listener).await]
            .map(|body| body["rule"].as_str().unwrap().to_owned());
        rules.sort();
        rules
    };
    tokio::select! {
        _ = trainer.fit(stuck, vec![1, 2], None) => panic!("nothing ends"),
        rules = soon(told) => assert_eq!(rules, ["no_progress", "oldest_queued"]),
    }
}

/// Asks a model, which is paid for, until the run should stop.
#[algo]
async fn spends(run: RunContext) -> anyhow::Result<u64> {
    for round in 0.. {
        if run.should_stop().is_some() {
            return Ok(round);
        }
        let asked = async {
            let usage = ModelUsage::of_call("thought", Some("large"), Some(1_000_000), Some(0));
            Ok::<_, RunError>(((), vec![usage]))
        };
        run.memo_counted(format!("round {round}"), asked).await?;
    }
    unreachable!("there is always another round")
}

#[tokio::test]
async fn a_run_stops_at_its_limit_of_cost_also_when_it_was_resumed() {
    let scratch = Scratch::fast();
    let spend = async |folder: &Path, limit: f64| {
        let trainer = Trainer::builder()
            .quiet()
            .algorithm(spends::algorithm())
            .prices(Prices::new("EUR").model("large", 0.5, 1.0))
            .stop_when(StopWhen::never().cost(limit))
            .run_dir(folder)
            .build()
            .unwrap();
        let agent = agent_fn(|_: u64, _| async { 1.0 });
        soon(trainer.fit(agent, None, None)).await.unwrap()
    };
    let folder = scratch.path("run");
    let first = spend(&folder, 2.0).await;
    assert_eq!((first.output, first.stopped), (4, Some(StopReason::Cost)));
    assert_eq!(first.cost.unwrap().to_string(), "2 EUR");
    assert_eq!(json_of(&folder, "run.json")["cost"]["amount"], json!(2.0));
    let second = spend(&folder, 2.0).await;
    assert_eq!(second.cost.unwrap().amount, 2.0, "nothing more is spent");
    let third = spend(&folder, 3.0).await;
    assert_eq!((third.output, third.cost.unwrap().amount), (6, 3.0));
}

#[test]
fn a_limit_of_cost_needs_prices_that_make_sense() {
    let builder = || Trainer::builder().quiet().algorithm(spends::algorithm());
    let limit = StopWhen::never().cost(1.0);
    let refused = |error: lightning_core::trainer::TrainerError| error.to_string();
    let error = builder()
        .stop_when(limit.clone())
        .build::<With<u64, u64>>()
        .map(drop)
        .unwrap_err();
    assert!(refused(error).contains("give `prices`"));
    let prices = Prices::new("EUR").model("large", -1.0, 1.0);
    let error = builder()
        .stop_when(limit)
        .prices(prices)
        .build::<With<u64, u64>>()
        .map(drop)
        .unwrap_err();
    assert!(refused(error).contains("the price of `large` is -1 in"));
}
