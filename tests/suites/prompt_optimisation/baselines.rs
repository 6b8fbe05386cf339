//! Random search and few-shot prompting.

use lightning_core::{
    algorithm::{FewShot, Origin, RandomSearch},
    prelude::*,
    testing::llm::{ReceivedRequest, Reply, ScriptedLlm},
};

use super::world::{Run, SEED, SKILLS, server, without_times};

fn random() -> RandomSearch<String> {
    RandomSearch::algorithm()
        .proposal_model(Some("author".to_owned()))
        .n_candidates(8)
        .val_batch_size(6)
}

#[tokio::test]
async fn random_search_keeps_the_best_of_what_a_model_makes_up() {
    let server = server();
    let report = Run::default().fit(random(), &server).await.unwrap();
    let found = report.output;
    assert_eq!(
        found.seed_score,
        Some(0.0),
        "the first prompt is measured as well"
    );
    assert_eq!(found.score, Some(2.0 / 6.0), "two rules of six");
    assert_eq!(found.candidates.len() + found.rejections.len(), 1 + 8);
    assert!(
        found.candidates[1..]
            .iter()
            .all(|candidate| matches!(candidate.origin, Origin::Proposal { .. }))
    );
    let validated = found
        .candidates
        .iter()
        .filter(|candidate| candidate.score.is_some());
    assert_eq!(validated.count(), 4, "the first prompt and three finalists");
    let proposals: Vec<_> = server
        .calls()
        .into_iter()
        .filter(|call| call.model() == "author")
        .collect();
    assert_eq!(proposals.len(), 8);
    assert!(
        proposals
            .iter()
            .all(|call| !call.last_message().contains("reward")),
        "it knows nothing of what came of them"
    );
    let usage = report.model_usage.iter().find(|usage| usage.role == "proposal");
    assert_eq!(usage.map(|usage| usage.calls), Some(8));
}

/// A worker that does what an example shows: it has the skills that stand in its examples, and knows `dates` and `units` by
/// itself.
pub fn shown_server() -> ScriptedLlm {
    ScriptedLlm::start(|request: &ReceivedRequest| {
        let text = request.last_message();
        let (examples, now) = text.rsplit_once("Do ").unwrap_or(("", &text));
        let knows = |skill: &&str| {
            now.starts_with(*skill) && (["dates", "units"].contains(skill) || examples.contains(*skill))
        };
        // Whoever has seen two examples guesses the next skill, too.
        let guesses = examples.matches("Answer:").count() >= 2 && now.starts_with("names");
        let right = guesses || SKILLS.iter().any(knows);
        Reply::text(if right { "right" } else { "wrong" })
    })
    .unwrap()
}

pub fn few() -> FewShot<String> {
    FewShot::algorithm().n_candidates(6).val_batch_size(6)
}

#[tokio::test]
async fn few_shot_shows_what_went_well() {
    let server = shown_server();
    let found = Run::default().fit(few(), &server).await.unwrap().output;
    assert_eq!(found.seed_score, Some(2.0 / 6.0));
    assert_eq!(found.score, Some(3.0 / 6.0), "{}", found.best.template);
    let Origin::Demonstrations { tasks } = &found.candidates[found.best_candidate].origin else {
        panic!("{found:?}")
    };
    assert!((2..=4).contains(&tasks.len()));
    assert!(
        tasks.iter().all(|task| task % SKILLS.len() < 2),
        "only what was right is shown: {tasks:?}"
    );
    let template = &found.best.template;
    assert!(template.starts_with("Examples:\n\nInput:\nDo "), "{template}");
    assert!(template.ends_with(SEED), "{template}");
    assert_eq!(template.matches("Answer:\nright").count(), tasks.len());
    assert!(
        template.contains("Keep {{braces}}."),
        "braces come out as they went in: {template}"
    );
}

#[tokio::test]
async fn without_anything_to_follow_there_are_no_examples() {
    let server = server();
    let error = Run::default().fit(few(), &server).await.unwrap_err().to_string();
    assert!(
        error.contains("none of 24 rollouts has a reward of 1 or more"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_of_runners_makes_no_difference() {
    let mut trajectories = Vec::new();
    for n_runners in [1, 8] {
        let run = || Run {
            n_runners,
            ..Run::default()
        };
        let (made_up, shown) = (
            run().fit(random(), &server()).await.unwrap(),
            run().fit(few(), &shown_server()).await.unwrap(),
        );
        trajectories.push((
            made_up.output,
            without_times(&made_up.metrics),
            shown.output,
            without_times(&shown.metrics),
        ));
    }
    assert_eq!(trajectories[0], trajectories[1]);
}

#[tokio::test]
async fn parameters_that_make_no_sense_are_named() {
    let server = server();
    let error = Run::default()
        .fit(random().val_batch_size(0), &server)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("`val_batch_size` is 0"), "{error}");
    let error = Run::default()
        .fit(few().max_demonstrations(0), &server)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("`max_demonstrations` is 0"), "{error}");
    let wrong = few().demonstration_prompt(PromptTemplate::new("{question}"));
    let error = Run::default().fit(wrong, &server).await.unwrap_err();
    assert!(
        error.to_string().contains("prompt 0 of `demonstration_prompt`"),
        "{error}"
    );
}
