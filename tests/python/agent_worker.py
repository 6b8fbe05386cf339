"""An agent in Python that executes what is in the queue of the store, for the suite `interop`.

    agent_worker.py URL ROLLOUTS

The first rollout whose task says so fails once; the others answer with a reward.
"""

import asyncio
import logging
import sys

import agentlightning as agl
from agentlightning.emitter import emit_message, emit_reward
from agentlightning.runner import LitAgentRunner
from agentlightning.store.client_server import LightningStoreClient
from agentlightning.tracer.otel import OtelTracer

failed = set()


@agl.rollout
def answer(task, prompt_template: agl.PromptTemplate) -> float:
    text = prompt_template.format(word=task["word"])
    emit_message(text)
    if task.get("fails") and task["word"] not in failed:
        failed.add(task["word"])
        raise RuntimeError("out of luck")
    emit_reward({"length": len(text), "style": 0.5}, primary_key="length")
    return float(len(text))


async def main(url, rollouts):
    logging.disable(logging.CRITICAL)
    runner = LitAgentRunner(OtelTracer(), max_rollouts=rollouts, poll_interval=0.1, interval_jitter=0.05)
    store = LightningStoreClient(url)
    with runner.run_context(agent=answer, store=store, worker_id=3):
        await runner.iter()
    await store.close()


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
