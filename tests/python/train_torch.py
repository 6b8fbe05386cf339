"""The other side of the benchmark `training`: PyTorch on the same weights, batches and steps. `train_torch.py FOLDER`; for each
line on standard input it trains from the beginning, and writes losses and times as a line of JSON.
"""

import json
import struct
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

torch.set_num_threads(2)
torch.set_num_interop_threads(1)
torch.set_flush_denormal(True)
folder = Path(sys.argv[1])
config = json.loads((folder / "model/config.json").read_text())
work = json.loads((folder / "work.json").read_text())
options = work["optimiser"]
HEADS, DIM = config["num_attention_heads"], config["head_dim"]
assert config["num_key_value_heads"] == HEADS and config["tie_word_embeddings"]


def load(path):
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    tensors = {}
    for name, entry in json.loads(data[8 : 8 + size]).items():
        if name != "__metadata__":
            begin, end = (8 + size + offset for offset in entry["data_offsets"])
            tensors[name] = torch.frombuffer(bytearray(data[begin:end]), dtype=torch.float32).reshape(entry["shape"])
    return tensors


class Batch:
    def __init__(self, batch):
        rows, length = batch["rows"], batch["length"]
        self.tokens = torch.tensor(batch["tokens"]).reshape(rows, length)
        frequencies = config["rope_theta"] ** (-torch.arange(0, DIM, 2, dtype=torch.float64) / DIM)
        angles = torch.tensor(batch["positions"], dtype=torch.float64).reshape(rows, 1, length, 1) * frequencies
        self.cos, self.sin = (f(torch.cat([angles, angles], -1)).float() for f in (torch.cos, torch.sin))
        segments = torch.tensor(batch["segments"]).reshape(rows, length)
        same = segments[:, :, None] == segments[:, None, :]
        self.mask = (same & torch.ones(length, length, dtype=torch.bool).tril())[:, None]
        places, tokens, weights = zip(*batch["targets"])
        self.places, self.targets = torch.tensor(places), torch.tensor(tokens)
        self.weights = torch.tensor(weights) / sum(weights)


def loss(w, batch):
    width, eps = config["hidden_size"], config["rms_norm_eps"]
    rows, length = batch.tokens.shape

    def heads(x, weight):
        return F.linear(x, weight).view(rows, length, HEADS, DIM).transpose(1, 2)

    def turn(x):
        a, b = x.chunk(2, -1)
        return x * batch.cos + torch.cat([-b, a], -1) * batch.sin

    x = F.embedding(batch.tokens, w["model.embed_tokens.weight"])
    for layer in range(config["num_hidden_layers"]):
        own = lambda name: w[f"model.layers.{layer}.{name}.weight"]
        h = F.rms_norm(x, (width,), own("input_layernorm"), eps)
        q, k = (turn(heads(h, own(f"self_attn.{name}_proj"))) for name in "qk")
        attended = F.scaled_dot_product_attention(q, k, heads(h, own("self_attn.v_proj")), attn_mask=batch.mask)
        x = x + F.linear(attended.transpose(1, 2).reshape(rows, length, HEADS * DIM), own("self_attn.o_proj"))
        h = F.rms_norm(x, (width,), own("post_attention_layernorm"), eps)
        x = x + F.linear(F.silu(F.linear(h, own("mlp.gate_proj"))) * F.linear(h, own("mlp.up_proj")), own("mlp.down_proj"))
    x = F.rms_norm(x.reshape(rows * length, width)[batch.places], (width,), w["model.norm.weight"], eps)
    logits = F.linear(x, w["model.embed_tokens.weight"])
    return (F.cross_entropy(logits, batch.targets, reduction="none") * batch.weights).sum()


def train(tensors, batches):
    w = {name: tensor.clone().requires_grad_() for name, tensor in tensors.items()}
    groups = [
        {"params": [p for p in w.values() if p.dim() > 1], "weight_decay": options["weight_decay"]},
        {"params": [p for p in w.values() if p.dim() == 1], "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, betas=(options["beta1"], options["beta2"]), eps=options["epsilon"], fused=True)
    losses, began, before = [], time.perf_counter(), time.process_time()
    for batch, rate in zip(batches, work["rates"]):
        for group in adam.param_groups:
            group["lr"] = rate
        adam.zero_grad(set_to_none=True)
        value = loss(w, batch)
        value.backward()
        torch.nn.utils.clip_grad_norm_(w.values(), options["clip"])
        adam.step()
        losses.append(value.item())
    return {"losses": losses, "seconds": time.perf_counter() - began, "cpu": time.process_time() - before}


tensors, batches = load(folder / "model/model.safetensors"), [Batch(batch) for batch in work["batches"]]
for _ in sys.stdin:
    print(json.dumps(train(tensors, batches)), flush=True)
