"""Search of a parent's sub-networks for one or several targets: `run_parent_search`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nas.evaluators.finetuned import WEIGHTS, read_result, training_folder
from nas.history import History
from nas.parents import report
from nas.parents.finalists import FOLDER, finalists_folder, fine_tune_finalists
from nas.parents.inheriting import Inheriting, parent_cost, prepare_parent
from nas.parents.int8 import measure_int8, read_int8
from nas.parents.measured import Times, chosen_finalists, distinct
from nas.parents.result import ParentResult, TargetResult, Tuned
from nas.parents.teacher import fine_tune, make_elastic
from nas.search import record
from nas.search.aims import Aims, aims
from nas.search.config import SearchConfig
from nas.search.measured import run_job
from nas.search.record import Earlier
from nas.search.targets import objective_of
from nas.stopped import TooManyFailures
from nas.storage.database import Database
from search_spaces.cost import cost, cost_label, cost_text, split_cost
from search_spaces.staged import StagedSpace
from train.data import Data, load
from vbs import signals
from vbs.config import given_values, options
from vbs.failures import Failure, InfrastructureError, infrastructure_error
from vbs.folder import results_folder, write_whole
from vbs.json_text import parse_json
from vbs.progress import labelled
from vbs.text import shell_word
from vbs.units import short

FILES = ("search.json", "best.json", report.TABLE, report.FIGURE)
BUDGET = 64  # default number of scored networks for each target


def run_parent_search(
    config: SearchConfig, out: str | None, *, earlier: Earlier | None, started: float
) -> ParentResult:
    """Fine-tune the parent, then search and fine-tune sub-networks for each target.

    out      folder of the results; None: a new folder in runs/.
    earlier  record of the search in `out` to resume; None for a new search.
    started  start time, of `time.perf_counter`.

    Raises ValueError before any training if options, parent and images do not fit.
    """
    own_teacher = config.cache == "off"
    if own_teacher and config.storage is not None:
        raise ValueError(
            "--cache: off is not allowed with --parent and --storage; the drivers share the "
            "fine-tuned parent and the finalists in the folder of the cache"
        )
    resumed = Path(out) if earlier is not None and out else None
    config, inheriting, space = prepare_search(config, resumed)
    digests = {"parent_sha256": inheriting.teacher.parent.digest}
    record.check_same(earlier, config, digests)
    with results_folder(
        out, kind="search", files=FILES, command="nas.search", resume=earlier is not None
    ) as place:
        if own_teacher:
            teacher = replace(inheriting.teacher, folder=place / "teacher")
            inheriting = replace(inheriting, teacher=teacher)
        past = earlier.seconds if earlier else 0.0
        kept = parse_json((place / FILES[0]).read_bytes())["outcome"] if resumed else {}
        return _Run(place, config, inheriting, space, digests, started - past, kept).run()


def prepare_search(
    config: SearchConfig, earlier: Path | None = None
) -> tuple[SearchConfig, Inheriting, StagedSpace]:
    """Return the result of `prepare_parent` after checking all targets.

    earlier  folder of a resumed search; None for a new search.

    Raises ValueError if options, parent, images and targets do not fit.
    """
    config, inheriting, space = prepare_parent(config)
    for each in config.of_targets():  # report invalid targets before any training
        place = None if earlier is None else _target_folder(earlier, each)
        _check_below_parent(aims(each, space, fallback="predictor", earlier=place))
    if config.storage is not None:
        Database(config.storage).close()  # reports a wrong URL
    return config, inheriting, space


@dataclass
class _Run:
    """A run in its folder.

    kept          stored outcome of the run that is resumed, until new results replace it.
    targets       results of the targets so far.
    parent_times  measured times of the parent in seconds.
    """

    folder: Path
    config: SearchConfig
    inheriting: Inheriting
    space: StagedSpace
    digests: Mapping[str, str]
    started: float
    kept: Mapping[str, Any]
    targets: list[TargetResult] = field(default_factory=list)
    parent_times: Mapping[str, float] = field(default_factory=dict)

    def run(self) -> ParentResult:
        """Run all steps, write the results, and return them."""
        self.write("running", "")
        status, reason, resumable = "finished", "", True
        try:
            teacher, config = self.inheriting.teacher, self.config
            fine_tune(teacher, config, device=config.device)
            if self.inheriting.quantised:
                measure_int8(teacher, self.data)
            if config.elastic:
                make_elastic(teacher, config, epochs=config.elastic, device=config.device)
            for each in self.config.of_targets():
                with labelled(f"target {_text_of(each)}"):
                    ended = self.search(each)
                if ended is not None:
                    status, reason = ended
                    break
        except KeyboardInterrupt:
            status, reason = "interrupted", ""
        except TooManyFailures as error:
            status, reason = "failed", str(error)
        except (InfrastructureError, OSError) as error:
            status, reason = "failed", str(infrastructure_error(error))
        except Failure as error:  # of the parent's training, which would fail again
            status, reason, resumable = "failed", str(error), False
        with signals.deferred():
            if status != "finished" and resumable:
                reason = reason or status
                resume = f"--resume --out {shell_word(str(self.folder))} continues"
                reason = f"{reason}; {resume}"
            self.write(status, reason)
            result = self.result(status, reason)
            if self.targets:
                report.write(result)
            return result

    def search(self, config: SearchConfig) -> tuple[str, str] | None:
        """Search and fine-tune for one target; returns status and reason if it was not finished."""
        text, place = _text_of(config), _target_folder(self.folder, config)
        if config.storage is not None:  # each target is a separate study in a database
            config = replace(config, study=f"{config.study}-{text}")
        earlier = None
        if (place / "search.json").is_file():
            earlier = record.read_earlier(place, _later(config))
        found = run_job(
            replace(config, budget=config.budget or BUDGET),
            str(place),
            earlier=earlier,
            started=time.perf_counter(),
            known=(self.inheriting, self.space),
        )
        if found.status in ("interrupted", "failed"):
            return found.status, found.reason
        if not found.found:
            return "failed", f"no network was found for the target {text}"
        named, times = chosen_finalists(found.history, config, place)
        if not named:
            return "failed", f"no measured network is within the target {text}"
        self.parent_times = times.get(self.inheriting.teacher.network.key, {})
        history = fine_tune_finalists(
            distinct(list(named.values())),
            self.inheriting,
            config,
            searched=found.history,
            folder=place,
            data=self.data,
        )
        trainings = finalists_folder(place, self.inheriting, config)
        networks = _tuned(_with_earlier(named, history), history, trainings, times)
        if not networks:
            return "failed", f"no network was fine-tuned for the target {text}"
        networks = [_inside(network, place / FOLDER) for network in networks]
        shutil.copyfile(networks[0].weights, place / WEIGHTS)
        self.targets.append(TargetResult(text, place, networks))
        self.write("running", "")
        return None

    @cached_property
    def data(self) -> Data:
        """Images, decoded once for all targets."""
        assert self.config.data is not None
        minival = self.inheriting.recipe.minival
        return load(self.config.data, minival=minival, root=self.config.data_root)

    def result(self, status: str, reason: str) -> ParentResult:
        """Return the result so far."""
        return ParentResult(
            self.folder,
            self.config,
            _teacher_row(self.inheriting, self.parent_times),
            tuple(self.targets),
            status,
            reason,
            time.perf_counter() - self.started,
        )

    def write(self, status: str, reason: str) -> None:
        """Write search.json."""
        teacher = self.inheriting.teacher
        record.write_search(
            self.folder,
            self.config,
            self.digests,
            status=status,
            reason=reason,
            evaluated=0,
            seconds=round(time.perf_counter() - self.started, 2),
            teacher=_teacher_row(self.inheriting, self.parent_times).as_row(self.folder)
            if teacher.is_ready
            else None,
            targets=self.kept.get("targets", {})
            | {
                each.text: [network.as_row(self.folder) for network in each.networks]
                for each in self.targets
            },
            notes=report.notes(self.result(status, reason))
            if self.targets
            else self.kept.get("notes", []),
        )


def _check_below_parent(aimed: Aims) -> None:
    """Raise ValueError if the parent itself is within the target, which needs no search."""
    space, of, target = aimed.space, aimed.objective.of, aimed.objective.target
    parent = parent_cost(space, of)
    if target < parent:
        return
    least, _ = space.cost_range(of)
    raise ValueError(
        f"target: {cost_text(of, target)} is not allowed; use a value below the parent's "
        f"{cost_text(of, parent)} {cost_label(of)} (the smallest sub-network: "
        f"{cost_text(of, least)})"
    )


def _with_earlier(named: Mapping[str, np.ndarray], history: History) -> dict[str, np.ndarray]:
    """Return the named networks and those that an earlier run of the search fine-tuned."""
    found = dict(named)
    for genotype in np.unique(history.genotypes[history.seed == 0], axis=0):
        if not any((genotype == each).all() for each in found.values()):
            found[f"found earlier {len(found)}"] = genotype
    return found


def _inside(network: Tuned, folder: Path) -> Tuned:
    """Return the network with its weights in `folder`, to which they are copied if necessary."""
    place = folder / network.weights.parent.name / WEIGHTS
    if place != network.weights:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, lambda unfinished: shutil.copyfile(network.weights, unfinished))
    return replace(network, weights=place)


def _tuned(
    named: Mapping[str, np.ndarray], history: History, folder: Path, times: Times
) -> list[Tuned]:
    """Return the fine-tuned networks, best minival accuracy first, without failed ones.

    times  measured times, which replace the predicted ones.
    """
    found: list[tuple[tuple[float, ...], Tuned]] = []
    for name, genotype in named.items():
        network = history.space.decode(genotype)
        seeds = np.unique(history.seed[(history.genotypes == genotype).all(1)])
        known = {
            int(seed): result
            for seed in seeds
            if (result := read_result(training_folder(folder, network.key, int(seed)))) is not None
        }
        if not known:
            continue
        best = min(known, key=lambda seed: _order([known[seed]]))
        costs = history.space.costs(genotype[None])
        results = list(known.values())
        tuned = Tuned(
            "found" if name.startswith("found") else name,
            network,
            {each: costs.get(each)[0].item() for each in history.space.cost_names}
            | dict(times.get(network.key, {})),
            [each["minival_top1"] for each in results],
            [each["test_top1"] for each in results if each["test_top1"] is not None],
            training_folder(folder, network.key, best) / WEIGHTS,
            _in_float(results),
        )
        # networks with several seeds were the best after the first seed
        found.append(((-(len(results) > 1), *_order(results)), tuned))
    return [tuned for _, tuned in sorted(found, key=lambda each: each[0])]


def _order(results: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Return a key that sorts networks: best mean minival accuracy first, then lowest loss.

    On a small minival, many networks have equal accuracies.
    """
    accuracy = float(np.mean([each["minival_top1"] for each in results]))
    return -accuracy, float(np.mean([each["minival_loss"] for each in results]))


