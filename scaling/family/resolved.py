"""Resolution of a family's config: defaults, coefficients and parent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.parents.origin import origin_of
from scaling.budget import TOLERANCE
from scaling.compound import PUBLISHED, Coefficients
from scaling.family.config import OBJECTIVES, OWN_FACTORS, TIMED, FamilyConfig
from scaling.options import network_text
from search_spaces.architecture import Architecture
from search_spaces.loading import load
from vbs.config import ConfigError
from vbs.console import print_err
from vbs.folder import file_problem
from vbs.json_text import parse_json

if TYPE_CHECKING:
    from scaling.family.inherited import Cut

SECONDS_TOLERANCE = 0.05
STEP, DOWN = 2.0, "-2..0"  # growth for targets, and default phi of a family inside a parent


def resolve(config: FamilyConfig) -> tuple[FamilyConfig, Coefficients | None, Cut | None]:
    """Return the config with all defaults resolved, its coefficients and its parent.

    The coefficients are None for the published factors; the parent is None if members inherit no
    weights.
    """
    base, coefficients = config.base, config.given_coefficients()
    if config.coefficients not in (None, "published"):
        coefficients, grown = read_grid(Path(config.coefficients))
        if base is None:
            base = grown
        elif not _same_network(base, grown):
            print_err(f"--base: these coefficients are from a grid of {grown}, not of {base}")
    base = config.parent or "efficientnet_b0" if base is None else base
    config = replace(config, base=network_text(base))
    base_network(config)  # an invalid base is reported first
    cut = _cut_of(config)
    config = _within_parent(config, cut)
    own = config.rules in OWN_FACTORS
    if step_of(config) is not None and coefficients is None and not own:
        coefficients = PUBLISHED
    seconds = config.objective in TIMED
    measured = config.objective if seconds else config.measure
    numbers: dict[str, Any] = {} if coefficients is None else coefficients.__dict__
    phi = config.phi
    if phi is None and config.targets is None:
        phi = tuple(f"{each:g}" for each in config.phis())
    resolved = replace(
        config,
        coefficients="published" if coefficients is None and not own else None,
        alpha=numbers.get("alpha"),
        beta=numbers.get("beta"),
        gamma=numbers.get("gamma"),
        phi=phi,
        round_resolution=config.round_resolution or (4 if config.rules == "fast" else 1),
        tolerance=config.tolerance or _tolerance(config),
        objective=config.objective
        if config.objective in OBJECTIVES
        else network_text(config.objective),
        times=tuple(map(network_text, config.times)),
        measure=measured,
        measure_batch=config.measure_batch or (32 if measured == "step_time" else 1),
    )
    return resolved, coefficients, cut


def _cut_of(config: FamilyConfig) -> Cut | None:
    """Return the parent of the members; torch is imported only if there is one."""
    assert config.base is not None
    search = origin_of(config.base)
    if config.parent is None and search is None:
        return None
    from scaling.family.inherited import cut_of

    return cut_of(config.parent, search)


def _tolerance(config: FamilyConfig) -> float:
    """Return the default tolerance."""
    if config.targets is not None:  # members must be within a target, and close to it
        return TOLERANCE / 2
    return SECONDS_TOLERANCE if config.objective in TIMED else TOLERANCE


def _within_parent(config: FamilyConfig, cut: Cut | None) -> FamilyConfig:
    """Set the defaults of a family inside a parent.

    Raises ConfigError for options that need a parent if there is none.
    """
    if cut is None:
        if config.weights:
            raise ConfigError(
                "weights", "there is no parent to inherit them from; add --parent SOURCE"
            )
        return config
    config = replace(config, weights=config.weights is not False)
    if config.targets is not None:
        return config
    return replace(config, phi=config.phi or (DOWN,), growth=config.growth or STEP)


def _same_network(name: str, other: str) -> bool:
    return name == other or Path(name).resolve() == Path(other)


def read_grid(path: Path) -> tuple[Coefficients, str]:
    """Return the coefficients that a grid chose, and its base.

    Raises ConfigError if the file is not the record of a finished grid.
    """
    if not path.is_file():
        problem = f"{path} {file_problem(path)}; use published, or a grid.json"
        raise ConfigError("coefficients", problem)
    try:
        known = parse_json(path.read_bytes())
        if known["status"] != "finished" and "chosen" not in known["outcome"]:
            raise ValueError(f"the grid is {known['status']}; resume it with scaling.grid --resume")
        chosen = known["outcome"]["chosen"]
        found = Coefficients(chosen["alpha"], chosen["beta"], chosen["gamma"])
        return found, str(known["settings"]["base"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = str(error).splitlines()[0][:120]
        raise ConfigError("coefficients", f"{path} holds no choice of a grid ({reason})") from None


def base_network(config: FamilyConfig) -> Architecture:
    """Return the architecture of a config's base."""
    text = config.base
    assert text is not None
    with_weights = text.endswith(".safetensors") or text.partition(":")[0] in ("timm", "package")
    if not with_weights and text != config.parent:
        return load(text)
    from train.parents import load_parent

    return load_parent(text).architecture


def step_of(config: FamilyConfig) -> float | None:
    """Return the growth of the real cost per step of phi; None: the factors determine the cost."""
    return STEP if config.targets is not None else config.growth
