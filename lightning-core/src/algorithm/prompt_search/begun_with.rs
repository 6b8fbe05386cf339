//! What a search was begun with, which a checkpoint must agree with.

use serde::{Deserialize, Serialize};

use super::Search;
use crate::types::{Dataset, PromptTemplate};

/// What a search was begun with besides its parameters: with anything else, its state is of no use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::algorithm) struct BegunWith {
    seed: u64,
    prompt: PromptTemplate,
    train_tasks: usize,
    val_tasks: usize,
}

impl BegunWith {
    pub(in crate::algorithm) fn new<T>(search: &Search, train: &Dataset<T>, val: &Dataset<T>) -> Self {
        Self {
            seed: search.run.seed(),
            prompt: search.seed_prompt.clone(),
            train_tasks: train.len(),
            val_tasks: val.len(),
        }
    }

    /// Errors if this is not what the saved state was begun with.
    pub(in crate::algorithm) fn check(&self, saved: &Self) -> anyhow::Result<()> {
        let mut differences = Vec::new();
        for (what, was, is) in [
            ("seed", saved.seed.to_string(), self.seed.to_string()),
            (
                "training tasks",
                saved.train_tasks.to_string(),
                self.train_tasks.to_string(),
            ),
            (
                "validation tasks",
                saved.val_tasks.to_string(),
                self.val_tasks.to_string(),
            ),
        ] {
            if was != is {
                differences.push(format!("{what}: {was} in the checkpoint, {is} now"));
            }
        }
        if saved.prompt != self.prompt {
            differences.push("the prompt to begin with is another one".to_owned());
        }
        anyhow::ensure!(
            differences.is_empty(),
            "the run cannot be resumed: {}; resume with the same ones, or use another run folder",
            differences.join("; ")
        );
        Ok(())
    }
}
