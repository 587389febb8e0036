"""The command for the whole method: its steps, resuming, and its page."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scaling.baseline import BaselineConfig
from scaling.baseline.chain import Chain, Step
from scaling.baseline.networks import trained_members
from scaling.baseline.page import relative
from tests.browser import in_browser, needs_browser
from tests.commands import with_options
from tests.train.files import encoded
from vbs.config import from_values
from vbs.failures import Failure

ROOT = Path(__file__).resolve().parents[2]


def chain(*words: str, place: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "scaling.baseline",
        "--data",
        f"imagefolder:{place}/images",
        "--target-flops",
        "1M",
        "--budget",
        "4",
        "--fidelity",
        "epochs=1",
        "--finalists",
        "1",
        "--candidates",
        "4",
        "--seeds",
        "1",
        "--phi",
        "0..2",
        "--workers",
        "2",
        "--device",
        "cpu",
        "--set",
        "epochs=1",
        "--set",
        "batch=16",
        "--set",
        "warmup_epochs=0.5",
        "--out",
        f"{place}/out",
    ]
    command = with_options(command, *words)
    return subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=ROOT)


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("baseline")
    number = 0
    for split, count in (("train", 90), ("test", 10)):
        for label in ("a", "b"):
            (place / "images" / split / label).mkdir(parents=True)
            for _ in range(count):
                number += 1
                path = place / "images" / split / label / f"{number}.png"
                path.write_bytes(encoded(number))
    first = chain("--skip", "grid", place=place)
    assert first.returncode == 0, first.stderr
    return place


@pytest.mark.slow
def test_steps_that_are_over_are_not_run_again(baseline: Path) -> None:
    record = json.loads((baseline / "out" / "baseline.json").read_text())
    assert record["status"] == "finished"
    assert {*record["costs"]} == {"search", "finalists", "family", "train"}
    again = chain("--skip", "grid", place=baseline)
    assert again.returncode == 0, again.stderr
    assert "==" not in again.stderr
    assert json.loads((baseline / "out" / "baseline.json").read_text())["costs"] == record["costs"]


@pytest.mark.slow
def test_members_cost_what_was_asked_for(baseline: Path) -> None:
    family = json.loads((baseline / "out" / "family" / "family.json").read_text())
    flops = [member["flops"] for member in family["members"]]
    assert flops[1] / flops[0] == pytest.approx(2.0, rel=0.03)
    best = json.loads((baseline / "out" / "best.json").read_text())
    assert best["seeds"] == 1


@pytest.mark.slow
def test_a_member_that_was_a_finalist_is_not_trained_again(baseline: Path) -> None:
    (folder,) = (baseline / "out" / "train").iterdir()
    trials = json.loads((folder / "results.json").read_text())["trials"]
    assert sorted(Path(row["network"]).stem for row in trials) == ["phi1", "phi2"]
    final = json.loads((baseline / "out" / "finalists" / "runs" / "results.json").read_text())
    members = trained_members(baseline / "out")
    assert [*members] == ["phi0", "phi1", "phi2"]
    assert members["phi0"] in final["trials"]


@pytest.mark.slow
def test_a_finalist_whose_first_seed_failed_is_trained_as_a_member(
    baseline: Path, tmp_path: Path
) -> None:
    shutil.copytree(baseline / "out", tmp_path / "out")
    place = tmp_path / "out" / "finalists" / "runs" / "results.json"
    known = json.loads(place.read_text())
    known["trials"] = [{**row, "status": "failed"} for row in known["trials"]]
    place.write_text(json.dumps(known))
    assert [*trained_members(tmp_path / "out")] == ["phi1", "phi2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--target-flops", "1K"], "flops: a limit of 1,000 is below the range of space 'compact'"),
        (["--set", "batch=128", "--fidelity", "share=0.5"], "fidelity: a share of 0.5 leaves"),
        (["--fidelity", "epochs=1,resolution=16"], "resolution: 16 px for all candidates"),
        (["--set", "batch=999"], "images, less than the batch of 999"),
        (["--skip", "search"], "--skip search: there is no earlier search in --out"),
    ],
)
def test_what_a_later_step_would_refuse_is_told_first(
    words: list[str], complaint: str, baseline: Path, tmp_path: Path
) -> None:
    done = chain(*words, "--out", str(tmp_path / "out"), place=baseline)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert not [*tmp_path.glob("out/*/*")]


@pytest.mark.slow
def test_a_dry_run_says_what_would_be_done(baseline: Path, tmp_path: Path) -> None:
    done = chain("--dry-run", "--skip", "grid", "--out", str(tmp_path / "out"), place=baseline)
    assert done.returncode == 0
    assert "up to 4 networks of space compact within 1M FLOPs" in done.stderr
    assert "grid      skipped" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_more_hours_train_what_is_missing_only(baseline: Path, tmp_path: Path) -> None:
    shutil.copytree(baseline / "out", tmp_path / "out")
    for place in (tmp_path / "out" / "train").glob("*/results.json"):  # as after a shorter limit
        known = json.loads(place.read_text())
        one = next(row for row in known["trials"] if "phi1" in row["network"])
        place.write_text(json.dumps({**known, "trials": [one]}))
    done = chain("--skip", "grid", "--out", str(tmp_path / "out"), place=baseline)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("train.ray_tune") == 1
    words = next(line for line in done.stderr.splitlines() if "train.ray_tune" in line)
    assert "phi2.json" in words
    assert "phi1.json" not in words


@pytest.mark.slow
def test_trainings_that_were_cut_short_go_on_where_they_were(
    baseline: Path, tmp_path: Path
) -> None:
    shutil.copytree(baseline / "out", tmp_path / "out")
    (folder,) = (tmp_path / "out" / "train").iterdir()
    for place in (folder / "results.json", folder / "run.json"):
        known = json.loads(place.read_text())
        place.write_text(json.dumps({**known, "status": "interrupted"}))
    cut = min(folder.glob("trials/*/run.json"))
    cut.unlink()
    done = chain("--skip", "grid", "--out", str(tmp_path / "out"), place=baseline)
    assert done.returncode == 0, done.stderr
    assert [*(tmp_path / "out" / "train").iterdir()] == [folder]
    assert cut.is_file()
    assert "train.ray_tune --resume --out" in done.stderr
    assert "1 of 2 ended before" in done.stderr  # the other one had ended


@pytest.mark.slow
def test_what_was_made_of_another_network_goes_aside(baseline: Path, tmp_path: Path) -> None:
    shutil.copytree(baseline / "out", tmp_path / "out")
    record = json.loads((tmp_path / "out" / "baseline.json").read_text())
    settings = {**record["settings"], "skip": [], "gpus": 0.0}
    chain_of = Chain(tmp_path / "out", from_values(BaselineConfig, settings))
    own = record["bases"]["family"]
    chain_of.settle("family", "other")
    assert not (tmp_path / "out" / "family").exists()
    assert (tmp_path / "out" / f"family-of-{own}").is_dir()
    known = json.loads((tmp_path / "out" / "baseline.json").read_text())
    assert known["bases"]["family"] == "other"  # whatever follows
    chain_of.settle("family", own)
    assert (tmp_path / "out" / "family" / "family.json").exists()


@pytest.mark.slow
def test_another_baseline_in_the_same_folder_is_refused(baseline: Path) -> None:
    other = chain("--growth", "3", place=baseline)
    assert other.returncode == 2
    assert "holds a baseline with another --growth (2.0); use another --out" in other.stderr
    assert other.stderr.count("\n") == 1


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_is_whole_in_a_browser(baseline: Path, width: int, tmp_path: Path) -> None:
    page = baseline / "out" / "report.html"
    script = (
        "const pics = [...d.images]; return {images: pics.length, "
        "drawn: pics.filter(i => i.complete && i.naturalWidth > 50).length, "
        "sections: d.querySelectorAll('section').length};"
    )
    found = in_browser(page, script, width=width, place=tmp_path)
    assert found["images"] == found["drawn"] >= 2
    assert found["sections"] == 7


@pytest.mark.slow
def test_the_page_needs_nothing_beside_it(baseline: Path) -> None:
    text = (baseline / "out" / "report.html").read_text()
    links = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert links
    assert all(link.startswith("data:") for link in links)
    assert "python -m scaling.baseline --data imagefolder:" in text
    assert str(baseline) not in text  # commands are relative
    assert "This step was skipped." in text  # the grid


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--target-flops", "lots"], "--target-flops: 'lots' is not a size"),
        (["--train-time", "60"], "--train-time: '60' is not a time"),
        (["--skip", "serch"], "--skip: 'serch' is unknown; did you mean search"),
        (["--budget", "0"], "--budget: 0 is not allowed"),
        (["--device", "gpu"], "device: 'gpu' is unknown"),
        (["--space", "compatc"], "space: 'compatc' is unknown; did you mean compact"),
    ],
)
def test_mistakes_are_one_line(words: list[str], complaint: str, tmp_path: Path) -> None:
    done = chain(*words, place=tmp_path)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--out", "/home/ann/runs/a/search"], ["--out", "a/search"]),
        (["--out=/home/ann/runs/a"], ["--out=a"]),
        (["--data", "imagefolder:/home/ann/photos"], ["--data", "imagefolder:../photos"]),
        (["--data", "/mnt/disk7/secret/flowers.zip"], ["--data", "flowers.zip"]),
        (["--data", "parquet:/mnt/disk7/secret/flowers/"], ["--data", "parquet:flowers"]),
        (["--target-flops", "4M", "runs/b.json"], ["--target-flops", "4M", "runs/b.json"]),
    ],
)
def test_a_page_names_no_folders_of_its_machine(words: list[str], shown: list[str]) -> None:
    assert relative(words, Path("/home/ann/runs")) == shown


def begun(place: Path, **settings: object) -> Chain:
    """Return a chain whose folder holds the record of version 0.1."""
    known = {
        "data": "cifar10",
        "target_flops": "4M",
        "space": "compact",
        "resolution": None,
        "budget": 60,
        "finalists": 3,
        "growth": 2.0,
        "phi": "0..2",
        "seeds": 3,
        "fidelity": "epochs=8,share=0.2",
        "candidates": 9,
        "changes": ["batch=64"],
    }
    costs = {"search": {"wall_seconds": 60.0}}
    content = {
        "status": "interrupted",
        "settings": {**known, **settings},
        "costs": costs,
        "versions": {"vision-baseline-search": "0.1.0"},
    }
    place.mkdir(exist_ok=True)
    (place / "baseline.json").write_text(json.dumps(content))
    return Chain(
        place,
        BaselineConfig(
            data="cifar10",
            target_flops=4e6,
            fidelity="epochs=8,share=0.2",
            changes=("batch=64",),
            device="cpu",
            gpus=0.0,
            train_time=60.0,
        ),
    )


def test_a_baseline_of_version_0_1_is_resumed(tmp_path: Path) -> None:
    chain_of = begun(tmp_path)
    assert chain_of.costs == {"search": {"wall_seconds": 60.0}}
    chain_of.write("running")
    known = json.loads((tmp_path / "baseline.json").read_text())["settings"]
    assert known["target_flops"] == 4e6
    assert Chain(tmp_path, chain_of.config).costs == chain_of.costs


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"changes": ["batch=32"]}, r"another --set \(batch=32\); use another --out"),
        ({"resolution": 32}, r"another --resolution \(32\)"),
        ({"target_flops": "8M"}, r"another --target-flops \(8M\)"),
        ({"moves": 3}, r"written by another version \(0.1.0\): it has the unknown setting 'moves'"),
    ],
)
def test_another_baseline_of_version_0_1_is_refused(
    settings: dict[str, object], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=complaint):
        begun(tmp_path, **settings)


@pytest.mark.parametrize(
    ("error", "raised", "line"),
    [
        (ValueError("fidelity: 'x'"), ValueError, "grid: fidelity: 'x'"),
        (Failure("Ray was lost"), Failure, "grid: Ray was lost; rerun the command to resume"),
        (OSError(28, "No space left", "a"), Failure, "grid: a: No space left; rerun the command"),
        (MemoryError("no"), Failure, "grid: out of memory"),
        (ZeroDivisionError("x"), ZeroDivisionError, "x"),
        (KeyboardInterrupt(15), KeyboardInterrupt, ""),
    ],
)
def test_a_failed_step_names_itself(
    error: BaseException, raised: type[BaseException], line: str, tmp_path: Path
) -> None:
    def run(resumed: bool) -> int:
        (tmp_path / "grid").mkdir()
        raise error

    chain_of = begun(tmp_path)
    with pytest.raises(raised, match=f"^{re.escape(line)}"):
        chain_of.run(Step("grid", tmp_path / "grid", lambda: False, run, ["scaling.grid"]))
    known = json.loads((tmp_path / "baseline.json").read_text())
    assert {*known["costs"]} == {"search", "grid"}
    assert known["commands"] == {"grid": ["scaling.grid"]}


@pytest.mark.parametrize(("code", "raised"), [(1, Failure), (0, Failure), (130, KeyboardInterrupt)])
def test_a_step_that_reports_a_failure_ends_the_baseline(
    code: int, raised: type[BaseException], tmp_path: Path
) -> None:
    chain_of = begun(tmp_path)
    with pytest.raises(raised):
        chain_of.run(Step("grid", tmp_path / "grid", lambda: False, lambda _: code, ["x"]))


def test_a_refused_first_step_leaves_the_folder_to_another_baseline(tmp_path: Path) -> None:
    def run(resumed: bool) -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="search: no"):
        begun(tmp_path).run(Step("search", tmp_path / "search", lambda: False, run, ["x"]))
    assert list(tmp_path.iterdir()) == []


def test_the_earlier_name_works() -> None:
    words = [sys.executable, "-m", "experiments.new_baseline", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0
    assert "usage: python -m scaling.baseline [options]" in done.stdout
