use lightning_core::adapter::{
    EmptyReason, Parting, Prompt, Response, ToTrajectories, TraceAdapter, TracerToTriplets, Trajectories,
    Triplet, Triplets,
};
use serde_json::{Value, json};

use crate::{call, reward, under_root};

fn triplet(id: &str, prompt: &[u32], response: &[u32]) -> Triplet {
    let mut triplet = Triplet {
        prompt: Prompt {
            token_ids: prompt.to_vec(),
            ..Prompt::default()
        },
        response: Response {
            token_ids: response.to_vec(),
            ..Response::default()
        },
        ..Triplet::default()
    };
    triplet.metadata.span_id = id.to_owned();
    triplet
}

fn of(triplets: Vec<Triplet>) -> Triplets {
    Triplets {
        triplets,
        ..Triplets::default()
    }
}

fn with_logprobs(mut triplet: Triplet, logprobs: &[f64]) -> Triplet {
    let tokens = logprobs
        .iter()
        .map(|logprob| json!({"token": "t", "logprob": logprob}));
    triplet.response.logprobs = Some(tokens.collect());
    triplet
}

#[test]
fn turns_are_merged_where_the_tokens_go_on() {
    let mut last = with_logprobs(triplet("b", &[1, 2, 3, 4, 9, 5], &[6, 7]), &[-1.0, -2.0]);
    last.reward = Some(0.5);
    let merged = Trajectories::merge(of(vec![
        with_logprobs(triplet("a", &[1, 2], &[3, 4]), &[-0.25, -0.5]),
        last,
    ]))
    .unwrap();
    let [trajectory] = &merged.trajectories[..] else {
        panic!("{merged:?}");
    };
    assert_eq!(trajectory.token_ids, [1, 2, 3, 4, 9, 5, 6, 7]);
    assert_eq!(trajectory.loss_mask, [0, 0, 1, 1, 0, 0, 1, 1]);
    assert_eq!(
        trajectory.logprobs.as_deref(),
        Some(&[0.0, 0.0, -0.25, -0.5, 0.0, 0.0, -1.0, -2.0][..])
    );
    let answers: Vec<_> = trajectory
        .turns
        .iter()
        .map(|turn| &trajectory.token_ids[turn.response_start..turn.response_end])
        .collect();
    assert_eq!(answers, [[3, 4], [6, 7]]);
    assert_eq!(
        (trajectory.last_reward(), trajectory.total_reward()),
        (Some(0.5), Some(0.5))
    );
    assert_eq!(merged.partings, []);
}

#[test]
fn where_they_part_is_told() {
    // The answer 3, 4 came back as 34: another text may have been the same, the tokens are not.
    let merged = Trajectories::merge(of(vec![
        triplet("a", &[1, 2], &[3, 4]),
        triplet("b", &[1, 2, 34, 9], &[5]),
    ]))
    .unwrap();
    assert_eq!(merged.trajectories.len(), 2);
    assert_eq!(
        merged.partings,
        [Parting {
            agent_name: None,
            before: "a".to_owned(),
            after: "b".to_owned(),
            common: 2,
            of: 4,
        }]
    );
}

#[test]
fn the_longest_trajectory_of_the_same_agent_goes_on() {
    let of_agent = |mut triplet: Triplet, agent: &str| {
        triplet.metadata.agent_name = Some(agent.to_owned());
        triplet
    };
    let merged = Trajectories::merge(of(vec![
        of_agent(triplet("a", &[1], &[2]), "x"),
        of_agent(triplet("b", &[1, 2, 3], &[4]), "y"),
        of_agent(triplet("c", &[1, 2, 3], &[4]), "x"),
        of_agent(triplet("d", &[1, 2, 3, 4, 5], &[6]), "y"),
        of_agent(triplet("e", &[1], &[2]), "x"),
        // Goes on where `c` ended, not where `e` did.
        of_agent(triplet("f", &[1, 2, 3, 4, 7], &[8]), "x"),
        // Where `a` ended, but that has gone on; so where `e` ended.
        of_agent(triplet("g", &[1, 2, 9], &[8]), "x"),
    ]))
    .unwrap();
    let turns: Vec<String> = merged
        .trajectories
        .iter()
        .map(|trajectory| {
            trajectory
                .turns
                .iter()
                .map(|turn| turn.span_id.as_str())
                .collect()
        })
        .collect();
    assert_eq!(turns, ["acf", "bd", "eg"]);
    let partings: Vec<_> = merged
        .partings
        .iter()
        .map(|parting| {
            (
                parting.before.as_str(),
                parting.after.as_str(),
                parting.common,
                parting.of,
            )
        })
        .collect();
    assert_eq!(partings, [("c", "e", 1, 4)]);
}

#[test]
fn probabilities_are_there_for_all_or_for_none() {
    let merged = Trajectories::merge(of(vec![
        with_logprobs(triplet("a", &[1], &[2]), &[-0.5]),
        triplet("b", &[1, 2, 3], &[4]),
    ]))
    .unwrap();
    assert_eq!(merged.trajectories[0].logprobs, None);
    let wrong = with_logprobs(triplet("a", &[1], &[2]), &[-0.5, -0.5]);
    assert_eq!(wrong.response.token_logprobs(), None);
    assert_eq!(
        Trajectories::merge(of(vec![wrong])).unwrap().trajectories[0].logprobs,
        None
    );
}

#[test]
fn calls_without_tokens_are_counted() {
    let merged = Trajectories::merge(of(vec![triplet("a", &[1], &[2]), triplet("b", &[1], &[])])).unwrap();
    assert_eq!(
        (merged.trajectories.len(), merged.left_out.without_token_ids),
        (1, 1)
    );
    let error = Trajectories::merge(of(vec![triplet("a", &[], &[1]), triplet("b", &[], &[])])).unwrap_err();
    assert_eq!(error.empty_reason(), Some(&EmptyReason::NoTokenIds { calls: 2 }));
}

#[test]
fn rows_have_columns_of_one_type() {
    let spans = under_root([call("a", (1.0, 2.0)), reward("r", 0.5, 3.0)]);
    let rows = |write: &dyn Fn(&mut Vec<u8>)| -> Vec<Value> {
        let mut lines = Vec::new();
        write(&mut lines);
        let lines = String::from_utf8(lines).unwrap();
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let triplets = TracerToTriplets::new().adapt(&spans).unwrap();
    assert_eq!(
        rows(&|lines| triplets.write_json_lines(lines).unwrap()),
        [json!({
            "prompt_token_ids": [1, 2], "response_token_ids": [3], "logprobs": null, "reward": 0.5, "prompt": null,
            "response": null, "image_urls": [], "agent_name": null, "response_id": "answer-a", "span_id": "a",
            "request": null, "response_metadata": "{\"id\":\"answer-a\"}",
        })]
    );
    let trajectories = ToTrajectories::of(TracerToTriplets::new()).adapt(&spans).unwrap();
    assert_eq!(
        rows(&|lines| trajectories.write_json_lines(lines).unwrap()),
        [json!({
            "agent_name": null, "token_ids": [1, 2, 3], "loss_mask": [0, 0, 1], "logprobs": null, "reward": 0.5,
            "turns": [{
                "span_id": "a", "response_id": "answer-a", "response_start": 2, "response_end": 3, "reward": 0.5,
            }],
        })]
    );
}
