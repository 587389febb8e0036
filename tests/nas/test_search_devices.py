"""Searches with costs on named devices: results, displays, records and errors."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from nas import SearchConfig, run_search
from nas.devices import design, fit_device, load_device
from nas.search import SearchResult
from search_spaces.catalog import space as space_named
from tests.commands import search

SPACE = space_named("efficientnet")
BUDGET = 2_000


def seconds(genotypes: np.ndarray) -> np.ndarray:
    costs = SPACE.costs(genotypes)
    return 2e-3 + costs.flops * 1.5e-11 + costs.activations * 1.2e-9


def own_device(name: str = "my-phone", factor: float = 1.0) -> str:
    """Write the file of a device that was measured on ten networks into the current folder."""
    ten = design(SPACE, 10, np.random.default_rng(0))
    fit_device(SPACE, ten, factor * seconds(ten), name).save(f"{name}.json")
    return f"{name}.json"


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def found(**options: object) -> SearchResult:
    return run_search(SearchConfig(budget=BUDGET, **options))  # type: ignore[arg-type]


def best_of(result: SearchResult) -> dict:
    return json.loads((result.folder / "best.json").read_text())


def test_a_latency_on_a_device_is_kept_and_recorded() -> None:
    result = found(target_latency="5ms", on="zcu102")
    best = best_of(result)
    assert 0.001 < best["latency@zcu102"] <= 0.005
    history = result.history
    value, std = load_device("zcu102").predict(SPACE, history.genotypes, "latency")
    assert history.costs.get("latency@zcu102") == pytest.approx(value)
    row = history.best()
    assert best["latency@zcu102_std"] == pytest.approx(std[row], rel=1e-4)
    assert (history.costs.get("latency@zcu102") <= 0.005).all()


def test_several_devices_and_limits_at_once() -> None:
    result = found(
        target_latency="8ms", on="zcu102,vck190", limit=["throughput@a100:9K"], max_train_time="1h"
    )
    best = best_of(result)
    assert best["latency@zcu102"] <= 8e-3
    assert best["latency@vck190"] <= 8e-3
    assert 1 / best["image_time@a100"] >= 9_000
    assert best["train_time"] <= 3_600
    for name in ("latency@zcu102", "latency@vck190", "image_time@a100", "train_time"):
        assert 0 < best[f"{name}_std"] < 0.2 * best[name]


@pytest.mark.slow
def test_a_throughput_is_a_limit_from_below() -> None:
    best = best_of(found(target_throughput="12K", on="a100"))
    assert 1 / best["image_time@a100"] >= 12_000
    best = best_of(found(target_flops="400M", min_throughput="12K", on="a100"))
    assert 1 / best["image_time@a100"] >= 12_000
    assert best["flops"] <= 400e6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "of", "value"),
    [
        ({"min_throughput": 12_000, "on": "a100"}, "image_time@a100", 1 / 12_000),
        ({"max_train_time": 1_800}, "train_time", 1_800),
        ({"limit": ("latency@zcu102:5ms",)}, "latency@zcu102", 0.005),
        ({"max_params": 4e6}, "params", 4e6),
    ],
)
def test_hard_limits_need_no_target(limit: dict[str, object], of: str, value: float) -> None:
    result = found(**limit)
    objective = result.history.objective
    assert (objective.of, objective.target) == (of, pytest.approx(value))
    assert (objective.reward_name, result.config.reward) == ("feasible", "feasible")
    assert result.best.costs[of] <= value * (1 + 1e-9)
    assert result.best.accuracy == max(each.accuracy for each in result.front)
    more = run_search(out=result.folder, resume=True, changes={"budget": 3_000})
    assert isinstance(more, SearchResult)
    assert len(more.history) == 3_000


def test_the_table_has_b0_and_the_errors(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--target-latency", "5ms", "--on", "zcu102,a100", "--budget", str(BUDGET)]
    assert search(words) == 0
    printed = capsys.readouterr().out
    assert "a100 images/s" in printed
    line = next(line for line in printed.splitlines() if "EfficientNet-B0 " in line)
    b0 = SPACE.encode(SPACE.references["EfficientNet-B0"])[None]
    latency = load_device("zcu102").predict(SPACE, b0, "latency")[0][0]
    throughput = load_device("a100").predict(SPACE, b0)[0][0]
    assert f"{1e3 * latency:.2f}ms ± " in line
    assert f"{throughput:,.0f} ± " in line


def test_the_front_is_drawn_against_the_target() -> None:
    result = found(target_latency="5ms", on="zcu102")
    with (result.folder / "pareto.csv").open() as file:
        rows = list(csv.DictReader(file))
    latency = [float(row["latency@zcu102"]) for row in rows]
    accuracy = [float(row["accuracy"]) for row in rows]
    assert latency == sorted(latency)
    assert accuracy == sorted(accuracy)
    assert float(rows[0]["latency@zcu102_std"]) > 0
    assert (result.folder / "pareto.png").stat().st_size > 1_000


def test_same_seed_same_result() -> None:
    first, again = (found(target_latency="5ms", on="zcu102") for _ in range(2))
    for name in ("best.json", "pareto.csv"):
        assert (first.folder / name).read_bytes() == (again.folder / name).read_bytes()


def test_a_search_on_a_device_resumes() -> None:
    result = found(target_latency="5ms", on="zcu102")
    again = run_search(out=result.folder, resume=True, changes={"budget": BUDGET + 1_000})
    assert len(again.history) == BUDGET + 1_000
    assert np.array_equal(again.history.genotypes[:BUDGET], result.history.genotypes)
    assert best_of(again)["latency@zcu102"] <= 5e-3


@pytest.mark.slow
def test_a_factor_of_the_reward_may_be_on_a_device() -> None:
    plain = best_of(found(target_flops="400M"))
    fast = best_of(found(target_flops="400M", also=["throughput@a100:8K:0.3"]))
    low = best_of(found(target_flops="400M", also=["latency@vck190:4ms:-0.3"]))
    assert 1 / fast["image_time@a100"] > 8_000
    assert low["latency@vck190"] < 4e-3
    assert fast["flops"] != plain["flops"]


@pytest.mark.slow
def test_a_device_of_ones_own() -> None:
    """By its file, and by its name in a limit; resuming with a changed file is refused."""
    file = own_device()
    result = found(target_latency="15ms", on=f"{file},zcu102", limit=["latency@my-phone:14ms"])
    best = best_of(result)
    assert best["latency@my-phone"] <= 14e-3
    assert best["latency@zcu102"] <= 15e-3
    record = json.loads((result.folder / "search.json").read_text())
    assert list(record["digests"]["devices_sha256"]) == ["my-phone"]
    run_search(out=result.folder, resume=True, changes={"budget": BUDGET + 100})
    Path(file).unlink()
    own_device(factor=2.0)
    with pytest.raises(ValueError, match="the device my-phone is not that of the search"):
        run_search(out=result.folder, resume=True, changes={"budget": BUDGET + 200})


def test_the_longer_schedule(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--target-flops", "400M", "--budget", str(BUDGET)]
    assert search(words) == 0
    printed = capsys.readouterr().out
    assert "long %" in printed
    assert "could be the best by reward (95%)" in printed
    assert search([*words, "--schedule", "long"]) == 0
    assert "short %" in capsys.readouterr().out
    short, long = (json.loads(Path(f"runs/search-{n}/best.json").read_text()) for n in (1, 2))
    assert short["accuracy_long"] > short["accuracy"] + 4
    assert long["accuracy"] > long["accuracy_short"] + 4
    assert short["accuracy_long_std"] > 0


LATENCY = ["--target-latency", "5ms", "--on"]
FLOPS = ["--target-flops", "400M"]
BAD: dict[str, tuple[list[str], str]] = {
    "unknown": ([*LATENCY, "zcu103"], "'zcu103' is unknown; did you mean zcu102"),
    "unknown, far": ([*LATENCY, "toaster"], "use one of a100, rtx3090, tpuv2, tpuv3, zcu102"),
    "own, without .json": ([*LATENCY, "own"], "'own' is unknown; did you mean the file own.json?"),
    "empty": ([*LATENCY, ""], "--on: '' has an empty name"),
    "empty name": ([*LATENCY, "zcu102,,a100"], "has an empty name"),
    "twice": ([*LATENCY, "zcu102,zcu102"], "--on: zcu102 is given twice"),
    "own, twice": ([*LATENCY, "own.json,copy.json"], "--on: own is given twice"),
    "latency unknown": (
        [*LATENCY, "a100"],
        "the latency on a100 cannot be predicted; use zcu102, vck190; or use --target-throughput\n",
    ),
    "max latency unknown": (
        [*FLOPS, "--max-latency", "5ms", "--on", "tpuv2"],
        "tpuv2 cannot be predicted; use zcu102, vck190; or use --min-throughput\n",
    ),
    "no device": ([*LATENCY, "train_time"], "the latency on train_time cannot be predicted"),
    "throughput of no device": (
        ["--target-throughput", "12K", "--on", "train_time"],
        "--target-throughput: the throughput on train_time cannot be predicted; use a100, rtx3090",
    ),
    "a device alone": (
        ["--on", "a100"],
        "as --target-flops 400M, or a target on a device, such as --target-throughput 12K",
    ),
    "throughput of nothing": (["--target-throughput", "12K"], "--on is missing; use a device"),
    "rate of nothing": ([*FLOPS, "--min-throughput", "12K"], "--on is missing; use a device"),
    "no target to exceed": (
        ["--min-throughput", "9K", "--on", "a100", "--over-target", "allow"],
        "--over-target: there is no target",
    ),
    "zero": (["--target-throughput", "0", "--on", "a100"], "is not above 0"),
    "a time": (["--target-throughput", "12ms", "--on", "a100"], "'12ms' is not a rate; write"),
    "a rate": ([*LATENCY[:1], "5K", "--on", "zcu102"], "'5K' is not a time"),
    "no unit": ([*LATENCY[:1], "5", "--on", "zcu102"], "'5' is not a time"),
    "too fast": ([*LATENCY[:1], "1us", "--on", "zcu102"], "ranges from 1.26ms to 31.6ms"),
    "too fast a rate": (["--target-throughput", "1G", "--on", "a100"], "images/s; use a lower one"),
    "too short": ([*FLOPS, "--max-train-time", "1s"], "its train_time ranges from 9"),
    "other space": ([*LATENCY, "zcu102", "--space", "mnasnet"], "cannot predict for 'mnasnet'"),
    "other side": ([*LATENCY, "zcu102", "--resolution", "192"], "resolution 192"),
    "two targets": ([*FLOPS, *LATENCY, "zcu102"], "give the other one as --max-latency"),
    "missing file": ([*LATENCY, "none.json"], "none.json: No such file or directory"),
    "not JSON": ([*LATENCY, "text.json"], "text.json: Expecting value"),
    "no device file": ([*LATENCY, "other.json"], "it is not a device file"),
    "huge": ([*LATENCY, "huge.json"], "it is larger than 10,000,000 bytes"),
    "folder": ([*LATENCY, "."], "'.' is unknown"),
    "folder by path": ([*LATENCY, "./"], "it is not a file"),
    "endless": ([*LATENCY, "/dev/zero"], "device /dev/zero: it is not a file"),
    "limit": ([*FLOPS, "--limit", "nonsense"], "--limit: 'nonsense' is not understood"),
    "limit, empty": ([*FLOPS, "--limit", ""], "--limit: '' is not understood"),
    "limit, no device": ([*FLOPS, "--limit", "throughput:8K"], "is not understood"),
    "limit, no value": ([*FLOPS, "--limit", "throughput@a100:"], "--limit: '' is not a rate"),
    "limit, no cost": ([*FLOPS, "--limit", "flops@a100:5"], "is not understood"),
    "limit, unknown": (
        [*FLOPS, "--limit", "throughput@a101:8K"],
        "--limit: device: 'a101' is unknown; did you mean a100?",
    ),
    "limit, file": (
        [*FLOPS, "--limit", "latency@own.json:8ms"],
        "add your own device by --on FILE",
    ),
    "limit, latency": (
        [*FLOPS, "--limit", "latency@a100:5ms"],
        "--limit: the latency on a100 cannot be predicted; use its throughput",
    ),
    "limit, training": ([*FLOPS, "--limit", "throughput@train_time:5"], "cannot be predicted"),
    "limit, nan": ([*FLOPS, "--limit", "throughput@a100:nan"], "'nan' is not a rate"),
    "also": ([*FLOPS, "--also", "latency@zcu999:8ms:-0.1"], "--also: device: 'zcu999' is unknown"),
    "also, latency": (
        [*FLOPS, "--also", "latency@a100:8ms:-0.1"],
        "cannot be predicted; use its throughput",
    ),
    "also, reward for slow": (
        [*FLOPS, "--also", "throughput@a100:8K:-0.1"],
        "has the exponent -0.1; use a number from 0 to 10 for a throughput",
    ),
    "proxy": (
        [*LATENCY, "zcu102", "--evaluator", "proxy"],
        "--data is missing; evaluator 'proxy' measures on your images",
    ),
    "schedule": ([*FLOPS, "--schedule", "longer"], "did you mean long?"),
    "schedule of a table": (
        [*FLOPS, "--schedule", "long", "--evaluator", "table", "--table", "x.csv"],
        "--schedule: evaluator table does not use it; leave it out",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_mistakes_are_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("text.json").write_text("hello")
    Path("other.json").write_text("{}")
    if name == "huge":
        Path("huge.json").write_bytes(b"\0" * 10_000_001)
    if name == "own, without .json":
        own_device("own")
    if name == "own, twice":
        Path("copy.json").write_bytes(Path(own_device("own")).read_bytes())
    words, message = BAD[name]
    assert search([*words, "--budget", "100"]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert len(printed.err.splitlines()) == 1
    assert printed.out == ""
    assert not Path("runs").exists()
