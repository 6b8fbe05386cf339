//! The numbers of a model, by the names that `transformers` gives them.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use candle_core::{DType, Device, Tensor, Var, safetensors};
use rand::{Rng, RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;

use super::{LmError, ModelConfig};

/// The file that small checkpoints consist of.
pub(super) const WEIGHTS_FILE: &str = "model.safetensors";

/// The file that says which files a large checkpoint consists of.
const INDEX_FILE: &str = "model.safetensors.index.json";

/// The weights of one layer.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) attention_norm: Tensor,
    pub(super) q: Tensor,
    pub(super) k: Tensor,
    pub(super) v: Tensor,
    pub(super) o: Tensor,
    pub(super) mlp_norm: Tensor,
    pub(super) gate: Tensor,
    pub(super) up: Tensor,
    pub(super) down: Tensor,
}

/// The weights of a model.
#[derive(Clone, Debug)]
pub(super) struct Weights {
    pub(super) embeddings: Tensor,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: Tensor,
    /// The embeddings again, if the two are tied.
    pub(super) head: Tensor,
}

impl Weights {
    /// Arranges tensors by their names.
    pub(super) fn arrange(config: &ModelConfig, tensors: &BTreeMap<String, Tensor>) -> Result<Self, LmError> {
        let get = |name: &str| {
            tensors.get(name).cloned().ok_or_else(|| LmError::Weights {
                problem: format!("`{name}` is missing"),
            })
        };
        let layers = (0..config.num_hidden_layers).map(|layer| {
            let get = |name: &str| get(&format!("model.layers.{layer}.{name}.weight"));
            Ok(Layer {
                attention_norm: get("input_layernorm")?,
                q: get("self_attn.q_proj")?,
                k: get("self_attn.k_proj")?,
                v: get("self_attn.v_proj")?,
                o: get("self_attn.o_proj")?,
                mlp_norm: get("post_attention_layernorm")?,
                gate: get("mlp.gate_proj")?,
                up: get("mlp.up_proj")?,
                down: get("mlp.down_proj")?,
            })
        });
        let embeddings = get("model.embed_tokens.weight")?;
        Ok(Self {
            layers: layers.collect::<Result<_, LmError>>()?,
            norm: get("model.norm.weight")?,
            head: if config.tie_word_embeddings {
                embeddings.clone()
            } else {
                get("lm_head.weight")?
            },
            embeddings,
        })
    }

    /// The tensors by their names: what [`arrange`](Self::arrange) was given.
    pub(super) fn by_name(&self, config: &ModelConfig) -> BTreeMap<String, Tensor> {
        let mut tensors = vec![&self.embeddings];
        for layer in &self.layers {
            tensors.extend([&layer.attention_norm, &layer.q, &layer.k, &layer.v, &layer.o]);
            tensors.extend([&layer.mlp_norm, &layer.gate, &layer.up, &layer.down]);
        }
        tensors.extend([&self.norm, &self.head]);
        // The order of the shapes; the output comes last and is left out where it is the embeddings.
        let names = config.shapes().into_iter().map(|(name, _)| name);
        names.zip(tensors.into_iter().cloned()).collect()
    }
}

/// Weights to begin a training with: normal around zero, narrower where layers add up; norms are one.
pub(super) fn random(config: &ModelConfig, seed: u64) -> Result<BTreeMap<String, Tensor>, LmError> {
    let mut rng = StdRng::seed_from_u64(seed);
    let branches = 2.0 * config.num_hidden_layers as f64;
    let tensors = config.shapes().into_iter().map(|(name, shape)| {
        let deviation = if name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight") {
            config.initializer_range / branches.sqrt()
        } else {
            config.initializer_range
        };
        let count: usize = shape.iter().product();
        let numbers: Vec<f32> = if shape.len() == 1 {
            vec![1.0; count]
        } else {
            (0..count)
                .map(|_| (normal(&mut rng) * deviation) as f32)
                .collect()
        };
        Ok((name, Tensor::from_vec(numbers, shape, &Device::Cpu)?))
    });
    tensors.collect()
}

/// A number from the normal distribution, by the method of Box and Muller.
fn normal(rng: &mut impl Rng) -> f64 {
    let radius: f64 = 1.0 - rng.random::<f64>();
    let angle: f64 = rng.random::<f64>() * std::f64::consts::TAU;
    (-2.0 * radius.ln()).sqrt() * angle.cos()
}

/// Makes tensors variables, so that they get gradients.
pub(super) fn variables(tensors: &BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Var>, LmError> {
    tensors
        .iter()
        .map(|(name, tensor)| Ok((name.clone(), Var::from_tensor(tensor)?)))
        .collect()
}

/// Reads the weights of a checkpoint, as 32-bit numbers. Tensors that the configuration does not know are passed over.
pub(super) fn load(folder: &Path, config: &ModelConfig) -> Result<BTreeMap<String, Tensor>, LmError> {
    let mut found = HashMap::new();
    for file in files(folder)? {
        let bytes = fs::read(&file).map_err(|source| LmError::Read {
            path: file.clone(),
            source,
        })?;
        let part = safetensors::load_buffer(&bytes, &Device::Cpu).map_err(|error| LmError::Malformed {
            path: file,
            problem: error.to_string(),
        })?;
        found.extend(part);
    }
    let shapes = config.shapes().into_iter();
    shapes
        .map(|(name, shape)| {
            let tensor = found.remove(&name).ok_or_else(|| LmError::Weights {
                problem: format!("`{name}` is missing"),
            })?;
            if tensor.dims() != shape {
                let problem = format!("`{name}` has the shape {:?}, not {shape:?}", tensor.dims());
                return Err(LmError::Weights { problem });
            }
            Ok((name, tensor.to_dtype(DType::F32)?))
        })
        .collect()
}

/// The files that hold weights. Their names come from a file, so none may lead out of the folder.
fn files(folder: &Path) -> Result<Vec<std::path::PathBuf>, LmError> {
    let path = folder.join(INDEX_FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(vec![folder.join(WEIGHTS_FILE)]);
        }
        Err(source) => return Err(LmError::Read { path, source }),
    };
    let malformed = |problem: String| LmError::Malformed {
        path: path.clone(),
        problem,
    };
    let index: Value = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    let map = index["weight_map"]
        .as_object()
        .ok_or_else(|| malformed("it has no `weight_map`".to_owned()))?;
    let mut names: Vec<&str> = map.values().filter_map(Value::as_str).collect();
    names.sort_unstable();
    names.dedup();
    if let Some(name) = names.iter().find(|name| name.contains(['/', '\\'])) {
        return Err(malformed(format!("`{name}` is no name of a file beside it")));
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// The bytes of a file with the weights.
pub(super) fn to_bytes(tensors: &BTreeMap<String, Tensor>) -> Result<Vec<u8>, LmError> {
    let views: Vec<(&str, &Tensor)> = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor))
        .collect();
    ::safetensors::serialize(views, None).map_err(|error| LmError::Tensors(Box::new(error)))
}
