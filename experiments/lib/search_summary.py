"""The table of searches by training in docs/results.md, made from the experiments' result files.

python -m experiments.lib.search_summary
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.lib.search_summary")

from experiments.lib.arguments import experiment_arguments
from experiments.lib.arms import top1_with_error
from experiments.lib.training_summary import CIFAR10, Rows, read, table_of
from vbs.console import print_out


def markdown() -> str:
    """Return the table, one row for each result."""
    return table_of([*_found(), *_fidelity(), *_waste(), *_times(), *_overhead()])


def _found() -> Rows:
    tops = read("cifar10_search")["test_top1"]
    shown = [
        f"{name.replace('narrowed', 'with fewer channels')} {top1_with_error(row, CIFAR10)} "
        f"({row['seeds']} trainings)"
        for name, row in tops.items()
    ]
    minutes = read("cifar10_search")["searches"]["search"]["seconds"] / 60
    return [
        (
            f"CIFAR-10 within 4M FLOPs, {minutes:.0f} minutes of search on two cores; "
            "test accuracy",
            ", ".join(shown),
            "cifar10_search",
        )
    ]


def _fidelity() -> Rows:
    result = read("fidelity_cifar10")
    *cheaper, longest = result["fidelities"]
    floor = longest["kendall"]["value"]
    parts = [
        f"{row['fidelity']}: tau {row['kendall']['value']:.2f} in "
        f"{100 * row['seconds'] / longest['seconds']:.0f}% of the time"
        for row in cheaper
    ]
    return [
        (
            f"Kendall tau between short trainings and `{longest['fidelity']}` (tau between two "
            f"seeds of the latter: {floor:.2f})",
            "; ".join(parts) + f"; recommended: {result['recommended'] or 'none'}",
            "fidelity_cifar10",
        )
    ]


def _waste() -> Rows:
    summary = read("fewer_trainings")["summary"]
    many = summary["asynchronous"]["predictor, 16 at once"]
    losses = [
        f"{100 * many['loss'][n]:.0f} ± {100 * many['loss_standard_error'][n]:.0f}% "
        f"({100 * many['delay'][n]:.0f}%)"
        for n in ("50", "80", "100")
    ]
    early = summary["curves"]["predictor, 4 at once, ASHA"]
    return [
        (
            "additional trainings that 16 workers need to reach the accuracy of one worker after "
            "50, 80 and 100 trainings (in brackets: the delay of 15 results, as a share)",
            ", ".join(losses),
            "fewer_trainings",
        ),
        (
            "early stopping (ASHA), replayed on 48 recorded learning curves",
            f"finds the same best network (regret {early['regret_left']:.1f}) in "
            f"{100 * early['share_whole_pool']:.0f}% of the training time of all 48 networks, and "
            f"in {100 * early['share_to_best']:.0f}% of the time until the best is found",
            "fewer_trainings",
        ),
    ]


def _times() -> Rows:
    rows = []
    for kind, case in read("block_times")["cases"].items():
        rows.append(
            (
                f"{kind.replace('_', ' ')} of 40 networks, predicted as the sum of block times",
                f"median error {100 * case['median_error']:.1f}%, Kendall tau "
                f"{case['kendall_tau']:.2f}",
                "block_times",
            )
        )
    return rows


def _overhead() -> Rows:
    found = read("search_overhead")
    return [
        (
            "32 trainings of one second on 8 workers; overhead of the search per training (SQLite)",
            f"{found['sleeping']['over_ideal']:.2f}x the ideal time; "
            f"{found['driver']['random']['milliseconds_each']:.0f} ms, with the predictor "
            f"{found['driver']['predictor']['milliseconds_each']:.0f} ms",
            "search_overhead",
        )
    ]


def main() -> None:
    """Print the table."""
    experiment_arguments(__doc__).parse_args()
    print_out(*markdown().splitlines())
