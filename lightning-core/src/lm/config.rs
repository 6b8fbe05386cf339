//! What a model looks like: the `config.json` of models of the Llama type.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::LmError;

/// The shape of a model. Its JSON is the `config.json` of models of the type `llama`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ModelConfig {
    /// How many tokens there are.
    pub vocab_size: usize,
    /// The width of the model.
    pub hidden_size: usize,
    /// The width of the feed-forward part.
    pub intermediate_size: usize,
    /// How many layers there are.
    pub num_hidden_layers: usize,
    /// How many heads ask.
    pub num_attention_heads: usize,
    /// How many heads are asked; several asking heads may share one.
    pub num_key_value_heads: usize,
    /// The width of a head.
    pub head_dim: usize,
    /// What keeps the norm from dividing by zero.
    pub rms_norm_eps: f64,
    /// The base of the rotary position embedding.
    pub rope_theta: f64,
    /// How many tokens a sequence may have.
    pub max_position_embeddings: usize,
    /// Whether the output uses the table of embeddings, too.
    pub tie_word_embeddings: bool,
    /// The standard deviation of the weights that a training begins with.
    pub initializer_range: f64,
    /// The token that a sequence begins with, if there is one.
    pub bos_token_id: Option<u32>,
    /// The tokens that end an answer.
    pub eos_token_ids: Vec<u32>,
}

impl ModelConfig {
    /// A small model with tied embeddings: this many tokens, this width, layers and heads; a context of 256 tokens.
    ///
    /// ```
    /// use lightning_core::lm::{ByteTokenizer, ModelConfig};
    ///
    /// let config = ModelConfig::small(ByteTokenizer::VOCABULARY, 64, 2, 4);
    /// assert_eq!(config.parameters(), 115_520);
    /// ```
    pub fn small(vocabulary: usize, width: usize, layers: usize, heads: usize) -> Self {
        Self {
            vocab_size: vocabulary,
            hidden_size: width,
            intermediate_size: width * 8 / 3,
            num_hidden_layers: layers,
            num_attention_heads: heads,
            num_key_value_heads: heads,
            head_dim: width / heads.max(1),
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            max_position_embeddings: 256,
            tie_word_embeddings: true,
            initializer_range: 0.02,
            bos_token_id: None,
            eos_token_ids: vec![super::ByteTokenizer::END],
        }
    }

    /// Sets how many tokens a sequence may have.
    #[must_use]
    pub fn context(mut self, tokens: usize) -> Self {
        self.max_position_embeddings = tokens;
        self
    }

    /// Sets the standard deviation of the weights that a training begins with.
    #[must_use]
    pub fn initializer_range(mut self, deviation: f64) -> Self {
        self.initializer_range = deviation;
        self
    }

    /// Sets how many heads are asked.
    #[must_use]
    pub fn key_value_heads(mut self, heads: usize) -> Self {
        self.num_key_value_heads = heads;
        self
    }

    /// How many numbers the weights are.
    pub fn parameters(&self) -> usize {
        self.shapes()
            .iter()
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum()
    }

    /// The names and shapes of the weights, in order.
    pub(super) fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let (width, inner) = (self.hidden_size, self.intermediate_size);
        let asking = self.num_attention_heads * self.head_dim;
        let asked = self.num_key_value_heads * self.head_dim;
        let mut shapes = vec![(
            "model.embed_tokens.weight".to_owned(),
            vec![self.vocab_size, width],
        )];
        for layer in 0..self.num_hidden_layers {
            let mut add = |name: &str, shape: &[usize]| {
                shapes.push((format!("model.layers.{layer}.{name}.weight"), shape.to_vec()));
            };
            add("input_layernorm", &[width]);
            add("self_attn.q_proj", &[asking, width]);
            add("self_attn.k_proj", &[asked, width]);
            add("self_attn.v_proj", &[asked, width]);
            add("self_attn.o_proj", &[width, asking]);
            add("post_attention_layernorm", &[width]);
            add("mlp.gate_proj", &[inner, width]);
            add("mlp.up_proj", &[inner, width]);
            add("mlp.down_proj", &[width, inner]);
        }
        shapes.push(("model.norm.weight".to_owned(), vec![width]));
        if !self.tie_word_embeddings {
            shapes.push(("lm_head.weight".to_owned(), vec![self.vocab_size, width]));
        }
        shapes
    }

    /// Reads a `config.json`. What this module computes otherwise than the configuration says is refused.
    ///
    /// # Errors
    ///
    /// [`LmError::Unsupported`] names the field.
    pub fn from_json(value: &Value) -> Result<Self, LmError> {
        refuse_others(value)?;
        let number = |field: &'static str| positive(value, field, None);
        let (width, heads) = (number("hidden_size")?, number("num_attention_heads")?);
        let config = Self {
            vocab_size: number("vocab_size")?,
            hidden_size: width,
            intermediate_size: number("intermediate_size")?,
            num_hidden_layers: number("num_hidden_layers")?,
            num_attention_heads: heads,
            num_key_value_heads: positive(value, "num_key_value_heads", Some(heads))?,
            head_dim: positive(value, "head_dim", Some(width / heads))?,
            rms_norm_eps: float(value, "rms_norm_eps", 1e-6)?,
            rope_theta: match &value["rope_parameters"] {
                Value::Object(_) => float(&value["rope_parameters"], "rope_theta", 10_000.0)?,
                _ => float(value, "rope_theta", 10_000.0)?,
            },
            max_position_embeddings: positive(value, "max_position_embeddings", Some(2048))?,
            tie_word_embeddings: value["tie_word_embeddings"].as_bool().unwrap_or(false),
            initializer_range: float(value, "initializer_range", 0.02)?,
            bos_token_id: tokens(&value["bos_token_id"]).first().copied(),
            eos_token_ids: tokens(&value["eos_token_id"]),
        };
        config.check()?;
        Ok(config)
    }

    /// The `config.json` of the model.
    pub fn to_json(&self) -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "rope_scaling": null,
            "max_position_embeddings": self.max_position_embeddings,
            "tie_word_embeddings": self.tie_word_embeddings,
            "attention_bias": false,
            "mlp_bias": false,
            "initializer_range": self.initializer_range,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": match self.eos_token_ids.as_slice() {
                [] => Value::Null,
                [one] => json!(one),
                several => json!(several),
            },
            "torch_dtype": "float32",
        })
    }

    /// Whether the numbers fit each other.
    ///
    /// # Errors
    ///
    /// [`LmError::Unsupported`] names the field that does not.
    pub fn check(&self) -> Result<(), LmError> {
        let counts = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        for (field, count) in counts {
            if count == 0 || u32::try_from(count).is_err() {
                return Err(unsupported(field, &count, "it has to be a number above 0"));
            }
        }
        if !self.head_dim.is_multiple_of(2) {
            let remedy = "positions turn pairs of numbers: it has to be even";
            return Err(unsupported("head_dim", &self.head_dim, remedy));
        }
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            let remedy = "it has to divide num_attention_heads";
            return Err(unsupported(
                "num_key_value_heads",
                &self.num_key_value_heads,
                remedy,
            ));
        }
        Ok(())
    }
}

