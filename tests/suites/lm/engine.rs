//! Many requests at once.

use std::sync::Arc;

use futures::future::join_all;
use lightning_core::lm::{
    Completion, Engine, EngineError, EngineOptions, Event, Finish, GenerateRequest, Served,
};

use crate::counting::{Counting, babbling};

fn counting(model: &Arc<Counting>) -> Served {
    babbling(0).with_model(Arc::clone(model) as _)
}

fn request(prompt: &str) -> GenerateRequest {
    GenerateRequest::new(prompt.bytes().map(u32::from).collect())
}

fn greedy(prompt: &str) -> GenerateRequest {
    let mut request = request(prompt);
    request.temperature = 0.0;
    request
}

async fn ask(engine: &Engine, request: GenerateRequest) -> Result<Completion, EngineError> {
    engine.submit(&engine.served(), request)?.complete().await
}

#[tokio::test]
async fn answers_end_where_they_should() {
    let engine = Engine::start(counting(&Arc::new(Counting::new())), EngineOptions::default()).unwrap();
    let whole = ask(&engine, greedy("v")).await.unwrap();
    assert_eq!((whole.text.as_str(), whole.finish), ("wxyz", Finish::Stop));
    let tokens: Vec<u32> = whole.tokens.iter().map(|token| token.token).collect();
    assert_eq!(
        tokens,
        [119, 120, 121, 122, 256],
        "the end is what is learnt, too"
    );
    let logprob = -(1.0f64 + (-1f64).exp()).ln();
    assert!(
        (whole.tokens[0].logprob - logprob).abs() < 1e-4,
        "of temperature 1: {whole:?}"
    );

    let mut short = greedy("a");
    short.max_tokens = Some(3);
    short.top_logprobs = 2;
    let short = ask(&engine, short).await.unwrap();
    assert_eq!((short.text.as_str(), short.finish), ("bcd", Finish::Length));
    assert_eq!(
        short.tokens[0].top.iter().map(|top| top.0).collect::<Vec<_>>(),
        [98, 7]
    );

    for (stops, text) in [
        (vec!["fg"], "bcde"),
        (vec!["xyz", "de"], "bc"),
        (vec!["", "c"], "b"),
        (vec!["b"], ""),
    ] {
        let mut request = greedy("a");
        request.stop = stops.iter().map(ToString::to_string).collect();
        let answer = ask(&engine, request).await.unwrap();
        assert_eq!(
            (answer.text.as_str(), answer.finish),
            (text, Finish::Stop),
            "{stops:?}"
        );
    }
    let mut nearly = greedy("w");
    nearly.stop = vec!["yzz".to_owned()];
    assert_eq!(
        ask(&engine, nearly).await.unwrap().text,
        "xyz",
        "what was held back comes at the end"
    );
    let mut on = greedy("y");
    (on.ignore_end, on.max_tokens) = (true, Some(2));
    assert_eq!(ask(&engine, on).await.unwrap().finish, Finish::Length);
    let mut nothing = greedy("a");
    nothing.max_tokens = Some(0);
    assert!(ask(&engine, nothing).await.unwrap().tokens.is_empty());

    for prompt in [String::new(), "a".repeat(200)] {
        assert!(matches!(
            ask(&engine, greedy(&prompt)).await,
            Err(EngineError::Prompt { context: 200, .. })
        ));
    }
    assert!(matches!(
        ask(&engine, greedy("!")).await,
        Err(EngineError::Model(_))
    ));
    assert_eq!(
        ask(&engine, greedy("x")).await.unwrap().text,
        "yz",
        "it goes on after a failure"
    );
}

/// What a request is answered does not depend on who else asks, nor on when.
#[tokio::test]
async fn an_answer_depends_on_model_prompt_and_seed_alone() {
    let options = |batch| {
        let mut options = EngineOptions::default();
        options.batch = batch;
        options
    };
    let make = |number: u64| {
        let mut request = request(&"prompt"[..1 + number as usize % 6]);
        request.seed = number / 2;
        request.max_tokens = Some(3 + number as usize % 11);
        request.top_p = 0.95;
        request
    };
    let crowded = Engine::start(babbling(3), options(7)).unwrap();
    let together = join_all((0..24).map(|number| ask(&crowded, make(number)))).await;
    let alone = Engine::start(babbling(3), options(1)).unwrap();
    let mut differ = 0;
    for (number, together) in (0..24).zip(together) {
        let together = together.unwrap();
        assert_eq!(
            ask(&alone, make(number)).await.unwrap(),
            together,
            "request {number}"
        );
        let mut other = make(number);
        other.seed += 1000;
        differ += usize::from(ask(&alone, other).await.unwrap().tokens != together.tokens);
    }
    assert!(differ > 12, "the seed decides");
}

#[tokio::test]
async fn requests_join_and_leave_between_steps() {
    let model = Arc::new(Counting::held_up());
    let engine = Engine::start(counting(&model), EngineOptions::default()).unwrap();
    let submit = |prompt: &str| engine.submit(&engine.served(), greedy(prompt)).unwrap();
    let mut long = submit("a");
    model.let_go(1);
    assert!(matches!(long.next().await, Some(Event::Token(_))));
    let mut short = submit("y");
    // The step that began without it, its two tokens, and not one more.
    model.let_go(4);
    let mut events = Vec::new();
    while let Some(event) = short.next().await {
        events.push(event);
    }
    assert!(matches!(
        events.as_slice(),
        [Event::Token(_), Event::Token(_), Event::End(Finish::Stop, _)]
    ));
    assert!(
        matches!(long.next().await, Some(Event::Token(_))),
        "the long one is under way still"
    );
    drop(long);
    model.let_go(2);
    let mut next = submit("x");
    model.let_go(50);
    assert!(matches!(next.next().await, Some(Event::Token(_))));
}

#[tokio::test]
async fn a_swap_leaves_those_under_way_to_the_old_weights() {
    let model = Arc::new(Counting::held_up());
    let engine = Engine::start(counting(&model), EngineOptions::default()).unwrap();
    let before = engine.submit(&engine.served(), greedy("w")).unwrap();
    engine.swap(babbling(9));
    let mut after = greedy("w");
    after.max_tokens = Some(2);
    let after = engine.submit(&engine.served(), after).unwrap();
    model.let_go(10);
    let (before, after) = (before.complete().await.unwrap(), after.complete().await.unwrap());
    assert_eq!((before.text.as_str(), before.version.as_str()), ("xyz", "v0"));
    assert_eq!(after.version, "v9");
    assert_ne!(after.tokens[0].token, u32::from(b'x'));
}

#[tokio::test]
async fn the_queue_has_an_end_and_so_has_the_engine() {
    let model = Arc::new(Counting::held_up());
    let mut options = EngineOptions::default();
    (options.batch, options.queue) = (1, 2);
    let engine = Engine::start(counting(&model), options).unwrap();
    let mut waiting = Vec::new();
    // One is under way at the most, two wait.
    let refused = loop {
        match engine.submit(&engine.served(), greedy("a")) {
            Ok(generation) => waiting.push(generation),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, EngineError::Busy { waiting: 2 }), "{refused}");
    assert!((2..=3).contains(&waiting.len()), "{}", waiting.len());
    model.let_go(10_000);
    drop(engine);
    for generation in waiting {
        let ended = generation.complete().await;
        assert!(matches!(ended, Ok(_) | Err(EngineError::Stopped)), "{ended:?}");
    }
}
