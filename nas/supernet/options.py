"""Option group of searches with a supernet."""

from __future__ import annotations

from dataclasses import dataclass

from vbs.config import Config, ConfigError, option

EVALUATOR = "supernet"


@dataclass(frozen=True, kw_only=True)
class SupernetOptions(Config):
    """Options of `--evaluator supernet`."""

    title = "searches with a supernet"

    supernet_epochs: int = option(
        30,
        limits=(1, 10_000),
        metavar="N",
        help="epochs of training the weights that all networks share (default 30)",
    )
    supernet_labels: float = option(
        0.0,
        limits=(0.0, 1.0),
        metavar="X",
        help="weight of the labels in the targets of smaller networks, from 0 to 1; the rest is "
        "the largest network's outputs (default 0)",
    )
    judge: int = option(
        24,
        limits=(0, 1000),
        metavar="N",
        help="networks that are trained stand-alone, with two seeds each, to check the ranking of "
        "the supernet; 0: no check (default 24)",
    )

    def check_supernet(self, evaluator: str) -> None:
        """Raise ConfigError for options that need `--evaluator supernet`, and for a small --judge.

        The smallest number of networks is `FEWEST`.
        """
        if evaluator != EVALUATOR:
            for name in ("supernet_epochs", "supernet_labels", "judge"):
                if getattr(self, name) != SupernetOptions.__dataclass_fields__[name].default:
                    raise ConfigError(name, "needs --evaluator supernet")
        elif 0 < self.judge < FEWEST:
            raise ConfigError(
                "judge", f"{self.judge} is not allowed; use {FEWEST} networks or more, or 0"
            )


FEWEST = 8  # fewest networks for a rank correlation
