"""Loading of architectures by name or from JSON files."""

from __future__ import annotations

from pathlib import Path

from search_spaces.architecture import Architecture
from search_spaces.catalog import NETWORKS, zoo
from vbs.json_text import parse_json


def load(text: str) -> Architecture:
    """Return the architecture that a name of the zoo or a JSON file gives.

    The file is an architecture or the best.json of a search. Raises ValueError for an unknown
    name, and for a file that contains no architecture.
    """
    path = Path(text)
    if not path.is_file():
        if path.suffix == ".json":
            raise ValueError(f"{text} does not exist")
        if path.is_dir() and text not in NETWORKS:
            raise ValueError(f"{text} is a folder; name a file in it, such as {path / 'best.json'}")
        return zoo(text)
    try:
        fields = parse_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{text}: cannot be read as JSON ({error})") from None
    if isinstance(fields, dict) and "architecture" in fields:
        fields = fields["architecture"]
    if fields is None:
        raise ValueError(f"{text}: holds choices of a search space, but no Architecture")
    try:
        return Architecture.from_dict(fields)
    except ValueError as error:
        raise ValueError(f"{text}: {error}") from None
