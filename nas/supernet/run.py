"""Search with a supernet, and stand-alone trainings of the best networks: `run_supernet_search`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from nas.evaluators.proxy import Proxy, fitted
from nas.history import History
from nas.parents.finalists import InOrder
from nas.search import record
from nas.search.asynchronous import Plan, search_asynchronously
from nas.search.config import SearchConfig
from nas.search.measured import run_job
from nas.search.record import Earlier
from nas.search.result import SearchResult
from nas.search.session import Session, run_session
from nas.search.setup import Measuring, load_data, proxy_maker
from nas.search.workers import OnCluster
from nas.slots import slots
from nas.storage.study import open_study
from nas.storage.study_settings import SearchIdentity
from nas.supernet.scoring import Sharing, prepare_supernet
from vbs.console import print_err
from vbs.text import counted

FOLDER = "finalists"


def run_supernet_search(
    config: SearchConfig, out: str | None, *, earlier: Earlier | None, started: float
) -> SearchResult:
    """Score networks with shared weights, then train the best of them stand-alone.

    out      folder of the results; None: a new folder in runs/.
    earlier  record of the search in `out` to resume; None for a new search.
    started  start time, of `time.perf_counter`.

    Returns the result of the stand-alone trainings, or that of the scoring if there are no
    finalists.

    Raises ValueError before any training if options, space and images do not fit.
    """
    config, sharing, space = prepare_supernet(config)
    scored = run_job(config, out, earlier=earlier, started=started, known=(sharing, space))
    ended = scored.status not in ("interrupted", "failed")
    if not (ended and scored.found and scored.written and config.finalists):
        return scored
    with record.results_folder(str(scored.folder), resume=True) as folder:
        return _finalists(folder, scored, sharing)


def _finalists(folder: Path, scored: SearchResult, sharing: Sharing) -> SearchResult:
    """Train the networks of highest reward with several seeds; write the best to best.json."""
    config, searched = scored.config, scored.history
    genotypes = best_networks(searched, config.finalists)
    recipe = fitted(sharing.recipe, sharing.fidelity, images=sharing.data.train)
    measuring = Measuring(Proxy, sharing.data, recipe, sharing.fidelity)
    evaluator = measuring.described
    evaluator.notes = sharing.described.notes
    count = len(genotypes)
    plan = Plan(
        budget=count,
        seed=config.seed,
        finalists=count,
        repeats=config.repeats,
        failures=config.max_failures,
        pool=genotypes,
    )
    print_err(
        f"finalists: {counted(count, 'network')} of highest reward trained stand-alone by "
        f"{sharing.fidelity}, {counted(config.repeats, 'seed')} each"
    )
    place = folder / FOLDER
    place.mkdir(exist_ok=True)
    history = History(searched.space, searched.objective)
    session = Session(
        folder=place,
        config=config,
        digests={},
        history=history,
        evaluator=evaluator,
        total=count * config.repeats,
        started=time.perf_counter(),
        resumes=folder,
    )
    identity = {**measuring.identity, "recipe": recipe.to_dict(), "stage": FOLDER}
    storage = config.storage or f"sqlite:///{(place / 'study.db').resolve()}"
    name = f"{config.study}-{FOLDER}" if config.storage else FOLDER
    described = SearchIdentity(searched.space, searched.objective, identity)
    with open_study(storage, name, described, resume=True) as study:
        study.sync(history)

        def loop(update: Callable[[History], None]) -> str:
            make = proxy_maker(config, measuring, load_data(config, measuring))
            workers = OnCluster(
                make,
                searched.space,
                evaluator,
                slots(config, trains=True),
                timeout=config.timeout,
                folder=(place / "trainings").resolve(),
            )
            try:
                return search_asynchronously(
                    history, InOrder(genotypes), workers, plan, study=study, record=update
                )
            finally:
                workers.close()

        found = run_session(session, loop)
    shutil.rmtree(place / "trainings", ignore_errors=True)
    if found.found and found.written:
        shutil.copyfile(place / "best.json", folder / "best.json")
    return replace(found, folder=folder, seconds=scored.seconds + found.seconds)


def best_networks(history: History, count: int) -> np.ndarray:
    """Return the genotypes of highest reward, [at most count, decisions]."""
    full = np.flatnonzero(history.full)
    best = full[np.argsort(-history.reward[full], kind="stable")]
    return history.genotypes[best[:count]]
