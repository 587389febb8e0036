"""`python -m train.export RUN --to timm|onnx|safetensors|torchscript`: a network for other tools.

RUN is the folder of a run (its best.safetensors) or a weights file. What is written is loaded back
by the tool it is for, and has to give the logits of the network on random and on real images, at
batches of 1 and 3; otherwise nothing is left of it. In each batch they may differ by `TOLERANCE`
times the largest absolute logit (times 1 where that is smaller): other kernels add up in another
order, and the rounding of float32 (6e-8 of what is added, in each layer) grows with the numbers.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from vbs.command import run_program

    run_program("train.export", "train.export", "main")

import dataclasses
import importlib.util
import itertools
import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn import functional as F

from search_spaces.architecture import Architecture
from search_spaces.network import Network, build
from train.block_strings import timm_description, timm_network, timm_program
from train.checkpoint import Weights, load_into, read_weights
from train.distributed import limit_threads
from train.record import training_of
from vbs.command import Failure, Parser, run_command
from vbs.console import print_out
from vbs.folder import write_json
from vbs.json_text import parse_json
from vbs.lock import owned
from vbs.text import next_steps, shell_command, shell_word

TOLERANCE = 1e-4
OPSET = 18  # the one that torch's exporter is written in, and the lowest it needs not convert to
BATCHES = (1, 3)  # neither is the 2 that the exporters see
COUNT = 4  # images of each kind, all batches together

Exported = tuple[Path, "Compared"]
Function = Callable[[Tensor], Tensor]  # images [n, c, side, side] to logits [n, classes]


class Mismatch(Failure):
    """What was written cannot be used, or is not the network."""


@dataclass(frozen=True)
class Format:
    """One kind of export.

    name   of the file or folder beside the weights.
    write  (path, weights, network in evaluation mode): makes it, perhaps with a JSON beside it.
    read   the function of images that the other tool makes of it.
    use    a Python program for the file {path}, a string literal, and images of {shape}.
    needs  packages that are not always installed.
    """

    name: str
    write: Callable[[Path, Weights, Network], None]
    read: Callable[[Path], Function]
    use: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Compared:
    """Largest absolute difference of logits, largest absolute logit, and on which images."""

    difference: float
    scale: float
    equal: bool  # whether rounding explains the difference, in every batch
    images: str = ""


def export(run: Path, to: str, *, out: Path | None = None, images: Path | None = None) -> Exported:
    """Write the network of `run` in the format `to` and compare: where it is, how exact it is.

    images  folder of pictures to compare on; otherwise test images of the run's data set, if they
            are on this machine, or smooth random pictures.

    Raises ValueError for what the user can mend, and `Mismatch`, with nothing left behind, where
    the other tool does not compute the same.
    """
    form = FORMATS[to]
    source = weights_file(run)
    target = _target(form, out or source.parent / form.name)
    for name in form.needs:
        if importlib.util.find_spec(name) is None:
            raise ValueError(f"{name} is not installed; pip install 'vision-baseline-search[{to}]'")
    with owned(target.parent, "train.export", name=f".{target.name}.owner.json"):
        return _exported(form, source, target, images)


def _exported(form: Format, source: Path, target: Path, images: Path | None) -> Exported:
    weights = read_weights(source)
    limit_threads()
    network = build(weights.architecture).eval()
    load_into(network, weights.tensors, source=source)
    pictures, what = _pictures(weights, source.parent, images)
    unfinished = target.with_name(f".unfinished-{os.getpid()}-{target.name}")
    unfinished.mkdir()
    try:
        made = unfinished / target.name
        compared = _verified(form, made, weights, network, pictures)
        for path in sorted(unfinished.iterdir(), key=lambda path: path == made):  # itself last
            os.replace(path, target.with_name(path.name))
    finally:
        shutil.rmtree(unfinished)
    return target, dataclasses.replace(compared, images=f"{COUNT} random and {COUNT} {what}")


def _verified(
    form: Format, made: Path, weights: Weights, network: Network, pictures: Tensor
) -> Compared:
    """Write the export as `made` and compare; `Mismatch` where it is not the network."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, to us: deprecations of its exporters
            form.write(made, weights, network)
            compared = _compare(network, form.read(made), pictures)
    except (ValueError, OSError, Mismatch):
        raise
    except Exception as error:  # whatever the other tool has
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise Mismatch(f"it could not be written or loaded back ({reason})") from error
    if not compared.equal:
        raise Mismatch(
            f"the export differs by {compared.difference:.2g} on logits up to "
            f"{compared.scale:.2g}; nothing was kept of it"
        )
    return compared


def weights_file(run: Path) -> Path:
    """The weights of a run: of its folder, or the file itself; ValueError where there are none."""
    path = run / "best.safetensors" if run.is_dir() else run
    if path.is_file():
        return path
    if run.is_dir():
        raise ValueError(f"{run}: has no best.safetensors; is it the folder of a run?")
    raise ValueError(f"{run}: no such file or folder")


