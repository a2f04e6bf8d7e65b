"""A real llama.cpp HTTP server: `python llama_server.py MODEL.gguf PORT [embedding]`."""

import sys
import time

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.port = int(sys.argv[2])
params.n_ctx = 2048
params.n_parallel = 4
params.cpuparams.n_threads = 1
params.warmup = False
if "embedding" in sys.argv[3:]:
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
while True:
    time.sleep(3600)
