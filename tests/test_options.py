"""Command lines made from configs."""

from __future__ import annotations

from dataclasses import dataclass

from vbs.config import Config, groups, option
from vbs.options import Command, parser_of


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
