"""Arms of the experiment on recipe `proxy`, on a few images."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

from experiments import proxy_recipe
from tests.train.images import smooth


@pytest.fixture
def few_images(tmp_path: Path) -> str:
    """A folder with ten classes of 16 training images and two test images."""
    for split, count in (("train", 16), ("test", 2)):
        for label in range(10):
            folder = tmp_path / "images" / split / f"class{label}"
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = smooth(100 * label + index + len(split), 32, 32)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return f"imagefolder:{tmp_path / 'images'}"


def test_arms_record_their_speed_and_where_the_time_goes(few_images: str, tmp_path: Path) -> None:
    names = ("5 epochs", "progressive 20-32 px")
    done = {}
    for number, name in enumerate(names):
        folder = tmp_path / str(number)
        folder.mkdir()
        done[name, 0] = proxy_recipe.run(few_images, name, 0, folder)
    for row in done.values():
        assert row["images_per_second"] > 0
        assert row["shares"].keys() == {"data", "forward_backward", "optimizer", "evaluation"}
        assert sum(row["shares"].values()) == pytest.approx(1, abs=1e-3)
        assert all(0 < share < 1 for share in row["shares"].values())
    found = proxy_recipe.summary(done)
    assert found["full"][names[0]]["test_top1"]["seeds"] == 1
    assert [row["change"] for row in found["tried"]] == [names[1]]
    assert found["reached"] == {}


def test_an_unknown_arm_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = ["proxy_recipe", "--data", "cifar10", "--arms", "muom", "--work", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(ValueError, match=r"--arms: 'muom' is unknown; did you mean muon"):
        proxy_recipe.main()
