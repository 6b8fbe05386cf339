//! Training: the loss of a batch, its gradients, and steps along them.

use std::collections::BTreeMap;

use candle_core::{D, Device, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::{
    Batch, LmError, ModelConfig, Optimiser, Sample, Transformer,
    optimise::AdamW,
    pack::{pack, shuffled},
    transformer::Attention,
    weights::{self, Weights},
};

/// How a model is trained on samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct TrainOptions {
    /// How often each sample is seen.
    pub epochs: u64,
    /// How many rows a batch has at most.
    pub rows: usize,
    /// How many tokens a row has at most; samples share rows.
    pub row_tokens: usize,
    /// Decides the order of the samples.
    pub seed: u64,
    /// How the weights are changed.
    pub optimiser: Optimiser,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            epochs: 1,
            rows: 8,
            row_tokens: 128,
            seed: 0,
            optimiser: Optimiser::default(),
        }
    }
}

/// What a step of a training did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Step {
    /// Its number, from 0.
    pub step: u64,
    /// How many there are.
    pub steps: u64,
    /// The mean of −ln p over the tokens of the batch that count, before the step.
    pub loss: f64,
    /// The length of all gradients together, before it was limited.
    pub gradient: f64,
    /// The learning rate.
    pub learning_rate: f64,
    /// How many tokens the samples of the batch have.
    pub tokens: u64,
}

/// A model under training.
#[derive(Debug)]
pub struct Training {
    model: Transformer,
    variables: BTreeMap<String, Var>,
    adam: AdamW,
    steps_done: u64,
}

impl Training {
    /// Begins with random weights. The same seed gives the same weights.
    ///
    /// # Errors
    ///
    /// [`LmError::Unsupported`], if the configuration does not fit itself.
    pub fn from_scratch(config: ModelConfig, seed: u64) -> Result<Self, LmError> {
        config.check()?;
        let tensors = weights::random(&config, seed)?;
        Self::over(config, &tensors)
    }

    /// Goes on from the weights of a model, which stays as it is.
    ///
    /// # Errors
    ///
    /// [`LmError::Tensors`].
    pub fn of(model: &Transformer) -> Result<Self, LmError> {
        Self::over(model.config.clone(), &model.tensors())
    }

    fn over(config: ModelConfig, tensors: &BTreeMap<String, Tensor>) -> Result<Self, LmError> {
        let variables = weights::variables(tensors)?;
        let tracked = variables
            .iter()
            .map(|(name, var)| (name.clone(), var.as_tensor().clone()));
        let weights = Weights::arrange(&config, &tracked.collect())?;
        Ok(Self {
            model: Transformer { config, weights },
            variables,
            adam: AdamW::default(),
            steps_done: 0,
        })
    }

    /// The model as it is now; later steps do not change it.
    ///
    /// # Errors
    ///
    /// [`LmError::Tensors`].
    pub fn model(&self) -> Result<Transformer, LmError> {
        let copies = self
            .variables
            .iter()
            .map(|(name, var)| Ok((name.clone(), var.copy()?.detach())));
        Transformer::new(
            self.model.config.clone(),
            &copies.collect::<Result<_, LmError>>()?,
        )
    }

    /// Trains on samples. `watch` is told each step, and ends the training by returning `false`.
    ///
    /// The same weights, samples and options give the same weights again.
    ///
    /// # Errors
    ///
    /// Those of [`pack`]; [`LmError::Diverged`], if loss or gradients are not finite numbers any more.
    pub fn run(
        &mut self,
        samples: &[Sample],
        options: &TrainOptions,
        mut watch: impl FnMut(&Step) -> bool,
    ) -> Result<(), LmError> {
        let length = options.row_tokens.min(self.model.config.max_position_embeddings);
        let mut batches = Vec::new();
        for epoch in 0..options.epochs {
            let order = shuffled(samples.len(), options.seed, epoch);
            let samples = order.into_iter().map(|index| &samples[index]);
            batches.extend(pack(samples, options.rows, length)?);
        }
        let steps = batches.len() as u64;
        for (number, batch) in (0..).zip(&batches) {
            let rate = options.optimiser.rate(number, steps);
            let (loss, gradient) = self.step(batch, rate, &options.optimiser)?;
            let step = Step {
                step: number,
                steps,
                loss,
                gradient,
                learning_rate: rate,
                tokens: batch.tokens() as u64,
            };
            if !watch(&step) {
                break;
            }
        }
        Ok(())
    }

