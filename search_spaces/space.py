"""Search spaces: named decisions with options, integer genotypes, and a function that decodes them.

A genotype contains, for each decision, the index of the chosen option; search strategies work on
int8 arrays of shape [n, decisions] and never on networks. `SearchSpace` works with any decode
function; `search_spaces.staged.StagedSpace` adds tabulated costs for spaces made of stages.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from search_spaces.architecture import Architecture
from search_spaces.cost import MEASURED, Cost, Costs, cost, is_measured
from vbs.text import quoted

if TYPE_CHECKING:
    from typing_extensions import Self


def _options(options: Sequence[Hashable]) -> tuple:
    """Return options as a tuple of plain values, because NumPy scalars cannot be stored."""
    if isinstance(options, str):
        raise ValueError(f"choices: {options!r} is a text; use a tuple of options")
    return tuple(o.item() if isinstance(o, np.generic) else o for o in options)


class SearchSpace:
    """A finite space: `choices` maps each decision to its options, `decode` builds a network.

    name      name in results; a surrogate predicts only for the space of its name.
    choices   decision -> tuple of 1 to 127 distinct options.
    decode    function of {decision: option} that returns an `Architecture` or anything hashable.
    cost      function from the result of `decode` to `Cost`; default: the exact cost.
    only_if   decision -> (other decision, options): unless the other decision has one of these
              options, the decision has no effect, and genotypes contain its first option, so that
              every network has exactly one genotype.
    settings  other properties of the space (resolution, ...), which are written into results.

    Use `with_references` to add published networks for comparison. Raises ValueError for invalid
    `choices` or `only_if`.
    """

    def __init__(
        self,
        name: str,
        choices: Mapping[str, Sequence[Hashable]],
        decode: Callable[[dict[str, Any]], Any],
        *,
        cost: Callable[[Any], Cost] = cost,
        only_if: Mapping[str, tuple[str, tuple]] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.choices = {decision: _options(options) for decision, options in choices.items()}
        self.settings = dict(settings or {})
        self.references: dict[str, Mapping[str, Any]] = {}
        self._decode, self._cost = decode, cost
        self._measured: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
        self._only_if = dict(only_if or {})
        if not self.choices:
            raise ValueError(f"choices: the space {name!r} has no decision")
        for decision, options in self.choices.items():
            # results contain options as text, so 1 and "1" would be equal
            if not 1 <= len(options) <= 127 or len(set(map(str, options))) != len(options):
                raise ValueError(
                    f"choices: {decision!r} has {options!r}; use 1 to 127 distinct options"
                )
        for decision, (parent, options) in self._only_if.items():
            names = list(self.choices)
            if parent not in names or decision not in names[names.index(parent) + 1 :]:
                raise ValueError(
                    f"only_if: {quoted(parent)} must come before {quoted(decision)} in choices"
                )
            if not set(options) <= set(self.choices[parent]):
                raise ValueError(f"only_if: {quoted(options)} are not options of {quoted(parent)}")

    def __repr__(self) -> str:
        networks = f"{self.size:.3g}" if self.size < 1e300 else "countless"
        return f"<SearchSpace {self.name}: {len(self.choices)} decisions, {networks} networks>"

    @cached_property
    def option_counts(self) -> np.ndarray:
        """Number of options of each decision, int64 [decisions]."""
        return np.array([len(options) for options in self.choices.values()])

    @property
    def resolution(self) -> int | None:
        """Input side of the networks in pixels, from the settings; None if they have none."""
        return self.settings.get("resolution")

    @property
    def size(self) -> int:
        """Exact number of distinct networks."""
        return math.prod(
            sum(weights) for name, weights in self._weights.items() if name not in self._only_if
        )

    @cached_property
    def _weights(self) -> dict[str, list[int]]:
        """Number of networks of each option of each decision, counting dependent decisions."""
        weights: dict[str, list[int]] = {}
        for decision in reversed(list(self.choices)):  # dependants follow their parent
            dependants = [
                (name, options)
                for name, (parent, options) in self._only_if.items()
                if parent == decision
            ]
            weights[decision] = [
                math.prod(sum(weights[name]) for name, options in dependants if option in options)
                for option in self.choices[decision]
            ]
        return {decision: weights[decision] for decision in self.choices}

    def sample(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw `count` genotypes uniformly over the distinct networks, int8 [count, decisions]."""
        uniform = rng.random((count, len(self.choices)), dtype=np.float32)
        genotypes = np.empty(uniform.shape, np.int8)
        for column, weights in enumerate(self._weights.values()):
            edges = np.cumsum(weights[:-1], dtype=np.float64) / sum(weights)
            genotypes[:, column] = np.searchsorted(edges, uniform[:, column], side="right")
        return self.canonical(genotypes)

    def mutate(self, genotypes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return each genotype with one effective decision changed to another of its options."""
        mutants = np.array(genotypes, np.int8)
        rows = np.arange(len(mutants))
        # choose the decision with the highest random priority among those with an effect
        priority = rng.random(mutants.shape, dtype=np.float32)
        if self._only_if:
            priority[~self.active(mutants)] = 0.0
        priority[:, self.option_counts == 1] = -1.0
        columns = priority.argmax(1)
        counts = self.option_counts[columns]
        step = 1 + (rng.random(len(rows)) * (counts - 1)).astype(np.int64)
        mutants[rows, columns] = (mutants[rows, columns] + step) % counts
        return self.canonical(mutants)

    def neighbours(self, genotype: np.ndarray) -> np.ndarray:
        """Return all genotypes [k, decisions] one effective decision away from `genotype`."""
        others = self.option_counts - 1
        columns = np.repeat(np.arange(len(others)), others)
        steps = np.concatenate([np.arange(1, count + 1) for count in others])
        around = np.repeat(np.asarray(genotype, np.int8)[None], len(columns), axis=0)
        rows = np.arange(len(columns))
        around[rows, columns] = (around[rows, columns] + steps) % self.option_counts[columns]
        around = self.canonical(around)
        return around[(around != genotype).any(1)]

    def canonical(self, genotypes: np.ndarray) -> np.ndarray:
        """Return the genotypes with decisions without effect set to their first option."""
        if not self._only_if:
            return genotypes
        return np.where(self.active(genotypes), genotypes, 0).astype(np.int8)

    def active(self, genotypes: np.ndarray) -> np.ndarray:
        """Return which decisions of each genotype have an effect, bool [n, decisions]."""
        active = np.ones(genotypes.shape, bool)
        names = list(self.choices)
        for decision in names:
            if decision in self._only_if:
                parent, options = self._only_if[decision]
                column = names.index(parent)
                wanted = [self.choices[parent].index(option) for option in options]
                active[:, names.index(decision)] = (
                    np.isin(genotypes[:, column], wanted) & active[:, column]
                )
        return active

    def keys(self, genotypes: np.ndarray) -> np.ndarray:
        """Return a uint64 key for each genotype, [n]; a hash if the space has over 2^64 networks.

        A collision of the hash (probability about n^2 / 2^65) makes a search skip a new network
        as if it were known; it never makes a search repeat a network.
        """
        # NumPy multiplies matrices of 64-bit integers slowly; 32-bit halves are exact in float64
        high, low = self._radix_halves @ genotypes.T.astype(np.float64)
        return (high.astype(np.uint64) << np.uint64(32)) + low.astype(np.uint64)

    @cached_property
    def _radix(self) -> np.ndarray:
        """Factor of each decision's option index in a key, uint64 [decisions]."""
        counts = [int(count) for count in self.option_counts]
        if math.prod(counts) <= 2**64:
            return np.array([math.prod(counts[i + 1 :]) for i in range(len(counts))], np.uint64)
        odd = np.random.default_rng(0).integers(0, 2**63, len(counts), dtype=np.uint64)
        return 2 * odd + np.uint64(1)

    @cached_property
    def _radix_halves(self) -> np.ndarray:
        """Upper and lower 32 bits of `_radix`, float64 [2, decisions]."""
        halves = self._radix >> np.uint64(32), self._radix & np.uint64(2**32 - 1)
        assert len(self.option_counts) < 2**14  # else a sum may not be exact
        return np.array(halves, np.float64)

    def encode(self, choices: Mapping[str, Hashable]) -> np.ndarray:
        """Return the genotype, int8 [decisions], of one network given as {decision: option}.

        A decision without effect may be omitted. Raises ValueError for an unknown or missing
        decision, and for an unknown option.
        """
        for decision in choices:
            if decision not in self.choices:
                raise ValueError(f"{decision}: unknown decision of space {quoted(self.name)}")
        genotype = np.zeros(len(self.choices), np.int8)
        for column, (decision, options) in enumerate(self.choices.items()):
            if decision in choices:
                if choices[decision] not in options:
                    raise ValueError(
                        f"{decision}: {quoted(choices[decision])} is not one of {options} "
                        f"in space {self.name!r}"
                    )
                genotype[column] = options.index(choices[decision])
        genotype = self.canonical(genotype[None])[0]
        for column, decision in enumerate(self.choices):
            if decision not in choices and self.active(genotype[None])[0, column]:
                raise ValueError(f"{decision}: this decision of space {self.name!r} is missing")
        return genotype

    def choices_of(self, genotype: np.ndarray) -> dict[str, Any]:
        """Return {decision: option} of one genotype [decisions]; raises ValueError if invalid."""
        genotype = np.asarray(genotype)
        if genotype.shape != (len(self.choices),):
            raise ValueError(
                f"genotype: shape {genotype.shape} is not allowed; use ({len(self.choices)},), one "
                f"index for each decision of space {self.name!r}"
            )
        if np.any(genotype < 0) or np.any(genotype >= self.option_counts):
            raise ValueError(f"genotype: {genotype.tolist()} has an index outside its options")
        return {
            decision: options[index]
            for (decision, options), index in zip(self.choices.items(), genotype, strict=True)
        }

    def decode(self, genotype: np.ndarray) -> Any:
        """Return the network of one genotype [decisions]."""
        return self._decode(self.choices_of(genotype))

    def costs(self, genotypes: np.ndarray) -> Costs:
        """Return the exact and the measured costs of genotypes [n, decisions]."""
        extra = {name: self._measured_cost(name, genotypes) for name in self._measured}
        return replace(self._exact_costs(genotypes), extra=extra)

    def measured_by(self, **functions: Callable[[np.ndarray], np.ndarray]) -> Self:
        """Return a copy of the space whose `costs` include a measured cost for each function.

        The names are those of `search_spaces.cost.MEASURED`, with "@device" for a cost on a named
        device. A function takes genotypes [n, decisions] and returns their costs, above 0, float64
        [n]. It replaces an earlier function with the same name. It may have a method `error` with
        the same argument that returns standard deviations, see `cost_errors`.
        """
        for name in functions:
            if not is_measured(name):
                known = ", ".join(MEASURED)
                raise ValueError(f"cost: {name!r} is not a measured cost; use one of {known}")
        measured = copy.copy(self)
        measured._measured = {**self._measured, **functions}
        return measured

    def with_references(self, references: Mapping[str, Mapping[str, Any]]) -> Self:
        """Return a copy of the space with published networks to compare results with.

        references  name -> {decision: option}.
        """
        compared = copy.copy(self)
        compared.references = {**self.references, **references}
        return compared

    def cost_errors(self, genotypes: np.ndarray) -> dict[str, np.ndarray]:
        """Return the standard deviations, float64 [n], of measured costs that have them."""
        return {
            name: function.error(genotypes)
            for name, function in self._measured.items()
            if hasattr(function, "error")
        }

    @property
    def cost_names(self) -> tuple[str, ...]:
        """Names of all costs that `costs` returns."""
        return (*Cost._fields, *self._measured)

    def _measured_cost(self, name: str, genotypes: np.ndarray) -> np.ndarray:
        values = np.asarray(self._measured[name](genotypes), np.float64)
        if values.shape != (len(genotypes),):
            raise ValueError(
                f"{name}: the function of space {self.name!r} returned shape {values.shape} for "
                f"{len(genotypes)} genotypes; return one number for each"
            )
        wrong = values[~(np.isfinite(values) & (values > 0))]
        if len(wrong):
            raise ValueError(
                f"{name}: the function of space {self.name!r} returned {wrong[0]}; return numbers "
                "above 0"
            )
        return values

    def _exact_costs(self, genotypes: np.ndarray) -> Costs:
        """Return the exact costs, with one call of decode and cost for each genotype."""
        rows = [self._checked_cost(self.decode(genotype)) for genotype in genotypes]
        columns = np.array(rows, np.int64).reshape(len(rows), len(Cost._fields)).T
        return Costs(*columns)

    def _checked_cost(self, network: Any) -> Cost:
        if self._cost is cost and not isinstance(network, Architecture):
            raise ValueError(
                f"cost: space {self.name!r} decodes to {type(network).__name__}, which is not an "
                "Architecture; pass a cost function to SearchSpace"
            )
        found = self._cost(network)
        whole = isinstance(found, Cost) and all(int(value) == value for value in found)
        if not whole:
            raise ValueError(
                f"cost: the cost function of space {self.name!r} returned {found!r}; return "
                "Cost(flops, params, activations) in whole numbers"
            )
        return found

    def cost_range(self, name: str) -> tuple[float, float]:
        """Return the smallest and the largest cost in the space; integers for exact costs.

        A coordinate descent over the decisions finds them, starting at the extremes of 1,000
        samples. They are exact if the cost is monotonic in each decision, as in spaces of stages.
        """
        draws = self.sample(1000, np.random.default_rng(0))
        extremes = []
        for sign in (1, -1):
            values = sign * self.costs(draws).get(name)
            genotype, value = draws[values.argmin()], values.min()
            while True:
                around = self.neighbours(genotype)
                values = sign * self.costs(around).get(name)
                if not len(values) or values.min() >= value:
                    break
                genotype, value = around[values.argmin()], values.min()
            extremes.append((sign * value).item())
        return extremes[0], extremes[1]
