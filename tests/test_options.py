"""Command lines built from configs."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import pytest

from vbs.config import Config, from_values, groups, option
from vbs.options import Command, parser_of, read_request, words_of
from vbs.units import parse_quantity, parse_seconds, quantity_text, seconds_text


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
