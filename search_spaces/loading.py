"""Loading of architectures by name or from JSON files."""

from __future__ import annotations

from pathlib import Path

from search_spaces.architecture import Architecture
from search_spaces.catalog import NETWORKS, zoo
from vbs.json_text import parse_json

MOST_TRIED = 20  # JSON files of a folder that are read to find an architecture


def load(text: str) -> Architecture:
    """Return an architecture from the zoo or from a JSON file.

    text  name of a network in the zoo, or path of a JSON file: an architecture, the best.json of a
          search, or the run.json of a training.

    Raises ValueError for an unknown name, and for a file that contains no architecture.
    """
    path = Path(text)
    if not path.is_file():
        if path.suffix == ".json":
            raise ValueError(f"{text} does not exist")
        if path.is_dir() and text not in NETWORKS:
            raise ValueError(f"{text} is a folder; {_advice(path)}")
        return zoo(text)
    if path.suffix == ".safetensors":
        raise ValueError(f"{text}: holds weights; {_advice(path.parent)}")
    try:
        fields = parse_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{text}: cannot be read as JSON ({error})") from None
    if isinstance(fields, dict) and isinstance(fields.get("training"), dict):
        fields = fields["training"]  # of run.json
    if isinstance(fields, dict) and "architecture" in fields:
        fields = fields["architecture"]
    if fields is None:
        raise ValueError(f"{text}: holds choices of a search space, but no Architecture")
    try:
        return Architecture.from_dict(fields)
    except ValueError as error:
        raise ValueError(f"{text}: {error}") from None


def _advice(folder: Path) -> str:
    """Return advice that suggests a file of the folder that `load` can read, if there is one."""
    first = [folder / name for name in ("best.json", "run.json")]
    for path in dict.fromkeys([*first, *sorted(folder.glob("*.json"))[:MOST_TRIED]]):
        try:
            if path.is_file():
                load(str(path))
                return f"use the file of an architecture, such as {path}"
        except (ValueError, OSError):
            continue
    return f"use the JSON file of an architecture ({folder} contains none)"
