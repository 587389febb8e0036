"""The search from pretrained weights that a network was found by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.search.config import SearchConfig
from nas.search.record import read_earlier
from vbs.json_text import parse_json

DEPTH = 4  # folders between a file of a search and its search.json, at most


@dataclass(frozen=True)
class Origin:
    """A search from pretrained weights.

    folder   of the search, with its search.json.
    config   of the search: images, recipe.
    teacher  the file of the fine-tuned parent.
    source   the file of the weights that its networks inherited: the teacher's, or those that were
             trained together with sub-networks.
    """

    folder: Path
    config: SearchConfig
    teacher: Path
    source: Path


def origin_of(path: str | Path) -> Origin | None:
    """The search that a file is a result of; None where it is that of no such search.

    path  best.json or best.safetensors of the search, of a target, or of one of its trainings.

    Raises ValueError where the weights of the teacher are no longer there.
    """
    if not Path(path).is_file():
        return None
    for folder in list(Path(path).resolve().parents)[:DEPTH]:
        teacher = _teacher(folder / "search.json")
        if teacher is None:
            continue
        config = read_earlier(folder, {}).config
        weights = (folder / str(teacher["weights"])).resolve()
        source = weights
        if config.elastic:
            source = weights.parent.parent / f"elastic-{config.elastic}" / weights.name
        for each in (weights, source):
            if not each.is_file():
                raise ValueError(
                    f"{each} is not there, the weights of the teacher of {folder}; repeat the "
                    "search to train it again, or give --parent SOURCE"
                )
        return Origin(folder, config, weights, source)
    return None


def _teacher(path: Path) -> Mapping[str, Any] | None:
    """The teacher of a search's record; None where there is none."""
    try:
        teacher = parse_json(path.read_bytes())["outcome"]["teacher"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return teacher if isinstance(teacher, dict) and "weights" in teacher else None
