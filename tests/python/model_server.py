"""OpenAI's official client at `lightning serve-model`, for the suite `lm`: `model_server.py BASE_URL ADMIN_TOKEN FOLDER`, where
FOLDER is the model that takes over. Writes what the client understood, as one JSON object.
"""

import json
import sys
import urllib.request

from openai import APIStatusError, OpenAI

base_url, admin, folder = sys.argv[1:]
client = OpenAI(base_url=base_url, api_key="none", max_retries=0)
USER = [{"role": "user", "content": "hi"}]
ASKED = {"model": "small", "messages": USER, "seed": 5, "temperature": 0.8, "top_p": 0.9, "max_tokens": 6}


def refused(**more):
    try:
        client.chat.completions.create(**{**ASKED, **more})
    except APIStatusError as error:
        return [error.status_code, error.code]


def ask(**more):
    return client.chat.completions.create(**ASKED, extra_body={"return_token_ids": True, "ignore_eos": True}, **more)


plain = ask(logprobs=True, top_logprobs=2)
choice = plain.choices[0]
chunks = list(ask(stream=True, stream_options={"include_usage": True}))
text = {"model": "small", "prompt": "ab", "max_tokens": 5, "seed": 1}
whole = client.completions.create(**text)
pieces = client.completions.create(**text, stream=True)
found = {
    "models": [model.id for model in client.models.list()],
    "plain": choice.token_ids,
    "finish": choice.finish_reason,
    "token_ids": len(choice.token_ids),
    "prompt_token_ids": plain.prompt_token_ids,
    "logprobs": [len(choice.logprobs.content), len(choice.logprobs.content[0].top_logprobs)],
    "usage": [plain.usage.prompt_tokens, plain.usage.completion_tokens],
    "streamed": [token for chunk in chunks for part in chunk.choices for token in getattr(part, "token_ids", None) or []],
    "again": ask().choices[0].token_ids,
    "text": whole.choices[0].text,
    "text_streamed": "".join(piece.choices[0].text for piece in pieces),
    "refused": refused(model="large"),
    "too_long": refused(messages=[{"role": "user", "content": "x" * 100}]),
}
change = urllib.request.Request(
    base_url.removesuffix("/v1") + "/admin/model",
    data=json.dumps({"folder": folder, "model_version": "second"}).encode(),
    headers={"Content-Type": "application/json", "Authorization": "Bearer " + admin},
)
with urllib.request.urlopen(change) as answer:
    assert json.load(answer)["previous_version"] == "first"
after = ask()
found["after"] = after.choices[0].token_ids
found["versions"] = [plain.model_version, after.model_version]
print(json.dumps(found))
