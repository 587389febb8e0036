"""Training-aware searches without trainings: results, files and errors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nas.devices import load_device
from nas.evaluators.surrogate import load_surrogate
from scaling import TrainingAwareConfig, run_training_aware
from scaling.training_aware.predicted import B0, BEST, FASTEST, REWARD, PredictedAware
from search_spaces.catalog import space as space_named
from tests.commands import training_aware

SPACE = space_named("efficientnet")
BUDGET = ["--budget", "2000"]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def predicted(**options: object) -> PredictedAware:
    config = TrainingAwareConfig(**{"budget": 2_000, **options})  # type: ignore[arg-type]
    result = run_training_aware(config)
    assert isinstance(result, PredictedAware)
    return result


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> PredictedAware:
    """Return a search with the default reward."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("plain"))
        result = predicted()
        return replace(result, folder=result.folder.absolute())


def test_every_term_buys_what_it_says(plain: PredictedAware) -> None:
    rows = plain.rows
    assert next(iter(rows)) == B0
    assert rows["A"].accuracy == max(row.accuracy for row in rows.values())
    assert rows["A x P^v"].params < rows["A"].params
    assert rows["A x S^w"].seconds < rows["A"].seconds
    assert rows[REWARD].seconds < rows["A"].seconds
    assert rows[REWARD].params < rows["A"].params
    assert rows[FASTEST].accuracy >= rows[B0].accuracy
    assert rows[FASTEST].seconds < rows[B0].seconds
    for row in rows.values():
        assert row.seconds <= 2 * rows[B0].seconds
        assert row.seconds_std > 0
        assert row.long > row.accuracy


def test_b0_has_its_predictions(plain: PredictedAware) -> None:
    row = plain.rows[B0]
    genotype = SPACE.encode(SPACE.references[B0])[None]
    accuracy, std = load_surrogate("imagenet").predict(genotype)
    seconds, error = load_device("train_time").predict(SPACE, genotype)
    assert (row.accuracy, row.accuracy_std) == pytest.approx((accuracy[0], std[0]))
    assert (row.seconds, row.seconds_std) == pytest.approx((seconds[0], error[0]))
    assert row.params == 5_288_548


def test_the_time_may_be_that_of_a_device(capsys: pytest.CaptureFixture[str]) -> None:
    result = predicted(on="a100")
    assert result.cost_name == "image_time@a100"
    genotype = SPACE.encode(SPACE.references[B0])[None]
    throughput = load_device("a100").predict(SPACE, genotype)[0]
    assert result.rows[B0].seconds == pytest.approx(1 / throughput[0])
    assert training_aware([*BUDGET, "--on", "a100"]) == 0
    printed = capsys.readouterr().out
    assert "S seconds for each image at the highest throughput, a100" in printed
    header, row = printed.splitlines()[2:4]
    assert header.split()[-6:] == ["S", "to", "B0", "images/s", "FLOPs", "params"]
    assert f"125us ± 0.24%   1.00     {throughput[0]:,.0f}  385,814,752" in row


def test_the_folder_is_that_of_a_training_aware_search(plain: PredictedAware) -> None:
    result = plain
    record = json.loads((result.folder / "training_aware.json").read_text())
    assert record["status"] == "finished"
    assert list(record["outcome"]["networks"]) == list(result.rows)
    best = json.loads((result.folder / BEST).read_text())
    assert best["params"] == result.rows[REWARD].params
    assert best["train_time"] == pytest.approx(result.rows[REWARD].seconds)
    assert best["train_time_std"] > 0
    assert (result.folder / "training_aware.png").stat().st_size > 1_000


def test_same_seed_same_result(plain: PredictedAware) -> None:
    first, again, other = plain, predicted(), predicted(seed=1)
    bests = [(each.folder / BEST).read_bytes() for each in (first, again, other)]
    assert bests[0] == bests[1] != bests[2]
    assert np.array_equal(first.history.genotypes, again.history.genotypes)


def test_a_single_network_is_no_gain(capsys: pytest.CaptureFixture[str]) -> None:
    assert training_aware(["--budget", "1"]) == 0
    assert "no faster network of the predicted accuracy" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--on", "a101"], "'a101' is unknown; did you mean a100?"),
        (["--on", "a100,tpuv3"], "--on: give one device, not a100,tpuv3"),
        (["--on", ""], "has an empty name"),
        (["--on", "train_time"], "train_time has no throughput; leave --on out"),
        (["--on", "none.json"], "No such file"),
        (["--on", "other.json"], "it is not a device file"),
        (["--w", "1"], "--w: 1.0 is not allowed; use a number from -10 to 0"),
        (["--v", "nan"], "--v: 'nan' is not a finite number"),
        (["--strategy", "nosuch"], "--strategy: 'nosuch' is unknown"),
        (["--width", "0.5"], "--width: without --data nothing is trained"),
        (["--max-step-time", "80ms"], "--max-step-time: without --data nothing is trained"),
        (["--seeds", "2"], "--seeds: without --data nothing is trained"),
        (["--on", "a100", "--data", "cifar10"], "--on: leave it out if --data"),
        (["--out", "full"], "already holds training_aware.json"),
        (["--resume"], "the folder of the run is missing; use --out DIR"),
        (["--resume", "--out", "full"], "is not the record of a run"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("other.json").write_text("{}")
    Path("full").mkdir()
    Path("full", "training_aware.json").write_text("mine")
    assert training_aware(words if "--resume" in words else [*BUDGET, *words]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert len(printed.err.splitlines()) == 1
    assert printed.out == ""
    assert not Path("runs").exists()
    assert Path("full", "training_aware.json").read_text() == "mine"


def test_a_finished_search_does_not_resume(
    plain: PredictedAware, capsys: pytest.CaptureFixture[str]
) -> None:
    assert training_aware(["--resume", "--out", str(plain.folder)]) == 2
    assert "was predicted, and nothing is left to train" in capsys.readouterr().err


def test_an_interrupted_search_without_trainings_suggests_no_resume(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("scaling.training_aware.run.predicted_search", interrupt)
    assert training_aware(BUDGET) == 130
    assert capsys.readouterr().err.strip() == "scaling.training_aware: interrupted"
