//! Partial updates: an omitted field differs from an explicit null.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What an update does to one field that may be null.
///
/// In a struct, pair it with `#[serde(default, skip_serializing_if = "Update::is_keep")]`: an omitted field is
/// [`Keep`](Self::Keep), a null is [`Clear`](Self::Clear).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Update<T> {
    /// Leave the field as it is.
    #[default]
    Keep,
    /// Make it null.
    Clear,
    /// Replace it.
    Set(T),
}

impl<T> Update<T> {
    /// Whether the field stays as it is.
    pub fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }

    /// Applies the update to `field`.
    pub fn apply(self, field: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => *field = None,
            Self::Set(value) => *field = Some(value),
        }
    }
}

impl<T> From<Option<T>> for Update<T> {
    /// `None` clears the field.
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Clear, Self::Set)
    }
}

impl<T: Serialize> Serialize for Update<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Set(value) => serializer.serialize_some(value),
            Self::Keep | Self::Clear => serializer.serialize_none(),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Update<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::from)
    }
}
