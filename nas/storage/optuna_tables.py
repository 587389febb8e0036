"""Functions that read and write Optuna's tables in an open transaction.

They write the same rows as Optuna's storage (5.0, optuna/storages/_rdb), but several in one
transaction. Optuna checks the version of the tables when a database is opened.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nas.evaluators.base import Point

if TYPE_CHECKING:
    from sqlalchemy import Connection

ENDED = "trials ended"  # system attribute of a study: order of the next trial that ends


class Tables(NamedTuple):
    """Optuna's tables under short names, and the states of trials."""

    studies: Any
    directions: Any
    study_attributes: Any
    study_system: Any
    trials: Any
    params: Any
    attributes: Any
    system: Any
    values: Any
    points: Any
    state: Any


@functools.cache
def tables() -> Tables:
    """Return Optuna's tables, which are imported on first use."""
    from optuna.storages._rdb import models
    from optuna.trial import TrialState

    mapped = (
        models.StudyModel,
        models.StudyDirectionModel,
        models.StudyUserAttributeModel,
        models.StudySystemAttributeModel,
        models.TrialModel,
        models.TrialParamModel,
        models.TrialUserAttributeModel,
        models.TrialSystemAttributeModel,
        models.TrialValueModel,
        models.TrialIntermediateValueModel,
    )
    return Tables._make([*(model.__table__ for model in mapped), TrialState])


@functools.cache
def _statement(name: str) -> Any:
    """Return a cached statement that every trial executes; building it is as slow as executing."""
    from sqlalchemy import bindparam, select, update

    studies, trials, system = tables().studies, tables().trials, tables().study_system
    of_study = studies.c.study_id == bindparam("study")
    trial = trials.c.trial_id == bindparam("trial")
    numbers = select(trials.c.number).where(trials.c.study_id == bindparam("study"))
    ended = select(system.c.value_json).where(system.c.study_id == bindparam("study"))
    end = update(trials).where(trial)
    return {
        "lock": select(studies.c.study_id).where(of_study).with_for_update(),
        "last number": numbers.order_by(trials.c.trial_id.desc()).limit(1),
        "ended": ended.where(system.c.key == bindparam("key")),
        "state": select(trials.c.state).where(trial),
        "end": end.values(state=bindparam("ended_as"), datetime_complete=bindparam("at")),
    }[name]


@functools.cache
def _insert(table: Any) -> Any:
    """Return the statement that inserts rows into a table."""
    from sqlalchemy import insert

    return insert(table)


def find_study(connection: Connection, name: str) -> int | None:
    """Return the id of a study; None if it does not exist."""
    from sqlalchemy import select

    table = tables().studies
    return connection.scalar(select(table.c.study_id).where(table.c.study_name == name))


def find_or_make_study(
    connection: Connection, name: str, attributes: Mapping[str, Any]
) -> tuple[int, bool]:
    """Return the id of a study, and whether it was created now, with these user attributes."""
    from optuna.study import StudyDirection
    from sqlalchemy import insert

    known = tables()
    study = find_study(connection, name)
    if study is None and connection.dialect.name == "postgresql":  # sqlite has one writer
        connection.exec_driver_sql("LOCK TABLE studies IN SHARE ROW EXCLUSIVE MODE")
        study = find_study(connection, name)
    if study is not None:
        return study, False
    study = insert_row(connection, known.studies, study_name=name)
    connection.execute(
        insert(known.directions),
        {"study_id": study, "objective": 0, "direction": StudyDirection.MAXIMIZE},
    )
    put_attributes(connection, known.study_attributes, study, attributes)
    put_attributes(connection, known.study_system, study, {"study:metric_names": ["reward"]})
    return study, True


def study_attributes(connection: Connection, study: int) -> dict[str, Any]:
    """Return the user attributes of a study."""
    from sqlalchemy import select

    table = tables().study_attributes
    columns = select(table.c.key, table.c.value_json).where(table.c.study_id == study)
    return {key: json.loads(value) for key, value in connection.execute(columns)}


def lock_study(connection: Connection, study: int) -> bool:
    """Lock a study for starting and ending trials, as Optuna does; return whether it exists.

    On sqlite, the transaction already holds a lock.
    """
    return connection.scalar(_statement("lock"), {"study": study}) is not None


def count_ended(connection: Connection, study: int) -> int:
    """Count the ended trials of a study."""
    from sqlalchemy import func, select

    table, state = tables().trials, tables().state
    over = table.c.state.in_((state.COMPLETE, state.PRUNED, state.FAIL))
    count = select(func.count()).where(table.c.study_id == study)
    return connection.scalar(count.where(over)) or 0


def next_number(connection: Connection, study: int) -> int:
    """Return the number of the next trial of a study, which must be locked."""
    last = connection.scalar(_statement("last number"), {"study": study})
    return 0 if last is None else last + 1


