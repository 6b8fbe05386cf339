"""Sequences of calls of the reference's client against several servers, for the suite `interop`.

    differential.py SEED SEQUENCES URL...

Every sequence is drawn from the seed and the shape of the answers so far, and made against each server. What is printed
is a JSON list for each server: the calls and their answers, ids numbered by their first appearance, times as "time".
"""

import asyncio
import json
import logging
import random
import re
import sys

from agentlightning.store.client_server import LightningStoreClient
from agentlightning.types import LLM, EnqueueRolloutRequest, PromptTemplate, ProxyLLM, RolloutConfig, Span

CALLS = 14
TIMES = {
    "start_time", "end_time", "create_time", "update_time", "last_heartbeat_time", "last_dequeue_time",
    "last_busy_time", "last_idle_time",
}
ID = re.compile(r"\b(ro|at|rs)-[0-9a-f]{8,12}\b")
MODES = ["train", "val", "test"]
ROLLOUT_STATUSES = ["queuing", "preparing", "running", "failed", "succeeded", "cancelled", "requeuing"]
TERMINAL = ["succeeded", "failed", "cancelled"]
ATTEMPT_STATUSES = ["preparing", "running", "failed", "succeeded", "unresponsive", "timeout"]


class Normal:
    """Makes answers comparable."""

    def __init__(self):
        self.ids = {}

    def name(self, match):
        kind = match.group(1)
        known = self.ids.setdefault(match.group(0), f"{kind}#{len(self.ids)}")
        return known

    def of(self, value, key=None):
        if hasattr(value, "model_dump"):
            value = value.model_dump(mode="json")
        if key in TIMES and value is not None:
            return "time"
        if isinstance(value, dict):
            if "attempt_id" in value and value.get("status") in ("timeout", "unresponsive"):
                # The reference leaves this one null, deliberately different with us.
                value = {**value, "end_time": None}
            if "worker_id" in value and "last_idle_time" in value and value["status"] != "idle":
                # The reference counts the end by a time limit as becoming idle.
                value = {**value, "last_idle_time": None}
            if "rollout_id" in value and "config" in value and value.get("status") not in TERMINAL:
                # The reference keeps the end of a rollout that was set going again.
                value = {**value, "end_time": None}
            return {self.of(name): self.of(item, name) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.of(item) for item in value]
        if isinstance(value, str):
            return ID.sub(self.name, value)
        return value


