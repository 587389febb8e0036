"""Printed report of a finished comparison of fidelities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import rich.box

from nas.fidelity.comparison import Comparison
from nas.fidelity.config import FIGURE, RECORD
from nas.fidelity.doubts import certainty
from nas.fidelity.ranks import LEVEL, RULE, SHARE, Estimate, Judged, answer
from nas.fidelity.remembered import recommended
from nas.fidelity.result import FidelityResult
from vbs.command import module_command
from vbs.console import print_err, print_out, print_results
from vbs.tables import Console, Table
from vbs.text import counted, shell_word
from vbs.units import clock, short


def show_result(result: FidelityResult) -> None:
    """Print the tables, the rule, the recommendation and the next steps; failures go to stderr."""
    judged, comparison = result.judged, result.comparison
    longest, found = judged[-1], answer(judged)
    failed = sum(int((~(each.accuracy == each.accuracy)).sum()) for each in judged)
    if failed:
        print_err(
            f"nas.fidelity: {counted(failed, 'training')} failed; "
            f"{shell_word(result.folder / RECORD)} contains the reasons"
        )
    print_out(f"rank correlation with the longest, across seeds ({clock(result.seconds)}):")
    _print_table(judged, found)
    print_out(
        _rungs(longest),
        "tau: Kendall's tau; rho: Spearman's rho; the tau of the longest with itself is the noise "
        "ceiling; sd: standard deviation in points",
        "of the accuracy of averaged weights; seconds: processor time, or wall-clock time on a "
        "GPU.",
        f"{longest.networks} networks are few: fidelities with overlapping intervals may be "
        "equally good.",
        f"rule: {RULE}.",
        f"recommended: {_verdict(found, longest)}",
    )
    compared = [(each.fidelity, each.accuracy) for each in judged]
    print_out(*certainty(compared, comparison.data, longest=longest.accuracy))
    print_results(result.folder, (RECORD, FIGURE), next_commands(comparison, found))


def _print_table(judged: Sequence[Judged], found: Judged | None) -> None:
    """Print a row for each fidelity."""
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
    """Return header -> cell of a fidelity's row."""
    cells = {
        "seconds": f"{judged.seconds:.1f}",
        "cost": f"{judged.seconds / longest.seconds:.2f}",
        f"tau, {LEVEL:.0%}": _shown(judged.kendall),
        "rho": f"{judged.spearman.value:.2f}",
        "seed sd": f"{judged.seed_sd:.2f}",
        "networks sd": f"{judged.spread:.2f}",
        "worth": "recommended" if judged is found else ("yes" if judged.worth else "no"),
    }
    left_out = ("rho", "seed sd", "networks sd") if narrow else ()
    return {name: cell for name, cell in cells.items() if name not in left_out}


def _rungs(longest: Judged) -> str:
    """Return a line on how early the longest training predicts its final ranks, for ASHA."""
    shown = [rung for rung in longest.rungs if _is_shown(rung.epoch, len(longest.rungs))]
    texts = [f"{rung.epoch}: {rung.kendall.value:.2f}" for rung in shown]
    return f"tau of the longest after k epochs with its final ranks: {', '.join(texts)}"


def _is_shown(epoch: int, epochs: int) -> bool:
    return epochs <= 10 or epoch == epochs or math.log2(epoch).is_integer()


def _verdict(found: Judged | None, longest: Judged) -> str:
    ceiling = longest.kendall
    if found is None:
        return (
            "no fidelity, because the longest does not rank these networks reliably the same under "
            f"another seed (tau {_shown(ceiling)}); use a longer one"
        )
    if found is longest:
        return (
            f"{found.fidelity}, the longest; no cheaper fidelity reaches {SHARE:g} of the noise "
            f"ceiling of {ceiling.value:.2f}"
        )
    share, cost = found.kendall.value / ceiling.value, found.seconds / longest.seconds
    return (
        f"{found.fidelity}, whose tau is {share:.2f} of the noise ceiling of {ceiling.value:.2f}, "
        f"at {cost:.2f} of the seconds of the longest"
    )


def next_commands(comparison: Comparison, found: Judged | None) -> list[str]:
    """Return commands for the next steps, quoted for a shell."""
    config = comparison.config
    assert config.data is not None
    assert config.space is not None
    words = ["nas.fidelity" if found is None else "nas.search", "--data", config.data]
    if found is not None:
        # the stored recommendation may be another one, or missing; then show the fidelity itself
        known = recommended(comparison.data.digests, comparison.space, comparison.recipe)
        text = "auto" if known == found.fidelity else str(found.fidelity)
        words += ["--evaluator", "proxy", "--fidelity", text]
    words += ["--space", config.space]
    if config.resolution is not None:
        words += ["--resolution", str(config.resolution)]
    if config.width != 1:
        words += ["--width", f"{config.width:g}"]
    words += ["--small-images"] if config.small_images else []
    if config.data_root is not None:
        words += ["--data-root", config.data_root]
    target = config.target_flops
    if target is None:
        target = float(comparison.space.costs(comparison.genotypes).flops.max())
    words += ["--target-flops", f"{target:g}" if target < 1e6 else short(target)]
    words += ["--recipe", config.recipe]
    for text in config.changes:
        words += ["--set", text]
    if found is None:  # not even the longest ranks the networks reliably
        longest = comparison.fidelities[-1]
        words += ["--longest", str(replace(longest, epochs=2 * longest.epochs))]
    return [module_command(words)]
