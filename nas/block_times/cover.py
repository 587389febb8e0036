"""Cover of a space: few networks that together contain all its blocks, to time every block.

A block is timed inside a network, with realistic neighbours, caches and allocations; alone in a
loop it would be faster. This module chooses the networks to run.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.block_times.table import block_name, decoded, distinct_draws
from search_spaces.architecture import Architecture, Block
from search_spaces.space import SearchSpace
from search_spaces.staged import StagedSpace, Tables


def cover(space: SearchSpace, rng: np.random.Generator) -> np.ndarray:
    """Return genotypes, int8 [m, decisions], whose networks contain every block of the space.

    For a space without stages, only the blocks of `distinct_draws` are covered. The choice is
    greedy: each network contains as many new blocks as possible. `rng` breaks ties, so that blocks
    have other neighbours in another call.
    """
    if isinstance(space, StagedSpace):
        return _cover_of_stages(space, rng)
    names: dict[str, int] = {}
    draws = distinct_draws(space, rng)
    held = [_numbers(decoded(space, genotype), names) for genotype in draws]
    new, chosen = np.ones(len(names), bool), []
    while new.any():
        gains = [new[numbers].sum() for numbers in held]
        chosen.append(int(np.argmax(gains)))
        new[held[chosen[-1]]] = False
    return draws[chosen]


def _numbers(network: Architecture, names: dict[str, int]) -> np.ndarray:
    found = {block_name(block, network) for block in network.blocks()}
    return np.array([names.setdefault(name, len(names)) for name in sorted(found)])


def _cover_of_stages(space: StagedSpace, rng: np.random.Generator) -> np.ndarray:
    """Return best paths through the tables that together contain every block."""
    tables, count = _tables_of_blocks(space)
    new = np.ones(count + 1, bool)
    new[count] = False  # `count` pads short rows and is no block
    genotypes: list[np.ndarray] = []
    while new.any():
        genotype, held = _best_path(space, tables, new, rng)
        assert new[held].any()  # otherwise the loop would never end
        new[held] = False
        genotypes.append(genotype)
    return space.canonical(np.stack(genotypes))


def _tables_of_blocks(space: StagedSpace) -> tuple[Tables, int]:
    """Return tables of the block numbers in each row, and the count of all blocks.

    Short rows are padded with the count.
    """
    example = decoded(space, np.zeros(len(space.choices), np.int8))
    names: dict[str, int] = {}
    width = 0

    def count_blocks(blocks: Sequence[Block]) -> list[int]:
        nonlocal width
        found = {block_name(block, example) for block in blocks}
        width = max(width, len(found))
        for name in sorted(found):
            names.setdefault(name, len(names))
        return [0]

    def numbers(blocks: Sequence[Block]) -> list[int]:
        found = sorted({names[block_name(block, example)] for block in blocks})
        return found + [len(names)] * (width - len(found))

    space.tabulated(count_blocks)
    return space.tabulated(numbers), len(names)


def _best_path(
    space: StagedSpace, tables: Tables, new: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the genotype with the most new blocks, and the numbers of its blocks.

    Dynamic programming from the last stage to the first.
    """
    worth = new[tables.around].sum(1).astype(np.float64)  # new blocks from here on, by state
    best: list[np.ndarray] = []
    for table in reversed(tables.stages):
        gain = new[table.values].sum(1) + worth[table.following]
        gain = (gain + 0.5 * rng.random(len(gain))).reshape(-1, table.combinations)
        best.append(gain.argmax(1))
        # random numbers break ties within a stage, and must not add up to a whole block
        worth = np.floor(gain.max(1))
    genotype, held, state = np.zeros(len(space.choices), np.int8), [], 0
    for table, choice in zip(tables.stages, reversed(best), strict=True):
        row = state * table.combinations + choice[state]
        counts = space.option_counts[table.columns]
        genotype[table.columns] = choice[state] // table.weights % counts
        held.append(table.values[row])
        state = int(table.following[row])
    return genotype, np.concatenate([*held, tables.around[state]])
