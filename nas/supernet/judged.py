"""Comparison of a supernet with stand-alone trainings, which run if they are not cached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nas.evaluators.base import Answer
from nas.evaluators.proxy import Fidelity, clock_name, fitted, identity
from nas.evaluators.supernet import Shared
from nas.fidelity.trainings import Job, Work, clock_of, run_all
from nas.search.config import SearchConfig
from nas.search.setup import cache_of
from nas.slots import slots
from nas.storage.cache import key_of
from nas.supernet.judge import SEEDS, Judge, Training
from nas.supernet.verdict import Verdict, verdict
from train.cluster.place import Place
from train.distributed import pick_device
from train.supernet.training import Trained
from vbs.console import print_err
from vbs.text import counted
from vbs.units import clock


def judged(judge: Judge, trained: Trained, shared: Shared, config: SearchConfig) -> Verdict:
    """Return the verdict on a supernet.

    trained  the trained supernet.
    shared   evaluator with its weights, in this process.

    Raises ValueError if too few of the judge's networks can be trained.
    """
    place = slots(config, trains=True)
    scores, scoring = _scores(judge, shared)
    trainings = judge.trainings()
    answers = _answers(judge, trainings, judge.fidelity, config, place)
    reached = _accuracies(answers, trainings).reshape(SEEDS, len(judge.genotypes)).T
    usual = np.median([answer.seconds for answer in answers.values() if not answer.error] or [1.0])
    spent = trained.work + scoring
    short = judge.short(spent / len(judge.genotypes) / max(float(usual), 1e-9))
    shorts = _answers(judge, judge.shorts(), short, config, place)
    costs = judge.space.costs(judge.genotypes)
    predicted = {
        "supernet": (scores, spent),
        "FLOPs": (costs.flops.astype(float), 0.0),
        "params": (costs.params.astype(float), 0.0),
        "short training": (
            _accuracies(shorts, judge.shorts()),
            sum(answer.seconds for answer in shorts.values()),
        ),
    }
    return verdict(reached, predicted, short=str(short))


def _scores(judge: Judge, shared: Shared) -> tuple[np.ndarray, float]:
    """Return the scores of the supernet [networks], and their total seconds."""
    shared.get_ready(judge.space)
    found = shared.evaluate(judge.space, judge.genotypes)
    return found.accuracy, float(found.seconds.sum())


def _answers(
    judge: Judge,
    trainings: Sequence[Training],
    fidelity: Fidelity,
    config: SearchConfig,
    place: Place,
) -> Mapping[Training, Answer]:
    """Return the answers of trainings, from the cache or by training, including failures."""
    cache = cache_of(config.cache)
    assert cache is not None  # see nas.supernet.scoring
    alone = place.slots == 1 and place.address is None
    device = ("cuda" if place.gpus else "cpu") if not alone else str(pick_device(config.device))
    works = {training: _work(judge, training, fidelity, config, device) for training in trainings}
    known = {training: cache.get(_key(judge, work)) for training, work in works.items()}
    answers = {training: answer for training, answer in known.items() if answer is not None}
    missing = {Job(0, *training): works[training] for training in works if training not in answers}
    print_err(
        f"judge: {counted(len(works), 'training')} of {fidelity}, {len(answers)} of them cached"
    )
    ended = len(answers)
    for job, answer in run_all(missing, None if alone else place):
        answers[Training(job.network, job.seed)] = answer
        ended += 1
        outcome = answer.error or f"{answer.accuracy:.2f}% in {clock(answer.seconds)}"
        print_err(f"judge: {ended} of {len(works)}, seed {job.seed}: {outcome}")
    return answers


def _work(
    judge: Judge, training: Training, fidelity: Fidelity, config: SearchConfig, device: str
) -> Work:
    assert config.data is not None
    assert config.space is not None
    folder = cache_folder(config)
    name = str(fidelity).replace("=", "").replace(",", "-")
    return Work(
        config.data,
        config.data_root,
        judge.recipe,
        fidelity,
        config.space,
        config.sizes(),
        judge.genotypes[training.network],
        training.seed,
        device,
        folder,
        folder.parent / "judges" / f"{judge.key(training.network)}-{name}-{training.seed}",
    )


def cache_folder(config: SearchConfig) -> Path:
    """Return the folder of cached results."""
    cache = cache_of(config.cache)
    assert cache is not None  # see nas.supernet.scoring
    return cache.folder


def _key(judge: Judge, work: Work) -> str:
    """Return the key of a training's result in the cache, equal to `nas.evaluators.proxy`."""
    network = judge.space.decode(work.genotype)
    recipe = fitted(work.recipe, work.fidelity, images=judge.images)
    by = clock_name(clock_of(work.device), work.device)
    return key_of(identity(network, recipe, work.fidelity, judge.data, seed=work.seed, clock=by))


def _accuracies(answers: Mapping[Training, Answer], trainings: list[Training]) -> np.ndarray:
    """Return accuracies in the order of the trainings; NaN for failed ones."""
    return np.array([answers[training].accuracy for training in trainings])
