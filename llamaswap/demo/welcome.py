"""What a newcomer reads at the start of the demo."""

from __future__ import annotations

TEXT = """
llamaswap serves three built-in demo models on {url}

Load a model and stream its answer (the first answer waits about a second for the load):

  curl -N {url}/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{{"model":"demo-small","stream":true,"messages":[{{"role":"user","content":"Hello"}}]}}'

Ask for another one: demo-small is stopped, demo-large takes its place (about four seconds):

  curl -N {url}/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{{"model":"demo-large","stream":true,"messages":[{{"role":"user","content":"Hello"}}]}}'

See what runs:

  curl {url}/running

In a browser: {url}/ui/   Your own models: python -m llamaswap -config config.yaml
"""


def welcome(url: str) -> str:
    """The text, with the address that is served."""
    return TEXT.format(url=url)
