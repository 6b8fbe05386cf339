//! Whether a proposed prompt may be tried.

use std::collections::BTreeSet;

use super::{Candidate, RejectionReason};
use crate::{chat::ChatAnswer, template::TemplateError, types::PromptTemplate};

const OPENING: &str = "<prompt>";
const CLOSING: &str = "</prompt>";

/// What every candidate has to keep.
#[derive(Clone, Debug)]
pub(in crate::algorithm) struct Rules {
    placeholders: BTreeSet<String>,
}

impl Rules {
    /// The placeholders of the prompt that a search begins with.
    pub(super) fn of(seed: &PromptTemplate) -> Result<Self, TemplateError> {
        Ok(Self {
            placeholders: seed.placeholders()?,
        })
    }

    /// The placeholders as they are told to a model.
    pub(in crate::algorithm) fn listed(&self) -> String {
        if self.placeholders.is_empty() {
            return "(none)".to_owned();
        }
        let names: Vec<&str> = self.placeholders.iter().map(String::as_str).collect();
        names.join(", ")
    }

    /// A prompt with this text in the form of its parent, unless something speaks against it.
    pub(in crate::algorithm) fn examine(
        &self,
        text: &str,
        parent: &PromptTemplate,
        known: &[Candidate],
    ) -> Result<PromptTemplate, RejectionReason> {
        let text = text.trim();
        if text.is_empty() {
            return Err(RejectionReason::Empty {
                wanted: "prompt".to_owned(),
            });
        }
        if text == parent.template.trim() {
            return Err(RejectionReason::Unchanged);
        }
        let same = |candidate: &Candidate| candidate.prompt.template.trim() == text;
        if let Some(of) = known.iter().position(same) {
            return Err(RejectionReason::Duplicate { of });
        }
        let prompt = PromptTemplate {
            template: text.to_owned(),
            ..parent.clone()
        };
        let found = prompt
            .placeholders()
            .map_err(|error| RejectionReason::Malformed {
                problem: error.to_string(),
            })?;
        let lost: Vec<String> = self.placeholders.difference(&found).cloned().collect();
        if !lost.is_empty() {
            return Err(RejectionReason::LostPlaceholders { names: lost });
        }
        let unknown: Vec<String> = found.difference(&self.placeholders).cloned().collect();
        if !unknown.is_empty() {
            return Err(RejectionReason::UnknownPlaceholders { names: unknown });
        }
        Ok(prompt)
    }
}

/// The prompt within an answer: what stands between `<prompt>` and `</prompt>`, or all of it where there are no such marks.
pub(in crate::algorithm) fn proposed_text(answer: &ChatAnswer) -> Result<&str, RejectionReason> {
    let text = answer.text.as_str();
    let Some(begin) = text.find(OPENING).map(|at| at + OPENING.len()) else {
        return if answer.is_cut_off() {
            Err(RejectionReason::CutOff)
        } else {
            Ok(text)
        };
    };
    match text.rfind(CLOSING) {
        Some(end) if end >= begin => Ok(&text[begin..end]),
        _ => Err(RejectionReason::CutOff),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::Origin;

    fn examine(text: &str) -> Result<String, RejectionReason> {
        let seed = PromptTemplate::new("Answer {question} for {user.name}.");
        let known = [
            Candidate::new(seed.clone(), 0, Origin::Seed),
            Candidate::new(
                PromptTemplate::new("{user.name}: {question}"),
                1,
                Origin::Proposal {
                    instruction_prompt: 0,
                },
            ),
        ];
        let rules = Rules::of(&seed).unwrap();
        rules.examine(text, &seed, &known).map(|prompt| prompt.template)
    }

    #[test]
    fn what_keeps_the_placeholders_is_tried() {
        assert_eq!(
            examine(" {{Brief}} {question!s} {user.name:>9} \n").unwrap(),
            "{{Brief}} {question!s} {user.name:>9}"
        );
    }

    #[test]
    fn everything_else_is_rejected_with_its_reason() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let reject = |text: &str| examine(text).unwrap_err();
        assert!(matches!(reject(" \n"), RejectionReason::Empty { .. }));
        assert_eq!(
            reject("Answer {question} for {user.name}. "),
            RejectionReason::Unchanged
        );
        assert_eq!(
            reject("{user.name}: {question}"),
            RejectionReason::Duplicate { of: 1 }
        );
        let lost = reject("Answer {question} for {user}.");
        assert_eq!(
            lost,
            RejectionReason::LostPlaceholders {
                names: names(&["user.name"])
            }
        );
        assert_eq!(
            lost.to_string(),
            "the prompt has lost the placeholder `user.name`"
        );
        assert_eq!(
            reject("{question} {user.name} {a} {b}").to_string(),
            "the prompt has the placeholders `a`, `b`, which nobody fills"
        );
        assert!(matches!(
            reject("{question} {user.name} {"),
            RejectionReason::Malformed { .. }
        ));
    }

    #[test]
    fn the_marks_say_where_the_prompt_is() {
        let text = |answer: &str| proposed_text(&ChatAnswer::text(answer)).map(str::to_owned);
        assert_eq!(text("Here: <prompt>new</prompt> Bye.").unwrap(), "new");
        assert_eq!(text("new").unwrap(), "new");
        assert_eq!(text("Here: <prompt>new").unwrap_err(), RejectionReason::CutOff);
        assert_eq!(text("</prompt> <prompt>").unwrap_err(), RejectionReason::CutOff);
        let mut cut = ChatAnswer::text("new and");
        cut.finish_reason = Some("length".to_owned());
        assert_eq!(proposed_text(&cut).unwrap_err(), RejectionReason::CutOff);
    }
}
