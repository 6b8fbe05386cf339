"""Runs the adapters of agentlightning==0.3.0 for the suite `adapters_python` to compare with.

Reads one JSON document from standard input, and writes one to standard output:

    {"scripts": [script, …], "sets": [{"spans": [span, …], "runs": [run, …]}, …], "runs": [run, …]}
    -> {"recorded": [[span, …], …], "sets": [[result, …], …], "of_recorded": [[result, …], …]}

A script is what an agent does, see `act`; its spans are recorded by really running it under 0.3.0's tracer, with OpenAI's
client against a model on loopback that answers what the script says. A run names an adapter and its options; `runs` are
those for what was recorded. A result is `{"ok": …}` or `{"error": …}`.
"""

import asyncio
import functools
import json
import logging
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Whatever the packages print, standard output holds the answer alone.
answer_to = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)
os.environ.setdefault("AGENTOPS_LOG_LEVEL", "CRITICAL")
os.environ.setdefault("OTEL_SDK_DISABLED", "false")

import agentlightning.adapter.messages as messages_module
import agentlightning.adapter.triplet as triplet_module
import agentlightning.emitter.reward as reward_module
from agentlightning.adapter.messages import TraceToMessages
from agentlightning.adapter.triplet import LlmProxyTraceToTriplet, RewardMatchPolicy, TracerTraceToTriplet, TraceTree
from agentlightning.types import Span
from pydantic import TypeAdapter


# It warns of every reward in an older form.
logging.disable(logging.CRITICAL)


class InOrder:
    """A set that keeps its order: 0.3.0 takes parents that are missing in the order of a set, which changes from run to run."""

    def __init__(self, items=()):
        self.items = dict.fromkeys(items)

    def __sub__(self, other):
        return InOrder(item for item in self.items if item not in other.items)

    def __iter__(self):
        return iter(self.items)

    def __contains__(self, item):
        return item in self.items

    def add(self, item):
        self.items[item] = None


triplet_module.set = InOrder
# They build these anew for each message and each span, which takes most of the time.
messages_module.TypeAdapter = reward_module.TypeAdapter = functools.cache(TypeAdapter)


def adapt(run, spans):
    options = dict(run.get("options", {}))
    if "reward_match" in options:
        options["reward_match"] = RewardMatchPolicy(options["reward_match"])
    if run["adapter"] == "tracer":
        return [triplet.model_dump() for triplet in TracerTraceToTriplet(**options).adapt(spans)]
    if run["adapter"] == "final":
        tree = TraceTree.from_spans(spans)
        tree.repair_hierarchy()
        return [triplet.model_dump() for triplet in tree.to_trajectory(**options)]
    if run["adapter"] == "proxy":
        return [triplet.model_dump() for triplet in LlmProxyTraceToTriplet().adapt(spans)]
    if run["adapter"] == "tree":
        tree = TraceTree.from_spans(spans)
        if options["repair"]:
            tree.repair_hierarchy()
        return [[node.span.name, node.agent_name(), len(node.children)] for node in tree.traverse()]
    if run["adapter"] == "messages":
        return TraceToMessages().adapt(spans)
    raise ValueError(run)


def results(runs, spans):
    made = []
    validated = [Span.model_validate(span) for span in spans]
    for run in runs:
        try:
            made.append({"ok": adapt(run, validated)})
        except Exception as error:
            made.append({"error": f"{type(error).__name__}: {error}"})
    return made


answers = []


def events(answer):
    """An answer with one message, word by word."""
    whole = {**answer, "object": "chat.completion.chunk"}
    message = whole.pop("choices")[0]["message"]
    usage = whole.pop("usage")
    words = [{"role": "assistant", "content": ""}, *({"content": word} for word in message["content"].split())]
    for word in words:
        yield json.dumps({**whole, "choices": [{"index": 0, "delta": word, "finish_reason": None}]}).encode()
    yield json.dumps({**whole, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage}).encode()
    yield b"[DONE]"


