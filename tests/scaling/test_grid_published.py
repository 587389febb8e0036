"""Grids without trainings: gains from published trainings, files and errors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scaling import GridConfig, run_grid
from scaling.grid.published import PublishedGrid
from scaling.published import factors_between, predicted_gain
from search_spaces.catalog import zoo
from search_spaces.cost import cost
from tests.commands import family, grid

FEW = {"step": 0.2}  # step of the grid: few candidates


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def predicted(**options: object) -> PublishedGrid:
    result = run_grid(GridConfig(**{**FEW, **options}))  # type: ignore[arg-type]
    assert isinstance(result, PublishedGrid)
    return result


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> PublishedGrid:
    """Return the grid of EfficientNet-B0."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("plain"))
        result = predicted()
        return replace(result, folder=result.folder.absolute())


def test_candidates_have_their_gains_at_their_real_costs(plain: PublishedGrid) -> None:
    result = plain
    base = zoo("efficientnet_b0")
    assert result.base == base
    assert result.base_top1.percent == 77.1
    factors = np.array([factors_between(base, each.architecture) for each in result.candidates])
    gains, errors = predicted_gain(factors, base_top1=77.1)
    assert result.gains == pytest.approx(gains)
    assert result.errors == pytest.approx(errors)
    assert (errors > 0.2).all()
    for each in result.candidates:
        if not each.is_control:
            assert cost(each.architecture).flops / cost(base).flops == pytest.approx(2, rel=0.06)
    free = [
        g for g, each in zip(result.gains, result.candidates, strict=True) if not each.is_control
    ]
    place = list(result.candidates).index(result.chosen)
    assert result.gains[place] == max(free)
    assert result.ties[result.gains.argmax()]


def test_published_coefficients_tie_with_the_optimum(plain: PublishedGrid) -> None:
    """The coefficients of EfficientNet-B0 are (1.2, 1.1, 1.15)."""
    optimum = plain.optimum
    assert optimum.losses["published (1.2, 1.1, 1.15)"] < 0.3
    for (low, high), value in zip(optimum.intervals, optimum.coefficients, strict=True):
        assert low <= value <= high


def test_the_report_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert grid(["--step", "0.2"]) == 0
    printed = capsys.readouterr().out
    assert "efficientnet_b0: 77.1% top-1 (Tan and Le" in printed
    assert "This is a regression over 367 published ImageNet trainings" in printed
    assert "not a measurement; --data DATA trains the candidates on your images." in printed
    for name in ("depth alone", "width alone", "resolution alone", "optimum: alpha"):
        assert name in printed


def test_the_folder_is_that_of_a_grid(plain: PublishedGrid) -> None:
    result = plain
    record = json.loads((result.folder / "grid.json").read_text())
    assert record["status"] == "finished"
    assert len(record["candidates"]) == len(result.candidates)
    assert set(record["outcome"]["chosen"]) == {"alpha", "beta", "gamma"}
    assert (result.folder / "grid.png").stat().st_size > 1_000
    again = predicted()
    texts = [
        json.loads((each.folder / "grid.json").read_text())["candidates"]
        for each in (result, again)
    ]
    assert texts[0] == texts[1]


def test_a_family_takes_its_coefficients(plain: PublishedGrid) -> None:
    words = ["--base", "efficientnet_b0", "--coefficients", str(plain.folder / "grid.json")]
    assert family([*words, "--phi", "0..1", "--out", "family"]) == 0
    assert Path("family/members").is_dir()


def test_the_base_may_be_any_network_with_a_known_accuracy(plain: PublishedGrid) -> None:
    assert predicted(base="mobilenet_v2", step=0.25).gains.max() > 1
    Path("net.json").write_text(zoo("efficientnet_b0").to_json())
    given = predicted(base="net.json", base_top1=77.1)
    assert given.gains == pytest.approx(plain.gains)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--base", "nosuch"], "network: 'nosuch' is unknown"),
        (["--base", "none.json"], "none.json does not exist"),
        (["--base", "text.json"], "cannot be read as JSON"),
        (["--base", "other.json"], "is missing from the architecture"),
        (["--base", "net.json"], "--base-top1: the ImageNet top-1 of"),
        (["--base", "efficientnet_b7"], "3.5 points above them"),
        (["--base-top1", "30"], "36.2 points below them"),
        (["--base-top1", "96"], "--base-top1: 96.0 is not allowed"),
        (["--base-top1", "nan"], "is not a finite number"),
        (["--growth", "1"], "growth: 1.0 is not allowed; use a number above 1, up to 10"),
        (["--growth", "16"], "growth: 16.0 is not allowed"),
        (["--step", "0"], "step: 0.0 is not allowed"),
        (["--tolerance", "0"], "tolerance: 0.0 is not allowed"),
        (["--candidates", "5"], "--candidates: without --data nothing is trained"),
        (["--seeds", "2"], "--seeds: without --data nothing is trained"),
        (["--proxy-width", "0.3"], "--proxy-width: without --data nothing is trained"),
        (["--base-top1", "70", "--data", "cifar10"], "--base-top1: leave it out if --data"),
        (["--out", "full"], "already holds grid.json"),
        (["--resume"], "the folder of the grid is missing; use --out DIR"),
        (["--resume", "--out", "full"], "is not the record of a grid"),
        (["--retry-failed"], "needs --resume"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("text.json").write_text("hello")
    Path("other.json").write_text("{}")
    Path("net.json").write_text(zoo("efficientnet_b0").to_json())
    Path("full").mkdir()
    Path("full", "grid.json").write_text("mine")
    assert grid(words) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert len(printed.err.splitlines()) == 1
    assert printed.out == ""
    assert not Path("runs").exists()
    assert Path("full", "grid.json").read_text() == "mine"


def test_a_predicted_grid_does_not_resume(
    plain: PublishedGrid, capsys: pytest.CaptureFixture[str]
) -> None:
    assert grid(["--resume", "--out", str(plain.folder)]) == 2
    assert "was predicted, and nothing is left to train" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--dry-run"]])
def test_an_interrupted_grid_without_trainings_suggests_no_resume(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("scaling.grid.run._candidates", interrupt)
    assert grid(words) == 130
    assert capsys.readouterr().err.strip() == "scaling.grid: interrupted"
