"""Training of many networks from a config: `run_tune`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from train import record
from train.cluster.connect import probe
from train.cluster.process import RayLost
from train.loggers.catalog import check_servers, import_own
from train.ray_tune.config import RECORD, TuneConfig
from train.ray_tune.lease import COMMAND, owned
from train.ray_tune.page import page
from train.ray_tune.plan import Plan, new_plan
from train.ray_tune.record import resumed_plan, write_plan
from train.ray_tune.report import outcome, ranked, write_csv
from train.ray_tune.result import TuneResult
from train.ray_tune.session import Call, left, session
from train.ray_tune.store import Store, opened
from train.ray_tune.trial_record import ending, folder_of, learned
from vbs.config_file import check_call
from vbs.figure import attempt
from vbs.folder import results_folder
from vbs.page.parts import REPORT, write_text
from vbs.temporary import temporary_folder


def run_tune(
    config: TuneConfig | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> TuneResult:
    """Train many networks, as `python -m train.ray_tune` does.

    config   options of a new run; None with `resume`.
    out      folder or URL of the results; default: a new runs/tune-N. If it contains the same run,
             that run is resumed.
    resume   whether to resume the run in `out`, whose config is read from there.
    changes  options of a resumed run to change, e.g. {"workers": 2}.

    Ctrl-C ends the trainings; the result then has the status "interrupted".

    Raises ValueError if options do not go together, or if `out` contains another run or is used by
    another process.
    """
    check_call(TuneConfig, config, resume=resume, changes=changes)
    place, given = None if out is None else str(out), changes or {}
    if place == "":
        raise ValueError("out: the name of the folder is empty")
    if resume and place is None:
        raise ValueError("resume: the place of the run is missing; use --out PLACE")
    requested = None if config is None or resume else new_plan(config)
    address = given.get("address") if requested is None else requested.config.address
    if address not in (None, "local"):
        probe(address)
    if place is None:
        assert requested is not None
        return _with_data(requested, None, resumed=False)
    store, known = opened(place)
    plan = resumed_plan(place, known, requested, given)
    store.check()
    with owned(store):
        now = store.read(RECORD)
        if now != known:  # another process has changed it and ended
            known, plan = now, resumed_plan(place, now, requested, given)
        if known is not None and not left(store, plan):
            return _ended(store, plan, "finished")
        return _with_data(plan, store, resumed=known is not None)


def _with_data(plan: Plan, store: Store | None, *, resumed: bool) -> TuneResult:
    """Connect to Ray, do everything that needs it, and disconnect."""
    _check_loggers(plan.config.log, store)
    with session(plan, resumed=resumed) as call:
        plan = call("prepare")
        if store is not None:
            return _train(plan, store, call)
        with results_folder(None, kind="tune", files=(RECORD,), command=COMMAND) as folder:
            return _train(plan, Store(str(folder)), call)


def _check_loggers(names: Sequence[str], store: Store | None) -> None:
    """Raise ValueError if the user's own loggers cannot be imported, or records would be lost."""
    import_own(names)
    if store is not None and store.local is None:
        check_servers(names)


def _train(plan: Plan, store: Store, call: Call) -> TuneResult:
    status, reason = "finished", ""
    try:
        with temporary_folder() as scratch:
            call("share", store.place, scratch)
            write_plan(store, plan, status="running")
            call("train")
    except KeyboardInterrupt:
        status, reason = "interrupted", "interrupted"
    except RayLost as error:
        status, reason = "failed", str(error)
    return _ended(store, plan, status, reason)


def _ended(store: Store, plan: Plan, status: str, reason: str = "") -> TuneResult:
    """Write the results."""
    rows = []
    for trial in plan.trials:
        name = trial["name"]
        # a lost trial has a record but counts as not ended
        ended = ending(store, name) or store.read(f"{folder_of(name)}/run.json")
        row = outcome(trial, learned(store, name), ended, plan.images)
        if row["status"] == "running":  # no trial runs any more
            row["status"] = "interrupted"
        rows.append(row)
    rows = ranked(rows)
    write_plan(store, plan, status=status)
    store.write("results.json", record.finite({"status": status, "trials": rows}))
    store.put("results.csv", lambda path: write_csv(path, rows))
    attempt(REPORT, lambda: store.put(REPORT, lambda path: write_text(path, page(plan, rows))))
    return TuneResult(store.place, plan, rows, status, reason)
