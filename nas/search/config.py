"""Options of a search: `SearchConfig`, and the command line of `python -m nas.search`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nas import catalog
from nas.options import SpaceOptions, StudyOptions
from nas.parents.options import ParentOptions
from nas.search.targets import TARGETS, ObjectiveOptions, objective_of
from nas.supernet.options import EVALUATOR, SupernetOptions
from train.length import names_epochs
from train.options import TIME, DataOptions, TrainingOptions, WorkerOptions, absolute_path
from train.parser import FACTOR, FACTORS, SCHEDULERS
from train.recipe import change, preset
from vbs.config import Config, ConfigError, flag, given_values, option, options
from vbs.options import Command
from vbs.text import shortened
from vbs.units import LARGEST, parse_quantity, parse_seconds

if TYPE_CHECKING:
    from typing_extensions import Self

INHERITED = "inherited"  # the evaluator of searches with a parent
MOST = 10**9  # largest budget; a longer history does not fit into memory
SIZE = (0.0, LARGEST)
TRAINED_ALONE = ("fidelity", "finalists", "repeats")  # options of TRAINING that a supernet uses too
# options of evaluators that train networks
TRAINING = ("fidelity", "scheduler", "grace", "factor", "finalists", "repeats", "checkpoints")


def whole_quantity(text: str, *, what: str = "budget") -> int:
    """Return the whole number of a text such as 2000 or 50K; ValueError if it is not one."""
    try:
        value = parse_quantity(text, what=what)
    except ValueError:
        value = 0.0
    if value != int(value) or not 1 <= value <= MOST:
        raise ValueError(
            f"{what}: {shortened(repr(text), 60)} is not a whole number from 1 to 1G; write it "
            "like 200 or 50K"
        )
    return int(value)


@dataclass(frozen=True, kw_only=True)
class MeasuringOptions(Config):
    """Options of searches whose evaluations run in worker processes."""

    title = "searches with workers"

    scheduler: str = option(
        "asha",
        choices=SCHEDULERS,
        metavar="asha|fifo",
        help="asha stops networks early that lag behind; fifo trains all to the end (default asha)",
    )
    grace: int | None = option(
        None,
        limits=(1, MOST),
        metavar="N",
        help="epochs before a training may be stopped early (default: a quarter of all, and at "
        "least 100 optimizer steps)",
    )
    factor: float = option(
        FACTOR,
        limits=FACTORS,
        metavar="X",
        help="reduction factor of asha: 1 of X trainings continues after N, N times X, ... epochs, "
        "with N from --grace (default 3)",
    )
    scores: str | None = option(
        None,
        metavar="NAMES",
        help="zero-cost scores that the strategy predictor uses, e.g. naswot,zen,synflow; each "
        "takes about a second for each network (default none)",
    )
    finalists: int = option(
        3, limits=(0, MOST), metavar="N", help="best networks to train again (default 3)"
    )
    repeats: int = option(
        3, limits=(1, MOST), metavar="N", help="seeds of each finalist (default 3)"
    )
    quantised: str | None = option(
        None,
        choices=("int8",),
        metavar="int8",
        help="compare networks by their accuracy in 8-bit integers: computed by onnxruntime for "
        "trained networks, simulated for scored ones (needs the extra onnx)",
    )
    activations: str | None = option(
        None,
        metavar="NAMES",
        help="activation functions among which the search chooses, e.g. silu,relu6,hard_swish "
        "(default: the activation of the space)",
    )
    max_time: float | None = option(
        None,
        limits=TIME,
        metavar="TIME",
        parse=parse_seconds,
        later=True,
        help="time after which no new network starts, e.g. 2h (default: no limit)",
    )
    checkpoints: str | None = option(
        None,
        metavar="DIR",
        parse=absolute_path,
        later=True,
        help="folder of checkpoints of unfinished trainings, shared by all nodes and processes "
        "(default: in the folder of the results)",
    )


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(Config):
    """Options of the evaluator, and the number of networks that it evaluates."""

    title = "search"

    evaluator: str = option(
        "surrogate",
        catalog=catalog.EVALUATORS,
        help="source of the accuracies (default surrogate: predicted ImageNet top-1)",
    )
    table: str | None = option(
        None,
        metavar="FILE",
        parse=absolute_path,
        later=True,
        help="CSV or parquet of measured networks, for evaluator table",
    )
    table_column: str = option(
        "accuracy", metavar="NAME", help="accuracy column of the table (default accuracy)"
    )
    schedule: str = option(
        "short",
        choices=("short", "long"),
        metavar="short|long",
        help="training schedule that the surrogate predicts for: long trains 5.7 times longer "
        "(default short)",
    )
    budget: int | None = option(
        None,
        limits=(1, MOST),
        parse=whole_quantity,
        metavar="N",
        later=True,
        help="networks to evaluate (default: depends on the strategy)",
    )


@dataclass(frozen=True, kw_only=True)
class SearchConfig(
    EvaluationOptions,
    ObjectiveOptions,
    SpaceOptions,
    DataOptions,
    TrainingOptions,
    MeasuringOptions,
    ParentOptions,
    SupernetOptions,
    WorkerOptions,
    StudyOptions,
):
    """Config of a search: space, objective, evaluator, strategy and budget.

    Exactly one target is needed, or several FLOPs targets with a parent. Sizes can be texts such
    as "400M", times texts such as "20ms".

    Raises ValueError for invalid values, and for options that contradict each other.
    """

    title = "search"
    recorded = ("table_sha256", "data_sha256", "times_sha256", "devices_sha256", "parent_sha256")

    strategy: str | None = option(
        None,
        catalog=catalog.STRATEGIES,
        help="search strategy (default evolution; predictor if networks are trained or scored on "
        "images)",
    )
    seed: int = option(0, limits=(0, 2**63 - 1), metavar="N", help="seed of the search (default 0)")

    def check(self) -> None:
        self.check_parent()
        self.check_supernet(self.evaluator)
        if self.parent is not None:
            self._check_with_parent()
        elif self.evaluator == INHERITED:
            raise ConfigError("evaluator", "inherited needs a parent; add --parent SOURCE")
        else:
            self._check_evaluator()
        self._check_quantised()
        self._check_activations()
        if self.targets is None:
            self.check_target()
            objective_of(self)  # reports mistakes early
        else:
            self._check_targets()

    def _check_with_parent(self) -> None:
        """Set the evaluator of a search with a parent; raise ValueError for unused options."""
        if self.evaluator == SearchConfig.evaluator:
            object.__setattr__(self, "evaluator", INHERITED)
        if self.evaluator != INHERITED:
            raise ConfigError("evaluator", "leave it out; --parent determines the evaluator")
        if self.on is not None:
            raise ConfigError("on", "a search with --parent measures this machine; leave it out")
        if self.reward == SearchConfig.reward:  # the most accurate network within the limits
            object.__setattr__(self, "reward", "feasible")
        for name in given_values(self):
            if name in OF_RANDOM_STARTS:
                option_name = flag(name, SearchConfig)
                raise ValueError(
                    f"{option_name}: a search with --parent does not use it; leave it out"
                )

    def _check_activations(self) -> None:
        """Raise ConfigError if the evaluator or the block times do not support --activations."""
        if self.activations is None:
            return
        if self.evaluator != "proxy":
            raise ConfigError("activations", "needs --evaluator proxy")
        timed = [name for name in given_values(self) if "latency" in name or "step_time" in name]
        if timed:
            raise ConfigError(
                "activations",
                f"block times of other activations are not measured; leave out {flag(timed[0])}",
            )

    def _check_quantised(self) -> None:
        """Raise ConfigError if no network is trained or the score does not use the classifier."""
        if self.quantised is None:
            return
        if self.evaluator not in ("proxy", INHERITED):
            raise ConfigError("quantised", "needs --evaluator proxy or --parent")
        if self.parent is not None and self.score == "ridge":
            raise ConfigError("quantised", "needs --score steps or accuracy, not ridge")

    def _check_targets(self) -> None:
        """Raise ValueError if another target is given, or a target is not a valid objective."""
        given = [name for name in TARGETS if getattr(self, name) is not None]
        if given:
            raise ValueError(f"{flag(given[0])}: leave it out if --targets is given")
        for config in self.of_targets():
            objective_of(config)

    def of_targets(self) -> list[Self]:
        """Return a config for each of --targets; the config itself without --targets."""
        if self.targets is None:
            return [self]
        return [replace(self, targets=None, target_flops=value) for _, value in self.target_list]

    @property
    def activation_names(self) -> list[str]:
        """The names of --activations."""
        return [name.strip() for name in (self.activations or "").split(",") if name.strip()]

    @property
    def uses_workers(self) -> bool:
        """Whether worker processes evaluate the networks and a study records them."""
        entry = catalog.evaluator_entry(self.evaluator)
        wanted = self.workers is not None or self.address is not None
        return entry.images or (entry.own and wanted)

    def _check_evaluator(self) -> None:
        """Raise ValueError for options that the evaluator does not use."""
        entry = catalog.evaluator_entry(self.evaluator)
        if entry.own:
            unused = OF_IMAGES if self.uses_workers else MEASURING
        else:
            unused = () if entry.trains else TRAINING if entry.images else MEASURING
            if self.evaluator == EVALUATOR:  # its verdict and finalists need trainings
                unused = tuple(name for name in TRAINING if name not in TRAINED_ALONE)
        for name in given_values(self):
            if name in ("table", "table_column") and not entry.table:
                raise ValueError(
                    f"{flag(name)}: evaluator {self.evaluator!r} reads no table; add --evaluator "
                    f"table, or leave {flag(name)} out"
                )
            if name == "schedule" and not entry.schedules:
                raise ValueError(
                    f"--schedule: evaluator {shortened(self.evaluator)} does not use it; leave it "
                    "out"
                )
            option_name = flag(name, SearchConfig)
            if name in unused and entry.own and name not in OF_IMAGES:
                raise ValueError(
                    f"{option_name}: evaluator {shortened(self.evaluator)} runs in the process of "
                    f"the search; add --workers N, or leave {option_name} out"
                )
            if name in unused and entry.own and self.uses_workers:
                raise ValueError(
                    f"{option_name}: evaluator {shortened(self.evaluator)} does not use it; leave "
                    f"{option_name} out"
                )
            if name in unused:
                other = "" if name in OF_RANDOM_STARTS else ", --parent for pretrained weights"
                raise ValueError(
                    f"{option_name}: evaluator {self.evaluator!r} trains nothing; add --evaluator "
                    f"proxy{other}, or leave {option_name} out"
                )


MEASURING = tuple(
    name
    for group in (DataOptions, TrainingOptions, MeasuringOptions, WorkerOptions, StudyOptions)
    for name in options(group)
)
# options that searches with a parent do not use
OF_RANDOM_STARTS = (
    *("fidelity", "scheduler", "grace", "factor", "scores", "activations"),
    *("space", "width", "small_images", "schedule", "table", "table_column"),
)
# options that user-defined evaluators never use
OF_IMAGES = (*options(DataOptions), *options(TrainingOptions), "scores", "device", "cache")


def same_value(name: str, value: Any, stored: dict[str, Any]) -> bool:
    """Return whether a value given on resumption is equivalent to the stored one.

    A fidelity may be given in a shorter form than the stored one.
    """
    return name == "fidelity" and _same_fidelity(value, stored)


def _same_fidelity(text: str, stored: dict[str, Any]) -> bool:
    from nas.evaluators.proxy import Fidelity
    from nas.lengths import text_names_epochs

    if text == "auto" or stored["fidelity"] is None:
        return text == "auto"
    recipe = change(preset(stored["recipe"]), stored["changes"])
    given = Fidelity.parse(text, epochs=recipe.epochs)
    known = Fidelity.parse(stored["fidelity"], epochs=recipe.epochs)
    if not text_names_epochs(text) and not names_epochs(stored["changes"]):
        given = replace(given, epochs=known.epochs)  # the stored ones depend on the images
    return given == known


COMMAND = Command(
    program="nas.search",
    config=SearchConfig,
    run="nas.search.run:run_search",
    report="nas.search.report:show_result",
    kind="search",
    noun="search",
    record="search.json",
    description="Search for the best network within a target of FLOPs or time.",
    epilog="""\
Sizes are written as 400M, 0.4G, 4e8 or 400000000; times as 250us, 20ms, 1.5s, 30min or 2h.
--strategy, --evaluator, --space, --recipe and --reward also accept your own code as
package.module:Name or path/to/file.py:Name.
The folder of the results contains best.json (the network of highest reward), pareto.csv and
pareto.png (the front of accuracy and cost), history.parquet (all evaluations), search.json
(settings) and report.html. A search with workers also writes study.db, which optuna-dashboard
shows.""",
)
