"""A server of a GGUF file: llama.cpp's own, from the wheel `xllamacpp` on PyPI, for trying the LLM proxy with a real model.

    pip install xllamacpp
    python examples/serve_gguf.py MODEL.gguf [PORT]

Prints its base URL once the model answers, and serves until its standard input ends or it is interrupted. A port of 0, which
is what it takes if none is given, is any that is free. `tests/python/fetch_weights.py` gets a small model.
"""

import sys

import xllamacpp

if len(sys.argv) not in (2, 3):
    sys.exit(__doc__)
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.model_alias = {"gguf"}

params.port = int(sys.argv[2]) if len(sys.argv) == 3 else 0
# Four conversations at once, of 4 096 tokens each.
params.n_parallel = 4
params.n_ctx = 4 * 4096
params.n_gpu_layers = 0
params.warmup = False
server = xllamacpp.Server(params)
print(f"{server.listening_address}/v1", flush=True)
try:
    sys.stdin.read()
except KeyboardInterrupt:
    pass
