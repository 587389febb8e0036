"""Peers in their own processes: the protocol, the results that they receive, and their failures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import compare_strategies
from experiments.lib import peer_environments, strategy_runs
from experiments.lib.peer_environments import FOLDER, install, python_of
from experiments.lib.peer_process import PeerFailed, PeerProcess, PeerStrategy, description
from nas.history import History
from nas.objective import Objective
from nas.search.loop import LoopOptions, search
from tests.nas.toys import Synthetic, b0_space

FAKE = """
import json, random, sys, time
search = json.loads(sys.stdin.readline())
rng, asked = random.Random(search["seed"]), 0
log = open(LOG, "a")
log.write(json.dumps(search) + "\\n")
for line in sys.stdin:
    log.write(line)
    log.flush()
    if json.loads(line)["do"] == "ask":
        asked += 1
        choices = [rng.randrange(each["options"]) for each in search["decisions"]]
        ASKED
        print(json.dumps({"choices": choices}), flush=True)
"""
LIMIT = Objective(350e6, "feasible")


def fake(folder: Path, asked: str = "", **options: Any) -> PeerProcess:
    """Return a peer that proposes at random and runs the code `asked` before each answer."""
    worker = folder / "fake.py"
    log = folder / "log.jsonl"
    worker.write_text(FAKE.replace("LOG", repr(str(log))).replace("ASKED", asked or "pass"))
    first = description(b0_space(), 0, front=False, reference=(55.0, 1.0))
    return PeerProcess([sys.executable, str(worker)], first, **options)


def searched(peer: PeerProcess, budget: int) -> History:
    the_space = b0_space()
    strategy = PeerStrategy(peer)
    return search(the_space, Synthetic(), LIMIT, strategy, budget, LoopOptions(workers=1))


def test_every_evaluation_is_reported_to_a_peer(tmp_path: Path) -> None:
    with fake(tmp_path) as peer:
        history = searched(peer, 20)
        peer.ask()  # so that the peer has read everything before
    first, *lines = [json.loads(line) for line in (tmp_path / "log.jsonl").open()]
    assert first["objectives"] == ["reward"]
    assert [each["name"] for each in first["decisions"]] == list(history.space.choices)
    kept = [line for line in lines if line["do"] == "tell" and line["excess"] <= 0]
    np.testing.assert_array_equal([line["choices"] for line in kept], history.genotypes[:19])
    np.testing.assert_allclose([line["values"][0] for line in kept], history.accuracy[:19])


def test_networks_over_the_limit_cost_no_evaluation_and_count_with_the_lowest_reward(
    tmp_path: Path,
) -> None:
    with fake(tmp_path) as peer:
        history = searched(peer, 20)
        peer.ask()
    assert LIMIT.feasible(history.costs).all()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").open()][1:]
    lowest: list[float] = []
    over = 0
    for line in (each for each in lines if each["do"] == "tell"):
        if line["excess"] > 0:
            over += 1
            assert line["values"] == [min(lowest, default=0.0)]
        else:
            lowest += line["values"]
    assert over > 0


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("if asked > 5: sys.exit('out of memory')", "exit status 1: out of memory"),
        ("if asked > 5: print('hello', flush=True)", "answered hello, which is not a network"),
        ("if asked > 5: choices = choices[1:]", "which is not a network"),
        ("if asked > 5: choices[0] = 9", "which is not a network"),
        ("if asked > 5: time.sleep(60)", "no answer within 0.5 s"),
    ],
)
def test_a_peer_that_dies_hangs_or_babbles_says_so(tmp_path: Path, asked: str, said: str) -> None:
    limit = 0.5 if "sleep" in asked else 30.0
    with fake(tmp_path, asked, answer_s=limit) as peer, pytest.raises(PeerFailed, match=said):
        searched(peer, 50)


def test_a_failed_peer_is_a_row_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dies = "if asked > 100: sys.exit('killed')"
    monkeypatch.setattr(strategy_runs, "start_peer", lambda *_: fake(tmp_path, dies))
    row = strategy_runs.run("flops", "smac", 0)
    assert row["failed"].endswith("evaluations: exit status 1: killed")
    assert set(row["accuracy"]) == {50}
    assert (row["task"], row["strategy"], row["seed"]) == ("flops", "smac", 0)


def test_a_missing_environment_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VBS_PEERS", str(tmp_path))
    with pytest.raises(ValueError, match="compare_strategies --peers hebo --install") as error:
        python_of("hebo")
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="did you mean smac"):
        python_of("smak")


@pytest.mark.slow
def test_what_pip_cannot_install_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VBS_PEERS", str(tmp_path / "cache"))
    monkeypatch.setattr(peer_environments, "FOLDER", tmp_path)
    (tmp_path / "smac.txt").write_text("./no-such-folder\n")
    with pytest.raises(ValueError, match=r"^peer smac: pip failed \(ERROR.*no-such-folder"):
        install("smac")
    with pytest.raises(ValueError, match="is missing"):
        python_of("smac")


def test_every_peer_has_pinned_versions() -> None:
    for entry in peer_environments.PEERS.values():
        assert entry.requirements is not None
        lines = (FOLDER / entry.requirements).read_text().splitlines()
        assert lines
        assert all("==" in line for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("peer", ["optuna-nsga2", "optuna-motpe"])
def test_the_worker_drives_optuna_along_a_front(peer: str) -> None:
    the_space = b0_space()
    first = description(the_space, 0, front=True, reference=(55.0, 1.0))
    command = [str(python_of(peer)), str(FOLDER / "worker.py"), peer]
    with PeerProcess(command, first) as process:
        strategy = PeerStrategy(process, front=True)
        history = search(the_space, Synthetic(), LIMIT, strategy, 30, LoopOptions(workers=1))
    assert len(history) == 30
    assert strategy.asked >= 30


def test_runs_are_planned_first_seeds_first_and_only_for_chosen_peers() -> None:
    parser = compare_strategies.experiment_arguments(None)
    compare_strategies.add_options(parser)
    arguments = parser.parse_args(["--peers", "ax", "--tasks", "front,device", "--seeds", "6"])
    peers = compare_strategies.chosen_peers(arguments.peers)
    assert peers == ["ax", "ax-qnehvi"]
    planned = compare_strategies.planned(arguments, peers)
    assert planned[0] == ("front", "random", 0)
    assert ("device", "ax", 4) in planned
    assert ("device", "ax", 5) not in planned  # five seeds: it is slow
    assert not any(name in ("smac", "hebo") for _, name, _ in planned)
    seeds = [seed for _, _, seed in planned]
    assert seeds == sorted(seeds)
    with pytest.raises(ValueError, match="peer"):
        compare_strategies.chosen_peers(["smak"])


def test_failed_runs_are_counted_and_their_figures_left_out() -> None:
    marks = {"accuracy": {"50": 60.0}, "hypervolume": {"50": 1.0}, "milliseconds": {"50": 2.0}}
    runs = [{"task": "flops", "strategy": "smac", "seed": seed, **marks} for seed in (0, 1)]
    runs[1] |= {"accuracy": {"50": 10.0}, "failed": "exit status 1"}
    found = compare_strategies.summary(runs, {"flops": ["smac"]})["flops"]["smac"]
    assert (found["seeds"], found["failed"]) == (1, 1)
    assert found["50"]["accuracy"] == 60.0
    assert found["50"]["standard_error"] is None
    assert "flops smac: 1 of 20 seeds" in compare_strategies.missing(runs)
