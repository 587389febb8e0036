"""Additions to ONNX graphs of networks: preprocessing, softmax and metadata.

The preprocessing is that of `train.preprocessing` on decoded images: crop of very long images,
antialiased bilinear resize, central crop, normalisation. onnxruntime resizes uint8 images with
Pillow's fixed-point arithmetic if pixels outside the image are excluded from the means
(`exclude_outside`). Pixels differ from Pillow's and torchvision's by rounding, by one level of 255
and rarely two; more than nine of ten are equal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import onnx
from onnx import compose, helper, parser

from train.export.onnx_file import OPSET
from train.preprocessing import Preprocessing

_PREPROCESSING = """
<ir_version: {ir}, opset_import: ["" : {opset}]>
preprocessing (uint8[1, height, width, {channels}] pixels)
    => (float[1, {channels}, {size}, {size}] prepared)
{{
    axes = Constant<value = int64[2] {{2, 3}}>()
    half = Constant<value = float {{0.5}}>()
    planes = Transpose<perm = [0, 3, 1, 2]>(pixels)
    given = Shape<start = 2, end = 4>(planes)
    short = ReduceMin<keepdims = 1>(given)
    aspect = Constant<value = int64[1] {{8}}>()
    longest = Mul(short, aspect)
    kept = Min(given, longest)
    spare = Sub(given, kept)
    spare_float = Cast<to = 1>(spare)
    spare_half = Mul(spare_float, half)
    spare_round = Round(spare_half)
    start = Cast<to = 7>(spare_round)
    stop = Add(start, kept)
    cut = Slice(planes, start, stop, axes)
    side = Constant<value = int64[1] {{{side}}}>()
    product = Mul(kept, side)
    target = Div(product, short)
    lead = Constant<value = int64[2] {{1, {channels}}}>()
    sizes = Concat<axis = 0>(lead, target)
    resized = Resize<mode = "linear", antialias = 1, exclude_outside = 1,
        coordinate_transformation_mode = "half_pixel">(cut, , , sizes)
    size = Constant<value = int64[2] {{{size}, {size}}}>()
    border = Sub(target, size)
    border_float = Cast<to = 1>(border)
    border_half = Mul(border_float, half)
    border_round = Round(border_half)
    first = Cast<to = 7>(border_round)
    last = Add(first, size)
    square = Slice(resized, first, last, axes)
    levels = Cast<to = 1>(square)
    centred = Sub(levels, mean)
    prepared = Div(centred, std)
}}
"""


def preprocessing_model(how: Preprocessing, *, ir: int = 8, opset: int = OPSET) -> onnx.ModelProto:
    """Return a model of the preprocessing alone.

    It maps "pixels", uint8 [1, height, width, channels] of any size, to "prepared", float32
    [1, channels, side, side].
    """
    text = _PREPROCESSING.format(
        ir=ir, opset=opset, channels=how.channels, size=how.resolution, side=how.side
    )
    model = parser.parse_model(text)
    for name, values in (("mean", how.channel_mean), ("std", how.channel_std)):
        levels = [255 * value for value in values]
        shape = [1, how.channels, 1, 1]
        model.graph.initializer.append(
            helper.make_tensor(name, onnx.TensorProto.FLOAT, shape, levels)
        )
    return model


def with_preprocessing(model: onnx.ModelProto, how: Preprocessing) -> onnx.ModelProto:
    """Return a model of "images" as one of "pixels", uint8 [1, height, width, channels]."""
    front = preprocessing_model(how, ir=model.ir_version, opset=opset_of(model))
    del front.opset_import[:]
    front.opset_import.extend(model.opset_import)
    merged = compose.merge_models(
        front, model, [("prepared", "images")], prefix1="preprocessing/", name="network"
    )
    _rename_input(merged, "preprocessing/pixels", "pixels")
    # one image at a time, because the preprocessing depends on the image's size
    for value in merged.graph.output:
        value.type.tensor_type.shape.dim[0].Clear()
        value.type.tensor_type.shape.dim[0].dim_value = 1
    del merged.graph.value_info[:]
    return merged


def with_softmax(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model with the output "probabilities" instead of "logits"."""
    (output,) = model.graph.output
    node = helper.make_node(
        "Softmax", ["logits"], ["probabilities"], name="softmax/Softmax", axis=1
    )
    model.graph.node.append(node)
    output.name = "probabilities"
    return model


def describe(model: onnx.ModelProto, about: Mapping[str, Any]) -> None:
    """Replace the metadata of a model, name -> plain value, written as JSON."""
    helper.set_model_props(model, {name: json.dumps(value) for name, value in about.items()})


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of the model's standard operators."""
    return next((each.version for each in model.opset_import if each.domain == ""), OPSET)


def _rename_input(model: onnx.ModelProto, old: str, new: str) -> None:
    for value in model.graph.input:
        value.name = new if value.name == old else value.name
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
