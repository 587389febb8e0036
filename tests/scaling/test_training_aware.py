"""The EfficientNetV2 search: its reward, the family of the network found, and the command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nas.block_times.table import Times, block_names
from scaling.training_aware import SPACE, b0_like, full_size, members, ops_of_stages, reference
from search_spaces.catalog import space, zoo
from search_spaces.cost import cost
from tests.commands import training_aware as run
from tests.train.files import encoded

ROOT = Path(__file__).resolve().parents[2]


def test_the_reference_is_v2_base() -> None:
    network = reference(space(SPACE))
    assert network.stages == zoo("efficientnetv2_b0").stages
    assert cost(network).params == cost(zoo("efficientnetv2_b0")).params


def test_b0_gets_the_same_width_side_and_form() -> None:
    the_space = space(SPACE, resolution=32, classes=10, width=0.25, small_images=True)
    b0 = b0_like(reference(the_space), width=0.25, small_images=True)
    assert (b0.resolution, b0.classes) == (32, 10)
    assert [stage.op for stage in b0.stages] == ["mbconv"] * 7
    assert b0.stages[-1].channels == 80


def test_members_of_v2_base_cost_what_s_m_and_l_cost() -> None:
    grown = members(reference(space(SPACE)))
    for member, name in zip(grown, "sml", strict=True):
        published = zoo(f"efficientnetv2_{name}")
        assert member.cost.flops == pytest.approx(cost(published).flops, rel=0.03)
        assert member.architecture.resolution <= 480
        extra = [
            b.layers / a.layers
            for a, b in zip(reference(space(SPACE)).stages, member.architecture.stages, strict=True)
        ]
        assert extra[-1] > extra[0]


def test_ops_of_stages_are_the_choices() -> None:
    the_space = space(SPACE)
    choices = dict(the_space.references["EfficientNetV2-base"])
    network = full_size(choices)
    rows = ops_of_stages(network)
    assert [row["op"] for row in rows] == [choices[f"block{i}_op"] for i in range(6)]
    assert [row["layers"] for row in rows] == [1, 2, 2, 3, 5, 8]


@pytest.fixture
def images(tmp_path: Path) -> str:
    number = 0
    for split, count in (("train", 40), ("test", 6)):
        for label in ("a", "b"):
            (tmp_path / "images" / split / label).mkdir(parents=True)
            for _ in range(count):
                number += 1
                path = tmp_path / "images" / split / label / f"{number}.png"
                path.write_bytes(encoded(number))
    return f"imagefolder:{tmp_path / 'images'}"


def table(place: Path) -> str:
    """Return a table in which all blocks take the same time at 16 px, without measuring."""
    the_space = space(SPACE, resolution=16, classes=2, width=0.125, small_images=True)
    blocks = dict.fromkeys(block_names(the_space), (0.001, 0.0001))
    Times("step_time", blocks).write(place / "table.json")
    return str(place / "table.json")


@pytest.mark.slow
def test_the_command_searches_compares_and_grows(images: str, tmp_path: Path) -> None:
    out = tmp_path / "aware"
    words = [
        sys.executable,
        "-m",
        "scaling.training_aware",
        "--data",
        images,
        "--budget",
        "3",
        "--strategy",
        "random",
        "--width",
        "0.125",
        "--fidelity",
        "epochs=1",
        "--set",
        "batch=16",
        "--times",
        table(tmp_path),
        "--seeds",
        "1",
        "--members",
        "s",
        "--workers",
        "2",
        "--device",
        "cpu",
        "--max-step-time",
        "40ms",
        "--cache",
        str(tmp_path / "cache"),
        "--out",
        str(out),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=400, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    record = json.loads((out / "training_aware.json").read_text())
    assert record["status"] == "finished"
    networks = record["outcome"]["networks"]
    assert {*networks} == {"found", "EfficientNetV2-base", "EfficientNet-B0"}
    for row in networks.values():
        assert row["step_seconds"] > 0
        assert 0 <= row["mean"] <= 100
    searched = json.loads((out / "search" / "search.json").read_text())["settings"]
    params = networks["EfficientNetV2-base"]["params"]
    assert searched["also"] == [f"params:{params}:-0.05"]
    assert searched["exponent"] == -0.07
    assert searched["max_step_time"] == 0.04
    assert (out / "members" / "s.json").is_file()
    assert (out / "training_aware.png").is_file()
    assert "stages of the found network" in done.stdout
    again = subprocess.run(
        [*words[:3], "--resume", "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=400,
        cwd=ROOT,
    )
    assert again.returncode == 0, again.stderr
    assert "networks evaluated" not in again.stdout  # the search is over
    assert (
        json.loads((out / "training_aware.json").read_text())["outcome"]["networks"]["found"][
            "accuracies"
        ]
        == networks["found"]["accuracies"]
    )


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["--w", "0.1"], "--w: 0.1 is not allowed; use a number from -10 to 0"),
        (["--budget", "0"], "--budget: '0' is not a whole number from 1 to 1G"),
        (["--strategy", "nonsense"], "--strategy: 'nonsense' is unknown"),
        (["--seed", "-1"], "--seed: -1 is not allowed"),
        (["--max-step-time", "80"], "--max-step-time: '80' is not a time"),
        (["--resume"], "resume: the folder of the run is missing; use --out DIR"),
        (["--data", "imagefolder:nowhere"], "data: "),
        (["--members", "xs"], "--members: 'xs' is unknown; did you mean s"),
    ],
)
def test_mistakes_are_one_line(
    given: list[str],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(given) == 2
    told: Any = capsys.readouterr().err
    assert told.startswith(f"scaling.training_aware: {complaint}")
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
