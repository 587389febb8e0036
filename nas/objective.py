"""Objective of a search: rewards of accuracy and cost, hard limits, and the Pareto front."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from nas.rewards import REWARDS
from search_spaces.cost import MEASURED, Cost, Costs, cost_label, cost_text, is_measured
from vbs.plugins import blamed, is_reference, load_object, reference_to
from vbs.text import one_of, quoted, shortened

PART = 250_000  # rows at a time, so that a long history is not copied as a whole
# user-defined reward: (accuracies [n] in percent, {cost name: [n]}) -> rewards [n]
PluginReward = Callable[[np.ndarray, Mapping[str, np.ndarray]], np.ndarray]


def _check_cost(what: str, name: str) -> None:
    """Raise ValueError if there is no cost of this name."""
    if not is_measured(name):
        one_of(what, name, (*Cost._fields, *MEASURED))


def plugin_reward(name: str) -> PluginReward:
    """Return the function that "path/to/file.py:name" names; raises ValueError if there is none."""
    function = load_object(name, what="reward")
    if not callable(function):
        raise ValueError(f"reward: {shortened(name)} is {quoted(function, 60)}, not a function")
    return function


@dataclass(frozen=True, init=False)
class Objective:
    """A reward with a target cost, and limits that are checked before a network is evaluated.

    target       target of the cost `of`, in its unit.
    reward       a name in `REWARDS`, stored as `reward_name` (`reward` is a method); or your own
                 function at the top level of a module; or the name of such a function, as
                 "package.module:name" or "path/to/file.py:name". A function gets accuracies [n] in
                 percent and a mapping of costs {name: [n]}, and returns rewards [n].
    exponent     w of the reward, from -10 to 0. None: the published value.
    over_target  "forbid": networks above the target are infeasible. "allow": only the reward
                 depends on the target; not with "feasible", which does not use it.
    limits       further limits ((cost name, largest value), ...), e.g. (("params", 6e6),).
    of           name of the target's cost: "flops" (multiply-adds), another field of `Cost`, or a
                 name in `search_spaces.cost.MEASURED` (seconds), such as "latency", or
                 "latency@zcu102" for a device.
    also         further factors of the accuracy in the reward, ((cost name, reference, exponent),
                 ...), each (cost / reference)^exponent. The factor P^v of EfficientNetV2 is
                 ("params", 7e6, -0.05).

    The target of `Objective(400e6)` is 400M FLOPs, that of `Objective(0.02, of="latency")` 20 ms.
    The space must have the measured costs, see `SearchSpace.measured_by`. Raises ValueError for
    values that are not allowed.
    """

    target: float
    reward_name: str = "mnas"
    exponent: float | None = None
    over_target: str = "forbid"
    limits: tuple[tuple[str, float], ...] = ()
    of: str = "flops"
    also: tuple[tuple[str, float, float], ...] = ()

    def __init__(
        self,
        target: float,
        reward: str | PluginReward = "mnas",
        exponent: float | None = None,
        over_target: str = "forbid",
        limits: tuple[tuple[str, float], ...] = (),
        of: str = "flops",
        also: tuple[tuple[str, float, float], ...] = (),
        *,
        reward_name: str | None = None,  # as `dataclasses.replace` passes it
    ) -> None:
        if callable(reward):
            reward = reference_to(reward, what="reward")
        values = {
            "target": target,
            "reward_name": reward_name or reward,
            "exponent": exponent,
            "over_target": over_target,
            "limits": limits,
            "of": of,
            "also": also,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        """Set the default exponent; raise ValueError for values that are not allowed."""
        _check_cost("target", self.of)
        if not np.isfinite(self.target) or self.target <= 0:
            raise ValueError(f"target_{self.of}: {quoted(self.target)} is not a number above 0")
        if self.own_reward:
            self._check_own_reward()
        else:
            one_of("reward", self.reward_name, REWARDS)
        one_of("over_target", self.over_target, ("forbid", "allow"))
        if self.exponent is None:
            usual = 0.0 if self.own_reward else REWARDS[self.reward_name][1]
            object.__setattr__(self, "exponent", usual)
        elif not -10 <= self.exponent <= 0:
            raise ValueError(
                f"exponent: {quoted(self.exponent)} is not allowed; use a number from -10 to 0 "
                "(above 0 it would reward cost)"
            )
        if self.reward_name == "feasible" and self.over_target == "allow":
            raise ValueError(
                "over_target: 'allow' is not allowed with the reward 'feasible', which does not "
                "depend on the target"
            )
        for name, largest in self.limits:
            _check_cost("limit", name)
            if not np.isfinite(largest) or largest <= 0:
                raise ValueError(f"limits: {name} {quoted(largest)} is not a number above 0")
        for name, reference, exponent in self.also:
            _check_cost("also", name)
            if not np.isfinite(reference) or reference <= 0:
                raise ValueError(
                    f"also: the reference {quoted(reference)} of {name} is not a number above 0"
                )
            if not -10 <= exponent <= 0:
                raise ValueError(
                    f"also: the exponent {exponent!r} of {name} is not allowed; use a number from "
                    "-10 to 0"
                )

    def _check_own_reward(self) -> None:
        if self.exponent:
            raise ValueError(
                f"exponent: reward {shortened(self.reward_name)} has no exponent; leave it out"
            )
        if self.also:
            raise ValueError(
                f"also: reward {shortened(self.reward_name)} gets all costs; leave `also` out"
            )

    @property
    def own_reward(self) -> bool:
        """Whether the reward is the user's own function."""
        return is_reference(self.reward_name, REWARDS)

    @property
    def all_limits(self) -> tuple[tuple[str, float], ...]:
        """All hard limits, including the target with over_target "forbid"."""
        target = ((self.of, float(self.target)),) if self.over_target == "forbid" else ()
        return target + self.limits

    @property
    def cost_names(self) -> set[str]:
        """Names of the costs that rewards and limits depend on."""
        limits, also = (name for name, _ in self.limits), (name for name, _, _ in self.also)
        return {self.of, *limits, *also}

    @property
    def limits_text(self) -> str:
        """All hard limits as text: "flops 400M, latency 20ms"."""
        return ", ".join(
            f"{cost_label(name)} {cost_text(name, largest)}" for name, largest in self.all_limits
        )

    def reward(self, accuracy: np.ndarray, costs: Costs) -> np.ndarray:
        """Return rewards [n] of accuracies [n] in percent; NaN where the accuracy is NaN."""
        assert self.exponent is not None  # set by `_check`
        if self.own_reward:
            return self._own_reward(accuracy, costs)
        cost = costs.get(self.of)
        ratio = np.where(cost > 0, cost, 1) / self.target
        for name, reference, exponent in self.also:
            spent = costs.get(name)
            accuracy = accuracy * (np.where(spent > 0, spent, 1) / reference) ** exponent
        return REWARDS[self.reward_name][0](accuracy, ratio, self.exponent)

    def _own_reward(self, accuracy: np.ndarray, costs: Costs) -> np.ndarray:
        """Return rewards by the user's function, which need not handle NaN."""
        by_name = {name: costs.get(name) for name in (*Cost._fields, *costs.extra)}
        function = plugin_reward(self.reward_name)
        with blamed("reward", self.reward_name):
            rewards = np.array(function(accuracy.copy(), by_name), np.float64)
        if rewards.shape != accuracy.shape:
            raise ValueError(
                f"reward: {shortened(self.reward_name)} returned shape {rewards.shape} for "
                f"{len(accuracy)} accuracies; return one number for each"
            )
        rewards[np.isnan(accuracy)] = np.nan
        if not np.isfinite(rewards[np.isfinite(accuracy)]).all():
            raise ValueError(
                f"reward: {shortened(self.reward_name)} returned NaN or infinity for a finite "
                "accuracy"
            )
        return rewards

    def violation(self, costs: Costs) -> np.ndarray:
        """Return the largest share by which a limit is exceeded, [n]; 0.0 if none is."""
        worst = np.zeros(len(costs))
        for name, largest in self.all_limits:
            worst = np.maximum(worst, costs.get(name) / largest - 1.0)
        return worst

    def feasible(self, costs: Costs) -> np.ndarray:
        """Return whether networks are within all limits, bool [n]."""
        feasible = np.ones(len(costs), bool)
        for name, largest in self.all_limits:
            feasible &= costs.get(name) <= largest
        return feasible


