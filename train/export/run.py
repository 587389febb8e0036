"""Export a network from its config: `export_network`."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from search_spaces.network import build
from train.checkpoint import Weights, load_into, read_weights
from train.distributed import limit_threads
from train.export.compare import (
    COARSE,
    COUNT,
    TOLERANCE,
    Compared,
    Mismatch,
    as_batch,
    compare,
    compare_decoded,
    pictures_for,
)
from train.export.config import ExportConfig
from train.export.description import describe_weights
from train.export.formats import FORMATS, Format
from train.export.hub import push
from train.export.images import images_of
from train.export.measure import bytes_of, measured
from train.export.programs import program_of
from train.export.request import Request
from train.export.result import ExportResult
from train.export.runtimes import Function, onnx_function, openvino_function
from train.record import finite
from train.weight_sources import no_weights
from vbs.command import Failure
from vbs.folder import circumstances, write_json
from vbs.lock import owned

PACKAGES = ("torch", "timm", "onnx", "onnxruntime", "openvino")
R = TypeVar("R")


def export_network(config: ExportConfig) -> ExportResult:
    """Export the network of a run to the format of another tool, as `python -m train.export` does.

    The export is read back by the tool and compared with the network; its accuracy, size and
    latency are measured there.

    Raises ValueError for invalid options and files, and `train.export.compare.Mismatch`, after
    removing the export, if its outputs differ or it loses more accuracy than allowed.
    """
    assert config.run is not None  # see ExportConfig.check
    assert config.to is not None
    form, source = FORMATS[config.to], weights_file(Path(config.run))
    target = _target(form, config, source)
    _check_installed(form, config)
    with owned(target.parent, "train.export", name=f".{target.name}.owner.json"):
        result = _exported(form, config, source, target)
    if config.push is None:
        return result
    try:
        return dataclasses.replace(result, pushed=push(target, config.push))
    except ValueError as error:
        return dataclasses.replace(result, not_pushed=str(error))


def _check_installed(form: Format, config: ExportConfig) -> None:
    """Raise ValueError for a missing package, with the extra that installs it."""
    needs = dict.fromkeys(form.needs, str(config.to))
    if config.precision == "int8":
        needs |= {"onnxruntime": "onnx"}  # quantises the network for every runtime
    for name, extra in needs.items():
        if importlib.util.find_spec(name) is None:
            raise ValueError(
                f"{name} is not installed; pip install 'vision-baseline-search[{extra}]'"
            )


def _exported(form: Format, config: ExportConfig, source: Path, target: Path) -> ExportResult:
    weights = read_weights(source)
    limit_threads()
    unfinished = target.with_name(f".unfinished-{os.getpid()}-{target.name}")
    unfinished.mkdir()
    try:
        scratch = unfinished / f".scratch-{target.name}"  # a name that no export writes
        request = _request(config, weights, source, scratch)
        made = unfinished / target.name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside torch's exporters
            result = _verified(form, made, request)
        shutil.rmtree(request.scratch)
        for path in sorted(unfinished.iterdir(), key=lambda path: path == made):  # `made` last
            os.replace(path, target.with_name(path.name))
    finally:
        shutil.rmtree(unfinished)
    program = target / form.program if form.program else program_file(target)
    return dataclasses.replace(result, path=target, program=program)


def _request(config: ExportConfig, weights: Weights, source: Path, scratch: Path) -> Request:
    scratch.mkdir()
    network = build(weights.architecture).eval()
    load_into(network, weights.tensors, source=source)
    counts = config.calibration, config.verification
    images, why = images_of(weights, source.parent, config.data, config.data_root, counts)
    return Request(config, weights, network, source, images, why, scratch)


def _verified(form: Format, made: Path, request: Request) -> ExportResult:
    """Write the export to `made`, compare and measure it; raise `Mismatch` if it differs."""
    config = request.config
    written = _by_tool(lambda: form.write(made, request))
    function = _by_tool(lambda: form.read(made, request))
    compared = None
    if config.precision != "int8":
        compared = _by_tool(lambda: _compared(function, request))
        if not compared.equal:
            raise Mismatch(
                f"the export differs by {compared.difference:.2g} on outputs up to "
                f"{compared.scale:.2g}; it was removed"
            )
    size = sum(map(bytes_of, [made, *(made.with_suffix(each) for each in form.beside)]))
    found = _by_tool(
        lambda: measured(
            function, _reference(form, request), request, size=size, runtime=form.runtime
        )
    )
    quantised = written.quantised if written is not None else None
    result = ExportResult(
        config, request.source, made, made, compared, found, request.why, quantised
    )
    _check_loss(result, request)
    if form.finish is not None:
        form.finish(made, request, found)
    _record(form, made, result, request)
    return result


def _by_tool(work: Callable[[], R]) -> R:
    """Return `work()`; raise `Mismatch` for exceptions of other tools in it."""
    try:
        return work()
    except (ValueError, OSError, Failure):
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise Mismatch(f"it could not be written or loaded back ({reason})") from error


def _compared(function: Function, request: Request) -> Compared:
    config = request.config
    pictures, what = pictures_for(request)
    if config.with_preprocessing:
        found = compare_decoded(request, function, pictures)
        return dataclasses.replace(found, images=f"{COUNT} {what}, decoded")
    found = compare(
        request.network,
        function,
        as_batch(pictures, request.preprocessing),
        tolerance=TOLERANCE if config.precision == "float32" else COARSE,
        probabilities=config.softmax,
    )
    return dataclasses.replace(
        found, images=f"{COUNT} random inputs and {COUNT} {what}, in batches of 1 and 3"
    )


def _reference(form: Format, request: Request) -> Function | None:
    """Return the network in float32 in the export's runtime; None if the export is that network."""
    config = request.config
    if form.runtime == "torch":
        return None
    if config.precision == "float32" and not config.with_preprocessing:
        return None
    if form.runtime == "openvino":
        return openvino_function(request.float_onnx)
    return onnx_function(request.float_onnx)


