"""The commands by the names that `vbs` has for them; nothing of them is imported."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """A command: the module that is run, and what it does, in a line."""

    program: str
    help: str


COMMANDS: dict[str, Entry] = {
    "search": Entry("nas.search", "find the best network within a target of FLOPs or time"),
    "show": Entry("search_spaces.show", "print the stages and the cost of a network"),
    "fidelity": Entry("nas.fidelity", "find how short trainings may be that compare networks"),
    "device": Entry("nas.block_times", "measure the blocks of a space on this machine"),
    "device kit": Entry("nas.devices.kit", "write networks to measure on a device of your own"),
    "device fit": Entry("nas.devices.fit", "fit a device to the measured networks of a kit"),
    "grid": Entry("scaling.grid", "find alpha, beta and gamma of a baseline"),
    "family": Entry("scaling.family", "grow a baseline to a family of networks"),
    "training-aware": Entry("scaling.training_aware", "search as EfficientNetV2 did, and grow"),
    "baseline": Entry("scaling.baseline", "from images and a budget to a trained family"),
    "train": Entry("train.run", "train one network"),
    "train-many": Entry("train.ray_tune", "train many networks on a cluster"),
    "noisy-student": Entry("train.noisy_student", "train with images that have no labels"),
    "export": Entry("train.export", "export a trained network to ONNX, OpenVINO, int8 or the Hub"),
    "predict": Entry("train.predict", "classify images with a trained network or an export"),
    "report": Entry("scaling.report", "compare runs on one page that works offline"),
    "doctor": Entry("vbs.doctor", "print versions, devices and what is missing"),
}
