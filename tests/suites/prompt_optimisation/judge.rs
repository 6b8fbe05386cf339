//! Judges within agents.

use lightning_core::{
    adapter::{EmptyReason, ToMessages, TraceAdapter as _},
    chat::{ChatModel, ChatRequest, HttpChat, Judge, Message, NoSignal, Verdict},
    prelude::*,
    run::OutcomeResult,
    semconv,
    testing::llm::{ReceivedRequest, Reply, ScriptedLlm},
};
use serde_json::json;

use super::world::soon;

/// Answers, and has the answer judged.
#[rollout]
async fn judged(task: &String, #[inject] model: Arc<dyn ChatModel>) -> anyhow::Result<Option<f64>> {
    let answer = model.ask(&ChatRequest::new([Message::user(task)])).await?;
    let judge = Judge::new(
        model,
        PromptTemplate::new("How good is this?\nquestion: {question}\nanswer: {answer}"),
    )
    .model("judge");
    let verdict = judge
        .score(&json!({"question": task, "answer": answer.text}))
        .await?;
    if let Verdict::NoSignal(reason) = &verdict {
        assert!(matches!(reason, NoSignal::Unreadable { .. }), "{reason}");
    }
    Ok(verdict.score())
}

fn answer(request: &ReceivedRequest) -> Reply {
    let text = request.last_message();
    Reply::text(match request.model() {
        "judge" if text.contains("answer: 4") => r#"{"score": 1, "reason": "It is 4."}"#,
        "judge" => "I would give it a 0.",
        _ if text == "2 + 2?" => "4",
        _ => "No idea.",
    })
}

#[algo]
async fn results(run: RunContext, train_dataset: Dataset<String>) -> anyhow::Result<()> {
    let evaluation = run.evaluator().tasks(&train_dataset).evaluate().await?;
    let [right, unclear] = evaluation.outcomes() else {
        anyhow::bail!("there are two tasks")
    };
    assert_eq!(right.reward().map(Reward::primary), Some(1.0));
    assert!(
        matches!(&unclear.result, OutcomeResult::NoSignal(reason) if !matches!(reason, EmptyReason::NoSpans)),
        "{}",
        unclear.result
    );
    assert_eq!(evaluation.mean()?, 1.0, "what cannot be read is not a 0");
    let conversations = ToMessages::new().adapt(&right.spans)?;
    assert_eq!(conversations.len(), 1, "the judge's calls are no training data");
    assert_eq!(conversations.left_out.by_role, 1);
    Ok(())
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_no_signal_and_the_judges_calls_are_no_training_data() {
    let server = ScriptedLlm::start(answer).unwrap();
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(results::algorithm())
        .extension(HttpChat::new(server.llm("small")).unwrap().shared())
        .build()
        .unwrap();
    let tasks = vec!["2 + 2?".to_owned(), "Why?".to_owned()];
    let report = soon(trainer.fit(judged::agent(), tasks, None)).await.unwrap();
    let judged = report
        .model_usage
        .iter()
        .find(|usage| usage.role == semconv::ROLE_JUDGE);
    assert_eq!(judged.map(|usage| usage.calls), Some(2), "but they cost tokens");
    let asked = server.calls();
    let judge = asked.iter().find(|call| call.model() == "judge").unwrap();
    assert!(
        judge.last_message().contains("a number from 0 to 1"),
        "{}",
        judge.last_message()
    );
}
