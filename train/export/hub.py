"""A folder for the Hugging Face Hub: config.json in timm's format, weights and a model card.

`timm.create_model("local-dir:FOLDER", pretrained=True)`, or "hf-hub:USER/NAME", loads a network
that has a name in timm. timm cannot build other networks from a config.json; load.py in the folder
builds these from timm's blocks, as in `--to timm`.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file

from search_spaces.architecture import Architecture
from search_spaces.catalog import zoo
from search_spaces.zoo import NETWORKS
from train.export.block_strings import timm_network
from train.export.card import model_card
from train.export.request import Request
from train.export.runtimes import Function
from vbs.folder import write_json
from vbs.text import shell_command

if TYPE_CHECKING:
    from train.export.measure import Measured

SEARCHED = "vision_baseline_search"  # "architecture" of networks without a name in timm


def published_name(architecture: Architecture) -> str | None:
    """Return timm's name of a network, for any classes and image size; None if it has none."""
    import timm

    for name in NETWORKS:
        same = replace(
            zoo(name),
            classes=architecture.classes,
            resolution=architecture.resolution,
            in_channels=architecture.in_channels,
        )
        if same == architecture and timm.is_model(name):
            return name
    return None


def write_hub(folder: Path, request: Request) -> None:
    """Write config.json to a folder that contains the files of `--to timm`."""
    how, architecture = request.preprocessing, request.weights.architecture
    grey = {"in_chans": how.channels} if how.channels != 3 else {}
    config = {
        "architecture": published_name(architecture) or SEARCHED,
        "num_classes": architecture.classes,
        "num_features": request.network.classifier.in_features,
        "label_names": list(request.weights.classes),
        "pretrained_cfg": {
            "num_classes": architecture.classes,
            "input_size": [how.channels, how.resolution, how.resolution],
            "fixed_input_size": False,
            "interpolation": how.interpolation,
            "crop_pct": how.crop_share,
            "crop_mode": "center",
            "mean": list(how.channel_mean),
            "std": list(how.channel_std),
            "custom_load": False,
            "pool_size": None,
            "first_conv": "conv_stem",
            "classifier": "classifier",
            "license": request.config.license,
        },
        "model_args": {"num_classes": architecture.classes, **grey},
    }
    write_json(folder / "config.json", config)


def read_hub(folder: Path, request: Request) -> Function:
    """Load the network with timm, by its name if it has one."""
    config = json.loads((folder / "config.json").read_text())
    if config["architecture"] != SEARCHED:
        import timm

        return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    network = timm_network(json.loads((folder / "timm.json").read_text()))
    network.load_state_dict(load_file(folder / "model.safetensors"))
    return network.eval()


def write_card(folder: Path, request: Request, measured: Measured) -> None:
    """Write README.md, the model card."""
    name = published_name(request.weights.architecture)
    text = model_card(request, measured, name=name, repository=request.config.push)
    (folder / "README.md").write_text(text, encoding="utf-8")


def push(folder: Path, repository: str) -> str:
    """Upload a folder with huggingface_hub, as its logged-in user; return the address.

    Raises ValueError (one line) with the command to type instead.
    """
    typed = shell_command(["hf", "upload", repository, str(folder)])
    if importlib.util.find_spec("huggingface_hub") is None:
        raise ValueError(
            "--push: huggingface_hub is not installed; pip install huggingface_hub, hf auth "
            f"login, then {typed}"
        )
    import huggingface_hub

    try:
        hub: Any = huggingface_hub.HfApi()
        hub.create_repo(repository, exist_ok=True)
        return str(hub.upload_folder(folder_path=str(folder), repo_id=repository))
    except Exception as error:  # errors of huggingface_hub, of HTTP and of sockets
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ValueError(
            f"--push: {repository} was not uploaded ({reason}); when the Hub can be reached and "
            f"you are logged in (hf auth login): {typed}"
        ) from None
