"""Programs that classify photographs with an export, written beside it.

They need the runtime, NumPy and Pillow, but not this project; only the program for safetensors
needs it, because no other tool builds that network. Images of 8 bits are prepared exactly as by
`train.preprocessing` on an x86 processor with AVX2; on others its pixels differ by one level.
"""

from __future__ import annotations

import re
import textwrap

PREPARED = '''
def opened(name: str, mode: str) -> Image.Image:
    """Open a photograph, upright and without alpha."""
    image = ImageOps.exif_transpose(Image.open(name))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def resized(pixels: np.ndarray, length: int) -> np.ndarray:
    """Resize the rows of uint8 [rows, ...]: bilinear with antialiasing, as PyTorch rounds it.

    Pillow's weights have more bits, which changes a few pixels in a hundred by one level of 255.
    """
    rows = len(pixels)
    if rows == length:
        return pixels
    scale, reach = rows / length, max(rows / length, 1.0)
    found = []
    for index in range(length):
        centre = scale * (index + 0.5)
        first, last = max(int(centre - reach + 0.5), 0), min(int(centre + reach + 0.5), rows)
        weights = 1 - abs(np.arange(first, last) - centre + 0.5) / reach
        found.append((first, weights / weights.sum()))
    largest, bits = max(weights.max() for _, weights in found), 0
    while bits < 22 and int(largest * 2 ** (bits + 1) + 0.5) < 2**15:  # weights have 16 bits
        bits += 1
    made = np.empty((length, *pixels.shape[1:]), np.uint8)
    for index, (first, weights) in enumerate(found):
        weights = np.floor(weights * 2**bits + 0.5)
        levels = np.tensordot(weights, pixels[first : first + len(weights)].astype(float), 1)
        made[index] = np.clip(np.floor(levels / 2**bits + 0.5), 0, 255)
    return made


def cropped(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Crop an image [h, w, channels] at its centre."""
    top, left = (round((a - b) / 2) for a, b in zip(pixels.shape, (height, width)))
    return pixels[top : top + height, left : left + width]


def prepared(name: str, how: dict) -> np.ndarray:
    """Return float32 [1, channels, side, side]: resized, cropped at the centre, normalised."""
    channels, size = how["channels"], how["resolution"]
    pixels = np.asarray(opened(name, "L" if channels == 1 else "RGB"))
    height, width = pixels.shape[:2]
    short = min(height, width)
    height, width = min(height, 8 * short), min(width, 8 * short)
    pixels = cropped(pixels.reshape(*pixels.shape[:2], channels), height, width)
    side = round(size / how["crop_share"])
    height, width = (int(side * length / short) for length in (height, width))
    pixels = resized(pixels.swapaxes(0, 1), width).swapaxes(0, 1)
    pixels = cropped(resized(pixels, height), size, size)
    mean, std = (how[key] if channels == 3 else [sum(how[key]) / 3] for key in ("mean", "std"))
    mean, std = (np.array([255 * v for v in values], np.float32) for values in (mean, std))
    return ((pixels.astype(np.float32) - mean) / std).transpose(2, 0, 1)[None].copy()


def show(name: str, outputs: np.ndarray, about: dict) -> None:
    """Print the five most probable classes of a photograph."""
    outputs = outputs.ravel().astype(np.float64)
    if about.get("output") != "probabilities":
        outputs = np.exp(outputs - outputs.max())
        outputs /= outputs.sum()
    best = np.argsort(-outputs)[:5]
    print(name, *(f"{about['classes'][index]} ({outputs[index]:.1%})" for index in best), sep="\\t")
'''

_HEAD = '''"""Classify photographs: python PROGRAM PHOTO.jpg ...

Needs NEEDS.
"""

import json
import sys
from pathlib import Path

import numpy as np
IMPORTS
'''

_PHOTOS = """
photos = []
for name in sys.argv[1:] or sys.exit(f"usage: python {sys.argv[0]} PHOTO.jpg|FOLDER ..."):
    inside = sorted(map(str, Path(name).rglob("*"))) if Path(name).is_dir() else [name]
    kinds = Image.registered_extensions()
    found = [each for each in inside if each == name or Path(each).suffix.lower() in kinds]
    photos += found or sys.exit(f"{name} holds no photographs")
for name in photos:
    if not Path(name).is_file():
        sys.exit(f"{name} does not exist")
    try:
        Image.open(name).load()
    except Exception as error:  # Pillow raises many types for damaged files
        sys.exit(f"{name} cannot be read as a photograph ({error})")
"""

