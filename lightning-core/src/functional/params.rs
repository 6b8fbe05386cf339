//! Hyper-parameters: the `#[param]`s of a function, set by builder methods or by name from a run file.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::Value;

use crate::types::JsonObject;

/// A type that a `#[param]` may have.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a `#[param]`",
    label = "not a parameter type",
    note = "a parameter is set from run files and saved with checkpoints: write `#[derive(Clone, serde::Serialize, serde::Deserialize)]` on its type"
)]
pub trait Param: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<P: Clone + Serialize + DeserializeOwned + Send + Sync + 'static> Param for P {}

/// A value with hyper-parameters. `#[algo]` and `#[rollout]` implement it.
pub trait Params: Sized + 'static {
    /// The name of the function.
    const NAME: &'static str;

    /// The parameters, in the order of the function.
    #[doc(hidden)]
    fn fields() -> Vec<ParamField<Self>>;

    /// Makes the value: takes the parameters that have no default out of `values` and leaves all others at theirs.
    #[doc(hidden)]
    fn begin(values: &mut JsonObject) -> Result<Self, ParamError>;
}

/// Why parameters could not be set or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParamError {
    /// There is no such parameter.
    #[error(
        "`{function}` has no parameter `{parameter}`{}; {}",
        did_you_mean(suggestion),
        listing(known)
    )]
    Unknown {
        /// The function.
        function: &'static str,
        /// The parameter.
        parameter: String,
        /// The parameter that was probably meant.
        suggestion: Option<&'static str>,
        /// The parameters that there are.
        known: Vec<&'static str>,
    },

    /// A parameter without a default was not set.
    #[error("`{function}` needs the parameter `{parameter}`, which has no default")]
    Missing {
        /// The function.
        function: &'static str,
        /// The parameter.
        parameter: &'static str,
    },

    /// A value does not fit its parameter, or has no JSON form.
    #[error("parameter `{parameter}` of `{function}`: {source}")]
    Invalid {
        /// The function.
        function: &'static str,
        /// The parameter.
        parameter: &'static str,
        /// What is wrong with the value.
        source: serde_json::Error,
    },
}

fn did_you_mean(suggestion: &Option<&'static str>) -> String {
    suggestion.map_or_else(String::new, |name| format!(", did you mean `{name}`?"))
}

fn listing(known: &[&'static str]) -> String {
    if known.is_empty() {
        return "it has none".to_owned();
    }
    let names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    format!("it has {}", names.join(", "))
}

type Get<S> = Box<dyn Fn(&S) -> serde_json::Result<Value>>;
type Set<S> = Box<dyn Fn(&mut S, Value) -> serde_json::Result<()>>;

/// One parameter of `S`.
#[doc(hidden)]
pub struct ParamField<S> {
    name: &'static str,
    get: Get<S>,
    set: Set<S>,
}

impl<S: 'static> ParamField<S> {
    /// The parameter `name`, which is reached by these two.
    pub fn new<P: Param>(name: &'static str, get: fn(&S) -> &P, get_mut: fn(&mut S) -> &mut P) -> Self {
        Self {
            name,
            get: Box::new(move |value| serde_json::to_value(get(value))),
            set: Box::new(move |value, to| {
                *get_mut(value) = serde_json::from_value(to)?;
                Ok(())
            }),
        }
    }
}

impl<S> fmt::Debug for ParamField<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParamField")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Takes a parameter without a default out of `values`, for generated code.
#[doc(hidden)]
pub fn take_required<S: Params, P: Param>(
    values: &mut JsonObject,
    parameter: &'static str,
) -> Result<P, ParamError> {
    let value = values.remove(parameter).ok_or(ParamError::Missing {
        function: S::NAME,
        parameter,
    })?;
    serde_json::from_value(value).map_err(|source| invalid::<S>(parameter, source))
}

/// The parameters of `value` by name.
///
/// Errors if one of them has no JSON form.
pub fn params_to_json<S: Params>(value: &S) -> Result<JsonObject, ParamError> {
    S::fields()
        .into_iter()
        .map(|field| match (field.get)(value) {
            Ok(json) => Ok((field.name.to_owned(), json)),
            Err(source) => Err(invalid::<S>(field.name, source)),
        })
        .collect()
}

/// A value whose parameters have the `values` given, and their defaults where none is given.
///
/// Errors if a name is unknown, a value does not fit, or a parameter without a default is missing.
pub fn params_from_json<S: Params>(mut values: JsonObject) -> Result<S, ParamError> {
    refuse_unknown::<S>(&values)?;
    let base = S::begin(&mut values)?;
    set_params(base, values)
}

/// `base` with the parameters in `values` changed.
///
/// Errors if a name is unknown or a value does not fit.
pub fn set_params<S: Params>(mut base: S, mut values: JsonObject) -> Result<S, ParamError> {
    refuse_unknown::<S>(&values)?;
    for field in S::fields() {
        if let Some(value) = values.remove(field.name) {
            (field.set)(&mut base, value).map_err(|source| invalid::<S>(field.name, source))?;
        }
    }
    Ok(base)
}

fn refuse_unknown<S: Params>(values: &JsonObject) -> Result<(), ParamError> {
    let known: Vec<&'static str> = S::fields().iter().map(|field| field.name).collect();
    match values.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(unknown) => Err(ParamError::Unknown {
            function: S::NAME,
            parameter: unknown.clone(),
            suggestion: known
                .iter()
                .copied()
                .map(|name| (strsim::damerau_levenshtein(unknown, name), name))
                .filter(|(distance, name)| *distance <= 2 && *distance < name.len())
                .min()
                .map(|(_, name)| name),
            known,
        }),
    }
}

fn invalid<S: Params>(parameter: &'static str, source: serde_json::Error) -> ParamError {
    ParamError::Invalid {
        function: S::NAME,
        parameter,
        source,
    }
}

/// `Serialize` of a generated value.
#[doc(hidden)]
pub fn serialize_params<S: Params, Z: Serializer>(value: &S, serializer: Z) -> Result<Z::Ok, Z::Error> {
    params_to_json(value)
        .map_err(serde::ser::Error::custom)?
        .serialize(serializer)
}

/// `Deserialize` of a generated value.
#[doc(hidden)]
pub fn deserialize_params<'de, S: Params, D: Deserializer<'de>>(deserializer: D) -> Result<S, D::Error> {
    params_from_json(JsonObject::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}
