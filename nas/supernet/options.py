"""The group of options of searches with a supernet."""

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
        help="epochs in which the weights are trained that all networks share (default 30)",
    )
    supernet_labels: float = option(
        0.0,
        limits=(0.0, 1.0),
        metavar="X",
        help="weight of the labels, beside the largest network's outputs, in what the other "
        "networks learn from in this training (default 0)",
    )
    judge: int = option(
        24,
        limits=(0, 1000),
        metavar="N",
        help="networks that are trained on their own, each with two seeds, to check how well the "
        "supernet ranks; 0: unchecked (default 24)",
    )

    def check_supernet(self, evaluator: str) -> None:
        """ConfigError for options that go with `--evaluator supernet` alone, or that are too few
        for a rank correlation."""
        if evaluator != EVALUATOR:
            for name in ("supernet_epochs", "supernet_labels", "judge"):
                if getattr(self, name) != SupernetOptions.__dataclass_fields__[name].default:
                    raise ConfigError(name, "goes with --evaluator supernet")
        elif 0 < self.judge < FEWEST:
            raise ConfigError(
                "judge", f"{self.judge} networks rank nothing; use {FEWEST} or more, or 0"
            )


FEWEST = 8  # networks with which a rank correlation is worth its name