def ended_among(connection: Connection, trials: Collection[int]) -> list[int]:
    """Return the ids of the trials that have ended, ascending.

    The ids are passed as one parameter, because a statement with a thousand parameters takes longer
    to build than to execute.
    """
    from sqlalchemy import text

    if not trials:
        return []
    ids: list[int] | str = sorted(trials)
    if connection.dialect.name == "postgresql":
        among = "trial_id = ANY(:ids)"
    else:
        among, ids = "trial_id IN (SELECT value FROM json_each(:ids))", json.dumps(ids)
    statement = text(
        f"SELECT trial_id FROM trials WHERE {among} "
        "AND state IN ('COMPLETE', 'PRUNED', 'FAIL') ORDER BY trial_id"
    )
    return [id for (id,) in connection.execute(statement, {"ids": ids})]


def next_order(connection: Connection, study: int) -> int:
    """Return the place in the order of completion of a trial that ends now.

    The study must be locked.
    """
    value = connection.scalar(_statement("ended"), {"study": study, "key": ENDED})
    # studies of earlier versions do not have the attribute
    order = count_ended(connection, study) if value is None else int(json.loads(value))
    put_attributes(connection, tables().study_system, study, {ENDED: order + 1})
    return order


def insert_trial(
    connection: Connection,
    study: int,
    params: Mapping[str, tuple[int, str]],
    attributes: Mapping[str, Any],
    system: Mapping[str, Any],
) -> tuple[int, int]:
    """Insert a running trial and return (id, number); the study must be locked.

    params      decision -> (index of its option, distribution as JSON).
    attributes  user attributes, JSON values.
    system      system attributes, JSON values.
    """
    known = tables()
    number = next_number(connection, study)
    trial = insert_row(
        connection,
        known.trials,
        number=number,
        study_id=study,
        state=known.state.RUNNING,
        datetime_start=_now(),
    )
    connection.execute(
        _insert(known.params),
        [
            {"trial_id": trial, "param_name": name, "param_value": index, "distribution_json": text}
            for name, (index, text) in params.items()
        ],
    )
    put_attributes(connection, known.attributes, trial, attributes)
    put_attributes(connection, known.system, trial, system)
    return trial, number


def state_of(connection: Connection, trial: int) -> str | None:
    """Return the name of a trial's state in Optuna; None if the trial does not exist."""
    state = connection.scalar(_statement("state"), {"trial": trial})
    return None if state is None else state.name


def system_attributes(connection: Connection, trial: int) -> dict[str, Any]:
    """Return the system attributes of a trial, which dashboards do not show."""
    from sqlalchemy import select

    table = tables().system
    columns = select(table.c.key, table.c.value_json).where(table.c.trial_id == trial)
    return {key: json.loads(value) for key, value in connection.execute(columns)}


def put_points(connection: Connection, trial: int, points: Iterable[Point]) -> None:
    """Write intermediate values of a trial; they replace earlier ones of the same step."""
    from optuna.storages._rdb.models import TrialIntermediateValueModel

    stored = TrialIntermediateValueModel.intermediate_value_to_stored_repr
    rows = [
        dict(
            zip(
                ("trial_id", "step", "intermediate_value", "intermediate_value_type"),
                (trial, point.step, *stored(point.accuracy)),
                strict=True,
            )
        )
        for point in points
    ]
    _upsert(connection, tables().points, ("trial_id", "step"), rows)


def end_trial(connection: Connection, trial: int, state: str, value: float | None) -> None:
    """Set the state of a trial to the named state of Optuna, and its value if there is one."""
    from optuna.storages._rdb.models import TrialValueModel

    known = tables()
    if value is not None:
        stored, kind = TrialValueModel.value_to_stored_repr(value)
        row = {"trial_id": trial, "objective": 0, "value": stored, "value_type": kind}
        connection.execute(_insert(known.values), row)
    ended = {"trial": trial, "ended_as": known.state[state], "at": _now()}
    connection.execute(_statement("end"), ended)


def put_attributes(
    connection: Connection, table: Any, owner: int, attributes: Mapping[str, Any]
) -> None:
    """Write attributes of a study or trial; they replace earlier ones of the same name."""
    column = "study_id" if "study_id" in table.c else "trial_id"
    rows = [
        {column: owner, "key": key, "value_json": _json(value)} for key, value in attributes.items()
    ]
    _upsert(connection, table, (column, "key"), rows)


def insert_row(connection: Connection, table: Any, **values: Any) -> int:
    """Insert a row and return its id."""
    key = connection.execute(_insert(table), values).inserted_primary_key
    assert key is not None  # inserting one row returns its key
    return key[0]


def _upsert(
    connection: Connection, table: Any, unique: tuple[str, str], rows: list[dict[str, Any]]
) -> None:
    if rows:
        connection.execute(_upsert_of(connection.dialect.name, table, unique, tuple(rows[0])), rows)


@functools.cache
def _upsert_of(dialect: str, table: Any, unique: tuple[str, str], columns: tuple[str, ...]) -> Any:
    """Return the cached statement, which takes longer to build than to execute."""
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
    statement: Any = insert(table)
    changed = {name: statement.excluded[name] for name in columns if name not in unique}
    return statement.on_conflict_do_update(index_elements=list(unique), set_=changed)


def _json(value: Any) -> str:
    """Return a value as JSON; numpy scalars as numbers, NaN and infinity as text."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        value = str(value)
    return json.dumps(value)


def _now() -> datetime:
    """Return the time as Optuna stores it: UTC without a time zone."""
    return datetime.now(timezone.utc).replace(tzinfo=None)
