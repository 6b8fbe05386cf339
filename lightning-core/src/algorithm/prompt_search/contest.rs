//! A search without rounds: candidates are made once, then they compete.

use std::sync::Arc;

use futures::future::try_join_all;
use serde::{Deserialize, Serialize};

use super::{BatchScore, BegunWith, Candidate, Halt, OptimizedPrompt, Origin, Rejection, Search, stream};
use crate::{
    run::Checkpoint,
    types::{Dataset, Task},
};

/// The state of such a search, saved after each stage.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::algorithm) struct Contest {
    begun_with: BegunWith,
    pub(in crate::algorithm) stage: Stage,
    /// The scores of the finalists, as they were reported.
    reported: Vec<f64>,
    pub(in crate::algorithm) candidates: Vec<Candidate>,
    pub(in crate::algorithm) rejections: Vec<Rejection>,
}

/// What has been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::algorithm) enum Stage {
    Begun,
    Made,
    Compared,
    Validated,
}

impl Contest {
    /// The saved state, or that of a search that begins.
    pub(in crate::algorithm) async fn load<T>(
        search: &Search,
        train: &Dataset<T>,
        val: &Dataset<T>,
    ) -> anyhow::Result<(Checkpoint<Self>, Self)> {
        let checkpoint: Checkpoint<Self> = search.run.checkpoint();
        let begun_with = BegunWith::new(search, train, val);
        let state = match checkpoint.load().await? {
            Some(saved) => {
                begun_with.check(&saved.begun_with)?;
                saved
            }
            None => Self {
                candidates: vec![Candidate::new(search.seed_prompt.clone(), 0, Origin::Seed)],
                rejections: Vec::new(),
                stage: Stage::Begun,
                reported: Vec::new(),
                begun_with,
            },
        };
        for score in &state.reported {
            search.run.report_score(*score);
        }
        Ok((checkpoint, state))
    }

    /// Compares all candidates on one batch of validation tasks, and the best of them, with the first prompt, on all of them.
    pub(in crate::algorithm) async fn compete<T: Task>(
        &mut self,
        search: &Search,
        checkpoint: &Checkpoint<Self>,
        val: &Dataset<T>,
        (val_batch_size, finalists): (usize, usize),
    ) -> Result<(), Halt> {
        if self.stage < Stage::Compared {
            search.go_on()?;
            let mut batches = val.batches(val_batch_size, stream(search.run.seed(), "val batch", &[]));
            let batch = batches.next().map(|batch| batch.tasks).unwrap_or_default();
            let total = self.candidates.len();
            let progress = search.progress("comparing".to_owned(), total * batch.len());
            let measured = self
                .candidates
                .iter()
                .map(|candidate| search.measure(&candidate.prompt, &batch, Arc::clone(&progress)));
            let measured = try_join_all(measured).await?;
            for (candidate, measured) in self.candidates.iter_mut().zip(measured) {
                match measured {
                    Ok(mean) => candidate.batch_scores.push(BatchScore { round: 1, mean }),
                    Err(problem) => candidate.problem = Some(problem),
                }
            }
            self.stage = Stage::Compared;
            checkpoint.save(self).await?;
        }
        if self.stage < Stage::Validated {
            let finalists = self.finalists(finalists);
            let total = finalists.len();
            for (place, index) in finalists.into_iter().enumerate() {
                search.go_on()?;
                if self.candidates[index].score.is_none() {
                    let label = format!("finalist {} of {total}", place + 1);
                    let score = search.validate(&mut self.candidates[index], val, label).await?;
                    self.reported.extend(score);
                    checkpoint.save(self).await?;
                    if let Some(score) = score {
                        search.run.report_score(score);
                    }
                }
            }
            self.stage = Stage::Validated;
            checkpoint.save(self).await?;
        }
        Ok(())
    }

    /// The first prompt and the best of the others on the batch, the best first; of equals, the earlier.
    fn finalists(&self, count: usize) -> Vec<usize> {
        let score = |index: &usize| {
            self.candidates[*index]
                .batch_scores
                .last()
                .map(|score| score.mean)
        };
        let mut ranking: Vec<usize> = (1..self.candidates.len())
            .filter(|index| score(index).is_some())
            .collect();
        ranking.sort_by(|a, b| {
            let rank = |index| score(index).unwrap_or(f64::NEG_INFINITY);
            rank(b).total_cmp(&rank(a))
        });
        ranking.truncate(count);
        if score(&0).is_some() {
            ranking.insert(0, 0);
        }
        ranking
    }

    /// Publishes the best, and tells of all.
    ///
    /// Errors if all validation was done and nothing got a score.
    pub(in crate::algorithm) async fn finish(self, search: &Search) -> anyhow::Result<OptimizedPrompt> {
        let mut best: Option<(usize, f64)> = None;
        for (index, candidate) in self.candidates.iter().enumerate() {
            if let Some(score) = candidate.score
                && best.is_none_or(|(_, best)| score > best)
            {
                best = Some((index, score));
            }
        }
        if best.is_none() && self.stage == Stage::Validated {
            let problem = self
                .candidates
                .iter()
                .find_map(|candidate| candidate.problem.as_deref());
            anyhow::bail!(
                "none of the {} candidates got a score: {}",
                self.candidates.len(),
                problem.unwrap_or("nothing was measured")
            );
        }
        let best_candidate = best.map_or(0, |(index, _)| index);
        let prompt = self.candidates[best_candidate].prompt.clone();
        search.publish(&prompt).await?;
        Ok(OptimizedPrompt {
            best: prompt,
            best_candidate,
            score: best.map(|(_, score)| score),
            seed_score: self.candidates[0].score,
            rounds: usize::from(self.stage == Stage::Validated),
            candidates: self.candidates,
            rejections: self.rejections,
        })
    }
}
