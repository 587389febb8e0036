"""OpenVINO IR files of networks: NAME.xml with the graph and NAME.bin with the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NOTES = "vision_baseline_search"  # section of the file's runtime information for the metadata


def write_openvino(path: Path, onnx_file: Path, *, half: bool, about: Mapping[str, Any]) -> None:
    """Convert an ONNX file to an OpenVINO file `path` (.xml) with its weights beside it (.bin).

    half   whether weights are stored in float16.
    about  metadata, name -> plain value, written as JSON under `NOTES`.
    """
    import openvino

    model = openvino.convert_model(str(onnx_file))
    for name, value in about.items():
        model.set_rt_info(json.dumps(value), [NOTES, name])
    openvino.save_model(model, str(path), compress_to_fp16=half)
