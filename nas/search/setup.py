"""Setup of searches on images: data, recipe, fidelity, space and evaluator."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas import catalog, data_space
from nas.asha import Asha
from nas.evaluators.base import Evaluator
from nas.evaluators.proxy import Fidelity, Proxy, fitted, used_images
from nas.fidelity.remembered import recommended
from nas.lengths import fidelity_of, length_lines
from nas.search.config import SearchConfig
from nas.search.doubts import remedies
from nas.storage.cache import Cache
from nas.strategies.base import Strategy
from nas.strategies.predictor import Predictor
from search_spaces.space import SearchSpace
from search_spaces.staged import StagedSpace
from train.data.summary import DataSummary, summarise
from train.execution import Execution
from train.length import first_judged, steps_per_epoch
from train.options import DataOptions, WorkerOptions
from train.parser import check_device, print_notes
from train.recipe import NORM_STATISTICS, Recipe, change, preset
from train.start import check_random_start
from vbs.text import counted, one_of, shortened

if TYPE_CHECKING:
    from nas.evaluators.zero_cost import ZeroCost
    from train.data import Data


@dataclass(frozen=True)
class Measuring:
    """Evaluator, data, recipe and fidelity of a search on images.

    It implements `nas.search.job.Measurement`.

    kind       class of the evaluator.
    quantised  whether accuracies are those of networks in int8.
    """

    kind: type[Evaluator]
    data: DataSummary
    recipe: Recipe
    fidelity: Fidelity
    quantised: bool = False

    @property
    def described(self) -> Evaluator:
        """Description of the evaluator for reports; it cannot evaluate."""
        evaluator = Evaluator()
        bits = ", in int8" * self.quantised
        evaluator.name, evaluator.unit = self.kind.name, f"{self.kind.unit}{bits}"
        evaluator.axis, evaluator.steps = f"{self.kind.axis}{bits}", self.steps
        evaluator.scored_on, evaluator.train_images = self.images, self.data.train
        evaluator.trains = self.kind.trains
        if self.images:
            evaluator.chance = self.data.chance
            evaluator.remedies = remedies(self.recipe, self.fidelity, self.data)
        return evaluator

    @property
    def images(self) -> int:
        """Number of images that an accuracy is computed on; 0 if the evaluator does not train."""
        return self.data.minival if self.kind.trains else 0

    @property
    def steps(self) -> int:
        """Number of points of a full learning curve."""
        return self.fidelity.epochs if self.kind.trains else 1

    @property
    def first_rung(self) -> int:
        """Epoch after which trainings are first compared."""
        images = used_images(self.fidelity, self.data.train)
        return first_judged(self.steps, steps_per_epoch(self.recipe, images))

    @property
    def digests(self) -> Mapping[str, str]:
        """Digests of the data."""
        return self.data.digests

    @property
    def identity(self) -> dict[str, Any]:
        """Settings that all drivers of a search must share, in addition to its options."""
        trained = {"norm_statistics": NORM_STATISTICS} if self.kind.trains else {}
        return {**trained, "data": self.digests}

    def preview(self, budget: int, asha: Asha | None) -> list[str]:
        """Return lines that are printed before a search starts."""
        if not self.kind.trains:
            return []
        length, warning = length_lines(
            self.recipe,
            self.fidelity,
            images=self.data.train,
            judged=asha.first if asha is not None else 0,
        )
        count = used_images(self.fidelity, self.data.train)
        line = (
            f"each of {counted(budget, 'network')}: {length}, of {count:,} images by "
            f"recipe {self.recipe.name}, scored on {self.data.minival:,} held-out images"
        )
        return [line, *([warning] if warning else [])]

    def start(
        self, config: SearchConfig, space: SearchSpace, strategy: Strategy
    ) -> tuple[Callable[[], Evaluator], Strategy]:
        """Decode the images; return a function that creates the evaluator, and the strategy.

        The function is called in each worker process. The strategy has the scores of --scores.
        """
        data = load_data(config, self)
        make = evaluator_maker(config, self, space, data)
        return make, with_scores(config, self, space, data, strategy)


def prepare(config: SearchConfig) -> tuple[SearchConfig, Measuring, StagedSpace]:
    """Return the config with its defaults filled in, the setup, and the space for the data.

    No image is decoded and no training is started. Raises ValueError for options that contradict
    each other or the data.
    """
    if config.data is None:
        raise ValueError(
            f"--data is missing; evaluator {config.evaluator!r} measures on your images, "
            "e.g. --data imagefolder:DIR"
        )
    recipe = change(preset(config.recipe), config.changes)
    entry = catalog.evaluator_entry(config.evaluator)
    kind: type[Evaluator] = entry.load()
    if entry.trains:
        check_random_start(recipe, "a search")
    if not recipe.minival:
        raise ValueError("--set minival: the search needs held-out images; use e.g. minival=0.1")
    data = summarise(config.data, minival=recipe.minival, root=config.data_root)
    print_notes(data.notes)
    config.check_sizes()
    name = config.space or "compact"
    space = data_space.space_for(
        data,
        name,
        resolution=config.resolution,
        classes=config.classes,
        width=config.width,
        small_images=config.small_images,
    )
    if config.activations is not None:
        space = space.with_activations(config.activation_names)
    config = config.resolved(name, space)
    check_device(config.device, local=config.address is None)
    names = score_names(config)
    if not entry.trains:
        return config, Measuring(kind, data, recipe, Fidelity(1)), space
    fidelity = _fidelity(config, recipe, data, space)
    config = replace(config, fidelity=str(fidelity))
    _check_how(config, names)
    recipe = fitted(recipe, fidelity, images=data.train)
    return config, Measuring(kind, data, recipe, fidelity, config.quantised is not None), space


def _check_how(config: SearchConfig, names: Sequence[str]) -> None:
    """Raise ValueError if the strategy does not use scores, or int8 cannot be computed."""
    if names and config.strategy not in (None, "predictor"):
        raise ValueError(
            f"--scores: strategy {config.strategy!r} does not use scores; "
            "leave --scores out, or use --strategy predictor"
        )
    if config.quantised is not None:
        from nas.evaluators.quantised import check_installed

        check_installed()


def _fidelity(
    config: SearchConfig, recipe: Recipe, data: DataSummary, space: StagedSpace
) -> Fidelity:
    text = config.fidelity
    if text == "auto":
        known = recommended(data.digests, space, recipe)
        if known is None:
            raise ValueError(
                "--fidelity auto: nas.fidelity has recommended no fidelity for this data, space "
                f"and recipe; run python -m nas.fidelity --data {config.data} "
                f"--space {space.name}"
            )
        return known
    return fidelity_of(text or "", recipe, config.changes, images=data.train)


def load_data(options: DataOptions, measuring: Measuring, *, split: int = 0) -> Data:
    """Decode the images once for all workers of this machine or cluster.

    split  seed of the choice of the minival.
    """
    from train.data import load

    assert options.data is not None
    minival, root = measuring.recipe.minival, options.data_root
    return load(options.data, minival=minival, seed=split, root=root, test=False)


def evaluator_maker(
    config: SearchConfig, measuring: Measuring, space: SearchSpace, data: Data
) -> Callable[[], Evaluator]:
    """Return a function that creates the evaluator in a worker process."""
    if measuring.kind.trains:
        return proxy_maker(config, measuring, data, quantised=config.quantised is not None)
    return functools.partial(_zero_cost, config, measuring, space, data)


def proxy_maker(
    options: WorkerOptions, measuring: Measuring, data: Data, *, quantised: bool = False
) -> Callable[[], Evaluator]:
    """Return a function that creates the evaluator `Proxy`, which supports any space."""
    return functools.partial(
        Proxy,
        data,
        measuring.recipe,
        measuring.fidelity,
        Execution(device=options.device),
        cache=cache_of(options.cache),
        quantised=quantised,
    )


def _zero_cost(
    config: SearchConfig, measuring: Measuring, space: SearchSpace, data: Data
) -> ZeroCost:
    from nas.evaluators.zero_cost import DEFAULT, ZeroCost, first_batch

    size, seed = space.resolution, config.seed
    if size is None:
        raise ValueError(f"space: {shortened(space.name)} does not decode to Architectures")
    images, targets = first_batch(data, measuring.recipe, size=size, seed=seed)
    return ZeroCost(images, targets, scores=score_names(config) or DEFAULT, seed=seed)


def score_names(config: SearchConfig) -> tuple[str, ...]:
    """Return the names of --scores; raises ValueError if one is unknown."""
    from nas.evaluators.zero_cost_scores import SCORES

    names = [name.strip() for name in (config.scores or "").split(",") if name.strip()]
    return tuple(one_of("scores", name, SCORES) for name in names)


def with_scores(
    config: SearchConfig, measuring: Measuring, space: SearchSpace, data: Data, strategy: Strategy
) -> Strategy:
    """Return the strategy with the scores of --scores."""
    if not measuring.kind.trains or config.scores is None:
        return strategy
    assert isinstance(strategy, Predictor)
    cheap = _zero_cost(config, measuring, space, data)
    return replace(strategy, scores=lambda genotypes: cheap.features(space, genotypes)[1])


def cache_of(place: str | None) -> Cache | None:
    """Return the cache that all searches share; None for "off"."""
    if place == "off":
        return None
    return Cache(Path(place).resolve() if place else None)
