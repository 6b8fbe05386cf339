//! Traces of agents, made at random, to test adapters with.

use std::collections::HashMap;

use lightning_core::types::{JsonObject, Span, Timestamp};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

/// What a trace looks like beyond what happens in it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shape {
    /// Some spans lie under the root and not under what they are part of, as when two systems trace one program.
    pub flattened: bool,
    /// Some spans are missing that are the parents of others.
    pub gaps: bool,
    /// Some spans have no parent though they are part of something.
    pub several_roots: bool,
    /// Some calls go on while the next thing happens.
    pub overlapping: bool,
    /// The root lies within another span.
    pub wrapped: bool,
    /// Sequence ids are in the order in which spans begin, not in that in which they end.
    pub by_start: bool,
}

impl Shape {
    /// One of all, by number.
    pub fn numbered(number: u64) -> Self {
        let bit = |place: u32| number >> place & 1 == 1;
        Self {
            flattened: bit(0),
            gaps: bit(1),
            several_roots: bit(2),
            overlapping: bit(3),
            wrapped: bit(4),
            by_start: bit(5),
        }
    }
}

/// A trace with about `size` spans, the same for the same seed. Spans are in the order of their sequence ids.
pub fn trace(seed: u64, size: usize, shape: Shape) -> Vec<Span> {
    let mut maker = Maker {
        rng: StdRng::seed_from_u64(seed),
        spans: Vec::new(),
        clock: 1_000.0 * 1_024.0,
        answers: Vec::new(),
        left: size,
    };
    maker.session(shape)
}

struct Maker {
    rng: StdRng,
    spans: Vec<Span>,
    /// In 1024ths of a second, which floating point has exactly. It never stands still, so that no two times are equal.
    clock: f64,
    answers: Vec<String>,
    left: usize,
}

