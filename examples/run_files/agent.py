"""An agent in Python as a run file starts it: `pip install agentlightning==0.3.0`.

A simulated model stands in for a real one: it finds more the more precisely it is told what to answer.
"""

import asyncio
import os

import agentlightning as agl
from agentlightning.runner import LitAgentRunner
from agentlightning.store.client_server import LightningStoreClient
from agentlightning.tracer.otel import OtelTracer


@agl.rollout
def read_invoice(task, prompt_template: agl.PromptTemplate) -> float:
    prompt = prompt_template.format(line=task["line"])
    return 0.5 * ("JSON only" in prompt) + 0.5 * ("YYYY-MM-DD" in prompt)


async def main():
    runner = LitAgentRunner(OtelTracer(), poll_interval=0.5)
    store = LightningStoreClient(os.environ["LIGHTNING_STORE"])
    with runner.run_context(agent=read_invoice, store=store, worker_id=int(os.environ["LIGHTNING_WORKER"])):
        await runner.iter()


asyncio.run(main())
