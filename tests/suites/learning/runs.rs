//! Whole runs, small.

use std::sync::Arc;

use lightning_core::{
    algorithm::{FineTuned, Sft},
    llm_proxy::{ControlProxy as _, ProxyModel, ReverseProxy},
    run::StopWhen,
    store::MemoryStore,
    train_process::{TrainProgram, digest_of_weights},
    trainer::FitReport,
};
use lightning_tests::{
    learning::{World, ignorant_model, letters, say_ascii, tiny},
    scratch::Scratch,
};

use super::trains;

/// Runs the algorithm as `change` has it.
async fn run(scratch: &Scratch, change: impl FnOnce(Sft<String>) -> Sft<String>) -> FitReport<FineTuned> {
    let model = scratch.path("model");
    ignorant_model(&model);
    let world = World::start(&model).await;
    let trainer = world
        .trainer(change(tiny(&model)))
        .extension(trains())
        .run_dir(scratch.path("run"));
    let trainer = trainer.store(Arc::new(MemoryStore::new())).build().unwrap();
    let report = trainer
        .fit(say_ascii::agent(), letters(b'a', 20), letters(b'A', 4))
        .await
        .unwrap();
    assert_eq!(world.engine.served().version, report.output.version.to_string());
    world.stop().await;
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_learns_what_is_rewarded() {
    let scratch = Scratch::fast();
    let report = run(&scratch, |sft| sft).await;
    let found = report.output;
    let (before, after) = (found.before.unwrap(), found.after.unwrap());
    assert!(
        before.pass_at_1 < 0.8 && after.pass_at_1 > 0.9,
        "{before:?} {after:?}"
    );
    assert_eq!((after.k, after.tasks, after.samples), (4, 4, 16));
    assert_eq!((found.version, found.iterations.len()), (3, 3));
    assert_eq!(found.sha256, digest_of_weights(&found.model).unwrap());
    assert_ne!(found.sha256, found.base_sha256);
    let last = report
        .metrics
        .iter()
        .rfind(|metric| metric.name == "test_pass_at_1")
        .unwrap();
    assert_eq!((last.step, last.value), (3, after.pass_at_1));
    for name in [
        "reward",
        "train_pass_at_1",
        "train_pass_at_4",
        "kept",
        "loss",
        "collect_tokens_per_second",
    ] {
        let noted = report.metrics.iter().filter(|metric| metric.name == name);
        assert_eq!(
            noted.map(|metric| metric.step).collect::<Vec<_>>(),
            [1, 2, 3],
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shuffled_rewards_teach_nothing() {
    let scratch = Scratch::fast();
    let found = run(&scratch, |sft| sft.shuffle_rewards(true)).await.output;
    let (before, after) = (found.before.unwrap(), found.after.unwrap());
    assert!(after.pass_at_1 < 0.85, "{before:?} {after:?}");
    assert_eq!(found.version, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_is_good_enough_nothing_is_trained() {
    let scratch = Scratch::fast();
    let found = run(&scratch, |sft| sft.min_reward(2.0).iterations(1))
        .await
        .output;
    assert_eq!((found.version, found.sha256 == found.base_sha256), (0, true));
    assert_eq!((found.iterations[0].kept, found.iterations[0].loss), (0, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_condition_ends_it_with_the_last_model() {
    let scratch = Scratch::fast();
    let model = scratch.path("model");
    ignorant_model(&model);
    let world = World::start(&model).await;
    let trainer = world
        .trainer(tiny(&model))
        .extension(trains())
        .stop_when(StopWhen::never().rollouts(1))
        .build()
        .unwrap();
    let report = trainer
        .fit(say_ascii::agent(), letters(b'a', 20), letters(b'A', 4))
        .await
        .unwrap();
    assert!(report.stopped.is_some());
    assert_eq!((report.output.version, report.output.iterations.len()), (0, 0));
    world.stop().await;
}

/// The error of a run with this proxy and program.
async fn error(proxy: impl FnOnce(&World) -> ReverseProxy, program: TrainProgram, limit: f64) -> String {
    let scratch = Scratch::fast();
    let model = scratch.path("model");
    ignorant_model(&model);
    let mut world = World::start(&model).await;
    world.proxy = proxy(&world);
    let trainer = world
        .trainer(tiny(&model).train_time_limit(limit))
        .extension(program)
        .build()
        .unwrap();
    let error = trainer
        .fit(say_ascii::agent(), letters(b'a', 20), None)
        .await
        .unwrap_err();
    world.stop().await;
    format!("{:#}", anyhow::Error::from(error))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_set_up_wrongly_is_said() {
    let own = |world: &World| world.proxy.clone();
    let said = error(own, TrainProgram::command("sh", ["-c", "exec sleep 1000"]), 0.2).await;
    assert!(said.contains("did not end within 0.2 s"), "{said}");
    let said = error(own, TrainProgram::command("sh", ["-c", "exit 3"]), 60.0).await;
    assert!(said.contains("exit status: 3"), "{said}");
    let said = error(own, TrainProgram::this(), 60.0).await;
    assert!(said.contains("train_process()"), "{said}");
    let tokenless = |world: &World| {
        let known = world.proxy.models().remove(0);
        let model = ProxyModel::new("tiny", &known.backends[0].base_url);
        ReverseProxy::builder().model(model).build().unwrap()
    };
    let said = error(tokenless, trains(), 60.0).await;
    assert!(said.contains("token ids"), "{said}");
}