def _check_loss(result: ExportResult, request: Request) -> None:
    """Raise `Mismatch` if the export loses more accuracy than allowed."""
    loss, most = result.measured.loss, request.config.max_loss
    if loss is None or loss.points <= most:
        return
    text = f"{request.config.precision} {loss}, more than --max-loss {most:g}; it was removed"
    if result.quantised is None:
        raise Mismatch(text)
    from train.export.int8 import advice, with_layers

    raise Mismatch(f"{text}; {advice(with_layers(request, result.quantised))}")


def _record(form: Format, made: Path, result: ExportResult, request: Request) -> None:
    """Write the program and the measurements, beside a file or into a folder."""
    config, quantised = result.config, result.quantised
    assert config.to is not None
    record = made / "export.json" if form.program else made.with_name(f"{made.name}.json")
    if not form.program:
        program_file(made).write_text(program_of(config.to, made.name), encoding="utf-8")
    content: dict[str, Any] = {
        "format": config.to,
        "precision": config.precision,
        "with_preprocessing": config.with_preprocessing,
        "softmax": config.softmax,
        "compared": None if result.compared is None else dataclasses.asdict(result.compared),
        **result.measured.to_dict(),
        "network": describe_weights(request.weights),
    }
    if quantised is not None:
        content["int8"] = {
            "calibration": quantised.method,
            "methods": {name: each.to_dict() for name, each in quantised.methods.items()},
            "float_layers": list(quantised.float_layers),
            "layers": {name: each.to_dict() for name, each in (quantised.layers or {}).items()},
        }
    write_json(record, finite({**content, **circumstances(PACKAGES)}))


def program_file(target: Path) -> Path:
    """Return the path of the program beside an exported file."""
    return target.with_name(f"{target.name}.py")


def weights_file(run: Path) -> Path:
    """Return the weights file of a run's folder or the file; raise ValueError if missing."""
    path = run / "best.safetensors" if run.is_dir() else run
    if path.is_file():
        return path
    if run.is_dir():
        raise ValueError(no_weights(run))
    raise ValueError(f"{run} does not exist")


def _target(form: Format, config: ExportConfig, source: Path) -> Path:
    """Return the new file or folder to write; raise ValueError if it exists or cannot be made."""
    name = Path(form.name)
    if config.precision != "float32":
        name = name.with_suffix(f".{config.precision}{name.suffix}")
    target = source.parent / name if config.out is None else Path(config.out)
    if name.suffix and target.suffix != name.suffix:
        raise ValueError(f"--out: {target} must end in {name.suffix}")
    others = [target.with_suffix(each) for each in form.beside]
    if not form.program:
        others += [target.with_name(f"{target.name}.json"), program_file(target)]
    for path in (target, *others):
        if path.exists():
            raise ValueError(f"{path} already exists; remove it, or use another --out")
    if not target.parent.is_dir():
        raise ValueError(f"{target.parent} does not exist; create it, or use another --out")
    return target
