"""Measurement of a table of block times on this machine.

A few networks that contain every block (`nas.block_times.cover`) are timed block by block, and
random networks are timed as a whole. All of them run in rounds of random order, so that other load
on the machine affects all of them equally (`nas.block_times.rounds`). The time of a block or a
network is the lower quartile of its quiet runs. A linear function, constant + scale * (sum of the
block times), is fitted to the times of some whole networks, and is used if it predicts better than
the plain sum. The other whole networks test the predictions.
"""

from __future__ import annotations

import platform
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas.block_times.cover import cover
from nas.block_times.options import SECONDS
from nas.block_times.rounds import TYPICAL, Run, chosen, contention, in_rounds, run
from nas.block_times.runtimes import Function
from nas.block_times.table import Times, block_name, decoded
from nas.block_times.timing import Parts, Setting, Subject, images_for, ready
from search_spaces.architecture import Architecture, Block
from search_spaces.cost import blocks_cost, layers_of
from search_spaces.space import SearchSpace
from train.muon import orthogonalisation_flops
from train.recipe import preset
from vbs.failures import is_out_of_memory
from vbs.folder import circumstances
from vbs.load import Load

ROUNDS = (3, 40)  # least and most rounds, regardless of the duration
PASSES = {"latency": 2, "step_time": 1}  # timed passes of a network per round, after one warm-up
KEPT = 3 * 10**8  # most numbers in memory between rounds, 1.2 GB

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class MeasuringPlan:
    """Duration of a measurement, and numbers of networks that are timed as a whole.

    seconds      approximate duration; large spaces take longer.
    rounds       fixed number of rounds; None: as many as the seconds allow.
    calibration  number of whole networks to which constant and scale are fitted.
    tests        number of whole networks that test the predictions; `Times.checked` has the errors.
    seed         seed of the networks and of their order.
    """

    seconds: float = SECONDS
    rounds: int | None = None
    calibration: int = 8
    tests: int = 12
    seed: int = 0


class Bench:
    """Networks to run in rounds; those that do not fit into memory are rebuilt every time."""

    def __init__(self, networks: list[Architecture], setting: Setting) -> None:
        self.networks, self.setting = networks, setting
        self._images = images_for(networks[0], setting)
        self._kept: dict[int, Subject] = {}
        self._compiled: dict[str, Function] = {}
        self._room = KEPT

    def subject(self, index: int) -> Subject:
        """Return the network with that index, ready to run."""
        if index in self._kept:
            return self._kept[index]
        subject = Subject(self.networks[index], self.setting, self._images, self._compiled)
        copies = 3 if self.setting.kind == "step_time" else 1  # gradients and momentum
        size = copies * blocks_cost(self.networks[index].blocks()).params
        if size <= self._room:
            self._room -= size
            self._kept[index] = subject
        return subject


