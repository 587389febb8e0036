"""Steps of `experiments.gpu_check`: their description, their conditions, and their findings."""

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
    """A check or a measurement.

    name      in tables and in --steps.
    question  that the step answers.
    place     "package.module:function" of (Conditions, Keep) -> Finding. The last finding that the
              function passes to Keep counts if it is stopped before it returns.
    seconds   time limit in a check of the default length.
    packages  required packages other than torch and torchvision.
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
    """The conditions under which a step runs.

    device   "cuda", or "cpu" for a dry run.
    dry      whether it only shows that it runs, with tiny networks on a CPU.
    data     text for `train.data.load`; None: there are no images.
    folder   folder of temporary files.
    ends     time at which it is stopped, as returned by `time.time`.
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
        """Return the first of two values, or the second in a dry run."""
        return dry if self.dry else real


def finding(
    figure: str,
    *,
    goal: str = "",
    passed: bool | None = None,
    enough: bool = False,
    **details: Any,
) -> Finding:
    """Return the finding of a step as plain data.

    figure   the most important number, in words, for a table.
    goal     in words; "" if there is none.
    passed   whether the goal is reached; None if there is none.
    enough   whether it is a valid answer if the step is stopped later.
    details  everything else. Numbers that are not finite become None.
    """
    known = {"figure": figure, "goal": goal, "passed": passed, "enough": enough}
    return plain({**known, **details})


def plain(value: Any) -> Any:
    """Return a value as data that JSON can hold, numbers with six digits."""
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
