//! Samples packed into rows of equal length.
//!
//! Several samples share a row; each has positions of its own and sees only itself, so that packing changes no number
//! but for rounding.

use candle_core::{DType, Device, Tensor};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde::{Deserialize, Serialize};

use super::LmError;
use crate::adapter::{Trajectory, Triplet};

/// A sequence of tokens to train on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The tokens.
    pub tokens: Vec<u32>,
    /// For each token how much it counts: 0 for what the model is given, 1 for what it should learn to write. The first
    /// token has nothing before it and never counts.
    pub weights: Vec<f32>,
}

impl Sample {
    /// A prompt, which is given, and an answer, which is learnt.
    pub fn new(prompt: &[u32], answer: &[u32]) -> Self {
        let weights = [0.0].repeat(prompt.len()).into_iter();
        Self {
            tokens: [prompt, answer].concat(),
            weights: weights.chain([1.0].repeat(answer.len())).collect(),
        }
    }

    /// The recorded tokens of a call; `None` if they were not recorded.
    pub fn of_triplet(triplet: &Triplet) -> Option<Self> {
        let (prompt, answer) = (&triplet.prompt.token_ids, &triplet.response.token_ids);
        (!prompt.is_empty() && !answer.is_empty()).then(|| Self::new(prompt, answer))
    }

    /// The tokens of a trajectory, of which those are learnt that the model wrote.
    pub fn of_trajectory(trajectory: &Trajectory) -> Self {
        Self {
            tokens: trajectory.token_ids.clone(),
            weights: trajectory.loss_mask.iter().map(|mask| f32::from(*mask)).collect(),
        }
    }

    /// Whether it has a token that counts.
    fn teaches(&self) -> bool {
        self.weights.iter().skip(1).any(|weight| *weight > 0.0)
    }
}

/// Rows of equal length, and what is to be learnt of them. Its JSON is for programs that train elsewhere on the same.
#[derive(Clone, Debug, Serialize)]
pub struct Batch {
    pub(super) rows: usize,
    pub(super) length: usize,
    pub(super) tokens: Vec<u32>,
    pub(super) positions: Vec<u32>,
    /// Which sample of its row a token belongs to; filling is a sample of its own.
    segments: Vec<u32>,
    /// Where a token is predicted that counts: the place before it, the token, and how much it counts.
    pub(super) targets: Vec<(u32, u32, f32)>,
}

impl Batch {
    /// How many tokens of samples there are, filling not counted.
    pub fn tokens(&self) -> usize {
        self.segments
            .iter()
            .filter(|segment| **segment != FILLING)
            .count()
    }

    /// What is added to the scores `[rows, 1, length, length]` of attention: 0 where a token sees another, −∞ elsewhere.
    pub(super) fn mask(&self, dtype: DType) -> Result<Tensor, LmError> {
        let length = self.length;
        let mut mask = vec![f32::NEG_INFINITY; self.rows * length * length];
        for (place, row) in mask.chunks_exact_mut(length).enumerate() {
            let (start, own) = (place / length * length, place % length);
            for (other, number) in row.iter_mut().enumerate().take(own + 1) {
                if self.segments[start + other] == self.segments[place] {
                    *number = 0.0;
                }
            }
        }
        let mask = Tensor::from_vec(mask, (self.rows, 1, length, length), &Device::Cpu)?;
        Ok(mask.to_dtype(dtype)?)
    }
}

const FILLING: u32 = u32::MAX;

/// The order of the samples of an epoch, decided by the seed.
pub(super) fn shuffled(count: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut rng = StdRng::seed_from_u64(seed ^ epoch.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        order.swap(last, rng.random_range(0..=last));
    }
    order
}

/// Packs samples in this order into batches of `rows` rows of `length` tokens. A sample goes into the first row of its
/// batch with room for it. Samples with nothing to learn are passed over.
///
/// # Errors
///
/// [`LmError::TooLong`], if a sample is longer than a row; [`LmError::NothingToLearn`], if no sample has a token that
/// counts; [`LmError::Weights`], if one has not as many weights as tokens.
pub fn pack<'a>(
    samples: impl IntoIterator<Item = &'a Sample>,
    rows: usize,
    length: usize,
) -> Result<Vec<Batch>, LmError> {
    let (rows, mut batches) = (rows.max(1), Vec::new());
    let mut open: Vec<Vec<&Sample>> = Vec::new();
    let mut used: Vec<usize> = Vec::new();
    for sample in samples.into_iter().filter(|sample| sample.teaches()) {
        let count = sample.tokens.len();
        if sample.weights.len() != count {
            let problem = format!("a sample has {count} tokens and {} weights", sample.weights.len());
            return Err(LmError::NothingToLearn { problem });
        }
        if count > length {
            return Err(LmError::TooLong {
                tokens: count,
                limit: length,
            });
        }
        let row = match used.iter().position(|used| used + count <= length) {
            Some(row) => row,
            None => {
                if open.len() == rows {
                    batches.push(lay_out(&open, length));
                    open.clear();
                    used.clear();
                }
                open.push(Vec::new());
                used.push(0);
                open.len() - 1
            }
        };
        open[row].push(sample);
        used[row] += count;
    }
    if !open.is_empty() {
        batches.push(lay_out(&open, length));
    }
    if batches.is_empty() {
        let problem = "no sample has a token to learn".to_owned();
        return Err(LmError::NothingToLearn { problem });
    }
    Ok(batches)
}

