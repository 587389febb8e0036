"""`python -m train.noisy_student`: self-training with unlabelled images, in rounds.

Source: Xie et al. 2020, "Self-training with Noisy Student improves ImageNet classification"
(arXiv 1911.04252). A round: the teacher, without noise, gives unlabelled images soft labels; the
confident ones are kept, the classes balanced; a student, equal or larger, is trained with noise on
labelled and pseudo-labelled images; it is the teacher of the next round.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from vbs.command import run_program

    run_program("train.noisy_student", "train.noisy_student", "main")

import argparse
import functools
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from train import record
from train.command import asked_architecture, asked_workers
from train.length import lengthened, names_epochs
from train.parser import print_notes
from train.recipe import (
    NORM_STATISTICS,
    PRESETS,
    Recipe,
    change,
    check_random_start,
    check_version,
    preset,
)
from vbs.command import Parser, run_command
from vbs.console import print_err
from vbs.folder import results_folder, resumed_folder
from vbs.json_text import parse_json
from vbs.text import quoted, shell_command

if TYPE_CHECKING:
    from train.data.listing import Listing
    from train.noisy_rounds import Images
    from train.pseudo_labels import Teacher

RECORD = "noisy_student.json"
DROPOUT = DROP_PATH = 0.2  # at least; the paper's survival probability is 0.8
MOVABLE = ("teacher", "unlabelled", "data")  # may lie elsewhere now; their digests are compared

EPILOG = """RUN is the folder of a finished train.run, NETWORK what train.run takes, DIR a folder of
images (of any depth), FILE.zip, parquet:DIR or a named set, of which the training images are taken.
Images that are among the labelled ones too are not taken out; there is a warning where they are
among those held out. The labelled data are the teacher's, with what it held out held out
again. The student's recipe is a preset (default proxy) with the noise turned on: policy
randaugment, dropout and drop_path at least 0.2; --set changes it after that. The folder gets
noisy_student.json and round-N/ with pseudo_labels.safetensors and student/, a folder like those of
train.run: train.export takes it, and it can be a teacher."""


def main(argv: list[str] | None = None) -> int:
    """The whole command; 0, 1 for a training that failed, 2 for a user's mistake, 130 Ctrl-C."""
    args = argparse.Namespace(out=None)

    def action() -> int:
        _parser().parse_args(argv, namespace=args)
        return _run(args)

    def interrupted() -> str:
        known = args.out and Path(args.out, RECORD).exists()
        what = f"resume by: {_resume_command(Path(args.out))}" if known else "nothing was done yet"
        return f"interrupted; {what}"

    return run_command("train.noisy_student", action, interrupted=interrupted)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m train.noisy_student", epilog=EPILOG, allow_abbrev=False,
        description="Train students on what a teacher says of unlabelled images.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--teacher", metavar="RUN", help="a finished run")
    add("--student", metavar="NETWORK", dest="network", help="what to train")
    add("--unlabelled", metavar="DIR", help="images without labels")
    add("--data", metavar="DATA", help="labelled images (default: the teacher's)")
    add("--rounds", type=int, metavar="N", help="students, each the next one's teacher (default 1)")
    add("--ratio", type=float, metavar="X", help="unlabelled images for each labelled one in a "
        "batch (default 1; the paper's 3 for larger networks)")  # fmt: skip
    add("--confidence", type=float, metavar="P", help="least probability of a pseudo-label's "
        "class (default 0.3)")  # fmt: skip
    add("--per-class", type=int, metavar="N", help="images of each class, the most confident, "
        "repeated where there are fewer (default: unlabelled images / classes)")  # fmt: skip
    add("--recipe", metavar="|".join(PRESETS), help="default proxy, with noise")
    add("--variant", metavar="paper|google", help="of efficientnetv2 (default paper)")
    add("--set", metavar="FIELD=VALUE", action="append", dest="changes", help="change a field of "
        "the student's recipe, e.g. --set epochs=3 (repeatable)")  # fmt: skip
    add("--resolution", type=int, metavar="PX", help="the student's input side")
    add("--width", type=float, metavar="X", help="multiplies its channels")
    add("--depth", type=float, metavar="X", help="multiplies its layers")
    add("--small-images", action="store_true", help="fewer strides, for 32 px images")
    add("--out", metavar="DIR", help="folder for the results (default: a new runs/noisy-student-N)")
    add("--resume", action="store_true", help="go on with what is in --out")
    add("--device", metavar="NAME", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--workers", type=int, metavar="N", help="processes that decode streamed images "
        "(default: by the number of processors)")  # fmt: skip
    add("--data-root", metavar="DIR", help="where named data sets are kept")
    return parser


