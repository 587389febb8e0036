"""Export a network from its config: `export_network`."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shutil
import warnings
from pathlib import Path

from torch import Tensor

from search_spaces.network import Network, build
from train.checkpoint import Weights, load_into, read_weights
from train.distributed import limit_threads
from train.export.compare import COUNT, Compared, Mismatch, compare, pictures_for
from train.export.config import ExportConfig
from train.export.formats import FORMATS, Format
from train.export.result import ExportResult
from vbs.lock import owned


def export_network(config: ExportConfig) -> ExportResult:
    """Write the network of a run for another tool, as `python -m train.export` does.

    What is written is read back by the tool and compared with the network.

    Raises ValueError for invalid options and files, and `train.export.compare.Mismatch`, with
    nothing left behind, where the other tool does not compute the same.
    """
    assert config.run is not None  # see ExportConfig.check
    assert config.to is not None
    form, source = FORMATS[config.to], weights_file(Path(config.run))
    out = source.parent / form.name if config.out is None else Path(config.out)
    target = _target(form, out)
    for name in form.needs:
        if importlib.util.find_spec(name) is None:
            raise ValueError(
                f"{name} is not installed; pip install 'vision-baseline-search[{config.to}]'"
            )
    images = None if config.images is None else Path(config.images)
    with owned(target.parent, "train.export", name=f".{target.name}.owner.json"):
        return ExportResult(config, source, target, _exported(form, source, target, images))


def _exported(form: Format, source: Path, target: Path, images: Path | None) -> Compared:
    weights = read_weights(source)
    limit_threads()
    network = build(weights.architecture).eval()
    load_into(network, weights.tensors, source=source)
    pictures, what = pictures_for(weights, source.parent, images)
    unfinished = target.with_name(f".unfinished-{os.getpid()}-{target.name}")
    unfinished.mkdir()
    try:
        made = unfinished / target.name
        compared = _verified(form, made, weights, network, pictures)
        for path in sorted(unfinished.iterdir(), key=lambda path: path == made):  # itself last
            os.replace(path, target.with_name(path.name))
    finally:
        shutil.rmtree(unfinished)
    return dataclasses.replace(compared, images=f"{COUNT} random and {COUNT} {what}")


def _verified(
    form: Format, made: Path, weights: Weights, network: Network, pictures: Tensor
) -> Compared:
    """Write the export as `made` and compare; `Mismatch` where it is not the network."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, to us: deprecations of its exporters
            form.write(made, weights, network)
            compared = compare(network, form.read(made), pictures)
    except (ValueError, OSError, Mismatch):
        raise
    except Exception as error:  # whatever the other tool has
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise Mismatch(f"it could not be written or loaded back ({reason})") from error
    if not compared.equal:
        raise Mismatch(
            f"the export differs by {compared.difference:.2g} on logits up to "
            f"{compared.scale:.2g}; it was removed"
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
