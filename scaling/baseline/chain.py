"""Chain of the steps of a baseline: runs each step in its folder and records its cost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling.baseline.config import RECORD, STEPS, BaselineConfig
from vbs import signals
from vbs.command import INTERRUPTED, MISTAKE, Failure, explained
from vbs.config import flag, options
from vbs.config_file import stored_values
from vbs.console import print_err
from vbs.folder import circumstances, write_json
from vbs.json_text import parse_json
from vbs.lock import FILE as LOCK
from vbs.options import option_words
from vbs.processes import available_cpus
from vbs.text import shell_command


@dataclass(frozen=True)
class Step:
    """A step of a baseline: a command that runs in a folder.

    is_over  function that returns whether the step is complete.
    run      function that runs the step, with an argument that is true if the step is resumed; it
             returns the exit code.
    words    words of the command that starts the step.
    resumed  words of the command that resumes the step; (): the same as `words`.
    """

    name: str
    folder: Path
    is_over: Callable[[], bool]
    run: Callable[[bool], int]
    words: Sequence[str]
    resumed: Sequence[str] = ()


class Chain:
    """The record of the steps in a folder.

    Raises ValueError if the folder contains a baseline with other options.
    """

    def __init__(self, folder: Path, config: BaselineConfig) -> None:
        self.folder, self.config = folder, config
        known = self._known()
        self.costs: dict[str, dict[str, Any]] = known.get("costs", {})
        self.commands: dict[str, list[str]] = known.get("commands", {})
        self.bases: dict[str, str] = known.get("bases", {})  # step -> key of its base network

    def _known(self) -> dict[str, Any]:
        path = self.folder / RECORD
        if not path.exists():
            return {}
        stored = stored_values(BaselineConfig, path, what="baseline")
        for name, each in options(BaselineConfig).items():
            if not each.later and getattr(self.config, name) != stored[name]:
                option, there = flag(name, BaselineConfig), _shown(name, stored[name])
                raise ValueError(
                    f"--out: {self.folder} holds a baseline with another {option} ({there}); "
                    "use another --out"
                )
        known: dict[str, Any] = parse_json(path.read_bytes())
        return known

    def write(self, status: str) -> None:
        """Write baseline.json with the current state."""
        write_json(
            self.folder / RECORD,
            {
                "status": status,
                "partial": status != "finished",
                "settings": self.config.settings(),
                "skipped": list(self.config.skip),
                "costs": self.costs,
                "commands": self.commands,
                "bases": self.bases,
                **_places(self.config),
                **circumstances(("numpy", "torch", "optuna", "ray")),
            },
        )

    def settle(self, name: str, base: str) -> None:
        """Make sure that the folder of a step belongs to the network `base`.

        Results of another network are moved to a separate folder. They are moved back if that
        network becomes the base again.
        """
        folder, before = self.folder / name, self.bases.get(name, base)
        if name in self.config.skip:
            return
        if before != base:
            for there, place in ((folder, f"{name}-of-{before}"), (f"{name}-of-{base}", name)):
                if (self.folder / there).exists():
                    (self.folder / there).rename(self.folder / place)
            self.bases[name] = base
            self.write("running")
        self.bases[name] = base

    def run(self, step: Step) -> None:
        """Run a step, unless it is complete or skipped.

        Raises ValueError if the options of the step are invalid, and Failure if the step fails.
        Both messages contain its name.
        """
        if step.name in self.config.skip or step.is_over():
            return
        folder = step.folder
        started = folder.exists() and any(path.name != LOCK for path in folder.iterdir())
        own = folder.relative_to(self.folder).as_posix()
        if not started or own not in self.commands:
            self.commands[own] = list(step.words)
        resumed = started and bool(step.resumed)
        words = step.resumed if resumed else step.words
        print_err("", f"== {step.name}: {shell_command(['python', '-m', *words])}")
        try:
            with self._timed(step.name), _named(step.name):
                code = step.run(resumed)
                signals.raise_noted()
        except ValueError:
            if not any((self.folder / name).exists() for name in STEPS):
                (self.folder / RECORD).unlink()  # another baseline may use the folder
            raise
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        if code or not step.is_over():
            raise Failure(f"{step.name}: the step failed; see above; rerun the command to resume")

    @contextlib.contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        """Add the seconds of the block to the costs of a step."""
        began = time.monotonic()
        try:
            yield
        finally:
            spent = self.costs.setdefault(name, {"wall_seconds": 0.0})
            spent["wall_seconds"] += round(time.monotonic() - began, 1)
            with signals.deferred():
                self.write("running")


def _shown(name: str, value: Any) -> str:
    """Return the value of an option as it is typed."""
    return " ".join(option_words(BaselineConfig, {name: value})[1:]) or "none"


@contextlib.contextmanager
def _named(step: str) -> Iterator[None]:
    """Prefix errors with the name of the step; an interruption ends the whole baseline."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt from None
    except Exception as error:
        text, code = explained(error)
        if code == MISTAKE:
            raise ValueError(f"{step}: {text}") from error
        if code:
            raise Failure(f"{step}: {text}; rerun the command to resume") from error
        raise


def _places(config: BaselineConfig) -> dict[str, Any]:
    """Return the processors and GPUs of this machine, and how many trainings run at once.

    {} for a cluster, whose machines are unknown.
    """
    if config.address is not None:
        return {}
    import torch

    processors, gpus = available_cpus(), torch.cuda.device_count()
    gpus = 0 if config.gpus == 0 else gpus
    most = int(gpus / (config.gpus or 1)) if gpus else processors
    return {"processors": processors, "gpus": gpus, "at_once": min(most, config.workers or most)}
