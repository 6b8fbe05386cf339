//! How conversations become prompts.

use std::sync::Arc;

use minijinja::{Environment, Error, ErrorKind, context, syntax::SyntaxConfig, value::Serde};
use minijinja_contrib::pycompat;
use serde_json::Value;

use super::{ByteTokenizer, LmError, Tokenizer};

/// The name under which the template stands in its environment.
const NAME: &str = "chat";

/// How much work rendering may be: templates come from outside.
const FUEL: u64 = 10_000_000;

/// How a conversation becomes the prompt of a model.
#[derive(Clone, Debug)]
pub enum ChatTemplate {
    /// That of models whose tokens are bytes: for each message a token that says whose it is, its text, and
    /// [`END`](ByteTokenizer::END); then [`ASSISTANT`](ByteTokenizer::ASSISTANT).
    Bytes,
    /// A template as models of Hugging Face bring it.
    Jinja(Arc<JinjaTemplate>),
    /// The model has none: it completes texts and cannot be asked in conversations.
    Absent,
}

/// A chat template in the language of Jinja.
#[derive(Debug)]
pub struct JinjaTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// The template of this text, or else of a `tokenizer_config.json`.
    ///
    /// # Errors
    ///
    /// [`LmError::ChatTemplate`], if it is no template.
    pub(super) fn of(source: Option<String>, settings: &Value) -> Result<Self, LmError> {
        let named = || {
            let templates = settings["chat_template"].as_array()?;
            let default = templates.iter().find(|template| template["name"] == "default")?;
            default["template"].as_str().map(str::to_owned)
        };
        let source = source
            .or_else(|| settings["chat_template"].as_str().map(str::to_owned))
            .or_else(named);
        let Some(source) = source else {
            return Ok(Self::Absent);
        };
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.map_err(|error| failed(&error))?);
        environment.set_unknown_method_callback(pycompat::unknown_method_callback);
        environment.set_fuel(Some(FUEL));
        environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment
            .add_template_owned(NAME, source)
            .map_err(|error| failed(&error))?;
        let special = |field: &str| {
            let token = &settings[field];
            token
                .as_str()
                .or(token["content"].as_str())
                .unwrap_or_default()
                .to_owned()
        };
        Ok(Self::Jinja(Arc::new(JinjaTemplate {
            environment,
            bos: special("bos_token"),
            eos: special("eos_token"),
        })))
    }

    /// The prompt of a conversation in OpenAI's shape, up to where the model begins to write.
    ///
    /// # Errors
    ///
    /// [`LmError::ChatTemplate`], if there is no template, or it refuses the conversation; [`LmError::Tokenizer`].
    pub fn prompt(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Value],
        tools: &Value,
    ) -> Result<Vec<u32>, LmError> {
        match self {
            Self::Bytes => of_bytes(messages),
            Self::Jinja(template) => {
                let rendered = template.environment.get_template(NAME).and_then(|chat| {
                    chat.render(context! {
                        messages => Serde(messages),
                        tools => (!tools.is_null()).then_some(Serde(tools)),
                        add_generation_prompt => true,
                        bos_token => template.bos.as_str(),
                        eos_token => template.eos.as_str(),
                    })
                });
                // The template has written what begins a sequence.
                tokenizer.encode(&rendered.map_err(|error| failed(&error))?, false)
            }
            Self::Absent => Err(LmError::ChatTemplate {
                problem: "the model has none: ask for the completion of a text instead".to_owned(),
            }),
        }
    }
}

fn of_bytes(messages: &[Value]) -> Result<Vec<u32>, LmError> {
    let mut tokens = Vec::new();
    for message in messages {
        tokens.push(match message["role"].as_str() {
            Some("system" | "developer") => ByteTokenizer::SYSTEM,
            Some("user") => ByteTokenizer::USER,
            Some("assistant") => ByteTokenizer::ASSISTANT,
            Some("tool") => ByteTokenizer::TOOL,
            _ => {
                let problem = format!("{} is no role", message["role"]);
                return Err(LmError::ChatTemplate { problem });
            }
        });
        match &message["content"] {
            Value::String(text) => tokens.extend(ByteTokenizer.encode(text)),
            Value::Array(parts) => {
                for part in parts {
                    let text = part["text"].as_str().ok_or_else(|| LmError::ChatTemplate {
                        problem: format!("the model reads text only, no {}", part["type"]),
                    })?;
                    tokens.extend(ByteTokenizer.encode(text));
                }
            }
            Value::Null => {}
            _ => {
                let problem = "the content of a message is neither a text nor a list of parts".to_owned();
                return Err(LmError::ChatTemplate { problem });
            }
        }
        tokens.push(ByteTokenizer::END);
    }
    tokens.push(ByteTokenizer::ASSISTANT);
    Ok(tokens)
}

fn failed(error: &Error) -> LmError {
    LmError::ChatTemplate {
        problem: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_conversation_in_bytes_marks_who_speaks() {
        let messages = [
            json!({"role": "system", "content": "a"}),
            json!({"role": "user", "content": [{"type": "text", "text": "b"}]}),
            json!({"role": "assistant", "content": null}),
        ];
        let prompt = ChatTemplate::Bytes
            .prompt(&Tokenizer::Bytes, &messages, &Value::Null)
            .unwrap();
        assert_eq!(prompt, [257, 97, 256, 258, 98, 256, 259, 256, 259]);
        for bad in [
            json!({"role": "judge", "content": "a"}),
            json!({"content": "a"}),
            json!({"role": "user", "content": 3}),
            json!({"role": "user", "content": [{"type": "image_url"}]}),
            json!(7),
        ] {
            let refused = ChatTemplate::Bytes.prompt(&Tokenizer::Bytes, &[bad], &Value::Null);
            assert!(matches!(refused, Err(LmError::ChatTemplate { .. })));
        }
    }

    #[test]
    fn a_template_sees_the_conversation_and_may_refuse_it() {
        let source = "{{ bos_token }}{% for m in messages %}\n[{{ m.role }}]{{ m['content'].strip() }}{{ eos_token }}\n\
                      {% endfor %}\n{% if messages[0].role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}\
                      {% if add_generation_prompt %}[assistant]{% endif %}";
        let settings = json!({"chat_template": source, "bos_token": {"content": "<s>"}, "eos_token": "</s>"});
        let template = ChatTemplate::of(None, &settings).unwrap();
        let prompt = |role: &str| {
            let messages = [json!({"role": role, "content": " hi "})];
            let tokens = template.prompt(&Tokenizer::Bytes, &messages, &Value::Null)?;
            Tokenizer::Bytes.decode(&tokens)
        };
        assert_eq!(prompt("user").unwrap(), "<s>[user]hi</s>\n[assistant]");
        assert!(prompt("tool").unwrap_err().to_string().contains("no tools"));
        let named = json!({"chat_template": [{"name": "default", "template": "x"}]});
        assert!(matches!(
            ChatTemplate::of(None, &named),
            Ok(ChatTemplate::Jinja(_))
        ));
        assert!(ChatTemplate::of(Some("{% if".to_owned()), &Value::Null).is_err());
        let endless = ChatTemplate::of(
            Some("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}".to_owned()),
            &Value::Null,
        );
        assert!(
            endless
                .unwrap()
                .prompt(&Tokenizer::Bytes, &[], &Value::Null)
                .is_err()
        );
    }
}
