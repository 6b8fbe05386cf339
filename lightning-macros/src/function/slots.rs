//! The slots by name, and what a misspelled name probably meant.

use super::Kind;

/// A slot of the core's own.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) name: &'static str,
    pub(super) fills: Fills,
    /// What to write in a synchronous function, which owns its parameters.
    pub(super) owned: &'static str,
}

/// What fills a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fills {
    /// The core's trait of this name.
    Trait(&'static str),
    /// A dataset: this variant of the core's `DatasetSlot`.
    Dataset(&'static str),
    /// The task itself.
    Task,
}

const ALGO: &[Slot] = &[
    slot("store", Fills::Trait("FitsStore"), "Arc<dyn Store>"),
    slot(
        "adapter",
        Fills::Trait("FitsAdapter"),
        "Arc<dyn TraceAdapter<Output = T>>",
    ),
    slot("llm_proxy", Fills::Trait("FitsLlmProxy"), "LlmProxy"),
    slot(
        "initial_resources",
        Fills::Trait("FitsInitialResources"),
        "NamedResources",
    ),
    slot("train_dataset", Fills::Dataset("Train"), "Dataset<T>"),
    slot("val_dataset", Fills::Dataset("Val"), "Dataset<T>"),
    slot("run", Fills::Trait("FitsRun"), "RunContext"),
];

const ROLLOUT: &[Slot] = &[
    slot("task", Fills::Task, "T"),
    slot("llm", Fills::Trait("FitsLlm"), "Llm"),
    slot(
        "prompt_template",
        Fills::Trait("FitsPromptTemplate"),
        "PromptTemplate",
    ),
    slot("resources", Fills::Trait("FitsResources"), "NamedResources"),
    slot("rollout", Fills::Trait("FitsRollout"), "Rollout"),
];

const fn slot(name: &'static str, fills: Fills, owned: &'static str) -> Slot {
    Slot { name, fills, owned }
}

/// The slots of a macro.
pub(super) const fn of(kind: Kind) -> &'static [Slot] {
    match kind {
        Kind::Algo => ALGO,
        Kind::Rollout => ROLLOUT,
    }
}

/// The slot of that name.
pub(super) fn find(kind: Kind, name: &str) -> Option<&'static Slot> {
    of(kind).iter().find(|slot| slot.name == name)
}

/// What is wrong with the name of a parameter that is no slot, and what to do.
pub(super) fn unknown(kind: Kind, name: &str) -> String {
    let attribute = kind.attribute();
    let names: Vec<String> = of(kind).iter().map(|slot| format!("`{}`", slot.name)).collect();
    let slots = format!(
        "the name of a parameter says what `{attribute}` hands to it: {}",
        names.join(", ")
    );
    let other = match kind {
        Kind::Algo if find(Kind::Rollout, name).is_some() => Some(
            "it is one of `#[rollout]`; an algorithm finds rollouts and resources in the `store`, tasks in the datasets",
        ),
        Kind::Rollout if find(Kind::Algo, name).is_some() => Some(
            "it is one of `#[algo]`; an agent gets its `task` and `resources`, and answers with its result",
        ),
        _ => None,
    };
    if let Some(other) = other {
        return format!("no slot of `{attribute}` is called `{name}`\n{other}\n{slots}");
    }
    let hint = meant(kind, name).map_or_else(String::new, |slot| format!("did you mean `{slot}`?\n"));
    format!(
        "no slot is called `{name}`\n\
         {hint}\
         {slots}\n\
         for a hyper-parameter write `#[param(default = ..)] {name}: ..`\n\
         for a value of your own write `#[inject] {name}: ..`"
    )
}

/// The slot whose name, or one word of it, is nearest; if it is near.
fn meant(kind: Kind, name: &str) -> Option<&'static str> {
    of(kind)
        .iter()
        .map(|slot| (distance(name, slot.name), slot.name))
        .filter(|(distance, slot)| *distance <= 2 && *distance * 3 <= slot.len().min(name.len() + 1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, slot)| slot)
}

fn distance(name: &str, slot: &str) -> usize {
    slot.split('_')
        .chain([slot])
        .map(|word| strsim::damerau_levenshtein(name, word))
        .chain([strsim::damerau_levenshtein(name, slot)])
        .min()
        .unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_miss_is_recognised_and_a_far_one_is_not() {
        for (name, slot) in [
            ("datset", Some("train_dataset")),
            ("dataset", Some("train_dataset")),
            ("train", Some("train_dataset")),
            ("valdataset", Some("val_dataset")),
            ("stroe", Some("store")),
            ("llmproxy", Some("llm_proxy")),
            ("proxy", Some("llm_proxy")),
            ("resources", Some("initial_resources")),
            ("adaptor", Some("adapter")),
            ("judge", None),
            ("n", None),
            ("lr", None),
            ("beam_width", None),
        ] {
            assert_eq!(meant(Kind::Algo, name), slot, "{name}");
        }
        for (name, slot) in [
            ("tsk", Some("task")),
            ("prompt", Some("prompt_template")),
            ("resource", Some("resources")),
            ("model", None),
        ] {
            assert_eq!(meant(Kind::Rollout, name), slot, "{name}");
        }
    }
}
