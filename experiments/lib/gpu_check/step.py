"""A step of `experiments.gpu_check`: what it is, under which conditions it runs, what it finds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Finding = dict[str, Any]  # plain data with "figure", "goal" and "passed", see `finding`
Keep = Callable[[Finding], None]


@dataclass(frozen=True, kw_only=True)
class Step:
    """A check, or a measurement.

    name      in tables and of --steps.
    question  that it answers.
    place     "package.module:function" of (Conditions, Keep) -> Finding. What the function keeps
              counts where it is stopped before it returns.
    seconds   most that it may take, in a check of the usual length.
    packages  that it needs beside torch and torchvision.
    data      whether it trains on the images of --data.
    """

    name: str
    question: str
    place: str
    seconds: float
    packages: tuple[str, ...] = ()
    data: bool = False


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """How a step runs.

    device   "cuda", or "cpu" for a dry run.
    dry      whether it only shows that it works, with tiny networks on a CPU.
    data     text for `train.data.load`; None: there are no images.
    folder   of files for the time being.
    ends     when it is stopped, as `time.time` has it.
    """

    device: str
    dry: bool
    data: str | None
    folder: str
    ends: float

    @property
    def left(self) -> float:
        """Seconds until the step is stopped."""
        return self.ends - time.time()

    def pick(self, real: Any, dry: Any) -> Any:
        """The first of two values, or the second in a dry run."""
        return dry if self.dry else real


def finding(
    figure: str,
    *,
    goal: str = "",
    passed: bool | None = None,
    enough: bool = False,
    **details: Any,
) -> Finding:
    """What a step found, as plain data.

    figure   in words, for a table.
    goal     in words; "" where there is none.
    passed   whether it is met; None where there is none.
    enough   whether it is an answer even if the step is stopped before it has more.
    details  everything else. Numbers that are not finite become None.
    """
    known = {"figure": figure, "goal": goal, "passed": passed, "enough": enough}
    return plain({**known, **details})


def plain(value: Any) -> Any:
    """The value as data that JSON can hold, numbers with six digits."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
