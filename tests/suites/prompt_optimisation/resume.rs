//! A run that begins in the folder of one that stopped goes on with it.

use lightning_core::{
    algorithm::RandomSearch,
    prelude::*,
    run::{Metric, StopWhen},
};

use super::{
    apo::small,
    baselines::few,
    world::{Folder, Run, model, server, soon, train, val, without_times, work},
};

fn in_folder(folder: &Folder, stop_when: StopWhen) -> Run {
    Run {
        folder: Some(folder.0.clone()),
        stop_when,
        ..Run::default()
    }
}

fn written(folder: &Folder) -> Vec<(String, u64, f64)> {
    let text = std::fs::read_to_string(folder.0.join("metrics.jsonl")).unwrap();
    let metrics: Vec<Metric> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    without_times(&metrics)
}

#[tokio::test]
async fn a_search_that_was_stopped_between_rounds_goes_on_as_if_it_had_not_been() {
    let (undisturbed_at, stopped_at) = (Folder::new("undisturbed"), Folder::new("stopped"));
    let undisturbed = server();
    let whole = in_folder(&undisturbed_at, StopWhen::never())
        .fit(small(), &undisturbed)
        .await
        .unwrap();

    let server = server();
    let first = in_folder(&stopped_at, StopWhen::never().score(0.1))
        .fit(small(), &server)
        .await
        .unwrap();
    assert_eq!(first.output.rounds, 1);
    let second = in_folder(&stopped_at, StopWhen::never())
        .fit(small(), &server)
        .await
        .unwrap();
    assert_eq!(second.output, whole.output);
    assert_eq!(
        without_times(&second.metrics),
        without_times(&whole.metrics),
        "the report has all scores"
    );
    assert_eq!(written(&stopped_at), written(&undisturbed_at));

    let asked = |server: &lightning_core::testing::llm::ScriptedLlm, model: &str| {
        let calls = server.calls();
        let mut asked: Vec<String> = calls
            .iter()
            .filter(|call| call.model() == model)
            .map(|call| call.last_message())
            .collect();
        asked.sort();
        asked
    };
    for model in ["critic", "editor"] {
        assert_eq!(
            asked(&server, model),
            asked(&undisturbed, model),
            "nothing is asked twice"
        );
    }

    let before = server.calls().len();
    let third = in_folder(&stopped_at, StopWhen::never())
        .fit(small(), &server)
        .await
        .unwrap();
    assert_eq!(third.output, whole.output);
    assert_eq!(
        server.calls().len(),
        before,
        "a search that is complete is not made again"
    );
}

#[tokio::test]
async fn stop_conditions_see_the_scores_from_before() {
    let folder = Folder::new("scores");
    let server = server();
    let goal = || StopWhen::never().score(0.1);
    in_folder(&folder, goal()).fit(small(), &server).await.unwrap();
    let before = server.calls().len();
    let again = in_folder(&folder, goal()).fit(small(), &server).await.unwrap();
    assert_eq!((again.output.rounds, server.calls().len()), (1, before));
}

#[tokio::test]
async fn a_search_with_other_settings_is_not_gone_on_with() {
    let folder = Folder::new("settings");
    let server = server();
    let stopped = || in_folder(&folder, StopWhen::never().score(0.1));
    stopped().fit(small(), &server).await.unwrap();

    let error = stopped()
        .fit(small().beam_width(3), &server)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("beam_width: 2 before, 3 now"), "{error}");
    let other_seed = Run { seed: 7, ..stopped() };
    let error = other_seed.fit(small(), &server).await.unwrap_err().to_string();
    assert!(error.contains("seed: 1 before, 7 now"), "{error}");
    let trainer = stopped()
        .trainer(small(), model(&server))
        .initial_resources(NamedResources::new().with("prompt", PromptTemplate::new("{task}!")))
        .build()
        .unwrap();
    let error = soon(trainer.fit(work::agent(), train(), val()))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("initial resource `prompt`: another one now"),
        "{error}"
    );
}

#[tokio::test]
async fn the_baselines_go_on_after_their_last_step() {
    let (folder, server) = (Folder::new("random-search"), server());
    let algorithm = || RandomSearch::algorithm().proposal_model(Some("author".to_owned()));
    let whole = Run::default().fit(algorithm(), &server).await.unwrap().output;
    let before = server
        .calls()
        .iter()
        .filter(|call| call.model() == "author")
        .count();
    // The first prompt is measured before the finalists, and is no worse than this.
    let stopped = in_folder(&folder, StopWhen::never().score(0.0))
        .fit(algorithm(), &server)
        .await
        .unwrap();
    assert_eq!((stopped.output.rounds, stopped.output.best_candidate), (0, 0));
    let resumed = in_folder(&folder, StopWhen::never())
        .fit(algorithm(), &server)
        .await
        .unwrap();
    assert_eq!(resumed.output, whole);
    let asked = server
        .calls()
        .iter()
        .filter(|call| call.model() == "author")
        .count();
    assert_eq!(asked, 2 * before, "the proposals are not made again");

    let (folder, server) = (Folder::new("few-shot"), super::baselines::shown_server());
    let whole = Run::default().fit(few(), &server).await.unwrap().output;
    in_folder(&folder, StopWhen::never().score(0.0))
        .fit(few(), &server)
        .await
        .unwrap();
    let resumed = in_folder(&folder, StopWhen::never())
        .fit(few(), &server)
        .await
        .unwrap();
    assert_eq!(resumed.output, whole);
}
