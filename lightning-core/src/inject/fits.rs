//! One trait for each slot, only for its message: the macros ask these, each spanned on the user's type.

use super::{Inject, InjectError, Scope, slots};

macro_rules! fits {
    ($($name:ident, $slot:ident, $message:literal, $label:literal, $note:literal;)*) => {$(
        /// Whether a type fits a slot, with a message of its own.
        #[diagnostic::on_unimplemented(message = $message, label = $label, note = $note)]
        pub trait $name<'cx>: Sized {
            /// Injects.
            fn fit(scope: &'cx Scope) -> Result<Self, InjectError>;
        }

        #[diagnostic::do_not_recommend]
        impl<'cx, V: Inject<'cx, slots::$slot>> $name<'cx> for V {
            fn fit(scope: &'cx Scope) -> Result<Self, InjectError> {
                V::inject(scope)
            }
        }
    )*};
}

fits! {
    FitsStore, Store,
        "`{Self}` does not fit the parameter `store`",
        "wrong type for `store`",
        "write `Arc<dyn Store>`, `&dyn Store`, or an `Option` of one of them";
    FitsAdapter, Adapter,
        "`{Self}` does not fit the parameter `adapter`",
        "wrong type for `adapter`",
        "write `Arc<dyn TraceAdapter<Output = T>>`, `&dyn TraceAdapter<Output = T>`, a type that implements `TraceAdapter` and `Clone`, `Arc` of a type that implements `TraceAdapter`, or an `Option` of one of them";
    FitsLlmProxy, LlmProxy,
        "`{Self}` does not fit the parameter `llm_proxy`",
        "wrong type for `llm_proxy`",
        "write `LlmProxy`, `&LlmProxy`, or an `Option` of one of them";
    FitsInitialResources, InitialResources,
        "`{Self}` does not fit the parameter `initial_resources`",
        "wrong type for `initial_resources`",
        "write `NamedResources`, `&NamedResources`, or an `Option` of one of them";
    FitsRun, Run,
        "`{Self}` does not fit the parameter `run`",
        "wrong type for `run`",
        "write `RunContext`, `&RunContext`, or an `Option` of one of them";
    FitsLlm, Llm,
        "`{Self}` does not fit the parameter `llm`",
        "wrong type for `llm`",
        "write `Llm` or `Option<Llm>`";
    FitsPromptTemplate, PromptTemplate,
        "`{Self}` does not fit the parameter `prompt_template`",
        "wrong type for `prompt_template`",
        "write `PromptTemplate`, `&PromptTemplate`, or an `Option` of one of them";
    FitsResources, Resources,
        "`{Self}` does not fit the parameter `resources`",
        "wrong type for `resources`",
        "write `NamedResources`, `&NamedResources`, or an `Option` of one of them";
    FitsRollout, Rollout,
        "`{Self}` does not fit the parameter `rollout`",
        "wrong type for `rollout`",
        "write `Rollout`, `&Rollout`, `AttemptedRollout` or `&AttemptedRollout`";
    FitsByType, ByType,
        "`{Self}` cannot be injected by its type",
        "not injectable",
        "if the type is yours, write `#[derive(Clone, Inject)]` on it and take it by value; otherwise declare a slot, `struct MySlot;`, and write `#[inject(MySlot)]`";
}

/// Whether a type fits a slot of the user's own.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not fit the slot `{Slot}`",
    label = "wrong type for the slot `{Slot}`",
    note = "a type fits once there is an `impl<'cx> Inject<'cx, {Slot}>` for it"
)]
pub trait FitsSlot<'cx, Slot>: Sized {
    /// Injects.
    fn fit(scope: &'cx Scope) -> Result<Self, InjectError>;
}

#[diagnostic::do_not_recommend]
impl<'cx, Slot, V: Inject<'cx, Slot>> FitsSlot<'cx, Slot> for V {
    fn fit(scope: &'cx Scope) -> Result<Self, InjectError> {
        V::inject(scope)
    }
}
