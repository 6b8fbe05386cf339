//! A model that scores answers.

use std::{fmt, ops::RangeInclusive, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{ChatAnswer, ChatError, ChatModel, ChatRequest, Message};
use crate::{semconv, template::TemplateError, types::PromptTemplate};

/// How much of an unreadable answer is shown.
const SHOWN_CHARS: usize = 120;

/// Has a model score answers, and reads its scores strictly.
///
/// The prompt says what is judged and how; its placeholders are filled from the values given to [`score`](Self::score). The
/// judge adds in which form to answer, and accepts no other: one JSON object, alone or in one fenced block of code, with a
/// number `score` within the scale and perhaps a text `reason`. Whatever else comes is [no signal](Verdict::NoSignal), least
/// of all a score of 0.
///
/// Within a rollout the calls are recorded with the role [`ROLE_JUDGE`](semconv::ROLE_JUDGE), so that they count as usage
/// and not as training data.
///
/// ```
/// use lightning_core::{
///     chat::{ChatAnswer, ChatFuture, ChatModel, ChatRequest, Judge},
///     types::PromptTemplate,
/// };
/// use serde_json::json;
///
/// struct Strict;
///
/// impl ChatModel for Strict {
///     fn complete<'a>(&'a self, request: &'a ChatRequest) -> ChatFuture<'a> {
///         let right = request.last_text().contains("answer: 4");
///         let answer = if right { r#"{"score": 1, "reason": "right"}"# } else { "I would say 7 out of 10." };
///         Box::pin(async move { Ok(ChatAnswer::text(answer)) })
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// let prompt = PromptTemplate::new("Is this right?\nquestion: {question}\nanswer: {answer}");
/// let judge = Judge::new(Strict.shared(), prompt);
/// let verdict = judge.score(&json!({"question": "2 + 2?", "answer": "4"})).await?;
/// assert_eq!(verdict.score(), Some(1.0));
/// let verdict = judge.score(&json!({"question": "2 + 2?", "answer": "5"})).await?;
/// assert_eq!(verdict.score(), None, "what cannot be read is no signal");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Judge {
    model: Arc<dyn ChatModel>,
    prompt: PromptTemplate,
    scale: RangeInclusive<f64>,
    name: Option<String>,
    temperature: Option<f64>,
}

/// What a judge says.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A score within the scale.
    Scored {
        /// The score.
        score: f64,
        /// Why, in the judge's words.
        reason: Option<String>,
    },
    /// Nothing that could be read, for this reason.
    NoSignal(NoSignal),
}

/// Why an answer of a judge is no signal.
#[derive(Clone, Debug, PartialEq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NoSignal {
    /// The answer is empty.
    #[error("the judge's answer is empty")]
    Empty,
    /// The answer was cut off.
    #[error("the judge's answer is cut off: let it have more tokens")]
    CutOff,
    /// The answer is not one JSON object with a number `score`.
    #[error("the judge's answer is not a JSON object with a number `score` ({problem}): {answer}")]
    Unreadable {
        /// What is wrong with it.
        problem: String,
        /// How it begins.
        answer: String,
    },
    /// The score is not on the scale.
    #[error("the judge's score {score} is not between {low} and {high}")]
    OffScale {
        /// The score.
        score: f64,
        /// The lowest score there is.
        low: f64,
        /// The highest.
        high: f64,
    },
}

