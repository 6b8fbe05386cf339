"""The official clients of model servers at our LLM proxy, for the suite `interop`: `model_clients.py CLIENT BASE_URL`, where
the models are named after the answers that stand behind them. Writes what each client understood, as one JSON object.

`model_clients.py triplets STORE_URL ROLLOUT_ID…` writes what the reference's adapter makes of rollouts at our store.
"""

import asyncio
import json
import sys

USER = [{"role": "user", "content": "Hi"}]
TOOL = {"name": "weather", "description": "d", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}


def openai(base_url):
    from openai import APIStatusError, OpenAI

    client = OpenAI(base_url=base_url + "/v1", api_key="none", max_retries=0)
    chat = client.chat.completions
    plain = chat.create(model="vllm-chat", messages=USER)
    streamed = list(chat.create(model="vllm-chat-stream", messages=USER, stream=True))
    pieces = [chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices]
    with chat.stream(model="openai-chat-stream-tools", messages=USER, tools=[{"type": "function", "function": TOOL}]) as stream:
        for _ in stream:
            pass
        called = stream.get_final_completion().choices[0].message.tool_calls
    response = client.responses.create(model="openai-responses", input="Hi")
    events = [event.type for event in client.responses.create(model="openai-responses-stream", input="Hi", stream=True)]
    embeddings = client.embeddings.create(model="openai-embeddings", input=["a", "b"], encoding_format="float")
    text = client.completions.create(model="vllm-completions-stream", prompt="Once", stream=True)
    try:
        chat.create(model="error-vllm-400", messages=USER)
        refused = None
    except APIStatusError as error:
        refused = [error.status_code, error.body["message"]]
    return {
        "plain": plain.choices[0].message.content,
        "token_ids": plain.choices[0].token_ids,
        "streamed": "".join(pieces),
        "tools": [[call.function.name, json.loads(call.function.arguments)] for call in called],
        "response": response.output_text,
        "events": events[-1],
        "embeddings": len(embeddings.data),
        "text": "".join(chunk.choices[0].text for chunk in text),
        "refused": refused,
    }


def anthropic(base_url):
    from anthropic import Anthropic, APIStatusError

    client = Anthropic(base_url=base_url, api_key="none", max_retries=0)
    tool = {"name": "weather", "input_schema": TOOL["parameters"]}
    plain = client.messages.create(model="anthropic-messages", max_tokens=10, messages=USER, tools=[tool])
    with client.messages.stream(model="anthropic-messages-stream", max_tokens=10, messages=USER, tools=[tool]) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    try:
        client.messages.create(model="error-anthropic-529", max_tokens=10, messages=USER)
        refused = None
    except APIStatusError as error:
        refused = [error.status_code, error.body["error"]["message"]]
    return {
        "plain": plain.content[0].text,
        "tool": plain.content[1].input,
        "streamed": "".join(pieces),
        "streamed_tool": final.content[-1].input,
        "output_tokens": final.usage.output_tokens,
        "refused": refused,
    }


def langchain(base_url):
    from langchain_openai import ChatOpenAI

    def model(name):
        return ChatOpenAI(model=name, base_url=base_url + "/v1", api_key="none", max_retries=0)

    plain = model("vllm-chat").invoke("Hi")
    streamed = "".join(chunk.content for chunk in model("vllm-chat-stream").stream("Hi"))
    called = None
    for chunk in model("openai-chat-stream-tools").bind_tools([{"type": "function", "function": TOOL}]).stream("Hi"):
        called = chunk if called is None else called + chunk
    return {"plain": plain.content, "streamed": streamed, "tools": [[call["name"], call["args"]] for call in called.tool_calls]}


async def triplets(url, *rollouts):
    from agentlightning.adapter import LlmProxyTraceToTriplet
    from agentlightning.store.client_server import LightningStoreClient

    store = LightningStoreClient(url)
    found = {}
    for rollout in rollouts:
        spans = await store.query_spans(rollout)
        made = LlmProxyTraceToTriplet().adapt(list(spans))
        found[rollout] = [
            [triplet.prompt["token_ids"], triplet.response["token_ids"], triplet.reward, triplet.metadata["response_id"]]
            for triplet in made
        ]
    await store.close()
    return found


what, *arguments = sys.argv[1:]
if what == "triplets":
    print(json.dumps(asyncio.run(triplets(*arguments))))
else:
    print(json.dumps({"openai": openai, "anthropic": anthropic, "langchain": langchain}[what](*arguments)))