class Model(BaseHTTPRequestHandler):
    """Answers each request with the answer of the number in its header; an answer that is a number is a failure."""

    def log_message(self, *_):
        pass

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
        answer = answers[int(self.headers["x-answer"])]
        body, kind = json.dumps(answer).encode(), "application/json"
        if request.get("stream"):
            body, kind = b"".join(b"data: %s\n\n" % event for event in events(answer)), "text/event-stream"
        self.send_response(answer if isinstance(answer, int) else 200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def recorded(scripts):
    if not scripts:
        return []
    import agentlightning
    import openai
    from agentlightning.emitter.annotation import operation as lightning_operation
    from agentlightning.reward import reward as old_reward
    from agentlightning.tracer.agentops import AgentOpsTracer
    from agentops.sdk.decorators import agent as agentops_agent
    from agentops.sdk.decorators import operation as agentops_operation
    from opentelemetry import trace as trace_api

    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{server.server_port}/v1", api_key="none", max_retries=0)
    tracer = AgentOpsTracer()
    tracer.init()
    tracer.init_worker(0)

    def act(step):
        """One step: `call`, `reward`, `dimensions`, `message`; or steps within `agent`, `span`, …"""
        (kind, what), = step.items()
        if kind == "call":
            answers.append(what["answer"])
            try:
                number = str(len(answers) - 1)
                answered = client.chat.completions.create(**what["request"], extra_headers={"x-answer": number})
                if what["request"].get("stream"):
                    list(answered)
            except openai.APIError:
                pass
        elif kind == "reward":
            agentlightning.emit_reward(what)
        elif kind == "dimensions":
            agentlightning.emit_reward(what, primary_key=next(iter(what)))
        elif kind == "message":
            agentlightning.emit_message(what)
        elif kind == "agent":
            @agentops_agent(name=what["name"])
            class Agent:
                def run(self):
                    steps(what)

            Agent().run()
        elif kind == "operation":
            agentops_operation(name=what["name"])(lambda: steps(what))()
        elif kind == "span":
            with trace_api.get_tracer("test").start_as_current_span(what["name"], attributes=what.get("attributes")):
                steps(what)
        elif kind == "judged":
            # What works out a reward with calls of its own, as 0.2 and 0.3 wrote it.
            def judge():
                steps(what)
                return what["value"]

            old_reward(judge)()
        elif kind == "thread":
            # Context does not follow into threads: what happens there has no parent.
            thread = threading.Thread(target=steps, args=(what,))
            thread.start()
            thread.join()
        elif kind == "lightning":
            with lightning_operation(name=what["name"]):
                steps(what)
        else:
            raise ValueError(step)

    def steps(what):
        for step in what["steps"]:
            act(step)

    async def record(script):
        async with tracer.trace_context("script"):
            for step in script:
                act(step)
        return [renamed(json.loads(span.model_dump_json())) for span in tracer.get_last_trace()]

    def renamed(span):
        # Theirs take a call that failed for one with an answer; that is pinned elsewhere.
        if span["status"]["status_code"] == "ERROR" and "gen_ai.response.id" not in span["attributes"]:
            span["name"] = "failed"
        return span

    return [asyncio.run(record(script)) for script in scripts]


def finite(value):
    """JSON has no infinities."""
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return str(value)
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    # pydantic validates some lists lazily.
    return value if value is None or isinstance(value, (str, int, float)) else [finite(item) for item in value]


request = json.load(sys.stdin)
traces = recorded(request["scripts"])
answer = {
    "recorded": traces,
    "sets": [results(of["runs"], of["spans"]) for of in request["sets"]],
    "of_recorded": [results(request["runs"], trace) for trace in traces],
}
json.dump(finite(answer), answer_to)
answer_to.close()
# Threads of the tracer would keep the process.
os._exit(0)
