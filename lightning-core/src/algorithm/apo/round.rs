//! One round of the search: criticise, rewrite, compare, select.

use std::sync::Arc;

use futures::future::try_join_all;
use rand::RngExt as _;
use serde_json::json;

use super::{ROLE_EDIT, ROLE_GRADIENT, State};
use crate::{
    algorithm::prompt_search::{
        BatchScore, Candidate, Halt, Origin, Rejection, RejectionReason, Sample, Search, as_text, mean,
        proposed_text, stream,
    },
    chat::{ChatAnswer, ChatError, ChatModel},
    run::Progress,
    types::{Dataset, PromptTemplate, RolloutMode, Task},
};

/// What all rounds are made with.
pub(super) struct Rounds<'a, T> {
    pub(super) search: &'a Search,
    pub(super) model: &'a Arc<dyn ChatModel>,
    pub(super) train: &'a Dataset<T>,
    pub(super) val: &'a Dataset<T>,
    pub(super) gradient_model: Option<&'a str>,
    pub(super) apply_edit_model: Option<&'a str>,
    pub(super) gradient_batch_size: usize,
    pub(super) val_batch_size: usize,
    pub(super) beam_width: usize,
    pub(super) branch_factor: usize,
    pub(super) gradient_prompts: &'a [PromptTemplate],
    pub(super) edit_prompts: &'a [PromptTemplate],
}

/// One child that is to be made.
struct Branch<T> {
    /// What tells it from all others of the search.
    place: String,
    parent: usize,
    tasks: Dataset<T>,
    gradient_prompt: usize,
    edit_prompt: usize,
}

/// A prompt that the model proposed, and why.
struct Proposal {
    critique: String,
    text: String,
}

/// What a branch came to that brought no proposal.
struct Failure {
    critique: Option<String>,
    text: Option<String>,
    reason: RejectionReason,
}

impl From<RejectionReason> for Failure {
    fn from(reason: RejectionReason) -> Self {
        Self {
            critique: None,
            text: None,
            reason,
        }
    }
}

