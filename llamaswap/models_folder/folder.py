"""Finding the models of a folder: split files together, projectors with their models."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from attrs import evolve, frozen

from llamaswap.errors import LlamaswapError
from llamaswap.models_folder.gguf_header import NotGguf, read_header
from llamaswap.models_folder.model_file import ModelFile, describe

PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)

QUANTISATION = re.compile(
    r"[-_.](?:UD-)?(?:I?Q\d[A-Z0-9_]*|TQ\d_\d|BF16|F16|F32|FP16|MXFP4(?:_MOE)?)$", re.IGNORECASE
)
PARTS = re.compile(r"-\d{5}-of-\d{5}$", re.IGNORECASE)
ALIKE = 4
"""Leading letters two names must share to be of one family."""
UNUSABLE = re.compile(r"[\x00-\x1f\x7f]|\$\{")
"""Control characters end a line of the file; `${` begins a macro there."""


class NoSuchFolder(LlamaswapError):
    """The folder is not there or cannot be read."""


@frozen
class Folder:
    """What was found."""

    path: Path
    models: tuple[ModelFile, ...]
    """Sorted by path; without projectors, which are with their models."""
    passed_over: tuple[str, ...]
    """Files that are not served, each with the reason."""


def scan(folder: Path, on_file: Callable[[Path], None] = lambda path: None) -> Folder:
    """Look at every `*.gguf` below `folder`; symbolic links to files are followed.

    `on_file` is called before each is read. Raises NoSuchFolder.
    """
    if not folder.is_dir():
        raise NoSuchFolder(f"{folder} is no folder; name the one your *.gguf files lie in")
    found: list[ModelFile] = []
    problems: list[str] = []
    for paths in _bundles(_files(folder.absolute(), problems), problems):
        on_file(paths[0])
        try:
            headers = tuple(read_header(path) for path in paths)
            found.append(describe(paths, headers))
        except (NotGguf, OSError) as exc:
            problems.append(str(exc))
    projectors = [model for model in found if model.kind == "projector"]
    models = [model for model in found if model.kind != "projector"]
    return Folder(folder, tuple(_paired(models, projectors, problems)), tuple(problems))


def _files(folder: Path, problems: list[str]) -> list[Path]:
    """Every GGUF file, sorted; hidden folders (caches of tools) are left alone."""
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            Path(place, name)
            for name in names
            if name.lower().endswith(".gguf") and not name.startswith(".")
        ]
    unusable = [path for path in found if UNUSABLE.search(str(path))]
    problems += [f"{str(path)!r}: no command can name it, because of its path" for path in unusable]
    return sorted(path for path in found if path not in unusable and path.is_file())


def _bundles(files: Iterable[Path], problems: list[str]) -> Iterator[tuple[Path, ...]]:
    """Single files, and all parts of split ones; those with parts missing are passed over."""
    parts: dict[tuple[Path, int], dict[int, Path]] = {}
    for path in files:
        match = PART.fullmatch(path.name)
        if match is None:
            yield (path,)
            continue
        bundle = (path.with_name(match["stem"]), int(match["count"]))
        parts.setdefault(bundle, {})[int(match["number"])] = path
    for (stem, count), numbered in parts.items():
        missing = [number for number in range(1, count + 1) if number not in numbered]
        if missing:
            problems.append(
                f"{stem}: parts {', '.join(map(str, missing[:10]))} of {count} are missing"
            )
        else:
            yield tuple(numbered[number] for number in range(1, count + 1))


def _paired(
    models: Iterable[ModelFile], projectors: list[ModelFile], problems: list[str]
) -> Iterator[ModelFile]:
    """Every model, with the projector that lies beside it and was made for it."""
    ordered = sorted(models, key=lambda model: model.path)
    used: set[Path] = set()
    for model in ordered:
        near = [item for item in projectors if _belongs(item, model, ordered)]
        if not near:
            yield model
            continue
        best = max(near, key=lambda projector: (_likeness(model, projector), -projector.size))
        used.add(best.path)
        yield evolve(model, projector=best)
    problems += [
        f"{projector.path}: a projector without its model beside it"
        for projector in projectors
        if projector.path not in used
    ]


def _belongs(projector: ModelFile, model: ModelFile, models: Iterable[ModelFile]) -> bool:
    """Same folder, same width, and a name that begins alike, or no name among one family."""
    if model.kind != "chat" or projector.path.parent != model.path.parent:
        return False
    if projector.width and model.width and projector.width != model.width:
        return False
    if _likeness(model, projector) >= ALIKE:
        return True
    family = {
        _family(other)
        for other in models
        if other.kind == "chat" and other.path.parent == model.path.parent
    }
    return not QUANTISATION.sub("", f"-{_own_name(projector)}").strip("-") and len(family) == 1


def _family(model: ModelFile) -> str:
    """The name without quantisation and part."""
    return QUANTISATION.sub("", PARTS.sub("", model.path.stem)).lower()


def _own_name(projector: ModelFile) -> str:
    """What follows `mmproj-` or `mmproj-model-`."""
    return re.sub(r"^mmproj[-_.]?(model[-_.]?)?", "", projector.path.stem.lower())


def _likeness(model: ModelFile, projector: ModelFile) -> int:
    """How many leading letters of the names agree."""
    pairs = zip(model.path.stem.lower(), _own_name(projector), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
