"""The configuration that runs when none is given: three built-in models."""

from __future__ import annotations

import shlex

TEXT = """\
# The built-in demo: small servers that pretend to be models. No GPU, no download.
healthCheckTimeout: 30
logLevel: info
models:
  demo-small:
    name: Demo, small
    description: loads in 1 s, 60 tokens/s
    cmd: {python} -m llamaswap.demo --port ${{PORT}} --model demo-small --load-seconds 1 --rate 60
    ttl: 300
  demo-large:
    name: Demo, large
    description: loads in 4 s, 20 tokens/s; takes the place of demo-small
    cmd: {python} -m llamaswap.demo --port ${{PORT}} --model demo-large --load-seconds 4 --rate 20
    ttl: 300
  demo-embed:
    name: Demo, embeddings
    description: loads in 0.5 s and runs beside the others
    cmd: {python} -m llamaswap.demo --port ${{PORT}} --model demo-embed --load-seconds 0.5
    ttl: 300
groups:
  chat:
    members: [demo-small, demo-large]
    exclusive: false
  beside:
    members: [demo-embed]
    exclusive: false
"""


def demo_config_text(python: str) -> str:
    """The demo's YAML; `python`: the interpreter its servers run on."""
    return TEXT.format(python=shlex.quote(python))
