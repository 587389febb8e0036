"""What a comparison of fidelities tells: lines while it lasts, tables, a record and a figure."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.evaluators.base import Answer
from nas.evaluators.proxy import fitted
from nas.fidelity.answers import Extent, recommended, remember
from nas.fidelity.doubts import Watch, certainty
from nas.fidelity.picture import draw
from nas.fidelity.ranks import LEVEL, RULE, SHARE, Estimate, Judged, answer, judge
from nas.fidelity.trainings import Job
from nas.lengths import length_lines
from train.record import finite
from vbs.command import python_command
from vbs.console import print_err, print_out, print_results
from vbs.figure import draw_picture
from vbs.folder import circumstances, write_json
from vbs.json_text import parse_json
from vbs.progress import Pulse, seconds_left, timing
from vbs.text import shell_command, shell_word
from vbs.units import clock, short

if TYPE_CHECKING:
    from nas.fidelity.command import Comparison


def write(path: Path, settings: Mapping[str, Any], status: str, **outcome: Any) -> None:
    """fidelity.json: everything needed to make the comparison again, and what came out."""
    write_json(path, {
        "status": status, "settings": dict(settings), "outcome": finite(outcome),
        **circumstances(("numpy", "torch")),
    })  # fmt: skip


def read_settings(path: Path) -> dict[str, Any]:
    """The settings in a record; ValueError where it is none."""
    if not path.is_file():
        raise ValueError(f"resume: {path.parent} holds no comparison (there is no {path.name})")
    try:
        content = parse_json(path.read_bytes())
        if not isinstance(content["settings"], dict):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"resume: {path} is not the record of a comparison") from None
    return content["settings"]


def opening(
    folder: Path, settings: Mapping[str, Any], comparison: Comparison, *, processes: int,
    device: str,
) -> None:  # fmt: skip
    """On stderr: what is going to be trained, on what, how often, and where."""
    data, space = comparison.data, comparison.space
    flops = space.costs(comparison.genotypes).flops
    target = settings["target_flops"]
    limit = f", within {short(target)}" if target is not None else ""
    count, fidelities = len(comparison.genotypes), comparison.fidelities
    total = count * comparison.seeds * len(fidelities)
    where = "CPU" if device == "cpu" else device.split(":")[0]
    print_err(
        f"data {settings['data']}: {len(data.classes)} classes, {data.train:,} training images, "
        f"{data.minival:,} held out of them",
        f"space {space.name} at {space.settings['resolution']} px: {count} networks spread over "
        f"{short(flops.min())} to {short(flops.max())} FLOPs{limit}",
        f"recipe {comparison.recipe.name}: {len(fidelities)} fidelities x {count} networks x "
        f"{comparison.seeds} seeds = {total} trainings, {processes} at once on {where}",
    )
    for fidelity in fidelities:
        longest = "  (the longest, what the others are compared with)"
        recipe = fitted(comparison.recipe, fidelity, images=data.train)
        length, warning = length_lines(
            recipe, fidelity, images=data.train, option="--longest {text}"
        )  # fmt: skip
        print_err(f"  {fidelity}: {length}{longest if fidelity is fidelities[-1] else ''}")
    if warning:  # of the longest; that the others are short is what is compared
        print_err(warning)
    print_err(f"results go to {shell_word(f'{folder}/')}")


class Progress:
    """A context manager: a line on stderr for every training that ends, and every half minute.

    missing  trainings that are not known yet; seconds for a training image, with all processes.
    """

    def __init__(self, comparison: Comparison, missing: Sequence[Job], seconds: float) -> None:
        self._comparison, self._count = comparison, len(missing)
        self._left = sum(map(comparison.work, missing))
        self._done, self._ended, self._started = 0.0, 0, time.monotonic()
        all_jobs = len(comparison.jobs())
        known = f" ({all_jobs - len(missing)} more are known already)"
        print_err(
            f"{len(missing)} trainings{known if all_jobs > len(missing) else ''}: "
            f"about {clock(self._left * seconds)} in all, by a few steps that were timed"
        )
        self._pulse = Pulse(lambda: print_err(self._line()))
        fidelities, networks = comparison.fidelities, len(comparison.genotypes)
        shape = (len(fidelities), networks, comparison.seeds)
        self._watch = Watch(fidelities, comparison.data, shape)

    def __enter__(self) -> Progress:
        self._pulse.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._pulse.__exit__(*error)

    def update(self, job: Job, answer: Answer) -> None:
        """Tell of a training that ended."""
        work = self._comparison.work(job)
        self._done, self._left, self._ended = self._done + work, self._left - work, self._ended + 1
        said = answer.error or f"{answer.accuracy:.2f}% in {clock(answer.seconds)}"
        print_err(
            f"{self._line()}: {self._comparison.fidelities[job.fidelity]}, network {job.network}, "
            f"seed {job.seed}: {said}"
        )
        self._watch.update(job.fidelity, job.network, job.seed, answer.accuracy)
        self._pulse.reported()

    def _line(self) -> str:
        spent = time.monotonic() - self._started
        left = seconds_left(spent, self._done, self._done + self._left)
        return f"{self._ended:>4} of {self._count} trained, {timing(spent, left)}"


def finish(
    folder: Path, settings: Mapping[str, Any], comparison: Comparison,
    answers: Mapping[Job, Answer],
) -> list[Judged]:  # fmt: skip
    """Judge, write the record and the figure, and keep the answer for searches."""
    table = [
        [
            [answers[Job(fidelity, network, seed)] for seed in range(comparison.seeds)]
            for network in range(len(comparison.genotypes))
        ]
        for fidelity in range(len(comparison.fidelities))
    ]
    judged = judge(table, comparison.fidelities)
    found = answer(judged)
    flops = comparison.space.costs(comparison.genotypes).flops
    failures = [
        {"fidelity": str(comparison.fidelities[job.fidelity]), "network": job.network,
         "seed": job.seed, "error": each.error}
        for job, each in answers.items() if each.error
    ]  # fmt: skip
    write(
        folder / "fidelity.json", settings, "finished",
        rule=RULE, recommended=None if found is None else str(found.fidelity),
        fidelities=[_plain(each, row) for each, row in zip(judged, table, strict=True)],
        networks=_networks(comparison), failures=failures,
    )  # fmt: skip
    title = f"{len(flops)} networks of space {comparison.space.name} on {settings['data']}"
    shutil.rmtree(folder / "unfinished", ignore_errors=True)
    _keep(folder, settings, comparison, judged)
    draw_picture(
        folder / "fidelity.png", lambda path: draw(path, judged, found, table, flops, title=title)
    )
    return judged


def _keep(
    folder: Path, settings: Mapping[str, Any], comparison: Comparison, judged: Sequence[Judged]
) -> None:
    """The answer, where searches look for it, unless a larger comparison's is there."""
    found, longest = answer(judged), judged[-1]
    extent = Extent(longest.networks, comparison.seeds, longest.fidelity)
    details = {"target_flops": settings["target_flops"], "space": comparison.space.name,
               "data": settings["data"], "comparison": str(folder.resolve())}  # fmt: skip
    try:
        said = remember(
            None if found is None else found.fidelity, comparison.data.digests, comparison.space,
            comparison.recipe, extent=extent, details=details,
        )  # fmt: skip
        if said:
            print_err(f"nas.fidelity: {said}")
    except OSError as error:
        print_err(f"nas.fidelity: not kept for --fidelity auto: {error.filename}: {error.strerror}")