def _target(form: Format, target: Path) -> Path:
    suffix = Path(form.name).suffix
    if suffix and target.suffix != suffix:
        raise ValueError(f"--out: {target} must end in {suffix}")
    for path in {target, target.with_suffix(".json") if suffix == ".safetensors" else target}:
        if path.exists():
            raise ValueError(f"{path}: exists; remove it, or give another place with --out")
    if not target.parent.is_dir():
        raise ValueError(f"{target.parent}: no such folder; make it, or give another --out")
    return target


def _describe(weights: Weights) -> dict[str, Any]:
    """What is needed to use the tensors, as plain data."""
    return {
        "architecture": json.loads(weights.architecture.to_json()),
        "classes": list(weights.classes),
        "preprocessing": {
            "mean": list(weights.mean), "std": list(weights.std),
            "resolution": weights.resolution, "crop_share": weights.crop_share,
        },
    }  # fmt: skip


def _save(path: Path, network: Network) -> None:
    tensors = {name: value.contiguous() for name, value in network.state_dict().items()}
    path.write_bytes(save(tensors, {"format": "pt"}))  # save_file lets only its owner read it


def _write_timm(folder: Path, weights: Weights, network: Network) -> None:
    description = timm_description(
        weights.architecture, classes=weights.classes, mean=weights.mean, std=weights.std,
        resolution=weights.resolution, crop_share=weights.crop_share,
    )  # fmt: skip
    folder.mkdir()
    _save(folder / "model.safetensors", network)
    write_json(folder / "timm.json", {**description, **_describe(weights)})
    (folder / "load.py").write_text(timm_program())


def _read_timm(folder: Path) -> Function:
    network = timm_network(json.loads((folder / "timm.json").read_text()))
    network.load_state_dict(load_file(folder / "model.safetensors"))
    return network.eval()


def _write_safetensors(path: Path, weights: Weights, network: Network) -> None:
    _save(path, network)
    write_json(path.with_suffix(".json"), _describe(weights))


def _read_safetensors(path: Path) -> Function:
    description = json.loads(path.with_suffix(".json").read_text())
    network = build(Architecture.from_dict(description["architecture"]))
    network.load_state_dict(load_file(path))
    return network.eval()


def _write_onnx(path: Path, weights: Weights, network: Network) -> None:
    if not hasattr(torch.onnx, "ONNXProgram") or not hasattr(torch.export.Dim, "DYNAMIC"):
        raise ValueError(f"torch {torch.__version__} is too old for onnx; use 2.6 or newer")
    program = torch.onnx.export(
        network, (torch.zeros(_shape(weights, 2)),),
        dynamo=True, verbose=False, opset_version=OPSET,
        input_names=["images"], output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )  # fmt: skip
    for node in program.model.graph:
        node.metadata_props.clear()  # paths of this machine's files
    for name, value in _describe(weights).items():
        program.model.metadata_props[name] = json.dumps(value)
    program.save(str(path), external_data=False)


def _read_onnx(path: Path) -> Function:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])

    def logits(images: Tensor) -> Tensor:
        (answer,) = session.run(["logits"], {"images": images.numpy()})
        return torch.from_numpy(answer)

    return logits


def _write_torchscript(path: Path, weights: Weights, network: Network) -> None:
    # traced: padding follows the images' size without branches, and script knows no super()
    traced = torch.jit.trace(network, torch.zeros(_shape(weights, 2)))
    torch.jit.save(traced, str(path), {"description.json": json.dumps(_describe(weights))})


def _read_torchscript(path: Path) -> Function:
    return torch.jit.load(str(path), map_location="cpu")


def _shape(weights: Weights, batch: int) -> tuple[int, int, int, int]:
    return batch, weights.architecture.in_channels, weights.resolution, weights.resolution


FORMATS = {
    "timm": Format("timm", _write_timm, _read_timm, ""),
    "onnx": Format(
        "network.onnx", _write_onnx, _read_onnx, "import numpy, onnxruntime; "
        "session = onnxruntime.InferenceSession({path}); "
        'print(session.run(["logits"], {{"images": numpy.zeros({shape}, "float32")}}))',
        ("onnx", "onnxscript", "onnxruntime"),
    ),
    "safetensors": Format("network.safetensors", _write_safetensors, _read_safetensors,
        "from safetensors.torch import load_file; print(*load_file({path}))"),
    "torchscript": Format(
        "network.pt", _write_torchscript, _read_torchscript,
        "import torch; print(torch.jit.load({path})(torch.zeros({shape})))",
    ),
}  # fmt: skip


