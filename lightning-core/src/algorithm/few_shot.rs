//! Bootstrapped few-shot prompting: what a search for better instructions has to beat.

use rand::{RngExt as _, seq::SliceRandom as _};
use serde::Serialize;
use serde_json::json;

use super::{
    apo::check_prompts,
    prompt_search::{
        Candidate, Contest, Halt, OptimizedPrompt, Origin, Rejection, Search, Settings, Stage, conversation,
        stream,
    },
};
use crate::{
    algo,
    run::{Outcome, RunContext},
    types::{Dataset, NamedResources, PromptTemplate, RolloutMode, Task, TemplateEngine},
};

/// Adds tasks that the agent has solved to its prompt, as examples: a baseline.
///
/// The agent works on some training tasks with the prompt to begin with. Of the rollouts with a reward of at least
/// `min_reward`, the last thing that the agent asked its model and the model's answer make up a demonstration. Each candidate
/// is the first prompt with a few of them in front, chosen at random; the candidates compete as those of
/// [`random_search`](super::random_search()) do. No model is asked besides the agent's own. The idea is that of DSPy's
/// bootstrapping (Khattab et al. 2023, [arXiv:2310.03714](https://arxiv.org/abs/2310.03714)).
///
/// The agent has to record its calls: through the LLM proxy, or by [`ChatModel::ask`](crate::chat::ChatModel::ask) or
/// [`model_call`](crate::emitter::model_call()). Lines that all questions have in common at their beginning or end are those of
/// the prompt itself, and left out of the demonstrations.
///
/// What counts in a mean, what is random, and how a run is resumed is as it is with
/// [`random_search`](super::random_search()).
///
/// # Parameters
///
/// - `resource`: what the agent calls the prompt; the only prompt if not set;
/// - `bootstrap_tasks` (64): on how many training tasks the agent works;
/// - `min_reward` (1.0): from which reward on a rollout is an example to follow;
/// - `max_demonstrations` (4): how many of them a candidate has at most;
/// - `n_candidates` (8): how many candidates there are;
/// - `val_batch_size` (16): on how many validation tasks all candidates are compared;
/// - `finalists` (3): how many of them are measured on all validation tasks, besides the first prompt;
/// - `rollout_batch_timeout` (3600.0): how long the rollouts of one prompt on one batch may take, in seconds;
/// - `demonstration_prompt` (`"Input:\n{input}\nAnswer:\n{answer}\n"`): how a demonstration is written.
///
/// # Errors
///
/// If a parameter makes no sense, there are no tasks, or the prompt is none that can be rendered here; if no rollout can serve
/// as a demonstration; if nothing gets a score; if the state was saved by a run with other settings; and if the store fails.
#[algo(handle = FewShot)]
#[expect(clippy::too_many_arguments, reason = "each is a parameter of the algorithm")]
pub async fn few_shot<T: Task>(
    run: RunContext,
    initial_resources: NamedResources,
    train_dataset: Dataset<T>,
    val_dataset: Option<Dataset<T>>,
    #[param(default)] resource: Option<String>,
    #[param(default = 64)] bootstrap_tasks: usize,
    #[param(default = 1.0)] min_reward: f64,
    #[param(default = 4)] max_demonstrations: usize,
    #[param(default = 8)] n_candidates: usize,
    #[param(default = 16)] val_batch_size: usize,
    #[param(default = 3)] finalists: usize,
    #[param(default = 3600.0)] rollout_batch_timeout: f64,
    #[param(default = PromptTemplate::new("Input:\n{input}\nAnswer:\n{answer}\n"))]
    demonstration_prompt: PromptTemplate,
) -> anyhow::Result<OptimizedPrompt> {
    for (name, value) in [
        ("val_batch_size", val_batch_size),
        ("max_demonstrations", max_demonstrations),
        ("bootstrap_tasks", bootstrap_tasks),
    ] {
        anyhow::ensure!(value > 0, "`{name}` is 0; give at least 1");
    }
    check_prompts(
        "demonstration_prompt",
        std::slice::from_ref(&demonstration_prompt),
        &["input", "answer"],
    )?;
    let val = val_dataset.unwrap_or_else(|| train_dataset.clone());
    anyhow::ensure!(
        !train_dataset.is_empty() && !val.is_empty(),
        "there are no tasks; give `fit` datasets that are not empty"
    );
    let search = Search::new(
        &run,
        Settings {
            resources: initial_resources,
            resource,
            batch_timeout: rollout_batch_timeout,
            temperature: 0.0,
        },
    )?;
    let (checkpoint, mut contest) = Contest::load(&search, &train_dataset, &val).await?;
    let steps = async {
        if contest.stage < Stage::Made {
            search.go_on()?;
            let mut order: Vec<usize> = (0..train_dataset.len()).collect();
            order.shuffle(&mut stream(run.seed(), "bootstrap", &[]));
            order.truncate(bootstrap_tasks);
            let tasks: Dataset<T> = order.iter().map(|task| train_dataset[*task].clone()).collect();
            let bootstrap = search
                .evaluate(
                    &search.seed_prompt,
                    &tasks,
                    RolloutMode::Train,
                    search.progress("collecting examples".to_owned(), tasks.len()),
                )
                .await?;
            let found = demonstrations(&order, bootstrap.outcomes(), min_reward)?;
            let written: Vec<(usize, String)> = found
                .iter()
                .map(|demonstration| Ok((demonstration.task, demonstration_prompt.render(demonstration)?)))
                .collect::<anyhow::Result<_>>()?;
            for index in 0..n_candidates {
                let mut choice = stream(run.seed(), "demonstrations", &[index]);
                let most = max_demonstrations.min(written.len());
                // Fewer examples are cheaper and may be better, so both are tried.
                let count = choice.random_range(1..=most);
                let mut chosen: Vec<&(usize, String)> = written.iter().collect();
                chosen.shuffle(&mut choice);
                chosen.truncate(count);
                add(&search, &mut contest, &chosen);
            }
            contest.stage = Stage::Made;
            checkpoint.save(&contest).await?;
        }
        contest
            .compete(&search, &checkpoint, &val, (val_batch_size, finalists))
            .await
    };
    match steps.await {
        Ok(()) | Err(Halt::Stopped) => contest.finish(&search).await,
        Err(Halt::Failed(error)) => Err(error),
    }
}

