"""Spaces whose networks are a chain of stages, with costs as sums over one table per stage.

The cost of a stage depends on its own decisions and on its *state*, which is the number of channels
and the size of its input. Only a few states can occur, so a table with one row for each (state,
combination of the stage's decisions) stores the exact cost and the next state. The costs of a
million genotypes are then a few table look-ups. Other sums over blocks, such as their measured
times, are tabulated in the same way. Stem, input resolution and head may be decisions too; they
have their own tables before and after the stages.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from search_spaces.architecture import ACTIVATIONS, Architecture, Block, Stage, stage_blocks
from search_spaces.cost import Costs, blocks_cost
from search_spaces.scale import relaxed, round_channels
from search_spaces.space import SearchSpace
from vbs.text import one_of

BEFORE, BEHIND = ("resolution", "stem"), ("head",)  # decisions outside the stages
FREE = ("activation",)  # decisions that do not change the cost
MOST_MADE = 10_000  # stages that a space keeps


class StageTable(NamedTuple):
    """Table of one stage: rows are state * combinations + combination.

    columns [k] and weights [k] convert genotypes to combinations; values are [rows, numbers],
    following int64 [rows] is the index of the state after the stage.
    """

    columns: np.ndarray
    weights: np.ndarray
    combinations: int
    values: np.ndarray
    following: np.ndarray


class Tables(NamedTuple):
    """A table for each stage, and the values of stem, head and classifier [last states, numbers].

    If resolution or stem are decisions, the first table is that of the stem; if the head is a
    decision, the last table is that of head and classifier.
    """

    stages: list[StageTable]
    around: np.ndarray

    def sums(self, genotypes: np.ndarray) -> np.ndarray:
        """Return the sums [n, numbers] over all blocks of genotypes [n, decisions]."""
        total = np.zeros((len(genotypes), self.around.shape[1]), self.around.dtype)
        state = np.zeros(len(genotypes), np.int64)
        columns = genotypes.T.astype(np.int64, order="C")
        for table in self.stages:
            row = state * table.combinations
            for column, weight in zip(table.columns.tolist(), table.weights.tolist(), strict=True):
                row += columns[column] * weight
            total += table.values.take(row, axis=0)
            state = table.following.take(row)
        return total + self.around.take(state, axis=0)


class StagedSpace(SearchSpace):
    """A space whose decisions `block{i}_{letter}` define stage i of an architecture.

    Decisions named resolution, stem, head and activation set the fields of these names in the
    `Architecture`.

    stage_of  function (index, {letter: option}) -> `Stage`.
    frame     all other fields of the `Architecture` except its stages.
    tied      indices of stages whose channels equal their input channels, regardless of `stage_of`.
    """

    def __init__(
        self,
        name: str,
        choices: Mapping[str, Sequence],
        stage_of: Callable[[int, dict[str, Any]], Stage],
        *,
        frame: Mapping[str, Any],
        tied: Collection[int] = (),
        only_if: Mapping[str, tuple[str, tuple]] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(name, choices, self._architecture, only_if=only_if, settings=settings)
        self._stage_of, self._frame, self._tied = stage_of, dict(frame), frozenset(tied)
        self._stage_columns: dict[int, list[int]] = {}
        self._frame_columns: dict[str, int] = {}
        for column, decision in enumerate(self.choices):
            if decision in (*BEFORE, *BEHIND, *FREE):
                self._frame_columns[decision] = column
                continue
            index = int(decision.removeprefix("block").split("_")[0])
            self._stage_columns.setdefault(index, []).append(column)
        self._made: dict[tuple, Stage] = {}  # stages that were decoded, which are checked once
        names = list(self.choices)
        self._stage_decisions = {  # letter -> decision
            index: {names[column].removeprefix(f"block{index}_"): names[column] for column in all}
            for index, all in self._stage_columns.items()
        }

    @property
    def resolution(self) -> int:
        """Input side of the networks in pixels; the largest one if it is a decision."""
        if "resolution" in self._frame_columns:
            return int(max(self.choices["resolution"]))
        return int(self._frame.get("resolution", Architecture.resolution))

    def with_activations(self, names: Sequence[str]) -> StagedSpace:
        """Return a copy of the space with the activation as a decision.

        names  at least two of "silu", "relu6", "hard_swish" and "relu". Stages that define their
               own activation keep it.

        Raises ValueError for an unknown name, for fewer than two names, and if the activation is
        already a decision.
        """
        names = tuple(dict.fromkeys(names))
        for name in names:
            one_of("activations", name, ACTIVATIONS)
        if len(names) < 2:
            raise ValueError(
                f"activations: {', '.join(names)} alone is not a decision; use several"
            )
        if "activation" in self.choices:
            raise ValueError(f"activations: they are already a decision of space {self.name!r}")
        made = StagedSpace(
            self.name,
            {**self.choices, "activation": names},
            self._stage_of,
            frame={name: value for name, value in self._frame.items() if name != "activation"},
            tied=self._tied,
            only_if=self._only_if,
            settings={**self.settings, "activations": list(names)},
        )
        own = str(self._frame.get("activation", Architecture.activation))
        if own in names:
            made.references = {
                name: {**choices, "activation": own} for name, choices in self.references.items()
            }
        return made

    def _architecture(self, choices: dict[str, Any]) -> Architecture:
        chosen = {name: choices[name] for name in self._frame_columns}
        frame = {**self._frame, **chosen}
        stages: list[Stage] = []
        for index, decisions in self._stage_decisions.items():
            before = stages[-1].channels if stages else frame["stem"]
            options = [choices[decision] for decision in decisions.values()]
            # 1 and 1.0 are equal as keys but may be different options, so their types are added
            key = (index, before, *options, *map(type, options))
            if key not in self._made:
                if len(self._made) >= MOST_MADE:
                    self._made.clear()
                own = dict(zip(decisions, options, strict=True))
                self._made[key] = self._stage(index, own, before)
            stages.append(self._made[key])
        return Architecture(stages=tuple(stages), **frame)

    def _stage(self, index: int, own: dict[str, Any], before: int) -> Stage:
        """Return the stage with these options and `before` input channels."""
        stage = self._stage_of(index, own)
        return replace(stage, channels=before) if index in self._tied else stage

    def encode(self, choices: Mapping[str, Hashable] | Architecture) -> np.ndarray:
        """Return the genotype, int8 [decisions], of a network or of {decision: option}.

        Raises ValueError for a network that is not in the space, and like `SearchSpace.encode`.
        """
        if isinstance(choices, Architecture):
            choices = self._choices_of_network(choices)
        return super().encode(choices)

    def _choices_of_network(self, network: Architecture) -> dict[str, Any]:
        for name, value in self._frame.items():
            if getattr(network, name) != value:
                raise ValueError(
                    f"network: its {name} is {getattr(network, name)}, but {value} in all networks "
                    f"of space {self.name!r}"
                )
        if len(network.stages) != len(self._stage_columns):
            raise ValueError(
                f"network: it has {len(network.stages)} stages, but space {self.name!r} has "
                f"{len(self._stage_columns)}"
            )
        found: dict[str, Any] = {name: getattr(network, name) for name in self._frame_columns}
        before = network.stem
        for (index, columns), stage in zip(
            self._stage_columns.items(), network.stages, strict=True
        ):
            names = [list(self.choices)[column] for column in columns]
            for values in itertools.product(*(self.choices[name] for name in names)):
                own = dict(zip(names, values, strict=True))
                letters = {k.split("_", 1)[1]: v for k, v in own.items()}
                if self._stage(index, letters, before) == stage:
                    found |= own
                    break
            else:
                raise ValueError(
                    f"network: its stage {index} is not in space {self.name!r}: {stage}"
                )
            before = stage.channels
        if self._architecture(found) != network:
            raise ValueError(f"network: it is not in space {self.name!r}")
        return found

    def _exact_costs(self, genotypes: np.ndarray) -> Costs:
        """Override `SearchSpace._exact_costs` with table look-ups."""
        return Costs(*self._tables.sums(genotypes).T)

    @cached_property
    def _tables(self) -> Tables:
        return self.tabulated(blocks_cost)

    def tabulated(self, weigh: Callable[[Sequence[Block]], Sequence[float]]) -> Tables:
        """Return tables of sums over blocks, for all combinations of options of every stage.

        weigh  function of a list of blocks that returns the sums over these blocks, such as their
               FLOPs; it always returns the same number of sums.
        """
        stem, states = self._stem_table(weigh)
        tables = [] if stem is None else [stem]
        for index, columns in self._stage_columns.items():
            table, states = self._stage_table(index, columns, states, weigh)
            tables.append(table)
        before, behind = self._ends({})
        if "head" in self._frame_columns:
            tables.append(self._head_table(states, weigh))
            behind, states = [], [(0, 0)]
        if stem is not None:
            before = []
        # the last stage determines the input of the head, so there is one form per last state
        around = [weigh([*before, *(refed(behind, *state) if behind else ())]) for state in states]
        return Tables(tables, np.array(around))

    def _ends(self, chosen: Mapping[str, Any]) -> tuple[list[Block], list[Block]]:
        """Return the blocks before and after the stages of the first network with `chosen`."""
        first = self.choices_of(np.zeros(len(self.choices), np.int8))
        blocks = list(self._architecture({**first, **chosen}).blocks())
        before = list(itertools.takewhile(lambda block: block.stage < 0, blocks))
        return before, [block for block in blocks[len(before) :] if block.stage < 0]

    def _stem_table(
        self, weigh: Callable[[Sequence[Block]], Sequence[float]]
    ) -> tuple[StageTable | None, list[tuple[int, int]]]:
        """Return the table of decisions before the stages, if any, and the first stage's states."""
        names = [name for name in self._frame_columns if name in BEFORE]
        values, following = [], []
        known: dict[tuple[int, int], int] = {}
        for options in itertools.product(*(self.choices[name] for name in names)):
            before, _ = self._ends(dict(zip(names, options, strict=True)))
            values.append(weigh(before))
            state = (before[-1].out_channels, before[-1].out_size)
            following.append(known.setdefault(state, len(known)))
        if not names:
            return None, list(known)
        columns = [self._frame_columns[name] for name in names]
        return _table(columns, self.option_counts, values, following), list(known)

    def _head_table(
        self,
        states: list[tuple[int, int]],
        weigh: Callable[[Sequence[Block]], Sequence[float]],
    ) -> StageTable:
        heads = [self._ends({"head": head})[1] for head in self.choices["head"]]
        values = [weigh(refed(blocks, *state)) for state in states for blocks in heads]
        column = self._frame_columns["head"]
        return _table([column], self.option_counts, values, [0] * len(values))

    def _stage_table(
        self,
        index: int,
        columns: list[int],
        states: list[tuple[int, int]],
        weigh: Callable[[Sequence[Block]], Sequence[float]],
    ) -> tuple[StageTable, list[tuple[int, int]]]:
        names = [list(self.choices)[column].split("_", 1)[1] for column in columns]
        options = [list(self.choices.values())[column] for column in columns]
        values, following = [], []
        known: dict[tuple[int, int], int] = {}
        for channels, size in states:
            for chosen in itertools.product(*options):
                stage = self._stage(index, dict(zip(names, chosen, strict=True)), channels)
                blocks = list(stage_blocks(stage, channels, size, index=index))
                values.append(weigh(blocks))
                state = (blocks[-1].out_channels, blocks[-1].out_size)
                following.append(known.setdefault(state, len(known)))
        return _table(columns, self.option_counts, values, following), list(known)


