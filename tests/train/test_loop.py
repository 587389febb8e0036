"""The training loop: learning, exact resume, reasons of failures, several processes."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from search_spaces.network import Network, build
from tests.train import toys
from tests.train.two_processes import without_norms
from train import loop, state, steps
from train.checkpoint import read_state, read_weights
from train.compiled_code import share_compiled_code
from train.data import Split
from train.data.in_memory import MemorySplit
from train.distributed import World
from train.execution import Execution
from train.loop import Report, train

ROOT = Path(__file__).resolve().parents[2]


class Kept(Report):
    """Records its calls; stops after a given step."""

    def __init__(self, stop_at: int = 10**9) -> None:
        self.rows: list[dict] = []
        self.last, self.stop_at = 0, stop_at

    def step(self, step: int, steps: int, loss: float | None) -> None:
        assert 1 <= step <= steps
        self.last = step

    def epoch(self, row: dict) -> None:
        self.rows.append(row)

    def stop(self) -> bool:
        return self.last == self.stop_at


def weights_of(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in network.state_dict().values()])


def test_it_learns_and_reports() -> None:
    report = Kept()
    before = torch.get_rng_state()
    result = train(
        toys.NETWORK,
        toys.data(),
        toys.recipe("epochs=8", "mixup=0"),
        execution=toys.CPU,
        report=report,
    )
    assert torch.equal(before, torch.get_rng_state()), "the caller's generator was moved"
    assert result.failed == ""
    assert result.test is not None
    assert result.test.top1 > 90
    assert result.test.top5 == 100
    assert report.rows == list(result.history)
    assert [row["epoch"] for row in report.rows] == list(range(1, 9))
    assert report.last == result.steps == 8 * 6
    best = max(max(row["val_top1"], row["ema_top1"]) for row in report.rows)
    assert result.chosen["best"] == best


@pytest.mark.parametrize(
    ("scores", "epoch"),
    [
        ([90.0, 96.0, 95.0, 95.5], 4),  # one point is noise on 100 images: the longest trained
        ([90.0, 96.0, 95.0, 90.0], 3),  # six points are not
        ([90.0, 60.0, 61.0, 62.0], 1),
        ([100.0, 98.0, 99.0, 98.0], 3),  # one image is noise
    ],
)
def test_the_latest_weights_within_a_standard_error_are_chosen(
    scores: list[float], epoch: int
) -> None:
    data = dataclasses.replace(toys.data(), minival=toys.data().train.select(np.arange(100) % 64))
    recipe = state.resolved(toys.recipe("ema_decay=0"), toys.NETWORK)
    run = state.begin(toys.NETWORK, data, recipe, World(0, 1, torch.device("cpu")), 0, None)
    for number, top1 in enumerate(scores, 1):
        state.choose(run, {"epoch": number, "val_top1": top1, "val_loss": 1.0}, None)
    assert (run.chosen["epoch"], run.chosen["top1"]) == (epoch, scores[epoch - 1])
    assert run.chosen["best"] == max(scores)


def test_equal_runs_give_equal_weights_and_seeds_differ() -> None:
    runs = [
        train(
            toys.NETWORK,
            toys.data(),
            toys.recipe(f"seed={seed}"),
            execution=toys.CPU,
        ).network
        for seed in (1, 1, 2)
    ]
    first, again, other = (weights_of(network) for network in runs)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.slow
def test_a_run_killed_at_five_random_moments_ends_with_the_same_bits(tmp_path: Path) -> None:
    finals = []
    for name, kills in (("whole", 0), ("killed", 5)):
        folder = tmp_path / name
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, "-m", "tests.train.killed_run", str(folder), "7", str(kills)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0, done.stderr
        finals.append((folder, done.stdout))
    assert finals[1][1].count("killed") == 5, finals[1][1]
    whole, killed = (read_state(folder / "last.safetensors") for folder, _ in finals)
    assert whole[0].keys() == killed[0].keys()
    for name, value in whole[0].items():
        assert torch.equal(value, killed[0][name]), name
    for name in ("step", "chosen"):
        assert whole[1][name] == killed[1][name]
    best = [read_weights(folder / "best.safetensors").tensors for folder, _ in finals]
    assert all(torch.equal(value, best[1][name]) for name, value in best[0].items())


@pytest.mark.parametrize("stop_at", [1, 6, 9])
def test_a_stopped_run_saves_and_is_resumed(tmp_path: Path, stop_at: int) -> None:
    arguments = (toys.NETWORK, toys.data(), toys.recipe())
    stopped = train(
        *arguments, execution=Execution(checkpoint=tmp_path, device="cpu"), report=Kept(stop_at)
    )
    assert (stopped.failed, stopped.steps) == ("interrupted", stop_at)
    rest = Kept()
    resumed = train(*arguments, execution=Execution(checkpoint=tmp_path, device="cpu"), report=rest)
    whole = train(*arguments, execution=toys.CPU)
    assert torch.equal(weights_of(resumed.network), weights_of(whole.network))
    for own, other in zip(resumed.history, whole.history, strict=True):
        for name in ("epoch", "step", "train_loss", "val_top1", "ema_loss"):
            assert own[name] == other[name], name


def test_all_methods_of_short_trainings_together_are_resumed_exactly(tmp_path: Path) -> None:
    recipe = toys.recipe(
        "epochs=3",
        "optimizer=muon",
        "norm_bias_factor=8",
        "stem=whitened",
        "alternating_flip=true",
        "precision=bfloat16",
    )
    kept = Execution(checkpoint=tmp_path, device="cpu")
    for stop_at in (2, 8):
        stopped = train(toys.NETWORK, toys.data(), recipe, execution=kept, report=Kept(stop_at))
        assert (stopped.failed, stopped.steps) == ("interrupted", stop_at)
    resumed = train(toys.NETWORK, toys.data(), recipe, execution=kept)
    whole = train(toys.NETWORK, toys.data(), recipe, execution=toys.CPU)
    assert torch.equal(weights_of(resumed.network), weights_of(whole.network))
    assert resumed.history[-1]["train_loss"] == whole.history[-1]["train_loss"]


@pytest.mark.parametrize("blended", [False, True])
def test_alternating_flips_mirror_an_image_in_every_second_epoch(blended: bool) -> None:
    from train.data.blended import blend
    from train.progressive import phase

    images = torch.zeros(64, 3, 16, 16, dtype=torch.uint8)
    images[..., :8] = 200  # bright on the left
    images[:, 0, :, 7:9] = torch.arange(64, dtype=torch.uint8)[:, None, None]  # its number
    split: Split = MemorySplit(images, torch.arange(64) % 3)
    if blended:
        split = blend(split.select(np.arange(32)), split.select(np.arange(32, 64)), ratio=1)
    data = dataclasses.replace(toys.data(), train=split)
    here = World(0, 1, torch.device("cpu"))

    def mirrored(seed: int, epoch: int) -> np.ndarray:
        recipe = toys.recipe("alternating_flip=true", "crop=none", f"seed={seed}", "device_batch=4")
        recipe = state.resolved(recipe, toys.NETWORK)
        run = state.begin(toys.NETWORK, data, recipe, here, 0, None)
        run.history = [{}] * epoch
        run.step = 4 * epoch
        batches = split.batches(
            steps.parts(run, steps.order_of(run, epoch)),
            steps.augmentation(recipe, phase(recipe, epoch)),
        )
        found = torch.cat([batch for batch, _ in batches])
        numbers = (found[:, 0, 0, 7] * recipe.std[0] + recipe.mean[0]) * 255
        which = np.empty(64, bool)
        which[numbers.round().long().numpy()] = (found[:, 1, 0, 0] < found[:, 1, 0, 15]).numpy()
        return which

    first = mirrored(0, 0)
    assert 20 < first.sum() < 44
    assert np.array_equal(mirrored(0, 1), ~first)
    assert np.array_equal(mirrored(0, 2), first)
    assert not np.array_equal(mirrored(1, 0), first)


def test_it_learns_in_bfloat16_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = set()
    forward = Network.forward

    def watched(self: Network, images: torch.Tensor) -> torch.Tensor:
        logits = forward(self, images)
        kinds.add((self.training, logits.dtype))
        return logits

    monkeypatch.setattr(Network, "forward", watched)
    rough, exact = (
        train(
            toys.NETWORK,
            toys.data(),
            toys.recipe("epochs=8", "mixup=0", f"precision={kind}"),
            execution=toys.CPU,
        )
        for kind in ("bfloat16", "float32")
    )
    assert {(mode, torch.bfloat16) for mode in (True, False)} < kinds
    assert rough.failed == ""
    assert rough.test is not None
    assert rough.test.top1 > 90
    assert {value.dtype for value in rough.network.parameters()} == {torch.float32}
    losses = [result.history[0]["train_loss"] for result in (rough, exact)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["lr=1000", "optimizer=sgd", "warmup_epochs=0", "mixup=0"], "the loss is"),
        (["batch=97"], "too few images for a batch: 96 training images, batch 97"),
    ],
)
def test_what_goes_wrong_in_a_run_is_its_result(changes: list[str], words: str) -> None:
    result = train(
        toys.NETWORK,
        toys.data(),
        toys.recipe("epochs=9", *changes),
        execution=toys.CPU,
    )
    assert words in result.failed
    assert "\n" not in result.failed
    assert result.test is None


def test_out_of_memory_says_what_would_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Network.forward

    def narrow(self: Network, images: torch.Tensor) -> torch.Tensor:
        if len(images) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, images)

    monkeypatch.setattr(Network, "forward", narrow)
    result = train(toys.NETWORK, toys.data(), toys.recipe(), execution=toys.CPU)
    assert "out of memory with 16 images of 16 px" in result.failed
    assert "device_batch=4 would likely fit" in result.failed
    fits = train(
        toys.NETWORK,
        toys.data(minival=0, test=0),
        toys.recipe("device_batch=4"),
        execution=toys.CPU,
    )
    assert fits.failed == ""


def test_without_a_minival_the_last_moving_average_is_the_result() -> None:
    result = train(toys.NETWORK, toys.data(minival=0), toys.recipe(), execution=toys.CPU)
    assert result.chosen == {"epoch": 2, "weights": "ema"}
    assert "val_top1" not in result.history[-1]


def test_accumulated_steps_equal_whole_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    # without batch norms, which see one part of a step at a time
    monkeypatch.setattr(state, "build", without_norms)
    plain = (
        "mixup=0",
        "drop_path=0",
        "dropout=0",
        "epochs=1",
        "ema_decay=0",
        "optimizer=sgd",
        "lr=0.01",
    )
    whole, parts = (
        train(toys.NETWORK, toys.data(), toys.recipe(*plain, *more), execution=toys.CPU).network
        for more in ((), ("device_batch=4",))
    )
    torch.testing.assert_close(weights_of(whole), weights_of(parts), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("limit", [20, 3])
def test_an_evaluation_makes_do_with_the_memory_there_is(monkeypatch, limit: int) -> None:
    forward = Network.forward

    def narrow(self: Network, images: torch.Tensor) -> torch.Tensor:
        if not self.training and len(images) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, images)

    monkeypatch.setattr(Network, "forward", narrow)
    result = train(toys.NETWORK, toys.data(), toys.recipe(), execution=toys.CPU)
    assert result.failed == ""
    assert result.test is not None


def test_weights_broken_by_the_last_step_are_a_failure(monkeypatch) -> None:
    monkeypatch.setattr(loop, "learning_rate", lambda *_: math.inf)
    recipe = toys.recipe("epochs=1", "batch=96", "mixup=0")  # a single step
    result = train(toys.NETWORK, toys.data(minival=0), recipe, execution=toys.CPU)
    assert "not a number after epoch 1" in result.failed
    assert result.test is None


def test_a_classifier_alone_can_be_trained() -> None:
    torch.manual_seed(5)
    start = build(toys.NETWORK)
    recipe = toys.recipe("train=classifier", "ema_decay=0")
    result = train(toys.NETWORK, toys.data(), recipe, execution=toys.CPU, initial=start)
    for name, value in start.state_dict().items():
        same = torch.equal(value, result.network.state_dict()[name])
        assert same != name.startswith("classifier"), name


def test_progressive_learning_changes_images_and_dropout(monkeypatch) -> None:
    seen: list[tuple[int, float]] = []
    forward = Network.forward

    def watched(self: Network, images: torch.Tensor) -> torch.Tensor:
        now = (images.shape[-1], self.dropout.p)
        if self.training and now not in seen:
            seen.append(now)
        return forward(self, images)

    monkeypatch.setattr(Network, "forward", watched)
    recipe = toys.recipe(
        "stages=2",
        "min_resolution=8",
        "resolution=16",
        "min_dropout=0.05",
        "policy=randaugment",
        "min_magnitude=2",
    )
    rows = train(toys.NETWORK, toys.data(), recipe, execution=toys.CPU).history
    assert seen == [(8, 0.05), (16, 0.2)]
    assert [row["resolution"] for row in rows] == [8, 16]
    assert [row["dropout"] for row in rows] == [0.05, 0.2]
    assert [row["magnitude"] for row in rows] == [2, 9]


def test_compiled_training_is_the_same_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # torch's default, which it sets when an optimizer is created
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", f"{tempfile.gettempdir()}/torchinductor_me")
    # inductor takes 40 s here; experiments/bench_training.py runs it
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    changes = ("epochs=1", "mixup=0", "dropout=0", "drop_path=0", "ema_decay=0", "minival=0")
    data = toys.data(minival=0, train=16, test=0)
    one, other = (
        train(toys.NETWORK, data, toys.recipe(*changes, *more), execution=toys.CPU)
        for more in ((), ("compile=true",))
    )
    assert one.history[0]["train_loss"] == pytest.approx(other.history[0]["train_loss"], rel=1e-4)
    own = tmp_path / "vision-baseline-search" / "compiled"
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(own)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/mine")
    share_compiled_code()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/mine"


@pytest.mark.parametrize(
    ("architecture", "changes", "words"),
    [
        (toys.NETWORK, ["lr=0.5"], "recipe (lr 0.003 in the checkpoint, 0.5 here)"),
        (
            dataclasses.replace(toys.NETWORK, stem=16),
            [],
            "architecture (stem 8 in the checkpoint, 16 here)",
        ),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, architecture, changes, words) -> None:
    train(
        toys.NETWORK,
        toys.data(),
        toys.recipe("lr=0.003"),
        execution=Execution(checkpoint=tmp_path, device="cpu"),
        report=Kept(3),
    )
    with pytest.raises(ValueError, match=r"last\.safetensors") as error:
        train(
            architecture,
            toys.data(),
            toys.recipe("lr=0.003", *changes),
            execution=Execution(checkpoint=tmp_path, device="cpu"),
        )
    assert words in str(error.value)


def test_wrong_class_counts_and_devices_are_named() -> None:
    other = dataclasses.replace(toys.NETWORK, classes=7)
    with pytest.raises(ValueError, match="classes: the network has 7, toys has 3"):
        train(other, toys.data(), toys.recipe(), execution=toys.CPU)
    with pytest.raises(ValueError, match="device: 'tpu' is unknown"):
        train(toys.NETWORK, toys.data(), toys.recipe(), execution=Execution(device="tpu"))


def test_steps_share_their_images_without_overlap() -> None:

    from train.state import begin

    recipe = toys.recipe("device_batch=4", "batch=16")
    order = np.arange(32).reshape(2, 16)
    seen: dict[int, list[int]] = {0: [], 1: []}
    for rank in range(2):
        here = World(rank, 2, torch.device("cpu"))
        run = begin(toys.NETWORK, toys.data(), recipe, here, 0, None)
        for step in steps.parts(run, order):
            seen[rank] += step.indices[step.part].tolist()
    assert sorted(seen[0] + seen[1]) == list(range(32))
    assert math.isclose(len(seen[0]), len(seen[1]))


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks glibc")
def test_memory_that_tensors_free_is_kept_for_the_next_step() -> None:
    """Counts page faults of consecutive steps in a separate process."""
    code = (
        "import ctypes, resource, torch; from train.memory_use import keep_freed_memory\n"
        "ctypes.CDLL(None).mallopt(-3, 1 << 17)  # every tensor from the system, to begin with\n"
        "def faults():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    for _ in range(10): [torch.ones(5_000_000) for _ in range(8)]\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "faults(); without = faults(); kept = keep_freed_memory(); faults()\n"
        "print(kept, without, faults())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kept, without, with_it = done.stdout.split()
    if kept == "True":
        assert int(with_it) * 10 < int(without)
