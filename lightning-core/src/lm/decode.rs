//! Decoding: what comes after a sequence, a few tokens at a time.

use candle_core::{Device, Tensor};

use super::{LmError, Transformer, transformer::Attention};

/// Products of matrices with so few results, and those with a single row, are computed by other routines, which round
/// otherwise. What a sequence gets would depend on how many others are under way, so there are always more rows.
const FEW_RESULTS: usize = 256;

/// A model that says what comes next. Implementations other than [`Transformer`] serve tests and models from elsewhere.
pub trait LanguageModel: std::fmt::Debug + Send + Sync + 'static {
    /// How many tokens there are.
    fn vocabulary(&self) -> usize;

    /// How many tokens a sequence may have.
    fn context(&self) -> usize;

    /// Appends tokens, at least one, to each of several sequences, and returns the logits of what comes next for each.
    ///
    /// What a sequence gets does not depend on the others.
    ///
    /// # Errors
    ///
    /// [`LmError::TooLong`] and [`LmError::UnknownToken`]; the sequences are of no more use.
    fn extend(&self, work: &mut [Extension<'_>]) -> Result<Vec<Vec<f32>>, LmError>;
}

/// Tokens to be appended to a sequence.
#[derive(Debug)]
pub struct Extension<'a> {
    /// The sequence.
    pub sequence: &'a mut Sequence,
    /// The tokens, at least one.
    pub tokens: &'a [u32],
}

/// A sequence of tokens and what the model remembers of it. It belongs to the model that it was extended with.
#[derive(Clone, Debug, Default)]
pub struct Sequence {
    tokens: Vec<u32>,
    layers: Vec<Remembered>,
}

/// The keys and values of a layer, `[tokens, key_value_heads, head_dim]`.
#[derive(Clone, Debug, Default)]
struct Remembered {
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Sequence {
    /// An empty sequence.
    pub fn new() -> Self {
        Self::default()
    }

    /// Its tokens.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Appends tokens. For implementations of [`LanguageModel`].
    pub fn push(&mut self, tokens: &[u32]) {
        self.tokens.extend_from_slice(tokens);
    }
}

impl Transformer {
    /// How many rows it takes for every product to be computed by the same routine.
    fn least_rows(&self) -> usize {
        let config = &self.config;
        let widths = [
            config.hidden_size,
            config.intermediate_size,
            config.num_attention_heads * config.head_dim,
            config.num_key_value_heads * config.head_dim,
            config.vocab_size,
        ];
        let narrowest = widths.into_iter().min().unwrap_or(1).max(1);
        (FEW_RESULTS / narrowest + 1).max(2)
    }
}

impl LanguageModel for Transformer {
    fn vocabulary(&self) -> usize {
        self.config.vocab_size
    }

    fn context(&self) -> usize {
        self.config.max_position_embeddings
    }

    fn extend(&self, work: &mut [Extension<'_>]) -> Result<Vec<Vec<f32>>, LmError> {
        let (mut tokens, mut positions, mut owners, mut last) = (vec![], vec![], vec![], vec![]);
        for (owner, extension) in work.iter_mut().enumerate() {
            let before = extension.sequence.tokens.len();
            let after = before + extension.tokens.len();
            if after > self.context() {
                return Err(LmError::TooLong {
                    tokens: after,
                    limit: self.context(),
                });
            }
            extension.sequence.push(extension.tokens);
            extension
                .sequence
                .layers
                .resize_with(self.config.num_hidden_layers, Remembered::default);
            tokens.extend_from_slice(extension.tokens);
            // The context is checked to fit by `ModelConfig::check`.
            positions.extend((before..after).map(|position| position as u32));
            owners.extend(std::iter::repeat_n(owner, extension.tokens.len()));
            last.push((tokens.len() as u32).saturating_sub(1));
        }
        let (rows, least) = (tokens.len(), self.least_rows());
        tokens.resize(rows.max(least), 0);
        positions.resize(rows.max(least), 0);
        let mut attention = Remembering {
            model: self,
            work,
            owners: &owners,
            positions: &positions,
        };
        let hidden = self.forward(&tokens, &positions, &mut attention)?;
        let wanted = last.len();
        last.resize(wanted.max(least), 0);
        let hidden = hidden.index_select(&Tensor::new(last.as_slice(), &Device::Cpu)?, 0)?;
        let mut logits = self.logits(&hidden)?.to_vec2::<f32>()?;
        logits.truncate(wanted);
        Ok(logits)
    }
}

/// Attention to what the sequences remember. It goes through one token after the other, so that what a token gets depends
/// on nothing but its own sequence, to the last bit.
struct Remembering<'a, 'b> {
    model: &'a Transformer,
    work: &'a mut [Extension<'b>],
    /// The sequence of each row; rows beyond are filling.
    owners: &'a [usize],
    positions: &'a [u32],
}

impl Attention for Remembering<'_, '_> {
    fn attend(&mut self, layer: usize, q: Tensor, k: Tensor, v: Tensor) -> Result<Tensor, LmError> {
        let config = &self.model.config;
        let dim = config.head_dim;
        let (width, stride) = (config.num_attention_heads * dim, config.num_key_value_heads * dim);
        let group = config.num_attention_heads / config.num_key_value_heads;
        let rows = q.dim(0)?;
        let [q, k, v] = [q, k, v].map(|tensor| tensor.flatten_all()?.to_vec1::<f32>());
        let (q, k, v) = (q?, k?, v?);
        let mut out = vec![0.0f32; rows * width];
        let scale = 1.0 / (dim as f32).sqrt();
        let mut scores = Vec::new();
        for (row, owner) in self.owners.iter().enumerate() {
            let Some(remembered) = self.work[*owner].sequence.layers.get_mut(layer) else {
                continue;
            };
            remembered
                .keys
                .extend_from_slice(&k[row * stride..(row + 1) * stride]);
            remembered
                .values
                .extend_from_slice(&v[row * stride..(row + 1) * stride]);
            let seen = self.positions[row] as usize + 1;
            for head in 0..config.num_attention_heads {
                let from = head / group * dim;
                let query = &q[row * width + head * dim..][..dim];
                let keys = remembered.keys.chunks_exact(stride).take(seen);
                scores.clear();
                scores.extend(keys.map(|key| scale * dot(query, &key[from..from + dim])));
                softmax(&mut scores);
                let out = &mut out[row * width + head * dim..][..dim];
                let values = remembered.values.chunks_exact(stride);
                for (weight, value) in scores.iter().zip(values) {
                    for (sum, number) in out.iter_mut().zip(&value[from..from + dim]) {
                        *sum += weight * number;
                    }
                }
            }
        }
        Ok(Tensor::from_vec(out, (rows, width), &Device::Cpu)?)
    }
}

/// The product of two vectors, in eight sums, so that the compiler can add eight numbers at once.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    let (a, b) = (a.chunks(8), b.chunks(8));
    for (a, b) in a.zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

/// Turns scores into weights that sum to one.
fn softmax(scores: &mut [f32]) {
    let greatest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - greatest).exp();
        sum += *score;
    }
    for score in scores {
        *score /= sum;
    }
}