def _table(
    columns: list[int],
    option_counts: np.ndarray,
    values: list[Sequence[float]],
    following: list[int],
) -> StageTable:
    """Return the table of some decisions, with rows in the order of `itertools.product`."""
    counts = [int(option_counts[column]) for column in columns]
    weights = [math.prod(counts[place + 1 :]) for place in range(len(counts))]
    return StageTable(
        np.array(columns),
        np.array(weights),
        math.prod(counts),
        np.array(values),
        np.array(following),
    )


def refed(head: list[Block], channels: int, size: int) -> list[Block]:
    """Return head and classifier blocks with `channels` input feature maps of side `size`."""
    first, *rest = head
    if first.op == "head":
        first = replace(first, in_size=size, out_size=size)
    return [replace(first, in_channels=channels, mid_channels=channels), *rest]


def image_settings(
    *, resolution: int, classes: int, width: float, small_images: bool, strides: Sequence[int]
) -> tuple[dict[str, Any], tuple[int, ...], dict[str, Any]]:
    """Return the `settings` of a space, the strides of its stages, and the fields of its `frame`.

    Settings and frame are arguments of `StagedSpace`. For small images (32 px), strides change as
    in `search_spaces.scale.for_small_images`.
    """
    settings = {
        "resolution": resolution,
        "classes": classes,
        "width": float(width),
        "small_images": bool(small_images),
    }
    if small_images:
        strides = relaxed(strides)
    frame = {
        "stem": round_channels(32, width),
        "head": round_channels(1280, width),
        "resolution": resolution,
        "classes": classes,
    }
    return settings, tuple(strides), frame


def choices_of_rows(letters: str, rows: Sequence[Sequence]) -> dict[str, Any]:
    """Return {decision: option} of a network from one row per stage, options ordered as letters."""
    names = letters.split()
    return {
        f"block{index}_{letter}": option
        for index, row in enumerate(rows)
        for letter, option in zip(names, row, strict=True)
    }
