"""Pseudo-labels: selection of images, and the student's view of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.train import toys
from train.data import UNLABELLED
from train.pseudo_labels import (
    Chosen,
    PseudoLabels,
    agreement,
    balanced,
    read_labels,
    with_pseudo_labels,
    write_labels,
)

PROBABILITIES = np.array(
    [
        [0.60, 0.20, 0.20],  # 0: class 0
        [0.10, 0.80, 0.10],  # 1: class 1
        [0.90, 0.05, 0.05],  # 2: class 0
        [0.60, 0.30, 0.10],  # 3: class 0, with the confidence of 0
        [0.34, 0.33, 0.33],  # 4: class 0, with low confidence
        [0.45, 0.50, 0.05],  # 5: class 1
    ],
    np.float32,
)


def test_the_most_confident_are_kept_and_the_few_repeated() -> None:
    chosen = balanced(PROBABILITIES, confidence=0.5, per_class=3)
    # class 0: 2 (.9), then 0 before 3 (both .6); class 1: 1 (.8), 5 (.5), and 1 again
    assert chosen.indices.tolist() == [2, 0, 3, 1, 5, 1]
    assert chosen.distinct.tolist() == [3, 2, 0]
    assert chosen.confident.tolist() == [3, 2, 0]
    assert chosen.indices.dtype == np.int64


def test_ties_are_decided_by_index_and_many_are_cut() -> None:
    chosen = balanced(PROBABILITIES, confidence=0.0, per_class=2)
    assert chosen.indices.tolist() == [2, 0, 1, 5]
    assert chosen.confident.tolist() == [4, 2, 0]
    one = balanced(PROBABILITIES, confidence=0.0, per_class=5)
    assert one.indices.tolist() == [2, 0, 3, 4, 2, 1, 5, 1, 5, 1]


def test_each_class_gets_its_share_of_all_images_by_default() -> None:
    assert balanced(PROBABILITIES, confidence=0.3).per_class == 2
    assert balanced(PROBABILITIES[:2], confidence=0.3).indices.tolist() == [0, 1]


def test_the_threshold_itself_is_confident_enough() -> None:
    # 0.6 as float32 is above 0.6 as float64 by 2e-8: rounding must not decide
    assert balanced(PROBABILITIES, confidence=0.6, per_class=9).confident.tolist() == [3, 1, 0]
    third = np.full((1, 3), 0.3, np.float32)
    assert balanced(third, confidence=0.3).indices.tolist() == [0]


@pytest.mark.parametrize(
    ("confidence", "per_class", "said"),
    [
        (1.5, None, "confidence: 1.5"),
        (float("nan"), None, "confidence: nan"),
        (0.5, 0, "per-class: 0"),
        (0.95, None, "none of 6 images reaches 0.95, the most confident has 0.9"),
    ],
)
def test_what_cannot_be_kept_is_refused(
    confidence: float, per_class: int | None, said: str
) -> None:
    with pytest.raises(ValueError, match=said) as error:
        balanced(PROBABILITIES, confidence=confidence, per_class=per_class)
    assert "\n" not in str(error.value)


def test_labels_come_back_from_their_file(tmp_path: Path) -> None:
    labels = PseudoLabels(
        torch.from_numpy(PROBABILITIES), balanced(PROBABILITIES, confidence=0.5), {"teacher": "me"}
    )
    write_labels(tmp_path / "labels.safetensors", labels)
    again = read_labels(tmp_path / "labels.safetensors")
    assert again.digest() == labels.digest()
    assert (again.about, again.chosen.per_class) == ({"teacher": "me"}, 2)
    assert again.chosen.distinct.tolist() == labels.chosen.distinct.tolist()
    (tmp_path / "labels.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"labels\.safetensors: damaged"):
        read_labels(tmp_path / "labels.safetensors")


def test_a_student_sees_soft_labels_in_the_given_ratio() -> None:
    data = toys.data(train=30)
    pool = toys.split(6, seed=9).with_targets(torch.full((6,), UNLABELLED))
    chosen = Chosen(np.array([5, 5, 2]), np.array([2, 0, 0]), np.array([2, 0, 0]), 3)
    student = with_pseudo_labels(
        data, pool, PseudoLabels(torch.from_numpy(PROBABILITIES), chosen, {}), 2.0
    )
    assert student.train.targets[30:].tolist() == PROBABILITIES[[5, 5, 2]].tolist()
    order = student.train.order(np.random.default_rng(0), 12)
    assert (order >= 30).sum(1).tolist() == [8] * 7  # 30 labelled, 4 a step
    assert student.settings["pseudo_labelled_images"] == 3
    assert "pseudo_labels" not in data.settings


def test_agreement_is_a_share_of_images() -> None:
    said = torch.from_numpy(PROBABILITIES)
    assert agreement(said, said) == 100
    assert agreement(said, said.flip(0)) == pytest.approx(100 * 2 / 6)  # the middle pair
