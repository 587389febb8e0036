"""Writing networks to ONNX files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

OPSET = 18  # native to torch's exporter: the lowest version that needs no conversion
PACKAGES = ("onnx", "onnxscript")  # packages that writing needs
SCOPES = "pkg.torch.onnx.name_scopes"  # torch's metadata of the modules that a node comes from


def write_onnx(
    path: Path,
    network: nn.Module,
    shape: tuple[int, int, int, int],
    *,
    any_batch: bool,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write a network in evaluation mode as an ONNX file, from "images" to "logits", float32.

    shape      shape of the images, [batch, channels, height, width].
    any_batch  whether the file takes batches of any size; else only that of `shape`.
    about      metadata of the file, name -> plain value, written as JSON.

    Nodes are named MODULE/OPERATOR_NUMBER, e.g. "blocks.0.0.conv_dw/Conv_3". Raises ValueError if
    torch is older than 2.6.
    """
    if not hasattr(torch.onnx, "ONNXProgram") or not hasattr(torch.export.Dim, "DYNAMIC"):
        raise ValueError(f"torch {torch.__version__} is too old for onnx; use 2.6 or newer")
    program = torch.onnx.export(
        network,
        (torch.zeros(shape),),
        dynamo=True,
        verbose=False,
        opset_version=OPSET,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},) if any_batch else None,
    )
    assert program is not None
    modules = {name for name, _ in network.named_modules()}
    for index, node in enumerate(program.model.graph):
        scopes = re.findall(r"'([^']*)'", node.metadata_props.get(SCOPES, ""))
        module = next((name for name in reversed(scopes) if name in modules), "")
        node.name = f"{module}/{node.op_type}_{index}"
        node.metadata_props.clear()  # they contain paths of files on this machine
    for name, value in (about or {}).items():
        program.model.metadata_props[name] = json.dumps(value)
    program.save(str(path), external_data=False)
