"""Documents do not lie: links lead somewhere, configurations load, generated files are current."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from docs.config_reference import config_reference
from llamaswap.config.load import load_config
from tests.documents import LINK, ROOT, Block, blocks, documents

LANGUAGES = {"", "sh", "yaml", "yaml compose", "yaml prometheus", "json", "text", "http", "mermaid"}
CONFIGURATIONS = [block for block in blocks() if block.language == "yaml"]
OTHER_YAML = [block for block in blocks() if block.language.startswith("yaml ")]


class AnyVariable(dict[str, str]):
    """An environment in which every variable is set."""

    def __missing__(self, name: str) -> str:
        return f"value-of-{name}"

    def __contains__(self, name: object) -> bool:
        return True

    def get(self, name: str, default: object = None) -> str:
        return self[name]


@pytest.mark.parametrize("block", CONFIGURATIONS, ids=str)
def test_every_configuration_loads_without_a_doubt(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "shown.yaml"
    path.write_text(block.text, encoding="utf-8")
    environ: Mapping[str, str] = AnyVariable()
    loaded = load_config(path, None, environ=environ)
    assert loaded.warnings == ()
    config = loaded.config
    assert config.models or config.api_keys or config.peers or config.routing.scheduler


@pytest.mark.parametrize("block", OTHER_YAML, ids=str)
def test_other_yaml_is_yaml(block: Block) -> None:
    assert isinstance(yaml.safe_load(block.text), dict)


@pytest.mark.parametrize("block", list(blocks()), ids=str)
def test_every_block_is_of_a_kind_that_is_tested(block: Block) -> None:
    assert block.language in LANGUAGES


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("mailto:"):
            assert (path.parent / target).exists(), f"{path}: {target}"


def test_the_configuration_reference_is_current() -> None:
    written = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert written == config_reference(), "run: make docs"


def test_the_index_names_every_document() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for path in (ROOT / "docs").glob("*.md"):
        assert path.name == "README.md" or f"]({path.name})" in index, path.name


def test_every_command_is_documented() -> None:
    from llamaswap.commands.table import COMMANDS

    text = "\n".join(path.read_text(encoding="utf-8") for path in documents())
    hidden = {"completion-models"}
    for word in COMMANDS.keys() - hidden:
        assert f"llamaswap {word}" in text or f"`{word}" in text, word
