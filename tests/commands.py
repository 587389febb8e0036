"""Test helper: command lines of all commands that write a folder, on small images."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.train.files import encoded
from vbs.command import command_line

# commands as functions of their words that return the exit code
search = partial(command_line, "nas.search")
block_times = partial(command_line, "nas.block_times")
compare = partial(command_line, "nas.compare")
fidelity = partial(command_line, "nas.fidelity")
grid = partial(command_line, "scaling.grid")
report = partial(command_line, "scaling.report")
family = partial(command_line, "scaling.family")
baseline = partial(command_line, "scaling.baseline")
show = partial(command_line, "search_spaces.show")
training_aware = partial(command_line, "scaling.training_aware")
train_run = partial(command_line, "train.run")
noisy_student = partial(command_line, "train.noisy_student")
export = partial(command_line, "train.export")
predict = partial(command_line, "train.predict")
ray_tune = partial(command_line, "train.ray_tune")

ROOT = Path(__file__).resolve().parents[1]
CATCHES_SIGTERM = 1 << 14  # bit of SigCgt in /proc/PID/status, proc(5)

# a sitecustomize.py: weights cannot be renamed into place while the file that $FULL names exists
FULL_DISK = """
import errno, os
put = os.replace
def replace(source, target, **other):
    if str(target).endswith(".safetensors") and os.path.exists(os.environ["FULL"]):
        raise OSError(errno.ENOSPC, "No space left on device")
    put(source, target, **other)
os.replace = replace
"""


def images(place: Path, train: int = 40, test: int = 6) -> str:
    """Create a folder of images with two classes; return the value of --data for it."""
    number = 0
    for split, count in (("train", train), ("test", test)):
        for label in ("a", "b"):
            (place / split / label).mkdir(parents=True)
            for index in range(count):
                number += 1
                (place / split / label / f"{index}.png").write_bytes(encoded(number))
    return f"imagefolder:{place}"


TRAINING = ["--set", "batch=16", "--device", "cpu"]
MEASURED = [*TRAINING, "--fidelity", "epochs=1", "--workers", "1"]


def commands(data: str) -> dict[str, list[str]]:
    """Return module and arguments, without --out, of every command whose --out is a folder."""
    network = ["mobilenet_v2", "--data", data, "--width", "0.1", "--set", "epochs=40"]
    return {
        "nas.search": ["--target-flops", "400M", "--budget", "50M"],
        "nas.compare": ["--strategies", "random", "--target-flops", "400M", "--budget", "50M"],
        "nas.search measured": [
            "--evaluator",
            "proxy",
            "--data",
            data,
            "--target-flops",
            "4M",
            "--budget",
            "40",
            *MEASURED,
        ],
        "nas.fidelity": [
            "--data",
            data,
            "--target-flops",
            "4M",
            "--networks",
            "8",
            "--fidelities",
            "epochs=1;epochs=2",
            "--longest",
            "epochs=9",
            "--workers",
            "1",
            *TRAINING,
        ],
        "train.run": [*network, *TRAINING],
        "train.ray_tune": [
            "--architectures",
            "mobilenet_v2",
            "--data",
            data,
            "--width",
            "0.1",
            "--set",
            "epochs=40",
            "--set",
            "batch=16",
        ],
        "scaling.grid": [
            "--base",
            "mobilenet_v2",
            "--data",
            data,
            "--candidates",
            "4",
            "--seeds",
            "9",
            "--proxy-width",
            "0.1",
            *MEASURED,
        ],
        "scaling.family": ["--phi", "0..1", "--measure", "latency"],
        "scaling.training_aware": ["--data", data, "--budget", "40", *MEASURED],
        "scaling.baseline": [
            "--data",
            data,
            "--target-flops",
            "4M",
            "--budget",
            "40",
            "--fidelity",
            "epochs=1",
            "--workers",
            "1",
            *TRAINING,
        ],
    }


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a command of this tree, with variables `more`, such as a cache."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def begin(name: str, words: list[str], place: Path, **more: str) -> subprocess.Popen[str]:
    """Start a command with its cache in `place`."""
    return subprocess.Popen(
        [sys.executable, "-m", name.split()[0], *words],
        text=True,
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=environment(XDG_CACHE_HOME=str(place / "cache"), **more),
    )


def wait_for_handler(process: subprocess.Popen[str]) -> None:
    """Wait until the process catches SIGTERM."""
    status = Path(f"/proc/{process.pid}/status")
    for _ in range(2000):
        caught = next(
            (line for line in status.read_text().splitlines() if line.startswith("SigCgt")), ""
        )
        if caught and int(caught.split()[1], 16) & CATCHES_SIGTERM:
            return
        time.sleep(0.005)
    raise AssertionError("SIGTERM is not caught")


def processes_of(place: Path) -> list[str]:
    """Return the command lines of processes that `begin` started with their cache in `place`."""
    mark, found = os.fsencode(f"XDG_CACHE_HOME={place / 'cache'}"), []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:400])
        except OSError:
            continue
    return found


def wait_for(condition: Callable[[], object], seconds: float) -> bool:
    """Wait for the condition for at most this time; return whether it became true."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def with_options(words: list[str], *more: str) -> list[str]:
    """Return the words with further options, which replace those with the same name.

    --set and --skip are added instead.
    """
    given = {word for word in more if word.startswith("--")} - {"--set", "--skip"}
    found: list[str] = []
    replaced = False
    for word in words:
        if word.startswith("--"):
            replaced = word in given
        if not replaced:
            found.append(word)
    return [*found, *more]
