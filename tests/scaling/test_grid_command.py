"""The command `scaling.grid`, from images to coefficients."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from scaling.grid import Candidate, GridConfig, candidates, shares, spread
from scaling.grid.choice import chosen, fitted_surface
from scaling.grid.record import Record, read
from scaling.grid.verdict import noise_line, verdict
from scaling.training_result import Result
from search_spaces.catalog import zoo
from search_spaces.scale import for_small_images
from tests.commands import grid as run
from tests.commands import with_options
from tests.scaling.toys import measuring
from tests.speed import assert_quick
from tests.train.files import encoded

ROOT = Path(__file__).resolve().parents[2]
B0 = zoo("efficientnet_b0")


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
    words = [
        sys.executable,
        "-m",
        "scaling.grid",
        "--base",
        "mobilenet_v2",
        "--data",
        images,
        "--candidates",
        "4",
        "--seeds",
        "2",
        "--fidelity",
        "epochs=1",
        "--set",
        "batch=16",
        "--proxy-width",
        "0.1",
        "--workers",
        "2",
        "--device",
        "cpu",
        "--cache",
        str(place / "cache"),
        "--out",
        str(place / "grid"),
    ]
    return with_options(words, *more)


def called(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=300, cwd=ROOT)


def finished_trials(study: Path) -> list[tuple[int, str]]:
    if not study.exists():
        return []
    with sqlite3.connect(f"file:{study}?mode=ro", uri=True) as database:
        query = "select number, datetime_complete from trials where state = 'COMPLETE'"
        try:
            return sorted(database.execute(query).fetchall())
        except sqlite3.OperationalError:  # not created yet
            return []


@pytest.mark.slow
def test_a_grid_that_was_killed_repeats_no_finished_training(images: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    begun = subprocess.Popen(
        command(images, tmp_path),
        cwd=ROOT,
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
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
    assert "of 14 trained before" in done.stderr
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

    more = called(
        [
            *command(images, tmp_path)[:3],
            "--resume",
            "--out",
            str(tmp_path / "grid"),
            "--seeds",
            "3",
        ]
    )
    assert more.returncode == 0, more.stderr
    assert len(finished_trials(study)) == 21
    assert {*after} <= {*finished_trials(study)}


@pytest.mark.slow
def test_what_failed_is_trained_again_where_that_is_asked_for(images: str, tmp_path: Path) -> None:
    failed = called(command(images, tmp_path, "--seeds", "1", "--timeout", "1ms"))
    assert failed.returncode == 1, failed.stderr
    assert "no candidate could be trained" in failed.stderr
    assert "7 trainings failed, such as " in failed.stderr
    record = json.loads((tmp_path / "grid" / "grid.json").read_text())
    assert {row["seconds"] for row in record["candidates"]} == {None}

    words = [
        *command(images, tmp_path)[:3],
        "--resume",
        "--out",
        str(tmp_path / "grid"),
        "--timeout",
        "5min",
    ]
    again = called(words)
    assert again.returncode == 1  # not requested
    mended = called([*words, "--retry-failed"])
    assert mended.returncode == 0, mended.stderr
    record = json.loads((tmp_path / "grid" / "grid.json").read_text())
    assert record["outcome"]["trained"] == 7
    assert not any(row["errors"] for row in record["candidates"])


def test_a_resume_that_is_refused_leaves_the_record(images: str, tmp_path: Path) -> None:
    found = spread(candidates(B0), 5)
    config = GridConfig(seeds=1)
    Record(tmp_path, config, B0, found, measuring(), resumed=False).write({}, "finished")
    before = (tmp_path / "grid.json").read_bytes()
    Record(tmp_path, config, B0, found, measuring(), resumed=True).end("failed")
    assert (tmp_path / "grid.json").read_bytes() == before


@pytest.mark.parametrize(
    ("noise", "more", "between", "told"),
    [
        (0.7, 6, 1.5, "noise hides the optimum (seeds differ by 0.70 points): about 6 more seeds"),
        (0.7, None, 1.2, "all candidates are about equally accurate"),
        (0.7, None, 9.0, "but not as a smooth surface would"),
        (None, None, None, "one seed does not show why: use --seeds 3"),
        (0.7, 0, 9.0, ""),
        (0.0, None, None, "but not as a smooth surface would"),  # all seeds gave the same
    ],
)
def test_what_hides_an_optimum_is_told(
    noise: float | None, more: int | None, between: float | None, told: str
) -> None:
    surface = {
        "hidden_by_noise": more != 0,
        "more_seeds": more,
        "seed_noise": noise,
        "between_over_noise": between,
    }
    said = noise_line(surface)
    assert told in said
    assert bool(said) == bool(told)


@pytest.mark.parametrize(("best", "rim"), [("width", True), ("all", False)])
def test_an_optimum_at_a_rim_is_told(best: str, rim: bool) -> None:
    found = spread(candidates(B0), 12)
    config = GridConfig(seeds=2)

    def top(each: Candidate) -> float:
        spent = np.array(shares(each))
        return 50.0 + (10 * spent[1] if best == "width" else -20 * ((spent - 1 / 3) ** 2).sum())

    known = {each.name: Result({0: top(each) - 0.1, 1: top(each) + 0.1}, 1.0, {}) for each in found}
    outcome = chosen(config, found, known, fitted_surface(config, found, known))
    said = "\n".join(verdict(found, known, outcome))
    assert ("  no growth in depth or resolution: the optimum is on an edge" in said) == rim
    assert bool(outcome["surface"]["at_rim"]) == rim


def test_a_record_gives_back_its_candidates(tmp_path: Path) -> None:
    found = spread(candidates(B0), 5)
    config = GridConfig(seeds=1)
    Record(tmp_path, config, B0, found, measuring(), resumed=False)
    assert read(tmp_path / "grid.json") == (B0, found)
    (tmp_path / "grid.json").write_text("{}")
    with pytest.raises(ValueError, match="is damaged"):
        read(tmp_path / "grid.json")


def test_a_dry_run_lists_the_candidates_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def dry_run() -> None:
        capsys.readouterr()
        assert run(["--dry-run"]) == 0

    assert_quick(dry_run, 2)
    shown = capsys.readouterr().out
    assert "(1.2, 1.1, 1.15)" in shown
    assert "17 would be trained (*;" in shown
    assert "resolution alone" in shown
    assert "nothing was trained" in shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["--growth", "0.5"], "growth: 0.5 is not allowed"),
        (["--growth", "50"], "growth: 50.0 is not allowed; use a number above 1, up to 10"),
        (["--step", "1"], "growth: no candidate costs 2 times"),
        (["--workers", "0"], "--workers: 0 is not allowed; use a number from 1"),
        (["--max-failures", "2"], "--max-failures: 2.0 is not allowed"),
        (["--timeout", "9"], "--timeout: '9' is not a time"),
        (["--growth", "1.02", "--tolerance", "0.001"], "growth: no candidate costs 1.02 times"),
        (["--proxy-resolution", "4"], "resolution: it is too small"),
        (["--candidates", "2"], "--candidates: 2 is not allowed; use a number from 4 to 100"),
        (["--seeds", "0"], "--seeds: 0 is not allowed"),
        (["--objective", "watts"], "--objective: 'watts' is unknown; use one of flops, latency,"),
        (["--rules", "v3"], "rules: 'v3' is unknown"),
        (["--base", "efficientnet_b00"], "network: 'efficientnet_b00' is unknown"),
        (["--resume"], "resume: the folder of the grid is missing; use --out DIR"),
        (["--resume", "--out", "nowhere"], "resume: nowhere holds no grid"),
        (["--recipe", "prox"], "--recipe: 'prox' is unknown; did you mean proxy?"),
        (["--set", "foo=1"], "--set foo=1: a recipe has no field"),
        (["--fidelity", "rubbish"], "fidelity: 'rubbish' is not understood"),
        (["--device", "gpu"], "device: 'gpu' is unknown; use auto, cpu, cuda or cuda:N"),
        (["--proxy-width", "0.5", "--proxy-flops", "1M"], "--proxy-flops: leave it out"),
        (["--growht", "2"], "option: '--growht' is unknown; did you mean --growth or"),
    ],
)
def test_mistakes_are_one_line(
    given: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--dry-run", *given]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"scaling.grid: {complaint}")
    assert told.count("\n") == 1


def test_a_base_that_is_none_is_told_before_images_are_sought(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--base", "nope", "--data", f"imagefolder:{tmp_path}/none"]
    assert run(given) == run(["--dry-run", *given]) == 2
    assert capsys.readouterr().err.count("scaling.grid: network: 'nope' is unknown") == 2


@pytest.mark.slow
def test_a_base_for_small_images_keeps_its_form(
    images: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = dataclasses.replace(for_small_images(B0), resolution=32, classes=2)
    (tmp_path / "small.json").write_text(json.dumps({"architecture": json.loads(small.to_json())}))
    how = [
        "--dry-run",
        "--data",
        images,
        "--fidelity",
        "epochs=1",
        "--set",
        "batch=16",
        "--proxy-resolution",
        "32",
        "--proxy-flops",
        "8M",
    ]
    assert run(["--base", str(tmp_path / "small.json"), *how]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert run(["--base", "efficientnet_b0", *how]) == 0
    same = capsys.readouterr().out.splitlines()
    assert "a proxy of the base" in shown[0]
    assert shown[1:-1] == same[1:-1]  # all candidates; else its name, and seconds


@pytest.mark.parametrize(
    "given",
    [
        ["--fidelity", "epochs=1,resolution=24"],
        ["--fidelity", "epochs=1", "--set", "resolution=24"],
    ],
)
def test_candidates_are_trained_at_their_own_resolution(
    given: list[str], images: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--dry-run", "--data", images, "--set", "batch=16", *given]) == 2
    assert "resolution: 24 px for all candidates is not allowed" in capsys.readouterr().err


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


@pytest.mark.slow
def test_a_machine_that_is_taken_back_ends_a_grid_as_ctrl_c_does(
    images: str, tmp_path: Path
) -> None:
    begun = subprocess.Popen(
        command(images, tmp_path, "--seeds", "9"), text=True, stderr=subprocess.PIPE, cwd=ROOT
    )
    for _ in range(600):
        if finished_trials(tmp_path / "grid" / "study.db"):
            break
        time.sleep(0.1)
    begun.send_signal(signal.SIGTERM)
    told = begun.communicate(timeout=60)[1]
    assert begun.returncode == 130
    assert told.endswith("\nscaling.grid: interrupted; resume with --resume --out DIR\n")
    assert "PC: " not in told
    record = json.loads((tmp_path / "grid" / "grid.json").read_text())
    assert record["status"] == "interrupted"


def test_a_growth_that_cannot_be_is_told_before_images_are_looked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["--growth", "0.5", "--data", "imagefolder:nowhere"]) == 2
    assert capsys.readouterr().err.startswith("scaling.grid: growth: 0.5 is not allowed")