impl<T: Task> Rounds<'_, T> {
    /// The state after one more round. The state before it stays as it was, so that a round that is broken off leaves nothing.
    pub(super) async fn next(&self, state: &State) -> Result<State, Halt> {
        let mut next = state.clone();
        let round = state.rounds + 1;
        let branches = self.branches(state, round);
        let rollouts = branches.iter().map(|branch| branch.tasks.len()).sum();
        let progress = self.search.progress(format!("round {round}: learning"), rollouts);
        let made = branches
            .iter()
            .map(|branch| self.branch(state, branch, Arc::clone(&progress)));
        let made = try_join_all(made).await?;
        drop(progress);
        self.search.go_on()?;

        let (mut born, mut model_failure) = (Vec::new(), None);
        for (branch, made) in branches.iter().zip(made) {
            let parent = &state.candidates[branch.parent].prompt;
            let examined = match made {
                Ok(Proposal { critique, text }) => {
                    let examined = self.search.rules.examine(&text, parent, &next.candidates);
                    examined
                        .map(|prompt| (prompt, critique.clone()))
                        .map_err(|reason| Failure {
                            critique: Some(critique),
                            text: Some(text),
                            reason,
                        })
                }
                Err(failure) => Err(failure),
            };
            match examined {
                Ok((prompt, critique)) => {
                    born.push(next.candidates.len());
                    let origin = Origin::Edit {
                        parent: branch.parent,
                        critique,
                        gradient_prompt: branch.gradient_prompt,
                        edit_prompt: branch.edit_prompt,
                    };
                    next.candidates.push(Candidate::new(prompt, round, origin));
                }
                Err(Failure {
                    critique,
                    text,
                    reason,
                }) => {
                    if matches!(reason, RejectionReason::NoAnswer { .. }) {
                        model_failure.get_or_insert_with(|| reason.to_string());
                    }
                    next.rejections.push(Rejection {
                        round,
                        parent: branch.parent,
                        text,
                        critique,
                        reason,
                    });
                }
            }
        }
        let failed = next.rejections[state.rejections.len()..]
            .iter()
            .filter(|rejection| matches!(rejection.reason, RejectionReason::NoAnswer { .. }));
        if let Some(problem) = model_failure
            && failed.count() == branches.len()
        {
            return Err(Halt::Failed(anyhow::anyhow!(
                "round {round}: {problem}, and so for all {} candidates",
                branches.len()
            )));
        }

        self.compare(&mut next, round, born).await?;
        self.validate_leader(&mut next, round).await?;
        next.rounds = round;
        Ok(next)
    }

    /// The children of a round: who their parents are, and what is chosen at random for each.
    fn branches(&self, state: &State, round: usize) -> Vec<Branch<T>> {
        let seed = self.search.run.seed();
        let total = self.beam_width * self.branch_factor;
        let batches = self
            .train
            .batches(self.gradient_batch_size, stream(seed, "gradient batches", &[]))
            .skip((round - 1) * total);
        batches
            .take(total)
            .enumerate()
            .map(|(index, batch)| {
                let mut choice = stream(seed, "wording", &[round, index]);
                Branch {
                    place: format!("round {round}, branch {index}"),
                    parent: state.beam[(index / self.branch_factor) % state.beam.len()],
                    tasks: batch.tasks,
                    gradient_prompt: choice.random_range(0..self.gradient_prompts.len()),
                    edit_prompt: choice.random_range(0..self.edit_prompts.len()),
                }
            })
            .collect()
    }

    /// Runs a parent, has it criticised and rewritten.
    async fn branch(
        &self,
        state: &State,
        branch: &Branch<T>,
        progress: Arc<Progress>,
    ) -> Result<Result<Proposal, Failure>, Halt> {
        let parent = &state.candidates[branch.parent].prompt;
        let evaluation = self
            .search
            .evaluate(parent, &branch.tasks, RolloutMode::Train, progress)
            .await?;
        if evaluation.rewards().next().is_none()
            && let Err(problem) = mean(evaluation.outcomes())
        {
            return Ok(Err(RejectionReason::NothingToLearnFrom { problem }.into()));
        }
        let samples: Vec<Sample> = evaluation.outcomes().iter().map(Sample::of).collect();

        let placeholders = self.search.rules.listed();
        let place = |role: &str| format!("{}, {role}", branch.place);
        let text = render(
            &self.gradient_prompts[branch.gradient_prompt],
            &json!({
                "prompt": parent.template,
                "placeholders": placeholders,
                "examples": as_text(&samples),
            }),
        )?;
        let answer = self
            .search
            .ask(
                self.model,
                self.gradient_model,
                ROLE_GRADIENT,
                &place(ROLE_GRADIENT),
                text,
            )
            .await?;
        let critique = match answer {
            Ok(answer) if !answer.text.trim().is_empty() => answer.text,
            Ok(_) => return Ok(Err(empty("critique").into())),
            Err(error) => return Ok(Err(no_answer("critique", &error).into())),
        };

        let text = render(
            &self.edit_prompts[branch.edit_prompt],
            &json!({"prompt": parent.template, "placeholders": placeholders, "critique": critique}),
        )?;
        let answer = self
            .search
            .ask(
                self.model,
                self.apply_edit_model,
                ROLE_EDIT,
                &place(ROLE_EDIT),
                text,
            )
            .await?;
        let proposed: Result<String, (Option<String>, RejectionReason)> = match &answer {
            Ok(ChatAnswer { text, .. }) if text.trim().is_empty() => Err((None, empty("edit"))),
            Ok(answer) => proposed_text(answer)
                .map(str::to_owned)
                .map_err(|reason| (Some(answer.text.clone()), reason)),
            Err(error) => Err((None, no_answer("edit", error))),
        };
        Ok(match proposed {
            Ok(text) => Ok(Proposal { critique, text }),
            Err((text, reason)) => Err(Failure {
                critique: Some(critique),
                text,
                reason,
            }),
        })
    }

    /// Compares the beam and its children on one batch; the best of them are the next beam.
    async fn compare(&self, next: &mut State, round: usize, born: Vec<usize>) -> Result<(), Halt> {
        let contenders: Vec<usize> = next.beam.iter().copied().chain(born).collect();
        let batch = self
            .val
            .batches(
                self.val_batch_size,
                stream(self.search.run.seed(), "val batches", &[]),
            )
            .nth(round - 1)
            .map(|batch| batch.tasks)
            .unwrap_or_default();
        let total = contenders.len();
        let progress = self
            .search
            .progress(format!("round {round}: comparing"), total * batch.len());
        let measured = contenders.iter().map(|index| {
            let prompt = &next.candidates[*index].prompt;
            self.search.measure(prompt, &batch, Arc::clone(&progress))
        });
        let measured = try_join_all(measured).await?;
        drop(progress);

        let (mut ranking, mut problem) = (Vec::new(), None);
        for (index, measured) in contenders.into_iter().zip(measured) {
            let candidate = &mut next.candidates[index];
            match measured {
                Ok(mean) => {
                    candidate.batch_scores.push(BatchScore { round, mean });
                    ranking.push((index, mean));
                }
                Err(why) => {
                    problem.get_or_insert_with(|| why.clone());
                    candidate.problem = Some(why);
                }
            }
        }
        if ranking.is_empty() {
            return Err(Halt::Failed(anyhow::anyhow!(
                "round {round}: none of the {total} prompts got a score: {}",
                problem.unwrap_or_default()
            )));
        }
        // Stable, so that of equals the earlier candidate comes first: a child has to be better than its parent.
        ranking.sort_by_key(|(index, _)| *index);
        ranking.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        ranking.truncate(self.beam_width);
        next.beam = ranking.into_iter().map(|(index, _)| index).collect();
        Ok(())
    }

    /// Measures the leader on all validation tasks; it is the best so far if it is better than all leaders before it.
    async fn validate_leader(&self, next: &mut State, round: usize) -> Result<(), Halt> {
        let leader = next.beam[0];
        let label = format!("round {round}: validating");
        let score = self
            .search
            .validate(&mut next.candidates[leader], self.val, label)
            .await?;
        let best = next.best.and_then(|best| next.candidates[best].score);
        if let Some(score) = score
            && best.is_none_or(|best| score > best)
        {
            next.best = Some(leader);
        }
        Ok(())
    }
}

fn render(prompt: &PromptTemplate, values: &serde_json::Value) -> Result<String, Halt> {
    prompt.render(values).map_err(|error| Halt::Failed(error.into()))
}

fn empty(wanted: &str) -> RejectionReason {
    RejectionReason::Empty {
        wanted: wanted.to_owned(),
    }
}

fn no_answer(wanted: &str, error: &ChatError) -> RejectionReason {
    RejectionReason::NoAnswer {
        wanted: wanted.to_owned(),
        problem: error.to_string(),
    }
}
