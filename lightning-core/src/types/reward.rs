//! Rewards: how good a rollout was, in one or several dimensions.

use serde::{Deserialize, Serialize};

use crate::semconv;

/// A reward with one or more named dimensions, the first of which is the primary one.
///
/// ```
/// use lightning_core::types::Reward;
///
/// let reward = Reward::new("accuracy", 0.5).with("brevity", 0.9);
/// assert_eq!(reward.primary(), 0.5);
/// assert_eq!(reward.get("brevity"), Some(0.9));
/// assert_eq!(Reward::from(1.0).get("primary"), Some(1.0));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reward {
    primary: Dimension,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<Dimension>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Dimension {
    name: String,
    value: f64,
}

impl Reward {
    /// A reward with one dimension.
    pub fn new(name: impl Into<String>, value: f64) -> Self {
        Self {
            primary: Dimension {
                name: name.into(),
                value,
            },
            others: Vec::new(),
        }
    }

    /// Adds a dimension.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: f64) -> Self {
        self.others.push(Dimension {
            name: name.into(),
            value,
        });
        self
    }

    /// The value of the primary dimension.
    pub fn primary(&self) -> f64 {
        self.primary.value
    }

    /// The value of the first dimension of that name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.iter()
            .find_map(|(dimension, value)| (dimension == name).then_some(value))
    }

    /// Every dimension with its value, the primary one first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        std::iter::once(&self.primary)
            .chain(&self.others)
            .map(|dimension| (dimension.name.as_str(), dimension.value))
    }
}

impl From<f64> for Reward {
    /// A scalar reward: its one dimension is called `primary`.
    fn from(value: f64) -> Self {
        Self::new(semconv::PRIMARY_REWARD, value)
    }
}
