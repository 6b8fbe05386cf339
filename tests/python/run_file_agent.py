"""An agent in Python that a run file starts, for the suite `run_files`."""

import asyncio
import logging
import os

import agentlightning as agl
from agentlightning.runner import LitAgentRunner
from agentlightning.store.client_server import LightningStoreClient
from agentlightning.tracer.otel import OtelTracer


@agl.rollout
def answer(task, prompt_template: agl.PromptTemplate) -> float:
    assert "exactly" in prompt_template.format(text=task["text"])
    return float(task["answer"])


async def main():
    logging.disable(logging.CRITICAL)
    runner = LitAgentRunner(OtelTracer(), poll_interval=0.1, interval_jitter=0.05)
    store = LightningStoreClient(os.environ["LIGHTNING_STORE"])
    with runner.run_context(agent=answer, store=store, worker_id=int(os.environ["LIGHTNING_WORKER"])):
        await runner.iter()


asyncio.run(main())
