//! The slots: one type for each name that a parameter may have. A slot of your own is any type of yours.

macro_rules! slots {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;
    )*};
}

slots! {
    /// `store`: the store, as `Arc<dyn Store>` or `&dyn Store`.
    Store
    /// `adapter`: the trace adapter, as `Arc<dyn TraceAdapter<Output = T>>`, `&dyn TraceAdapter<Output = T>`, a type
    /// that implements `TraceAdapter`, or `Arc` of it.
    Adapter
    /// `llm_proxy`: the LLM proxy, as `LlmProxy` or `&LlmProxy`.
    LlmProxy
    /// `initial_resources`: the resources that the trainer was given, as `NamedResources` or `&NamedResources`.
    InitialResources
    /// `run`: the run, as `RunContext` or `&RunContext`.
    Run
    /// `llm`: the model among the rollout's resources, as `Llm`; of several, the one that is called `llm`. A `ProxyLlm` counts
    /// as one, and its calls are attributed to the attempt.
    Llm
    /// `prompt_template`: the prompt among the rollout's resources, as `PromptTemplate` or `&PromptTemplate`; of several, the
    /// one that is called `prompt_template`.
    PromptTemplate
    /// `resources`: all resources of the rollout, as `NamedResources` or `&NamedResources`.
    Resources
    /// `rollout`: the rollout itself, as `Rollout` or `AttemptedRollout`, or a reference to one of them.
    Rollout
    /// `#[inject]` without a slot: the value of that type that the trainer was given as an extension.
    ByType
}