def _in_float(results: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return accuracies in float of networks scored in int8: on test images, else the minival."""
    name = "float_minival_top1"
    if all(result.get("float_test_top1") is not None for result in results):
        name = "float_test_top1"
    return [result[name] for result in results if name in result]


def _teacher_row(inheriting: Inheriting, times: Mapping[str, float]) -> Tuned:
    """Return the fine-tuned parent as a row of the table, with its measured times."""
    teacher, in_float = inheriting.teacher, []
    minival = [teacher.minival_top1] if teacher.is_ready else []
    test = teacher.test_top1 if teacher.is_ready else None
    tests = [] if test is None else [test]
    if inheriting.quantised and (known := read_int8(teacher)) is not None:
        in_float = tests or minival
        minival, tests = [known.minival], [] if known.test is None else [known.test]
    return Tuned(
        "parent",
        teacher.network,
        cost(teacher.network)._asdict() | dict(times),
        minival,
        tests,
        teacher.weights,
        in_float,
    )


def _target_folder(folder: Path, config: SearchConfig) -> Path:
    """Return the folder of the search for one target."""
    return folder / f"target-{_text_of(config)}"


def _text_of(config: SearchConfig) -> str:
    """Return the target of a search as a short text for the name of its folder."""
    objective = objective_of(config)
    if split_cost(objective.of)[0] == "image_time":
        return short(1 / objective.target)
    return cost_text(objective.of, objective.target)


def _later(config: SearchConfig) -> dict[str, Any]:
    """Return the values of options that a resumed search may change."""
    return {
        name: getattr(config, name)
        for name in given_values(config)
        if options(SearchConfig)[name].later
    }