def pareto_front(accuracy: np.ndarray, flops: np.ndarray) -> np.ndarray:
    """Return the rows [k] of the Pareto front of accuracy [n] and FLOPs [n], by rising FLOPs.

    Of equal networks only the first is returned. Rows with NaN accuracy are never returned.
    """
    front = np.empty(0, np.int64)
    # the front of all rows is the front of the union of the fronts of parts
    for start in range(0, len(accuracy), PART):
        part = np.arange(start, min(start + PART, len(accuracy)))
        rows = np.concatenate([front, part[~np.isnan(accuracy[part])]])
        front = rows[_front_of(accuracy[rows], flops[rows], rows)]
    return front


def _front_of(accuracy: np.ndarray, flops: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the indices of the front of networks [n]; of equal ones the first by `rows` [n]."""
    order = np.argsort(flops)
    # only the few networks that are at least as accurate as all cheaper ones are sorted exactly
    reached = np.maximum.accumulate(accuracy[order])
    order = order[accuracy[order] == reached]
    order = order[np.lexsort((rows[order], -accuracy[order], flops[order]))]
    best_before = np.maximum.accumulate(np.concatenate([[-np.inf], accuracy[order][:-1]]))
    return order[accuracy[order] > best_before[: len(order)]]


def highest(values: np.ndarray, count: int) -> np.ndarray:
    """Return the rows of the `count` highest values [n], in descending order (a stable sort).

    NaN is lower than any number.
    """
    found = np.empty(0, np.int64)
    for start in range(0, len(values), PART):
        rows = np.concatenate([found, np.arange(start, min(start + PART, len(values)))])
        descending = -np.nan_to_num(values[rows], nan=-np.inf)
        if count < len(rows):
            least = np.partition(descending, count)[count]
            rows, descending = rows[descending <= least], descending[descending <= least]
        found = rows[np.argsort(descending, kind="stable")[:count]]
    return found
