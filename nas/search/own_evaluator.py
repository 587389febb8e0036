"""User-defined evaluators that run in worker processes (`--evaluator file.py:Name`)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nas import catalog
from nas.asha import Asha
from nas.evaluators.base import Evaluator
from nas.search.aims import named_space
from nas.search.config import SearchConfig
from nas.strategies.base import Strategy
from search_spaces.space import SearchSpace
from vbs.config import flag, given_values
from vbs.text import quoted, shortened

OF_CURVES = ("grace", "factor")
OF_TRAININGS = ("finalists", "repeats")


@dataclass(frozen=True)
class OwnEvaluator:
    """A user-defined evaluator; each worker creates an instance from its reference.

    reference  "package.module:Name" or "path/to/file.py:Name".
    described  instance in the process of the search, for its attributes; workers create their own.
    """

    reference: str
    described: Evaluator

    @property
    def steps(self) -> int:
        """Number of points of a full learning curve."""
        return self.described.steps

    @property
    def first_rung(self) -> int:
        """Step after which evaluations are first compared: a quarter of all steps."""
        return max(1, self.steps // 4)

    @property
    def digests(self) -> Mapping[str, str]:
        """Empty, because the evaluator reads no images of the search."""
        return {}

    @property
    def identity(self) -> dict[str, Any]:
        """Settings that all drivers of a search must share, in addition to its options."""
        return {}

    def start(
        self, config: SearchConfig, space: SearchSpace, strategy: Strategy
    ) -> tuple[Callable[[], Evaluator], Strategy]:
        """Return a function that creates the evaluator in a worker process, and the strategy."""
        return functools.partial(catalog.evaluator, self.reference, space), strategy

    def preview(self, budget: int, asha: Asha | None) -> list[str]:
        """Return lines that are printed before a search starts."""
        length = f"{self.steps} steps" if self.steps > 1 else "one result"
        early = "none is stopped early"
        if asha is not None and asha.rungs:
            early = f"they are first compared after step {asha.first}"
        name = shortened(self.reference)
        return [f"each of {budget} networks: {length} of evaluator {name}; {early}"]


def prepare_own(config: SearchConfig) -> tuple[SearchConfig, OwnEvaluator, SearchSpace]:
    """Return the config with its defaults filled in, the evaluator and the space.

    Raises ValueError if the evaluator is invalid, or an option needs learning curves or trainings
    that the evaluator does not have.
    """
    config, space = named_space(config)
    made = catalog.evaluator(config.evaluator, space)
    name, steps = shortened(config.evaluator), made.steps
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(
            f"evaluator: {name} has the steps {quoted(steps, 40)}; use a whole number from 1"
        )
    if steps > 1 and type(made).curve is Evaluator.curve:
        raise ValueError(
            f"evaluator: {name} has {steps} steps, but no method `curve`; see "
            "nas.evaluators.base.Evaluator"
        )
    for option in given_values(config):
        if option in OF_CURVES and steps == 1:
            raise ValueError(
                f"{flag(option)}: evaluator {name} reports no learning curve; define `steps` and "
                f"`curve`, as in nas.evaluators.base.Evaluator, or leave {flag(option)} out"
            )
        if option in OF_TRAININGS and not made.trains:
            raise ValueError(
                f"{flag(option)}: evaluator {name} trains nothing; set its attribute `trains`, or "
                f"leave {flag(option)} out"
            )
    return config, OwnEvaluator(config.evaluator, made), space
