//! The model itself: a decoder-only transformer of the Llama type.
//!
//! There is one description of it, for training and for decoding: they differ in how a token attends to those before it,
//! and hand that in. Only operations of which the test below has checked the gradient may be used here. Several fused ones
//! of candle (`softmax_last_dim`, `rms_norm`, `rope`) cut the gradient without saying so.

use std::collections::BTreeMap;

use candle_core::{D, DType, Device, Tensor};

use super::{LmError, ModelConfig, weights::Weights};

/// A model: a shape and weights. A clone shares the weights.
#[derive(Clone, Debug)]
pub struct Transformer {
    pub(super) config: ModelConfig,
    pub(super) weights: Weights,
}

/// How the tokens of a forward pass see each other: given a layer, queries `[tokens, heads, head_dim]`, keys and values
/// `[tokens, key_value_heads, head_dim]`, it returns `[tokens, heads × head_dim]`.
pub(super) trait Attention {
    fn attend(&mut self, layer: usize, q: Tensor, k: Tensor, v: Tensor) -> Result<Tensor, LmError>;
}

impl Transformer {
    pub(super) fn new(config: ModelConfig, tensors: &BTreeMap<String, Tensor>) -> Result<Self, LmError> {
        let weights = Weights::arrange(&config, tensors)?;
        Ok(Self { config, weights })
    }

    /// The shape of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The weights by their names.
    pub(super) fn tensors(&self) -> BTreeMap<String, Tensor> {
        self.weights.by_name(&self.config)
    }

    /// The last hidden states `[tokens, hidden_size]` of `tokens` at `positions`, of equal length.
    pub(super) fn forward(
        &self,
        tokens: &[u32],
        positions: &[u32],
        attention: &mut dyn Attention,
    ) -> Result<Tensor, LmError> {
        let config = &self.config;
        let count = tokens.len();
        if let Some(&token) = tokens.iter().find(|token| **token as usize >= config.vocab_size) {
            return Err(LmError::UnknownToken {
                token,
                vocabulary: config.vocab_size,
            });
        }
        let turns = Turns::new(config, positions, self.weights.norm.dtype())?;
        let ids = Tensor::new(tokens, &Device::Cpu)?;
        let mut x = self.weights.embeddings.index_select(&ids, 0)?;
        for (number, layer) in self.weights.layers.iter().enumerate() {
            let normed = self.norm(&x, &layer.attention_norm)?;
            let heads = |weight: &Tensor, heads: usize| {
                linear(&normed, weight)?.reshape((count, heads, config.head_dim))
            };
            let q = turns.apply(&heads(&layer.q, config.num_attention_heads)?)?;
            let k = turns.apply(&heads(&layer.k, config.num_key_value_heads)?)?;
            let v = heads(&layer.v, config.num_key_value_heads)?;
            let attended = attention.attend(number, q, k, v)?;
            x = (x + linear(&attended, &layer.o)?)?;
            let normed = self.norm(&x, &layer.mlp_norm)?;
            let inner = (linear(&normed, &layer.gate)?.silu()? * linear(&normed, &layer.up)?)?;
            x = (x + linear(&inner, &layer.down)?)?;
        }
        self.norm(&x, &self.weights.norm)
    }

    /// The logits `[tokens, vocab_size]` of what comes after hidden states.
    pub(super) fn logits(&self, hidden: &Tensor) -> Result<Tensor, LmError> {
        Ok(linear(hidden, &self.weights.head)?)
    }

    fn norm(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor, LmError> {
        let mean = (x.sqr()?.sum_keepdim(D::Minus1)? / self.config.hidden_size as f64)?;
        let root = (mean + self.config.rms_norm_eps)?.sqrt()?;
        Ok(x.broadcast_div(&root)?.broadcast_mul(weight)?)
    }
}

/// `x` `[n, in]` times a weight `[out, in]`.
fn linear(x: &Tensor, weight: &Tensor) -> candle_core::Result<Tensor> {
    x.matmul(&weight.t()?)
}

/// The rotary position embedding: by how much each pair of numbers is turned.
struct Turns {
    cos: Tensor,
    sin: Tensor,
}

impl Turns {
    fn new(config: &ModelConfig, positions: &[u32], dtype: DType) -> Result<Self, LmError> {
        let half = config.head_dim / 2;
        let angles: Vec<f64> = positions
            .iter()
            .flat_map(|position| {
                (0..half).map(move |pair| {
                    let exponent = -2.0 * pair as f64 / config.head_dim as f64;
                    f64::from(*position) * config.rope_theta.powf(exponent)
                })
            })
            .collect();
        let table = |of: fn(f64) -> f64| {
            let numbers: Vec<f64> = angles.iter().map(|angle| of(*angle)).collect();
            Tensor::from_vec(numbers, (positions.len(), 1, half), &Device::Cpu)?.to_dtype(dtype)
        };
        Ok(Self {
            cos: table(f64::cos)?,
            sin: table(f64::sin)?,
        })
    }

    /// Turns `[tokens, heads, head_dim]`; the pairs are a number of the first half and its partner in the second.
    fn apply(&self, x: &Tensor) -> Result<Tensor, LmError> {
        let half = x.dim(2)? / 2;
        let (a, b) = (x.narrow(2, 0, half)?, x.narrow(2, half, half)?);
        let turned_a = (a.broadcast_mul(&self.cos)? - b.broadcast_mul(&self.sin)?)?;
        let turned_b = (b.broadcast_mul(&self.cos)? + a.broadcast_mul(&self.sin)?)?;
        Ok(Tensor::cat(&[turned_a, turned_b], 2)?)
    }
}
