"""The command line of `python -m nas.fidelity`: data and a space in, a fidelity to use out."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.data_space import space_for
from nas.evaluators.base import Answer
from nas.evaluators.proxy import Fidelity, clock_name, fitted, identity
from nas.fidelity.plan import ladder, longest_of, spread, within, work
from nas.fidelity.ranks import FEWEST
from nas.fidelity.trainings import Job, LostWorker, Work, clock_of, run_all, seconds_per_image
from nas.lengths import fidelity_of
from nas.storage.cache import Cache, default_folder, key_of
from search_spaces.catalog import SPACES
from search_spaces.staged import StagedSpace
from train.length import names_epochs
from train.parser import absolute_data, print_notes
from train.recipe import PRESETS, Recipe, change, check_random_start, preset
from vbs.command import Parser, run_command
from vbs.folder import results_folder, resumed_folder
from vbs.processes import available_cpus
from vbs.text import quoted
from vbs.units import parse_quantity

if TYPE_CHECKING:
    from train.data.summary import Survey

RECORD, FIGURE = "fidelity.json", "fidelity.png"
USUAL = {"networks": 12, "seeds": 2}
ALLOWED = {"networks": (FEWEST, 200), "seeds": (2, 20)}
AGAIN = (
    "out",
    "resume",
    "workers",
    "device",
    "data",
    "data_root",
)  # what a resumed run may be given

# what settings read from a file may be
KINDS: dict[str, Any] = {
    "data": str, "data_root": (str, type(None)), "data_sha256": str, "space": str,
    "resolution": int, "width": (int, float), "small_images": bool,
    "target_flops": (int, float, type(None)), "recipe": str, "changes": list, "fields": dict,
    "networks": int, "seeds": int, "fidelities": list, "longest": str,
}  # fmt: skip

EPILOG = """DATA is cifar10, cifar100, fashion-mnist, imagenet, imagefolder:DIR, parquet:DIR or
FILE.zip. A fidelity is written epochs=9,share=0.2,resolution=24 (share of the training images;
resolution in pixels, else the network's). The folder gets fidelity.json (settings, networks,
accuracies, correlations, answer) and fidelity.png; finished trainings are kept in
~/.cache/vision-baseline-search/results and are not repeated by later runs on the same kind of
device. Accuracies are those of the moving average of the weights; seconds are the processor's, of
all threads together, or on a GPU those of the clock on the wall."""


@dataclass(frozen=True)
class Comparison:
    """What is compared, worked out from the settings.

    fidelities  the longest is the last.
    genotypes   int8 [networks, decisions].
    """

    data: Survey
    space: StagedSpace
    recipe: Recipe
    fidelities: tuple[Fidelity, ...]
    genotypes: np.ndarray
    seeds: int

    @property
    def side(self) -> int:
        """Of the networks' input in pixels, where a fidelity has none of its own."""
        return self.recipe.resolution or self.space.settings["resolution"]

    @property
    def timed(self) -> Recipe:
        """The recipe as it is trained, but at the full side, which `work` counts in."""
        return fitted(
            self.recipe, replace(self.fidelities[-1], resolution=0), images=self.data.train
        )

    def work(self, job: Job) -> float:
        """See `nas.fidelity.plan.work`."""
        fidelity = self.fidelities[job.fidelity]
        return work(fidelity, images=self.data.train, held=self.data.minival, side=self.side)

    def jobs(self) -> list[Job]:
        """All trainings, the longest first, so that none of them is still running at the end."""
        jobs = [
            Job(fidelity, network, seed)
            for seed in range(self.seeds)
            for network in range(len(self.genotypes))
            for fidelity in range(len(self.fidelities))
        ]
        return sorted(jobs, key=lambda job: -self.work(job))


def run(argv: list[str] | None = None) -> int:
    """The whole command; its exit code."""
    given: dict[str, Any] = {}

    def action() -> int:
        given.update(vars(_parser().parse_args(argv)))
        try:
            return _run(given)
        except LostWorker as error:
            raise LostWorker(f"{error}{_go_on(given)}") from None

    return run_command("nas.fidelity", action, interrupted=lambda: f"interrupted{_go_on(given)}")


