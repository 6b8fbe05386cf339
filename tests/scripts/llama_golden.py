"""Writes tests/golden/llama_logits.json: what models of the type `llama` compute, worked out with NumPy alone.

    python tests/scripts/llama_golden.py > tests/golden/llama_logits.json

The weights follow from a formula that the suite `lm` repeats, so that the file holds only shapes, tokens and logits. The
names of the weights, the halves of the rotary embedding and the place of each norm are those of `transformers`.
"""

import json

import numpy as np

SHAPES = [
    {
        "vocab_size": 23, "hidden_size": 16, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 4, "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "max_position_embeddings": 64,
        "tie_word_embeddings": True,
    },
    {
        "vocab_size": 31, "hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 3, "num_attention_heads": 3,
        "num_key_value_heads": 1, "head_dim": 8, "rms_norm_eps": 1e-06, "rope_theta": 500000.0, "max_position_embeddings": 64,
        "tie_word_embeddings": False,
    },
]


def names(shape):
    width, inner = shape["hidden_size"], shape["intermediate_size"]
    asking = shape["num_attention_heads"] * shape["head_dim"]
    asked = shape["num_key_value_heads"] * shape["head_dim"]
    yield "model.embed_tokens.weight", (shape["vocab_size"], width)
    for layer in range(shape["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", (width,)
        yield prefix + "self_attn.q_proj.weight", (asking, width)
        yield prefix + "self_attn.k_proj.weight", (asked, width)
        yield prefix + "self_attn.v_proj.weight", (asked, width)
        yield prefix + "self_attn.o_proj.weight", (width, asking)
        yield prefix + "post_attention_layernorm.weight", (width,)
        yield prefix + "mlp.gate_proj.weight", (inner, width)
        yield prefix + "mlp.up_proj.weight", (inner, width)
        yield prefix + "mlp.down_proj.weight", (width, inner)
    yield "model.norm.weight", (width,)
    if not shape["tie_word_embeddings"]:
        yield "lm_head.weight", (shape["vocab_size"], width)


def weights(shape):
    """Weight `i` of tensor `t` is sin(1.3 i + 0.7 t), a little around one for norms; rounded to 32 bits."""
    tensors = {}
    for number, (name, dims) in enumerate(names(shape)):
        wave = np.sin(1.3 * np.arange(np.prod(dims)) + 0.7 * number).reshape(dims)
        tensors[name] = (1 + 0.2 * wave if len(dims) == 1 else 0.6 * wave).astype(np.float32).astype(np.float64)
    return tensors


def norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def rotate(x, theta):
    """[tokens, heads, head_dim]: the first half of a head is turned together with the second."""
    tokens, _, dim = x.shape
    frequencies = theta ** (-np.arange(0, dim, 2) / dim)
    angles = np.arange(tokens)[:, None] * frequencies[None, :]
    cos, sin = (np.concatenate([f(angles)] * 2, -1)[:, None, :] for f in (np.cos, np.sin))
    half = np.concatenate([-x[..., dim // 2 :], x[..., : dim // 2]], -1)
    return x * cos + half * sin


def logits(shape, tensors, tokens):
    heads, asked, dim = shape["num_attention_heads"], shape["num_key_value_heads"], shape["head_dim"]
    eps, count = shape["rms_norm_eps"], len(tokens)
    x = tensors["model.embed_tokens.weight"][tokens]
    for layer in range(shape["num_hidden_layers"]):
        w = lambda name: tensors[f"model.layers.{layer}.{name}.weight"]
        h = norm(x, w("input_layernorm"), eps)
        q = rotate((h @ w("self_attn.q_proj").T).reshape(count, heads, dim), shape["rope_theta"])
        k = rotate((h @ w("self_attn.k_proj").T).reshape(count, asked, dim), shape["rope_theta"])
        v = (h @ w("self_attn.v_proj").T).reshape(count, asked, dim)
        k, v = (np.repeat(a, heads // asked, axis=1) for a in (k, v))
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(dim)
        scores[:, np.triu(np.ones((count, count), bool), 1)] = -np.inf
        p = np.exp(scores - scores.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        x = x + np.einsum("hqk,khd->qhd", p, v).reshape(count, -1) @ w("self_attn.o_proj").T
        h = norm(x, w("post_attention_layernorm"), eps)
        gate, up = h @ w("mlp.gate_proj").T, h @ w("mlp.up_proj").T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w("mlp.down_proj").T
    x = norm(x, tensors["model.norm.weight"], eps)
    return x @ tensors.get("lm_head.weight", tensors["model.embed_tokens.weight"]).T


def main():
    cases = []
    for shape in SHAPES:
        tokens = [(7 * i * i + 3 * i + 1) % shape["vocab_size"] for i in range(11)]
        rows = logits(shape, weights(shape), tokens)
        cases.append({"config": shape, "tokens": tokens, "logits": [[round(float(n), 6) for n in row] for row in rows]})
    print(json.dumps({"cases": cases}, indent=None, separators=(",", ":")).replace('],[', '],\n['))


main()
