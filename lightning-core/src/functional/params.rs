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

/// What can be done with a parameter of type `P`. Generated code names every parameter's type through [`param`] alone,
/// so that a type which is none is reported once.
#[doc(hidden)]
pub struct ParamType<P> {
    clone: fn(&P) -> P,
    to_json: fn(&P) -> serde_json::Result<Value>,
    from_json: fn(Value) -> serde_json::Result<P>,
}

/// What can be done with a parameter of type `P`.
#[doc(hidden)]
pub const fn param<P: Param>() -> ParamType<P> {
    ParamType {
        clone: P::clone,
        to_json: |value| serde_json::to_value(value),
        from_json: |json| serde_json::from_value(json),
    }
}

impl<P: 'static> ParamType<P> {
    /// A copy of the value.
    pub fn copy(&self, value: &P) -> P {
        (self.clone)(value)
    }

    /// Takes the parameter, which has no default, out of `values`.
    pub fn take<S: Params>(&self, values: &mut JsonObject, parameter: &'static str) -> Result<P, ParamError> {
        let value = values.remove(parameter).ok_or(ParamError::Missing {
            function: S::NAME,
            parameter,
        })?;
        (self.from_json)(value).map_err(|source| invalid::<S>(parameter, source))
    }

    /// The parameter as a field of `S`, which is reached by these two.
    pub fn field<S: 'static>(
        self,
        name: &'static str,
        get: fn(&S) -> &P,
        get_mut: fn(&mut S) -> &mut P,
    ) -> ParamField<S> {
        ParamField {
            name,
            get: Box::new(move |value| (self.to_json)(get(value))),
            set: Box::new(move |value, to| {
                *get_mut(value) = (self.from_json)(to)?;
                Ok(())
            }),
        }
    }
}

impl<P> fmt::Debug for ParamType<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::any::type_name::<Self>())
    }
}

/// The default of a parameter that is written as a string literal: `#[param(default = "x")] name: String`.
#[diagnostic::on_unimplemented(
    message = "a string cannot be the default of a `{Self}`",
    label = "its default is written as a string",
    note = "write a default of this type: `#[param(default = 3)]`, `#[param(default = Strategy::Greedy)]`"
)]
#[doc(hidden)]
pub trait FromLiteral {
    /// The value.
    fn from_literal(literal: &'static str) -> Self;
}

#[diagnostic::do_not_recommend]
impl<P: From<&'static str>> FromLiteral for P {
    fn from_literal(literal: &'static str) -> Self {
        literal.into()
    }
}

/// One parameter of `S`.
#[doc(hidden)]
pub struct ParamField<S> {
    name: &'static str,
    get: Get<S>,
    set: Set<S>,
}

type Get<S> = Box<dyn Fn(&S) -> serde_json::Result<Value>>;
type Set<S> = Box<dyn Fn(&mut S, Value) -> serde_json::Result<()>>;

impl<S> fmt::Debug for ParamField<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParamField")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
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

/// The names of the parameters, in the order of the function.
pub fn param_names<S: Params>() -> Vec<&'static str> {
    S::fields().iter().map(|field| field.name).collect()
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
    let known = param_names::<S>();
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

/// `Debug` of a generated value.
#[doc(hidden)]
pub fn debug_params<S: Params>(value: &S, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut output = f.debug_struct(S::NAME);
    for field in S::fields() {
        match (field.get)(value) {
            Ok(json) => output.field(field.name, &format_args!("{json}")),
            Err(error) => output.field(field.name, &error),
        };
    }
    output.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Tune {
        rate: f64,
        beam_width: usize,
    }

    impl Params for Tune {
        const NAME: &'static str = "tune";

        fn fields() -> Vec<ParamField<Self>> {
            vec![
                param::<f64>().field("rate", |tune| &tune.rate, |tune| &mut tune.rate),
                param::<usize>().field("beam_width", |tune| &tune.beam_width, |tune| &mut tune.beam_width),
            ]
        }

        fn begin(values: &mut JsonObject) -> Result<Self, ParamError> {
            Ok(Self {
                rate: param().take::<Self>(values, "rate")?,
                beam_width: 4,
            })
        }
    }

    #[track_caller]
    fn refused(values: Value, message: &str) {
        let Value::Object(values) = values else {
            panic!("not an object")
        };
        assert_eq!(params_from_json::<Tune>(values).unwrap_err().to_string(), message);
    }

    #[test]
    fn parameters_are_set_by_name_and_default_where_they_are_not() {
        let read = |values: Value| params_from_json::<Tune>(values.as_object().unwrap().clone()).unwrap();
        assert_eq!(
            read(json!({"rate": 0.5})),
            Tune {
                rate: 0.5,
                beam_width: 4
            }
        );
        let set = read(json!({"rate": 0.5, "beam_width": 2}));
        assert_eq!(
            set,
            Tune {
                rate: 0.5,
                beam_width: 2
            }
        );
        assert_eq!(
            Value::from(params_to_json(&set).unwrap()),
            json!({"rate": 0.5, "beam_width": 2})
        );
    }

    #[test]
    fn a_parameter_that_does_not_fit_is_refused_with_its_name() {
        refused(
            json!({}),
            "`tune` needs the parameter `rate`, which has no default",
        );
        refused(
            json!({"rate": 1.0, "beamwidth": 3}),
            "`tune` has no parameter `beamwidth`, did you mean `beam_width`?; it has `rate`, `beam_width`",
        );
        refused(
            json!({"rate": 1.0, "temperature": 3}),
            "`tune` has no parameter `temperature`; it has `rate`, `beam_width`",
        );
        refused(
            json!({"rate": "fast"}),
            "parameter `rate` of `tune`: invalid type: string \"fast\", expected f64",
        );
    }
}
