"""Evaluator that fine-tunes networks with weights inherited from a trained parent."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.evaluators.base import Evaluator, Point
from nas.evaluators.inherited import preparation_of
from nas.evaluators.quantised import Quantiser
from search_spaces.architecture import Architecture
from search_spaces.space import SearchSpace
from train.checkpoint import BrokenCheckpoint
from train.data import Data
from train.distributed import limit_threads
from train.execution import Execution
from train.inherit.inheritance import Inheritance
from train.loop import Result, train_by_epochs
from train.recipe import Recipe
from vbs.folder import write_json
from vbs.json_text import parse_json

WEIGHTS, RESULT = "best.safetensors", "result.json"  # in the folder of each training


class FineTuned(Evaluator):
    """Evaluator that fine-tunes networks of a `search_spaces.parent` space and stores them.

    data       images; the best weights are chosen on `data.minival` and scored on `data.test`, if
               it exists.
    recipe     recipe of the trainings, with the teacher for distillation.
    inherited  function that returns the `Inheritance` of the networks; called once per process.
    folder     folder with a subfolder for each network and seed, which contains the weights and
               result.json; all workers need access.
    execution  device and other settings of the trainings.
    quantised  whether final accuracies are those of the network in int8 in onnxruntime;
               result.json then has those in float as "float_minival_top1" and "float_test_top1".
    """

    name = "finetuned"
    trains = True
    unit = "minival accuracy in percent after fine-tuning"
    axis = "minival accuracy after fine-tuning (%)"

    def __init__(
        self,
        data: Data,
        recipe: Recipe,
        inherited: functools.partial[Inheritance],
        folder: Path,
        execution: Execution,
        quantised: bool = False,
    ) -> None:
        assert data.minival is not None
        self.data, self.recipe, self.folder = data, recipe, folder
        self._inherited, self._execution, self._quantised = inherited, execution, quantised
        self.steps = recipe.epochs
        self.scored_on = len(data.minival)

    def get_ready(self, space: SearchSpace) -> None:
        """Load the parent."""
        limit_threads()
        assert self._inheritance is not None

    def curve(
        self,
        space: SearchSpace,
        genotype: np.ndarray,
        *,
        seed: int = 0,
        folder: Path | None = None,
    ) -> Iterator[Point]:
        """Yield the best minival accuracy up to each epoch; resumes a training in its folder."""
        child = space.decode(genotype)
        place = training_folder(self.folder, child.key, seed)
        known = read_result(place)
        if known is not None:
            yield from (Point(*point) for point in known["curve"])
            return
        recipe = replace(self.recipe, seed=self.recipe.seed + seed)
        initial = self._inheritance.network(child)
        epochs = train_by_epochs(
            child,
            self.data,
            recipe,
            execution=replace(self._execution, checkpoint=place),
            initial=initial,
        )
        points: list[Point] = []
        while True:
            try:
                row = next(epochs)
            except StopIteration as end:
                result: Result = end.value
                break
            except BrokenCheckpoint:
                (place / "last.safetensors").unlink(missing_ok=True)
                yield from self.curve(space, genotype, seed=seed, folder=folder)
                return
            earlier = points[-1].accuracy if points else 0.0
            best = max(earlier, row["val_top1"], row.get("ema_top1", 0.0))
            points.append(Point(row["epoch"], best, row["seconds"]))
            if row["epoch"] < self.steps:  # the last accuracy is that of the chosen weights
                yield points[-1]
        if result.failed:
            raise RuntimeError(result.failed)
        scores = self._scores(result, recipe, child)
        points[-1] = points[-1]._replace(accuracy=scores["minival_top1"])
        yield points[-1]
        write_json(
            place / RESULT,
            {
                "network": child.key,
                "seed": seed,
                **scores,
                "seconds": points[-1].seconds,
                "curve": [list(point) for point in points],
                "recipe": recipe.to_dict(),
            },
        )

    def _scores(self, result: Result, recipe: Recipe, network: Architecture) -> dict[str, Any]:
        """Return top-1 in percent on minival and test images (None without test images).

        They are those of the chosen weights. The loss on the minival, in float, decides between
        equal accuracies. If the evaluator quantises networks, these are int8 accuracies, and those
        in float are added.
        """
        minival, loss = result.chosen["top1"], result.chosen["loss"]
        test = None if result.test is None else result.test.top1
        if not self._quantised:
            return {"minival_top1": minival, "minival_loss": loss, "test_top1": test}
        assert result.network is not None
        assert self.data.minival is not None
        quantiser = Quantiser(self.data.train, preparation_of(recipe, network.resolution))
        splits = [self.data.minival, *([self.data.test] if self.data.test is not None else [])]
        in_int8 = [*quantiser.top1(result.network, *splits), None]
        return {
            "minival_top1": in_int8[0],
            "minival_loss": loss,
            "test_top1": in_int8[1],
            "float_minival_top1": minival,
            "float_test_top1": test,
        }

    @functools.cached_property
    def _inheritance(self) -> Inheritance:
        return self._inherited()


def training_folder(folder: Path, network: str, seed: int) -> Path:
    """Return the folder of the training of a network (by its key) with a seed."""
    return folder / f"{network}-{seed}"


def read_result(place: Path) -> Mapping[str, Any] | None:
    """Return the result of a finished training; None if it is not finished."""
    try:
        known = parse_json((place / RESULT).read_bytes())
        accuracy, seconds = float(known["minival_top1"]), float(known["seconds"])
        if not math.isfinite(accuracy + seconds) or not (place / WEIGHTS).is_file():
            return None
        known["minival_loss"] = float(known.get("minival_loss", math.inf))  # inf: not recorded
        known["curve"] = [[int(a), float(b), float(c)] for a, b, c in known["curve"]]
        return known
    except (OSError, ValueError, KeyError, TypeError):
        return None
