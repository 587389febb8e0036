"""Options of the objective of a search, and the `Objective` that they describe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nas.block_times.options import RUNTIMES
from nas.devices import DEVICES
from nas.rewards import REWARDS
from search_spaces.cost import MEASURED, cost_on, split_cost
from train.options import TIME, absolute_path
from vbs.config import Config, flag, option
from vbs.text import shortened
from vbs.units import LARGEST, parse_quantity, parse_rate, parse_seconds

if TYPE_CHECKING:
    from nas.devices import Device
    from nas.objective import Objective

SIZE = (0.0, LARGEST)
LOCAL = ("latency", "step_time")  # costs that are measured on this machine


def device_names(text: str, *, what: str = "on") -> str:
    """Normalise a list of devices such as a100,my-phone.json: paths of files become absolute.

    Raises ValueError for an empty name.
    """
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise ValueError(f"{what}: {shortened(repr(text), 60)} has an empty name")
    return ",".join(
        absolute_path(name) if name.endswith(".json") or "/" in name else name for name in names
    )


def _size(help: str) -> Any:
    """Return an option for a number such as 400M."""
    return option(None, limits=SIZE, parse=parse_quantity, metavar="SIZE", help=help)


def _rate(help: str) -> Any:
    """Return an option for images/s such as 12K."""
    return option(None, limits=SIZE, parse=parse_rate, metavar="RATE", help=help)


def _time(help: str) -> Any:
    """Return an option for a time such as 20ms."""
    return option(None, limits=TIME, parse=parse_seconds, metavar="TIME", help=help)


@dataclass(frozen=True, kw_only=True)
class ObjectiveOptions(Config):
    """Options of the target, the limits and the reward."""

    title = "objective"

    target_flops: float | None = _size("target: multiply-adds of one image, e.g. 400M")
    target_latency: float | None = _time("alternative target: time of a forward pass, e.g. 20ms")
    target_step_time: float | None = _time("alternative target: time of a training step")
    target_throughput: float | None = _rate(
        "alternative target: images/s on the first device of --on, e.g. 12K"
    )
    target_train_time: float | None = _time(
        "alternative target: duration of the training whose accuracy the surrogate predicts, e.g. "
        "30min"
    )
    max_flops: float | None = _size("further limit: multiply-adds of one image, e.g. 400M")
    max_params: float | None = _size("further limit: parameters, e.g. 6M")
    max_latency: float | None = _time("further limit: time of a forward pass, e.g. 20ms")
    max_step_time: float | None = _time("further limit: time of a training step, e.g. 80ms")
    min_throughput: float | None = _rate(
        "further limit: images/s on every device of --on, e.g. 12K"
    )
    max_train_time: float | None = _time(
        "further limit: duration of the training whose accuracy the surrogate predicts, e.g. 30min"
    )
    limit: tuple[str, ...] = option(
        (),
        metavar="COST@DEVICE:VALUE",
        help="further limit on one device, e.g. throughput@a100:12K or latency@zcu102:5ms "
        "(repeatable)",
    )
    on: str | None = option(
        None,
        parse=device_names,
        metavar="DEVICES",
        help="devices whose speed is predicted, e.g. a100,zcu102 or my-phone.json; latencies then "
        "refer to them (default: this machine, measured)",
    )
    times: tuple[str, ...] = option(
        (),
        metavar="FILE",
        parse=absolute_path,
        later=True,
        help="table of nas.block_times, from this or another machine (repeatable; default: "
        "measured here if needed)",
    )
    runtime: str = option(
        "torch",
        choices=tuple(RUNTIMES),
        metavar="|".join(RUNTIMES),
        help="runtime whose latency is measured on this machine (default torch, without compiling)",
    )
    latency_batch: int = option(
        1, limits=(1, 2**16), metavar="N", help="images per measured forward pass (default 1)"
    )
    threads: int = option(
        1, limits=(1, 1024), metavar="N", help="CPU threads of measurements (default 1)"
    )
    over_target: str = option(
        "forbid",
        metavar="forbid|allow",
        help="networks above the target: forbid excludes them; allow evaluates them, and only the "
        "reward depends on their cost (default forbid)",
    )
    reward: str = option(
        "mnas", catalog=REWARDS, help="reward (default mnas: accuracy x (cost/target)^w)"
    )
    exponent: float | None = option(
        None,
        limits=(-100, 100),
        metavar="W",
        help="w of the reward (default -0.07; -1 for mnas-hard)",
    )
    also: tuple[str, ...] = option(
        (),
        metavar="COST:REFERENCE:EXPONENT",
        help="further factor (cost/reference)^exponent of the reward, e.g. params:7M:-0.05 "
        "(repeatable)",
    )

    @property
    def devices(self) -> list[Device]:
        """Devices of --on, --limit and --also; raises ValueError for unknown and repeated ones."""
        from nas.devices import load_device

        found: dict[str, Device] = {}
        for name in self.on.split(",") if self.on else ():
            device = load_device(name)
            if device.name in found:
                raise ValueError(f"--on: {device.name} is given twice")
            found[device.name] = device
        for option_name, texts in (("--limit", self.limit), ("--also", self.also)):
            for text in texts:
                name = split_cost(text.split(":")[0])[1]
                if name and name not in found:
                    found[name] = _measured(name, option_name)
        return list(found.values())

    def check_target(self) -> None:
        """Raise ValueError unless there is one target or a limit, and a device for throughputs."""
        targets = [name for name in TARGETS if getattr(self, name) is not None]
        if not targets and self.over_target != "forbid":
            raise ValueError("--over-target: there is no target; add one, or leave it out")
        if not targets and not self.limit and all(getattr(self, n) is None for n in LIMITS):
            of_device = ", or a target on a device, such as --target-throughput 12K" * bool(self.on)
            raise ValueError(
                f"--target-flops is missing; use a target, such as --target-flops 400M{of_device}"
            )
        if len(targets) > 1:
            first, second = targets[:2]
            limit = second.replace("target", "min" if second == "target_throughput" else "max")
            raise ValueError(
                f"{flag(second)}: a search has one target, here {flag(first)}; "
                f"give the other one as {flag(limit)}"
            )
        for name in ("target_throughput", "min_throughput"):
            if getattr(self, name) is not None and not self.on:
                raise ValueError(
                    f"{flag(name)}: --on is missing; use a device, e.g. --on {next(iter(DEVICES))}"
                )


LIMITS = (
    *("max_flops", "max_params", "max_latency", "max_step_time"),
    *("min_throughput", "max_train_time"),
)
TARGETS = ("target_flops", *(f"target_{name}" for name in (*LOCAL, "throughput", "train_time")))


def objective_of(config: ObjectiveOptions) -> Objective:
    """Return the objective that the options describe.

    A target on several devices is the target on the first device that supports it, and a limit on
    the others. Without a target, the first limit becomes the target and the default reward is the
    accuracy.
    """
    from nas.objective import Objective

    devices = {device.name: device for device in config.devices}
    aimed = _costs(config, "target")
    limits = [*_costs(config, "max"), *(_limit(text, devices) for text in config.limit)]
    reward = config.reward
    if not aimed:
        aimed, limits = limits[:1], limits[1:]
        reward = "feasible" if reward == type(config).reward else reward
    (of, target), *others = aimed
    if config.over_target == "forbid":
        limits = [*others, *limits]
    return Objective(
        target,
        reward,
        config.exponent,
        config.over_target,
        limits=tuple(limits),
        of=of,
        also=tuple(_factor(text, devices) for text in config.also),
    )


def _costs(config: ObjectiveOptions, what: str) -> list[tuple[str, float]]:
    """Return the costs and values of the target options or the limit options."""
    found: list[tuple[str, float]] = []
    for name in ("flops", "params", *LOCAL, "throughput", "train_time"):
        prefix = "min" if (what, name) == ("max", "throughput") else what
        value = getattr(config, f"{prefix}_{name}", None)
        if value is None:
            continue
        option_name = flag(f"{prefix}_{name}")
        if name == "throughput":
            found += [
                (cost_on("image_time", each.name), 1 / value)
                for each in _knowing("throughput", config, option_name)
            ]
        elif name == "latency" and config.on:
            known = _knowing("latency", config, option_name)
            found += [(cost_on("latency", each.name), float(value)) for each in known]
        else:
            found.append((name, float(value)))
    return found


def _knowing(kind: str, config: ObjectiveOptions, option_name: str) -> list[Device]:
    """Return the devices of --on that predict a kind of speed; raise ValueError if none does."""
    from nas.devices import load_device

    names = [load_device(name).name for name in (config.on or "").split(",")]
    found = [each for each in config.devices if each.name in names and kind in each.kinds]
    if not found:
        known = ", ".join(each for each in DEVICES if kind in load_device(each).kinds)
        rate = "min" if option_name == "--max-latency" else "target"
        other = f"; or use --{rate}-throughput" * (kind == "latency")
        raise ValueError(
            f"{option_name}: the {kind} on {', '.join(names)} cannot be predicted; use "
            f"{known}{other}"
        )
    return found


def _measured(name: str, option_name: str) -> Device:
    """Return the measured device that an option names; raise ValueError if it is unknown."""
    from nas.devices.measured import measured_device

    try:
        return measured_device(name)
    except ValueError as error:
        raise ValueError(f"{option_name}: {error}; add your own device by --on FILE") from None


def _limit(text: str, devices: Mapping[str, Device]) -> tuple[str, float]:
    """Parse a limit on a device, e.g. throughput@a100:12K."""
    cost, _, value = text.rpartition(":")
    kind, device = split_cost(cost)
    if kind not in ("latency", "throughput") or device not in devices:
        raise ValueError(
            f"--limit: {shortened(repr(text), 60)} is not understood; write "
            "latency@DEVICE:TIME or throughput@DEVICE:RATE, e.g. throughput@a100:12K"
        )
    return _cost_on(kind, devices[device], value, "--limit")


def _cost_on(kind: str, device: Device, value: str, option_name: str) -> tuple[str, float]:
    """Return the cost of a latency or throughput on a device, and its value."""
    if kind not in device.kinds:
        others = [each for each in ("latency", "throughput") if each in device.kinds]
        hint = f"; use its {others[0]}" if others else ""
        raise ValueError(f"{option_name}: the {kind} on {device.name} cannot be predicted{hint}")
    if kind == "throughput":
        return cost_on("image_time", device.name), 1 / parse_rate(value, what=option_name)
    return cost_on(kind, device.name), parse_seconds(value, what=option_name)


def _factor(text: str, devices: Mapping[str, Device]) -> tuple[str, float, float]:
    """Parse a further factor of the reward, e.g. params:7M:-0.05."""
    name, reference, exponent = (*text.split(":"), "", "", "")[:3]
    kind, device = split_cost(name)
    try:
        if text.count(":") != 2:
            raise ValueError
        power = float(exponent)
        if device not in devices or kind not in ("latency", "throughput"):
            size = parse_seconds if name in MEASURED else parse_quantity
            return name, size(reference), power
    except ValueError:
        raise ValueError(
            f"--also: {shortened(repr(text), 60)} is not understood; write "
            "cost:reference:exponent, e.g. params:7M:-0.05"
        ) from None
    name, size_of_one = _cost_on(kind, devices[device], reference, "--also")
    if kind == "latency":
        return name, size_of_one, power
    if not 0 <= power <= 10:
        raise ValueError(
            f"--also: {shortened(repr(text), 60)} has the exponent {power:g}; use a number from 0 "
            "to 10 for a throughput (below 0 it would reward slow networks)"
        )
    return name, size_of_one, -power  # a throughput is the reciprocal of the cost


def measured_costs(objective: Objective) -> list[str]:
    """Return the costs of the objective that are measured on this machine."""
    return [name for name in LOCAL if name in objective.cost_names]
