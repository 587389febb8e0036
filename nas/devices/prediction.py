"""Interface of devices, and the checks that all devices share before they predict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from search_spaces.space import SearchSpace
from vbs.text import one_of, quoted, shortened


class Device(Protocol):
    """A device that predicts the speed of networks of a space."""

    @property
    def name(self) -> str:
        """Name of the device, as in "latency@NAME"."""

    @property
    def space(self) -> str:
        """Name of the space for which it predicts."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings of that space."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of prediction; the first is the default of `predict`."""

    def predict(
        self, space: SearchSpace, genotypes: np.ndarray, kind: str | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return predictions and the standard deviations of single measurements, float64 [n] each.

        genotypes  integer array [n, decisions] of option indices.
        kind       "throughput" (images/s), "latency" or "train_time" (seconds); None: the first of
                   `kinds`.

        Raises ValueError for another space, an unknown kind, and invalid genotypes.
        """

    def check(self, space: SearchSpace) -> None:
        """Raise ValueError unless the device predicts for `space`."""


def check_kind(device: Device, kind: str | None) -> str:
    """Return the kind to predict; None: the first of the device.

    Raises ValueError for an unknown kind.
    """
    if kind is None:
        return device.kinds[0]
    return one_of(f"kind of device {quoted(device.name)}", kind, device.kinds)


def check_space(
    device: Device, space: SearchSpace, choices: Mapping[str, tuple] | None = None
) -> None:
    """Raise ValueError unless the device was measured on `space`, with these `choices` if any."""
    check_is_space(space)
    theirs = {name: tuple(options) for name, options in space.choices.items()}
    same = choices is None or list(theirs.items()) == list(choices.items())
    if space.name == device.space and same and dict(space.settings) == dict(device.settings):
        return
    other = "" if same or space.name != device.space else " with other choices"
    raise ValueError(
        f"device {quoted(device.name)} was measured on the space {quoted(device.space)} "
        f"({_described(device.settings, space.settings)}) and cannot predict for "
        f"{quoted(space.name)}{other} ({_described(space.settings, device.settings)}); measure a "
        "kit of networks of that space (python -m nas.devices.kit) on the device"
    )


def check_is_space(space: object) -> None:
    """Raise ValueError unless `space` is a `SearchSpace` (and not the name of one)."""
    if not isinstance(space, SearchSpace):
        raise ValueError(
            f"space: {quoted(space, 60)} is not a SearchSpace; use search_spaces.catalog.space"
        )


def _described(settings: Mapping[str, Any], others: Mapping[str, Any]) -> str:
    """Return the settings that differ from others as text."""
    differing = {k: v for k, v in settings.items() if k not in others or others[k] != v}
    texts = (f"{shortened(name, 40)} {shortened(value, 40)}" for name, value in differing.items())
    return ", ".join(texts) or ("equal settings" if settings else "no settings")


def check_genotypes(space: SearchSpace, genotypes: np.ndarray) -> None:
    """Raise ValueError unless `genotypes` is an integer array [n, decisions] of option indices."""
    check_is_space(space)
    counts = space.option_counts
    if not isinstance(genotypes, np.ndarray) or genotypes.ndim != 2:
        raise ValueError(f"genotypes: use an integer array [n, {len(counts)}]")
    if genotypes.shape[1] != len(counts):
        raise ValueError(
            f"genotypes: shape {genotypes.shape} is not [n, {len(counts)}], one column for each "
            f"decision of the space {quoted(space.name)}"
        )
    if not np.issubdtype(genotypes.dtype, np.integer):
        raise ValueError(f"genotypes: {genotypes.dtype} is not an integer type of option indices")
    if len(genotypes):
        wrong = (genotypes.min(0) < 0) | (genotypes.max(0) >= counts)
        if wrong.any():
            column = int(np.argmax(wrong))
            raise ValueError(
                f"genotypes: an option of {list(space.choices)[column]!r} is not in "
                f"0..{counts[column] - 1}"
            )
