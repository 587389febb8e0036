"""Record of a comparison of fidelities in its folder, and its recommendation for searches."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.evaluators.base import Answer
from nas.fidelity.comparison import Comparison
from nas.fidelity.config import FIGURE, RECORD, FidelityConfig
from nas.fidelity.picture import draw
from nas.fidelity.ranks import RULE, Estimate, Judged, answer, judge
from nas.fidelity.remembered import Extent, remember
from nas.fidelity.trainings import Job
from train.recipe import Recipe
from train.record import finite
from vbs.config_file import resumed
from vbs.console import print_err
from vbs.figure import draw_picture
from vbs.folder import circumstances, write_json


@dataclass(frozen=True)
class Earlier:
    """The record of a comparison to resume.

    config  its options, with changes.
    recipe  its recipe.
    data    digest of the images; "" if the record has none.
    """

    config: FidelityConfig
    recipe: Recipe
    data: str

    def check_same(self, comparison: Comparison) -> None:
        """Raise ValueError if the images differ from those of the record."""
        if self.data not in ("", comparison.digests["data_sha256"]):
            raise ValueError(
                f"resume: {self.config.data} does not contain the images of the comparison"
            )


def read_earlier(folder: Path, changes: Mapping[str, Any]) -> Earlier:
    """Return the record of the comparison in a folder, with changed options.

    Raises ValueError if there is none, or if `changes` contains an option that must not change.
    """
    path = folder / RECORD
    config = resumed(FidelityConfig, changes, path, what="comparison")
    content = json.loads(path.read_bytes())  # `resumed` has already checked it
    settings = content["settings"]  # early versions stored everything here
    recipe = content.get("recipe", settings.get("fields"))
    digests = content.get("digests", settings)
    data = digests.get("data_sha256", "") if isinstance(digests, dict) else None
    if not isinstance(recipe, dict) or not isinstance(data, str):
        raise ValueError(f"resume: {path} is not the record of a comparison")
    try:
        return Earlier(config, Recipe.from_dict(recipe), data)
    except ValueError as error:
        raise ValueError(f"resume: {path.name}: {error}") from None


def write(folder: Path, comparison: Comparison, status: str, **outcome: Any) -> None:
    """Write fidelity.json: all settings needed to repeat the comparison, and its outcome."""
    write_json(
        folder / RECORD,
        {
            "status": status,
            "settings": comparison.config.settings(),
            "recipe": comparison.recipe.to_dict(),
            "digests": dict(comparison.digests),
            "outcome": finite(outcome),
            **circumstances(("numpy", "torch")),
        },
    )


def finish(
    folder: Path, comparison: Comparison, answers: Mapping[Job, Answer]
) -> tuple[Judged, ...]:
    """Judge the fidelities, write record and figure, and store the recommendation for searches."""
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
        {
            "fidelity": str(comparison.fidelities[job.fidelity]),
            "network": job.network,
            "seed": job.seed,
            "error": each.error,
        }
        for job, each in answers.items()
        if each.error
    ]
    write(
        folder,
        comparison,
        "finished",
        rule=RULE,
        recommended=None if found is None else str(found.fidelity),
        fidelities=[_plain(each, row) for each, row in zip(judged, table, strict=True)],
        networks=_networks(comparison),
        failures=failures,
    )
    title = f"{len(flops)} networks of space {comparison.space.name} on {comparison.config.data}"
    shutil.rmtree(folder / "unfinished", ignore_errors=True)
    _remember(folder, comparison, judged)
    draw_picture(folder / FIGURE, lambda path: draw(path, judged, found, table, flops, title=title))
    return tuple(judged)


def _remember(folder: Path, comparison: Comparison, judged: Sequence[Judged]) -> None:
    """Store the recommendation for searches, unless there is one of a larger comparison."""
    found, longest = answer(judged), judged[-1]
    extent = Extent(longest.networks, comparison.seeds, longest.fidelity)
    config = comparison.config
    details = {
        "target_flops": config.target_flops,
        "space": comparison.space.name,
        "data": config.data,
        "comparison": str(folder.resolve()),
    }
    try:
        message = remember(
            None if found is None else found.fidelity,
            comparison.data.digests,
            comparison.space,
            comparison.recipe,
            extent=extent,
            details=details,
        )
        if message:
            print_err(f"nas.fidelity: {message}")
    except OSError as error:
        print_err(
            f"nas.fidelity: not stored for --fidelity auto: {error.filename}: {error.strerror}"
        )


def _networks(comparison: Comparison) -> list[dict[str, Any]]:
    costs = comparison.space.costs(comparison.genotypes)
    return [
        {
            "key": comparison.space.decode(genotype).key,
            "flops": int(costs.flops[row]),
            "params": int(costs.params[row]),
            "choices": comparison.space.choices_of(genotype),
        }
        for row, genotype in enumerate(comparison.genotypes)
    ]


def _plain(judged: Judged, answers: Sequence[Sequence[Answer]]) -> dict[str, Any]:
    """Return the entry of a fidelity in the record."""
    return {
        "fidelity": str(judged.fidelity),
        "worth_using": judged.worth,
        "seconds": round(judged.seconds, 3),
        "networks": judged.networks,
        "kendall": _rounded(judged.kendall),
        "spearman": _rounded(judged.spearman),
        "seed_sd": round(judged.seed_sd, 4),
        "networks_sd": round(judged.spread, 4),
        "rungs": [
            {
                "epoch": rung.epoch,
                "seconds": round(rung.seconds, 3),
                "kendall": _rounded(rung.kendall),
            }
            for rung in judged.rungs
        ],
        # [network][seed][epoch]
        "curves": [
            [[round(point.accuracy, 3) for point in each.curve] for each in row] for row in answers
        ],
    }


def _rounded(estimate: Estimate) -> dict[str, float]:
    return {name: round(value, 4) for name, value in vars(estimate).items()}