@torch.no_grad()
def _compare(network: Network, other: Function, pictures: Tensor) -> Compared:
    """Both on the pictures [COUNT, ...] and on noise, in batches of all of `BATCHES`."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(pictures.shape, generator=generator)
    differences, scales = [], []
    for images in (*noise.split(BATCHES), *pictures.split(BATCHES)):
        expected, answer = network(images), other(images)
        if not expected.isfinite().all():
            raise ValueError("the network's own logits are not finite; there is nothing to compare")
        if answer.shape != expected.shape:
            raise Mismatch(f"the export gives {list(answer.shape)}, not {list(expected.shape)}")
        differences.append(float((answer - expected).abs().max()))
        scales.append(float(expected.abs().max()))
    pairs = zip(differences, scales, strict=True)
    equal = all(off <= TOLERANCE * max(1.0, scale) for off, scale in pairs)  # not where NaN
    return Compared(float(np.max(differences)), max(scales), equal)


def _pictures(weights: Weights, folder: Path, given: Path | None) -> tuple[Tensor, str]:
    """COUNT images [COUNT, c, side, side] prepared for the network, and what they are."""
    if given is not None:
        return _images_of(weights, given), f"images of {given}"
    try:
        return _test_images(weights, folder)
    except (ImportError, KeyError, TypeError, OSError, ValueError):
        pass  # no matter why: these are to compare with, not to judge by
    return _smooth_images(weights), "smooth random pictures (no images at hand; see --images)"


def _images_of(weights: Weights, folder: Path) -> Tensor:
    """The first images in a folder, again and again if they are few; ValueError without any."""
    from train.data.augment import Draws, Preparation, finish, frame
    from train.data.decode import Unreadable, decode
    from train.data.formats import EXTENSIONS

    channels = weights.architecture.in_channels
    if channels not in (1, 3):
        raise ValueError(f"--images: the network takes {channels} channels, no pictures")
    if not folder.is_dir():
        raise ValueError(f"--images: {folder} is no folder")
    how = Preparation(**_prepared(weights))
    draws, found = Draws(0, np.zeros(1, np.int64)), []
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    for path in (path for path in files if path.suffix.lower() in EXTENSIONS):
        try:
            pixels = decode(path.read_bytes(), channels)[None]
        except Unreadable as error:
            raise ValueError(f"--images: {path}: {error}") from None
        found.append(finish(frame(pixels, how, draws), how, draws).contiguous())
        if len(found) == COUNT:
            break
    if not found:
        raise ValueError(f"--images: no images in {folder}")
    return torch.cat(list(itertools.islice(itertools.cycle(found), COUNT)))


def _test_images(weights: Weights, folder: Path) -> tuple[Tensor, str]:
    """Test images of the data set that run.json names; any of five errors where there are none."""
    from train.data import Step, load
    from train.data.augment import Preparation

    known = parse_json((folder / "run.json").read_bytes())
    data = load(
        known["settings"]["data"], minival=0.0, seed=training_of(known)["recipe"]["seed"],
        channels=weights.architecture.in_channels, download=False,
    )  # fmt: skip
    split = data.test or data.train
    how = Preparation(**_prepared(weights))
    step = Step(np.arange(COUNT), slice(0, COUNT), 0)
    (images, _), *_ = split.batches([step], how)
    return images.contiguous(), f"images of {data.name}"


def _prepared(weights: Weights) -> dict[str, Any]:
    return {"size": weights.resolution, "crop_share": weights.crop_share,
            "mean": weights.mean, "std": weights.std}  # fmt: skip


def _smooth_images(weights: Weights) -> Tensor:
    """Pictures with the 1/f spectrum of photographs: noise of all scales, coarser is stronger."""
    generator = torch.Generator().manual_seed(1)
    count, channels, side, _ = _shape(weights, COUNT)
    total = torch.zeros(count, channels, side, side)
    cells = 2
    while cells <= side:
        coarse = torch.randn(count, channels, cells, cells, generator=generator) / cells
        total += F.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=False)
        cells *= 2
    return total / total.std() if side > 1 else total


def main(argv: list[str] | None = None) -> int:
    """The command; 0, 1 where the export is not the network, 2 for a user's mistake."""
    return run_command(
        "train.export", lambda: _run(argv), interrupted="interrupted; nothing was written"
    )


def _run(argv: list[str] | None) -> int:
    parser = Parser(prog="python -m train.export", description="Write a trained network.")
    parser.add_argument("run", metavar="RUN", type=Path, help="folder or weights of a run")
    parser.add_argument("--to", required=True, choices=FORMATS)
    parser.add_argument("--out", metavar="PATH", type=Path, help="default: beside the weights")
    parser.add_argument("--images", metavar="DIR", type=Path, help="pictures to compare on")
    given = parser.parse_args(argv)
    target, compared = export(given.run, given.to, out=given.out, images=given.images)
    print_out(f"{given.to}: {shell_word(target)}")
    print_out(
        f"loaded back and compared on {compared.images}, batches of 1 and 3: largest difference "
        f"{compared.difference:.2g} on logits up to {compared.scale:.2g}"
    )
    print_out(*next_steps([_next(given.to, target, weights_file(given.run))]))
    return 0


def _next(to: str, target: Path, source: Path) -> str:
    """A command line that uses the export."""
    if to == "timm":
        return shell_command([sys.executable, str(target / "load.py")])
    program = FORMATS[to].use.format(
        path=json.dumps(str(target)), shape=_shape(read_weights(source), 1)
    )
    return shell_command([sys.executable, "-c", program])