impl Maker {
    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn one_of<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.rng.random_range(0..of.len())]
    }

    fn tick(&mut self) -> Timestamp {
        self.clock += f64::from(self.rng.random_range(1_u32..50));
        Timestamp::from_secs_f64(self.clock / 1_024.0)
    }

    fn begin(&mut self, parent: Option<usize>, name: &str, attributes: &Value) -> usize {
        let number = self.spans.len();
        let id = format!("{:016x}", 0xa000_0000_0000_0000_u64 + number as u64);
        let mut span = Span::new("ro-1", "at-1", 0, format!("{:032x}", 7), id, name);
        span.parent_id = parent.map(|parent| self.spans[parent].span_id.clone());
        span.attributes = attributes.as_object().cloned().unwrap_or_default();
        span.start_time = Some(self.tick());
        self.spans.push(span);
        self.left = self.left.saturating_sub(1);
        number
    }

    fn end(&mut self, number: usize) {
        self.spans[number].end_time = Some(self.tick());
    }

    fn session(&mut self, shape: Shape) -> Vec<Span> {
        let wrapping = shape
            .wrapped
            .then(|| self.begin(None, "script.session", &json!({"agentops.span.kind": "session"})));
        let root = self.begin(wrapping, "workflow", &json!({}));
        while self.left > 0 {
            self.step(root, 0);
        }
        self.end(root);
        if let Some(wrapping) = wrapping {
            self.end(wrapping);
        }
        if shape.overlapping {
            self.prolong();
        }
        self.displace(root, shape);
        let mut spans = std::mem::take(&mut self.spans);
        let key = |span: &Span| {
            if shape.by_start {
                span.start_time
            } else {
                span.end_time
            }
        };
        spans.sort_by_key(key);
        for (number, span) in spans.iter_mut().enumerate() {
            span.sequence_id = number as u64 + 1;
        }
        spans
    }

    fn step(&mut self, parent: usize, depth: usize) {
        match self.rng.random_range(0..100) {
            0..40 => self.call(parent, depth),
            40..58 => self.reward(parent),
            58..76 if depth < 8 => self.agent(parent, depth),
            76..86 if depth < 8 => self.operation(parent, depth),
            86..92 if depth < 8 => self.judged(parent, depth),
            92..97 => self.proxied(parent),
            _ => {
                let message = self.begin(
                    Some(parent),
                    "agentlightning.message",
                    &json!({"agentlightning.message.body": "m"}),
                );
                self.end(message);
            }
        }
    }

    fn steps(&mut self, parent: usize, depth: usize) {
        for _ in 0..self.rng.random_range(0..4) {
            if self.left > 0 {
                self.step(parent, depth + 1);
            }
        }
    }

    fn agent(&mut self, parent: usize, depth: usize) {
        let name = self.one_of(&["planner", "coder", "critic"]);
        let (span_name, attributes) = match self.rng.random_range(0..8) {
            0 => ("agent", json!({"agent.name": name})),
            1 => (
                "planner.agent",
                json!({"agentops.span.kind": "agent", "operation.name": name}),
            ),
            2 => ("autogen process", json!({"recipient_agent_type": name})),
            3 => ("langgraph", json!({"langchain.chain.type": name})),
            4 => ("executor.process", json!({"executor.id": name})),
            5 => (
                "weave",
                json!({"type": "agent", "agentlightning.operation.input.name": name}),
            ),
            6 => ("langchain.Chain.run", json!({"lc_name": name})),
            // What looks like one, but is none.
            _ => (
                "chain",
                json!({"lc_name": name, "operation.name": name, "type": "tool", "agent.name.x": name}),
            ),
        };
        let agent = self.begin(Some(parent), span_name, &attributes);
        self.steps(agent, depth);
        self.end(agent);
    }

    fn operation(&mut self, parent: usize, depth: usize) {
        let attributes =
            json!({"agentlightning.operation.name": "search", "agentlightning.operation.input.q": "x"});
        let operation = self.begin(Some(parent), "agentlightning.operation", &attributes);
        self.steps(operation, depth);
        self.end(operation);
    }

    /// Something that works out a reward, perhaps with calls of its own.
    fn judged(&mut self, parent: usize, depth: usize) {
        let value = f64::from(self.rng.random_range(0..16_u32)) / 16.0;
        let output = json!({"type": "reward", "value": value}).to_string();
        let (name, attributes) = match self.rng.random_range(0..4) {
            0 => (
                "agentlightning.operation",
                json!({"agentlightning.operation.name": "agentlightning.reward"}),
            ),
            1 => ("reward.task", json!({"agentops.task.output": output})),
            2 => ("reward.task", json!({"agentops.entity.output": output})),
            _ => ("reward.task", json!({"agentops.task.output": "null"})),
        };
        let operation = self.begin(Some(parent), name, &attributes);
        self.steps(operation, depth);
        self.end(operation);
    }

    fn reward(&mut self, parent: usize) {
        let value = f64::from(self.rng.random_range(0..64_u32)) / 32.0 - 1.0;
        let attributes = match self.rng.random_range(0..4) {
            0 => json!({
                "agentlightning.reward.0.name": "main", "agentlightning.reward.0.value": value,
                "agentlightning.reward.1.name": "other", "agentlightning.reward.1.value": 0.5,
            }),
            1 => json!({"reward": value}),
            _ => json!({"agentlightning.reward.0.name": "primary", "agentlightning.reward.0.value": value}),
        };
        let reward = self.begin(Some(parent), "agentlightning.annotation", &attributes);
        self.end(reward);
    }

    fn answer_id(&mut self) -> Option<String> {
        match self.rng.random_range(0..10) {
            0 => None,
            1 if !self.answers.is_empty() => {
                let known = self.rng.random_range(0..self.answers.len());
                Some(self.answers[known].clone())
            }
            _ => {
                let id = format!("chatcmpl-{}", self.answers.len());
                self.answers.push(id.clone());
                Some(id)
            }
        }
    }

    fn token_ids(&mut self) -> Vec<u32> {
        let count = self.rng.random_range(1..6);
        (0..count).map(|_| self.rng.random_range(0..50_000)).collect()
    }

    fn call(&mut self, parent: usize, depth: usize) {
        let weave = self.chance(15);
        let mut attributes = if weave {
            self.weave_call()
        } else {
            self.openai_call()
        };
        let id_key = if weave {
            "agentlightning.operation.output.id"
        } else {
            "gen_ai.response.id"
        };
        if let Some(id) = self.answer_id() {
            attributes.insert(id_key.to_owned(), id.into());
        }
        let name = match self.rng.random_range(0..10) {
            0 => "chat m",
            _ if weave => "openai.chat.completions.create",
            1 => "my.openai.chat.completion.stream",
            _ => "openai.chat.completion",
        };
        let call = self.begin(Some(parent), name, &Value::Object(attributes));
        if !weave && self.chance(15) {
            for number in 0..self.rng.random_range(1..3) {
                let attributes = json!({
                    "tool.name": "add", "tool.parameters": "{\"a\": 1}", "tool.call.id": format!("call_{number}"),
                    "tool.call.type": "function",
                });
                let tool = self.begin(Some(call), "tool_call.add", &attributes);
                self.end(tool);
            }
        }
        if depth < 8 && self.chance(12) {
            self.call(call, depth + 1);
        }
        self.end(call);
    }

    fn openai_call(&mut self) -> JsonObject {
        let mut attributes = JsonObject::new();
        let mut set = |key: &str, value: Value| attributes.insert(key.to_owned(), value);
        set("gen_ai.request.model", json!("m"));
        set("gen_ai.request.temperature", json!(0.5));
        set("gen_ai.response.model", json!("m-1"));
        set("gen_ai.usage.prompt_tokens", json!(3));
        let mut turn = 0;
        let mut say = |attributes: &mut JsonObject, role: &str, more: &[(&str, Value)]| {
            let key = |name: &str| format!("gen_ai.prompt.{turn}.{name}");
            attributes.insert(key("role"), role.into());
            attributes.extend(more.iter().map(|(name, value)| (key(name), value.clone())));
            turn += 1;
        };
        if self.chance(50) {
            say(&mut attributes, "system", &[("content", json!("be \"brief\""))]);
        }
        for _ in 0..self.rng.random_range(0..12) {
            say(&mut attributes, "user", &[("content", json!("what?"))]);
            if self.chance(30) {
                let calls = [
                    ("tool_calls.0.id", json!("call_9")),
                    ("tool_calls.0.name", json!("add")),
                    ("tool_calls.0.arguments", json!("{}")),
                ];
                say(&mut attributes, "assistant", &calls);
                say(
                    &mut attributes,
                    "tool",
                    &[("content", json!("3")), ("tool_call_id", json!("call_9"))],
                );
            }
        }
        if self.chance(15) {
            let image = json!([{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "http://i/1"}}]);
            say(&mut attributes, "user", &[("content", json!(image.to_string()))]);
        }
        if self.chance(90) {
            let mut set =
                |key: &str, value: Value| attributes.insert(format!("gen_ai.completion.0.{key}"), value);
            set("role", json!("assistant"));
            set("content", json!("that"));
            set("finish_reason", json!("stop"));
        }
        if self.chance(20) {
            let parameters = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
            let mut set = |key: &str, value: Value| {
                attributes.insert(format!("gen_ai.request.functions.0.{key}"), value)
            };
            set("name", json!("add"));
            set("parameters", json!(parameters.to_string()));
        }
        if self.chance(80) {
            attributes.insert("prompt_token_ids".to_owned(), json!(self.token_ids()));
            let ids = self.token_ids();
            if self.chance(40) {
                let logprobs: Vec<Value> = ids
                    .iter()
                    .map(|id| json!({"token": id.to_string(), "logprob": -0.25}))
                    .collect();
                attributes.insert("logprobs.content".to_owned(), json!(json!(logprobs).to_string()));
            }
            attributes.insert("response_token_ids".to_owned(), json!(ids));
        }
        attributes
    }

    fn weave_call(&mut self) -> JsonObject {
        let ids_key = self.one_of(&[
            "response_token_ids.0",
            "choices.0.token_ids",
            "choices.0.provider_specific_fields.token_ids",
        ]);
        let attributes = json!({
            "agentlightning.operation.input.model": "m",
            "agentlightning.operation.input.messages.0.role": "user",
            "agentlightning.operation.input.messages.0.content": "what?",
            "agentlightning.operation.output.model": "m-1",
            "agentlightning.operation.output.choices.0.message.role": "assistant",
            "agentlightning.operation.output.choices.0.message.content": "that",
            "agentlightning.operation.output.prompt_token_ids": self.token_ids(),
            format!("agentlightning.operation.output.{ids_key}"): self.token_ids(),
        });
        attributes.as_object().cloned().unwrap_or_default()
    }

    /// A request as LiteLLM's proxy records it: one span in the other.
    fn proxied(&mut self, parent: usize) {
        let (prompt, response) = (self.token_ids(), self.token_ids());
        let id = self.answer_id();
        let mut outer = JsonObject::new();
        outer.insert("gen_ai.request.model".to_owned(), json!("m"));
        if let Some(id) = id.as_ref().filter(|_| self.rng.random_bool(0.5)) {
            outer.insert("gen_ai.response.id".to_owned(), json!(id));
        }
        if self.chance(40) {
            outer.insert("prompt_token_ids".to_owned(), json!(prompt));
            let written = if self.chance(50) {
                json!(response)
            } else {
                json!(format!("{response:?}"))
            };
            outer.insert("response_token_ids".to_owned(), written);
        }
        let request = self.begin(Some(parent), "litellm_request", &Value::Object(outer));
        let mut raw = JsonObject::new();
        raw.insert(
            "llm.hosted_vllm.prompt_token_ids".to_owned(),
            json!(format!("{prompt:?}")),
        );
        match self.rng.random_range(0..3) {
            0 => raw.insert("llm.hosted_vllm.response_token_ids".to_owned(), json!(format!("[{response:?}]"))),
            1 => raw.insert(
                "llm.hosted_vllm.choices".to_owned(),
                json!(format!("[{{'index': 0, 'text': 'it\\'s \"x\"', 'stop': None, 'ok': True, 'token_ids': {response:?}}}]")),
            ),
            _ => None,
        };
        if let Some(id) = id {
            raw.insert("llm.hosted_vllm.id".to_owned(), json!(id));
        }
        let raw = self.begin(Some(request), "raw_gen_ai_request", &Value::Object(raw));
        self.end(raw);
        self.end(request);
    }

    /// Some calls end later, though before what they are part of.
    fn prolong(&mut self) {
        let ends: HashMap<String, Timestamp> = self
            .spans
            .iter()
            .filter_map(|span| Some((span.span_id.clone(), span.end_time?)))
            .collect();
        for number in 0..self.spans.len() {
            let span = &self.spans[number];
            let Some((end, latest)) = span
                .end_time
                .zip(span.parent_id.as_ref().and_then(|parent| ends.get(parent)))
            else {
                continue;
            };
            if span.name.contains("openai") && self.chance(50) {
                // Times of their own, between the ticks.
                let share = f64::from(self.rng.random_range(1_u32..1_000)) / 1_000.0;
                let later = ((end.as_secs_f64() + (*latest - end) * share) * 1_024.0).floor() / 1_024.0;
                let odd = (number as f64 + 1.0) / 1_048_576.0;
                self.spans[number].end_time =
                    Some(Timestamp::from_secs_f64(later.max(end.as_secs_f64()) + odd));
            }
        }
    }

    fn displace(&mut self, root: usize, shape: Shape) {
        let root_id = self.spans[root].span_id.clone();
        for number in root + 1..self.spans.len() {
            if shape.flattened && self.chance(40) {
                self.spans[number].parent_id = Some(root_id.clone());
            }
            if shape.several_roots && self.chance(8) {
                self.spans[number].parent_id = None;
            }
        }
        if shape.gaps {
            let keep: Vec<bool> = (0..self.spans.len()).map(|_| !self.chance(8)).collect();
            let mut keep = keep.into_iter();
            self.spans.retain(|_| keep.next() == Some(true));
        }
    }
}
