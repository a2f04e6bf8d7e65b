"""From what a folder holds to the configuration's text: plan for this machine's memory, write."""

from __future__ import annotations

from llamaswap.models_folder.folder import Folder
from llamaswap.models_folder.memory import Memory, find_memory
from llamaswap.models_folder.plan import make_plan
from llamaswap.models_folder.starting_config import config_text


def generate(folder: Folder, server: str, memory: Memory | None = None) -> str:
    """The YAML for `folder`; `memory`: what there is, None to find out."""
    memory = memory or find_memory()
    return config_text(folder, make_plan(folder.models, memory.size), memory, server)