/// A task that the agent has solved.
#[derive(Debug, PartialEq, Serialize)]
struct Demonstration {
    #[serde(skip)]
    task: usize,
    input: String,
    answer: String,
}

/// The rollouts to follow, as demonstrations; `places` are those of their tasks in the dataset.
fn demonstrations(
    places: &[usize],
    outcomes: &[Outcome],
    min_reward: f64,
) -> anyhow::Result<Vec<Demonstration>> {
    let spoken: Vec<Option<(String, String)>> = outcomes.iter().map(conversation).collect();
    let asked: Vec<&str> = spoken.iter().flatten().map(|(asked, _)| asked.as_str()).collect();
    let (head, tail) = common_lines(&asked);
    let good: Vec<usize> = (0..outcomes.len())
        .filter(|index| {
            let reward = outcomes[*index].reward();
            reward.is_some_and(|reward| reward.primary() >= min_reward)
        })
        .collect();
    anyhow::ensure!(
        !good.is_empty(),
        "none of {} rollouts has a reward of {min_reward} or more, so there is nothing to follow; lower `min_reward`",
        outcomes.len()
    );
    let found: Vec<Demonstration> = good
        .into_iter()
        .filter_map(|index| {
            let (asked, answer) = spoken[index].as_ref()?;
            Some(Demonstration {
                task: places[index],
                input: without_lines(asked, head, tail),
                answer: answer.trim().to_owned(),
            })
        })
        .collect();
    anyhow::ensure!(
        !found.is_empty(),
        "the rollouts to follow have recorded no call of a model: let the agent call it by `ChatModel::ask`, record its calls by \
         `emitter::model_call`, or use the LLM proxy"
    );
    Ok(found)
}

/// How many lines all texts have in common at their beginning and at their end; at least one line is left of each.
fn common_lines(texts: &[&str]) -> (usize, usize) {
    let lines: Vec<Vec<&str>> = texts.iter().map(|text| text.lines().collect()).collect();
    let distinct = texts.iter().any(|text| *text != texts[0]);
    let Some(shortest) = lines.iter().map(Vec::len).min().filter(|_| distinct) else {
        return (0, 0);
    };
    let room = shortest.saturating_sub(1);
    let same =
        |at: &dyn Fn(&Vec<&str>) -> usize| lines.iter().all(|text| text[at(text)] == lines[0][at(&lines[0])]);
    let head = (0..room).take_while(|line| same(&|_| *line)).count();
    let tail = (0..room - head)
        .take_while(|line| same(&|text| text.len() - 1 - line))
        .count();
    (head, tail)
}

fn without_lines(text: &str, head: usize, tail: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let end = lines.len().saturating_sub(tail).max(head);
    lines
        .get(head..end)
        .unwrap_or(&lines)
        .join("\n")
        .trim()
        .to_owned()
}

/// The first prompt with demonstrations in front, as a candidate.
fn add(search: &Search, contest: &mut Contest, chosen: &[&(usize, String)]) {
    let seed = &search.seed_prompt;
    let texts: Vec<&str> = chosen.iter().map(|(_, text)| text.as_str()).collect();
    let examples = format!("Examples:\n\n{}\n", texts.join("\n"));
    let text = format!("{}{}", literally(&examples, seed.engine), seed.template);
    match search.rules.examine(&text, seed, &contest.candidates) {
        Ok(prompt) => {
            let tasks = chosen.iter().map(|(task, _)| *task).collect();
            let origin = Origin::Demonstrations { tasks };
            contest.candidates.push(Candidate::new(prompt, 1, origin));
        }
        Err(reason) => contest.rejections.push(Rejection {
            round: 1,
            parent: 0,
            text: Some(text),
            critique: None,
            reason,
        }),
    }
}

/// Text as it has to be written in a template so that it comes out as it is.
fn literally(text: &str, engine: TemplateEngine) -> String {
    match engine {
        TemplateEngine::FString => text.replace('{', "{{").replace('}', "}}"),
        // A literal of Jinja, in which JSON's escapes mean the same.
        TemplateEngine::Jinja => format!("{{{{ {} }}}}\n", json!(text)),
        TemplateEngine::Poml => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_questions_share_is_left_out() {
        let texts = ["Do this.\nQ: 1\nBe brief.", "Do this.\nQ: 2\nand 3\nBe brief."];
        assert_eq!(common_lines(&texts), (1, 1));
        assert_eq!(without_lines(texts[1], 1, 1), "Q: 2\nand 3");
        assert_eq!(
            common_lines(&["same", "same"]),
            (0, 0),
            "nothing tells them apart"
        );
        assert_eq!(common_lines(&["a\nb", "a"]), (0, 0), "a line is left of each");
        assert_eq!(common_lines(&[]), (0, 0));
    }

    #[test]
    fn demonstrations_come_out_as_they_are() {
        let text = "{\"a\": \"{{ü}}\"}\n% {# no #} \\n 'quoted'";
        for engine in [TemplateEngine::FString, TemplateEngine::Jinja] {
            let prompt = PromptTemplate::with_engine(literally(text, engine), engine);
            assert_eq!(prompt.render(&json!({})).unwrap().trim_end(), text);
        }
    }
}
