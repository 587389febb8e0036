"""Options of `python -m nas.block_times`."""

from __future__ import annotations

from dataclasses import dataclass

from nas.options import SpaceOptions
from search_spaces.cost import MEASURED
from train.recipe import PRESETS
from vbs.config import Config, option
from vbs.options import Command
from vbs.units import LONGEST, parse_seconds

BATCH = {"latency": 1, "step_time": 32}  # images at a time, by default
SECONDS = 60.0  # of measuring
# what runs a forward pass: name -> packages that are not always installed
RUNTIMES: dict[str, tuple[str, ...]] = {
    "torch": (),
    "torch-compile": (),
    "onnxruntime": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
}


@dataclass(frozen=True, kw_only=True)
class TimingOptions(Config):
    """What is timed, and how; see `nas.block_times.timing.Setting`."""

    title = "timing"

    kind: str = option(
        "latency",
        choices=tuple(MEASURED),
        metavar="|".join(MEASURED),
        help="forward pass, or training step (default latency)",
    )
    batch: int | None = option(
        None, limits=(1, 2**16), metavar="N", help="images at a time (default 1; step_time: 32)"
    )
    device: str = option("cpu", metavar="cpu|cuda", help="default cpu")
    threads: int = option(1, metavar="N", help="threads of a CPU (default 1)")
    precision: str = option(
        "auto",
        choices=("float32", "bfloat16", "auto"),
        metavar="float32|bfloat16|auto",
        help="default auto",
    )
    recipe: str = option(
        "proxy", catalog=PRESETS, metavar="NAME", help="recipe whose optimizer a step has"
    )
    runtime: str = option(
        "torch",
        choices=tuple(RUNTIMES),
        metavar="|".join(RUNTIMES),
        help="what runs a forward pass (default torch, without compiling)",
    )


@dataclass(frozen=True, kw_only=True)
class BlockTimesConfig(SpaceOptions, TimingOptions):
    """A table of block times: the blocks of which space, and how they are timed."""

    title = "table"

    seconds: float = option(
        SECONDS,
        limits=(0.0, LONGEST),
        parse=parse_seconds,
        metavar="TIME",
        help=f"time of measuring (default {SECONDS:g}s)",
    )
    file: str | None = option(
        None,
        flag="out",
        metavar="FILE",
        help="where to keep the table (default: where searches look)",
    )


COMMAND = Command(
    program="nas.block_times",
    config=BlockTimesConfig,
    run="nas.block_times.run:measure_block_times",
    report="nas.block_times.report:show_result",
    kind="table",
    description="Measure how long every block of a space takes on this machine.",
    interrupted="interrupted; nothing was kept",
)
