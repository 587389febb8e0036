"""Grids: which candidates there are, and the command from images to coefficients."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scaling.compound import Factors, Rules, grown
from scaling.grid import AXES, candidates, grid, proxy_base, shares, spread
from scaling.grid_command import run
from scaling.grid_report import Record, noise_told, read
from scaling.trainings import usual_fidelity
from search_spaces.architecture import Architecture
from search_spaces.catalog import zoo
from search_spaces.cost import cost
from tests.train.files import encoded

ROOT = Path(__file__).resolve().parents[2]
B0 = zoo("efficientnet_b0")


def test_candidates_are_all_distinct_networks_of_the_grid_that_meet_the_growth() -> None:
    found = candidates(B0, growth=2.0, step=0.1, tolerance=0.05)
    brute = set()
    ways = [round(1 + 0.1 * i, 6) for i in range(14)]
    for depth, width, side in itertools.product(ways, ways, ways):
        if not 0.8 < depth * width**2 * side**2 < 2.5:
            continue  # far from the growth, whatever is rounded
        for layers in ("up", "nearest"):
            network = grown(B0, Factors(depth, width, side), Rules(layers=layers))
            if abs(cost(network).flops / cost(B0).flops / 2 - 1) <= 0.05:
                brute.add(network)
    networks = [each.architecture for each in found]
    assert len(set(networks)) == len(networks)
    controls = {each.architecture for each in found if each.is_control}
    assert {*networks} - controls <= brute <= {*networks}
    assert len({each.name for each in found}) == len(found)


def test_facts_about_b0s_grid() -> None:
    """FACTS section 3: step 0.05, formula near 2: networks of 1.93 to 3.33 times the cost."""
    ways = [round(1 + 0.05 * i, 6) for i in range(23)]
    near = [
        Factors(*point) for point in itertools.product(ways, ways, ways)
        if abs(Factors(*point).growth / 2 - 1) <= 0.05
    ]  # fmt: skip
    real = {network: cost(network).flops / cost(B0).flops
            for network in (grown(B0, factors) for factors in near)}  # fmt: skip
    assert min(real.values()) == pytest.approx(1.93, abs=0.05)
    assert max(real.values()) == pytest.approx(3.33, abs=0.1)
    for each in candidates(B0):
        assert abs(each.growth / 2 - 1) <= 0.05 or each.is_control


def test_controls_grow_along_one_axis_at_the_same_cost() -> None:
    controls = {each.name: each for each in candidates(B0) if each.is_control}
    assert tuple(controls) == AXES
    for axis, each in controls.items():
        assert each.growth == pytest.approx(2.0, rel=0.05)
        for other in AXES:
            if other != axis:
                assert getattr(each.real, other) == 1.0


def test_the_base_itself_is_no_candidate() -> None:
    for each in candidates(B0, growth=1.1, tolerance=0.5):
        assert each.architecture != B0
        assert sum(shares(each)) == pytest.approx(1.0)


def test_the_papers_coefficients_are_among_them() -> None:
    assert "(1.2, 1.1, 1.15)" in [str(each) for each in grid(B0)]


def apart(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Distances [n, m] of places [n, k] from others [m, k]."""
    return np.sqrt(((places[:, None] - others[None]) ** 2).sum(2))


def test_spread_covers_the_triangle() -> None:
    found = candidates(B0)
    chosen = spread(found, 10)
    assert sum(not each.is_control for each in chosen) == 10
    assert sum(each.is_control for each in chosen) == 3
    assert {*chosen} <= {*found}
    places = np.array([shares(each) for each in found if not each.is_control])
    trained = np.array([shares(each) for each in chosen])
    assert apart(places, trained).min(1).max() < 0.35
    assert apart(trained[:10], trained[10:]).min() > 0.2  # none repeats a control
    assert places.sum(1) == pytest.approx(1.0)


