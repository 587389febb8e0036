"""Comparisons of searches from Python, with intervals equal to scipy's."""

from __future__ import annotations

import json
import math
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from scipy import stats

from nas import SearchComparison, SearchConfig, SearchResult, compare_searches, run_search
from nas.compare.interval import Interval
from nas.compare.page import _curves
from search_spaces.architecture import Architecture


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[SearchResult]]:
    place = tmp_path_factory.mktemp("searches")
    config = SearchConfig(target_flops=400e6, budget=3000)
    return {
        strategy: [
            run_search(replace(config, strategy=strategy, seed=s), out=place / f"{strategy}-{s}")
            for s in range(3)
        ]
        for strategy in ("evolution", "random")
    }


def test_a_search_from_python_has_its_network_and_table(
    results: dict[str, list[SearchResult]],
) -> None:
    result = results["evolution"][0]
    assert result.status == "finished"
    assert isinstance(result.best.architecture, Architecture)
    assert result.best.costs["flops"] <= 400e6
    table = result.to_pandas()
    assert len(table) == 3000
    assert table["reward"].max() == pytest.approx(result.best.reward)
    assert [one.costs["flops"] for one in result.front] == sorted(
        one.costs["flops"] for one in result.front
    )
    again = run_search(out=result.folder, resume=True, changes={"budget": 3100})
    assert len(again.history) == 3100


def test_groups_are_compared_as_scipy_does(results: dict[str, list[SearchResult]]) -> None:
    comparison = compare_searches(results)
    assert comparison.evaluations == 3000
    best = {
        name: np.array([one.history.reward[:3000].max() for one in group])
        for name, group in results.items()
    }
    found = comparison.best("evolution")
    low, high = stats.t.interval(
        0.95, 2, loc=best["evolution"].mean(), scale=stats.sem(best["evolution"])
    )
    assert tuple(found) == pytest.approx((best["evolution"].mean(), low, high))
    difference = comparison.difference("evolution", "random")
    interval = stats.ttest_rel(best["evolution"], best["random"]).confidence_interval(0.95)
    assert (difference.low, difference.high) == pytest.approx((interval.low, interval.high))
    assert difference.low > 0
    assert "evolution above random by" in str(comparison)
    assert "paired by seed" in str(comparison)
    others = compare_searches({**results, "random": results["random"][:2]})
    welch = stats.ttest_ind(best["evolution"], best["random"][:2], equal_var=False)
    interval = welch.confidence_interval(0.95)
    difference = others.difference("evolution", "random")
    assert (difference.low, difference.high) == pytest.approx((interval.low, interval.high))
    assert "Welch" in str(others)
    assert list(comparison.to_pandas().columns) == ["searches", "mean", "low", "high"]


def test_folders_and_results_say_the_same_and_are_drawn(
    results: dict[str, list[SearchResult]], tmp_path: Path
) -> None:
    folders = {name: [one.folder for one in group] for name, group in results.items()}
    comparison = compare_searches(folders)
    exact = compare_searches(results).best("random")  # the folders' numbers are rounded
    assert comparison.best("random") == pytest.approx(exact, abs=1e-3)
    comparison.plot(tmp_path / "comparison.png")
    assert (tmp_path / "comparison.png").stat().st_size > 5_000


def test_groups_that_only_made_the_same_random_networks_are_pointed_out() -> None:
    groups = {
        strategy: [
            run_search(SearchConfig(target_flops=400e6, strategy=strategy, budget=60, seed=seed))
            for seed in range(2)
        ]
        for strategy in ("random", "evolution", "local")
    }
    (note,) = compare_searches(groups).notes
    assert note.startswith("random and evolution have equal results; ")


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no group"):
        compare_searches({})
    with pytest.raises(ValueError, match="'a' needs a list of searches"):
        compare_searches({"a": []})
    with pytest.raises(ValueError, match="holds no search"):
        compare_searches({"a": [tmp_path]})
    with pytest.raises(ValueError, match="does not exist"):
        compare_searches({"a": [tmp_path / "nowhere"]})
    (tmp_path / "history.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"history\.parquet cannot be read"):
        compare_searches({"a": [tmp_path]})


def write_history(folder: Path, rewards: list[Any], error: str = "") -> Path:
    folder.mkdir()
    table = pa.table(
        {"reward": rewards, "fidelity": [1.0] * len(rewards), "error": [error] * len(rewards)}
    )
    parquet.write_table(table, folder / "history.parquet")
    return folder


def test_a_history_of_other_types_or_without_a_success_is_refused(tmp_path: Path) -> None:
    for number, rewards in enumerate((["a"], [[1.0]], [None])):
        folder = write_history(tmp_path / f"{number}", rewards)
        with pytest.raises(ValueError, match=r"history.parquet cannot be read \(column reward"):
            compare_searches({"a": [folder]})
    failed = write_history(tmp_path / "failed", [1.0, 2.0], error="broken")
    with pytest.raises(ValueError, match="failed has no successful evaluation"):
        compare_searches({"a": [failed]})


def test_a_search_of_one_evaluation_is_compared_and_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = (write_history(tmp_path / f"{n}", [60.0 + n] * n) for n in (1, 2))
    comparison = compare_searches({"a": [one], "b": [two]})
    assert "1 has no search.json, so its options are not checked" in capsys.readouterr().err
    text = str(comparison)
    assert "best reward after 1 evaluation, " in text
    assert "61.00, 1 search\n" in text
    assert "compared after 1 of 2 evaluations" in text
    assert str(one) in text
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        comparison.plot(tmp_path / "one.png")


def test_a_figure_of_many_groups_has_its_legend_beside_the_axes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    curves = {f"group {n}": np.sort(rng.normal(n, 1, (3, 50)), axis=1) for n in range(12)}
    figure = SearchComparison(curves).plot(tmp_path / "many.png")
    assert not figure.axes[0].get_legend()
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[0] == "group 11, 3 searches"
    lines = figure.axes[0].get_lines()
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 12


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((65.021, 64.48, 65.57), "65.02 (64.48 to 65.57)"),
        ((0.34, -0.54, 1.22), "0.34 (-0.54 to 1.22)"),
        ((0.6502, 0.6491, 0.6513), "0.6502 (0.6491 to 0.6513)"),
        ((1.234e-7, 1.1e-7, 1.4e-7), "1.234e-07 (1.1e-07 to 1.4e-07)"),
        ((2.5e9, 2.4e9, 2.6e9), "2.5e+09 (2.4e+09 to 2.6e+09)"),
        ((65.02, math.nan, math.nan), "65.02"),
        ((math.nan, math.nan, math.nan), "-"),
    ],
)
def test_numbers_have_significant_digits(values: tuple[float, float, float], expected: str) -> None:
    assert str(Interval(*values)) == expected


