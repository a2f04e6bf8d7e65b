"""Which files make up the configuration, and their text.

Source: config §1.5.
"""

from __future__ import annotations

import codecs
import os
from pathlib import Path

from attrs import frozen

from llamaswap.config.problems import ConfigInvalid, Place, Problem

SUFFIXES = (".yml", ".yaml")


@frozen
class Source:
    """One file, under the name an operator would write."""

    name: str
    path: Path


def find(config: Path | None, config_dir: Path | None, problems: list[Problem]) -> list[Source]:
    """The files to read, in the order to merge them; E-CLI-NOSRC and E-DIR-… go to `problems`."""
    if config is None and config_dir is None:
        text = "no configuration: give a file with -config or a directory with -config-dir"
        problems.append(Problem("E-CLI-NOSRC", text))
    paths = [] if config is None else [config]
    if config_dir is not None:
        try:
            members = list_directory(config_dir)
            if config is not None:
                _refuse_overlap(config, config_dir, members)
        except ConfigInvalid as error:
            problems.extend(error.problems)
            members = []
        paths += members
        if not paths and not problems:
            text = f"the directory {config_dir} holds no *.yml or *.yaml file"
            problems.append(Problem("E-DIR-EMPTY", text, (), Place(str(config_dir), None)))
    return [Source(str(path), path) for path in paths]


def list_directory(directory: Path) -> list[Path]:
    """The configuration files directly in `directory`, sorted.

    Raises:
        ConfigInvalid: E-DIR-READ.
    """
    try:
        names = [path.name for path in directory.iterdir() if path.name.endswith(SUFFIXES)]
    except OSError as error:
        text = f"cannot read the configuration directory {directory}: {error.strerror}"
        raise _invalid("E-DIR-READ", text, str(directory)) from error
    paths = [directory / name for name in sorted(names)]
    return [path for path in paths if not path.is_dir()]


def read(source: Source) -> str:
    """The text of one file.

    Raises:
        ConfigInvalid: E-FILE-READ, or E-FILE-YAML if it is not UTF-8.
    """
    try:
        data = source.path.read_bytes()
    except OSError as error:
        text = f"cannot read the configuration file {source.name}: {error.strerror}"
        raise _invalid("E-FILE-READ", text, source.name) from error
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        text = f"this is not valid YAML: byte {data[error.start]:#04x} is not UTF-8"
        raise _invalid("E-FILE-YAML", text, source.name, line) from error


def _refuse_overlap(config: Path, directory: Path, members: list[Path]) -> None:
    for member in members:
        if _same(config, member):
            text = (
                f"the file {config} given with -config is also one of the directory {directory} "
                "given with -config-dir; give only the directory or move the file"
            )
            raise _invalid("E-DIR-OVERLAP", text, str(config))


def _same(one: Path, other: Path) -> bool:
    # normalised without following links too: `link/../d` is meant to be `d`
    if os.path.abspath(one) == os.path.abspath(other):  # noqa: PTH100  # resolve() follows links
        return True
    return one.resolve() == other.resolve()


def _invalid(
    code: str, text: str, file: str | None = None, line: int | None = None
) -> ConfigInvalid:
    return ConfigInvalid((Problem(code, text, (), Place(file, line)),))
