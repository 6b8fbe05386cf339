//! A model that is easy to foresee, and one that is not.

use std::sync::{Condvar, Mutex};

use tokio::sync::Notify;

use lightning_core::lm::{Checkpoint, Extension, LanguageModel, LmError, ModelConfig, Served, Training};

/// After each byte comes the next one; after `z` the end; after `~` another `~`. It can be held up.
#[derive(Debug)]
pub(crate) struct Counting {
    steps: Option<Mutex<usize>>,
    more: Condvar,
    /// Told when a step begins.
    begun: Notify,
    context: usize,
}

impl Counting {
    pub(crate) fn new() -> Self {
        Self {
            steps: None,
            more: Condvar::new(),
            begun: Notify::new(),
            context: 200,
        }
    }

    /// One that makes a step for each permit.
    pub(crate) fn held_up() -> Self {
        Self {
            steps: Some(Mutex::new(0)),
            more: Condvar::new(),
            begun: Notify::new(),
            context: 200,
        }
    }

    /// One that writes on for minutes.
    pub(crate) fn endless() -> Self {
        Self {
            context: 10_000_000,
            ..Self::new()
        }
    }

    /// Waits for the beginning of a step.
    pub(crate) async fn taken_up(&self) {
        self.begun.notified().await;
    }

    /// Lets it make so many steps.
    pub(crate) fn let_go(&self, steps: usize) {
        *self.steps.as_ref().unwrap().lock().unwrap() += steps;
        self.more.notify_all();
    }
}

impl LanguageModel for Counting {
    fn vocabulary(&self) -> usize {
        261
    }

    fn context(&self) -> usize {
        self.context
    }

    fn extend(&self, work: &mut [Extension<'_>]) -> Result<Vec<Vec<f32>>, LmError> {
        self.begun.notify_one();
        if let Some(steps) = &self.steps {
            let left = steps.lock().unwrap();
            *self.more.wait_while(left, |left| *left == 0).unwrap() -= 1;
        }
        let mut answers = Vec::new();
        for extension in work {
            extension.sequence.push(extension.tokens);
            let last = *extension.sequence.tokens().last().unwrap();
            if last == u32::from(b'!') {
                return Err(LmError::UnknownToken {
                    token: last,
                    vocabulary: 261,
                });
            }
            let next = match u8::try_from(last) {
                Ok(b'z') => 256,
                Ok(b'~') => usize::from(b'~'),
                _ => last as usize + 1,
            };
            let mut logits = vec![0.0; 261];
            logits[next] = 50.0;
            logits[7] = 49.0;
            answers.push(logits);
        }
        Ok(answers)
    }
}

/// A model of random weights, which says anything.
pub(crate) fn babbling(seed: u64) -> Served {
    let config = ModelConfig::small(261, 16, 1, 2)
        .context(64)
        .initializer_range(0.3);
    let model = Training::from_scratch(config, seed).unwrap().model().unwrap();
    Served::new(Checkpoint::of_bytes(model), format!("v{seed}"))
}