def _run(args: argparse.Namespace) -> int:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("torchrun: not supported; train.noisy_student runs in one process")
    if args.workers is not None and args.workers < 0:
        raise ValueError(f"--workers: {args.workers} is not allowed; use 0 or more")
    with resumed_folder(args.out, resume=args.resume, command="train.noisy_student"):
        return _prepared(args)


def _prepared(args: argparse.Namespace) -> int:
    settings = _resumed(args) if args.resume else _settings(args)
    # these import torch: a mistake above is answered at once
    from train.distributed import pick_device
    from train.pseudo_labels import load_teacher

    pick_device(args.device)
    known = _teacher_run(settings)
    teacher = load_teacher(Path(settings["teacher"]))
    _remember(settings, "teacher's weights", teacher.digest)
    images = _images(settings, known, teacher, args.data_root)
    _student_settings(settings, known, teacher, images)
    with results_folder(
        args.out, kind="noisy-student", files=(RECORD, "round-1"), command="train.noisy_student",
        resume=args.resume,
    ) as folder:  # fmt: skip
        args.out = str(folder)
        return _in_folder(args, settings, images, known, teacher)


def _in_folder(
    args: argparse.Namespace, settings: dict[str, Any], images: Images, known: dict[str, Any],
    teacher: Teacher,
) -> int:  # fmt: skip
    from train.noisy_rounds import Place, run_rounds, write_record

    folder = Path(args.out)
    place = Place(folder / RECORD, args.device, asked_workers(args))
    write_record(place.record, settings, "running", [])
    failed = run_rounds(place, settings, images, known, teacher)
    if failed:
        go_on = _resume_command(folder)
        print_err(f"train.noisy_student: {failed}; go on by: {go_on}")
    return {"": 0, "interrupted": 130}.get(failed, 1)


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """What the arguments ask for, as plain data for noisy_student.json."""
    for name, flag in (("teacher", "RUN"), ("network", "NETWORK"), ("unlabelled", "DIR")):
        if getattr(args, name) is None:
            option = {"network": "student"}.get(name, name)
            raise ValueError(f"--{option} is missing; give --{option} {flag}")
    settings = {name: getattr(args, name) for name in _options()}
    for name, usual in (("rounds", 1), ("ratio", 1.0), ("confidence", 0.3)):
        settings[name] = usual if settings[name] is None else settings[name]
    if settings["rounds"] < 1:
        raise ValueError(f"--rounds: {settings['rounds']} is not allowed; use 1 or more")
    if not 0 < settings["ratio"] < float("inf"):
        raise ValueError(f"--ratio: {settings['ratio']} is not allowed; use a number above 0")
    if not 0 <= settings["confidence"] <= 1:
        raise ValueError(f"--confidence: {settings['confidence']} is not allowed; use 0 to 1")
    if settings["per_class"] is not None and settings["per_class"] < 1:
        raise ValueError(f"--per-class: {settings['per_class']} is not allowed; use 1 or more")
    if any(text.startswith("minival=") for text in args.changes or []):
        raise ValueError("--set minival: the student holds out what its teacher did; leave it out")
    base = preset(args.recipe or "proxy", network=args.network, variant=args.variant or "paper")
    check_random_start(change(base, args.changes or []), "train.noisy_student")
    settings["norm_statistics"] = NORM_STATISTICS
    settings["student_recipe"] = change(noisy(base), args.changes or []).to_dict()
    settings["student_architecture"] = json.loads(asked_architecture(args).to_json())
    return settings


