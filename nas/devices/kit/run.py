"""Writing of a kit from its config: `write_kit`."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import string
import warnings
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from nas.data_space import space_without_images
from nas.devices import design, measurements_needed
from nas.devices.kit.config import (
    NETWORKS,
    README,
    RECORD,
    SCRIPT,
    TIMES,
    USUAL,
    KitConfig,
)
from nas.devices.prior import prior_of
from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from search_spaces.space import SearchSpace
from vbs.console import print_err
from vbs.folder import circumstances, results_folder, write_json, write_whole

FORMAT = "device kit 1"


@dataclass(frozen=True)
class KitResult:
    """A written kit.

    folder     folder of the kit.
    genotypes  int8 [count + check_networks, decisions]; the last ones only test the fit.
    config     options with all defaults resolved.
    """

    folder: Path
    space: SearchSpace
    genotypes: np.ndarray
    config: KitConfig

    @property
    def exit_code(self) -> int:
        """Exit code of the command."""
        return 0


def write_kit(config: KitConfig | None = None, *, out: str | Path | None = None) -> KitResult:
    """Choose networks of a space, and write them with a program that measures them.

    out  folder of the kit; None: a new runs/kit-N.

    Raises ValueError for options that contradict each other, a space with too few networks, missing
    packages, and a folder that already contains a kit.
    """
    config, space = _resolved(config or KitConfig())
    genotypes = _chosen(config, space)
    networks = [space.decode(genotype) for genotype in genotypes]
    for network in networks:
        if not isinstance(network, Architecture):
            raise ValueError(f"--space: networks of {space.name} are not Architectures")
    _check_packages()
    place = None if out is None else str(out)
    files = (RECORD, TIMES, SCRIPT, README, NETWORKS)
    with (
        results_folder(
            place, kind="kit", files=files, command="nas.devices.kit", resume=None
        ) as folder,
        contextlib.ExitStack() as stack,
    ):
        stack.callback(_remove, folder)  # the next run would refuse an interrupted kit's files
        names = _write_networks(folder, networks, config.batch)
        script = resources.files("nas.devices.kit").joinpath("measure.py").read_text()
        write_whole(folder / SCRIPT, lambda path: path.write_text(script))
        rows = "".join(f"{name},\n" for name in names)
        write_whole(folder / TIMES, lambda path: path.write_text(f"network,milliseconds\n{rows}"))
        write_whole(folder / README, lambda path: path.write_text(_readme(config, networks)))
        write_json(folder / RECORD, _record(config, genotypes, names, networks))
        stack.pop_all()
    return KitResult(folder, space, genotypes, config)


def _remove(folder: Path) -> None:
    """Remove the files of a kit, but no other files in the folder."""
    shutil.rmtree(folder / NETWORKS, ignore_errors=True)
    for name in (RECORD, TIMES, SCRIPT, README):
        (folder / name).unlink(missing_ok=True)


def _resolved(config: KitConfig) -> tuple[KitConfig, SearchSpace]:
    config, space = space_without_images(config)
    count = _count(config, space)
    wanted = count + config.check_networks
    if space.size < wanted:
        raise ValueError(
            f"--count: space {space.name} has only {space.size} networks, but {wanted} are wanted"
        )
    return replace(config, count=count), space


def _count(config: KitConfig, space: SearchSpace) -> int:
    """Return the number of networks to measure; raises ValueError if they are too few."""
    if prior_of(space).features.measured:
        return config.count or USUAL
    needed = measurements_needed(space)
    if config.count is not None and config.count < needed:
        raise ValueError(
            f"--count: {config.count} networks are too few for space {space.name}, which has no "
            f"measured devices; use at least {needed}"
        )
    return config.count or max(needed, USUAL)


def _chosen(config: KitConfig, space: SearchSpace) -> np.ndarray:
    """Return distinct genotypes: the designed ones for the fit, then random ones that test it."""
    assert config.count is not None  # see _resolved
    rng = np.random.default_rng(config.seed)
    chosen = design(space, config.count, rng)
    found = {row.tobytes() for row in chosen}
    tests: list[np.ndarray] = []
    for _ in range(100):
        for row in space.sample(4 * config.check_networks, rng):
            if len(tests) < config.check_networks and row.tobytes() not in found:
                found.add(row.tobytes())
                tests.append(row)
    if len(tests) < config.check_networks:
        raise ValueError(f"--check-networks: space {space.name} has too few other networks")
    return np.concatenate([chosen, np.array(tests, np.int8).reshape(-1, chosen.shape[1])])


def _check_packages() -> None:
    for name in ("onnx", "onnxscript"):
        if importlib.util.find_spec(name) is None:
            raise ValueError(f"{name} is not installed; pip install 'vision-baseline-search[onnx]'")


def _write_networks(folder: Path, networks: list[Architecture], batch: int) -> list[str]:
    """Write every network with random weights as NN.onnx, and return the names."""
    import torch

    from search_spaces.network import build
    from train.export.onnx_file import write_onnx

    (folder / NETWORKS).mkdir(exist_ok=True)
    digits = max(2, len(str(len(networks))))
    names = [f"{number:0{digits}}" for number in range(1, len(networks) + 1)]
    for name, network in zip(names, networks, strict=True):
        print_err(f"kit: network {name} of {len(networks)}")
        with torch.random.fork_rng([]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's exporter uses deprecated functions
            torch.manual_seed(0)
            model = build(network).eval()
            write_whole(
                folder / NETWORKS / f"{name}.onnx",
                lambda path, model=model, network=network: write_onnx(  # type: ignore[misc]
                    path, model, _shape(network, batch), any_batch=False
                ),
            )
    return names


def _shape(network: Architecture, batch: int) -> tuple[int, int, int, int]:
    return batch, network.in_channels, network.resolution, network.resolution


def _record(
    config: KitConfig, genotypes: np.ndarray, names: list[str], networks: list[Architecture]
) -> dict[str, Any]:
    """Return the content of kit.json for `nas.devices.fit`."""
    rows = []
    assert config.count is not None  # see _resolved
    for index, (name, genotype, network) in enumerate(zip(names, genotypes, networks, strict=True)):
        spent = cost(network)
        rows.append(
            {
                "network": name,
                "genotype": genotype.tolist(),
                "key": network.key,
                "flops": spent.flops,
                "params": spent.params,
                "use": "fit" if index < config.count else "check",
            }
        )
    return {
        "format": FORMAT,
        "shape": list(_shape(networks[0], config.batch)),
        "settings": config.settings(),
        "networks": rows,
        **circumstances(("numpy", "torch", "onnx")),
    }


def _readme(config: KitConfig, networks: list[Architecture]) -> str:
    """Return README.md of the kit."""
    shape = _shape(networks[0], config.batch)
    template = resources.files("nas.devices.kit").joinpath("readme.template.md").read_text()
    return string.Template(template).substitute(
        networks=len(networks), space=config.space, shape=list(shape)
    )
