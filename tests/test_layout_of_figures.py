"""Layout of figures: nothing is cut off, and nothing overlaps."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nas.history import History
from nas.objective import Objective
from nas.search import front_figure
from scaling.family import figure as family_figure
from scaling.grid import GridConfig, candidates, shares, spread
from scaling.grid import figure as grid_figure
from scaling.grid.choice import fitted_surface
from scaling.training_result import Result
from search_spaces.catalog import zoo
from tests.commands import family
from tests.nas.toys import Synthetic, small_space
from train.pictures import confusion


def is_whole(path: Path) -> bool:
    """Return whether the outermost pixels are white, so that nothing is cut off."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    edges = (pixels[:2], pixels[-2:], pixels[:, :2], pixels[:, -2:])
    return all((edge == 255).all() for edge in edges)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The matplotlib figures that are saved during the test."""
    saved: list[Any] = []
    for module in (front_figure, family_figure, grid_figure):
        save = module.save_png

        def keep(figure: Any, path: Path, save: Any = save) -> None:
            save(figure, path)
            saved.append(figure)

        monkeypatch.setattr(module, "save_png", keep)
    return saved


def boxes(texts: Any) -> list[Any]:
    return [text.get_window_extent() for text in texts if text.get_text().strip()]


@pytest.mark.parametrize("name", ["a", "a rather long name", "W" * 40])
@pytest.mark.parametrize("count", [2, 3, 12, 20, 30])
def test_a_confusion_matrix_shows_all_its_labels(tmp_path, count, name) -> None:
    counts = np.eye(count, dtype=int) * 9 + 1
    confusion(tmp_path / "c.png", counts, [f"{name} {index}" for index in range(count)])
    assert is_whole(tmp_path / "c.png")


def test_the_words_of_a_family_stay_within_its_frame(tmp_path, figures) -> None:
    assert family(["--phi", "0..7", "--out", str(tmp_path / "f")]) == 0
    assert is_whole(tmp_path / "f" / "family.png")
    (figure,) = figures
    left = figure.axes[0]
    words = boxes(left.texts)
    assert len(words) == 8
    frame, legend = left.get_window_extent(), left.get_legend().get_window_extent()
    for box in words:
        assert frame.x0 <= box.x0
        assert box.x1 <= frame.x1
        assert frame.y0 <= box.y0
        assert box.y1 <= frame.y1
        assert not legend.overlaps(box)


def test_the_words_of_a_triangle_do_not_collide(tmp_path, figures) -> None:
    found = spread(candidates(zoo("efficientnet_b0")), 8)
    rng = np.random.default_rng(0)
    known = {
        each.name: Result(
            {seed: 56 + 4 * shares(each)[1] + rng.normal() * 0.2 for seed in range(3)}, 1.0, {}
        )
        for each in found
    }
    config = GridConfig()
    surface = fitted_surface(config, found, known)
    grid_figure.draw(tmp_path / "g.png", config, found, known, surface)
    assert is_whole(tmp_path / "g.png")
    axes = figures[0].axes[0]
    words = boxes([*axes.texts, axes.title, *axes.get_legend().get_texts()])
    assert len(words) == len(found) + 2
    assert not [pair for pair in itertools.combinations(words, 2) if pair[0].overlaps(pair[1])]
    assert {text.get_text().split(":")[0] for text in axes.texts} >= {
        "depth alone",
        "width alone",
        "resolution alone",
    }


def test_a_front_hides_no_point_and_drops_none(tmp_path, figures) -> None:
    space = small_space()
    history = History(space, Objective(1e9))
    genotypes = space.sample(200, np.random.default_rng(0))
    answers = Synthetic().evaluate(space, genotypes)
    answers.accuracy[:] = 60 + answers.accuracy / 20
    costs = space.costs(genotypes)
    far = np.argsort(costs.flops)[-5:]  # not on the front
    answers.accuracy[far] = 1.0
    history.extend(genotypes, answers, costs)
    front_figure.draw(tmp_path / "p.png", history, Synthetic(), [])
    assert is_whole(tmp_path / "p.png")
    (figure,) = figures
    (axes,) = figure.axes
    (legend,) = figure.legends
    assert not legend.get_window_extent().overlaps(axes.get_window_extent())
    bottom, top = axes.get_ylim()
    marked = {line.get_label(): line for line in axes.lines}
    lower = next(line for name, line in marked.items() if name.startswith("lower: 5 down to 1.0%"))
    assert len(lower.get_xdata()) == 5
    assert (np.asarray(lower.get_ydata()) > bottom).all()
    assert np.delete(history.accuracy, far).min() > bottom
    assert history.accuracy.max() < top


def test_points_a_little_lower_are_within_the_axis(tmp_path, figures) -> None:
    space = small_space()
    history = History(space, Objective(1e9))
    genotypes = space.sample(200, np.random.default_rng(0))
    history.extend(genotypes, Synthetic().evaluate(space, genotypes), space.costs(genotypes))
    front_figure.draw(tmp_path / "p.png", history, Synthetic(), [])
    bottom, _ = figures[0].axes[0].get_ylim()
    assert history.accuracy.min() > bottom
