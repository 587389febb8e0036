"""Identity of a study: settings that all its drivers share, stored as the study's attributes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nas.objective import Objective
from nas.storage.cache import plain
from nas.storage.database import Database, StudyLost
from nas.storage.optuna_tables import find_study, study_attributes
from search_spaces.space import SearchSpace
from vbs.text import quoted

# names of further attributes; they contain spaces, and names of the caller's settings do not
SPACE, OBJECTIVE = "search space", "search objective"


@dataclass(frozen=True)
class SearchIdentity:
    """Space, objective and settings that all drivers of a study share.

    settings  JSON values, with names without spaces.
    """

    space: SearchSpace
    objective: Objective
    settings: Mapping[str, Any] = field(default_factory=dict)

    def attributes(self) -> dict[str, Any]:
        """Return the user attributes of the study, as they are read back from the database."""
        space = self.space
        choices = {key: [plain(option) for option in all] for key, all in space.choices.items()}
        wanted = {
            **self.settings,
            SPACE: {"name": space.name, "settings": space.settings, "choices": choices},
            OBJECTIVE: described(self.objective),
        }
        found: dict[str, Any] = json.loads(json.dumps(wanted, default=str))
        return found


def described(objective: Objective) -> dict[str, Any]:
    """Return the objective as plain data; without `also` if unused, as in earlier versions."""
    fields = dataclasses.asdict(objective)
    return fields if objective.also else {k: v for k, v in fields.items() if k != "also"}


def read_settings(storage: str, name: str) -> dict[str, Any]:
    """Return the settings of a study, for a driver that joins it by its name.

    Raises ValueError if there is no study of that name, or the database cannot be used.
    """
    database = Database(storage)
    try:
        study = database.read(lambda c: find_study(c, name))
        if study is None:
            raise ValueError(f"storage: {database.shown} holds no study {quoted(name)}")
        found = database.read(lambda c: study_attributes(c, study))
    except StudyLost as error:
        raise ValueError(str(error)) from None
    finally:
        database.close()
    return {key: value for key, value in found.items() if key not in (SPACE, OBJECTIVE)}


def check_settings(name: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise ValueError if a study was created with other settings, with the setting's name."""
    if SPACE not in found:
        raise ValueError(f"storage: study {quoted(name)} was not created by nas.search")
    for key in dict.fromkeys([*wanted, *found]):
        there, here = found.get(key), wanted.get(key)
        if there == here:
            continue
        if isinstance(there, dict) and isinstance(here, dict):  # report only the entry that differs
            part = next(part for part in {**there, **here} if there.get(part) != here.get(part))
            key, there, here = f"{key} ({part})", there.get(part), here.get(part)
        there, here = (json.dumps(value)[:200] for value in (there, here))
        raise ValueError(
            f"resume: study {quoted(name)} has another {key}: {there} in the study, {here} here"
        )
