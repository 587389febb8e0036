"""Tables of block times, which predict the time of a network as the sum of its blocks.

The file is a JSON object with

    format    "block times 1"
    kind      "latency" (seconds of one forward pass of a batch) or "step_time" (seconds of one
              training step: forward, backward and update)
    blocks    block -> [seconds, spread]: the typical time, and its interquartile range
    constant, scale   time of a network = constant + scale * (sum over its blocks); 0 and 1 if
              absent
    settings  further settings that the times depend on (batch, device, threads, ...), plain values
    machine   the machine of the measurement, any text
    checked   optional: errors of predictions of whole networks, any plain values

The name of a block contains everything that its time depends on, as `block_name` writes it:

    mbconv k3 s2 16>96>24 se4 skip=none 112px silu symmetric

This is the operation, kernel, stride, channels of input, inside and output,
squeeze-and-excitation channels, shortcut, side of the input, activation and padding. A universal
inverted bottleneck also has its first kernel ("uib a5 k3 s2 ..."). A hard sigmoid gate is written
after the squeeze-and-excitation channels ("se24 hard_sigmoid"). The times of a head ("head",
"pooled_head", "pooled_norm_head") include the mean over the image, and those of "classifier" in a
training step include the loss. For the times of a phone, measure every block of
`block_names(space)` there and write a file in this format.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nas.block_times.options import BATCH
from search_spaces.architecture import Architecture, Block, kernels_text
from search_spaces.space import SearchSpace
from search_spaces.staged import StagedSpace
from vbs.folder import write_json
from vbs.json_text import parse_json
from vbs.text import one_of, quoted

FORMAT = "block times 1"
LARGEST = 64 * 2**20  # bytes of a file; the mnasnet space needs less than 1 MB
DRAWS = 2000  # random networks that provide the blocks of a space without stages


@dataclass(frozen=True)
class Times:
    """A table of block times; the module docstring describes the fields."""

    kind: str
    blocks: Mapping[str, tuple[float, float]]
    constant: float = 0.0
    scale: float = 1.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    machine: str = ""
    checked: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one_of("kind", self.kind, BATCH)
        if not isinstance(self.blocks, Mapping) or not self.blocks:
            raise ValueError("blocks: use an object of block -> [seconds, spread]")
        pairs = {name: _pair(name, pair) for name, pair in self.blocks.items()}
        object.__setattr__(self, "blocks", pairs)
        object.__setattr__(self, "constant", _number("constant", self.constant, least=0.0))
        object.__setattr__(self, "scale", _number("scale", self.scale, least=1e-6))
        for name in ("settings", "checked"):
            if not isinstance(getattr(self, name), Mapping):
                raise ValueError(f"{name}: {quoted(getattr(self, name))} is not an object")
        if not isinstance(self.machine, str):
            raise ValueError(f"machine: {quoted(self.machine)} is not a text")

    def predict(self, architecture: Architecture) -> tuple[float, float]:
        """Return the seconds of a network and their spread (interquartile range).

        The spread assumes independent blocks. Raises ValueError if a block is not in the table.
        """
        names = [block_name(block, architecture) for block in architecture.blocks()]
        self._check(names)
        pairs = np.array([self.blocks[name] for name in names])
        seconds = self.constant + self.scale * pairs[:, 0].sum()
        return float(seconds), float(self.scale * np.sqrt((pairs[:, 1] ** 2).sum()))

    def of(self, space: SearchSpace) -> Callable[[np.ndarray], np.ndarray]:
        """Return a function from genotypes [n, decisions] to seconds float64 [n].

        Pass it to `space.measured_by`. For a space of stages it uses lookups: 100,000 networks take
        milliseconds, and this method raises ValueError if a block of the space is not in the table.
        For other spaces, the function raises ValueError for a network with a missing block.
        """
        if not isinstance(space, StagedSpace):
            return lambda genotypes: np.array(
                [self.predict(decoded(space, genotype))[0] for genotype in genotypes]
            )
        self._check(block_names(space))
        example = decoded(space, np.zeros(len(space.choices), np.int8))
        tables = space.tabulated(
            lambda blocks: [sum(self.blocks[block_name(block, example)][0] for block in blocks)]
        )
        return lambda genotypes: self.constant + self.scale * tables.sums(genotypes)[:, 0]

    @property
    def digest(self) -> str:
        """Hash (64 hex digits) of everything that predictions depend on."""
        fields = [self.kind, self.constant, self.scale, sorted(self.blocks.items())]
        return hashlib.sha256(json.dumps(fields).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return the content of a file as plain values."""
        fields = asdict(self)
        fields["blocks"] = {name: list(pair) for name, pair in sorted(self.blocks.items())}
        return {"format": FORMAT, **fields}

    def write(self, path: Path) -> None:
        """Write the table to a file atomically."""
        write_json(path, self.to_json())

    def _check(self, names: Iterable[str]) -> None:
        missing = sorted({name for name in names if name not in self.blocks})
        if missing:
            raise ValueError(
                f"block times: the table has no {missing[0]!r}"
                + (f" ({len(missing):,} blocks are missing)" if len(missing) > 1 else "")
                + "; measure a table of this space and image size with python -m nas.block_times"
            )


