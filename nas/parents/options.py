"""Option group of searches from pretrained weights."""

from __future__ import annotations

from dataclasses import dataclass

from train.options import weights_text
from vbs.config import Config, ConfigError, option
from vbs.text import shortened
from vbs.units import parse_quantity, short

SCORES = ("steps", "accuracy", "ridge")  # those of nas.evaluators.inherited_scores
MOST_TARGETS = 16


def target_texts(text: str, *, what: str = "targets") -> str:
    """Return targets such as "50M,35M", checked, the largest first."""
    return ",".join(each for each, _ in target_list(text, what))


def target_list(text: str, what: str = "targets") -> list[tuple[str, float]]:
    """Return the targets as texts and FLOPs, the largest first.

    Raises ConfigError if they are not sizes above 0, nearly equal, or too many.
    """
    texts = [each.strip() for each in text.split(",")]
    if not all(texts) or len(texts) > MOST_TARGETS:
        raise ConfigError(what, f"{shortened(repr(text), 60)} is not understood; write 50M,35M,20M")
    found = {parse_quantity(each, what=what): each for each in texts}
    if min(found) <= 0:
        raise ConfigError(what, f"{found[min(found)]} is not allowed; use FLOPs above 0")
    if len({short(value) for value in found}) < len(found):  # each target needs its own folder name
        raise ConfigError(what, f"{shortened(repr(text), 60)} has targets that are nearly equal")
    return [(found[value], value) for value in sorted(found, reverse=True)]


@dataclass(frozen=True, kw_only=True)
class ParentOptions(Config):
    """Options of a search from pretrained weights."""

    title = "searches from pretrained weights"

    parent: str | None = option(
        None,
        metavar="SOURCE",
        parse=weights_text,
        help="search the sub-networks of this trained network, which is fine-tuned on the images "
        "first: a run's folder, a .safetensors file, timm:NAME or package:efficientnet_lite0",
    )
    targets: str | None = option(
        None,
        metavar="SIZES",
        parse=target_texts,
        help="several targets of FLOPs instead of --target-flops, e.g. 50M,35M,20M: one fine-tuned "
        "parent for all, and a trained network for each target",
    )
    score: str = option(
        "steps",
        choices=SCORES,
        metavar="|".join(SCORES),
        help="how candidates are compared: after a few steps of fine-tuning (default), by the "
        "held-out accuracy of inherited weights, or by a ridge classifier on their features",
    )

    elastic: int = option(
        0,
        limits=(0, 1000),
        metavar="EPOCHS",
        help="epochs of training the teacher together with its sub-networks before candidates "
        "inherit (default 0)",
    )

    @property
    def target_list(self) -> list[tuple[str, float]]:
        """Targets of --targets as texts and FLOPs, largest first."""
        return [] if self.targets is None else target_list(self.targets)

    def check_parent(self) -> None:
        """Raise ConfigError for options that need --parent."""
        if self.parent is None:
            for name in ("targets", "score", "elastic"):
                if getattr(self, name) != ParentOptions.__dataclass_fields__[name].default:
                    raise ConfigError(name, "needs --parent; add --parent SOURCE")
