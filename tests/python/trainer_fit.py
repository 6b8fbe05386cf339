"""The reference's trainer with an algorithm and an agent in Python, on a store that is given: `trainer_fit.py URL`.

It prints the mean reward of the rollouts.
"""

import asyncio
import logging
import sys

import agentlightning as agl
from agentlightning.store.client_server import LightningStoreClient

TASKS = [1, 2, 3, 4]
mean = []


@agl.rollout
def agent(task, prompt_template: agl.PromptTemplate) -> float:
    return task * float(prompt_template.template)


@agl.algo
async def algorithm(*, store, train_dataset, initial_resources):
    await store.add_resources(initial_resources)
    rollouts = [await store.enqueue_rollout(task, mode="train") for task in train_dataset]
    ids = [rollout.rollout_id for rollout in rollouts]
    while len(await store.wait_for_rollouts(rollout_ids=ids, timeout=0.05)) < len(ids):
        await asyncio.sleep(0.1)
    rewards = []
    for rollout_id in ids:
        spans = await store.query_spans(rollout_id, "latest")
        rewards.append(agl.find_final_reward(spans))
    mean.append(sum(rewards) / len(rewards))


def main(url):
    logging.disable(logging.CRITICAL)
    trainer = agl.Trainer(
        n_runners=1,
        algorithm=algorithm,
        store=LightningStoreClient(url),
        strategy={"type": "cs", "managed_store": False, "main_process": "algorithm"},
        tracer=agl.OtelTracer(),
        initial_resources={"prompt": agl.PromptTemplate(template="0.5", engine="f-string")},
    )
    trainer.fit(agent, train_dataset=TASKS)
    print(mean[0])


main(sys.argv[1])
