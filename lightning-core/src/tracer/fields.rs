//! The fields of spans and events of `tracing` as attributes.

use std::{error::Error, fmt};

use serde_json::Value;
use tracing::field::{Field, Visit};

use crate::types::JsonObject;

/// How many causes of an error are kept.
const MAX_CAUSES: usize = 32;

/// Collects fields. Runs code of the user's (`Debug`, `Display`), so no lock may be held meanwhile.
#[derive(Default)]
pub(crate) struct Fields {
    /// The text of an event.
    pub(crate) message: Option<String>,
    pub(crate) attributes: JsonObject,
}

impl Fields {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        self.attributes.insert(field.name().to_owned(), value.into());
    }

    fn text(&mut self, field: &Field, text: String) {
        if field.name() == "message" {
            self.message = Some(text);
        } else {
            self.set(field, text);
        }
    }

    /// What went wrong, in the words of an event of level ERROR.
    pub(super) fn problem(&self) -> Option<String> {
        let named = |name: &str| Some(self.attributes.get(name)?.as_str()?.to_owned());
        self.message
            .clone()
            .or_else(|| named("error"))
            .or_else(|| named("err"))
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no word for what is not finite.
        match serde_json::Number::from_f64(value) {
            Some(number) => self.set(field, number),
            None => self.set(field, value.to_string()),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut causes: Vec<Value> = Vec::new();
        let mut next = value.source();
        while let Some(cause) = next.filter(|_| causes.len() < MAX_CAUSES) {
            causes.push(cause.to_string().into());
            next = cause.source();
        }
        if !causes.is_empty() {
            self.attributes
                .insert(format!("{}.causes", field.name()), causes.into());
        }
        self.text(field, value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format!("{value:?}"));
    }
}
