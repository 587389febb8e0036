"""An optimiser in another process, as a strategy of this project."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from experiments.lib.peer_environments import FOLDER, python_of
from nas.history import History
from nas.strategies.base import fresh, fresh_mutants, sample_fresh
from search_spaces.space import SearchSpace
from vbs.text import shortened

ANSWER_S = 3_600.0  # seconds for one proposal, including the fit of the model, on a busy machine
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class PeerFailed(Exception):
    """A peer ended, timed out, or answered something that is not a network; its text says which."""


class PeerProcess:
    """A worker process with an ask-and-tell protocol of JSON lines (experiments/peers/worker.py).

    command   of the worker.
    search    first line to the worker: the decisions, the seed, the objectives.
    answer_s  seconds after which a missing answer counts as a failure.
    """

    def __init__(
        self, command: Sequence[str], search: dict[str, Any], *, answer_s: float = ANSWER_S
    ) -> None:
        self.options = [each["options"] for each in search["decisions"]]
        self.answer_s = answer_s
        self._folder = tempfile.TemporaryDirectory()  # the peer's own files, and its stderr
        self._errors = Path(self._folder.name) / "stderr.txt"
        one_thread = dict.fromkeys(THREADS, "1")
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=self._folder.name,
                env={**os.environ, **one_thread},
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True).start()
        self._send({**search, "folder": self._folder.name})

    def __enter__(self) -> PeerProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._folder.cleanup()

    def ask(self) -> list[int]:
        """Return the proposed options, one for each decision; raises PeerFailed without one."""
        self._send({"do": "ask"})
        try:
            line = self._lines.get(timeout=self.answer_s)
        except queue.Empty:
            raise PeerFailed(f"no answer within {self.answer_s:g} s") from None
        if not line:
            raise PeerFailed(self._last_words())
        try:
            choices = json.loads(line)["choices"]
            allowed = all(
                type(choice) is int and 0 <= choice < count
                for choice, count in zip(choices, self.options, strict=True)
            )
        except (ValueError, TypeError, KeyError):
            allowed = False
        if not allowed:
            raise PeerFailed(f"answered {shortened(line.strip(), 80)}, which is not a network")
        return list(choices)

    def tell(self, choices: Sequence[int], values: list[float] | None, excess: float) -> None:
        """Send the result of a network; see `experiments/peers/worker.py`."""
        self._send({"do": "tell", "choices": list(choices), "values": values, "excess": excess})

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ConnectionResetError):
            raise PeerFailed(self._last_words()) from None

    def _read(self, stdout: IO[str]) -> None:
        with contextlib.suppress(ValueError):  # closed while it is read
            for line in stdout:
                self._lines.put(line)
        self._lines.put("")

    def _last_words(self) -> str:
        """Return the exit status and the last line of stderr."""
        try:
            status = f"exit status {self._process.wait(timeout=10)}"
        except subprocess.TimeoutExpired:
            status = "its pipe was closed"
        lines = [line for line in self._errors.read_text(errors="replace").splitlines() if line]
        return f"{status}: {shortened(lines[-1], 200)}" if lines else status


class PeerStrategy:
    """Proposes the networks of a peer.

    A network that exceeds the limits costs no evaluation: the peer receives the excess as a share
    of the limit, and the lowest reward so far (with two objectives: the lowest accuracy so far, and
    the cost of the network). If the network has already been evaluated, the peer receives its
    result again. In both cases the peer proposes another one; after `patience` attempts, a mutation
    of its last proposal is used.
    """

    generation = 1

    def __init__(self, process: PeerProcess, *, front: bool = False, patience: int = 25) -> None:
        self.process, self.front, self.patience = process, front, patience
        self.asked = 0
        self._known = 0
        self._rows: dict[int, int] = {}  # genotype key -> row of the history

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return at most `count` new feasible genotypes, int8 [k, decisions]; raises PeerFailed."""
        self._learn(history)
        found = np.empty((0, len(history.space.choices)), np.int8)
        for _ in range(self.patience):
            genotype = np.array([self.process.ask()], np.int8)
            self.asked += 1
            found = np.concatenate([found, fresh(genotype, history, taken=found)])
            if len(found) == count:
                return found
            self._tell_again(history, genotype)
        if not len(found):
            found = fresh_mutants(np.repeat(genotype, 20, axis=0), history, count, rng)
        return found if len(found) else sample_fresh(history, count, rng)

    def _learn(self, history: History) -> None:
        new = slice(self._known, len(history))
        for row, key in enumerate(history.space.keys(history.genotypes[new]), start=new.start):
            self._rows[int(key)] = row
            self._tell_row(history, row)
        self._known = len(history)

    def _tell_row(self, history: History, row: int) -> None:
        cost = self._cost(history, history.genotypes[row : row + 1])
        values = [history.accuracy[row], cost] if self.front else [history.reward[row]]
        succeeded = bool(np.isfinite(history.reward[row]))
        result = [float(value) for value in values] if succeeded else None
        self.process.tell(history.genotypes[row].tolist(), result, cost - 1.0)

    def _tell_again(self, history: History, genotype: np.ndarray) -> None:
        """Send the result of an infeasible or known genotype [1, decisions]."""
        key = int(history.space.keys(genotype)[0])
        if key in self._rows:
            self._tell_row(history, self._rows[key])
            return
        cost = self._cost(history, genotype)
        observed = history.accuracy if self.front else history.reward
        finite = observed[np.isfinite(observed)]
        lowest = float(finite.min()) if len(finite) else 0.0
        values = [lowest, cost] if self.front else [lowest]
        self.process.tell(genotype[0].tolist(), values, cost - 1.0)

    def _cost(self, history: History, genotype: np.ndarray) -> float:
        """Return the cost of the objective as a share of its limit."""
        objective = history.objective
        return float(history.space.costs(genotype).get(objective.of)[0]) / objective.target


def description(
    space: SearchSpace, seed: int, *, front: bool, reference: tuple[float, float]
) -> dict[str, Any]:
    """Return the first line to a worker: decisions of increasing numbers are ordered, others not.

    reference  accuracy and share of the limit from which a front counts.
    """
    decisions = [
        {
            "name": name,
            "options": len(options),
            "ordered": len(options) > 2
            and all(isinstance(option, (int, float)) for option in options),
        }
        for name, options in space.choices.items()
    ]
    objectives = ["accuracy", "cost"] if front else ["reward"]
    return {
        "decisions": decisions,
        "seed": seed,
        "start": 12,
        "objectives": objectives,
        "reference": list(reference),
    }


def start_peer(peer: str, search: dict[str, Any]) -> PeerProcess:
    """Start the worker of a peer in its environment; raises ValueError if that is missing."""
    return PeerProcess([str(python_of(peer)), str(FOLDER / "worker.py"), peer], search)
