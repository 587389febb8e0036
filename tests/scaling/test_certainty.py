"""Grids and comparisons of trained networks: errors of the images, leads, uncertainty."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scaling.certainty import Scored, certainty, doubt_about, lead_among, scored_by
from scaling.surface import fit
from scaling.training_result import Result
from scaling.trainings import progress_of
from tests.scaling.toys import measuring

SCORED = Scored(72, 100 / 12, "possible remedies: --fidelity epochs=24")


def trained(*accuracies: list[float], images: int = 72) -> dict[str, Result]:
    """Return results of networks from their accuracies by seed."""
    return {
        f"net{index}": Result(dict(enumerate(values)), 1.0, {}, images)
        for index, values in enumerate(accuracies)
    }


def test_the_error_of_a_result_holds_its_images() -> None:
    (equal,) = trained([47.22, 47.22]).values()
    assert equal.error == pytest.approx(5.84, abs=0.01)  # was once ± 0.00
    assert equal.to_json()["standard_error"] == pytest.approx(5.84, abs=0.01)
    assert equal.to_json()["images"] == 72
    (unknown,) = trained([47.0, 49.0], images=0).values()
    assert unknown.error == pytest.approx(1.0)


def test_a_comparison_says_whether_its_best_is_ahead() -> None:
    close = trained([47.2, 48.6], [45.8, 47.2], [20.8, 19.4])
    (line,) = certainty(close, SCORED)
    assert line.startswith("the best is within noise of 1 other: 1.40 ± ")
    lead = lead_among(trained([90.0, 91.0], [60.0, 61.0]), 1000)
    assert lead is not None
    assert not lead.tied
    assert lead_among(trained([90.0]), 1000) is None


def test_candidates_at_chance_are_reported_once_while_trainings_run(
    capsys: pytest.CaptureFixture,
) -> None:
    rows = [[8.3], [9.7], [8.3], [11.1], [8.3], [8.3], [40.0]]
    with progress_of(7, SCORED) as show:
        for count in range(8):
            show(trained(*rows[:count]))
    said = capsys.readouterr().err
    assert said.count("warning: ") == 1
    assert "6 of 6 networks are at chance (8.3%" in said
    assert "--fidelity epochs=24" in said
    doubt = doubt_about(trained(*rows), SCORED)
    assert doubt is not None
    assert "6 of 7" in doubt.text


def test_what_helps_names_the_options() -> None:
    text = scored_by(measuring(), larger="a larger proxy (--proxy-flops)").remedies
    for words in ("--fidelity epochs=6", "--set minival=0.2", "--proxy-flops", "--init"):
        assert words in text


def test_the_surface_knows_the_noise_of_images_where_each_has_one_seed() -> None:
    rng = np.random.default_rng(0)
    places = rng.dirichlet(np.ones(3), 14)
    values = [[float(100 * rng.binomial(72, 0.5) / 72)] for _ in places]  # only noise
    blind = fit(places, np.zeros(14), values, np.random.default_rng(0))
    assert math.isnan(blind.f_ratio)
    surface = fit(places, np.zeros(14), values, np.random.default_rng(0), images=72)
    assert 0.2 < surface.f_ratio < 4  # the variance between them is that of the images
    assert surface.hidden
