//! Textual gradients and beam search.

use std::{collections::BTreeSet, future::pending, sync::Mutex};

use lightning_core::{
    agent::{Agent, agent_fn},
    algorithm::{Apo, OptimizedPrompt, Origin, RejectionReason},
    chat::{ChatAnswer, ChatError, ChatFuture, ChatModel, ChatRequest},
    prelude::*,
    run::{StopReason, StopWhen},
    store::MemoryStore,
    testing::llm::{Fault, Reply, ScriptedLlm},
    trainer::TrainerError,
    types::{JsonObject, RolloutMode},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::world::{Run, SEED, SKILLS, answer, model, server, soon, train, val, without_times, work};

/// A search that is over soon.
pub(super) fn small() -> Apo<String> {
    Apo::algorithm()
        .gradient_model(Some("critic".to_owned()))
        .apply_edit_model(Some("editor".to_owned()))
        .beam_width(2)
        .branch_factor(2)
        .val_batch_size(12)
}

fn rules(prompt: &PromptTemplate) -> usize {
    SKILLS
        .iter()
        .filter(|skill| prompt.template.contains(&format!("rule {skill}.")))
        .count()
}

#[tokio::test]
async fn prompts_become_better_by_what_is_said_of_their_failures() {
    let (server, store): (_, Arc<dyn Store>) = (server(), Arc::new(MemoryStore::new()));
    let run = Run {
        store: Arc::clone(&store),
        ..Run::default()
    };
    let report = run.fit(small(), &server).await.unwrap();
    let found = &report.output;
    assert_eq!((found.rounds, found.seed_score), (3, Some(0.0)));
    assert_eq!(rules(&found.best), 3, "one rule a round: {}", found.best.template);
    assert_eq!(found.score, Some(0.5), "half of the tasks need these");
    assert!(found.best.template.starts_with(SEED));
    let latest = store.get_latest_resources().await.unwrap().unwrap().resources;
    assert_eq!(
        latest.prompt_template().unwrap(),
        &found.best,
        "the best is published"
    );

    assert_eq!(found.candidates[0].origin, Origin::Seed);
    for candidate in &found.candidates[1..] {
        let Origin::Edit { parent, critique, .. } = &candidate.origin else {
            panic!("{candidate:?}")
        };
        let parent = &found.candidates[*parent];
        assert!(parent.round < candidate.round);
        let missing = critique.split(['<', '>']).nth(1).unwrap();
        assert_eq!(
            candidate.prompt.template,
            format!("{} rule {missing}.", parent.prompt.template),
            "parent and critique explain the candidate"
        );
        assert_eq!(candidate.batch_scores[0].round, candidate.round);
    }

    let calls = |role: &str| {
        let of_role = report.model_usage.iter().filter(|usage| usage.role == role);
        of_role.map(|usage| usage.calls).sum::<u64>()
    };
    assert_eq!((calls("gradient"), calls("apply_edit")), (12, 12));
    assert_eq!(
        calls("agent") + 24,
        server.calls().len() as u64,
        "every call is counted"
    );
    let scores: Vec<f64> = report.metrics.iter().map(|metric| metric.value).collect();
    assert_eq!(scores.len(), 4);
    assert!(scores.is_sorted(), "{scores:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_of_runners_makes_no_difference_and_the_seed_does() {
    let mut trajectories = Vec::new();
    for (n_runners, seed) in [(1, 1), (8, 1), (8, 2)] {
        let server = server();
        let run = Run {
            n_runners,
            seed,
            ..Run::default()
        };
        let report = run.fit(small(), &server).await.unwrap();
        let output = serde_json::to_string(&report.output).unwrap();
        trajectories.push((output, without_times(&report.metrics), server.calls().len()));
    }
    assert_eq!(trajectories[0], trajectories[1]);
    assert_ne!(trajectories[0].0, trajectories[2].0);
}

#[tokio::test]
async fn a_prompt_that_loses_a_placeholder_is_rejected_and_never_tried() {
    let server = server();
    let found = Run::default().fit(small(), &server).await.unwrap().output;
    let lost: Vec<_> = found
        .rejections
        .iter()
        .filter(|rejection| matches!(rejection.reason, RejectionReason::LostPlaceholders { .. }))
        .collect();
    assert!(!lost.is_empty(), "{:?}", found.rejections);
    for rejection in &lost {
        assert_eq!(
            rejection.reason.to_string(),
            "the prompt has lost the placeholder `task`"
        );
        assert!(rejection.text.as_deref().unwrap().contains("Do the task."));
        assert!(rejection.critique.as_deref().unwrap().contains("<names>"));
    }
    let tried = |call: &lightning_core::testing::llm::ReceivedRequest| {
        call.model() == "worker" && call.last_message().contains("Do the task.")
    };
    assert!(!server.calls().iter().any(tried));
    let texts: BTreeSet<&str> = found
        .candidates
        .iter()
        .map(|candidate| candidate.prompt.template.as_str())
        .collect();
    assert_eq!(texts.len(), found.candidates.len(), "nothing is tried twice");
}

/// A critic and an editor that number what they write, and count.
struct Numbered(Mutex<u32>);

impl ChatModel for Numbered {
    fn complete<'a>(&'a self, request: &'a ChatRequest) -> ChatFuture<'a> {
        let is_edit = request.role.as_deref() == Some("apply_edit");
        Box::pin(async move {
            let mut number = self.0.lock().unwrap();
            *number += u32::from(is_edit);
            Ok(ChatAnswer::text(format!("{{task}} {number}")))
        })
    }
}

fn numbered() -> Arc<dyn ChatModel> {
    Numbered(Mutex::new(0)).shared()
}

/// Rewards everything with -1 but for what `special` says.
fn worth(
    special: impl Fn(&str, &str) -> anyhow::Result<Option<f64>> + Send + Sync + Clone + 'static,
) -> impl Agent<String> {
    agent_fn(move |task: String, cx: RolloutContext| {
        let special = special.clone();
        async move {
            let prompt = cx.resources().prompt_template()?.template.clone();
            special(&task, &prompt)
        }
    })
}

async fn fit(
    algorithm: Apo<String>,
    model: Arc<dyn ChatModel>,
    agent: impl Agent<String>,
) -> Result<OptimizedPrompt, TrainerError> {
    let trainer = Run::default().trainer(algorithm, model).build().unwrap();
    let report = soon(trainer.fit(agent, train(), val())).await;
    report.map(|report| report.output)
}

#[tokio::test]
async fn what_fails_never_counts_as_zero() {
    // The first prompt is worth -1 and fails on one task of six; all others fail on four of six, and are worth nothing else.
    let agent = worth(|task, prompt| {
        let failing: &[&str] = if prompt == SEED {
            &SKILLS[..1]
        } else {
            &SKILLS[..4]
        };
        anyhow::ensure!(!failing.contains(&task), "no such luck");
        Ok(Some(-1.0))
    });
    let found = fit(small().beam_rounds(1), numbered(), agent).await.unwrap();
    assert_eq!((found.best.template.as_str(), found.score), (SEED, Some(-1.0)));
    assert!(found.candidates.len() > 1);
    for candidate in &found.candidates[1..] {
        assert_eq!((candidate.score, candidate.batch_scores.len()), (None, 0));
        let problem = candidate.problem.as_deref().unwrap();
        assert!(
            problem.contains("8 of 12 rollouts failed, the first with"),
            "{problem}"
        );
        assert!(problem.contains("no such luck"), "{problem}");
    }
}

#[tokio::test]
async fn an_agent_that_does_not_work_is_found_out_before_the_first_round() {
    let model = numbered();
    let agent = worth(|_, _| anyhow::bail!("out of order"));
    let error = fit(small(), Arc::clone(&model), agent)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("the prompt to begin with gets no score: 12 of 12"),
        "{error}"
    );
    assert!(error.contains("out of order"), "{error}");

    let agent = worth(|_, prompt| Ok((prompt != SEED).then_some(1.0)));
    let algorithm = small().run_initial_validation(false).beam_rounds(1);
    let error = fit(algorithm, numbered(), agent).await.unwrap_err().to_string();
    assert!(
        error.contains("round 1: none of the 1 prompts got a score: none of 12 rollouts has a reward"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_takes_no_longer_than_it_may() {
    let agent = agent_fn(|_: String, _| pending::<f64>());
    let algorithm = small().rollout_batch_timeout(60.0);
    let trainer = Run::default().trainer(algorithm, numbered()).build().unwrap();
    let error = trainer.fit(agent, train(), val()).await.unwrap_err().to_string();
    assert!(
        error.contains("it did not end within the 60 s of the evaluation"),
        "{error}"
    );
}

#[tokio::test]
async fn candidates_are_evaluated_at_the_same_time() {
    // Whoever works on a candidate waits until somebody else works on another one.
    let under_way = Arc::new(Mutex::new(BTreeSet::new()));
    let (tell, _) = tokio::sync::watch::channel(0);
    let tell = Arc::new(tell);
    let agent = agent_fn(move |_: String, cx: RolloutContext| {
        let (under_way, tell) = (Arc::clone(&under_way), Arc::clone(&tell));
        async move {
            let prompt = cx.resources().prompt_template()?.template.clone();
            if cx.mode() == RolloutMode::Val && prompt != SEED {
                let mut seen = tell.subscribe();
                let count = {
                    let mut under_way = under_way.lock().unwrap();
                    under_way.insert(prompt);
                    under_way.len()
                };
                tell.send_modify(|most| *most = count.max(*most));
                seen.wait_for(|most| *most >= 2).await?;
            }
            anyhow::Ok(1.0)
        }
    });
    let algorithm = small().val_batch_size(1).beam_rounds(1);
    let found = fit(algorithm, numbered(), agent).await.unwrap();
    assert!(found.candidates.len() > 2);
}

#[tokio::test]
async fn a_run_that_reached_its_goal_returns_the_best_so_far() {
    let server = server();
    let run = Run {
        stop_when: StopWhen::never().score(0.1),
        ..Run::default()
    };
    let report = run.fit(small(), &server).await.unwrap();
    assert_eq!(
        (report.output.rounds, report.stopped),
        (1, Some(StopReason::Score))
    );
    assert!(report.output.score.unwrap() > 0.1);
}

/// Asks the run to stop when it is asked for an edit, and never answers.
struct Stops(CancellationToken);

impl ChatModel for Stops {
    fn complete<'a>(&'a self, request: &'a ChatRequest) -> ChatFuture<'a> {
        Box::pin(async move {
            if request.role.as_deref() == Some("apply_edit") {
                self.0.cancel();
                pending::<()>().await;
            }
            Ok(ChatAnswer::text("All is well."))
        })
    }
}

#[tokio::test]
async fn a_run_that_is_stopped_within_a_round_returns_the_best_so_far() {
    let token = CancellationToken::new();
    let trainer = Run::default()
        .trainer(small(), Stops(token.clone()).shared())
        .cancellation(token)
        .build()
        .unwrap();
    let agent = worth(|_, _| Ok(Some(0.25)));
    let report = soon(trainer.fit(agent, train(), val())).await.unwrap();
    let found = report.output;
    assert_eq!(
        (found.best.template.as_str(), found.score, found.rounds),
        (SEED, Some(0.25), 0)
    );
    assert_eq!(report.stopped, Some(StopReason::Cancelled));
}

/// Refuses everything.
struct Refuses;

impl ChatModel for Refuses {
    fn complete<'a>(&'a self, _: &'a ChatRequest) -> ChatFuture<'a> {
        Box::pin(async { Err(ChatError::unavailable("nobody is there")) })
    }
}

#[tokio::test]
async fn a_model_that_never_answers_ends_the_run_and_one_that_fails_at_times_does_not() {
    let agent = || worth(|_, _| Ok(Some(0.0)));
    let error = fit(small(), Refuses.shared(), agent())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("round 1: the model gave no critique"), "{error}");
    assert!(
        error.contains("nobody is there") && error.contains("for all 4 candidates"),
        "{error}"
    );

    let flaky = ScriptedLlm::start(|request: &lightning_core::testing::llm::ReceivedRequest| {
        let spoiled = request.model() == "editor" && request.last_message().contains("<dates>");
        if spoiled {
            Reply::fault(Fault::Status(400))
        } else {
            answer(request)
        }
    });
    let flaky = flaky.unwrap();
    let found = Run::default().fit(small(), &flaky).await.unwrap().output;
    let failed = |reason: &RejectionReason| matches!(reason, RejectionReason::NoAnswer { wanted, .. } if wanted == "edit");
    assert!(
        found.rejections.iter().any(|rejection| failed(&rejection.reason)),
        "{:?}",
        found.rejections
    );
    assert!(found.score > Some(0.0));
}

#[tokio::test]
async fn prompts_of_ones_own_are_used() {
    let server = server();
    let own = |text: &str| vec![PromptTemplate::new(text)];
    let algorithm = small()
        .gradient_prompts(own("MINE {examples}"))
        .edit_prompts(own("MINE TOO {critique}\n<template>\n{prompt}\n</template>"));
    let found = Run::default().fit(algorithm, &server).await.unwrap().output;
    assert!(found.score > Some(0.0));
    for call in server.calls() {
        let text = call.last_message();
        match call.model() {
            "critic" => assert!(text.starts_with("MINE --- example 1 ---"), "{text}"),
            "editor" => assert!(
                text.starts_with("MINE TOO It lacks") || text.starts_with("MINE TOO All"),
                "{text}"
            ),
            _ => {}
        }
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_named_before_anything_is_spent() {
    let server = server();
    let refuse = async |parameters: Value, expected: &str| {
        let parameters: JsonObject = parameters.as_object().cloned().unwrap();
        let algorithm: Apo<String> = serde_json::from_value(parameters.into()).unwrap();
        let error = Run::default()
            .fit(algorithm, &server)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    };
    for name in [
        "gradient_batch_size",
        "val_batch_size",
        "beam_width",
        "branch_factor",
    ] {
        refuse(json!({name: 0}), &format!("`{name}` is 0")).await;
    }
    refuse(
        json!({"rollout_batch_timeout": 0.0}),
        "`rollout_batch_timeout` is 0",
    )
    .await;
    refuse(
        json!({"rollout_batch_timeout": -1.0}),
        "`rollout_batch_timeout` is -1",
    )
    .await;
    refuse(
        json!({"diversity_temperature": -0.5}),
        "`diversity_temperature` is -0.5",
    )
    .await;
    refuse(json!({"gradient_prompts": []}), "`gradient_prompts` is empty").await;
    refuse(
        json!({"edit_prompts": [{"template": "{critic}", "engine": "f-string"}]}),
        "prompt 0 of `edit_prompts`",
    )
    .await;
    refuse(json!({"resource": "promt"}), "there is no resource `promt`").await;

    let trainer = Run::default().trainer(small(), model(&server)).build().unwrap();
    let error = soon(trainer.fit(work::agent(), Vec::new(), None))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("there are no tasks"), "{error}");
    assert_eq!(server.calls().len(), 0);

    let trainer = Trainer::builder()
        .quiet()
        .algorithm(small())
        .initial_resources(NamedResources::new().with("prompt", PromptTemplate::new(SEED)))
        .build()
        .unwrap();
    let agent = agent_fn(|_: String, _| async { 1.0 });
    let error = soon(trainer.fit(agent, train(), None))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("parameter `model`") && error.contains("ChatModel"),
        "{error}"
    );
    assert!(
        error.contains("`Trainer::builder().extension(value)` gives one"),
        "{error}"
    );
}

#[test]
fn the_defaults_are_those_that_are_documented() {
    let parameters = serde_json::to_value(Apo::<String>::algorithm()).unwrap();
    for (name, value) in [
        ("gradient_model", Value::Null),
        ("apply_edit_model", Value::Null),
        ("diversity_temperature", json!(1.0)),
        ("gradient_batch_size", json!(4)),
        ("val_batch_size", json!(16)),
        ("beam_width", json!(4)),
        ("branch_factor", json!(4)),
        ("beam_rounds", json!(3)),
        ("rollout_batch_timeout", json!(3600.0)),
        ("run_initial_validation", json!(true)),
    ] {
        assert_eq!(parameters[name], value, "{name}");
    }
}
