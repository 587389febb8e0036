"""Searches among networks at chance or within noise report it, and how certain the choice is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nas.asha import Asha
from nas.evaluators.base import Answer, Evaluations, Evaluator, Point
from nas.evaluators.table import read_table
from nas.history import History
from nas.objective import Objective
from nas.search import report
from nas.search.asynchronous import Plan, search_asynchronously
from nas.search.config import SearchConfig
from nas.search.doubts import Watch, doubt_about
from nas.search.session import Session, run_session
from nas.search.workers import Simulated
from nas.strategies.random_search import Random
from tests.nas.studies import EASY, every_network
from tests.nas.toys import b0_space, tiny_space
from vbs.accuracy import chance_limit
from vbs.noise import doubt_of

CHANCE = 100 / 12


class Scored(Evaluator):
    """Describes trainings on 12 classes, scored on 72 images."""

    steps, scored_on, chance = 10, 72, CHANCE
    remedies = "possible remedies: --fidelity epochs=30"


def history_of(
    accuracies: list[float], seeds: list[int] | None = None, images: int = 72
) -> History:
    """Return a history with one row for each accuracy; rows of seeds above 0 repeat networks."""
    history = History(tiny_space(), EASY)
    seeds = seeds or [0] * len(accuracies)
    rows = np.array([index for index, seed in enumerate(seeds) if seed == 0])
    networks = [
        index if seed == 0 else seed_index
        for index, seed, seed_index in zip(
            range(len(seeds)), seeds, np.arange(len(seeds)) - len(rows), strict=True
        )
    ]
    genotypes = every_network(history.space)[networks]
    answers = [
        Answer(each, curve=(Point(2, each, 1.0), Point(10, each, 5.0)), images=images)
        for each in accuracies
    ]
    evaluations = Evaluations.of_answers(answers, seeds=seeds)
    history.extend(genotypes, evaluations, history.space.costs(genotypes))
    return history


AT_CHANCE = [CHANCE] * 11 + [30.0, 40.0, 45.0, 50.0]
ALIKE = [47.0, 48.0, 46.0, 47.5, 48.5, 45.5, 47.0, 46.5]
TOLD_APART = [20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0]


def test_many_networks_at_chance_are_reported_once_while_the_search_runs(
    capsys: pytest.CaptureFixture,
) -> None:
    watch = Watch(Scored())
    for count in range(1, 16):
        watch(history_of(AT_CHANCE[:count]))
    said = capsys.readouterr().err
    assert said.count("warning: ") == 1
    assert "6 of 6 networks are at chance (8.3%, up to 14.9% on 72 images)" in said
    assert "--fidelity epochs=30" in said
    doubt = doubt_about(history_of(AT_CHANCE), Scored())
    assert doubt is not None
    assert "11 of 15 networks are at chance" in doubt.text


def test_networks_within_noise_are_reported(capsys: pytest.CaptureFixture) -> None:
    Watch(Scored())(history_of(ALIKE))
    assert "8 networks differ by 1.00 points" in capsys.readouterr().err
    assert doubt_about(history_of(TOLD_APART), Scored()) is None
    assert doubt_about(history_of(ALIKE), Evaluator()) is None  # no images, as with a surrogate


def test_networks_that_were_stopped_are_compared_where_they_were() -> None:
    history = History(tiny_space(), EASY)
    genotypes = every_network(history.space)[:9]
    answers = [Answer(9.0, curve=(Point(2, 9.0, 1.0),), fidelity=0.2, images=72)] * 5
    answers += [Answer(80.0, curve=(Point(2, 9.0, 1.0), Point(10, 80.0, 5.0)), images=72)] * 4
    history.extend(genotypes, Evaluations.of_answers(answers), history.space.costs(genotypes))
    doubt = doubt_about(history, Scored())
    assert doubt is not None
    assert doubt.text.startswith("after 2 of 10 epochs 9 of 9 networks are at chance")


def test_the_final_report_repeats_it_and_says_whether_the_best_is_ahead(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    accuracies = [*ALIKE, 48.0, 47.0]
    history = history_of(accuracies, [0] * 8 + [1, 1])
    config = SearchConfig(evaluator="proxy", strategy="random", budget=8, target_flops=1e9)

    def loop(update) -> str:  # type: ignore[no-untyped-def]
        update(history)
        return "finished"

    session = Session(
        folder=tmp_path,
        config=config,
        digests={},
        history=history,
        evaluator=Scored(),
        started=0.0,
        total=10,
    )
    result = run_session(session, loop)
    assert result.exit_code == 0
    report.show_result(result)
    found = capsys.readouterr()
    assert "warning: the 8 networks differ by" in found.err
    assert "warning: the 8 networks differ by" in found.out
    assert "the best is within noise of 1 other" in found.out
    assert "47.50 ± 5.8" in found.out  # the error of the images together with that of two seeds
    assert "±: one standard deviation, from 72 held-out images" in found.out


def test_a_clear_choice_is_called_clear() -> None:
    history = history_of([90.0, 20.0, 91.0, 21.0], [0, 0, 1, 1], images=500)
    (_, line) = report.certainty(history, Scored())
    assert line.startswith("the best is clearly ahead: 70.00 ± ")


def test_a_cheap_search_says_nothing_of_it() -> None:
    history = History(b0_space(), Objective(1e9))
    genotypes = history.space.sample(50, np.random.default_rng(0))
    evaluations = Evaluations(np.full(50, 60.0), np.full(50, 0.1), np.zeros(50))
    history.extend(genotypes, evaluations, history.space.costs(genotypes))
    assert report.certainty(history, Evaluator()) == []


def test_a_table_without_repeats_states_no_error(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("width,depth,kind,accuracy\n8,1,a,50.0\n16,1,a,60.0\n")
    evaluator = read_table(table, tiny_space())
    answers = evaluator.evaluate(tiny_space(), every_network(tiny_space())[:1])
    assert np.isnan(answers.std).all()  # was once 0 and shown as ± 0.00


def test_few_networks_are_no_ground_for_doubt() -> None:
    assert doubt_of([CHANCE] * 5, images=72, chance=CHANCE) is None
    assert doubt_of([50.0, np.nan] * 5, images=72) is None
    assert doubt_of([CHANCE] * 8, images=0, chance=CHANCE) is not None
    assert doubt_of([50.0, 51.0] * 5, images=0) is None  # the noise is unknown
    assert doubt_of([50.0, 51.0] * 5, images=0, deviation=2.0) is not None


def slow_learners(genotype: np.ndarray, seed: int) -> list[Point]:
    """Return networks that are all at chance after 2 epochs, and good or bad at the end."""
    rng = np.random.default_rng(genotype.astype(np.int64))
    end = rng.uniform(40, 90)
    guesses = 100 * rng.binomial(72, 1 / 12) / 72
    return [Point(2, guesses, 2.0), Point(10, end, 10.0)]


@pytest.mark.parametrize(("chance", "stops"), [(chance_limit(CHANCE, 72), False), (np.nan, True)])
def test_asha_stops_nothing_where_all_are_at_chance(chance: float, stops: bool) -> None:
    history = History(tiny_space(), EASY)
    workers = Simulated(slow_learners, capacity=1, steps=10)
    plan = Plan(20, asha=Asha(10, first=2, factor=5.0), chance=float(chance))
    search_asynchronously(history, Random(), workers, plan)
    assert (history.fidelity < 1).any() == stops


def test_asha_stops_those_at_chance_once_others_have_learned() -> None:
    asha = Asha(10, first=2, factor=3.0)
    for number, value in enumerate([8.0, 9.0, 10.0, 40.0, 45.0]):
        asha.record(number, 2, value, guessing=value < 15)
    assert asha.stops(0, 2)
    assert not asha.stops(4, 2)
