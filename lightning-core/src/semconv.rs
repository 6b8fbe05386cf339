//! The span names and attribute keys with a meaning, as `agentlightning==0.3.0` has them.

/// A note on an event or a part of a rollout: rewards, tags.
pub const ANNOTATION: &str = "agentlightning.annotation";
/// A message or a line of a log.
pub const MESSAGE: &str = "agentlightning.message";
/// An object that the agent wants kept.
pub const OBJECT: &str = "agentlightning.object";
/// An exception that the agent met.
pub const EXCEPTION: &str = "agentlightning.exception";
/// A function or a block of code.
pub const OPERATION: &str = "agentlightning.operation";
/// A reward (written by v0.2; rewards are found on any span by their attributes).
pub const REWARD: &str = "agentlightning.reward";
/// A node that an adapter made up, such as the root of a trace that has several.
pub const VIRTUAL: &str = "agentlightning.virtual";

/// The rollout of a span, in OTLP.
pub const ROLLOUT_ID: &str = "agentlightning.rollout_id";
/// The attempt of a span, in OTLP.
pub const ATTEMPT_ID: &str = "agentlightning.attempt_id";
/// The sequence id of a span, in OTLP.
pub const SPAN_SEQUENCE_ID: &str = "agentlightning.span_sequence_id";
/// The tracer that made a span.
pub const TRACER_NAME: &str = "agentlightning.tracer.name";
/// The name of Lightning's own tracer.
pub const LIGHTNING_TRACER: &str = "lightning";

/// The prefix of a reward's dimensions: `{prefix}.{index}.name` and `{prefix}.{index}.value`. Index 0 is the primary
/// one.
pub const REWARD_PREFIX: &str = "agentlightning.reward";
/// The name of a reward that has one dimension.
pub const PRIMARY_REWARD: &str = "primary";
/// The name of the primary dimension.
pub const PRIMARY_REWARD_NAME: &str = "agentlightning.reward.0.name";
/// The value of the primary dimension.
pub const PRIMARY_REWARD_VALUE: &str = "agentlightning.reward.0.value";
/// The prefix of tags: `{prefix}.{index}`.
pub const TAG_PREFIX: &str = "agentlightning.tag";
/// The prefix of links to other spans: `{prefix}.{index}.key_match` and `{prefix}.{index}.value_match`.
pub const LINK_PREFIX: &str = "agentlightning.link";
/// In a link: the attribute to be compared; `trace_id` and `span_id` stand for the ids themselves.
pub const LINK_KEY_MATCH: &str = "key_match";
/// In a link: the value that the attribute must have.
pub const LINK_VALUE_MATCH: &str = "value_match";

/// The text of a message span.
pub const MESSAGE_BODY: &str = "agentlightning.message.body";
/// The type of an object.
pub const OBJECT_TYPE: &str = "agentlightning.object.type";
/// The object, where it is a scalar.
pub const OBJECT_LITERAL: &str = "agentlightning.object.literal";
/// The object as JSON text.
pub const OBJECT_JSON: &str = "agentlightning.object.json";
/// What an operation is called.
pub const OPERATION_NAME: &str = "agentlightning.operation.name";
/// The prefix of an operation's inputs.
pub const OPERATION_INPUT: &str = "agentlightning.operation.input";
/// The prefix of an operation's outputs; the key itself where the output is a scalar.
pub const OPERATION_OUTPUT: &str = "agentlightning.operation.output";

/// Whose call of a model it is. Free text; the agent's own if absent.
pub const CALL_ROLE: &str = "agentlightning.call.role";
/// The role of the calls of a model that judges answers: they cost tokens, but are no training data.
pub const ROLE_JUDGE: &str = "judge";
/// The span of a call of a chat model, as OpenTelemetry's instrumentation of OpenAI's client names it.
pub const CHAT_COMPLETION: &str = "openai.chat.completion";
/// The span of a request as LiteLLM's proxy passed it on, within the span of the call.
pub const RAW_REQUEST: &str = "raw_gen_ai_request";

/// The span of a call as a proxy saw it, as LiteLLM's proxy names it.
pub const PROXY_REQUEST: &str = "litellm_request";
/// How long a call took, in seconds.
pub const CALL_LATENCY: &str = "agentlightning.call.latency";
/// How long it took until a streamed answer began, in seconds.
pub const CALL_FIRST_TOKEN: &str = "agentlightning.call.time_to_first_token";
/// How often the proxy tried a call again.
pub const CALL_RETRIES: &str = "agentlightning.call.retries";
/// Which server answered a call: its name or base URL.
pub const CALL_BACKEND: &str = "agentlightning.call.backend";
/// What the model is called at that server.
pub const CALL_UPSTREAM_MODEL: &str = "agentlightning.call.upstream_model";
/// True if an answer was longer than what is recorded of it.
pub const CALL_TRUNCATED: &str = "agentlightning.call.truncated";
/// OpenTelemetry: the status of an answer over HTTP.
pub const HTTP_STATUS: &str = "http.response.status_code";
/// Says that calls of an attempt were not recorded.
pub const CALLS_DROPPED: &str = "agentlightning.calls_dropped";
/// How many those were.
pub const CALLS_DROPPED_COUNT: &str = "agentlightning.calls_dropped.count";

/// OpenTelemetry: what a `gen_ai` span does, such as `chat` or `invoke_agent`.
pub const GEN_AI_OPERATION: &str = "gen_ai.operation.name";
/// OpenTelemetry: the model that was asked for.
pub const GEN_AI_REQUEST_MODEL: &str = "gen_ai.request.model";
/// OpenTelemetry: the model that answered.
pub const GEN_AI_RESPONSE_MODEL: &str = "gen_ai.response.model";
/// OpenTelemetry: the id of the answer.
pub const GEN_AI_RESPONSE_ID: &str = "gen_ai.response.id";
/// OpenTelemetry: how many tokens went in.
pub const GEN_AI_INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
/// OpenTelemetry: how many tokens came out.
pub const GEN_AI_OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
/// How many tokens went in, under the name before [`GEN_AI_INPUT_TOKENS`].
pub const GEN_AI_PROMPT_TOKENS: &str = "gen_ai.usage.prompt_tokens";
/// How many tokens came out, under the name before [`GEN_AI_OUTPUT_TOKENS`].
pub const GEN_AI_COMPLETION_TOKENS: &str = "gen_ai.usage.completion_tokens";

/// OpenTelemetry: the type of an exception.
pub const EXCEPTION_TYPE: &str = "exception.type";
/// OpenTelemetry: what an exception says.
pub const EXCEPTION_MESSAGE: &str = "exception.message";
/// OpenTelemetry: where an exception arose.
pub const EXCEPTION_STACKTRACE: &str = "exception.stacktrace";
/// OpenTelemetry: whether an exception left the span.
pub const EXCEPTION_ESCAPED: &str = "exception.escaped";
/// OpenTelemetry: the name of the event that holds an exception within a span.
pub const EXCEPTION_EVENT: &str = "exception";

/// In the metadata of an attempt: why it failed, in words.
pub const ATTEMPT_REASON: &str = "reason";
/// In the metadata of an attempt: `true` if it failed only because whoever executed it was stopped.
pub const ATTEMPT_INTERRUPTED: &str = "interrupted";

/// In the metadata of a rollout: the run that it belongs to.
pub const RUN_ID: &str = "run_id";
/// In the metadata of a rollout: what it evaluates, by which the run finds it again.
pub const EVALUATION: &str = "evaluation";
/// In the metadata of a rollout that was cancelled: `true` if the run takes it up again when it needs it.
pub const SET_ASIDE: &str = "set_aside";
