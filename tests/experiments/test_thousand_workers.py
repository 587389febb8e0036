"""The simulation of `experiments.thousand_workers`."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments import thousand_workers
from experiments.lib.simulated_cluster import EPOCHS, Curves, Nodes, Watched
from nas import catalog
from nas.asha import Asha
from nas.history import History
from nas.objective import Objective
from nas.search.asynchronous import Plan, search_asynchronously
from nas.search.workers import Simulated
from nas.storage.study import open_study
from nas.storage.study_settings import SearchIdentity
from search_spaces.catalog import space

B0 = space("efficientnet")
AIM = Objective(400e6)


def test_many_workers_get_several_proposals_at_once() -> None:
    calls = {}
    for capacity in (32, 256):
        history, watched = History(B0, AIM), Watched(catalog.strategy("random", B0, AIM))
        workers = Simulated(Curves(B0), capacity=capacity, steps=len(EPOCHS))
        plan = Plan(capacity + 60)
        assert search_asynchronously(history, watched, workers, plan) == "finished"
        assert history.networks == len(history) == capacity + 60
        calls[capacity] = [count for _, count, _ in watched.calls]
    assert calls[32][0] == 32
    assert set(calls[32][1:]) == {1}  # as soon as a worker is free
    assert calls[256] == [256, *[4] * 15]


def test_nothing_is_lost_or_repeated_where_nodes_come_and_go(tmp_path: Path) -> None:
    history, strategy = History(B0, AIM), catalog.strategy("random", B0, AIM)
    nodes = Nodes(Curves(B0), 12, 4, hourly=3.0, away=5.0)
    identity = SearchIdentity(B0, AIM)
    with open_study(f"sqlite:///{tmp_path}/study.db", "one", identity, resume=False) as study:
        plan = Plan(120, asha=Asha(len(EPOCHS)))
        assert search_asynchronously(history, strategy, nodes, plan, study=study) == "finished"
    assert nodes.restarts > 5
    assert nodes.lost_nodes > 5
    assert history.networks == len(history) == 120
    assert (history.error == "").all()
    assert (history.fidelity < 1).any()


@pytest.mark.parametrize(
    ("parts", "expected"),
    [("drivers", "set TEST_POSTGRESQL_URL"), ("driver", "did you mean drivers")],
)
def test_a_part_that_cannot_be_measured_is_an_error(
    parts: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(thousand_workers.URL, raising=False)
    monkeypatch.setattr("sys.argv", ["thousand_workers", "--parts", parts, "--share", "0.05"])
    with pytest.raises(ValueError, match=expected):
        thousand_workers.main()
