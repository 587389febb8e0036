"""Command lines built from configs."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vbs.config import Config, from_values, groups, option
from vbs.options import Command, parser_of, read_request, words_of
from vbs.units import megabytes, parse_quantity, parse_seconds, quantity_text, seconds_text

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Images(Config):
    title = "images"

    data: str | None = option(None, help="images")


@dataclass(frozen=True, kw_only=True)
class Toy(Images):
    title = "toy"

    data: str | None = option(None, help="images: cifar10 (default)")
    size: int = option(3, help="whole number")


TOY = Command(program="toy", config=Toy, run="", description="A toy.")


def test_an_option_that_is_defined_again_stays_in_its_group() -> None:
    assert groups(Toy) == (("toy", ("size",)), ("images", ("data",)))
    text = parser_of(TOY).format_help()
    assert text.count("--data") == 1
    assert "cifar10 (default)" in text


@pytest.mark.parametrize(
    ("program", "values", "words"),
    [
        ("scaling.family", {}, []),
        (
            "scaling.family",
            {"phi": ("0..2", "4"), "growth": 2.0, "fixed_ends": True},
            ["--phi", "0..2", "4", "--growth", "2.0", "--fixed-ends"],
        ),
        (
            "nas.search",
            {"target_flops": 4e6, "changes": ("batch=16", "-x=1"), "exponent": -0.07},
            ["--set", "batch=16", "--set=-x=1", "--target-flops", "4M", "--exponent=-0.07"],
        ),
        (
            "nas.search",
            {"target_latency": 0.02, "max_params": 5288548.0, "small_images": False},
            ["--no-small-images", "--target-latency", "20ms", "--max-params", "5288548"],
        ),
        (
            "scaling.training_aware",
            {"max_time": 5400.0, "members": ("s", "l"), "workers": 2},
            ["--workers", "2", "--members", "s", "l", "--max-time", "1.5h"],
        ),
    ],
)
def test_words_give_the_same_config(program: str, values: dict[str, Any], words: list[str]) -> None:
    command: Command = importlib.import_module(f"{program}.config").COMMAND
    if "changes" in values or "max_params" in values:
        values = {"evaluator": "proxy", **values}
        words = [*words, "--evaluator", "proxy"]
    config = command.config(**values)
    assert sorted(words_of(command, config)) == sorted(words)
    request = read_request(command, words_of(command, config, out="runs/a b"))
    assert request.out == "runs/a b"
    assert from_values(command.config, request.values) == config


@pytest.mark.parametrize("value", [1.0, 4e6, 385814752.0, 4e8, 1e18, 0.1, 123456.789, 1 / 3, 2.5e9])
def test_texts_of_quantities_and_times_are_exact(value: float) -> None:
    assert parse_quantity(quantity_text(value)) == value
    time = min(value, 1e9)
    assert parse_seconds(seconds_text(time)) == time


def test_texts_of_quantities_and_times_are_short() -> None:
    assert [quantity_text(value) for value in (4e6, 4e8, 1500, 12.0)] == [
        "4M",
        "400M",
        "1.5K",
        "12",
    ]
    assert [seconds_text(value) for value in (3600, 90, 0.02, 5400, 3e-6)] == [
        "1h",
        "90s",
        "20ms",
        "1.5h",
        "3us",
    ]


def test_sizes_of_files_are_in_megabytes() -> None:
    sizes = (12_345, 999_600, 3_812_000, 13_510_000, 1_234_500_000)
    assert [megabytes(size) for size in sizes] == [
        "0.0123 MB",
        "1 MB",
        "3.81 MB",
        "13.5 MB",
        "1,234.5 MB",
    ]


@pytest.mark.parametrize(
    ("program", "words", "complaint"),
    [
        ("train.run", "efficientnet_b0 --data ./gone", "data: './gone' is unknown"),
        ("train.run", "efficientnet_b0 --data imagefolder:gone", "gone does not exist"),
        ("train.run", "efficientnet_b0 --data gone.zip", "gone.zip does not exist"),
        ("train.run", "efficientnet_b0 --data cifar10 --epochs 1", "use --set epochs=1"),
        ("train.predict", "gone photo.jpg", "network: gone does not exist"),
        ("train.predict", "{tmp} gone.jpg", "images: gone.jpg does not exist"),
        ("train.export", "gone --to onnx", "gone does not exist"),
    ],
)
def test_a_missing_file_is_reported_without_importing_torch(
    program: str, words: str, complaint: str, tmp_path: Path
) -> None:
    code = (
        "import sys; from vbs.command import command_line; "
        "code = command_line(sys.argv[1], sys.argv[2:]); "
        "sys.exit(3 if 'torch' in sys.modules or 'numpy' in sys.modules else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, program, *words.format(tmp=tmp_path).split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert complaint in done.stderr
