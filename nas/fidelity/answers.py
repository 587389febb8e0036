"""What comparisons of fidelities found, kept for searches: `--fidelity auto`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.evaluators.proxy import Fidelity
from nas.storage.cache import default_folder, key_of
from search_spaces.space import SearchSpace
from train.files import write_json
from train.recipe import Recipe

VERSION = 1  # of the files; others count as missing


def recommended(digests: Mapping[str, str], space: SearchSpace, recipe: Recipe) -> Fidelity | None:
    """What the last comparison on this machine found for equal data, space and recipe.

    digests  of the data, as in `train.data.Data.settings` or `train.survey.Survey`.
    recipe   before it is fitted to a fidelity; its seed does not matter.

    None where there was no comparison, or nothing was worth using. The limits of the search do not
    count: the comparison should have been made within similar ones.
    """
    try:
        content = json.loads(path_of(digests, space, recipe).read_bytes())
        if content["version"] != VERSION or content["fidelity"] is None:
            return None
        return Fidelity.parse(content["fidelity"], epochs=recipe.epochs)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def remember(
    found: Fidelity | None, digests: Mapping[str, str], space: SearchSpace, recipe: Recipe,
    *, details: Mapping[str, Any],
) -> Path:  # fmt: skip
    """Keep an answer for `recommended`, with details for a reader; the file. Raises OSError."""
    path = path_of(digests, space, recipe)
    path.parent.mkdir(parents=True, exist_ok=True)
    fidelity = None if found is None else str(found)
    write_json(path, {"version": VERSION, "fidelity": fidelity, **details})
    return path


def path_of(digests: Mapping[str, str], space: SearchSpace, recipe: Recipe) -> Path:
    """The file of an answer, beside the results that searches share."""
    fields = recipe.to_dict()
    for unimportant in ("name", "seed"):
        del fields[unimportant]
    content = {
        "digests": dict(digests), "space": space.name, "settings": space.settings,
        "choices": space.choices, "recipe": fields,
    }  # fmt: skip
    return default_folder().with_name("fidelity") / f"{key_of(content)}.json"
