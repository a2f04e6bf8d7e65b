"""A real llama.cpp HTTP server.

`python llama_server.py MODEL.gguf PORT [embedding]`, or with the flags of llama-server that a
generated configuration uses.
"""

import sys
import time

import xllamacpp

words = sys.argv[1:]


def value(flag: str) -> str:
    return words[words.index(flag) + 1]


params = xllamacpp.CommonParams()
if "--model" in words:
    params.model.path = value("--model")
    params.port = int(value("--port"))
else:
    params.model.path = words[0]
    params.port = int(words[1])
params.n_ctx = 2048
params.n_parallel = 4
params.cpuparams.n_threads = 1
params.warmup = False
if "embedding" in words or "--embedding" in words:
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
while True:
    time.sleep(3600)