ONNX = (
    _HEAD
    + PREPARED
    + _PHOTOS
    + """
session = onnxruntime.InferenceSession(
    str(Path(__file__).with_name(FILE)), providers=["CPUExecutionProvider"]
)
notes = session.get_modelmeta().custom_metadata_map
about = {key: json.loads(value) for key, value in notes.items()}
(given,) = session.get_inputs()
for name in photos:
    if about["input"] == "uint8":  # the preprocessing is in the file
        images = np.asarray(opened(name, "L" if given.shape[3] == 1 else "RGB"))
        images = images.reshape(1, *images.shape[:2], given.shape[3])
    else:
        images = prepared(name, about["preprocessing"])
    show(name, session.run(None, {given.name: images})[0], about)
"""
)

OPENVINO = (
    _HEAD
    + PREPARED
    + _PHOTOS
    + """
file = Path(__file__).with_name(FILE)
core = openvino.Core()
network = core.read_model(file)
about = {
    key: json.loads(network.get_rt_info(["vision_baseline_search", key]).astype(str))
    for key in ("classes", "preprocessing", "output")
}
network = core.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
for name in photos:
    show(name, network(prepared(name, about["preprocessing"]))[0], about)
"""
)

TORCHSCRIPT = (
    _HEAD
    + PREPARED
    + _PHOTOS
    + """
notes = {"description.json": ""}
network = torch.jit.load(str(Path(__file__).with_name(FILE)), "cpu", _extra_files=notes)
about = json.loads(notes["description.json"])
for name in photos:
    with torch.inference_mode():
        outputs = network(torch.from_numpy(prepared(name, about["preprocessing"])))
    show(name, outputs.numpy(), about)
"""
)

TFLITE = (
    _HEAD
    + PREPARED
    + _PHOTOS
    + """
file = Path(__file__).with_name(FILE)
about = json.loads(file.with_name(file.name + ".json").read_text())["network"]
network = Interpreter(str(file))
network.allocate_tensors()
(given,), (output,) = network.get_input_details(), network.get_output_details()
for name in photos:
    network.set_tensor(given["index"], prepared(name, about["preprocessing"]))
    network.invoke()
    show(name, network.get_tensor(output["index"]), about)
"""
)

SAFETENSORS = (
    _HEAD
    + """from PIL import Image

from train import load_network
from train.preprocessing import preprocess
"""
    + _PHOTOS
    + """
trained = load_network(Path(__file__).with_name(FILE))
for name in photos:
    with torch.inference_mode():
        images = torch.from_numpy(preprocess(Image.open(name), trained.preprocessing))[None]
        probabilities = trained.module(images)[0].softmax(0)
    values, indices = probabilities.topk(min(5, len(probabilities)))
    best = zip(values.tolist(), indices.tolist())
    print(name, *(f"{trained.classes[index]} ({value:.1%})" for value, index in best), sep="\t")
"""
)

TIMM = (
    '''"""Classify photographs with this network in timm: python load.py PHOTO.jpg ...

Needs timm, torch, safetensors, numpy and pillow.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file


FUNCTION
'''
    + PREPARED
    + """

folder = Path(__file__).resolve().parent
about = json.loads((folder / "timm.json").read_text())
network = timm_network(about)
network.load_state_dict(load_file(folder / "model.safetensors"))
network.eval()  # takes images [n, *input_size] in [0, 1], minus mean, divided by std

if __name__ == "__main__":"""
    + textwrap.indent(_PHOTOS, "    ")
    + """    for name in photos:
        with torch.inference_mode():
            outputs = network(torch.from_numpy(prepared(name, about["preprocessing"])))
        show(name, outputs.numpy(), about)
"""
)

_IMPORTS = {
    "onnx": ("import onnxruntime\nfrom PIL import Image, ImageOps\n", "numpy, onnxruntime, pillow"),
    "openvino": ("import openvino\nfrom PIL import Image, ImageOps\n", "numpy, openvino, pillow"),
    "tflite": (
        "from ai_edge_litert.interpreter import Interpreter\nfrom PIL import Image, ImageOps\n",
        "ai-edge-litert, numpy, pillow",
    ),
    "torchscript": ("import torch\nfrom PIL import Image, ImageOps\n", "numpy, pillow, torch"),
    "safetensors": ("import torch", "vision-baseline-search"),
}
PROGRAMS = {
    "onnx": ONNX,
    "openvino": OPENVINO,
    "tflite": TFLITE,
    "torchscript": TORCHSCRIPT,
    "safetensors": SAFETENSORS,
}


def program_of(kind: str, file: str) -> str:
    """Return the program for a file of that name, which must be beside it."""
    imports, needs = _IMPORTS[kind]
    # escaped, because the name stands inside a docstring
    program = ascii(f"{file}.py")[1:-1].replace('"', "'")
    words = {"IMPORTS": imports, "NEEDS": needs, "FILE": ascii(file), "PROGRAM": program}
    # replaced at once, because the name of a file may contain one of these words
    return re.sub("|".join(words), lambda found: words[found[0]], PROGRAMS[kind])
