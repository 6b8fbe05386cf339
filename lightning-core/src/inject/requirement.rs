//! What a function asks for, as data.

/// One parameter that is injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Requirement {
    /// The name of the parameter.
    pub parameter: &'static str,
    /// The slot: `store`, `train_dataset`, …; for values of one's own the slot's or the value's type as it is written.
    pub slot: &'static str,
    /// The type of the parameter as it is written.
    pub ty: &'static str,
    /// Whether the function does without, since the type is written as an `Option`.
    pub optional: bool,
}

impl Requirement {
    /// A parameter that is injected.
    pub const fn new(parameter: &'static str, slot: &'static str, ty: &'static str, optional: bool) -> Self {
        Self {
            parameter,
            slot,
            ty,
            optional,
        }
    }
}
