"""The model card of an export for the Hugging Face Hub: README.md with its front matter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from search_spaces.cost import cost
from train.export.loss import Loss
from train.export.origin import Origin, origin_of
from train.export.request import Request
from vbs.accuracy import accuracy_error
from vbs.load import NOTICED
from vbs.text import counted, shortened

if TYPE_CHECKING:
    from train.export.measure import Measured

SHOWN = 50  # largest number of classes that the card lists


def model_card(
    request: Request, measured: Measured, *, name: str | None, repository: str | None
) -> str:
    """Return the card in Markdown.

    name        name of the network in timm; None if timm has none.
    repository  USER/NAME on the Hub; None if unknown.
    """
    origin = origin_of(request.weights, request.source)
    title = (repository or name or origin.network or "image classifier").rpartition("/")[2]
    parts = [
        _front_matter(request.config.license),
        f"# {_text(title)}",
        f"An image classifier with {request.weights.architecture.classes} classes, in PyTorch, "
        "exported by vision-baseline-search.",
        "## Use",
        _use(name, repository),
        "## Results",
        _results(request, measured),
        "## Origin of the architecture",
        _architecture(origin, name),
        "## Training",
        _training(origin),
        "## Limits",
        _limits(request, measured),
        "## Licence",
        f"`{request.config.license}`"
        + (" (not stated: fill it in)" if request.config.license == "other" else ""),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(license_id: str) -> str:
    tags = ("image-classification", "timm", "neural-architecture-search")
    lines = ["license: " + license_id, "library_name: timm", "pipeline_tag: image-classification"]
    return "\n".join(["---", *lines, "tags:", *(f"- {tag}" for tag in tags), "---"])


def _use(name: str | None, repository: str | None) -> str:
    text = (
        "`load.py` in this folder classifies photographs, `python load.py PHOTO.jpg`. It contains "
        "the whole code of the network and its preprocessing and needs timm, torch, safetensors, "
        "numpy and pillow."
    )
    if name is None:
        return (
            f"{text}\n\ntimm has no name for this network, so `timm.create_model` does not build "
            "it; `load.py` builds it from timm's blocks."
        )
    place = f"hf-hub:{repository}" if repository else "local-dir:FOLDER"
    return (
        f"{text} timm also loads it by name:\n\n```python\nimport timm\n\n"
        f'network = timm.create_model("{place}", pretrained=True).eval()\n'
        "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))\n"
        "```\n\ntimm's transform rounds the size before the crop down; the training of this "
        "network rounded it to the nearest pixel, as `load.py` does."
    )


def _results(request: Request, measured: Measured) -> str:
    architecture = request.weights.architecture
    spent = cost(architecture)
    side = request.preprocessing.resolution
    rows = [
        ("parameters", f"{spent.params:,}"),
        (f"multiply-adds at {architecture.resolution} px", f"{spent.flops:,}"),
        (f"activations at {architecture.resolution} px", f"{spent.activations:,}"),
        ("size of the evaluated images", f"{side} px"),
    ]
    if measured.loss is not None:
        rows.insert(0, ("top-1 accuracy", _accuracy(measured.loss)))
    threads = counted(measured.threads, "thread")
    rows.append((f"latency, torch, {threads}, CPU", _latency(measured)))
    rows += [("latency, as measured by its author", each) for each in request.config.measured]
    text = _table(rows)
    if measured.loss is not None:
        images = request.images
        assert images is not None
        text += f"\n\nMeasured on {measured.loss.images:,} {images.kind} images."
    return text


def _accuracy(loss: Loss) -> str:
    error = float(accuracy_error(loss.after, loss.images))
    return f"{loss.after:.2f}% ± {error:.2f} (one standard deviation due to the number of images)"


def _latency(measured: Measured) -> str:
    busy = measured.load.waiting > NOTICED
    note = "; other programs slowed the machine" if busy else ""
    return f"{measured.latency} for one image (median and quartiles{note})"


def _architecture(origin: Origin, name: str | None) -> str:
    if name is not None:  # also if it was the parent network of a search
        return f"The published network {_text(name)}."
    if not origin.search:
        if not origin.network:
            return "Not recorded."
        return f"{_text(origin.network)}; the records name no search that found it."
    lines = "A network of an architecture search with these settings:\n\n" + _table(origin.search)
    if origin.searched:
        lines += "\n\nCost of the search:\n\n" + _table(origin.searched)
    return lines


def _training(origin: Origin) -> str:
    rows: dict[str, Any] = {"data": origin.data} if origin.data else {}
    if origin.parent:
        rows["initial weights"] = origin.parent
    rows |= {"recipe" if name == "name" else name: value for name, value in origin.recipe.items()}
    if origin.hours is not None:
        rows["hours"] = f"{origin.hours:.2f}"
    return _table(rows) if rows else "Not recorded."


def _limits(request: Request, measured: Measured) -> str:
    classes = request.weights.classes
    named = ", ".join(_text(each) for each in classes[:SHOWN])
    more = f" and {len(classes) - SHOWN:,} more (see `timm.json`)" if len(classes) > SHOWN else ""
    lines = [
        f"- Every image is assigned to one of these classes, whatever it shows: {named}{more}.",
        "- Images must be prepared as in training (`preprocessing` in `timm.json`).",
        "- Images from other sources than the training data may be classified less accurately; "
        "this was not measured.",
    ]
    if measured.loss is None:
        lines.append("- The accuracy was not measured by this export: it had no held-out images.")
    return "\n".join(lines)


def _table(rows: Mapping[str, Any] | list[tuple[str, str]]) -> str:
    pairs = rows.items() if isinstance(rows, Mapping) else rows
    return "\n".join(
        ["| | |", "|---|---|", *(f"| {_text(key)} | {_text(value)} |" for key, value in pairs)]
    )


def _text(value: object) -> str:
    """Return a recorded value as plain text in Markdown, with special characters escaped."""
    escaped = str(shortened(value))
    for character in "\\`*_{}[]<>#|":
        escaped = escaped.replace(character, f"\\{character}")
    return escaped