def measure(
    space: SearchSpace,
    setting: Setting,
    plan: MeasuringPlan | None = None,
    *,
    say: Say = print,
) -> Times:
    """Measure every block of the space, and return the table.

    plan  plan of the measurement; None: `MeasuringPlan()`, about a minute.
    say   function that prints lines on the progress and the duration.

    Raises ValueError if the space's networks are not Architectures, differ in resolution, or do
    not fit into memory.
    """
    plan = plan or MeasuringPlan()
    covering, wholes = drawn(space, plan.calibration + plan.tests, plan.seed)
    networks = [decoded(space, genotype) for genotype in (*covering, *wholes)]
    for network in networks:
        if network.resolution != networks[0].resolution:
            raise ValueError("block times: the networks of the space differ in resolution")
    started = time.perf_counter()
    try:
        with ready(setting):
            parts, whole, load = _run(networks, len(covering), setting, plan, say)
    except (RuntimeError, MemoryError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        raise ValueError(
            f"block times: memory ran out with a batch of {setting.batch}; use a smaller one"
        ) from None
    times = _table(
        networks,
        [chosen(found) for found in parts],
        np.array([np.quantile(chosen(found), TYPICAL) for found in whole]),
        plan.calibration,
        setting,
    )
    doubts = [contention(found, load) for found in (*parts, *whole)]
    busy = {"load": str(load)} | ({"doubt": next(filter(None, doubts))} if any(doubts) else {})
    times = replace(times, checked={**times.checked, **busy})
    about = {"space": space.name, "seconds": round(time.perf_counter() - started, 1)}
    return replace(times, settings={**times.settings, **about})


def _table(
    networks: list[Architecture],
    parts: list[list[Parts]],
    whole: np.ndarray,
    calibration: int,
    setting: Setting,
) -> Times:
    """Return the table: block times, constant and scale, and errors on whole test networks."""
    blocks = _blocks(networks, parts, preset(setting.recipe).optimizer)
    sums = np.array([_sum(network, blocks) for network in networks[len(parts) :]])
    constant, scale, fit = calibrated(sums[:calibration], whole[:calibration])
    checked = {
        "networks_run": len(parts),
        "runs_of_each": len(parts[0]),
        "calibration_networks": calibration,
        "fit": fit,
        **errors(whole[calibration:], constant + scale * sums[calibration:]),
    }
    settings = {
        **asdict(setting),
        "clock": setting.clock,
        "resolution": networks[0].resolution,
        "torch": torch.__version__,
    }
    return Times(setting.kind, blocks, constant, scale, settings, machine(setting), checked)


def drawn(space: SearchSpace, wholes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return genotypes of networks whose blocks are timed, and of others that are timed whole."""
    rng = np.random.default_rng(seed)
    covering = cover(space, rng)
    if len(covering) <= 40:
        covering = np.concatenate([covering, cover(space, rng)])  # each block, other neighbours
    return covering, space.sample(wholes, rng)


def machine(setting: Setting) -> str:
    """Return the name of the processor or GPU from the system."""
    if setting.device != "cpu":
        return torch.cuda.get_device_name(setting.device)
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line[:10] == "model name")
    except (OSError, StopIteration):
        pass
    return f"{name}; {circumstances(())['machine']}"


def _run(
    networks: list[Architecture],
    covering: int,
    setting: Setting,
    plan: MeasuringPlan,
    say: Say,
) -> tuple[list[list[Run]], list[list[Run]], Load]:
    """Return the runs of the first `covering` networks, of the others, and the machine's load.

    The results of the runs are `Parts` for the first `covering` networks, and the seconds of the
    whole network for the others.
    """
    bench = Bench(networks, setting)

    def turn(index: int) -> list[Run]:
        subject = bench.subject(index)
        task: Callable[[], Any] = subject.parts if index < covering else subject.whole
        task()  # warms up
        return [run(task, setting) for _ in range(PASSES[setting.kind])]

    say(
        f"block times: measuring the {setting.kind} of every block, in {covering} networks that "
        f"contain all blocks; the duration is known after the first round"
    )
    runs, load = in_rounds(
        [partial(turn, index) for index in range(len(networks))],
        seconds=plan.seconds,
        limits=ROUNDS,
        rounds=plan.rounds,
        rng=np.random.default_rng((plan.seed, 1)),
        announce=lambda rounds, left: say(f"block times: {rounds} rounds, about {left:.0f} s more"),
    )
    return runs[:covering], runs[covering:], load


def _blocks(
    networks: list[Architecture], parts: list[list[Parts]], optimizer: str
) -> dict[str, tuple[float, float]]:
    """Return time (including its share of the update) and interquartile range of each block."""
    runs: dict[str, list[float]] = defaultdict(list)
    block_of: dict[str, Block] = {}
    for network, found in zip(networks, parts, strict=False):
        for index, block in enumerate(network.blocks()):
            name = block_name(block, network)
            block_of[name] = block
            runs[name].extend(one.blocks[index] for one in found)
    update = [float(np.quantile([one.update for one in found], TYPICAL)) for found in parts]
    share = shares(networks[: len(parts)], update, optimizer)
    table = {}
    for name, values in runs.items():
        low, typical, high = np.quantile(values, (0.25, TYPICAL, 0.75))
        table[name] = (float(typical + share(block_of[name])), float(high - low))
    return table


def shares(
    networks: list[Architecture], update: list[float], optimizer: str = "sgd"
) -> Callable[[Block], float]:
    """Return a function from a block to its seconds of the update.

    Each parameter, each tensor, each multiply-add of Muon, and each call (counted at the
    classifier, which every network has once) takes a fixed time, fitted to the updates of the
    networks.
    """
    if not any(update):
        return lambda block: 0.0
    sizes = partial(_sizes, optimizer=optimizer)
    rows = np.array(
        [[sum(column) for column in zip(*map(sizes, n.blocks()), strict=True)] for n in networks],
        np.float64,
    )
    seconds = np.array(update)
    largest = np.maximum(rows.max(0), 1)
    from scipy.optimize import nnls

    found, _ = nnls(rows / largest / seconds[:, None], np.ones(len(seconds)))
    prices = found / largest
    return lambda block: float(prices @ sizes(block))


def _sizes(block: Block, optimizer: str) -> tuple[int, ...]:
    """Return the numbers of parameters and tensors, 1 for the classifier, and Muon's FLOPs."""
    layers = tuple(layers_of(block))
    tensors = sum(1 + layer.bias + 2 * layer.norm for layer in layers)
    sizes = blocks_cost([block]).params, tensors, int(block.op == "classifier")
    if optimizer != "muon":
        return sizes
    matrices = (layer for layer in layers if layer.groups == 1 and block.op != "classifier")
    columns = ((each, each.in_channels * each.kernel**2) for each in matrices)
    return (*sizes, sum(orthogonalisation_flops(each.out_channels, n) for each, n in columns))


def _sum(network: Architecture, blocks: dict[str, tuple[float, float]]) -> float:
    return sum(blocks[block_name(block, network)][0] for block in network.blocks())


def calibrated(sums: np.ndarray, whole: np.ndarray) -> tuple[float, float, str]:
    """Return constant, scale, and the name of the fit: "none", "scale" or "constant and scale".

    The fit with the lowest median relative leave-one-out error is selected. "none" is the plain
    sum: constant 0 and scale 1.

    sums   sums of block times of the networks, [n].
    whole  measured times of the networks, [n].
    """
    fits: dict[str, Callable[[np.ndarray, np.ndarray], tuple[float, float]]] = {
        "none": lambda s, w: (0.0, 1.0),
        "scale": lambda s, w: (0.0, float(np.median(w / s))),
        "constant and scale": _line,
    }
    best = (np.inf, "none")
    for name, fit in fits.items() if len(sums) >= 4 else ():
        missed = []
        for index in range(len(sums)):
            others = np.arange(len(sums)) != index
            constant, scale = fit(sums[others], whole[others])
            missed.append(abs((constant + scale * sums[index]) / whole[index] - 1))
        best = min(best, (float(np.median(missed)), name))
    constant, scale = fits[best[1]](sums, whole)
    return constant, scale, best[1]


def _line(sums: np.ndarray, whole: np.ndarray) -> tuple[float, float]:
    """Return constant and scale, both at least 0, by least squares of relative errors."""
    from scipy.optimize import nnls

    (constant, scale), _ = nnls(np.stack([1 / whole, sums / whole], axis=1), np.ones(len(whole)))
    return (float(constant), float(scale)) if scale > 0 else (0.0, float(np.median(whole / sums)))


def errors(measured: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """Return the errors of predictions: relative errors, rank correlation, and the times."""
    if not len(measured):
        return {}
    relative = predicted / measured - 1
    return {
        "test_networks": len(measured),
        "median_error": round(float(np.median(np.abs(relative))), 4),
        "largest_error": round(float(np.abs(relative).max()), 4),
        "bias": round(float(np.median(relative)), 4),
        "kendall_tau": round(kendall_tau(measured, predicted), 4),
        "measured": [float(f"{value:.4g}") for value in measured],
        "predicted": [float(f"{value:.4g}") for value in predicted],
    }


def kendall_tau(a: np.ndarray, b: np.ndarray) -> float:
    """Return Kendall's tau (a): concordant minus discordant pairs, divided by all pairs."""
    upper = np.triu_indices(len(a), 1)
    signs = np.sign(np.subtract.outer(a, a)) * np.sign(np.subtract.outer(b, b))
    return float(signs[upper].mean()) if len(upper[0]) else 1.0
