"""A cache of results of expensive evaluations: one small JSON file for each, in a shared folder.

The key of a result depends on everything that determines it (network, data, recipe, seed,
fidelity): the caller puts these into a mapping, and `key_of` returns their hash. Files are written
atomically, so any number of processes and machines can use one folder. A damaged file counts as
missing and is written again.
"""

from __future__ import annotations

import hashlib
import json
import math
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
from vbs.paths import cache_folder
from vbs.text import quoted

VERSION = 1  # format of the files; files of another version count as missing


def network_key(space: SearchSpace, genotype: np.ndarray) -> str:
    """Return 12 hex digits that identify the network of a genotype [decisions].

    Equal networks of different spaces have the same key. A network that is not an Architecture is
    identified by its space and choices.
    """
    network = space.decode(genotype)
    if isinstance(network, Architecture):
        return network.key
    choices = {name: plain(option) for name, option in space.choices_of(genotype).items()}
    return key_of({"space": space.name, "settings": space.settings, "choices": choices})[:12]


def plain(option: Any) -> Any:
    """Return an option of a decision as a value for databases and JSON."""
    return option if isinstance(option, bool | int | float | str | None) else str(option)


def key_of(content: Mapping[str, Any]) -> str:
    """Return 64 hex digits that identify a mapping, independent of its order.

    Values that JSON does not support are replaced by their text.
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def default_folder() -> Path:
    """Return the default folder of the cache."""
    return cache_folder() / "results"


class Cache:
    """Results by key in a folder, which is created when the first one is stored.

    Keys must come from `key_of`, because they become paths; other keys raise ValueError.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = default_folder() if folder is None else Path(folder)

    def path(self, key: str) -> Path:
        """Return the file of a key, in one of 256 folders."""
        if not re.fullmatch(r"[0-9a-f]{64}", key):
            raise ValueError(f"cache: {quoted(key)} is not a key; use key_of")
        return self.folder / key[:2] / f"{key[2:]}.json"

    def get(self, key: str) -> Answer | None:
        """Return the result of a key; None if there is none that can be read."""
        try:
            content = parse_json(self.path(key).read_bytes())
        except (OSError, ValueError):
            if not re.fullmatch(r"[0-9a-f]{64}", key):
                raise
            return None
        return _answer_of(content)

    def put(self, key: str, answer: Answer) -> bool:
        """Store a result; return whether it was stored.

        Failures are not stored. A folder that cannot be written, for example on a full disk, is
        not an error: the cache only saves time.
        """
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
    """Return the result that `_content_of` wrote; None for any other content."""
    try:
        if content["version"] != VERSION:
            return None
        numbers = [content["accuracy"], content["seconds"], content["fidelity"]]
        accuracy, seconds, fidelity = map(_number, numbers)
        std = math.nan if content["std"] is None else _number(content["std"])
        images = int(_number(content.get("images", 0)))  # missing in files of earlier versions
        curve = tuple(
            Point(int(_number(step)), _number(reached), _number(spent))
            for step, reached, spent in content["curve"]
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return Answer(accuracy, std=std, seconds=seconds, curve=curve, fidelity=fidelity, images=images)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{quoted(value)} is not a number")
    return float(value)