def read_times(path: Path) -> Times:
    """Return the table in a file; raises ValueError if the file is missing or not a table."""
    try:
        if not path.is_file():
            raise ValueError("the file does not exist")
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it is larger than {LARGEST // 2**20} MiB")
        fields = parse_json(path.read_bytes())
        return _from_json(fields)
    except OSError as error:
        raise ValueError(f"block times: {path} cannot be read ({error.strerror})") from None
    except ValueError as error:
        reason = str(error).splitlines()[0][:300]
        raise ValueError(f"block times: {path} is not a table of block times ({reason})") from None


def _from_json(fields: object) -> Times:
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise ValueError(f"its format is not {FORMAT!r}")
    known = Times.__dataclass_fields__
    unknown = [name for name in fields if name not in known and name != "format"]
    if unknown:
        raise ValueError(f"{unknown[0][:60]!r} is unknown; use one of {', '.join(known)}")
    for name in ("kind", "blocks"):
        if name not in fields:
            raise ValueError(f"{name} is missing")
    return Times(**{name: value for name, value in fields.items() if name != "format"})


def _pair(name: str, pair: object) -> tuple[float, float]:
    if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
        raise ValueError(f"{name[:80]!r}: {str(pair)[:60]} is not [seconds, spread]")
    shown = repr(name[:80])
    return _number(shown, pair[0], least=1e-12), _number(shown, pair[1], least=0.0)


def _number(name: str, value: object, *, least: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name}: {str(value)[:60]!r} is not a number")
    # compare first, because an integer of thousands of digits does not convert to float
    if not least <= value <= 1e6 or math.isnan(value):
        raise ValueError(f"{name}: {str(value)[:60]} is not from {least:g} to 1e+06")
    return float(value)


def block_name(block: Block, architecture: Architecture) -> str:
    """Return the name of a block; the module docstring describes it."""
    activation = block.activation or architecture.activation
    gate = "" if block.gate == "sigmoid" else f"{block.gate} "
    return (
        f"{block.op} {kernels_text(block)} s{block.stride} "
        f"{block.in_channels}>{block.mid_channels}>{block.out_channels} se{block.se_channels} "
        f"{gate}skip={block.skip} {block.in_size}px {activation} {architecture.padding}"
    )


def block_names(space: SearchSpace) -> list[str]:
    """Return the names of all blocks of a space in alphabetical order.

    The list is complete for spaces of stages. For others, it has the blocks of `DRAWS` random
    networks.
    """
    names: set[str] = set()
    if isinstance(space, StagedSpace):
        example = decoded(space, np.zeros(len(space.choices), np.int8))

        def note(blocks: Sequence[Block]) -> list[int]:
            names.update(block_name(block, example) for block in blocks)
            return [0]

        space.tabulated(note)
        return sorted(names)
    for genotype in distinct_draws(space, np.random.default_rng(0)):
        network = decoded(space, genotype)
        names.update(block_name(block, network) for block in network.blocks())
    return sorted(names)


def distinct_draws(space: SearchSpace, rng: np.random.Generator) -> np.ndarray:
    """Return `DRAWS` random genotypes without duplicates, int8 [n, decisions]."""
    draws = space.sample(DRAWS, rng)
    return draws[np.sort(np.unique(space.keys(draws), return_index=True)[1])]


def decoded(space: SearchSpace, genotype: np.ndarray) -> Architecture:
    """Return the network of a genotype; raises ValueError if it is not an Architecture."""
    network = space.decode(genotype)
    if not isinstance(network, Architecture):
        raise ValueError(
            f"block times: space {space.name!r} decodes to {type(network).__name__}, which has no "
            "blocks; use space.measured_by with your own function"
        )
    return network
