"""Quantisation of a network to int8 by the calibration method that is best on held-out images.

If int8 loses more accuracy than allowed, each layer is left in float in turn, to find the layers
that lose most. `--float-layers auto` leaves the worst layers in float, one after another, until the
loss is small enough.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import onnx
import torch
from torch import Tensor

from train.export.images import Images, prepared
from train.export.loss import Loss, accuracy_loss
from train.export.quantise import METHODS, Quantiser, calibrated, layer_matches, layers_of
from train.export.request import Request
from train.export.runtimes import Function, onnx_function
from vbs.command import Failure
from vbs.console import print_err
from vbs.progress import Progress, State
from vbs.text import one_of

CALIBRATION_BATCH = 4  # images whose activations are in memory at once
CHOICE_BYTES = 512 * 1024**2  # memory of the images that exports are compared on
NAMED = 3  # largest number of layers in the advice
AUTO = "auto"


@dataclass(frozen=True)
class Quantised:
    """A network in int8.

    method        calibration method.
    methods       loss of each method on the images for choices, with all layers in int8 except
                  those that the user named.
    float_layers  layers left in float.
    layers        loss with one further layer in float, by its name; None if not measured.
    """

    model: onnx.ModelProto
    quantiser: Quantiser
    method: str
    methods: dict[str, Loss]
    float_layers: tuple[str, ...] = ()
    layers: dict[str, Loss] | None = None


@dataclass(frozen=True)
class Bench:
    """Images in memory to compare networks on, and the logits in float32.

    batches  of images [n, c, side, side].
    """

    batches: list[Tensor]
    targets: Tensor
    logits: Tensor

    def loss(self, model: onnx.ModelProto) -> Loss:
        """Return the accuracy that a network loses."""
        return accuracy_loss(self.logits, _logits(_function(model), self.batches), self.targets)


def quantise(request: Request) -> Quantised:
    """Quantise the network of a request.

    Raises ValueError if there are no images, or for an unknown layer name.
    """
    images = request.images
    if images is None:
        raise ValueError(
            f"--precision int8 needs images to calibrate on; name them by --data ({request.why})"
        )
    given = request.config.float_layers
    named: tuple[str, ...] = ()
    if given not in (None, AUTO):  # checked before the calibration, which takes minutes
        named = named_layers(str(given), onnx.load(request.float_onnx))
    quantiser = _calibrated(request, images)
    bench = _bench(request, images)
    methods, models = {}, {}
    for method in METHODS:
        models[method] = quantiser.quantised(method, named)
        methods[method] = bench.loss(models[method])
    best = min(methods, key=lambda name: (methods[name].points, methods[name].divergence))
    found = Quantised(models[best], quantiser, best, methods, named)
    if given == AUTO and methods[best].points > request.config.max_loss:
        return _without_worst(found, bench, request.config.max_loss)
    return found


def with_layers(request: Request, found: Quantised) -> Quantised:
    """Measure the loss with each further layer in float, unless it is already measured."""
    assert request.images is not None
    return found if found.layers is not None else _measured(found, _bench(request, request.images))


def advice(found: Quantised) -> str:
    """Return advice on how to reduce a loss, in one sentence."""
    if not found.layers:
        return "every layer is already in float"
    base = found.methods[found.method]
    gains = {name: base.points - found.layers[name].points for name in _by_gain(found)}
    worst = [name for name, points in gains.items() if points > 0][:NAMED]
    if not worst:
        return (
            f"no single layer in float regains accuracy on {base.images} other images; try "
            "--float-layers auto, more --calibration images, or a larger --max-loss"
        )
    regained = ", ".join(f"{name} {gains[name]:.2f} points" for name in worst)
    names = ",".join([*found.float_layers, *worst])
    return (
        f"the layers that hurt most, with the points that leaving one of them in float regains on "
        f"{base.images} other images: {regained}; use --float-layers {names}, --float-layers auto, "
        "or a larger --max-loss"
    )


def named_layers(text: str, model: onnx.ModelProto) -> tuple[str, ...]:
    """Return names of layers; raise ValueError for an unknown one."""
    known = layers_of(model)
    nodes = [node.name for node in model.graph.node]
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if not any(layer_matches(node, name) for node in nodes):
            one_of("--float-layers", name, known)
    if not names:
        raise ValueError(f"--float-layers names no layer; use some of {', '.join(known)}")
    return names


def _calibrated(request: Request, images: Images) -> Quantiser:
    how, split = request.preprocessing, images.calibration
    steps = -(-len(split) // CALIBRATION_BATCH) * len(METHODS)
    with Progress(State(0, steps, "batches calibrated"), lines=3) as progress:
        done = 0

        def batches():  # type: ignore[no-untyped-def]
            nonlocal done
            for batch, _ in prepared(split, how, CALIBRATION_BATCH):
                yield batch
                done += 1
                progress.update(State(done, steps, "batches calibrated"))

        return calibrated(request.float_onnx, batches)


def _bench(request: Request, images: Images) -> Bench:
    how = request.preprocessing
    size = 4 * how.channels * how.resolution**2
    count = max(32, min(len(images.choice), CHOICE_BYTES // size))
    pairs = list(prepared(images.choice.select(range(min(count, len(images.choice)))), how))
    batches = [batch for batch, _ in pairs]
    targets = torch.cat([labels for _, labels in pairs])
    return Bench(batches, targets, _logits(onnx_function(request.float_onnx), batches))


def _measured(found: Quantised, bench: Bench) -> Quantised:
    """Measure the loss with each further layer in float."""
    names = [
        name
        for name in layers_of(found.quantiser.model)
        if not _covered(name, found.float_layers, found.quantiser.model)
    ]
    losses = {}
    with Progress(State(0, len(names), "layers tried in float"), lines=5) as progress:
        for count, name in enumerate(names, 1):
            model = found.quantiser.quantised(found.method, (*found.float_layers, name))
            losses[name] = bench.loss(model)
            progress.update(State(count, len(names), "layers tried in float"))
    return Quantised(
        found.model, found.quantiser, found.method, found.methods, found.float_layers, losses
    )


def _without_worst(found: Quantised, bench: Bench, most: float) -> Quantised:
    """Leave layers in float, the worst first, until the loss is at most `most` points."""
    found = _measured(found, bench)
    left: list[str] = []
    for name in _by_gain(found):
        left.append(name)
        model = found.quantiser.quantised(found.method, left)
        loss = bench.loss(model)
        if loss.points <= most:
            break
    else:
        raise Failure(f"int8 {loss} with every layer in float; use a larger --max-loss")
    print_err(f"in float: {', '.join(left)}")
    return Quantised(model, found.quantiser, found.method, found.methods, tuple(left), found.layers)


def _by_gain(found: Quantised) -> list[str]:
    """Return the layers, sorted by how much leaving them in float improves the network.

    This is measured by the divergence from the network in float32, which changes smoothly; the
    accuracy on a few hundred images changes in steps.
    """
    assert found.layers is not None
    return sorted(found.layers, key=lambda name: found.layers[name].divergence)  # type: ignore[index]


def _covered(layer: str, names: Collection[str], model: onnx.ModelProto) -> bool:
    """Return whether all nodes of a layer are in float already."""
    own = [node.name for node in model.graph.node if layer_matches(node.name, layer)]
    return all(any(layer_matches(node, name) for name in names) for node in own)


def _function(model: onnx.ModelProto) -> Function:
    return onnx_function(model.SerializeToString())


def _logits(function: Callable[[Tensor], Tensor], batches: list[Tensor]) -> Tensor:
    return torch.cat([function(batch) for batch in batches])
