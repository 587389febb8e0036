"""Run a search from its config: `run_search`.

Searches with workers run in `nas.search.measured`, those with a parent in `nas.parents.run`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas import catalog, history_file
from nas.evaluators.base import Evaluator
from nas.history import History
from nas.parents.result import ParentResult
from nas.search import record
from nas.search.aims import Aims, aims, keep_times, named_space
from nas.search.config import COMMAND, SearchConfig
from nas.search.loop import LoopOptions, search
from nas.search.record import Earlier
from nas.search.result import SearchResult
from nas.search.session import Session, run_session
from nas.supernet.options import EVALUATOR
from vbs.runs import opened_run

SLOW_BUDGET = 64  # default number of networks for slow evaluators


def run_search(
    config: SearchConfig | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> SearchResult | ParentResult:
    """Run a search and write its results into a folder, as `python -m nas.search` does.

    config   options; None to resume.
    out      folder of the results; None for a new runs/search-N.
    resume   whether to resume the search in `out`, with the options stored there.
    changes  options of a resumed search that change, such as {"budget": 2000}.

    Ctrl-C ends the search; the result then has the status "interrupted".

    Raises ValueError for options that contradict each other, and if the folder contains another
    search or is in use by another process; `vbs.failures.InfrastructureError` if the machine or
    the cluster failed before the first evaluation.
    """
    started, place = time.perf_counter(), None if out is None else str(out)
    with opened_run(COMMAND, config, out=out, resume=resume, changes=changes) as known:
        earlier = None
        if known is not None:
            earlier = record.read_earlier(known, changes or {})
            config = earlier.config
        assert config is not None  # see opened_run
        if config.parent is not None:
            from nas.parents.run import run_parent_search

            return run_parent_search(config, place, earlier=earlier, started=started)
        if config.evaluator == EVALUATOR:
            from nas.supernet.run import run_supernet_search

            return run_supernet_search(config, place, earlier=earlier, started=started)
        if config.uses_workers:
            from nas.search.measured import run_job

            return run_job(config, place, earlier=earlier, started=started)
        aimed, evaluator, digests = _parts(config, known)
        record.check_same(earlier, aimed.config, digests)
        with record.results_folder(place, resume=resume) as folder:
            return _in_folder(folder, aimed, evaluator, digests, earlier, started=started)


def _in_folder(
    folder: Path,
    aimed: Aims,
    evaluator: Evaluator,
    digests: Mapping[str, Any],
    earlier: Earlier | None,
    *,
    started: float,
) -> SearchResult:
    """Run the search in its folder with an evaluator in this process."""
    config, the_space, objective, strategy, tables = aimed
    evaluated, seconds = (earlier.evaluated, earlier.seconds) if earlier else (0, 0.0)
    history = history_file.read_history(
        folder, the_space, objective, evaluated=evaluated, evaluator=evaluator
    )
    history.cut = earlier.cut if earlier else None
    keep_times(folder, tables)
    budget = config.budget
    assert budget is not None  # see _parts
    session = Session(
        folder=folder,
        config=config,
        digests=digests,
        history=history,
        evaluator=evaluator,
        total=budget,
        started=started,
        past=seconds,
    )
    so_far = {"evaluated": evaluated, "seconds": seconds} if earlier else {}
    session.record(status="running", **so_far)

    def loop(update: Callable[[History], None]) -> str:
        options = LoopOptions(seed=config.seed, record=update, history=history)
        search(the_space, evaluator, objective, strategy, budget, options)
        return "finished" if len(history) >= budget else "exhausted"

    return run_session(session, loop)


def _parts(config: SearchConfig, earlier: Path | None) -> tuple[Aims, Evaluator, dict[str, Any]]:
    """Return the parts of the loop, and the digests of its input files.

    earlier  folder of a resumed search; None for a new search.
    """
    config, networks = named_space(config)
    aimed = aims(config, networks, fallback="evolution", earlier=earlier)
    config = aimed.config
    assert config.strategy is not None
    evaluator = catalog.evaluator(
        config.evaluator,
        aimed.space,
        table=config.table,
        table_column=config.table_column,
        schedule=config.schedule,
    )
    if config.budget is None:
        budget = catalog.budget_of(config.strategy, aimed.strategy)
        fast = evaluator.cheap or evaluator.instant
        config = replace(config, budget=budget if fast else min(budget, SLOW_BUDGET))
    digests: dict[str, Any] = dict(aimed.digests)
    if config.table is not None:
        digests["table_sha256"] = record.sha256(Path(config.table))
    return aimed._replace(config=config), evaluator, digests