def test_growth_may_be_of_any_cost() -> None:
    """Seconds that rise with the side only; few networks are asked for them."""
    asked: list[int] = []

    def costs(networks: Sequence[Architecture]) -> list[float]:
        asked.append(len(networks))
        return [float(network.resolution**2) for network in networks]

    found = candidates(B0, growth=1.5, costs=costs)
    assert asked[0] <= 80
    for each in found:
        assert each.architecture.resolution**2 / 224**2 == pytest.approx(each.growth)
    assert {each.name for each in found if each.is_control} == {*AXES}


def test_candidates_are_looked_for_where_times_should_meet_the_growth() -> None:
    def seconds(networks: Sequence[Architecture]) -> list[float]:
        costs = [cost(network) for network in networks]
        return [each.flops**0.85 * each.activations**0.1 for each in costs]

    found = candidates(B0, costs=seconds)
    assert sum(not each.is_control for each in found) >= 14
    own, *others = seconds([B0, *(each.architecture for each in found)])
    for each, other in zip(found, others, strict=True):
        assert each.is_control or other / own == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"growth": 1.0}, "growth: 1.0 is not allowed"),
        ({"step": 0.0}, "step: 0.0 is not allowed"),
        ({"tolerance": 1.0}, "tolerance: 1.0 is not allowed"),
        ({"growth": 1.02, "tolerance": 0.001}, "growth: no candidate costs 1.02 times the base "
         "within 0.1%; the nearest costs 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match="^" + complaint):
        candidates(B0, **changes)


def test_a_proxy_is_narrowed_to_its_flops() -> None:
    small = proxy_base(B0, classes=10, resolution=32, small_images=True, flops=4e6)
    assert 3e6 < cost(small).flops <= 4e6
    assert (small.resolution, small.classes) == (32, 10)
    assert [stage.layers for stage in small.stages] == [stage.layers for stage in B0.stages]
    with pytest.raises(ValueError, match=r"proxy: the base cannot be narrowed to 0.01M FLOPs"):
        proxy_base(B0, resolution=32, flops=1e4)
    with pytest.raises(ValueError, match="resolution: vanishes"):
        proxy_base(B0, resolution=4)


def test_a_proxy_is_no_narrower_than_asked_for() -> None:
    least = proxy_base(B0, resolution=96, flops=3e6, narrowest=0.15)
    assert cost(least).flops > 3e6
    assert least == proxy_base(B0, resolution=96, width=0.15)
    small = proxy_base(B0, resolution=32, flops=3e6, narrowest=0.15)
    assert cost(small).flops <= 3e6


@pytest.mark.parametrize(
    ("images", "classes", "text"),
    [
        (45_000, 10, "epochs=8,share=0.2"),
        (45_000, 100, "epochs=8,share=0.2"),
        (1_268_000, 1000, "epochs=8,share=0.071"),
        (3_300, 5, "epochs=22,share=1"),
        (200, 2, "epochs=60,share=1"),
    ],
)
def test_trainings_suit_the_number_of_images(images: int, classes: int, text: str) -> None:
    assert str(usual_fidelity(images, classes)) == text


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("images")
    number = 0
    for split, count in (("train", 40), ("test", 6)):
        for label in ("a", "b"):
            (place / split / label).mkdir(parents=True)
            for index in range(count):
                number += 1
                (place / split / label / f"{index}.png").write_bytes(encoded(number))
    return f"imagefolder:{place}"


def command(images: str, place: Path, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "scaling.grid", "--base", "mobilenet_v2", "--data", images,
        "--candidates", "4", "--seeds", "2", "--fidelity", "epochs=1", "--set", "batch=16",
        "--proxy-width", "0.1", "--workers", "2", "--device", "cpu", "--cache",
        str(place / "cache"), "--out", str(place / "grid"), *more,
    ]  # fmt: skip


def called(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=300, cwd=ROOT)


def finished_trials(study: Path) -> list[tuple[int, str]]:
    if not study.exists():
        return []
    with sqlite3.connect(f"file:{study}?mode=ro", uri=True) as database:
        query = "select number, datetime_complete from trials where state = 'COMPLETE'"
        try:
            return sorted(database.execute(query).fetchall())
        except sqlite3.OperationalError:  # not made yet
            return []


def test_a_grid_that_was_killed_repeats_no_finished_training(images: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    begun = subprocess.Popen(
        command(images, tmp_path), cwd=ROOT, env=environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    study = tmp_path / "grid" / "study.db"
    for _ in range(1200):
        if len(before := finished_trials(study)) >= 3:
            break
        time.sleep(0.1)
    os.killpg(begun.pid, signal.SIGKILL)
    begun.wait()
    partial = json.loads((tmp_path / "grid" / "grid.json").read_text())
    assert partial["partial"]
    done = called([*command(images, tmp_path)[:3], "--resume", "--out", str(tmp_path / "grid")])
    assert done.returncode == 0, done.stderr
    assert "of 14 were trained before" in done.stderr
    after = finished_trials(study)
    assert before == after[: len(before)] or {*before} <= {*after}
    assert len(after) == 14  # 4 candidates and 3 controls, two seeds each
    record = json.loads((tmp_path / "grid" / "grid.json").read_text())
    assert not record["partial"]
    assert record["outcome"]["trained"] == 14
    for row in record["candidates"]:
        assert set(row["accuracies"]) == {"0", "1"}
    chosen = record["outcome"]["chosen"]
    growth = chosen["alpha"] * chosen["beta"] ** 2 * chosen["gamma"] ** 2
    assert growth == pytest.approx(2.0, abs=0.01)
    assert min(chosen.values()) >= 1
    assert (tmp_path / "grid" / "grid.png").is_file()
    assert "scaling.family --base mobilenet_v2 --coefficients" in done.stdout
    assert "one axis alone: depth" in done.stdout

    more = called([*command(images, tmp_path)[:3], "--resume", "--out", str(tmp_path / "grid"),
                   "--seeds", "3"])  # fmt: skip
    assert more.returncode == 0, more.stderr
    assert len(finished_trials(study)) == 21
    assert {*after} <= {*finished_trials(study)}


def test_what_failed_is_trained_again_where_that_is_asked_for(images: str, tmp_path: Path) -> None:
    failed = called(command(images, tmp_path, "--seeds", "1", "--timeout", "1ms"))
    assert failed.returncode == 1, failed.stderr
    assert "no candidate could be trained" in failed.stderr
    assert "7 trainings failed, such as " in failed.stderr
    record = json.loads((tmp_path / "grid" / "grid.json").read_text())
    assert {row["seconds"] for row in record["candidates"]} == {None}

    words = [*command(images, tmp_path)[:3], "--resume", "--out", str(tmp_path / "grid"),
             "--timeout", "5min"]  # fmt: skip
    again = called(words)
    assert again.returncode == 1  # nobody asked for it
    mended = called([*words, "--retry-failed"])
    assert mended.returncode == 0, mended.stderr
    record = json.loads((tmp_path / "grid" / "grid.json").read_text())
    assert record["outcome"]["trained"] == 7
    assert not any(row["errors"] for row in record["candidates"])


def test_a_resume_that_is_refused_leaves_the_record(images: str, tmp_path: Path) -> None:
    found = spread(candidates(B0), 5)
    settings: dict[str, Any] = {"seeds": 1, "growth": 2.0, "storage": None}
    Record(tmp_path, settings, B0, found, resumed=False).write({}, "finished")
    before = (tmp_path / "grid.json").read_bytes()
    Record(tmp_path, settings, B0, found, resumed=True).end("failed")
    assert (tmp_path / "grid.json").read_bytes() == before


@pytest.mark.parametrize(
    ("noise", "more", "between", "told"),
    [
        (0.7, 6, 1.5, "noise hides the optimum (seeds differ by 0.70 points): about 6 more seeds"),
        (0.7, None, 1.2, "all candidates do about as well"),
        (0.7, None, 9.0, "but not as a smooth surface would"),
        (None, None, None, "one seed does not tell why: use --seeds 3"),
        (0.7, 0, 9.0, ""),
    ],
)
def test_what_hides_an_optimum_is_told(
    noise: float | None, more: int | None, between: float | None, told: str
) -> None:
    surface = {"hidden_by_noise": more != 0, "more_seeds": more, "seed_noise": noise,
               "between_over_noise": between}  # fmt: skip
    said = noise_told(surface)
    assert told in said
    assert bool(said) == bool(told)


def test_a_record_gives_back_its_candidates(tmp_path: Path) -> None:
    found = spread(candidates(B0), 5)
    settings: dict[str, Any] = {"seeds": 1, "growth": 2.0, "storage": None}
    Record(tmp_path, settings, B0, found, resumed=False)
    assert read(tmp_path / "grid.json") == (B0, found)
    (tmp_path / "grid.json").write_text("{}")
    with pytest.raises(ValueError, match="is damaged"):
        read(tmp_path / "grid.json")


def test_a_dry_run_lists_the_candidates_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    began = time.process_time()
    assert run(["--dry-run"]) == 0
    assert time.process_time() - began < 2
    shown = capsys.readouterr().out
    assert "(1.2, 1.1, 1.15)" in shown
    assert "17 would be trained (*)" in shown
    assert "resolution alone" in shown
    assert "nothing was trained" in shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["--growth", "0.5"], "growth: 0.5 is not allowed"),
        (["--growth", "50"], "growth: 50.0 is not allowed; use a number above 1, up to 10"),
        (["--step", "1"], "growth: no candidate costs 2 times"),
        (["--workers", "0"], "--workers: 0 is not allowed; use 1 or more"),
        (["--max-failures", "2"], "--max-failures: 2.0 is not allowed"),
        (["--timeout", "9"], "--timeout: '9' is not a time"),
        (["--growth", "1.02", "--tolerance", "0.001"], "growth: no candidate costs 1.02 times"),
        (["--proxy-resolution", "4"], "resolution: vanishes"),
        (["--candidates", "2"], "--candidates: 2 is not allowed; use 4 to 100"),
        (["--seeds", "0"], "--seeds: 0 is not allowed"),
        (["--objective", "watts"], "--objective: 'watts' is unknown; use flops, latency or"),
        (["--rules", "v3"], "rules: 'v3' is unknown"),
        (["--base", "efficientnet_b00"], "network: 'efficientnet_b00' is unknown"),
        (["--resume"], "resume: which grid? give its folder as --out DIR"),
        (["--resume", "--out", "nowhere"], "resume: nowhere holds no grid"),
        (["--recipe", "prox"], "recipe: 'prox' is unknown"),
        (["--set", "foo=1"], "--set foo=1: a recipe has no field"),
        (["--fidelity", "rubbish"], "fidelity: 'rubbish' is not understood"),
        (["--device", "gpu"], "device: 'gpu' is unknown; use auto, cpu, cuda or cuda:N"),
        (["--proxy-width", "0.5", "--proxy-flops", "1M"], "--proxy-flops: leave it out"),
        (["--growht", "2"], "unrecognized arguments: --growht 2"),
    ],
)
def test_mistakes_are_one_line(
    given: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--dry-run", *given]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"scaling.grid: {complaint}")
    assert told.count("\n") == 1


def test_images_that_cannot_be_used_are_refused_before_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "test"):
        (tmp_path / "images" / split / "only").mkdir(parents=True)
        (tmp_path / "images" / split / "only" / "0.png").write_bytes(encoded(0))
    out = tmp_path / "grid"
    for data in (f"imagefolder:{tmp_path / 'images'}", "imagefolder:nowhere", "cifra10"):
        assert run(["--data", data, "--out", str(out)]) == 2
        assert capsys.readouterr().err.startswith("scaling.grid: data: ")
        assert not out.exists()
