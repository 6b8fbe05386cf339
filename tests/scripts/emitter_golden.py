"""Writes what the emitters of the reference record, for the suite `emitting` to compare with.

    python3 -m venv venv && venv/bin/pip install agentlightning==0.3.0
    LITELLM_LOCAL_MODEL_COST_MAP=True venv/bin/python tests/scripts/emitter_golden.py > tests/golden/emitters.json

Each entry has a name that the suite knows, and the spans that were recorded, in the order in which they ended: name,
status, attributes, events, and the place of the parent among them. Stack traces are cut, for they hold paths.
"""

import asyncio
import json
import sys
import warnings

warnings.filterwarnings("ignore")

from agentlightning import emitter
from agentlightning.emitter import (
    emit_annotation,
    emit_exception,
    emit_message,
    emit_object,
    emit_reward,
)
from agentlightning.emitter.annotation import operation
from agentlightning.store.memory import InMemoryLightningStore
from agentlightning.tracer.otel import OtelTracer
from agentlightning.utils.otel import (
    flatten_attributes,
    make_link_attributes,
    make_tag_attributes,
    unflatten_attributes,
)


class OutOfPaper(Exception):
    pass


def reward_scalar():
    emit_reward(0.5)


def reward_integer():
    emit_reward(1)


def reward_bool():
    emit_reward(True)


def reward_dimensions():
    emit_reward({"brevity": 0.25, "accuracy": 1.0, "style": -2.0}, primary_key="accuracy")


def reward_tagged():
    emit_reward(0.5, attributes={**make_tag_attributes(["fast", "reliable"]),
                                 **make_link_attributes({"gen_ai.response.id": "response-123", "span_id": "abc"})})


def annotation_nested():
    emit_annotation({"judge": {"model": "m", "votes": [1, 2], "mixed": [1, "a"], "runs": [{"ok": True}, {"ok": False}]},
                     "empty": {}, "none": []})


def message_plain():
    emit_message("Grüße, 世界 🎉")


def message_empty():
    emit_message("")


def message_with_attributes():
    emit_message("hello", attributes={"a": {"b": 1.5}, "nothing": None})


def object_text():
    emit_object("text")


def object_int():
    emit_object(-3)


def object_float():
    emit_object(1.5)


def object_bool():
    emit_object(True)


def object_none():
    emit_object(None)


def object_dict():
    emit_object({"a": [1, 2, {"b": None}], "ü": "x"})


def object_list():
    emit_object([])


def exception_plain():
    try:
        raise OutOfPaper("the printer is empty")
    except OutOfPaper as problem:
        emit_exception(problem)


def operation_nested():
    with operation(name="outer") as outer:
        outer.set_input(query="rust", options={"k": 3, "tags": ["a", "b"], "filter": None})
        with operation(name="inner") as inner:
            emit_message("inside")
            inner.set_output({"pages": [{"title": "a"}, {"title": "b"}]})
        outer.set_output(True)


def operation_failed():
    try:
        with operation(name="print"):
            raise OutOfPaper("the printer is empty")
    except OutOfPaper:
        pass


CASES = [
    reward_scalar, reward_integer, reward_bool, reward_dimensions, reward_tagged, annotation_nested, message_plain,
    message_empty, message_with_attributes, object_text, object_int, object_float, object_bool, object_none, object_dict,
    object_list, exception_plain, operation_nested, operation_failed,
]

FLATTENED = [
    {"a": {"b": 1, "c": [2, 3]}},
    {"a": [1, "x", None], "b": [], "c": {}, "d": [[1, 2], [3, 4]], "e": [1, 2.5], "f": [True, 1]},
    ["top", "level"],
    {"": 1, "ü.ö": {"x": "y"}},
]

UNFLATTENED = [
    {"a.b": 1, "a.c.0": 2, "a.c.1": 3},
    {"a.1": 1, "a.2": 2, "b.0.c": 1, "b.1.c": 2, "0": "x"},
    {"0": "x", "1": "y"},
    {},
]


def recorded(spans):
    places = {span.span_id: place for place, span in enumerate(spans)}

    def short(attributes):
        return {key: "…" if key == "exception.stacktrace" else value for key, value in dict(attributes).items()}

    return [
        {
            "name": span.name,
            "status": span.status.status_code,
            "description": span.status.description,
            "attributes": short(span.attributes),
            "events": [{"name": event.name, "attributes": short(event.attributes)} for event in span.events],
            "parent": places.get(span.parent_id),
        }
        for span in spans
    ]


async def main():
    store = InMemoryLightningStore()
    tracer = OtelTracer()
    tracer.init_worker(0, store)
    emitted = {}
    for case in CASES:
        rollout = await store.start_rollout(input=case.__name__)
        ids = {"rollout_id": rollout.rollout_id, "attempt_id": rollout.attempt.attempt_id}
        async with tracer.trace_context(case.__name__, **ids):
            case()
        spans = await store.query_spans(rollout.rollout_id)
        emitted[case.__name__] = recorded(sorted(spans, key=lambda span: span.sequence_id))
    golden = {
        "emitted": emitted,
        "flattened": [{"from": nested, "to": flatten_attributes(nested)} for nested in FLATTENED],
        "unflattened": [{"from": flat, "to": unflatten_attributes(flat)} for flat in UNFLATTENED],
    }
    json.dump(golden, sys.stdout, indent=1, ensure_ascii=False, sort_keys=True)
    print()


asyncio.run(main())
