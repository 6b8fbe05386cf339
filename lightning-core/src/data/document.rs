//! JSON, YAML and TOML: a file that is one value.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned},
};

use super::{
    error::{DataError, Place},
    source::{Source, field, short_name},
};

fn malformed<T>(place: Place, problem: String) -> DataError {
    DataError::Malformed {
        place: place.into(),
        problem,
        remedy: format!("the file should read as `{}`", short_name::<T>()),
    }
}

/// The message without its place, which the error gives in its own way.
pub(super) fn json_problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).map_or(text.clone(), str::to_owned)
}

pub(super) fn json<T: DeserializeOwned>(source: &Source) -> Result<T, DataError> {
    let failed = |at: Option<String>, error: &serde_json::Error| {
        malformed::<T>(
            source.place(error.line(), error.column(), at),
            json_problem(error),
        )
    };
    let mut deserializer = serde_json::Deserializer::from_str(source.text());
    let value = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| failed(field(error.path()), error.inner()))?;
    deserializer.end().map_err(|error| failed(None, &error))?;
    Ok(value)
}

pub(super) fn yaml<T: DeserializeOwned>(source: &Source) -> Result<T, DataError> {
    // No snippets: the lines around a mistake may hold a key. The limits on nesting and aliases stay; those on size
    // would only keep a large dataset out.
    let options = serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_events: usize::MAX,
            max_nodes: usize::MAX,
            max_total_scalar_bytes: usize::MAX,
        },
    };
    let mut at = None;
    serde_saphyr::with_deserializer_from_str_with_options(source.text(), options, |deserializer| {
        serde_path_to_error::deserialize(deserializer).map_err(|error| {
            at = field(error.path());
            error.into_inner()
        })
    })
    .map_err(|error| {
        let (mut line, mut column) = (0, 0);
        let mut problem = error.without_snippet().to_string();
        if let Some(location) = error.location() {
            line = usize::try_from(location.line()).unwrap_or(0);
            column = usize::try_from(location.column()).unwrap_or(0);
            let place = format!(" at line {line}, column {column}");
            if let Some(short) = problem.strip_suffix(&place) {
                problem = short.to_owned();
            }
        }
        malformed::<T>(source.place(line, column, at), problem)
    })
}

pub(super) fn toml<T: DeserializeOwned>(source: &Source) -> Result<T, DataError> {
    // Only the message: the whole error shows the line, which may hold a key.
    let failed = |at: Option<String>, error: &toml::de::Error| {
        let start = error.span().map(|span| span.start);
        malformed::<T>(source.place_of(start, at), error.message().to_owned())
    };
    let deserializer = toml::Deserializer::parse(source.text()).map_err(|error| failed(None, &error))?;
    serde_path_to_error::deserialize(deserializer).map_err(|error| failed(field(error.path()), error.inner()))
}

/// The one array of a TOML file, which cannot be a list itself.
pub(super) fn toml_list<T: DeserializeOwned>(source: &Source) -> Result<Vec<T>, DataError> {
    toml::<OnlyArray<T>>(source).map(|array| array.0)
}

struct OnlyArray<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OnlyArray<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Table<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Table<T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one array of tables, such as `[[tasks]]`")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Vec<T>, A::Error> {
                let Some((_, tasks)) = map.next_entry::<String, Vec<T>>()? else {
                    return Ok(Vec::new());
                };
                match map.next_key::<String>()? {
                    None => Ok(tasks),
                    Some(other) => Err(de::Error::custom(format!(
                        "a file of tasks holds one array, such as `[[tasks]]`, and here is `{other}` besides"
                    ))),
                }
            }
        }

        deserializer.deserialize_map(Table(PhantomData)).map(Self)
    }
}