fn unsupported(field: &'static str, value: &impl ToString, remedy: &'static str) -> LmError {
    LmError::Unsupported {
        field,
        value: value.to_string(),
        remedy,
    }
}

/// Refuses what would be computed otherwise than it is meant.
fn refuse_others(value: &Value) -> Result<(), LmError> {
    let expect = |field: &'static str, wanted: Value, remedy: &'static str| match &value[field] {
        Value::Null => Ok(()),
        said if *said == wanted => Ok(()),
        said => Err(unsupported(field, said, remedy)),
    };
    if value["model_type"] != "llama" {
        let said = &value["model_type"];
        return Err(unsupported(
            "model_type",
            said,
            "only models of the type `llama` are known",
        ));
    }
    expect("hidden_act", json!("silu"), "only `silu` is known")?;
    expect("attention_bias", json!(false), "biases are not known")?;
    expect("mlp_bias", json!(false), "biases are not known")?;
    for (field, rope) in [
        ("rope_scaling", &value["rope_scaling"]),
        ("rope_parameters", &value["rope_parameters"]),
    ] {
        let kind = rope["rope_type"]
            .as_str()
            .or(rope["type"].as_str())
            .unwrap_or("default");
        if rope.is_object() && kind != "default" {
            return Err(unsupported(field, rope, "only unscaled positions are known"));
        }
    }
    Ok(())
}

fn positive(value: &Value, field: &'static str, default: Option<usize>) -> Result<usize, LmError> {
    let number = match (&value[field], default) {
        (Value::Null, Some(default)) => Some(default),
        (said, _) => said.as_u64().and_then(|number| usize::try_from(number).ok()),
    };
    number
        .filter(|number| *number > 0)
        .ok_or_else(|| unsupported(field, &value[field], "it has to be a number above 0"))
}

fn float(value: &Value, field: &'static str, default: f64) -> Result<f64, LmError> {
    match &value[field] {
        Value::Null => Ok(default),
        said => said
            .as_f64()
            .filter(|number| *number >= 0.0)
            .ok_or_else(|| unsupported(field, said, "it has to be a number")),
    }
}

/// One token or a list of them.
fn tokens(value: &Value) -> Vec<u32> {
    let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Value::Array(list) => list.iter().filter_map(one).collect(),
        value => one(value).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_read_back_as_it_was_written() {
        let config = ModelConfig::small(261, 48, 3, 4).key_value_heads(2).context(99);
        assert_eq!(ModelConfig::from_json(&config.to_json()).unwrap(), config);
    }

    #[test]
    fn what_would_be_computed_wrongly_is_refused() {
        let good = ModelConfig::small(261, 48, 3, 4).to_json();
        for (field, value) in [
            ("model_type", json!("qwen2")),
            ("model_type", Value::Null),
            ("hidden_act", json!("gelu")),
            ("attention_bias", json!(true)),
            ("rope_scaling", json!({"rope_type": "llama3", "factor": 8.0})),
            ("rope_parameters", json!({"rope_type": "yarn"})),
            ("hidden_size", json!(0)),
            ("hidden_size", json!("wide")),
            ("num_attention_heads", json!(-4)),
            ("num_key_value_heads", json!(3)),
            ("head_dim", json!(7)),
            ("vocab_size", Value::Null),
            ("vocab_size", json!(u64::MAX)),
        ] {
            let mut bad = good.clone();
            bad[field] = value.clone();
            let error = ModelConfig::from_json(&bad).unwrap_err().to_string();
            assert!(error.contains(field), "{field} = {value}: {error}");
        }
    }

    #[test]
    fn both_spellings_of_positions_and_ends_are_read() {
        let mut value = ModelConfig::small(261, 48, 3, 4).to_json();
        value["rope_theta"] = Value::Null;
        value["rope_parameters"] = json!({"rope_type": "default", "rope_theta": 5e5});
        value["eos_token_id"] = json!([2, 3]);
        let config = ModelConfig::from_json(&value).unwrap();
        assert_eq!((config.rope_theta, config.eos_token_ids), (5e5, vec![2, 3]));
    }
}
