"""Limits of time in searches from pretrained weights: predicted, then measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nas.block_times.rounds import Timing
from nas.devices.fitted import FittedTimes, fitted_times
from nas.evaluators.base import Evaluations
from nas.history import History
from nas.objective import Objective
from nas.parents.measured import chosen_finalists
from nas.parents.references import reference_genotypes
from nas.search.config import SearchConfig
from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from search_spaces.parent import parent_space
from tests.commands import search as run
from tests.nas.parents import toys
from train.data import load

SPACE = parent_space(toys.PARENT)
Seconds = Callable[[Architecture], float]


def seconds_of(network: Architecture) -> float:
    """Return times that are not proportional to FLOPs."""
    spent = cost(network)
    return 1e-4 + 2e-5 * len(list(network.blocks())) + 1e-9 * spent.flops + 4e-9 * spent.activations


@pytest.fixture
def measurements(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """Replace measurements by `seconds_of` with 2% noise; record the networks of each call."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    counts: list[int] = []

    def measured(networks: Sequence[Architecture], setting: object, **how: object) -> list[Timing]:
        counts.append(len(networks))
        noise = np.random.default_rng(len(counts)).normal(1, 0.02, len(networks))
        return [
            Timing(seconds_of(each) * factor, 0.02 * seconds_of(each), "")
            for each, factor in zip(networks, noise, strict=True)
        ]

    for module in ("nas.devices.fitted", "nas.parents.measured"):
        monkeypatch.setattr(f"{module}.measured", measured)
    return counts


def fitted(lines: list[str] | None = None, path: Path | None = None) -> FittedTimes:
    say = None if lines is None else lines.append
    return fitted_times(SPACE, kind="latency", path=path, say=say)


def test_few_measured_networks_predict_the_others(measurements: list[int]) -> None:
    lines: list[str] = []
    times = fitted(lines)
    assert sum(measurements) <= 24
    assert times.error < 0.08
    assert "% when each is predicted from the others" in lines[-1]
    genotypes = SPACE.sample(60, np.random.default_rng(9))
    found = times.of(SPACE)
    real = np.array([seconds_of(SPACE.decode(each)) for each in genotypes])
    assert np.abs(found(genotypes) / real - 1).mean() < 0.08
    assert ((found.error(genotypes) > 0) & (found.error(genotypes) < real)).all()


def test_measured_networks_are_kept(measurements: list[int], tmp_path: Path) -> None:
    first = fitted([])
    assert fitted([]).digest == first.digest
    first.write(tmp_path / "times-latency.json")
    assert fitted([], tmp_path / "times-latency.json").digest == first.digest
    assert len(measurements) == 1


def test_times_that_nothing_explains_are_warned_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rng = np.random.default_rng(0)
    monkeypatch.setattr(
        "nas.devices.fitted.measured",
        lambda networks, *_, **__: [Timing(rng.uniform(1, 5), 0.1, "") for _ in networks],
    )
    lines: list[str] = []
    fitted(lines)
    assert lines[-1].startswith("times: warning: latency: predicted from")


def searched(limit: float) -> History:
    """Return the history of a search whose best networks are the largest within a limit."""
    space = SPACE.measured_by(latency=fitted([]).of(SPACE))
    history = History(space, Objective(limit, "feasible", of="latency"))
    genotypes = np.unique(SPACE.sample(400, np.random.default_rng(1)), axis=0)
    genotypes = genotypes[space.costs(genotypes).get("latency") <= limit]
    accuracy = 90 * space.costs(genotypes).get("latency") / limit
    nothing = np.zeros(len(genotypes))
    history.extend(genotypes, Evaluations(accuracy, nothing, nothing), space.costs(genotypes))
    return history


CONFIG = SearchConfig(parent="x.safetensors", data="imagefolder:x", target_latency=0.5, finalists=3)


