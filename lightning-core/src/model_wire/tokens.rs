//! Where servers put the ids of tokens.
//!
//! | server | prompt | answer |
//! |---|---|---|
//! | vLLM | `prompt_token_ids`; of text completions in the choice | `token_ids` of the choice |
//! | vLLM as `agentlightning==0.3.0` changes it | `prompt_token_ids` | `response_token_ids`, a list for each choice |
//! | LiteLLM | `provider_specific_fields.prompt_token_ids` | `provider_specific_fields.token_ids` of the choice |
//! | SGLang | `prompt_token_ids` of the choice | `token_ids` of the choice, or `meta_info.output_token_logprobs` |
//! | llama.cpp | – | `id` with each log-probability |
//! | vLLM with `return_tokens_as_token_ids` | – | the log-probabilities' tokens, written `token_id:5` |

use serde_json::Value;

/// The ids of the prompt's tokens.
pub(crate) fn of_prompt(answer: &Value) -> Option<Vec<u64>> {
    const PLACES: [&str; 4] = [
        "/prompt_token_ids",
        "/choices/0/prompt_token_ids",
        "/provider_specific_fields/prompt_token_ids",
        "/choices/0/provider_specific_fields/prompt_token_ids",
    ];
    PLACES.iter().find_map(|place| ids(answer.pointer(place)?))
}

/// The ids of the tokens of the choice at this place of the list.
pub(crate) fn of_choice(answer: &Value, place: usize) -> Option<Vec<u64>> {
    let choice = &answer["choices"][place];
    ids(&choice["token_ids"])
        .or_else(|| ids(&answer["response_token_ids"][place]))
        .or_else(|| ids(&choice["provider_specific_fields"]["token_ids"]))
        .or_else(|| {
            each(&choice["meta_info"]["output_token_logprobs"], |token| {
                token[1].as_u64()
            })
        })
        .or_else(|| {
            each(&choice["logprobs"]["content"], |token| {
                token["id"].as_u64().or_else(|| written(&token["token"]))
            })
        })
        .or_else(|| each(&choice["logprobs"]["tokens"], written))
}

fn ids(list: &Value) -> Option<Vec<u64>> {
    list.as_array()?.iter().map(Value::as_u64).collect()
}

/// The id of each token, if each has one and there is one at all.
fn each(list: &Value, id: impl Fn(&Value) -> Option<u64>) -> Option<Vec<u64>> {
    let list = list.as_array().filter(|list| !list.is_empty())?;
    list.iter().map(id).collect()
}

fn written(token: &Value) -> Option<u64> {
    token.as_str()?.strip_prefix("token_id:")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_place_is_known() {
        for prompt in [
            json!({"prompt_token_ids": [1, 2]}),
            json!({"choices": [{"prompt_token_ids": [1, 2]}]}),
            json!({"provider_specific_fields": {"prompt_token_ids": [1, 2]}}),
        ] {
            assert_eq!(of_prompt(&prompt), Some(vec![1, 2]), "{prompt}");
        }
        for choice in [
            json!({"token_ids": [3, 4]}),
            json!({"provider_specific_fields": {"token_ids": [3, 4]}}),
            json!({"meta_info": {"output_token_logprobs": [[-0.1, 3, "a"], [-0.2, 4, null]]}}),
            json!({"logprobs": {"content": [{"id": 3, "token": "a"}, {"id": 4, "token": "b"}]}}),
            json!({"logprobs": {"content": [{"token": "token_id:3"}, {"token": "token_id:4"}]}}),
            json!({"logprobs": {"tokens": ["token_id:3", "token_id:4"]}}),
        ] {
            let answer = json!({"choices": [{}, choice]});
            assert_eq!(of_choice(&answer, 1), Some(vec![3, 4]), "{choice}");
            assert_eq!(of_choice(&answer, 0), None);
        }
        assert_eq!(
            of_choice(&json!({"response_token_ids": [[3, 4]]}), 0),
            Some(vec![3, 4])
        );
    }

    #[test]
    fn what_is_no_list_of_ids_is_none() {
        for choice in [
            json!({"token_ids": [3, -4]}),
            json!({"token_ids": ["3"]}),
            json!({"logprobs": {"content": []}}),
            json!({"logprobs": {"content": [{"id": 3}, {"token": "b"}]}}),
            json!({"logprobs": {"tokens": ["token_id:x"]}}),
            json!({"meta_info": {"output_token_logprobs": [3]}}),
        ] {
            assert_eq!(of_choice(&json!({"choices": [choice]}), 0), None, "{choice}");
        }
    }
}
