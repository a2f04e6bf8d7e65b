"""What the demo says."""

from __future__ import annotations

import re

TEXT = (
    "Hello from {model}. I am a built-in demonstration: no weights, no GPU, only words at a "
    "steady pace. You said: “{prompt}”. While I talk, ask for another model in a second "
    "terminal: its request waits until I have finished, then I am stopped and the other one is "
    "started. That is all there is to swapping."
)


def words_for(model: str, prompt: str, limit: int) -> list[str]:
    """The answer in pieces of one word with its space, at most `limit` of them."""
    shown = prompt if len(prompt) <= 80 else prompt[:77] + "…"
    return re.findall(r"\S+\s*", TEXT.format(model=model, prompt=shown))[:limit]
