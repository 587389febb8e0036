"""Which cheap training ranks as a long one does: statistics, choice of networks, answers."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from nas.data_space import space_for
from nas.evaluators.base import Answer, Point
from nas.evaluators.proxy import Fidelity
from nas.fidelity.plan import ladder, longest_of, spread, within, work
from nas.fidelity.ranks import Estimate, answer, estimate, judge, kendall, spearman
from nas.fidelity.remembered import Extent, path_of, recommended, remember
from nas.storage.cache import default_folder
from tests.nas.toys import small_space, tiny_space
from tests.train import toys
from train.data.summary import DataSummary
from train.recipe import preset

LONG, SHORT = Fidelity(4), Fidelity(2)
FOUND = {"train": "12ab"}


@pytest.mark.parametrize("tied", [False, True])
def test_rank_correlations_are_those_of_scipy(tied: bool) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        first, second = rng.normal(size=(2, 9))
        if tied:
            first, second = first.round(), second.round()
        assert kendall(first, second) == pytest.approx(stats.kendalltau(first, second)[0])
        assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second)[0])
    assert kendall(np.ones(5), np.arange(5)) == spearman(np.ones(5), np.arange(5)) == 0


def test_an_interval_holds_the_correlation_and_narrows_with_more_networks() -> None:
    widths = []
    for count in (8, 40):
        rng = np.random.default_rng(1)
        quality = rng.normal(size=(count, 1))
        first, second = quality + 0.5 * rng.normal(size=(2, count, 2))
        found = estimate(kendall, first, second)
        pairs = [stats.kendalltau(first[:, a], second[:, 1 - a])[0] for a in (0, 1)]
        assert found.value == pytest.approx(np.mean(pairs))
        assert found.low < found.value < found.high
        widths.append(found.high - found.low)
    assert widths[1] < 0.7 * widths[0]


def test_too_few_networks_have_no_correlation() -> None:
    first = np.arange(8.0).reshape(4, 2)
    assert estimate(kendall, first, first) != Estimate(np.nan, np.nan, np.nan)
    first[2, 1] = np.nan
    assert np.isnan(estimate(kendall, first, first).value)


def answers(fidelity: Fidelity, noise: float, *, seed: int, broken: bool = False) -> list[Any]:
    """Return accuracies [12 networks][2 seeds]: true ones from 60 to 82 percent, plus noise."""
    rng = np.random.default_rng(seed)
    table = []
    for network in range(12):
        row = []
        for _ in range(2):
            accuracy = 60 + 2 * network + noise * rng.normal()
            steps = range(1, fidelity.epochs + 1)
            curve = [Point(step, accuracy * step / fidelity.epochs, 3.0 * step) for step in steps]
            row.append(Answer.of_curve(curve))
        table.append(row)
    if broken:
        table[3][1] = Answer.failed("RuntimeError: the loss is not a number")
    return table


@pytest.mark.parametrize(("noise", "expected"), [(1.0, SHORT), (100.0, LONG)])
def test_the_answer_is_the_cheapest_that_ranks_like_the_longest(
    noise: float, expected: Fidelity
) -> None:
    table = [answers(SHORT, noise, seed=1), answers(LONG, 1.0, seed=2)]
    found = answer(judge(table, [SHORT, LONG]))
    assert found is not None
    assert found.fidelity == expected


def test_there_is_no_answer_where_the_longest_does_not_agree_with_itself() -> None:
    one, other = answers(LONG, 1.0, seed=2), answers(LONG, 1.0, seed=2)[::-1]
    long = [[first[0], second[1]] for first, second in zip(one, other, strict=True)]
    assert answer(judge([answers(SHORT, 1.0, seed=1), long], [SHORT, LONG])) is None


def test_what_is_told_of_a_fidelity_is_what_was_measured() -> None:
    table = [answers(SHORT, 3.0, seed=5), answers(LONG, 2.0, seed=6)]
    short, long = judge(table, [SHORT, LONG])
    assert (short.seconds, long.seconds) == (6.0, 12.0)
    pairs = np.array([[each.accuracy for each in row] for row in table[1]])
    assert long.seed_sd == pytest.approx(np.sqrt(((pairs[:, 0] - pairs[:, 1]) ** 2 / 2).mean()))
    assert long.kendall.value == pytest.approx(stats.kendalltau(*pairs.T)[0])
    assert long.spread == pytest.approx(pairs.mean(1).std(ddof=1))
    assert [rung.epoch for rung in long.rungs] == [1, 2, 3, 4]
    assert long.rungs[-1].kendall == long.kendall
    assert [rung.seconds for rung in short.rungs] == [3.0, 6.0]


def test_a_failed_training_takes_its_network_out_of_the_comparison() -> None:
    table = [answers(SHORT, 1.0, seed=5, broken=True), answers(LONG, 1.0, seed=6)]
    short, long = judge(table, [SHORT, LONG])
    assert (short.networks, long.networks) == (11, 12)
    assert short.worth


def test_networks_are_spread_over_flops_and_unlike_each_other() -> None:
    the_space = small_space()
    objective = within(the_space, 300e3)
    chosen = spread(the_space, objective, 12)
    flops = the_space.costs(chosen).flops
    assert (np.diff(flops) > 0).all()
    assert flops.max() <= 300e3
    assert flops.max() > 1.3 * flops.min()
    assert (chosen == spread(the_space, objective, 12)).all()

    def nearest(genotypes: np.ndarray) -> float:
        differing = (genotypes[:, None] != genotypes[None]).sum(2)
        return float((differing + 99 * np.eye(len(genotypes), dtype=int)).min(1).mean())

    draws = the_space.sample(4000, np.random.default_rng(9))
    draws = draws[objective.feasible(the_space.costs(draws))]
    assert nearest(chosen) > nearest(draws[:12])


def test_more_networks_than_there_are_is_told() -> None:
    with pytest.raises(ValueError, match="networks: 40 are too many; only 24 were found"):
        spread(tiny_space(), within(tiny_space(), None), 40)
    with pytest.raises(ValueError, match="below the range of space 'compact'"):
        within(small_space(), 1000.0)


@pytest.mark.parametrize(
    ("images", "side", "longest", "cheaper"),
    [
        (45_000, 32, "epochs=10,share=0.44", 5),
        (1_150_000, 224, "epochs=10,share=0.017", 5),
        (3_000, 28, "epochs=14,share=1", 3),
        (400, 16, "epochs=100,share=1", 1),
    ],
)
def test_fidelities_follow_the_size_of_the_data(
    images: int, side: int, longest: str, cheaper: int
) -> None:
    found = longest_of(preset("proxy"), images=images)
    assert str(found) == longest
    others = ladder(found, images=images, side=side, batch=128)
    assert len(set(others)) == len(others) == cheaper
    cost = functools.partial(work, images=images, held=min(images // 9, 10_000), side=side)
    assert all(cost(each) < 0.7 * cost(found) for each in others)


@pytest.mark.parametrize(
    ("side", "options", "expected"),
    [
        (28, {}, (28, True)),
        (28, {"resolution": 96}, (96, False)),
        (28, {"small_images": False}, (28, False)),
        (300, {}, (224, False)),
        (None, {}, (224, False)),
    ],
)
def test_a_space_fits_its_data(
    side: int | None, options: dict[str, Any], expected: tuple[int, bool]
) -> None:
    data = DataSummary(("red", "green"), 100, 10, side, FOUND)
    settings = space_for(data, "compact", classes=2, **options).settings
    assert (settings["resolution"], settings["small_images"]) == expected
    assert settings["classes"] == 2


def test_a_space_fits_loaded_images_too() -> None:
    assert space_for(toys.data(), "compact").settings["resolution"] == 16
    with pytest.raises(ValueError, match=r"classes: 10 is not allowed; the data have 3"):
        space_for(toys.data(), "compact", classes=10)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def keep(found: Fidelity | None, extent: Extent | None = None) -> str:
    """Remember an answer for FOUND, by default of 12 networks and 2 seeds."""
    extent = extent or Extent(12, 2, LONG)
    return remember(
        found, FOUND, small_space(), preset("proxy"), extent=extent, details={"why": "a test"}
    )


def test_an_answer_is_found_for_equal_data_space_and_recipe_only() -> None:
    the_space, recipe = small_space(), preset("proxy")
    assert recommended(FOUND, the_space, recipe) is None
    assert keep(SHORT) == ""
    assert recommended(FOUND, the_space, recipe) == SHORT
    assert recommended(FOUND, the_space, replace(recipe, seed=7)) == SHORT
    assert recommended({"train": "34cd"}, the_space, recipe) is None
    assert recommended(FOUND, small_space(width=1.0), recipe) is None
    assert recommended(FOUND, the_space, replace(recipe, lr=0.1)) is None
    assert keep(None).startswith(f"--fidelity auto is now undefined; before it was {SHORT}")
    assert recommended(FOUND, the_space, recipe) is None


@pytest.mark.parametrize(
    ("extent", "replaces"),
    [
        (Extent(12, 2, LONG), True),
        (Extent(8, 3, LONG), True),
        (Extent(20, 3, Fidelity(10)), True),
        (Extent(20, 3, Fidelity(8, 0.5)), True),
        (Extent(11, 2, LONG), False),
        (Extent(4, 5, Fidelity(30)), False),
        (Extent(200, 20, SHORT), False),
        (Extent(200, 20, Fidelity(4, 0.5)), False),
        (Extent(200, 20, Fidelity(4, 1.0, 16)), False),
    ],
)
def test_a_quick_comparison_replaces_no_larger_one(extent: Extent, replaces: bool) -> None:
    assert keep(SHORT) == ""
    assert keep(SHORT) == ""  # repeated
    said = keep(Fidelity(1), extent)
    assert recommended(FOUND, small_space(), preset("proxy")) == (
        Fidelity(1) if replaces else SHORT
    )
    assert f"--fidelity auto {'is now epochs=1' if replaces else 'remains epochs=2'}" in said
    assert "12 networks x 2 seeds, longest epochs=4,share=1" in said
    assert "\n" not in said


@pytest.mark.parametrize(
    "changes",
    [
        {"fidelity": 3},
        {"fidelity": "x"},
        {"version": 99},
        {"networks": "12"},
        {"seeds": None},
        {"longest": 3},
        {"longest": "share=1"},
        "",
        "[]",
        "{}",
        "[" * 100_000,
    ],
)
def test_a_damaged_answer_counts_as_none(changes: Any) -> None:
    keep(SHORT)
    path = path_of(FOUND, small_space(), preset("proxy"))
    assert path.parent.parent == default_folder().parent
    sound = json.loads(path.read_text())
    path.write_text(changes if isinstance(changes, str) else json.dumps(sound | changes))
    assert recommended(FOUND, small_space(), preset("proxy")) is None
    assert keep(SHORT, Extent(4, 2, SHORT)) == ""
    assert recommended(FOUND, small_space(), preset("proxy")) == SHORT
