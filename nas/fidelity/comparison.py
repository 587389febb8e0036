"""Comparison of fidelities: networks, fidelities and trainings, derived from the config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from nas.data_space import space_for
from nas.evaluators.proxy import DataIdentity, Fidelity, clock_name, fitted, identity
from nas.fidelity.config import FidelityConfig
from nas.fidelity.plan import ladder, longest_of, spread, within, work
from nas.fidelity.trainings import Job, clock_of
from nas.lengths import fidelity_of
from nas.storage.cache import key_of
from search_spaces.staged import StagedSpace
from train.length import names_epochs
from train.parser import print_notes
from train.recipe import Recipe

if TYPE_CHECKING:
    from train.data.summary import DataSummary


@dataclass(frozen=True)
class Comparison:
    """A comparison of fidelities.

    config      options with all defaults resolved.
    recipe      recipe of the trainings, not fitted to a fidelity.
    fidelities  fidelities by ascending cost; the longest is the last.
    genotypes   networks, int8 [networks, decisions].
    """

    config: FidelityConfig
    data: DataSummary
    space: StagedSpace
    recipe: Recipe
    fidelities: tuple[Fidelity, ...]
    genotypes: np.ndarray

    @property
    def seeds(self) -> int:
        """Number of seeds of each training."""
        return self.config.seeds

    @property
    def digests(self) -> Mapping[str, str]:
        """Digest of the images, which must be the same when the comparison is resumed."""
        return {"data_sha256": key_of(self.data.digests)}

    @property
    def side(self) -> int:
        """Input side in pixels, for fidelities without a resolution."""
        return self.recipe.resolution or self.space.resolution

    @property
    def timed(self) -> Recipe:
        """Recipe of the longest training at the full input side, whose steps are timed."""
        return fitted(
            self.recipe, replace(self.fidelities[-1], resolution=0), images=self.data.train
        )

    def work(self, job: Job) -> float:
        """Return the cost of a training; see `nas.fidelity.plan.work`."""
        fidelity = self.fidelities[job.fidelity]
        return work(fidelity, images=self.data.train, held=self.data.minival, side=self.side)

    def jobs(self) -> list[Job]:
        """Return all trainings, the longest first, so that no long one runs alone at the end."""
        jobs = [
            Job(fidelity, network, seed)
            for seed in range(self.seeds)
            for network in range(len(self.genotypes))
            for fidelity in range(len(self.fidelities))
        ]
        return sorted(jobs, key=lambda job: -self.work(job))

    def key(self, job: Job, device: str) -> str:
        """Return the key of a training's result in the cache.

        device  device of the training; all devices of a comparison are of the same kind.
        """
        # the proxy calls `train.data.load` with these arguments
        data = DataIdentity(self.data.digests, self.recipe.minival)
        fidelity = self.fidelities[job.fidelity]
        network = self.space.decode(self.genotypes[job.network])
        recipe = fitted(self.recipe, fidelity, images=self.data.train)
        clock = clock_name(clock_of(device), device)
        return key_of(identity(network, recipe, fidelity, data, seed=job.seed, clock=clock))

    def folder_name(self, job: Job) -> str:
        """Return the name of a training's folder."""
        fidelity = str(self.fidelities[job.fidelity]).replace("=", "").replace(",", "-")
        return f"{fidelity}-network{job.network}-seed{job.seed}"


def prepare(config: FidelityConfig, recipe: Recipe) -> Comparison:
    """Return the comparison of a config, fitted to the data.

    No image is decoded and no network is trained. Raises ValueError for options that contradict
    each other or the data.
    """
    if not recipe.minival:
        raise ValueError(
            "--set minival: the comparison needs held-out images; use e.g. minival=0.1"
        )
    from train.data.summary import summarise  # torch is slow to import; report errors before

    assert config.data is not None  # see FidelityConfig.check
    data = summarise(config.data, minival=recipe.minival, root=config.data_root)
    print_notes(data.notes)
    if len(data.classes) < 2:
        raise ValueError(f"data: {config.data} has one class; there is nothing to learn")
    config.check_sizes()
    name = config.space or "compact"
    space = space_for(
        data,
        name,
        resolution=config.resolution,
        classes=config.classes,
        width=config.width,
        small_images=config.small_images,
    )
    fidelities = _fidelities(config, recipe, data, space)
    genotypes = spread(space, within(space, config.target_flops), config.networks)
    config = replace(
        config.resolved(name, space),
        longest=str(fidelities[-1]),
        fidelities=tuple(str(each) for each in fidelities[:-1]),
    )
    return Comparison(config, data, space, recipe, fidelities, genotypes)


def _fidelities(
    config: FidelityConfig, recipe: Recipe, data: DataSummary, space: StagedSpace
) -> tuple[Fidelity, ...]:
    """Return the fidelities by ascending cost, the longest last.

    Raises ValueError if one of them is invalid or not cheaper than the longest.
    """
    side = recipe.resolution or space.resolution
    longest = longest_of(recipe, images=data.train, named=names_epochs(config.changes))
    if config.longest is not None:
        longest = fidelity_of(
            config.longest, recipe, config.changes, images=data.train, epochs=longest.epochs
        )
    if config.fidelities is None:
        others = ladder(longest, images=data.train, side=side, batch=recipe.batch)
    else:
        texts = [text for each in config.fidelities for text in each.split(";") if text.strip()]
        others = [Fidelity.parse(text, epochs=longest.epochs) for text in texts]

    def cost(fidelity: Fidelity) -> float:
        return work(fidelity, images=data.train, held=data.minival, side=side)

    for fidelity in (*others, longest):
        fitted(recipe, fidelity, images=data.train)
        if fidelity is not longest and cost(fidelity) >= cost(longest):
            raise ValueError(f"fidelities: {fidelity} is not cheaper than the longest, {longest}")
    if not others or len(set(others)) < len(others):
        raise ValueError(
            "fidelities: use one or more, each once and cheaper than the longest "
            f"({longest}), such as --fidelities 'epochs=3;epochs=9,share=0.25'"
        )
    return (*sorted(others, key=cost), longest)