def test_finalists_are_measured_and_those_too_slow_replaced(
    measurements: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limit = 0.6 * seconds_of(toys.PARENT)
    history = searched(limit)
    named, times = chosen_finalists(history, CONFIG, tmp_path)
    assert {"found 1", "found 2", "found 3"} <= set(named)
    for genotype in named.values():
        assert times[SPACE.decode(genotype).key]["latency"] <= 1.02 * limit
    assert times[toys.PARENT.key]["latency"] == pytest.approx(seconds_of(toys.PARENT), rel=0.1)
    refused = capsys.readouterr().err.count("trying the next network")
    assert len(times) == len({SPACE.decode(each).key for each in named.values()}) + 1 + refused
    before = len(measurements)
    again, _ = chosen_finalists(history, CONFIG, tmp_path)
    assert {*again} == {*named}
    assert len(measurements) == before  # a resumed search measures nothing again


def test_a_biased_prediction_is_corrected_by_what_was_measured(
    measurements: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 0.6 * seconds_of(toys.PARENT)
    history = searched(limit)
    monkeypatch.setattr(
        "nas.parents.measured.measured",
        lambda networks, *_, **__: [Timing(1.3 * seconds_of(n), 1e-9, "") for n in networks],
    )
    named, times = chosen_finalists(history, CONFIG, tmp_path)
    found = [each for name, each in named.items() if name.startswith("found")]
    assert found
    assert all(times[SPACE.decode(each).key]["latency"] <= limit for each in found)


def test_without_limits_of_time_nothing_is_measured(
    measurements: list[int], tmp_path: Path
) -> None:
    history = History(SPACE, Objective(6e5, "feasible"))
    genotypes = np.unique(SPACE.sample(50, np.random.default_rng(1)), axis=0)
    genotypes = genotypes[SPACE.costs(genotypes).flops <= 6e5]
    nothing = np.zeros(len(genotypes))
    history.extend(genotypes, Evaluations(50 + nothing, nothing, nothing), SPACE.costs(genotypes))
    named, times = chosen_finalists(history, CONFIG, tmp_path)
    assert {"found 1", "found 3", *reference_genotypes(SPACE, history.objective)} <= {*named}
    assert (times, measurements) == ({}, [])


def test_finalists_differ_in_resolution(tmp_path: Path) -> None:
    """Scores before fine-tuning favour low resolutions, at which few layers are missing."""
    space = parent_space(replace(toys.PARENT, resolution=64))
    history = History(space, Objective(1e6, "feasible"))
    genotypes = np.unique(space.sample(400, np.random.default_rng(1)), axis=0)
    genotypes = genotypes[space.costs(genotypes).flops <= 1e6]
    sides = np.array([space.decode(each).resolution for each in genotypes])
    scores = 60 - 0.5 * sides + np.random.default_rng(2).uniform(0, 1, len(sides))
    nothing = np.zeros(len(genotypes))
    history.extend(genotypes, Evaluations(scores, nothing, nothing), space.costs(genotypes))
    named, _ = chosen_finalists(history, CONFIG, tmp_path)
    found = [space.decode(named[f"found {place}"]).resolution for place in (1, 2, 3)]
    assert found == sorted({*sides})[:3]
    best = genotypes[sides == found[1]][scores[sides == found[1]].argmax()]
    assert (named["found 2"] == best).all()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images and the weights of a parent."""
    place = tmp_path_factory.mktemp("parent")
    data = load(toys.image_folder(place / "images"), minival=0.2)
    toys.trained_parent(place / "parent.safetensors", data)
    return place


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--target-latency", "1us"], "latency: a limit of 1"),
        (["--target-latency", "20s"], "target: 20"),
        (["--target-latency", "1ms", "--times", "t.json"], "--times: a search with --parent meas"),
        (["--target-step-time", "1s", "--runtime", "openvno"], "--runtime: 'openvno' is unknown"),
    ],
)
def test_mistakes_are_one_line(
    measurements: list[int],
    place: Path,
    more: list[str],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    images = f"imagefolder:{place / 'images'}"
    words = ["--parent", str(place / "parent.safetensors"), "--data", images]
    assert run([*words, "--set", "minival=0.2", "--set", "batch=16", *more]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"nas.search: {complaint}")
    assert not (tmp_path / "runs").exists()