def _go_on(given: Mapping[str, Any]) -> str:
    from nas.fidelity.report import resume_command

    folder = given.get("out")
    known = folder is not None and Path(folder, RECORD).exists()
    return f"; go on by: {resume_command(Path(folder))}" if known and folder else ""


def _parser() -> Parser:
    parser = Parser(
        prog="python -m nas.fidelity", epilog=EPILOG, argument_default=argparse.SUPPRESS,
        description="Find the cheapest training that ranks networks as a long one does.",
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("--data", metavar="DATA", help="images to train on")
    add("--data-root", metavar="DIR", help="where named data sets are kept")
    add("--space", metavar="|".join(SPACES), help="default compact")
    add("--target-flops", metavar="SIZE", help="networks of at most so many FLOPs, e.g. 4M")
    add("--resolution", type=int, metavar="PX", help="input side (default: the images')")
    add("--classes", type=int, metavar="N", help="default: the data's")
    add("--width", type=float, metavar="X", help="multiplies all channels (default 1.0)")
    add("--small-images", action="store_true", help="fewer strides (default: up to 64 px)")
    add("--recipe", metavar="|".join(PRESETS), help="of the trainings (default proxy)")
    add("--set", metavar="FIELD=VALUE", action="append", dest="changes", help="change a field of "
        "the recipe (repeatable)")  # fmt: skip
    add("--networks", type=int, metavar="N", help=f"default {USUAL['networks']}")
    add("--seeds", type=int, metavar="N", help=f"of each training (default {USUAL['seeds']})")
    add("--fidelities", metavar="TEXT;...", help="what to try (default: some, by the size of the "
        "data, its images and the recipe)")  # fmt: skip
    add("--longest", metavar="TEXT", help="what they are compared with (default: the recipe's "
        "epochs, at most 30, of at most about 20,000 images)")  # fmt: skip
    add("--workers", type=int, metavar="N", help="trainings at once (default: as many as there "
        "are processors, or GPUs)")  # fmt: skip
    add("--device", metavar="NAME", help="auto (default), cpu, cuda or cuda:N")
    add("--out", metavar="DIR", help="folder for the results (default: a new runs/fidelity-N)")
    add("--resume", action="store_true", help="go on with what is in --out")
    return parser


def _run(given: dict[str, Any]) -> int:
    if given.get("workers", 1) < 1:
        raise ValueError(f"--workers: {given['workers']} is not allowed; use 1 or more")
    resume = given.get("resume", False)
    with resumed_folder(given.get("out"), resume=resume, command="nas.fidelity"):
        return _compared(given, resume=resume)


def _compared(given: dict[str, Any], *, resume: bool) -> int:
    from nas.fidelity import report

    started = time.monotonic()
    settings = _resumed(given) if resume else _asked(given)
    comparison = _prepared(settings)
    devices = _devices(given.get("device", "auto"))
    processes = given.get("workers") or (len(devices) if devices[0] != "cpu" else available_cpus())
    with results_folder(
        given.get("out"), kind="fidelity", files=(RECORD, FIGURE), command="nas.fidelity",
        resume=resume,
    ) as folder:  # fmt: skip
        given["out"] = str(folder)
        report.write(folder / RECORD, settings, "running")
        report.opening(folder, settings, comparison, processes=processes, device=devices[0])
        answers = _trained(folder, settings, comparison, devices, processes)
        judged = report.finish(folder, settings, comparison, answers)
        report.closing(folder, settings, comparison, judged, seconds=time.monotonic() - started)
    return 0 if judged[-1].networks >= FEWEST else 1


def _asked(given: Mapping[str, Any]) -> dict[str, Any]:
    """What the arguments ask for, as plain data for the record."""
    if "data" not in given:
        raise ValueError("--data is missing; e.g. python -m nas.fidelity --data cifar10")
    target = given.get("target_flops")
    changes, name = given.get("changes", []), given.get("recipe", "proxy")
    recipe = change(preset(name), changes)
    check_random_start(recipe, "nas.fidelity")
    settings: dict[str, Any] = {
        **_places(given), "data_sha256": "",
        **{key: given.get(key) for key in ("resolution", "classes", "small_images")},
        "space": given.get("space", "compact"), "width": given.get("width", 1.0),
        "target_flops": None if target is None else parse_quantity(target, what="--target-flops"),
        "recipe": name, "changes": changes, "fields": recipe.to_dict(),
        "fidelities": None, "longest": given.get("longest"),
    }  # fmt: skip
    settings |= {key: given.get(key, usual) for key, usual in USUAL.items()}
    if "fidelities" in given:
        settings["fidelities"] = [text for text in given["fidelities"].split(";") if text.strip()]
    return settings


def _resumed(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the run to go on with."""
    from nas.fidelity.report import read_settings

    if not given.get("out"):
        raise ValueError("resume: which comparison? give its folder as --out DIR")
    for name in given:
        if name not in AGAIN:
            option = "set" if name == "changes" else name.replace("_", "-")
            raise ValueError(
                f"resume: --{option} cannot be given anew; leave it out, or start anew in "
                "another --out"
            )
    settings = read_settings(Path(given["out"]) / RECORD)
    for name, kind in KINDS.items():
        value = settings.get(name)
        odd = isinstance(value, list) and not all(isinstance(part, str) for part in value)
        if odd or not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
            raise ValueError(f"resume: {name} is {quoted(value)} in {RECORD}, which it cannot be")
    anew = {name: place for name, place in _places(given).items() if name in given}
    return {**settings, "classes": None, **anew}


def _places(given: Mapping[str, Any]) -> dict[str, str | None]:
    """Where the images are, as it is written down: who goes on may do so from elsewhere."""
    data, root = given.get("data"), given.get("data_root")
    return {
        "data": None if data is None else absolute_data(data),
        "data_root": None if root is None else os.path.abspath(root),
    }


def _prepared(settings: dict[str, Any]) -> Comparison:
    """What the settings ask for, fitted to the data; fills in what they left open.

    ValueError for whatever does not go together. Nothing is decoded or trained.
    """
    for key, (least, most) in ALLOWED.items():
        if not least <= settings[key] <= most:
            raise ValueError(f"--{key}: {settings[key]} is not allowed; use {least} to {most}")
    recipe = Recipe.from_dict(settings["fields"])
    if not recipe.minival:
        raise ValueError("--set minival: images to choose by are needed; use e.g. 0.1")
    from train.data.summary import survey  # imports torch: a mistake above is answered at once

    data = survey(settings["data"], minival=recipe.minival, root=settings["data_root"])
    print_notes(data.notes)
    if len(data.classes) < 2:
        raise ValueError(f"data: {settings['data']} has one class; there is nothing to learn")
    digest = key_of(data.digests)
    if settings["data_sha256"] not in ("", digest):
        raise ValueError(f"resume: {settings['data']} does not hold the images of the comparison")
    space = space_for(
        data, settings["space"], resolution=settings["resolution"], classes=settings["classes"],
        width=settings["width"], small_images=settings["small_images"],
    )  # fmt: skip
    fidelities = _fidelities(settings, recipe, data, space)
    objective = within(space, settings["target_flops"])
    genotypes = spread(space, objective, settings["networks"])
    settings.update(space.settings, data_sha256=digest)
    settings["fidelities"] = [str(each) for each in fidelities[:-1]]
    settings["longest"] = str(fidelities[-1])
    return Comparison(data, space, recipe, fidelities, genotypes, settings["seeds"])


def _fidelities(
    settings: Mapping[str, Any], recipe: Recipe, data: Survey, space: StagedSpace
) -> tuple[Fidelity, ...]:
    """By rising cost, the longest last; ValueError where one of them cannot be."""
    side = recipe.resolution or space.settings["resolution"]
    named = names_epochs(settings["changes"])
    longest = longest_of(recipe, images=data.train, named=named)
    if settings["longest"] is not None:
        longest = fidelity_of(
            settings["longest"], recipe, settings["changes"], images=data.train,
            epochs=longest.epochs,
        )  # fmt: skip
    if settings["fidelities"] is None:
        others = ladder(longest, images=data.train, side=side, batch=recipe.batch)
    else:
        others = [Fidelity.parse(text, epochs=longest.epochs) for text in settings["fidelities"]]

    def cost(fidelity: Fidelity) -> float:
        return work(fidelity, images=data.train, held=data.minival, side=side)

    for fidelity in (*others, longest):
        fitted(recipe, fidelity, images=data.train)
        if fidelity is not longest and cost(fidelity) >= cost(longest):
            raise ValueError(f"fidelities: {fidelity} is not cheaper than the longest, {longest}")
    if not others or len(set(others)) < len(others):
        raise ValueError(
            "fidelities: give some that differ and are cheaper than the longest "
            f"({longest}), as --fidelities 'epochs=3;epochs=9,share=0.25'"
        )
    return (*sorted(others, key=cost), longest)


def _devices(name: str) -> list[str]:
    """Where trainings run, in turn: the device of that name, or all GPUs of the machine."""
    import torch

    from train.distributed import pick_device

    picked = pick_device(name)
    if name in ("auto", "cuda") and picked.type == "cuda":
        return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return [str(picked)]


def _trained(
    folder: Path, settings: Mapping[str, Any], comparison: Comparison, devices: list[str],
    processes: int,
) -> dict[Job, Answer]:  # fmt: skip
    """The answers of all trainings: what is known already, then what is missing."""
    from nas.fidelity.report import Progress

    cache, jobs = Cache(), comparison.jobs()
    found = {job: cache.get(_key(comparison, job, devices[0])) for job in jobs}
    answers = {job: answer for job, answer in found.items() if answer is not None}
    missing = [job for job in jobs if job not in answers]
    if not missing:
        return answers
    # by one process in this one, which keeps the threads that it has
    threads = 0 if processes == 1 else max(1, available_cpus() // processes)
    middle = np.linspace(0, len(comparison.genotypes) - 1, 3).astype(int)
    seconds = seconds_per_image(
        comparison.space, comparison.genotypes[middle], comparison.timed,
        device=devices[0], threads=threads,
    )  # fmt: skip
    progress = Progress(comparison, missing, seconds / min(processes, len(missing)))
    works = {
        job: Work(
            settings["data"], settings["data_root"], comparison.recipe,
            comparison.fidelities[job.fidelity], comparison.space.name, comparison.space.settings,
            comparison.genotypes[job.network], job.seed, devices[index % len(devices)], threads,
            default_folder(), folder / "unfinished" / _name(comparison, job),
        )
        for index, job in enumerate(missing)
    }  # fmt: skip
    with progress:
        for job, answer in run_all(works, processes=processes):
            answers[job] = answer
            progress.update(job, answer)
    return answers


def _key(comparison: Comparison, job: Job, device: str) -> str:
    """Of a training's result in the cache; all devices of a comparison are of one kind."""
    recipe, fidelity = comparison.recipe, comparison.fidelities[job.fidelity]
    # as `train.data.load` is called by the proxy
    settings = {"digests": comparison.data.digests, "minival": recipe.minival,
                "channels": 3, "seed": 0}  # fmt: skip
    network = comparison.space.decode(comparison.genotypes[job.network])
    recipe = fitted(recipe, fidelity, images=comparison.data.train)
    clock = clock_name(clock_of(device), device)
    return key_of(identity(network, recipe, fidelity, settings, seed=job.seed, clock=clock))


def _name(comparison: Comparison, job: Job) -> str:
    """Of a training's folder."""
    fidelity = str(comparison.fidelities[job.fidelity]).replace("=", "").replace(",", "-")
    return f"{fidelity}-network{job.network}-seed{job.seed}"
