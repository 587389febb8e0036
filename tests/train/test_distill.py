"""Distillation: the loss, the images of the teacher, and the learning of a student."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from search_spaces.network import build
from tests.train import toys
from train.checkpoint import Weights, write_weights
from train.data.in_memory import MemorySplit
from train.distill import Teacher, load_teacher, resized, teacher_of
from train.loop import train
from train.parents import Parent, load_parent
from train.recipe import OF_TEACHER, Recipe

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a teacher that is trained on the toys."""
    recipe = toys.recipe("epochs=8", "mixup=0", "dropout=0", "drop_path=0")
    result = train(toys.NETWORK, toys.data(), recipe, execution=toys.CPU)
    assert result.test is not None
    assert result.test.top1 > 80
    assert result.network is not None
    path = tmp_path_factory.mktemp("teacher") / "best.safetensors"
    tensors = result.network.state_dict()
    about = {"recipe": recipe.to_dict()}
    content = Weights(tensors, toys.NETWORK, toys.CLASSES, recipe.mean, recipe.std, 16, 1.0, about)
    write_weights(path, content)
    return path


def recipe_with(weights: Path, *changes: str) -> Recipe:
    return toys.recipe(f"teacher={weights}", "mixup=0", *changes)


def test_the_loss_is_that_of_hinton(weights: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, theirs = torch.randn(2, 6, 3, generator=generator)
    for weight, heat in ((0.3, 1.0), (1.0, 4.0)):
        found = load_teacher(
            recipe_with(weights, f"teacher_weight={weight}", f"temperature={heat}"),
            3,
            torch.device("cpu"),
        )
        assert found is not None
        soft = (theirs / heat).softmax(1)
        divergence = (soft * (soft.log() - (logits / heat).log_softmax(1))).sum(1).mean()
        expected = (1 - weight) * torch.tensor(2.0) + weight * heat**2 * divergence
        loss = found.loss(logits, theirs, torch.tensor(2.0))
        assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_the_teacher_gets_images_of_its_own_colours_and_side(weights: Path) -> None:
    parent = dataclasses.replace(load_parent(str(weights)), mean=MEAN, std=STD)
    recipe = dataclasses.replace(toys.recipe("mean=0.1,0.2,0.3", "std=0.5,0.6,0.7"), resolution=16)
    found: Teacher = teacher_of(parent, recipe, torch.device("cpu"))
    images = torch.rand(4, 3, 16, 16)

    def normalised(mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
        return (images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]

    expected = found.network(normalised(MEAN, STD))
    assert torch.allclose(found.logits(normalised(recipe.mean, recipe.std)), expected, atol=1e-4)
    assert resized(images, 16) is images
    assert resized(images, 8).shape[-2:] == (8, 8)
    assert resized(torch.rand(1, 3, 16, 8), 8).shape[-2:] == (8, 4)


def test_a_student_learns_from_its_teacher_alone(weights: Path) -> None:
    data = toys.data()
    assert isinstance(data.train, MemorySplit)
    generator = torch.Generator().manual_seed(0)
    wrong = torch.randint(3, (len(data.train),), generator=generator)
    shuffled = dataclasses.replace(data, train=MemorySplit(data.train.pixels.images, wrong))
    steady = ("epochs=8", "dropout=0", "drop_path=0", "teacher_weight=1")
    taught = train(toys.NETWORK, shuffled, recipe_with(weights, *steady), execution=toys.CPU)
    alone = train(toys.NETWORK, shuffled, toys.recipe("mixup=0", *steady[:3]), execution=toys.CPU)
    assert taught.test is not None
    assert alone.test is not None
    assert taught.test.top1 > 75 > 65 > alone.test.top1


def test_without_weight_the_training_is_that_without_a_teacher(weights: Path) -> None:
    plain = train(toys.NETWORK, toys.data(), toys.recipe("mixup=0"), execution=toys.CPU)
    taught = train(
        toys.NETWORK, toys.data(), recipe_with(weights, "teacher_weight=0"), execution=toys.CPU
    )
    assert plain.network is not None
    assert taught.network is not None
    pairs = zip(plain.network.parameters(), taught.network.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_a_smaller_student_is_augmented_at_the_teachers_side(weights: Path) -> None:
    small = dataclasses.replace(toys.NETWORK, resolution=8)
    result = train(
        small, toys.data(), recipe_with(weights, "resolution=8", "epochs=6"), execution=toys.CPU
    )
    assert not result.failed
    assert result.history[-1]["resolution"] == 8


def test_a_distilled_run_resumes_exactly(weights: Path, tmp_path: Path) -> None:
    from train.execution import Execution
    from train.loop import train_by_epochs

    recipe = recipe_with(weights, "epochs=3")
    whole = train(toys.NETWORK, toys.data(), recipe, execution=toys.CPU)
    execution = Execution(device="cpu", checkpoint=tmp_path)
    first = train_by_epochs(toys.NETWORK, toys.data(), recipe, execution=execution)
    next(first)
    first.close()
    resumed = train(toys.NETWORK, toys.data(), recipe, execution=execution)
    assert whole.network is not None
    assert resumed.network is not None
    pairs = zip(whole.network.parameters(), resumed.network.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_recipes_without_a_teacher_are_stored_as_before() -> None:
    assert not set(OF_TEACHER) & set(toys.recipe().to_dict())
    taught = toys.recipe("teacher=runs/1", "temperature=2")
    assert Recipe.from_dict(taught.to_dict()) == taught


def test_what_is_no_teacher_is_refused_before_training(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^teacher: .*does not exist"):
        train(toys.NETWORK, toys.data(), toys.recipe("teacher=nowhere"), execution=toys.CPU)
    other = dataclasses.replace(toys.NETWORK, classes=5)
    parent = Parent("other", other, build(other).state_dict(), None, None, None)
    path = tmp_path / "other.safetensors"
    names = tuple("abcde")
    write_weights(path, Weights(parent.tensors, other, names, MEAN, STD, 16, 1.0, {}))
    with pytest.raises(ValueError, match="has 5 classes, and the data have 3"):
        train(toys.NETWORK, toys.data(), recipe_with(path), execution=toys.CPU)
    with pytest.raises(ValueError, match="temperature"):
        toys.recipe("temperature=0")