    /// One step on one batch. Returns loss and length of the gradients before it.
    ///
    /// # Errors
    ///
    /// [`LmError::Diverged`], after which the weights are as they were; [`LmError::UnknownToken`].
    pub fn step(&mut self, batch: &Batch, rate: f64, options: &Optimiser) -> Result<(f64, f64), LmError> {
        let diverged = |what| LmError::Diverged {
            step: self.steps_done,
            what,
        };
        let loss = self.model.loss(batch)?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        if !value.is_finite() {
            return Err(diverged("the loss"));
        }
        let gradients = loss.backward()?;
        let length = self.adam.step(&self.variables, &gradients, rate, options)?;
        if !length.is_finite() {
            return Err(diverged("a gradient"));
        }
        self.steps_done += 1;
        Ok((value, length))
    }
}

impl Transformer {
    /// The mean of −ln p of the tokens that count in a batch, weighted: a number.
    pub(super) fn loss(&self, batch: &Batch) -> Result<Tensor, LmError> {
        let vocabulary = self.config.vocab_size;
        let beyond = batch
            .targets
            .iter()
            .find(|(_, token, _)| *token as usize >= vocabulary);
        if let Some((_, token, _)) = beyond {
            let token = *token;
            return Err(LmError::UnknownToken { token, vocabulary });
        }
        let dtype = self.weights.norm.dtype();
        let mut attention = Packed {
            model: self,
            rows: batch.rows,
            length: batch.length,
            mask: batch.mask(dtype)?,
        };
        let hidden = self.forward(&batch.tokens, &batch.positions, &mut attention)?;
        let column = |of: fn(&(u32, u32, f32)) -> u32| {
            let numbers: Vec<u32> = batch.targets.iter().map(of).collect();
            Tensor::new(numbers, &Device::Cpu)
        };
        let hidden = hidden.index_select(&column(|target| target.0)?, 0)?;
        let logits = self.logits(&hidden)?;
        let greatest = logits.max_keepdim(D::Minus1)?.detach();
        let shifted = logits.broadcast_sub(&greatest)?;
        let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
        let chosen = shifted.gather(&column(|target| target.1)?.unsqueeze(1)?, 1)?;
        let losses = (log_sum - chosen)?.squeeze(1)?;
        let total: f32 = batch.targets.iter().map(|target| target.2).sum();
        let weights: Vec<f32> = batch.targets.iter().map(|target| target.2 / total).collect();
        let weights = Tensor::new(weights, &Device::Cpu)?.to_dtype(dtype)?;
        Ok((losses * weights)?.sum_all()?)
    }
}

/// Attention within the samples of packed rows.
struct Packed<'a> {
    model: &'a Transformer,
    rows: usize,
    length: usize,
    mask: Tensor,
}

