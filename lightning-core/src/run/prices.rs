//! What calls of models cost.

use std::{collections::BTreeMap, fmt, path::Path};

use serde::{Deserialize, Serialize};

use super::ModelUsage;
use crate::data::{DataError, read_document};

/// What models cost, by name.
///
/// A name that ends with `*` stands for all that begin with what stands before it; of several that fit, the longest counts.
///
/// ```
/// use lightning_core::run::{ModelUsage, Prices};
///
/// let prices = Prices::new("EUR").model("small", 0.5, 1.5).model("large-*", 5.0, 15.0);
/// let usage = [ModelUsage::of_call("agent", Some("large-2"), Some(2_000_000), Some(100_000))];
/// assert_eq!(prices.cost(&usage).to_string(), "11.5 EUR");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    currency: String,
    models: BTreeMap<String, Price>,
}

/// What a million tokens of a model cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Of those that go in.
    pub input: f64,
    /// Of those that come out.
    pub output: f64,
}

/// What models have cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Cost {
    /// How much, in the currency.
    pub amount: f64,
    /// The currency of the price table.
    pub currency: String,
    /// Calls that are not in the amount: their model has no price, or they do not say how many tokens they took.
    pub calls_without_price: u64,
}

impl Prices {
    /// A table without any price. The currency is only shown.
    pub fn new(currency: impl Into<String>) -> Self {
        Self {
            currency: currency.into(),
            models: BTreeMap::new(),
        }
    }

    /// Adds what a million tokens of a model cost, those that go in and those that come out.
    #[must_use]
    pub fn model(mut self, name: impl Into<String>, input: f64, output: f64) -> Self {
        self.models.insert(name.into(), Price { input, output });
        self
    }

    /// Reads the table from a YAML, TOML or JSON file: `currency`, and `models` by name, each with `input` and `output`.
    ///
    /// # Errors
    ///
    /// [`DataError`].
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, DataError> {
        read_document(path)
    }

    /// What a million tokens of this model cost.
    pub fn price(&self, model: &str) -> Option<Price> {
        if let Some(price) = self.models.get(model) {
            return Some(*price);
        }
        let fits = |name: &&String| {
            name.strip_suffix('*')
                .is_some_and(|begin| model.starts_with(begin))
        };
        let longest = self.models.keys().filter(fits).max_by_key(|name| name.len());
        longest.map(|name| self.models[name])
    }

    /// What it cost to use models so much.
    pub fn cost(&self, usage: &[ModelUsage]) -> Cost {
        let mut cost = Cost {
            amount: 0.0,
            currency: self.currency.clone(),
            calls_without_price: 0,
        };
        for used in usage {
            match used.model.as_deref().and_then(|model| self.price(model)) {
                Some(price) => {
                    let (input, output) = (used.input_tokens as f64, used.output_tokens as f64);
                    cost.amount += (input * price.input + output * price.output) / 1e6;
                    cost.calls_without_price += used.calls_without_tokens;
                }
                None => cost.calls_without_price += used.calls,
            }
        }
        cost
    }

    /// The first price that makes no sense, with its model.
    pub(crate) fn nonsense(&self) -> Option<(&str, Price)> {
        let is_price = |value: f64| value.is_finite() && value >= 0.0;
        let mut models = self.models.iter();
        models
            .find(|(_, price)| !(is_price(price.input) && is_price(price.output)))
            .map(|(name, price)| (name.as_str(), *price))
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Ten-thousandths are shown; rounding hides what sums of floats leave behind.
        write!(f, "{} {}", (self.amount * 1e4).round() / 1e4, self.currency)?;
        match self.calls_without_price {
            0 => Ok(()),
            calls => write!(f, ", and {calls} calls without a price"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(model: Option<&str>, input: Option<u64>, output: Option<u64>) -> ModelUsage {
        ModelUsage::of_call("agent", model, input, output)
    }

    #[test]
    fn the_longest_name_that_fits_sets_the_price() {
        let prices = Prices::new("USD")
            .model("*", 1.0, 1.0)
            .model("large*", 2.0, 2.0)
            .model("large-2", 3.0, 3.0);
        let input = |model| prices.price(model).map(|price| price.input);
        assert_eq!(
            [input("large-2"), input("large-3"), input("small")],
            [Some(3.0), Some(2.0), Some(1.0)]
        );
        assert_eq!(Prices::new("USD").price("large"), None);
    }

    #[test]
    fn what_has_no_price_is_counted_and_never_free() {
        let prices = Prices::new("USD").model("small", 1.0, 2.0);
        let usage = [
            used(Some("small"), Some(1_000_000), Some(500_000)),
            used(Some("small"), None, None),
            used(Some("other"), Some(5), Some(5)),
            used(None, Some(5), Some(5)),
        ];
        let cost = prices.cost(&usage);
        assert_eq!((cost.amount, cost.calls_without_price), (2.0, 3));
        assert_eq!(cost.to_string(), "2 USD, and 3 calls without a price");
    }

    #[test]
    fn tables_are_read_and_nonsense_is_found() {
        let read: Prices =
            serde_json::from_str(r#"{"currency": "EUR", "models": {"a": {"input": 1, "output": 2}}}"#)
                .unwrap();
        assert_eq!(read, Prices::new("EUR").model("a", 1.0, 2.0));
        assert_eq!(read.nonsense(), None);
        for wrong in [-1.0, f64::NAN, f64::INFINITY] {
            let prices = Prices::new("EUR").model("a", wrong, 1.0);
            assert_eq!(prices.nonsense().map(|(name, _)| name), Some("a"));
        }
    }
}