def _networks(comparison: Comparison) -> list[dict[str, Any]]:
    costs = comparison.space.costs(comparison.genotypes)
    return [
        {"key": comparison.space.decode(genotype).key, "flops": int(costs.flops[row]),
         "params": int(costs.params[row]), "choices": comparison.space.choices_of(genotype)}
        for row, genotype in enumerate(comparison.genotypes)
    ]  # fmt: skip


def _plain(judged: Judged, answers: Sequence[Sequence[Answer]]) -> dict[str, Any]:
    """A fidelity's part of the record."""
    return {
        "fidelity": str(judged.fidelity), "worth_using": judged.worth,
        "seconds": round(judged.seconds, 3), "networks": judged.networks,
        "kendall": _rounded(judged.kendall), "spearman": _rounded(judged.spearman),
        "seed_sd": round(judged.seed_sd, 4), "networks_sd": round(judged.spread, 4),
        "rungs": [
            {"epoch": rung.epoch, "seconds": round(rung.seconds, 3),
             "kendall": _rounded(rung.kendall)}
            for rung in judged.rungs
        ],
        # [network][seed][epoch]
        "curves": [
            [[round(point.accuracy, 3) for point in each.curve] for each in row] for row in answers
        ],
    }  # fmt: skip


def _rounded(estimate: Estimate) -> dict[str, float]:
    return {name: round(value, 4) for name, value in vars(estimate).items()}


def closing(
    folder: Path, settings: Mapping[str, Any], comparison: Comparison, judged: Sequence[Judged],
    *, seconds: float,
) -> None:  # fmt: skip
    """The tables, the rule and the answer on stdout, and what to do next; failures on stderr."""
    longest, found = judged[-1], answer(judged)
    failed = sum(int((~(each.accuracy == each.accuracy)).sum()) for each in judged)
    if failed:
        print_err(
            f"nas.fidelity: {failed} trainings failed; "
            f"{shell_word(folder / 'fidelity.json')} says why"
        )
    print_out(f"rank correlation with the longest, across seeds ({clock(seconds)}):")
    _print_table(judged, found)
    print_out(
        _rungs(longest),
        "tau: Kendall's, rho: Spearman's; the longest's with itself is the seed floor; sd in "
        "points of accuracy,",
        "which is that of the moving average of the weights; seconds are the processor's, of a GPU "
        "the wall clock's.",
        f"{longest.networks} networks are few: fidelities whose intervals overlap cannot be told "
        "apart.",
        f"rule: {RULE}.",
        f"answer: {_verdict(found, longest)}",
    )
    compared = [(each.fidelity, each.accuracy) for each in judged]
    print_out(*certainty(compared, comparison.data, longest=longest.accuracy))
    commands = next_commands(settings, comparison, found)
    print_results(folder, ("fidelity.json", "fidelity.png"), commands)