impl Attention for Packed<'_> {
    fn attend(&mut self, _: usize, q: Tensor, k: Tensor, v: Tensor) -> Result<Tensor, LmError> {
        let config = &self.model.config;
        let (asking, asked, dim) = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
        );
        let (rows, length) = (self.rows, self.length);
        // [rows, heads, length, head_dim]
        let split = |x: Tensor, heads: usize| {
            x.reshape((rows, length, heads, dim))?
                .transpose(1, 2)?
                .contiguous()
        };
        let shared = |x: Tensor| {
            let x = split(x, asked)?;
            if asking == asked {
                return Ok(x);
            }
            let shape = (rows, asked, asking / asked, length, dim);
            x.unsqueeze(2)?
                .broadcast_as(shape)?
                .reshape((rows, asking, length, dim))
        };
        let (q, k, v) = (split(q, asking)?, shared(k)?, shared(v)?);
        let scores = (q.matmul(&k.t()?)? * (1.0 / (dim as f64).sqrt()))?.broadcast_add(&self.mask)?;
        let greatest = scores.max_keepdim(D::Minus1)?.detach();
        let weights = scores.broadcast_sub(&greatest)?.exp()?;
        let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
        let attended = weights.matmul(&v)?.transpose(1, 2)?;
        Ok(attended.reshape((rows * length, asking * dim))?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::lm::{Extension, LanguageModel as _, Sequence};

    fn config() -> ModelConfig {
        ModelConfig::small(13, 8, 2, 4)
            .key_value_heads(2)
            .initializer_range(0.4)
    }

    fn batch() -> Batch {
        let samples = [
            Sample::new(&[1, 2, 3], &[4, 5]),
            Sample::new(&[12], &[0, 7, 7]),
            Sample {
                tokens: vec![3, 3, 9, 1, 2],
                weights: vec![0.0, 0.5, 0.0, 2.0, 1.0],
            },
        ];
        pack(&samples, 2, 9).unwrap().remove(0)
    }

    /// The weights as 64-bit variables, where finite differences are exact enough to tell.
    fn exact(config: &ModelConfig) -> (Transformer, BTreeMap<String, Var>) {
        let tensors = weights::random(config, 3).unwrap();
        let exact: BTreeMap<String, Tensor> = tensors
            .into_iter()
            .map(|(name, tensor)| {
                // Norms of one would hide mistakes in what they are multiplied with.
                let tensor = tensor.to_dtype(DType::F64).unwrap();
                let count = tensor.elem_count() as f64;
                let wave = Tensor::arange(0.0, count, &Device::Cpu).unwrap().sin().unwrap();
                let wave = (wave.reshape(tensor.shape()).unwrap() * 0.1).unwrap();
                (name, (tensor + wave).unwrap())
            })
            .collect();
        let variables = weights::variables(&exact).unwrap();
        let tracked = variables
            .iter()
            .map(|(name, var)| (name.clone(), var.as_tensor().clone()));
        let weights = Weights::arrange(config, &tracked.collect()).unwrap();
        let config = config.clone();
        (Transformer { config, weights }, variables)
    }

    fn check_gradients(config: &ModelConfig) {
        const DELTA: f64 = 1e-5;
        let (model, variables) = exact(config);
        assert_eq!(variables.len(), config.shapes().len());
        let batch = batch();
        let gradients = model.loss(&batch).unwrap().backward().unwrap();
        let loss = || model.loss(&batch).unwrap().to_scalar::<f64>().unwrap();
        for (name, variable) in &variables {
            let gradient = gradients.get(variable.as_tensor());
            let gradient = gradient.unwrap_or_else(|| panic!("`{name}` has no gradient"));
            let gradient = gradient.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            let original = variable.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            let shift = |index: usize, by: f64| {
                let mut numbers = original.clone();
                numbers[index] += by;
                let tensor = Tensor::from_vec(numbers, variable.shape(), &Device::Cpu).unwrap();
                variable.set(&tensor).unwrap();
                loss()
            };
            for (index, exact) in gradient.iter().enumerate() {
                let numeric = (shift(index, DELTA) - shift(index, -DELTA)) / (2.0 * DELTA);
                let error = (exact - numeric).abs() / (1e-3 + numeric.abs());
                assert!(error < 1e-5, "{name}[{index}]: {exact} but {numeric}");
            }
            shift(0, 0.0);
            let touched = gradient.iter().filter(|number| **number != 0.0).count();
            assert!(
                touched * 2 > gradient.len(),
                "{name}: {touched} of {}",
                gradient.len()
            );
        }
    }

    #[test]
    fn the_gradient_of_every_variable_is_that_of_finite_differences() {
        check_gradients(&config());
    }

    #[test]
    fn so_it_is_without_tied_embeddings_and_shared_heads() {
        let mut config = config().key_value_heads(4);
        config.tie_word_embeddings = false;
        config.num_hidden_layers = 1;
        check_gradients(&config);
    }

    /// Decoding, token by token and together with others, computes what training computes.
    #[test]
    fn decoding_agrees_with_training() {
        let training = Training::from_scratch(config(), 5).unwrap();
        let model = training.model().unwrap();
        let tokens = [3, 1, 4, 1, 5, 9, 2, 6];
        let mut sequence = Sequence::new();
        let mut sum = 0.0;
        for pair in tokens.windows(2) {
            let work = &mut [Extension {
                sequence: &mut sequence,
                tokens: &pair[..1],
            }];
            let logits = model.extend(work).unwrap().remove(0);
            let greatest = logits.iter().copied().fold(f32::MIN, f32::max);
            let log_sum = logits
                .iter()
                .map(|logit| (logit - greatest).exp())
                .sum::<f32>()
                .ln();
            sum += f64::from(greatest + log_sum - logits[pair[1] as usize]);
        }
        // Beside another sample in a packed row.
        let samples = [
            Sample::new(&tokens[..1], &tokens[1..]),
            Sample::new(&[1, 2, 3], &[4]),
        ];
        let both = pack(&samples, 1, 12).unwrap().remove(0);
        let alone = pack(&samples[..1], 1, 8).unwrap().remove(0);
        let other = pack(&samples[1..], 1, 8).unwrap().remove(0);
        let loss = |batch: &Batch| f64::from(model.loss(batch).unwrap().to_scalar::<f32>().unwrap());
        assert!(
            (loss(&alone) - sum / 7.0).abs() < 1e-5,
            "{} {}",
            loss(&alone),
            sum / 7.0
        );
        let mixed = (sum + loss(&other)) / 8.0;
        assert!((loss(&both) - mixed).abs() < 1e-5, "{} {mixed}", loss(&both));
    }

    #[test]
    fn the_seed_decides_and_the_loss_falls() {
        let samples: Vec<Sample> = (0..12)
            .map(|n| Sample::new(&[n, 12], &[(n + 1) % 12, (n + 2) % 12]))
            .collect();
        let options = TrainOptions {
            epochs: 40,
            rows: 2,
            row_tokens: 16,
            optimiser: Optimiser {
                learning_rate: 0.02,
                ..Optimiser::default()
            },
            ..TrainOptions::default()
        };
        let run = |seed| {
            let mut training = Training::from_scratch(config(), 1).unwrap();
            let mut losses = Vec::new();
            let options = TrainOptions { seed, ..options };
            training
                .run(&samples, &options, |step| {
                    losses.push(step.loss);
                    true
                })
                .unwrap();
            let weights = training.model().unwrap().tensors();
            (losses, weights::to_bytes(&weights).unwrap())
        };
        let (losses, weights) = run(0);
        assert!((&losses, &weights) == (&run(0).0, &run(0).1), "the same seed");
        assert_ne!(weights, run(1).1);
        assert!(losses[0] > 2.0 && losses[losses.len() - 1] < 0.3, "{losses:?}");
    }

    #[test]
    fn what_goes_astray_is_told_and_changes_nothing() {
        let mut training = Training::from_scratch(config(), 1).unwrap();
        let steep = Optimiser {
            learning_rate: 1e30,
            warm_up: 0,
            clip: 0.0,
            ..Optimiser::default()
        };
        let samples = [Sample::new(&[1], &[2, 3])];
        let options = TrainOptions {
            epochs: 50,
            optimiser: steep,
            ..TrainOptions::default()
        };
        let error = training.run(&samples, &options, |_| true).unwrap_err();
        assert!(error.to_string().contains("lower the learning rate"), "{error}");
        let unknown = [Sample::new(&[1], &[13])];
        let error = training.run(&unknown, &options, |_| true).unwrap_err();
        assert!(matches!(
            error,
            LmError::UnknownToken {
                token: 13,
                vocabulary: 13
            }
        ));
    }
}
