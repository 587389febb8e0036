"""List of all commands by the names that the `vbs` script uses; none of them is imported."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """A command: its module, and a one-line description."""

    program: str
    help: str


COMMANDS: dict[str, Entry] = {
    "search": Entry("nas.search", "find the best network within a target of FLOPs or time"),
    "show": Entry("search_spaces.show", "print the stages and the cost of a network"),
    "compare": Entry("nas.compare", "compare search strategies over several seeds"),
    "fidelity": Entry("nas.fidelity", "find the shortest trainings that still rank networks"),
    "device": Entry("nas.block_times", "measure the times of a space's blocks on this machine"),
    "device kit": Entry("nas.devices.kit", "write networks to measure on your own device"),
    "device fit": Entry("nas.devices.fit", "fit a latency model to the measured networks of a kit"),
    "grid": Entry("scaling.grid", "find the scaling coefficients of a baseline"),
    "family": Entry("scaling.family", "scale a baseline up or down to a family of networks"),
    "training-aware": Entry("scaling.training_aware", "find and scale a network that trains fast"),
    "baseline": Entry("scaling.baseline", "find and train a family from images and a budget"),
    "train": Entry("train.run", "train one network"),
    "train-many": Entry("train.ray_tune", "train many networks on a cluster"),
    "noisy-student": Entry("train.noisy_student", "train with images that have no labels"),
    "export": Entry("train.export", "export a trained network to ONNX, OpenVINO, int8 or the Hub"),
    "predict": Entry("train.predict", "classify images with a trained network or an export"),
    "report": Entry("scaling.report", "compare runs on one page that works offline"),
    "doctor": Entry("vbs.doctor", "print versions, devices and missing requirements"),
}
