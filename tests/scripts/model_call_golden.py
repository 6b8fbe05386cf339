"""Writes what the reference records of calls of a chat model, for the suite `emitting` to compare with.

    python3 -m venv venv && venv/bin/pip install agentlightning==0.3.0
    LITELLM_LOCAL_MODEL_COST_MAP=True venv/bin/python tests/scripts/model_call_golden.py > tests/golden/model_calls.json

Each case has the request and the answer as they go over the wire, the attributes of the call, and the spans of its tools.
"""

import json
import sys
import warnings

warnings.filterwarnings("ignore")

from agentlightning.instrumentation.agentops import instrument_agentops

instrument_agentops()

import agentops.instrumentation.providers.openai.wrappers.chat as chat
from openai.types.chat import ChatCompletion
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def call(id, city):
    arguments = json.dumps({"city": city})
    return {"id": id, "type": "function", "function": {"name": "weather", "arguments": arguments}}


def answer(choices, **more):
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "small-2026", "choices": choices, **more}


def choice(index=0, content="Four.", finish_reason="stop", more=None, **message):
    message = {"role": "assistant", "content": content, **message}
    return {"index": index, "finish_reason": finish_reason, "message": message, **(more or {})}


USAGE = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
USER = {"role": "user", "content": "2 + 2?"}

CASES = {
    "plain": (
        {"model": "small", "messages": [{"role": "system", "content": "Be brief."}, USER], "temperature": 0.5,
         "top_p": 1, "max_tokens": 16, "frequency_penalty": 0.25, "presence_penalty": -0.5, "user": "somebody"},
        answer([choice()], usage=USAGE, system_fingerprint="fp-1"),
    ),
    "token_ids_of_vllm": (
        {"model": "small", "messages": [USER], "stream": False},
        answer([choice(more={"token_ids": [7, 8, 9]})], usage=USAGE, prompt_token_ids=[1, 2, 3]),
    ),
    "token_ids_of_older_servers": (
        {"model": "small", "messages": [USER]},
        answer([choice()], prompt_token_ids=[1, 2, 3], response_token_ids=[[7, 8, 9], [10]]),
    ),
    "token_ids_of_litellm": (
        {"model": "small", "messages": [USER]},
        answer([choice(more={"provider_specific_fields": {"token_ids": [7, 8, 9]}})], prompt_token_ids=[1, 2, 3]),
    ),
    "log_probabilities": (
        {"model": "small", "messages": [USER], "logprobs": True},
        answer([choice(more={"logprobs": {"refusal": None, "content": [
            {"token": "Four", "logprob": -0.25, "bytes": [70], "top_logprobs": []},
            {"token": ".", "logprob": -1.5, "bytes": None, "top_logprobs": []},
        ]}})]),
    ),
    "several_answers": (
        {"model": "small", "messages": [USER], "n": 2},
        answer([choice(0, "Four."), choice(1, "4", "length")]),
    ),
    "tools_are_asked_for": (
        {"model": "small", "messages": [USER], "tools": [WEATHER]},
        answer([choice(content=None, finish_reason="tool_calls", tool_calls=[call("a", "Oslo"), call("b", "Køge")])]),
    ),
    "tools_have_answered": (
        {"model": "small", "tools": [WEATHER], "messages": [
            USER,
            {"role": "assistant", "content": None, "tool_calls": [call("a", "Oslo")]},
            {"role": "tool", "tool_call_id": "a", "content": "rain"},
        ]},
        answer([choice(content="It rains.")]),
    ),
    "an_image": (
        {"model": "small", "messages": [{"role": "user", "content": [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": "http://host/cat.png"}},
        ]}]},
        answer([choice(content="A cat.")]),
    ),
    "a_refusal": (
        {"model": "small", "messages": [USER]},
        answer([choice(content=None, refusal="I will not.")]),
    ),
}


def main():
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    golden = {}
    for name, (request, response) in CASES.items():
        exporter.clear()
        parsed = ChatCompletion.model_validate(response)
        with trace.get_tracer("golden").start_as_current_span("call") as span:
            attributes = chat.handle_chat_attributes(kwargs=request, return_value=parsed, span=span)
        # OpenTelemetry drops attributes without a value.
        attributes = {key: value for key, value in attributes.items() if value is not None}
        tools = [
            {"name": span.name, "status": span.status.status_code.name, "attributes": dict(span.attributes)}
            for span in exporter.get_finished_spans() if span.name != "call"
        ]
        golden[name] = {"request": request, "answer": response, "attributes": attributes, "tools": tools}
    json.dump(golden, sys.stdout, indent=1, ensure_ascii=False, sort_keys=True)
    print()


main()