def test_searches_of_other_rewards_are_not_compared(
    results: dict[str, list[SearchResult]], tmp_path: Path
) -> None:
    other = run_search(SearchConfig(target_flops=300e6, budget=200), out=tmp_path / "other")
    for each in (other, other.folder):
        with pytest.raises(ValueError, match="maximise different rewards"):
            compare_searches({"a": results["random"], "b": [each]})


def test_searches_by_other_schedules_are_refused_and_other_spaces_are_reported(
    results: dict[str, list[SearchResult]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = SearchConfig(target_flops=400e6, budget=200)
    long = run_search(replace(config, schedule="long"), out=tmp_path / "long")
    with pytest.raises(ValueError, match=r"--schedule short and --schedule long"):
        compare_searches({"a": results["random"], "b": [long]})
    capsys.readouterr()
    smaller = run_search(config, out=tmp_path / "smaller")
    record = smaller.folder / "search.json"
    record.write_text(record.read_text().replace('"resolution": 224', '"resolution": 192'))
    found = compare_searches({"a": results["random"][:1], "b": [smaller.folder]})
    assert "search different spaces (--resolution 224 and --resolution 192)" in (
        capsys.readouterr().err
    )
    assert f"because {smaller.folder} has no more" in str(found)


def test_searches_on_other_measured_times_are_refused(
    results: dict[str, list[SearchResult]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(name: str, digest: str, resolution: int = 224) -> Path:
        folder = tmp_path / name
        shutil.copytree(results["random"][0].folder, folder)
        content = json.loads((folder / "search.json").read_text())
        content["digests"]["times_sha256"] = {"latency": digest}
        content["settings"]["resolution"] = resolution
        (folder / "search.json").write_text(json.dumps(content))
        return folder

    first, same, other = measured("a", "1"), measured("b", "1"), measured("c", "2")
    compare_searches({"a": [first], "b": [same, results["random"][1]]})
    with pytest.raises(ValueError, match=r"a and \S+c use different measured times, so their"):
        compare_searches({"a": [first, same], "b": [other]})
    capsys.readouterr()  # a table of another space contains other blocks
    compare_searches({"a": [first], "b": [measured("d", "3", resolution=192)]})
    assert "search different spaces" in capsys.readouterr().err


def test_a_single_group_has_no_difference(results: dict[str, list[SearchResult]]) -> None:
    lines = str(compare_searches({"random": results["random"]})).splitlines()
    assert lines[2:] == ["  there is only one group of searches; a comparison needs at least two"]


def test_what_describes_no_run_is_refused(
    results: dict[str, list[SearchResult]], tmp_path: Path
) -> None:
    done, config = results["random"][0].folder, SearchConfig(target_flops=300e6)
    with pytest.raises(ValueError, match="a resumed run reads its record"):
        run_search(config, out=done, resume=True)
    with pytest.raises(ValueError, match="only a resumed run takes them"):
        run_search(config, out=tmp_path / "new", changes={"budget": 3})
    with pytest.raises(ValueError, match="'bugdet' is unknown; did you mean budget"):
        run_search(out=done, resume=True, changes={"bugdet": 3})
    with pytest.raises(TypeError, match="a SearchConfig is required; it is missing"):
        run_search(out=tmp_path / "new")
    with pytest.raises(TypeError, match="a SearchConfig is required"):
        run_search({"target_flops": "400M"})  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_curves_that_begin_with_failures_are_drawn_without_nan(tmp_path: Path) -> None:
    curves = {"a": np.array([[math.nan, 1e-7, 2e-7], [1e-7, 3e-7, 3e-7]])}
    comparison = SearchComparison(curves)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        comparison.plot(tmp_path / "late.png")
    assert "nan" not in str(comparison)
    assert comparison.best("a", after=1).mean != comparison.best("a", after=1).mean
    (series,) = _curves(comparison).series
    assert [point.x for point in series.points] == [2, 3]
