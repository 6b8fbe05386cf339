//! Request keys and the answers given under them.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, Hasher, RandomState},
    io,
};

use crate::{
    store::{Answer, Command, RequestKey, StoreError},
    types::Timestamp,
};

/// How long an answer is kept, in seconds.
const KEPT_SECONDS: f64 = 24.0 * 3600.0;
/// How many answers are kept.
const KEPT_ANSWERS: usize = 1_000_000;

/// The answers that repetitions of a command get.
#[derive(Debug, Default)]
pub(super) struct AnsweredKeys {
    answers: HashMap<RequestKey, Answered>,
    /// Oldest first.
    order: VecDeque<(Timestamp, RequestKey)>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Answered {
    fingerprint: u64,
    answer: Answer,
}

impl AnsweredKeys {
    /// Stands for a command in comparisons, so that the command itself need not be kept.
    pub(super) fn fingerprint(&self, command: &Command) -> Result<u64, StoreError> {
        let mut hasher = HashWriter(self.hasher.build_hasher());
        serde_json::to_writer(&mut hasher, command)
            .map_err(|error| StoreError::invalid("command", format!("cannot be written as JSON: {error}")))?;
        Ok(hasher.0.finish())
    }

    /// The first answer, if the key was used before.
    pub(super) fn answer(
        &mut self,
        key: &RequestKey,
        fingerprint: u64,
        now: Timestamp,
    ) -> Result<Option<Answer>, StoreError> {
        while let Some((answered, _)) = self.order.front()
            && now - *answered > KEPT_SECONDS
        {
            self.forget_oldest();
        }
        match self.answers.get(key) {
            None => Ok(None),
            Some(first) if first.fingerprint == fingerprint => Ok(Some(first.answer.clone())),
            Some(_) => Err(StoreError::KeyReused {
                key: key.as_str().to_owned(),
            }),
        }
    }

    /// Keeps an answer for repetitions, in place of one that was kept before.
    pub(super) fn remember(&mut self, key: RequestKey, fingerprint: u64, answer: Answer, now: Timestamp) {
        if let Some(first) = self.answers.get_mut(&key) {
            *first = Answered { fingerprint, answer };
            return;
        }
        if self.order.len() >= KEPT_ANSWERS {
            self.forget_oldest();
        }
        self.order.push_back((now, key.clone()));
        self.answers.insert(key, Answered { fingerprint, answer });
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.answers.remove(&key);
        }
    }
}

struct HashWriter<H>(H);

impl<H: Hasher> io::Write for HashWriter<H> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
