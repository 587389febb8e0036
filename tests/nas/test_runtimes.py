"""Runtimes in which blocks and networks are timed: outputs, times, and refused settings."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from nas.block_times.measure import MeasuringPlan, measure
from nas.block_times.options import RUNTIMES
from nas.block_times.runtimes import MAKERS, inputs_of
from nas.block_times.timing import Setting, Subject, images_for, segments
from search_spaces.architecture import Stage
from search_spaces.network import build
from search_spaces.staged import StagedSpace
from tests.nas.toys import small_space


def runtimes() -> list[str]:
    """Return the installed runtimes, except torch's compiler, which takes a minute."""
    return [
        name
        for name, packages in RUNTIMES.items()
        if name != "torch-compile" and all(map(importlib.util.find_spec, packages))
    ]


@pytest.mark.slow
@pytest.mark.parametrize("runtime", runtimes())
def test_blocks_in_a_row_compute_the_network(runtime: str) -> None:
    network = small_space().decode(small_space().sample(1, np.random.default_rng(0))[0])
    setting = Setting("latency", batch=2, runtime=runtime)
    images = images_for(network, setting)
    torch.manual_seed(0)
    built = build(network).eval()
    with torch.inference_mode():
        wanted = built(images)
        x, values = images, inputs_of(runtime, images)
        for segment in segments(built):
            values = MAKERS[runtime](segment, x, 1)(values)
            x = segment(x)
    np.testing.assert_allclose(np.asarray(values), wanted.numpy(), atol=1e-5)


def few_blocks() -> StagedSpace:
    """Return a space of a dozen blocks, because compiling one takes up to a second."""
    return StagedSpace(
        "few",
        {"block0_l": (1, 2), "block0_e": (2, 3), "block1_l": (1, 2)},
        lambda index, own: Stage("mbconv", own["l"], 3, 2, own.get("e", 2), 8 * (index + 1)),
        frame={"stem": 8, "head": 16, "resolution": 16, "classes": 3},
        settings={"resolution": 16, "classes": 3},
    )


@pytest.mark.slow
@pytest.mark.parametrize("runtime", [name for name in runtimes() if name != "torch"])
def test_a_table_is_measured_in_a_runtime(runtime: str) -> None:
    setting = Setting("latency", runtime=runtime)
    plan = MeasuringPlan(rounds=3, calibration=4, tests=3)
    space = few_blocks()
    times = measure(space, setting, plan, say=lambda line: None)
    assert times.settings["runtime"] == runtime
    seconds = times.of(space)(space.sample(20, np.random.default_rng(0)))
    assert (seconds > 0).all()


@pytest.mark.slow
def test_blocks_are_compiled_once() -> None:
    if "onnxruntime" not in runtimes():
        pytest.skip("onnxruntime is not installed")
    network = small_space().decode(small_space().sample(1, np.random.default_rng(0))[0])
    setting = Setting("latency", runtime="onnxruntime")
    compiled: dict = {}
    first = Subject(network, setting, images_for(network, setting), compiled)
    assert len(first.parts().blocks) == len(list(network.blocks()))
    known = dict(compiled)
    again = Subject(network, setting, images_for(network, setting), compiled)
    again.parts()
    assert compiled == known


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "step_time", "runtime": "onnxruntime"}, "does not train; use torch"),
        ({"kind": "latency", "runtime": "onnx"}, "'onnx' is unknown; did you mean onnxruntime"),
        (
            {"kind": "latency", "runtime": "openvino", "precision": "bfloat16"},
            "on a cpu in float32 only",
        ),
    ],
)
def test_what_a_runtime_cannot_do_is_one_line(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Setting(**arguments)


def test_a_missing_package_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'vision-baseline-search\[openvino\]'"):
        Setting("latency", runtime="openvino")
