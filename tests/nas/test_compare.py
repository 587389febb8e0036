"""Comparisons of searches from Python, with intervals equal to scipy's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from nas import SearchConfig, SearchResult, compare_searches, run_search
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
    welch = stats.ttest_ind(best["evolution"], best["random"], equal_var=False)
    interval = welch.confidence_interval(0.95)
    difference = comparison.difference("evolution", "random")
    assert (difference.low, difference.high) == pytest.approx((interval.low, interval.high))
    assert difference.low > 0
    assert "evolution above random by" in str(comparison)
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


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no group"):
        compare_searches({})
    with pytest.raises(ValueError, match="'a' needs a list of searches"):
        compare_searches({"a": []})
    with pytest.raises(ValueError, match="holds no search"):
        compare_searches({"a": [tmp_path]})
    (tmp_path / "history.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="cannot be read"):
        compare_searches({"a": [tmp_path]})


def test_searches_of_other_rewards_are_not_compared(
    results: dict[str, list[SearchResult]], tmp_path: Path
) -> None:
    other = run_search(SearchConfig(target_flops=300e6, budget=200), out=tmp_path / "other")
    for each in (other, other.folder):
        with pytest.raises(ValueError, match="maximise different rewards"):
            compare_searches({"a": results["random"], "b": [each]})


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
