//! What agents do while the Python package's tracer records them.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

/// A script for `tests/python/adapters.py`, the same for the same number.
pub(crate) fn script(number: u64) -> Value {
    let mut writer = Writer {
        rng: StdRng::seed_from_u64(0x5c21_9700 + number),
        script: number,
        answers: 0,
    };
    writer.steps(0)
}

struct Writer {
    rng: StdRng,
    script: u64,
    answers: u32,
}

impl Writer {
    fn steps(&mut self, depth: u32) -> Value {
        (0..self.rng.random_range(1..4))
            .map(|_| self.step(depth))
            .collect()
    }

    fn step(&mut self, depth: u32) -> Value {
        let value = f64::from(self.rng.random_range(0..64_u32)) / 64.0;
        let deeper = depth < 3;
        match self.rng.random_range(0..100) {
            0..40 => self.call(),
            40..52 => json!({"reward": value}),
            52..56 => json!({"dimensions": {"main": value, "other": 0.5}}),
            56..60 => json!({"message": "so far"}),
            60..68 if deeper => json!({"agent": {"name": "planner", "steps": self.steps(depth + 1)}}),
            68..76 if deeper => {
                let attributes = if self.rng.random_bool(0.5) {
                    json!({"agent.name": "coder"})
                } else {
                    json!({"executor.id": "critic"})
                };
                json!({"span": {"name": "framework", "attributes": attributes, "steps": self.steps(depth + 1)}})
            }
            76..82 if deeper => json!({"operation": {"name": "step", "steps": self.steps(depth + 1)}}),
            82..88 if deeper => json!({"lightning": {"name": "step", "steps": self.steps(depth + 1)}}),
            88..94 if deeper => json!({"judged": {"value": value, "steps": self.steps(depth + 1)}}),
            94..97 if deeper => json!({"thread": {"steps": self.steps(depth + 1)}}),
            _ => self.call(),
        }
    }

    fn call(&mut self) -> Value {
        self.answers += 1;
        let mut messages = vec![json!({"role": "system", "content": "be brief"})];
        match self.rng.random_range(0..4) {
            0 => messages.push(json!({"role": "user", "content": [
                {"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "http://images/1.png"}},
            ]})),
            1 => {
                messages.push(json!({"role": "assistant", "content": null, "tool_calls": [
                    {"id": "call_0", "type": "function", "function": {"name": "add", "arguments": "{}"}},
                ]}));
                messages.push(json!({"role": "tool", "tool_call_id": "call_0", "content": "3"}));
            }
            _ => messages.push(json!({"role": "user", "content": "what?"})),
        }
        let mut request = json!({"model": "m", "temperature": 0.25, "messages": messages});
        if self.rng.random_bool(0.4) {
            request["tools"] = json!([{"type": "function", "function": {
                "name": "add", "description": "adds", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
            }}]);
        }
        if self.rng.random_bool(0.08) {
            return json!({"call": {"request": request, "answer": 500}});
        }
        let message = if self.rng.random_bool(0.25) {
            json!({"role": "assistant", "content": null, "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{\"a\": 1}"}},
            ]})
        } else {
            request["stream"] = json!(self.rng.random_bool(0.25));
            json!({"role": "assistant", "content": "that is it"})
        };
        let mut choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
        let mut answer = json!({
            "id": format!("chatcmpl-{}-{}", self.script, self.answers), "object": "chat.completion", "created": 1, "model": "m-1",
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        });
        match self.rng.random_range(0..3) {
            0 => {
                answer["prompt_token_ids"] = json!([1, 2, 3]);
                choice["token_ids"] = json!([4, 5]);
                choice["logprobs"] = json!({"refusal": null, "content": [
                    {"token": "th", "logprob": -0.5, "bytes": null, "top_logprobs": []},
                    {"token": "at", "logprob": -1.5, "bytes": null, "top_logprobs": []},
                ]});
            }
            1 => {
                answer["prompt_token_ids"] = json!([1, 2, 3]);
                answer["response_token_ids"] = json!([[4, 5]]);
            }
            _ => {}
        }
        answer["choices"] = json!([choice]);
        json!({"call": {"request": request, "answer": answer}})
    }
}
