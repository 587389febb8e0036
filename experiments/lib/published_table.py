"""The published trainings of scaled networks, in the form that `scaling.published.fit` reads."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scaling.published.fit import Trainings

if TYPE_CHECKING:
    import pandas

TWINS = {"efficientnet_b0/en-base-mm": "efficientnet_b0/en-base"}  # equal trainings
PAIR_FLOPS = 0.10  # largest relative difference of FLOPs that count as equal
PAIR_TOP1 = 0.2  # least difference of top-1 of a pair, in points


class Table(NamedTuple):
    """The published trainings, with columns that the regression does not use.

    groups   names of groups, by index; fold: index of groups that are held out together, int [n].
    base     name of the base network [n]; flops: [n], by the formula if a group has none.
    sources  source of each group.
    """

    trainings: Trainings
    groups: list[str]
    fold: np.ndarray
    base: np.ndarray
    flops: np.ndarray
    sources: list[dict[str, Any]]

    @property
    def scored(self) -> np.ndarray:
        """Rows that are neither their group's base nor equal to it, bool [n]."""
        return np.abs(self.trainings.logs).sum(1) > 0

    def of(self, group: str) -> np.ndarray:
        """Return row indices of a group, the base first."""
        rows = np.flatnonzero(self.trainings.group == self.groups.index(group))
        return rows[np.argsort(~self.trainings.first[rows], kind="stable")]


def read_table(path: Path) -> Table:
    """Read the published trainings; raises ValueError without the file or a group's base."""
    if not path.is_file():
        raise ValueError(f"trainings: {path} does not exist; use --trainings FILE")
    import pandas

    table = pandas.read_csv(path)
    real = table.note.str.extract(r"effdepth=([\d.]+)")[0].astype(float)
    table["depth"] = real.fillna(table.depth)
    table["group"] = table.base + "/" + table.recipe
    groups = list(dict.fromkeys(table.group))
    index = table.group.map(groups.index).to_numpy()
    base = np.array([_base_of(table, name) for name in groups])[index]
    logs = np.log(
        np.stack(
            [
                table.depth,
                table.width,
                table.resolution.to_numpy() / table.resolution.to_numpy()[base],
            ],
            axis=1,
        )
    )
    trainings = Trainings(
        group=index,
        first=base == np.arange(len(table)),
        logs=logs,
        top1=table.top1.to_numpy(),
        base_top1=table.top1.to_numpy()[base],
        digitised=(table.digitised == "yes").to_numpy(),
        inferred=table.note.str.contains("width NOT printed").to_numpy(),
    )
    flops = table.flops_m.to_numpy(float, copy=True)
    formula = np.exp(logs @ np.array([1.0, 2.0, 2.0]))
    for rows in (index == each for each in range(len(groups))):
        if np.isnan(flops[rows]).any():
            flops[rows] = formula[rows]
    twin = np.array([groups.index(TWINS.get(name, name)) for name in groups])
    sources = [_source(table, name) for name in groups]
    return Table(trainings, groups, twin[index], table.base.to_numpy(), flops, sources)


def _base_of(table: pandas.DataFrame, name: str) -> int:
    """Return the base row of a group: factors of 1 at 224 px, or at its smallest side."""
    rows = np.flatnonzero(table.group == name)
    plain = rows[(table.depth.iloc[rows] == 1) & (table.width.iloc[rows] == 1)]
    sides = table.resolution.iloc[plain]
    bases = plain[sides == (224 if (sides == 224).any() else sides.min())]
    if not len(bases):
        raise ValueError(f"trainings: the group {name} has no base")
    return int(bases[0])


def _source(table: pandas.DataFrame, name: str) -> dict[str, Any]:
    own = table[table.group == name]
    base, recipe = name.split("/")
    text = "; ".join(dict.fromkeys(own.source))
    return {"base": base, "recipe": recipe, "trainings": len(own), "source": text}


def equal_flops(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of rows of one group at equal FLOPs whose top-1 differ, int [k] each."""
    data, left, right = table.trainings, [], []
    for index in range(len(table.groups)):
        for a, b in itertools.combinations(np.flatnonzero(data.group == index), 2):
            close = abs(np.log(table.flops[a] / table.flops[b])) <= np.log1p(PAIR_FLOPS)
            if close and abs(data.top1[a] - data.top1[b]) >= PAIR_TOP1:
                left.append(a)
                right.append(b)
    return np.array(left), np.array(right)
