"""What stands behind a search by measurement: images, recipe, fidelity, and its evaluator."""

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
    """What stands behind a search by measurement, worked out from its settings.

    quantised  whether accuracies are those of networks in int8.
    """

    kind: type[Evaluator]
    data: DataSummary
    recipe: Recipe
    fidelity: Fidelity
    quantised: bool = False

    @property
    def described(self) -> Evaluator:
        """What reports may know of the evaluator; it answers nothing."""
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
        """How many images an accuracy is read on; 0 where it is none."""
        return self.data.minival if self.kind.trains else 0

    @property
    def steps(self) -> int:
        """Points of a full learning curve."""
        return self.fidelity.epochs if self.kind.trains else 1

    @property
    def first_rung(self) -> int:
        """The epoch after which trainings are compared first."""
        images = used_images(self.fidelity, self.data.train)
        return first_judged(self.steps, steps_per_epoch(self.recipe, images))

    @property
    def digests(self) -> Mapping[str, str]:
        """Of the data."""
        return self.data.digests

    @property
    def identity(self) -> dict[str, Any]:
        """What all drivers of a search must agree about, beside its options."""
        trained = {"norm_statistics": NORM_STATISTICS} if self.kind.trains else {}
        return {**trained, "data": self.digests}

    def preview(self, budget: int, asha: Asha | None) -> list[str]:
        """What is done, in lines that are printed before a search starts."""
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
            f"recipe {self.recipe.name}, scored on {self.data.minival:,} held out"
        )
        return [line, *([warning] if warning else [])]

    def start(
        self, config: SearchConfig, space: SearchSpace, strategy: Strategy
    ) -> tuple[Callable[[], Evaluator], Strategy]:
        """What makes the evaluator in each worker's process, and the strategy with the cheap scores
        that it learns from. Decodes the images."""
        data = load_data(config, self)
        make = evaluator_maker(config, self, space, data)
        return make, with_scores(config, self, space, data, strategy)


def prepare(config: SearchConfig) -> tuple[SearchConfig, Measuring, StagedSpace]:
    """The evaluator and the space, fitted to the data, and the config with what it left open.

    Raises ValueError for whatever does not go together. Nothing is decoded, trained or started.
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
        raise ValueError("--set minival: a search needs images to choose by; use e.g. 0.1")
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
    """ValueError where the strategy does not learn from scores, or int8 cannot be computed."""
    if names and config.strategy not in (None, "predictor"):
        raise ValueError(
            f"--scores: strategy {config.strategy!r} does not learn from scores; "
            "leave them out, or use --strategy predictor"
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
                "--fidelity auto: nothing is known, or nothing was worth using, for this data, "
                f"space and recipe; see python -m nas.fidelity --data {config.data} "
                f"--space {space.name}"
            )
        return known
    return fidelity_of(text or "", recipe, config.changes, images=data.train)


def load_data(options: DataOptions, measuring: Measuring, *, split: int = 0) -> Data:
    """The images, decoded here once for all workers of this machine or cluster.

    split  seed that draws the minival.
    """
    from train.data import load

    assert options.data is not None
    minival, root = measuring.recipe.minival, options.data_root
    return load(options.data, minival=minival, seed=split, root=root, test=False)


def evaluator_maker(
    config: SearchConfig, measuring: Measuring, space: SearchSpace, data: Data
) -> Callable[[], Evaluator]:
    """What makes the evaluator in each worker's process."""
    if measuring.kind.trains:
        return proxy_maker(config, measuring, data, quantised=config.quantised is not None)
    return functools.partial(_zero_cost, config, measuring, space, data)


def proxy_maker(
    options: WorkerOptions, measuring: Measuring, data: Data, *, quantised: bool = False
) -> Callable[[], Evaluator]:
    """The same of trainings, which any space of networks may be evaluated by."""
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
    """The scores that --scores names; ValueError where one is unknown."""
    from nas.evaluators.zero_cost_scores import SCORES

    names = [name.strip() for name in (config.scores or "").split(",") if name.strip()]
    return tuple(one_of("scores", name, SCORES) for name in names)


def with_scores(
    config: SearchConfig, measuring: Measuring, space: SearchSpace, data: Data, strategy: Strategy
) -> Strategy:
    """The strategy, with the cheap scores of --scores that it learns from."""
    if not measuring.kind.trains or config.scores is None:
        return strategy
    assert isinstance(strategy, Predictor)
    cheap = _zero_cost(config, measuring, space, data)
    return replace(strategy, scores=lambda genotypes: cheap.features(space, genotypes)[1])


def cache_of(place: str | None) -> Cache | None:
    """The results that all searches share; "off" is none."""
    if place == "off":
        return None
    return Cache(Path(place).resolve() if place else None)
