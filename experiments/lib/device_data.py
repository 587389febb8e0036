"""Measured speeds of devices from the public archive, and the product lines of devices."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from search_spaces.space import SearchSpace

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("SHARED_DATA", ROOT.parent / "shared" / "data"))
FILE = SHARED / "imagenet_measurements" / "train.parquet"
SOURCE = "Accel-NASBench, Ahmad et al., DAC 2024, github.com/afzalxo/Accel-NASBench, Apache-2.0"
OUTLIER = 6_000.0  # seconds of training; 13 networks took longer, up to 31,079 s
COLUMNS = {  # (device, kind) -> column of the table
    ("a100", "throughput"): "throughput_a100",
    ("rtx3090", "throughput"): "throughput_3090",
    ("tpuv2", "throughput"): "throughput_tpuv2",
    ("tpuv3", "throughput"): "throughput_tpuv3",
    ("zcu102", "throughput"): "throughput_zcu102",
    ("zcu102", "latency"): "latency_zcu102",
    ("vck190", "throughput"): "throughput_vck190",
    ("vck190", "latency"): "latency_vck190",
    ("train_time", "train_time"): "train_time",
}
# device -> product line; devices of one line are too similar to predict each other in
# leave-one-device-out
LINES = {"a100": "GPU", "rtx3090": "GPU", "tpuv2": "TPU", "tpuv3": "TPU"}


class Speeds(NamedTuple):
    """Measured networks: genotypes int8 [n, decisions], seconds of each (device, kind) [n].

    Seconds are NaN where a network was not measured, and for outliers of the training time.
    """

    genotypes: np.ndarray
    seconds: dict[tuple[str, str], np.ndarray]

    def rows(self) -> Iterator[tuple[tuple[str, str], np.ndarray, np.ndarray]]:
        """Yield (device, kind), indices of the measured rows, and their seconds."""
        for key, seconds in self.seconds.items():
            known = np.flatnonzero(np.isfinite(seconds))
            yield key, known, seconds[known]


def read_speeds(path: Path, space: SearchSpace) -> Speeds:
    """Read measurements from a parquet file; raises ValueError if it does not exist."""
    if not path.is_file():
        raise ValueError(f"measurements: {path} does not exist; use --measurements FILE")
    import pandas

    table = pandas.read_parquet(path, columns=[*space.choices, *COLUMNS.values()])
    columns = [
        [options.index(value) for value in table[name].tolist()]
        for name, options in space.choices.items()
    ]
    seconds = {}
    for (device, kind), name in COLUMNS.items():
        value = table[name].to_numpy(np.float64)
        if kind == "throughput":
            value = 1 / value
        elif kind == "latency":
            value = value / 1e3
        else:
            value = np.where(value > OUTLIER, np.nan, value)
        seconds[device, kind] = value
    return Speeds(np.stack(columns, axis=1).astype(np.int8), seconds)


def line_of(device: str) -> str:
    """Return the product line of a device; devices of one line do not predict each other."""
    return LINES.get(device, device)
