"""Origin of a network: the search from pretrained weights that found it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.search.config import SearchConfig
from nas.search.record import read_earlier
from vbs.json_text import parse_json

DEPTH = 4  # most parent folders of a file that may contain search.json


@dataclass(frozen=True)
class Origin:
    """A search from pretrained weights.

    folder   folder of the search, with its search.json.
    config   options of the search.
    teacher  file of the fine-tuned parent.
    source   file of the weights that its networks inherited: those of the teacher, or of the
             teacher trained together with its sub-networks.
    """

    folder: Path
    config: SearchConfig
    teacher: Path
    source: Path


def origin_of(path: str | Path) -> Origin | None:
    """Return the search from pretrained weights that wrote a file; None if there is none.

    path  best.json or best.safetensors of the search, of a target, or of one of its trainings.

    Raises ValueError if the weights of the teacher are missing.
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
                    f"{each}, the weights of the teacher of {folder}, is missing; repeat the "
                    "search to train the teacher again, or use --parent SOURCE"
                )
        return Origin(folder, config, weights, source)
    return None


def _teacher(path: Path) -> Mapping[str, Any] | None:
    """Return the teacher in the record of a search; None if there is none."""
    try:
        teacher = parse_json(path.read_bytes())["outcome"]["teacher"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return teacher if isinstance(teacher, dict) and "weights" in teacher else None