def _resume_command(folder: Path) -> str:
    """What goes on with a folder, to be pasted."""
    words = [sys.executable, "-m", "train.noisy_student", "--resume", "--out", str(folder)]
    return shell_command(words)


def noisy(recipe: Recipe) -> Recipe:
    """The recipe with the three kinds of noise that make a student better than its teacher."""
    return replace(
        recipe, name=f"noisy-{recipe.name}", policy="randaugment",
        dropout=max(DROPOUT, recipe.dropout), drop_path=max(DROP_PATH, recipe.drop_path),
    )  # fmt: skip


def _options() -> list[str]:
    """Names of the arguments that decide what comes out."""
    free = ("help", "out", "resume", "device", "workers", "data_root")
    return [action.dest for action in _parser()._actions if action.dest not in free]


def _resumed(args: argparse.Namespace) -> dict[str, Any]:
    """The settings of the folder; ValueError where an argument asks for something else."""
    if not args.out:
        raise ValueError("resume: which run? give its folder as --out DIR")
    path = Path(args.out, RECORD)
    if not path.is_file():
        raise ValueError(f"{args.out} holds no run of train.noisy_student (no {RECORD} in it)")
    try:
        content = parse_json(path.read_bytes())
        status, settings = content["status"], dict(content["settings"])
        stored = {name: settings[name] for name in _options()}
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is not the record of train.noisy_student") from None
    for name in _options():
        given = getattr(args, name)
        if given and name in MOVABLE:
            settings[name] = given
        elif given is not None and given is not False and given != stored[name]:
            option = {"changes": "set", "network": "student"}.get(name, name).replace("_", "-")
            raise ValueError(
                f"resume: --{option} {quoted(given)} here, {quoted(stored[name])} in {path}"
            )
    if status == "finished":
        raise ValueError(f"resume: the run in {args.out} is finished")
    check_version(settings, args.out)
    return settings


def _remember(settings: dict[str, Any], name: str, value: Any) -> None:
    """Note what was found, or ValueError where something else was found before."""
    found = settings.setdefault("found", {})
    value = json.loads(json.dumps(value))
    if found.setdefault(name, value) != value:
        raise ValueError(f"resume: not the same {name} as before; give the same as at the start")


def _teacher_run(settings: dict[str, Any]) -> dict[str, Any]:
    """run.json of the teacher; ValueError where it is not a finished run."""
    known = record.read_run(Path(settings["teacher"]))
    if known.get("status") != "finished":
        raise ValueError(
            f"teacher: the run in {settings['teacher']} is {known.get('status')}; finish it first"
        )
    data = known["settings"].get("data_settings")
    if not isinstance(data, dict) or not {"seed", "minival"} <= set(data):
        raise ValueError(f"teacher: run.json of {settings['teacher']} does not tell of its data")
    return known


def _images(
    settings: dict[str, Any], known: dict[str, Any], teacher: Teacher, root: str | None
) -> Images:
    """Labelled and unlabelled images; ValueError where they are not what the teacher knows."""
    from train.data import load, load_unlabelled
    from train.data.find import find_unlabelled
    from train.noisy_rounds import Images

    theirs, channels = known["settings"]["data_settings"], teacher.weights.architecture.in_channels
    text = settings["data"] or known["settings"]["data"]
    _refuse_the_same(settings["unlabelled"], text)
    data = load(text, minival=theirs["minival"], seed=theirs["seed"], channels=channels, root=root)
    print_notes(data.notes)
    if data.classes != teacher.weights.classes:
        raise ValueError(f"data: the classes of {text} are not those of the teacher")
    if data.settings["digests"] != theirs.get("digests"):
        print_err(
            "warning: the labelled images are not the teacher's; what it held out may be trained on"
        )
    own = {k: v for k, v in data.settings.items() if k not in ("source", "split")}
    _remember(settings, "labelled images", own)
    unlabelled = load_unlabelled(settings["unlabelled"], channels=channels, root=root)
    listing = find_unlabelled(settings["unlabelled"], root=root, download=False)
    _remember(settings, "unlabelled images", {"n": len(unlabelled), "digest": listing.digest()})
    held_out = data.minival is not None
    shared = _shared(settings["unlabelled"], listing, text, theirs["seed"], root, held_out)
    if shared:
        print_err(
            f"WARNING: --unlabelled holds images of the labelled data's {' and '.join(shared)}: "
            "students are trained on them, their scores there say too much"
        )
    return Images(data, unlabelled, text)


