"""Finalists: fine-tuning of a search's best networks and of the references."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nas.evaluators.base import Evaluator
from nas.evaluators.finetuned import FineTuned
from nas.evaluators.inherited import preparation_of
from nas.evaluators.quantised import INT8
from nas.history import History
from nas.objective import Objective
from nas.parents.inheriting import Inheriting, parent_cost
from nas.search.asynchronous import Plan, search_asynchronously
from nas.search.config import SearchConfig
from nas.search.workers import OnCluster
from nas.slots import slots
from nas.storage.cache import key_of
from nas.storage.passwords import without_password
from nas.storage.study import open_study
from nas.storage.study_settings import SearchIdentity
from search_spaces.space import SearchSpace
from train.data import Data
from train.distributed import pick_device
from train.execution import Execution
from train.inherit.inheritance import Inheritance, inheritance, some_batches
from train.parents import load_parent
from train.recipe import Recipe
from vbs.console import print_err
from vbs.text import counted, shell_word

FOLDER = "finalists"
LONGEST = 4.0  # most epochs, in multiples of the parent's
SEEDED = 2  # number of best networks after the first seed that are trained with further seeds


@dataclass(frozen=True)
class InOrder:
    """Strategy that proposes given genotypes [n, decisions] in their order."""

    genotypes: np.ndarray
    generation: int = 1

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return the first genotypes that are not in the history."""
        return self.genotypes[~history.contains(self.genotypes)][:count]


def tuning_recipe(inheriting: Inheriting, space: SearchSpace, objective: Objective) -> Recipe:
    """Return the recipe of networks that inherit from the parent.

    It is the parent's recipe with more epochs, so that the training takes about as many
    multiply-adds as the parent's, but at most `LONGEST` times its epochs. The epochs depend on the
    target and not on the networks, so that a resumed search may choose other networks. If the
    recipe uses distillation and names no other teacher, the parent is the teacher.

    space  sub-networks of the parent, with the measured costs that the objective needs.
    """
    recipe = inheriting.recipe
    epochs = epochs_of(recipe.epochs, objective.target / parent_cost(space, objective.of))
    recipe = replace(recipe, epochs=epochs, warmup_epochs=recipe.warmup_epochs_of(epochs))
    if recipe.teacher or not recipe.teacher_weight:
        return recipe
    return replace(recipe, teacher=str(inheriting.teacher.weights))


def epochs_of(epochs: int, share: float) -> int:
    """Return the epochs of a network for about the same computation as `epochs` of the parent.

    share  cost of the network as a share of the parent's.

    The result is at least `epochs`, and at most `LONGEST` times as many.
    """
    return round(epochs * min(LONGEST, max(1.0, 1 / share)))


def fine_tune_finalists(
    genotypes: np.ndarray,
    inheriting: Inheriting,
    config: SearchConfig,
    *,
    searched: History,
    folder: Path,
    data: Data,
) -> History:
    """Fine-tune networks, and the best of them with further seeds.

    genotypes  networks, int8 [n, decisions].
    config     options of the search for one target.
    searched   history of that search, whose space and objective are used.
    folder     folder of that search; trainings in it are resumed.

    Each training has its own folder in `finalists_folder`, with its weights. The returned history
    also contains the networks that an earlier run of the search fine-tuned.
    """
    space, objective = searched.space, searched.objective
    place = finalists_folder(folder, inheriting, config).resolve()
    place.mkdir(parents=True, exist_ok=True)
    recipe = tuning_recipe(inheriting, space, objective)
    history = History(space, objective)
    plan = Plan(
        budget=len(genotypes),  # raised below if an earlier run chose other networks
        seed=config.seed,
        finalists=min(SEEDED, len(genotypes)),
        repeats=config.repeats,
        failures=config.max_failures,
        pool=genotypes,
    )
    further = plan.finalists * (plan.repeats - 1)
    print_err(
        f"finalists: {counted(len(genotypes), 'network')} fine-tuned for "
        f"{counted(recipe.epochs, 'epoch')}, the best {plan.finalists} of them with "
        f"{counted(plan.repeats, 'seed')}: {counted(len(genotypes) + further, 'training')}, in "
        f"{shell_word(f'{place}/')}"
    )
    identity = SearchIdentity(
        space,
        objective,
        {
            **inheriting.identity,
            **({"quantised": INT8} if inheriting.quantised else {}),
            "recipe": recipe.to_dict(),
            "stage": FOLDER,
        },
    )
    storage = config.storage or f"sqlite:///{place / 'study.db'}"
    name = f"{config.study}-{FOLDER}" if config.storage else FOLDER
    make = functools.partial(
        FineTuned,
        data,
        recipe,
        functools.partial(_inheritance, inheriting.source, data, recipe),
        place,
        Execution(device=config.device),
        quantised=inheriting.quantised,
    )
    described = _described(inheriting, recipe)
    with open_study(storage, name, identity, resume=True) as study:
        study.sync(history)
        new = int((~history.contains(genotypes)).sum())
        plan = replace(plan, budget=max(1, study.started + new))
        workers = OnCluster(
            make, space, described, slots(config, trains=True), timeout=config.timeout
        )
        try:
            search_asynchronously(history, InOrder(genotypes), workers, plan, study=study)
        finally:
            workers.close()
    return history


def finalists_folder(folder: Path, inheriting: Inheriting, config: SearchConfig) -> Path:
    """Return the folder of the trainings.

    It is in `folder`, that of the search for one target. If several drivers share a study, it is
    next to the teacher, because every driver needs all results.
    """
    if config.storage is None:
        return folder / FOLDER
    content = {
        **inheriting.identity,
        "recipe": inheriting.recipe.to_dict(),
        "quantised": inheriting.quantised,
        "study": config.study,
        "storage": without_password(config.storage),
    }
    return inheriting.teacher.folder / FOLDER / key_of(content)[:32]


def _inheritance(source: str, data: Data, recipe: Recipe) -> Inheritance:
    """Return the weights that networks inherit, on the CPU, where networks are built."""
    parent = load_parent(source)
    preparation = preparation_of(recipe, parent.architecture.resolution)
    batches = some_batches(data.train, preparation, device=pick_device("cpu"))
    return inheritance(parent.network(), batches, parent.importance)


def _described(inheriting: Inheriting, recipe: Recipe) -> Evaluator:
    evaluator = Evaluator()
    bits = ", in int8" * inheriting.quantised
    evaluator.name = FineTuned.name
    evaluator.unit, evaluator.axis = f"{FineTuned.unit}{bits}", f"{FineTuned.axis}{bits}"
    evaluator.trains, evaluator.steps = True, recipe.epochs
    evaluator.scored_on, evaluator.train_images = inheriting.data.minival, inheriting.data.train
    evaluator.chance = inheriting.data.chance
    return evaluator