class Sequence:
    """One sequence of calls at one server."""

    def __init__(self, seed, client, normal):
        self.random = random.Random(seed)
        self.seed = seed
        self.client = client
        self.normal = normal
        self.rollouts = []
        self.attempts = []
        self.resources = []
        self.spans = 0
        self.log = []

    async def call(self, method, *arguments, **named):
        try:
            answer = await getattr(self.client, method)(*arguments, **named)
            shown = self.normal.of(answer)
        except Exception as error:
            answer = None
            shown = {"error": type(error).__name__}
        self.log.append({"call": [method, self.normal.of(arguments), self.normal.of(named)], "answer": shown})
        return answer

    # What to call with. All choices are made from the seed, and from how many ids there are.

    def maybe(self, make):
        return make() if self.random.random() < 0.5 else None

    def worker(self):
        """A worker that heartbeats and is looked for, and never has two attempts at once: with us, the late report on
        the first would leave it busy with the second."""
        return f"worker-{self.seed}-{self.random.randrange(2)}"

    def busy_worker(self):
        return f"worker-{self.seed}-busy-{len(self.log)}"

    def config(self):
        statuses = self.random.sample(ATTEMPT_STATUSES[2:], self.random.randrange(4))
        return RolloutConfig(max_attempts=self.random.randrange(1, 4), retry_condition=statuses)

    def task(self):
        return self.random.choice([None, 1, "text", 0.5, True, [1, {"a": None}], {"nested": {"ü": [1.5, "x"]}}])

    def metadata(self):
        return self.maybe(lambda: {"note": self.random.randrange(10), "deep": {"list": [None, True]}})

    def named_resources(self):
        options = {
            "prompt": PromptTemplate(template="Answer {question}", engine=self.random.choice(["f-string", "jinja", "poml"])),
            "model": LLM(endpoint="http://x/v1", model="m", api_key=self.maybe(lambda: "k"), sampling_parameters={"temperature": 0.5}),
            "proxy": ProxyLLM(endpoint="http://y/v1", model="n"),
        }
        return {name: options[name] for name in sorted(self.random.sample(sorted(options), self.random.randrange(4)))}

    def page(self):
        return {
            "limit": self.random.choice([-1, -1, 1, 2, 5]),
            "offset": self.random.choice([0, 0, 1, 3]),
            "sort_order": self.random.choice(["asc", "desc"]),
        }

    def rollout(self):
        return self.random.choice(self.rollouts) if self.rollouts else f"ro-none-{self.seed}"

    def attempt(self):
        return self.random.choice(self.attempts) if self.attempts else (f"ro-none-{self.seed}", "at-none")

    def note(self, answer):
        """Remembers the ids of a rollout."""
        if answer is None:
            return
        if answer.rollout_id not in self.rollouts:
            self.rollouts.append(answer.rollout_id)
        attempt = getattr(answer, "attempt", None)
        if attempt is not None:
            self.attempts.append((answer.rollout_id, attempt.attempt_id))

    def new_span(self):
        rollout_id, attempt_id = self.attempt()
        self.spans += self.random.random() < 0.8
        number = self.spans
        return Span.model_validate(
            {
                "rollout_id": rollout_id,
                "attempt_id": attempt_id,
                "sequence_id": self.random.randrange(1, 20),
                "trace_id": f"{self.random.randrange(3):032x}",
                "span_id": f"{self.seed % 1000:08x}{number:08x}",
                "parent_id": self.maybe(lambda: f"{self.random.randrange(5):016x}"),
                "name": self.random.choice(["model.call", "tool.call", "agentlightning.annotation"]),
                "status": {"status_code": self.random.choice(["OK", "ERROR", "UNSET"]), "description": self.maybe(lambda: "why")},
                "attributes": {"text": "ü", "int": 1, "float": 0.1, "bool": True, "list": ["a", "b"]},
                "events": [{"name": "e", "attributes": {"k": "v"}, "timestamp": 1.5}],
                "links": [],
                "start_time": self.random.choice([1.25, 2.5, None]),
                "end_time": 3.0,
                "context": None,
                "parent": None,
                "resource": {"attributes": {"service.name": "s"}, "schema_url": ""},
                "kept": {"as": ["it", None]},
            }
        )

    # The calls.

    async def enqueue(self):
        self.note(await self.call("enqueue_rollout", self.task(), self.maybe(lambda: self.random.choice(MODES)), None, self.maybe(self.config), self.metadata()))

    async def enqueue_many(self):
        made = [EnqueueRolloutRequest(input=self.task(), config=self.maybe(self.config)) for _ in range(self.random.randrange(4))]
        for rollout in await self.call("enqueue_many_rollouts", made) or []:
            self.note(rollout)

    async def dequeue(self):
        # A worker is named: an empty claim by a busy one clears its ids with us, which has a test of its own.
        self.note(await self.call("dequeue_rollout", self.maybe(lambda: f"claims-{len(self.log)}")))

    async def dequeue_many(self):
        for rollout in await self.call("dequeue_many_rollouts", limit=self.random.randrange(-1, 4)) or []:
            self.note(rollout)

    async def start_rollout(self):
        self.note(await self.call("start_rollout", self.task(), self.maybe(lambda: "val"), None, self.maybe(self.config), self.metadata(), self.maybe(self.busy_worker)))

    async def start_attempt(self):
        self.note(await self.call("start_attempt", self.rollout(), self.maybe(self.busy_worker)))

    async def query_rollouts(self):
        if not self.rollouts:
            return
        # Other sequences have left rollouts behind, so those of this one are named.
        filters = {"rollout_id_in": self.rollouts}
        if self.random.random() < 0.5:
            filters["status_in"] = self.random.sample(ROLLOUT_STATUSES, self.random.randrange(4))
        if self.random.random() < 0.2:
            filters["rollout_id_contains"] = self.random.choice(["ro-", "nowhere", ""])
        sort = self.random.choice([None, "status", "mode"])
        await self.call("query_rollouts", sort_by=sort, **filters, **self.page())

    async def get_rollout(self):
        if self.rollouts:
            await self.call("get_rollout_by_id", self.rollout())

    async def query_attempts(self):
        sort = self.random.choice([None, "sequence_id", "status", "worker_id"])
        await self.call("query_attempts", self.rollout(), sort_by=sort, **self.page())

    async def latest_attempt(self):
        await self.call("get_latest_attempt", self.rollout())

    async def update_rollout(self):
        fields = {}
        for name, make in [
            ("status", lambda: self.random.choice(ROLLOUT_STATUSES)),
            ("mode", lambda: self.random.choice([*MODES, None])),
            ("metadata", lambda: self.random.choice([None, {}, {"x": 1}])),
            ("input", self.task),
            ("config", self.config),
            ("resources_id", lambda: self.random.choice([None, "rs-mine"])),
        ]:
            if self.random.random() < 0.4:
                fields[name] = make()
        await self.call("update_rollout", self.rollout(), **fields)

    async def is_at_rest(self, rollout_id):
        """Only with the reference does an attempt move a rollout that has ended, and a late span one that waits for a
        retry; and only there does a span of an unknown rollout lift a counter."""
        if rollout_id not in self.rollouts:
            return True
        rollout = await self.call("get_rollout_by_id", rollout_id)
        return rollout is None or rollout.status in [*TERMINAL, "requeuing"]

    async def update_attempt(self):
        rollout_id, attempt_id = self.attempt()
        if await self.is_at_rest(rollout_id):
            return
        # Without a status, the reference propagates the old one again: a deliberate difference with a test of its own.
        fields = {"status": self.random.choice(ATTEMPT_STATUSES)}
        if self.random.random() < 0.3:
            fields["worker_id"] = self.busy_worker()
        if self.random.random() < 0.3:
            fields["metadata"] = {"reason": "because"}
        if self.random.random() < 0.2:
            fields["last_heartbeat_time"] = 12.5
        await self.call("update_attempt", rollout_id, self.random.choice([attempt_id, "latest"]), **fields)

    async def add_resources(self):
        added = await self.call("add_resources", self.named_resources())
        if added is not None:
            self.resources.append(added.resources_id)

    async def update_resources(self):
        name = self.random.choice([*self.resources, f"rs-own-{self.seed % 5}"])
        await self.call("update_resources", name, self.named_resources())

    async def get_resources(self):
        await self.call("get_resources_by_id", self.random.choice([*self.resources, "rs-none"]))

    async def latest_resources(self):
        await self.call("get_latest_resources")

    async def query_resources(self):
        filters = {"resources_id_contains": self.random.choice(["rs-own", "nowhere"])}
        sort = self.random.choice([None, "version", "resources_id"])
        await self.call("query_resources", sort_by=sort, **filters, **self.page())

    async def add_span(self):
        span = self.new_span()
        if not await self.is_at_rest(span.rollout_id):
            await self.call("add_span", span)

    async def add_spans(self):
        if self.attempts and not await self.is_at_rest(self.attempts[-1][0]):
            spans = [self.new_span() for _ in range(self.random.randrange(4))]
            await self.call("add_many_spans", [span for span in spans if span.rollout_id == self.attempts[-1][0]])

    async def next_id(self):
        await self.call("get_next_span_sequence_id", *self.attempt())

    async def next_ids(self):
        await self.call("get_many_span_sequence_ids", [self.attempt() for _ in range(self.random.randrange(4))])

    async def wait(self):
        ids = [self.rollout() for _ in range(self.random.randrange(3))]
        await self.call("wait_for_rollouts", rollout_ids=ids, timeout=self.random.choice([0, 0.01]))

    async def query_spans(self):
        filters = {}
        for name, make in [
            ("name", lambda: "model.call"),
            ("name_contains", lambda: "call"),
            ("trace_id", lambda: f"{1:032x}"),
            ("parent_id", lambda: f"{2:016x}"),
            ("span_id_contains", lambda: "1"),
            ("attempt_id", lambda: self.random.choice(["latest", self.attempt()[1]])),
            ("filter_logic", lambda: self.random.choice(["and", "or"])),
        ]:
            if self.random.random() < 0.3:
                filters[name] = make()
        sort = self.random.choice([None, "sequence_id", "name", "start_time", "parent_id"])
        await self.call("query_spans", self.rollout(), sort_by=sort, **filters, **self.page())

    async def query_workers(self):
        filters = {"worker_id_contains": self.random.choice([f"worker-{self.seed}", "nobody"])}
        if self.random.random() < 0.3:
            filters["status_in"] = self.random.sample(["idle", "busy", "unknown"], 2)
        await self.call("query_workers", sort_by=self.random.choice([None, "worker_id", "status"]), **filters, **self.page())

    async def get_worker(self):
        await self.call("get_worker_by_id", self.worker())

    async def update_worker(self):
        if self.random.random() < 0.5:
            await self.call("update_worker", self.worker(), {"cpu_usage_pct": 1.5, "list": [1, 2]})
        else:
            await self.call("update_worker", self.worker())

    async def statistics(self):
        found = await self.client.statistics()
        totals = {name: found.get(name) for name in ["total_rollouts", "total_attempts", "total_spans", "total_resources", "total_workers"]}
        self.log.append({"call": ["statistics"], "answer": totals})

    async def run(self):
        calls = [
            (self.enqueue, 3), (self.enqueue_many, 1), (self.dequeue, 4), (self.dequeue_many, 1), (self.start_rollout, 2),
            (self.start_attempt, 1), (self.query_rollouts, 2), (self.get_rollout, 2), (self.query_attempts, 1),
            (self.latest_attempt, 1), (self.update_rollout, 2), (self.update_attempt, 4), (self.add_resources, 1),
            (self.update_resources, 1), (self.get_resources, 1), (self.latest_resources, 1), (self.query_resources, 1),
            (self.add_span, 3), (self.add_spans, 1), (self.next_id, 1), (self.next_ids, 1), (self.wait, 1),
            (self.query_spans, 2), (self.query_workers, 1), (self.get_worker, 1), (self.update_worker, 1), (self.statistics, 1),
        ]
        kinds, weights = zip(*calls)
        for _ in range(CALLS):
            await self.random.choices(kinds, weights)[0]()
        # What is left in the queue would meet the next sequence.
        for rollout_id in self.rollouts:
            await self.call("get_rollout_by_id", rollout_id)
            await self.call("update_rollout", rollout_id, status="cancelled")
        return self.log


async def main(seed, sequences, urls):
    logging.disable(logging.CRITICAL)
    logs = []
    for url in urls:
        client = LightningStoreClient(url, retry_delays=(), health_retry_delays=())
        normal = Normal()
        logs.append([await Sequence(seed + index, client, normal).run() for index in range(sequences)])
        await client.close()
    json.dump(logs, sys.stdout)


asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
