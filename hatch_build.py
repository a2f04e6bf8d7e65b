"""Put the built web UI into wheels: build it with npm if it is not there.

An editable install is left alone (`make ui` builds it). LLAMASWAP_NO_UI=1 packages without it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class UiBuildHook(BuildHookInterface):  # type: ignore[type-arg]  # its generic is hatchling's own
    """See the module."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build before files are collected."""
        del build_data
        root = Path(self.root)
        built = (root / "llamaswap" / "_web" / "manifest.json").exists()
        if version == "editable" or built or os.environ.get("LLAMASWAP_NO_UI") == "1":
            return
        npm = shutil.which("npm")
        if npm is None:
            raise RuntimeError(
                "the web UI is not built and npm is not installed: install Node 20.19 or newer, "
                "or set LLAMASWAP_NO_UI=1 to package without the UI"
            )
        for step in (("ci",), ("run", "build")):
            subprocess.run([npm, *step], cwd=root / "web", check=True)  # noqa: S603  # npm's own path