/// Why a judge could not be asked.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JudgeError {
    /// The prompt cannot be filled.
    #[error("the judge's prompt: {0}")]
    Prompt(#[from] TemplateError),
    /// The model did not answer.
    #[error("the judge: {0}")]
    Model(#[from] ChatError),
}

/// The form of an answer.
#[derive(Deserialize)]
struct Form {
    score: f64,
    #[serde(default)]
    reason: Option<String>,
}

impl Judge {
    /// A judge with this prompt and a scale from 0 to 1.
    pub fn new(model: Arc<dyn ChatModel>, prompt: PromptTemplate) -> Self {
        Self {
            model,
            prompt,
            scale: 0.0..=1.0,
            name: None,
            temperature: None,
        }
    }

    /// The lowest and the highest score.
    #[must_use]
    pub fn scale(mut self, scale: RangeInclusive<f64>) -> Self {
        self.scale = scale;
        self
    }

    /// The model's name at its endpoint, where that serves several.
    #[must_use]
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The temperature; the endpoint's own if not set, since there are models that take no other.
    #[must_use]
    pub fn temperature(mut self, temperature: f64) -> Self {
        self.temperature = Some(temperature);
        self
    }

    /// Asks the judge about what `values` hold, which fill the prompt.
    ///
    /// # Errors
    ///
    /// [`JudgeError`], if the prompt cannot be filled or the model does not answer. An answer that cannot be read is no
    /// error, but a verdict.
    pub async fn score<V: Serialize + ?Sized>(&self, values: &V) -> Result<Verdict, JudgeError> {
        let (low, high) = (self.scale.start(), self.scale.end());
        let prompt = format!(
            "{}\n\nAnswer with one JSON object and nothing else: {{\"score\": S, \"reason\": \"one sentence\"}}, where S is a \
             number from {low} to {high}.",
            self.prompt.render(values)?
        );
        let mut request = ChatRequest::new([Message::user(prompt)])
            .model(self.name.as_deref())
            .role(semconv::ROLE_JUDGE);
        request.temperature = self.temperature;
        let answer = self.model.ask(&request).await?;
        Ok(match self.read(&answer) {
            Ok(Form { score, reason }) => Verdict::Scored { score, reason },
            Err(reason) => Verdict::NoSignal(reason),
        })
    }

    fn read(&self, answer: &ChatAnswer) -> Result<Form, NoSignal> {
        if answer.is_cut_off() {
            return Err(NoSignal::CutOff);
        }
        let text = answer.text.trim();
        if text.is_empty() {
            return Err(NoSignal::Empty);
        }
        let unreadable = |problem: String| NoSignal::Unreadable {
            problem,
            answer: text.chars().take(SHOWN_CHARS).collect(),
        };
        let json = unfenced(text);
        // serde would take a list for the fields in their order.
        if !json.starts_with('{') {
            return Err(unreadable("it does not begin with a brace".to_owned()));
        }
        let form: Form = serde_json::from_str(json).map_err(|error| unreadable(error.to_string()))?;
        if self.scale.contains(&form.score) {
            return Ok(form);
        }
        Err(NoSignal::OffScale {
            score: form.score,
            low: *self.scale.start(),
            high: *self.scale.end(),
        })
    }
}

/// What stands within the fence, if all of the text is one fenced block of code.
fn unfenced(text: &str) -> &str {
    let inner = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    match inner.and_then(|inner| inner.split_once('\n')) {
        Some((language, code)) if matches!(language.trim(), "" | "json") => code.trim(),
        _ => text,
    }
}

impl Verdict {
    /// The score, if there is one: what an agent returns as its reward.
    pub fn score(&self) -> Option<f64> {
        match self {
            Self::Scored { score, .. } => Some(*score),
            Self::NoSignal(_) => None,
        }
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge")
            .field("prompt", &self.prompt)
            .field("scale", &self.scale)
            .field("model", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::ChatFuture;

    struct Never;

    impl ChatModel for Never {
        fn complete<'a>(&'a self, _: &'a ChatRequest) -> ChatFuture<'a> {
            Box::pin(async { Err(ChatError::unavailable("there is none")) })
        }
    }

    fn read(answer: &str) -> Result<(f64, Option<String>), NoSignal> {
        let judge = Judge::new(Never.shared(), PromptTemplate::new("{answer}")).scale(0.0..=10.0);
        judge
            .read(&ChatAnswer::text(answer))
            .map(|form| (form.score, form.reason))
    }

    #[test]
    fn only_the_form_is_read() {
        assert_eq!(read(r#"{"score": 7}"#).unwrap(), (7.0, None));
        let fenced = "```json\n{\"score\": 0.5, \"reason\": \"half\", \"more\": 1}\n```";
        assert_eq!(read(fenced).unwrap(), (0.5, Some("half".to_owned())));
        for unreadable in [
            "7",
            "[7]",
            "The score is 7.",
            r#"Sure: {"score": 7}"#,
            r#"{"score": "7"}"#,
            r#"{"score": null}"#,
            r#"{"rating": 7}"#,
            r#"{"score": 7} {"score": 8}"#,
            r#"{"score": 7, "score": 8}"#,
            r#"{"score": NaN}"#,
            "```python\n{\"score\": 7}\n```",
        ] {
            let verdict = read(unreadable);
            assert!(
                matches!(verdict, Err(NoSignal::Unreadable { .. })),
                "{unreadable}: {verdict:?}"
            );
        }
    }

    #[test]
    fn what_is_empty_cut_off_or_off_the_scale_is_no_signal() {
        assert_eq!(read("  \n").unwrap_err(), NoSignal::Empty);
        assert!(matches!(
            read(r#"{"score": 11}"#),
            Err(NoSignal::OffScale { score: 11.0, .. })
        ));
        let judge = Judge::new(Never.shared(), PromptTemplate::new("{answer}"));
        let mut answer = ChatAnswer::text(r#"{"score": 1}"#);
        answer.finish_reason = Some("length".to_owned());
        assert_eq!(judge.read(&answer).err(), Some(NoSignal::CutOff));
    }
}
