"""Evaluations that were interrupted or ended by the infrastructure never count as results."""

from __future__ import annotations

import errno
import math
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from nas.evaluators.base import Answer, Evaluator, Point
from nas.history import History
from nas.search.asynchronous import Plan, search_asynchronously
from nas.search.loop import search
from nas.search.workers import InProcess
from nas.storage.study import Study
from nas.strategies.random_search import Random
from search_spaces.space import SearchSpace
from tests.nas.studies import EASY, NETWORKS, claimed, history_of, opened
from tests.nas.toys import tiny_space
from vbs.failures import InfrastructureError, recorded_infrastructure

FULL = OSError(errno.ENOSPC, "No space left on device", "/full/last.safetensors")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


def states(url: str) -> list[tuple[str, Any]]:
    """Return state and error of all trials, as Optuna reads them."""
    found = optuna.load_study(study_name="search", storage=url).trials
    return [(trial.state.name, trial.user_attrs.get("error")) for trial in found]


class Disk(Evaluator):
    """Raises the error until `mended` is set; counts the successful evaluations."""

    def __init__(self, problem: BaseException, after: int) -> None:
        self.problem, self.after, self.mended, self.done = problem, after, False, 0

    def curve(
        self, space: SearchSpace, genotype: np.ndarray, *, seed: int = 0, folder: Path | None = None
    ) -> Iterator[Point]:
        if not self.mended and self.done >= self.after:
            raise self.problem
        self.done += 1
        yield Point(1, float(genotype.sum()), 1.0)


def run(study: Study | None, evaluator: Evaluator, history: History, budget: int = 6) -> str:
    workers = InProcess(evaluator, tiny_space())
    return search_asynchronously(history, Random(), workers, Plan(budget), study=study)


@pytest.mark.parametrize(
    "problem",
    [
        FULL,
        PermissionError(errno.EACCES, "Permission denied", "/data/1.jpg"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "/data/1.jpg"),
        RuntimeError("unable to write to file </torch_1>: No space left on device (28)"),
        InfrastructureError("the share is gone"),
    ],
    ids=str,
)
def test_the_infrastructure_stops_a_search_which_resumes_once_it_is_mended(url, problem):
    evaluator = Disk(problem, after=2)
    with opened(url) as study, pytest.raises(InfrastructureError) as caught:
        run(study, evaluator, history_of(study))
    if getattr(problem, "filename", None):
        assert problem.filename in str(caught.value)
    assert states(url) == [("COMPLETE", None)] * 2 + [("FAIL", "interrupted")]
    evaluator.mended = True
    with opened(url) as study:
        history = history_of(study)
        assert (history.error == "").all()
        assert run(study, evaluator, history) == "finished"
    assert (history.networks, evaluator.done) == (6, 6)
    assert not any(history.error)


@pytest.mark.parametrize("problem", [FULL, InfrastructureError("gone")], ids=str)
def test_no_loop_makes_a_row_of_it(problem):
    for loop in (
        lambda: run(None, Disk(problem, 2), History(tiny_space(), EASY)),
        lambda: search(tiny_space(), Disk(problem, 2), EASY, Random(), 6),
        lambda: Disk(problem, 0).evaluate(tiny_space(), NETWORKS[:1]),
    ):
        with pytest.raises((InfrastructureError, OSError)):
            loop()


def test_a_checkpoint_is_kept_for_the_next_driver(tmp_path):
    class Half(Disk):
        def curve(self, space, genotype, *, seed=0, folder=None):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "last.safetensors").write_text("half")
            yield from super().curve(space, genotype, seed=seed)

    workers = InProcess(Half(FULL, 0), tiny_space(), folder=tmp_path)
    with pytest.raises(InfrastructureError):
        search_asynchronously(History(tiny_space(), EASY), Random(), workers, Plan(2))
    assert len(list(tmp_path.glob("*/last.safetensors"))) == 1


@pytest.mark.parametrize("leaving", [KeyboardInterrupt, ZeroDivisionError, None])
def test_running_trials_end_as_interrupted_however_the_driver_ends(url, leaving):
    other = opened(url)
    claimed(other, NETWORKS[5])
    try:
        with opened(url) as study:
            study.finish(claimed(study, NETWORKS[0]), Answer(60.0))
            claimed(study, NETWORKS[1])
            study.report(claimed(study, NETWORKS[2]), Point(1, 40.0, 1.0))
            if leaving is not None:
                raise leaving
    except (KeyboardInterrupt, ZeroDivisionError):
        pass
    expected = [("RUNNING", None), ("COMPLETE", None), *[("FAIL", "interrupted")] * 2]
    assert states(url) == expected  # that of the other driver is unchanged
    again = {claim.genotype.tobytes() for claim in other.abandoned()}
    assert again == {NETWORKS[1].tobytes(), NETWORKS[2].tobytes()}
    assert len(history_of(other)) == 1
    other.finish(claimed(other, NETWORKS[1]), Answer(61.0))
    assert history_of(other).accuracy.tolist() == [60.0, 61.0]
    other.close()


def test_the_trials_of_a_killed_driver_are_ended_by_the_next(url):
    code = f"""if True:
        import os, signal
        from tests.nas.studies import NETWORKS, claimed, opened
        study = opened({url!r})
        claimed(study, NETWORKS[0])
        os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert states(url) == [("RUNNING", None)]
    with opened(url) as study:
        (claim,) = study.abandoned()
        assert claim.genotype.tolist() == NETWORKS[0].tolist()
    ((state, error),) = states(url)
    assert state == "FAIL"
    assert "is gone" in error


@pytest.mark.parametrize("reason", ["OSError: [Errno 28] No space left on device", "its own"])
def test_what_earlier_versions_recorded_is_done_again_where_it_is_certain(url, reason):
    with opened(url) as study:
        study.finish(claimed(study, NETWORKS[0]), Answer(math.nan, error=reason))
        study.finish(claimed(study, NETWORKS[1]), Answer(60.0))
    with opened(url) as study:
        again = study.retry_failed(recorded_infrastructure)
        assert again == (reason != "its own")
        assert len(history_of(study)) == 2 - again
        assert study.known == 2


def test_zero_cost_scores_raise_it(monkeypatch):
    torch = pytest.importorskip("torch")
    from nas.evaluators import zero_cost
    from tests.nas.toys import small_space

    def broken(*_: object) -> Callable:
        raise FULL

    monkeypatch.setattr(zero_cost, "build", broken)
    images, targets = torch.randn(4, 3, 16, 16), torch.arange(4) % 3
    judge = zero_cost.ZeroCost(images, targets, scores=("params",), reference=2)
    space = small_space()
    with pytest.raises(OSError, match="No space"):
        judge.evaluate(space, space.sample(1, np.random.default_rng(0)))


def test_a_comparison_of_fidelities_stops_by_it_and_keeps_the_checkpoint(tmp_path, monkeypatch):
    from nas.evaluators.proxy import Fidelity
    from nas.fidelity.trainings import Job, Work, run_all
    from train.recipe import preset

    work = Work(
        "toys",
        None,
        preset("proxy"),
        Fidelity(1),
        "compact",
        {},
        NETWORKS[0],
        0,
        "cpu",
        tmp_path,
        tmp_path / "unfinished",
    )
    work.folder.mkdir()

    def full(self: Work) -> None:
        raise FULL

    monkeypatch.setattr(Work, "proxy", full)
    with pytest.raises(InfrastructureError, match=r"/full/last\.safetensors: No space"):
        list(run_all({Job(0, 0, 0): work}, None))
    assert work.folder.is_dir()