/// The batch of these rows, no longer than the longest of them.
fn lay_out(open: &[Vec<&Sample>], length: usize) -> Batch {
    let used = |row: &Vec<&Sample>| row.iter().map(|sample| sample.tokens.len()).sum::<usize>();
    let length = open.iter().map(used).max().unwrap_or(length).min(length);
    let mut batch = Batch {
        rows: open.len(),
        length,
        tokens: Vec::new(),
        positions: Vec::new(),
        segments: Vec::new(),
        targets: Vec::new(),
    };
    for (row, samples) in open.iter().enumerate() {
        for (segment, sample) in samples.iter().enumerate() {
            let start = batch.tokens.len();
            batch.tokens.extend(&sample.tokens);
            batch.positions.extend(0..sample.tokens.len() as u32);
            batch.segments.resize(batch.tokens.len(), segment as u32);
            let counting = sample.tokens.iter().zip(&sample.weights).enumerate().skip(1);
            let counting = counting.filter(|(_, (_, weight))| **weight > 0.0);
            batch
                .targets
                .extend(counting.map(|(at, (token, weight))| ((start + at - 1) as u32, *token, *weight)));
        }
        let end = (row + 1) * length;
        let filling = end - batch.tokens.len();
        batch.tokens.resize(end, 0);
        batch.positions.extend(0..filling as u32);
        batch.segments.resize(end, FILLING);
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(lengths: &[usize]) -> Vec<Sample> {
        let sample = |(number, length): (usize, &usize)| Sample::new(&[number as u32], &vec![9; length - 1]);
        lengths.iter().enumerate().map(sample).collect()
    }

    #[test]
    fn every_sample_is_in_one_batch_once() {
        let samples = samples(&[5, 3, 4, 8, 2, 2, 7, 1, 3]);
        let batches = pack(&samples, 2, 8).unwrap();
        let counting: usize = batches.iter().map(|batch| batch.targets.len()).sum();
        assert_eq!(counting, 4 + 2 + 3 + 7 + 1 + 1 + 6 + 2);
        for batch in &batches {
            assert_eq!(batch.tokens.len(), batch.rows * batch.length);
            assert!(batch.rows <= 2 && batch.length <= 8);
            for (place, token, _) in &batch.targets {
                assert_eq!(batch.tokens[*place as usize + 1], *token);
                assert_eq!(
                    batch.segments[*place as usize + 1],
                    batch.segments[*place as usize],
                    "no sample learns from another"
                );
            }
        }
    }

    #[test]
    fn a_token_sees_what_is_before_it_in_its_sample_and_nothing_else() {
        let samples = samples(&[2, 3]);
        let batch = &pack(&samples, 1, 6).unwrap()[0];
        let mask = batch.mask(DType::F32).unwrap();
        let mask = mask
            .squeeze(1)
            .unwrap()
            .squeeze(0)
            .unwrap()
            .to_vec2::<f32>()
            .unwrap();
        let seen: Vec<Vec<usize>> = mask
            .iter()
            .map(|row| (0..row.len()).filter(|at| row[*at] == 0.0).collect())
            .collect();
        assert_eq!(seen, [vec![0], vec![0, 1], vec![2], vec![2, 3], vec![2, 3, 4]]);
        assert_eq!(batch.positions, [0, 1, 0, 1, 2]);
    }

    #[test]
    fn what_cannot_be_packed_is_said() {
        assert!(matches!(
            pack(&samples(&[9]), 1, 8),
            Err(LmError::TooLong { tokens: 9, limit: 8 })
        ));
        let useless = [Sample::new(&[1, 2, 3], &[]), Sample::new(&[], &[1])];
        assert!(matches!(
            pack(&useless, 1, 8),
            Err(LmError::NothingToLearn { .. })
        ));
        assert!(matches!(pack(&[], 1, 8), Err(LmError::NothingToLearn { .. })));
        let mut lame = Sample::new(&[1], &[2, 3]);
        lame.tokens.pop();
        assert!(matches!(pack(&[lame], 1, 8), Err(LmError::NothingToLearn { .. })));
    }

    #[test]
    fn the_order_is_a_permutation_that_the_seed_decides() {
        let order = shuffled(100, 7, 0);
        assert_eq!(order, shuffled(100, 7, 0));
        assert_ne!(order, shuffled(100, 7, 1));
        assert_ne!(order, shuffled(100, 8, 0));
        let mut sorted = order;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }
}
