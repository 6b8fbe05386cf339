//! What the models are asked for: our own wording, which a run may replace.

use serde_json::json;

use crate::types::PromptTemplate;

/// The critique prompts that ship. They are filled with `prompt`, `placeholders` and `examples`.
pub(super) fn gradient_prompts() -> Vec<PromptTemplate> {
    [
        "A language model gets its instructions from the prompt template below. You are to find out what is wrong with the \
         template, not with the model.\n\n\
         The template:\n<template>\n{prompt}\n</template>\n\n\
         What happened when it was used. A reward says how good an answer was; more is better:\n{examples}\n\
         Compare the examples that went well with those that did not. Name the two or three weaknesses of the template that \
         cost the most reward: something it leaves open, says ambiguously, gets wrong or fails to forbid. For each, quote the \
         example that shows it and say what the template would have to tell the model. Do not write a new template.",
        "Below is a prompt template and a record of its use. Go through the examples one by one. For each that fell short of \
         the best possible reward, ask: which sentence of the template led there, or which sentence is missing?\n\n\
         <template>\n{prompt}\n</template>\n\n{examples}\n\
         Then write down, in a short list, the general rules that the template should state and does not. Rules have to hold \
         for tasks that are not shown here, so do not repeat answers of single examples. If all examples went well, say what \
         in the template could be made clearer or shorter without changing what it asks for.",
        "You review instructions for a language model as an editor would, with the results before you.\n\n\
         Instructions:\n<template>\n{prompt}\n</template>\n\n\
         Results, with the reward of each:\n{examples}\n\
         Judge the instructions in four respects: is the task explained, is the form of the answer fixed, are the difficult \
         cases covered, is there anything that distracts? Support every remark by the results. End with the one change that \
         you expect to raise the reward most.",
    ]
    .map(PromptTemplate::new)
    .to_vec()
}

/// The edit prompts that ship. They are filled with `prompt`, `placeholders` and `critique`.
pub(super) fn edit_prompts() -> Vec<PromptTemplate> {
    [
        "Revise a prompt template so that this criticism no longer applies to it.\n\n\
         The template:\n<template>\n{prompt}\n</template>\n\n\
         The criticism:\n{critique}\n\n\
         Change what the criticism is about and keep the rest as it is. The template has placeholders, which a program fills \
         in: {placeholders}. Keep each of them exactly as it is written in the template, and add none. Braces that are not \
         part of a placeholder must stay written as they are.\n\
         Put the whole new template between <prompt> and </prompt>.",
        "Write a better version of the prompt template below. You are free in wording, order and length, as long as it asks for \
         the same task.\n\n\
         <template>\n{prompt}\n</template>\n\n\
         A reviewer who saw it in use had this to say:\n{critique}\n\n\
         Turn the remarks into direct instructions to the model. These placeholders are filled in by a program and have to \
         appear in your version just as they do above: {placeholders}; there are no others. Leave doubled braces doubled.\n\
         Put the whole new template between <prompt> and </prompt>, without comments inside.",
    ]
    .map(PromptTemplate::new)
    .to_vec()
}

/// Errors if a prompt cannot be filled, before anything is spent.
pub(in crate::algorithm) fn check(
    parameter: &str,
    prompts: &[PromptTemplate],
    placeholders: &[&str],
) -> anyhow::Result<()> {
    anyhow::ensure!(
        !prompts.is_empty(),
        "`{parameter}` is empty; give at least one prompt"
    );
    let values: serde_json::Map<_, _> = placeholders
        .iter()
        .map(|name| ((*name).to_owned(), json!("")))
        .collect();
    for (index, prompt) in prompts.iter().enumerate() {
        if let Err(error) = prompt.render(&values) {
            anyhow::bail!("prompt {index} of `{parameter}`: {error}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompts_that_ship_show_what_they_are_filled_with() {
        let values = json!({"prompt": "P-1", "placeholders": "L-2", "examples": "E-3", "critique": "C-4"});
        let shows = |prompts: Vec<PromptTemplate>, wanted: &[&str]| {
            assert!(prompts.len() >= 2);
            for prompt in prompts {
                let text = prompt.render(&values).unwrap();
                assert!(wanted.iter().all(|value| text.contains(value)), "{text}");
            }
        };
        check(
            "gradient_prompts",
            &gradient_prompts(),
            &["prompt", "placeholders", "examples"],
        )
        .unwrap();
        check(
            "edit_prompts",
            &edit_prompts(),
            &["prompt", "placeholders", "critique"],
        )
        .unwrap();
        shows(gradient_prompts(), &["P-1", "E-3"]);
        shows(edit_prompts(), &["P-1", "L-2", "C-4", "</prompt>"]);
    }

    #[test]
    fn a_prompt_that_cannot_be_filled_is_named() {
        let prompts = [PromptTemplate::new("{prompt}"), PromptTemplate::new("{promt}")];
        let error = check("edit_prompts", &prompts, &["prompt"])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("prompt 1 of `edit_prompts`") && error.contains("`promt`"),
            "{error}"
        );
        assert!(check("edit_prompts", &[], &[]).is_err());
    }
}