def _print_table(judged: Sequence[Judged], found: Judged | None) -> None:
    """A row for each fidelity."""
    import rich.box

    from vbs.tables import Console, Table

    console = Console(piped_width=130)
    narrow = console.width < 105
    table = Table(box=None if narrow else rich.box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("fidelity", no_wrap=True)
    for header in _cells(judged[-1], judged[-1], found, narrow=narrow):
        table.add_column(header, justify="right", no_wrap=True)
    for each in judged:
        cells = _cells(each, judged[-1], found, narrow=narrow)
        table.add_row(str(each.fidelity), *cells.values())
    console.print(table)


def _shown(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def _cells(
    judged: Judged, longest: Judged, found: Judged | None, *, narrow: bool
) -> dict[str, str]:
    """Header -> what it says of a fidelity."""
    cells = {
        "seconds": f"{judged.seconds:.1f}",
        "cost": f"{judged.seconds / longest.seconds:.2f}",
        f"tau, {LEVEL:.0%}": _shown(judged.kendall),
        "rho": f"{judged.spearman.value:.2f}",
        "seed sd": f"{judged.seed_sd:.2f}",
        "networks sd": f"{judged.spread:.2f}",
        "worth": "answer" if judged is found else ("yes" if judged.worth else "no"),
    }
    left_out = ("rho", "seed sd", "networks sd") if narrow else ()
    return {name: cell for name, cell in cells.items() if name not in left_out}


def _rungs(longest: Judged) -> str:
    """How soon the longest training shows its end: what stopping early can rely on."""
    shown = [rung for rung in longest.rungs if _is_shown(rung.epoch, len(longest.rungs))]
    texts = [f"{rung.epoch}: {rung.kendall.value:.2f}" for rung in shown]
    return f"the longest after k epochs, tau with its end: {', '.join(texts)}"


def _is_shown(epoch: int, epochs: int) -> bool:
    return epochs <= 10 or epoch == epochs or math.log2(epoch).is_integer()


def _verdict(found: Judged | None, longest: Judged) -> str:
    floor = longest.kendall
    if found is None:
        return (
            "none is worth using: the longest itself does not surely rank these networks alike "
            f"under another seed (tau {_shown(floor)}); a longer one is needed"
        )
    if found is longest:
        return (
            f"none cheaper than the longest reaches {SHARE:g} of the seed floor of "
            f"{floor.value:.2f}; search with {found.fidelity}"
        )
    return (
        f"{found.fidelity}, whose tau is {found.kendall.value / floor.value:.2f} of the seed floor "
        f"of {floor.value:.2f}, at {found.seconds / longest.seconds:.2f} of the longest's seconds"
    )


def next_commands(
    settings: Mapping[str, Any], comparison: Comparison, found: Judged | None
) -> list[str]:
    """What to do next, as commands that can be pasted."""
    words = ["nas.fidelity" if found is None else "nas.search", "--data", settings["data"]]
    if found is not None:
        # by its name where another answer was kept, or none could be
        kept = recommended(comparison.data.digests, comparison.space, comparison.recipe)
        text = "auto" if kept == found.fidelity else str(found.fidelity)
        words += ["--evaluator", "proxy", "--fidelity", text]
    words += ["--space", settings["space"], "--resolution", str(settings["resolution"])]
    if settings["width"] != 1:
        words += ["--width", f"{settings['width']:g}"]
    words += ["--small-images"] if settings["small_images"] else []
    if settings["data_root"] is not None:
        words += ["--data-root", settings["data_root"]]
    target = settings["target_flops"]
    if target is None:
        target = float(comparison.space.costs(comparison.genotypes).flops.max())
    words += ["--target-flops", f"{target:g}" if target < 1e6 else short(target)]
    words += ["--recipe", settings["recipe"]]
    for text in settings["changes"]:
        words += ["--set", text]
    if found is None:  # where not even the longest could tell the networks apart
        longest = comparison.fidelities[-1]
        words += ["--longest", str(replace(longest, epochs=2 * longest.epochs))]
    return [_command(words)]


def resume_command(folder: Path) -> str:
    """What goes on with a comparison."""
    return _command(["nas.fidelity", "--resume", "--out", str(folder)])


def _command(words: Sequence[str]) -> str:
    return shell_command([python_command(), "-m", *words])
