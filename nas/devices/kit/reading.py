"""Reading of a measured kit: `read_kit`."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas.devices.kit.config import RECORD, TIMES, KitConfig
from nas.devices.kit.run import FORMAT
from search_spaces.catalog import space as make_space
from search_spaces.space import SearchSpace
from vbs.config import ConfigError, check_code, from_values
from vbs.json_text import parse_json
from vbs.text import counted, shortened

LARGEST = 2**20  # bytes of kit.json and of times.csv
UNITS = {"seconds": 1.0, "milliseconds": 1e-3, "microseconds": 1e-6}
SUFFIXES = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "\u00b5s": 1e-6, "\u03bcs": 1e-6}


@dataclass(frozen=True)
class MeasuredKit:
    """The networks of a kit and their times on a device.

    genotypes, seconds  networks for the fit, int8 [n, decisions], and their times, float64 [n].
    check_genotypes, check_seconds  the same of the networks that only test the fit.
    batch               images per forward pass.
    digest              64 hex digits of the times.
    """

    space: SearchSpace
    genotypes: np.ndarray
    seconds: np.ndarray
    check_genotypes: np.ndarray
    check_seconds: np.ndarray
    batch: int
    digest: str


def read_kit(
    folder: Path, *, own_space: str | None = None, skip_missing: bool = False
) -> MeasuredKit:
    """Return the networks of a kit with their times from times.csv.

    own_space     reference to the space if it is the user's code; code that only kit.json names is
                  not imported.
    skip_missing  whether to leave out networks without a time.

    Raises ValueError if the folder has no kit, a file is damaged, or a time is missing or not a
    number above 0.
    """
    record = _record(folder)
    space = _space_of(record, folder, own_space)
    rows = record["networks"]
    _check_networks(record, space, folder / RECORD)
    text = _text(folder / TIMES)
    times = _times(text, {row["network"] for row in rows}, folder / TIMES)
    genotypes, seconds, checks = [], [], []
    for row in rows:
        if row["network"] in times:
            genotypes.append(row["genotype"])
            seconds.append(times[row["network"]])
            checks.append(row["use"] == "check")
    if not genotypes:
        raise ValueError(f"{folder / TIMES}: all times are missing; see the README of the kit")
    missing = [row["network"] for row in rows if row["network"] not in times]
    if missing and not skip_missing:
        raise ValueError(
            f"{folder / TIMES}: {counted(len(missing), 'network')} without a time: "
            f"{shortened(', '.join(missing), 60)}; fill in their times, or use --skip-missing"
        )
    found, taken, check = np.array(genotypes, np.int8), np.array(seconds), np.array(checks)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return MeasuredKit(
        space,
        found[~check],
        taken[~check],
        found[check],
        taken[check],
        record["shape"][0],
        digest,
    )


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            raise ValueError(f"{path} does not exist; is its folder a kit?")
        if path.stat().st_size > LARGEST:
            raise ValueError(f"{path}: it is larger than {LARGEST // 2**20} MiB")
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: it is not UTF-8 text") from None


def _record(folder: Path) -> dict[str, Any]:
    """Return the checked content of kit.json."""
    path = folder / RECORD
    text = _text(path)
    try:
        record = parse_json(text)
    except ValueError as error:
        raise ValueError(f"{path}: {shortened(error)}") from None
    try:
        if record["format"] != FORMAT:
            raise TypeError
        batch = record["shape"][0]
        if not isinstance(batch, int) or isinstance(batch, bool) or not 1 <= batch <= 2**16:
            raise TypeError
        if not isinstance(record["settings"], dict):
            raise TypeError
        for row in record["networks"]:
            genotype, texts = row["genotype"], (row["network"], row["key"])
            whole = isinstance(genotype, list) and all(type(each) is int for each in genotype)
            words = all(isinstance(each, str) for each in texts)
            if not (whole and words and row["use"] in ("fit", "check")):
                raise TypeError
    except (KeyError, TypeError, IndexError, AttributeError):
        raise ValueError(f"{path}: it is not the record of a kit") from None
    return record


def _check_networks(record: dict[str, Any], space: SearchSpace, path: Path) -> None:
    """Raise ValueError unless the genotypes of a record decode to the networks of the kit.

    They differ if the record or the code of the user's space has changed.
    """
    rows, counts = record["networks"], space.option_counts
    numbers = {_number_of(row["network"]) for row in rows}
    if len(numbers) < len(rows):
        raise ValueError(f"{path}: two networks have the same name")
    for row in rows:
        genotype = row["genotype"]
        fits = len(genotype) == len(counts) and all(
            0 <= option < count for option, count in zip(genotype, counts, strict=True)
        )
        network = space.decode(np.array(genotype, np.int8)) if fits else None
        if network is None or network.key != row["key"]:
            raise ValueError(
                f"{path}: network {shortened(repr(row['network']), 40)} differs from the network "
                f"of the space {shortened(space.name, 60)} with these settings; write a new kit"
            )
        shape = [record["shape"][0], network.in_channels, network.resolution, network.resolution]
        if record["shape"] != shape:
            raise ValueError(f"{path}: the shape of the images is not {shape}")


def _space_of(record: dict[str, Any], folder: Path, own_space: str | None) -> SearchSpace:
    """Return the space of a kit; the user's code is imported only if `own_space` names it."""
    stored = dict(record["settings"])
    given = [] if own_space is None else ["space"]
    try:
        check_code(KitConfig, stored, given, source=RECORD)
    except ConfigError as error:
        raise ValueError(f"--{error.name}: {error.text}") from None
    if own_space is not None:
        stored["space"] = own_space
    try:
        config = from_values(KitConfig, stored)
    except ConfigError as error:
        raise ValueError(f"{folder / RECORD}: {error.name}: {error.text}") from None
    except ValueError as error:
        raise ValueError(f"{folder / RECORD}: {error}") from None
    if config.space is None:
        raise ValueError(f"{folder / RECORD}: the name of the space is missing")
    return make_space(config.space, **config.sizes())


