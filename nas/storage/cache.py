"""Cache of the results of expensive evaluations: one small JSON file each, in a shared folder.

A result is found again by everything that it depends on (network, data, recipe, seed, fidelity):
the caller puts that into a mapping, `key_of` makes the file's name of it. Files are written
atomically, so any number of processes and machines may use one folder; a damaged file counts as
a missing one, and is written again.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nas.evaluators.base import Answer, Point
from search_spaces.architecture import Architecture
from search_spaces.space import SearchSpace
from vbs.folder import write_json
from vbs.json_text import parse_json
from vbs.text import quoted

VERSION = 1  # of the files; others count as missing


def network_key(space: SearchSpace, genotype: np.ndarray) -> str:
    """12 hex digits for the network of a genotype [decisions], equal wherever it comes from.

    What is no Architecture is known by its space and choices instead.
    """
    network = space.decode(genotype)
    if isinstance(network, Architecture):
        return network.key
    choices = {name: plain(option) for name, option in space.choices_of(genotype).items()}
    return key_of({"space": space.name, "settings": space.settings, "choices": choices})[:12]


def plain(option: Any) -> Any:
    """An option of a decision as databases and JSON keep it."""
    return option if isinstance(option, bool | int | float | str | None) else str(option)


def key_of(content: Mapping[str, Any]) -> str:
    """64 hex digits for a mapping of JSON values (others by their text), whatever its order."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def default_folder() -> Path:
    """Where results are kept unless the user says otherwise."""
    caches = os.environ.get("XDG_CACHE_HOME", "")
    # relative ones are to be ignored (XDG base directory specification)
    base = Path(caches) if os.path.isabs(caches) else Path.home() / ".cache"
    return base / "vision-baseline-search" / "results"


class Cache:
    """Answers by key, in a folder that is made when the first is put in.

    Keys are those of `key_of`; any other is a ValueError, since it becomes a path.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = default_folder() if folder is None else Path(folder)

    def path(self, key: str) -> Path:
        """The file of a key, in one of 256 folders."""
        if not re.fullmatch(r"[0-9a-f]{64}", key):
            raise ValueError(f"cache: {quoted(key)} is no key; make one by key_of")
        return self.folder / key[:2] / f"{key[2:]}.json"

    def get(self, key: str) -> Answer | None:
        """The answer kept under a key; None where there is none that can be read."""
        try:
            content = parse_json(self.path(key).read_bytes())
        except (OSError, ValueError):
            if not re.fullmatch(r"[0-9a-f]{64}", key):
                raise
            return None
        return _answer_of(content)

    def put(self, key: str, answer: Answer) -> bool:
        """Keep an answer, and whether that was done: failures are not kept, nor is anything
        where the folder cannot be written (a full disk costs time later, not this search)."""
        if answer.error or not math.isfinite(answer.accuracy):
            return False
        path = self.path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, _content_of(answer))
        except OSError:
            return False
        return True


def _content_of(answer: Answer) -> dict[str, Any]:
    return {
        "version": VERSION,
        "accuracy": answer.accuracy,
        "std": answer.std if math.isfinite(answer.std) else None,
        "seconds": answer.seconds,
        "fidelity": answer.fidelity,
        "curve": [list(point) for point in answer.curve],
        "images": answer.images,
    }


def _answer_of(content: Any) -> Answer | None:
    """What `_content_of` wrote; None where it is anything else."""
    try:
        if content["version"] != VERSION:
            return None
        numbers = [content["accuracy"], content["seconds"], content["fidelity"]]
        accuracy, seconds, fidelity = map(_number, numbers)
        std = math.nan if content["std"] is None else _number(content["std"])
        images = int(_number(content.get("images", 0)))  # not in files of earlier versions
        curve = tuple(
            Point(int(_number(step)), _number(reached), _number(spent))
            for step, reached, spent in content["curve"]
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return Answer(accuracy, std=std, seconds=seconds, curve=curve, fidelity=fidelity, images=images)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{quoted(value)} is no number")
    return float(value)
