"""Test helper: one of several drivers of a study.

    python -m tests.nas.study_driver URL NAME LOG DRIVERS [STUCK]

After DRIVERS drivers have opened the study, each evaluates all networks of the tiny space in the
same order, and appends a line to LOG when an evaluation begins and when it ends. The STUCK-th
evaluation (from 1) of this driver never ends.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

from nas.evaluators.base import Answer, Point
from nas.history import History
from nas.storage.study import Study, open_study
from nas.storage.study_settings import SearchIdentity
from tests.nas.studies import EASY, every_network
from tests.nas.toys import tiny_space

SECONDS = 0.1  # duration of an evaluation


def main(url: str, name: str, log: str, drivers: int, stuck: int = 0) -> None:
    space = tiny_space()
    networks = every_network(space)
    history = History(space, EASY)
    with open_study(url, name, SearchIdentity(space, EASY, {"seed": 0}), resume=True) as study:
        write(log, f"ready {study.driver}")
        while Path(log).read_text().count("ready") < drivers:
            time.sleep(SECONDS / 10)
        todo: list[np.ndarray] = []
        begun = 0
        while len(history) < len(networks):
            study.beat()
            todo += [claim.genotype for claim in study.abandoned()]
            study.sync(history)
            new = networks[~history.contains(networks)]
            if not todo and not len(new):
                time.sleep(SECONDS)
                continue
            genotype = todo.pop(0) if todo else new[0]
            number = study.claim(genotype, {"flops": int(space.costs(genotype[None]).flops[0])})
            if number is None:
                continue
            begun += 1
            text = "-".join(map(str, genotype))
            write(log, f"begin {text} {number}")
            if begun == stuck:
                write(log, f"stuck {text} {number}")
                time.sleep(600)
            evaluate(study, number, genotype)
            write(log, f"end {text} {number}")


def evaluate(study: Study, number: int, genotype: np.ndarray) -> None:
    accuracy = 50.0 + float(genotype @ (6, 2, 1))
    half = Point(1, accuracy - 10, SECONDS / 2)
    time.sleep(SECONDS / 2)
    study.report(number, half)
    time.sleep(SECONDS / 2)
    whole = Point(2, accuracy, SECONDS)
    study.finish(number, Answer(accuracy, seconds=SECONDS, curve=(half, whole)))


def write(log: str, line: str) -> None:
    """Append one whole line; other processes may write at the same time."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{line}\n".encode())
    os.close(file)


if __name__ == "__main__":
    main(*sys.argv[1:4], *map(int, sys.argv[4:]))