def _times(text: str, names: set[str], path: Path) -> dict[str, float]:
    """Return the median seconds of each network with a time."""
    try:
        rows = list(csv.reader(io.StringIO(text, newline=None)))  # lines may end with \r
    except csv.Error as error:
        raise ValueError(f"{path}: it is not a CSV file ({shortened(error, 60)})") from None
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    if len(header) < 2 or header[0] != "network" or header[1] not in UNITS:
        raise ValueError(
            f"{path}: the first line must be network,milliseconds (or seconds, microseconds)"
        )
    found: dict[str, list[float]] = defaultdict(list)
    known = {_number_of(name): name for name in names}
    for number, row in enumerate(rows[1:], 2):
        if len(row) < 2 or not row[1].strip():
            continue
        if len(row) > len(header):
            raise ValueError(
                f"{path}, line {number}: {len(row)} cells, not {len(header)}; write times with a "
                "decimal point"
            )
        name = known.get(_number_of(row[0].strip().removesuffix(".onnx")))
        if name is None:
            shown = shortened(repr(row[0]), 40)
            raise ValueError(f"{path}, line {number}: network {shown} is not in this kit")
        found[name].append(_seconds(row[1].strip(), UNITS[header[1]], f"{path}, line {number}"))
    return {name: float(np.median(values)) for name, values in found.items()}


def _number_of(name: str) -> str:
    """Return a network's name without leading zeros, which spreadsheets remove."""
    return name.lstrip("0")


def _seconds(text: str, unit: float, where: str) -> float:
    match = re.fullmatch(r"([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*([a-z\u00b5\u03bc]*)", text)
    try:
        if match is None or match[2] not in ("", *SUFFIXES):
            raise ValueError
        value = float(match[1]) * (SUFFIXES[match[2]] if match[2] else unit)
    except ValueError:
        shown = shortened(repr(text), 40)
        raise ValueError(f"{where}: {shown} is not a time; use 12.3, 12.3ms or 0.0123s") from None
    if not math.isfinite(value) or value <= 0:
        raise ValueError(f"{where}: {shortened(repr(text), 40)} is not a time above 0")
    return value