def _refuse_the_same(unlabelled: str, labelled: str) -> None:
    """ValueError where all files of the labelled data would be taken, those of its test too."""
    from train.data.find import unlabelled_source
    from train.data.source import NAMED, PARQUET

    ours, theirs = unlabelled_source(unlabelled), unlabelled_source(labelled)
    # of a named set only the training images are taken
    if NAMED in (ours.kind, theirs.kind) or (ours.kind == PARQUET) != (theirs.kind == PARQUET):
        return
    if os.path.realpath(ours.place) == os.path.realpath(theirs.place):
        raise ValueError(
            f"--unlabelled: {unlabelled} is the labelled data itself, its minival and test too; "
            "give other images, or its folder of training images alone"
        )


def _shared(
    unlabelled: str, listing: Listing, labelled: str, seed: int, root: str | None, held_out: bool
) -> list[str]:
    """Splits to score on whose files are among the unlabelled ones, by their places on disk.

    Copies under another name are not found, nor a folder's in an archive.
    """
    from train.data.find import find

    taken = _files(listing)
    if not taken:  # a named set that is not kept as files
        return ["minival"] if held_out and unlabelled == labelled else []
    splits = find(labelled, seed=seed, root=root, download=False).listings()
    # without a val the minival is a part of train
    minival = splits["val"] or splits["train"]
    scored = {"minival": minival if held_out else None, "test": splits["test"]}
    return [
        name for name, other in scored.items()
        if other is not None and not taken.isdisjoint(_files(other))
    ]  # fmt: skip


def _files(listing: Listing) -> set[str]:
    """Where the images of a listing are, links of folders followed; none where it has no files."""
    import torch

    from train.data.stores import ParquetStore

    images = listing.images
    if isinstance(images, torch.Tensor):
        return set()
    if isinstance(images, ParquetStore):
        return {os.path.realpath(path) for path in images.paths}
    real = functools.cache(os.path.realpath)
    places = (os.path.split(images.name(int(row))) for row in listing.rows)
    return {os.path.join(real(folder), name) for folder, name in places}


def _student_settings(
    settings: dict[str, Any], known: dict[str, Any], teacher: Teacher, images: Images
) -> None:
    """Complete the student's network and recipe by the data; ValueError where they cannot be."""
    import numpy as np

    from train.data import blend
    from train.state import resolved

    theirs, data = teacher.weights.architecture, images.data
    asked = Architecture.from_dict(settings["student_architecture"])
    if asked.in_channels != theirs.in_channels:
        raise ValueError(
            f"student: it has {asked.in_channels} input channels, its teacher {theirs.in_channels}"
        )
    architecture = replace(asked, classes=len(data.classes))
    recipe = Recipe.from_dict(settings["student_recipe"])
    minival = known["settings"]["data_settings"]["minival"]
    recipe = resolved(replace(recipe, minival=minival), architecture)
    # refuses a batch that has no share of one kind, before hours are spent on labels
    blended = blend(data.train, data.train, ratio=settings["ratio"])
    order = blended.order(np.random.default_rng(0), recipe.batch)
    own, other = cost(architecture).params, cost(theirs).params
    if own < other:
        print_err(
            f"warning: the student has {own:,} parameters, its teacher {other:,}; the paper's "
            "students are equal or larger"
        )
    settings["student_architecture"] = json.loads(architecture.to_json())
    if not names_epochs(settings["changes"] or []):
        recipe = lengthened(recipe, order.size)
    settings["student_recipe"] = recipe.to_dict()
