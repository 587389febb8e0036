"""Worker backends for expensive evaluations: this process, a Ray cluster, or a simulated one."""

from __future__ import annotations

import functools
import heapq
import itertools
import math
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from nas.evaluators.base import Answer, Curve, Evaluator, Point
from nas.stopped import LostCluster
from search_spaces.space import SearchSpace
from train.cluster.host import open_pool
from train.cluster.place import Place
from train.cluster.pool import PoolLost, Yielded
from vbs.console import print_err
from vbs.failures import InfrastructureError, infrastructure_error, is_infrastructure, reason_of

Message = tuple[int, Point | Answer]


class Workers(Protocol):
    """A worker backend; it evaluates networks by number and returns one `Answer` for each.

    `wait` raises InfrastructureError if an evaluation failed for a reason that its network did not
    cause. That evaluation has no `Answer`.
    """

    @property
    def capacity(self) -> int:
        """Number of concurrent evaluations that the running workers allow."""

    def start(self, number: int, genotype: np.ndarray, *, seed: int = 0) -> None:
        """Start an evaluation; at most `capacity` run at once."""

    def wait(self, seconds: float) -> list[Message]:
        """Return new messages in order: points of curves, then the `Answer`; can be empty."""

    def stop(self, number: int) -> None:
        """Stop an evaluation early; its `Answer` with the points so far follows."""

    def close(self) -> None:
        """Release the resources of the workers."""


class InProcess:
    """One evaluation at a time in this process, for tests and notebooks.

    folder  folder with a folder of checkpoints for each evaluation; None for no checkpoints.
    """

    def __init__(
        self, evaluator: Evaluator, space: SearchSpace, *, folder: Path | None = None
    ) -> None:
        self._evaluator, self._space, self._folder = evaluator, space, folder
        self._running: tuple[int, Generator[Point, None, None]] | None = None
        self._points: list[Point] = []
        self._stopped = False
        evaluator.get_ready(space)

    @property
    def capacity(self) -> int:
        """Always 1."""
        return 1

    def start(self, number: int, genotype: np.ndarray, *, seed: int = 0) -> None:
        """Start the evaluation of one genotype [decisions]."""
        assert self._running is None, "one at a time"
        self._job = (genotype, seed)
        points = evaluation(self._evaluator, self._space, self._folder, self._job)
        self._running, self._points, self._stopped = (number, points), [], False

    def wait(self, seconds: float) -> list[Message]:
        """Return the next point or, after the last one, the `Answer`."""
        if self._running is None:
            return []
        number, points = self._running
        try:
            if not self._stopped:
                point = next(points)
                self._points.append(point)
                return [(number, point)]
            points.close()
            unwanted(self._space, self._folder, self._job)
            answer = Answer.of_curve(
                self._points, stopped_of=self._evaluator.steps, images=self._evaluator.scored_on
            )
        except StopIteration:
            answer = Answer.of_curve(self._points, images=self._evaluator.scored_on)
        except Exception as error:  # an error of a user's evaluator is a failed evaluation
            if is_infrastructure(error):
                raise infrastructure_error(error) from error
            answer = Answer.failed(reason_of(error), self._points)
        self._running = None
        return [(number, answer)]

    def stop(self, number: int) -> None:
        """Stop the evaluation at its last point."""
        self._stopped = self._running is not None and self._running[0] == number

    def close(self) -> None:
        """Do nothing; an unfinished evaluation can be resumed."""


def evaluation(
    evaluator: Evaluator, space: SearchSpace, folder: Path | None, job: tuple[np.ndarray, int]
) -> Generator[Point, None, None]:
    """Yield the points of one evaluation; job is (genotype [decisions], seed).

    The checkpoint is removed when the evaluation finishes or fails; `unwanted` removes that of a
    stopped one. After Ctrl-C or a killed process, the checkpoint remains for the next run.
    """
    genotype, seed = job
    own = place(folder, space, genotype, seed)
    try:
        for step, accuracy, seconds in evaluator.curve(space, genotype, seed=seed, folder=own):
            yield Point(int(step), float(accuracy), float(seconds))
    except Exception as error:
        if not is_infrastructure(error):  # otherwise, the evaluation is resumed later
            _remove(own)
        raise
    _remove(own)


def unwanted(space: SearchSpace, folder: Path | None, job: tuple[np.ndarray, int]) -> None:
    """Remove the checkpoint of an evaluation that was stopped early."""
    _remove(place(folder, space, *job))


def place(folder: Path | None, space: SearchSpace, genotype: np.ndarray, seed: int) -> Path | None:
    """Return the folder of an evaluation's checkpoint; None if `folder` is None.

    The name is that of the network and the seed, so that another driver finds the checkpoint.
    """
    return None if folder is None else folder / f"{int(space.keys(genotype[None])[0])}-{seed}"


def _remove(folder: Path | None) -> None:
    """Remove a checkpoint; the weights of short trainings are not needed later."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


PATIENCE = 60.0  # seconds without a worker after which a message is printed


class OnCluster:
    """Concurrent evaluations in separate processes of a Ray cluster.

    make       function that creates the evaluator, called once in each process.
    described  evaluator with the same `steps` and `scored_on`, which evaluates nothing.
    place      the cluster, the number of concurrent evaluations, and CPUs and GPUs of each.
    timeout    seconds after which an evaluation fails; None for no limit.
    folder     folder of checkpoints, shared by all nodes; None for no checkpoints.
    """

    def __init__(
        self,
        make: Callable[[], Evaluator],
        space: SearchSpace,
        described: Evaluator,
        place: Place,
        *,
        timeout: float | None = None,
        folder: Path | None = None,
    ) -> None:
        self._steps, self._images = described.steps, described.scored_on
        self._points: dict[int, list[Point]] = {}
        self._stopped: set[int] = set()
        self._warns_at = time.monotonic() + PATIENCE
        self._broken: InfrastructureError | None = None
        self._pool = open_pool(
            functools.partial(_evaluations, make, space, folder),
            place,
            timeout=timeout,
        )

    @property
    def capacity(self) -> int:
        """Number of running evaluations and of free processes that are set up."""
        if self._broken is not None:
            return 0  # no evaluation may start; `wait` will raise the error
        return len(self._points) + self._pool.free

    def start(self, number: int, genotype: np.ndarray, *, seed: int = 0) -> None:
        """Start the evaluation of one genotype [decisions]."""
        self._points[number] = []
        self._pool.start(number, (genotype, seed))

    def wait(self, seconds: float) -> list[Message]:
        """Return the messages of the workers within `seconds`.

        Raises LostCluster if the cluster no longer responds, and InfrastructureError if an
        evaluation failed repeatedly for a reason that its network did not cause.
        """
        if self._broken is not None:  # the messages that came with it were returned before
            raise self._broken
        messages: list[Message] = []
        try:
            items = self._pool.wait(seconds)
        except PoolLost as error:
            raise LostCluster(str(error)) from None
        self._warn_of_a_full_cluster()
        for number, item in items:
            points = self._points[number]
            if isinstance(item, Yielded):
                point = Point(*item.value)
                # an evaluation that is restarted on another machine repeats its first points
                points[:] = [known for known in points if known.step < point.step]
                points.append(point)
                messages.append((number, point))
            elif item.infrastructure:
                self._broken = InfrastructureError(item.reason)
            else:
                messages.append((number, self._ended(number, item.reason)))
        return messages

    def _warn_of_a_full_cluster(self) -> None:
        """Print once that no process could be set up for `PATIENCE` seconds."""
        if self.capacity:
            self._warns_at = math.inf
        elif time.monotonic() > self._warns_at:
            self._warns_at = math.inf
            print_err(
                f"no worker is up after {PATIENCE:g} s: the cluster has no free CPUs or GPUs for "
                "one, or its nodes are still starting; waiting"
            )

    def _ended(self, number: int, reason: str) -> Answer:
        points = self._points.pop(number)
        stopped = number in self._stopped
        self._stopped.discard(number)
        if reason:
            return Answer.failed(reason, points)
        return Answer.of_curve(
            points, stopped_of=self._steps if stopped else None, images=self._images
        )

    def stop(self, number: int) -> None:
        """Stop the evaluation after its next step."""
        self._stopped.add(number)
        self._pool.stop(number)

    def close(self) -> None:
        """Release the worker processes."""
        self._pool.close()


def _evaluations(
    make: Callable[[], Evaluator], space: SearchSpace, folder: Path | None
) -> Callable[[Any], Iterator[tuple[int, float, float]]]:
    """Return the function that runs evaluations; called in each worker process."""
    evaluator = make()
    evaluator.get_ready(space)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)

    def run(job: tuple[np.ndarray, int]) -> Iterator[tuple[int, float, float]]:
        try:
            for point in evaluation(evaluator, space, folder, job):
                yield point.step, point.accuracy, point.seconds
        except GeneratorExit:  # the pool stops the evaluation
            unwanted(space, folder, job)
            raise

    return run


class Event(NamedTuple):
    """A message at a simulated time; `turn` orders messages of the same time."""

    time: float
    turn: int
    number: int
    message: Point | Answer


class Simulated:
    """A simulated cluster, which replays known learning curves with a simulated clock.

    curve_of  function of (genotype, seed) that returns the full learning curve, with seconds.
    capacity  number of concurrent evaluations.
    steps     number of points of a full learning curve.

    The attribute `now` is the simulated time in seconds since the start.
    """

    def __init__(
        self, curve_of: Callable[[np.ndarray, int], Sequence[Point]], *, capacity: int, steps: int
    ) -> None:
        self.capacity, self._steps, self._curve_of = capacity, steps, curve_of
        self.now = self._spent = 0.0
        self._events: list[Event] = []
        self._turns = itertools.count()
        self._reported: dict[int, list[Point]] = {}
        self._began: dict[int, float] = {}
        self._stopped: dict[int, int] = {}  # number -> turn of its `Answer`

    @property
    def busy(self) -> float:
        """Seconds of work of all evaluations so far, including unfinished ones."""
        return self._spent + sum(self.now - began for began in self._began.values())

    def start(self, number: int, genotype: np.ndarray, *, seed: int = 0) -> None:
        """Start an evaluation and schedule all its messages."""
        curve: Curve = tuple(self._curve_of(genotype, seed))
        self._began[number], self._reported[number] = self.now, []
        for point in curve:
            self._expect(self.now + point.seconds, number, point)
        end = Answer.of_curve(curve)
        self._expect(self.now + end.seconds, number, end)

    def _expect(self, time: float, number: int, message: Point | Answer) -> int:
        """Add an event and return its turn."""
        turn = next(self._turns)
        heapq.heappush(self._events, Event(time, turn, number, message))
        return turn

    def wait(self, seconds: float) -> list[Message]:
        """Advance the clock to the next message and return it."""
        while self._events:
            event = heapq.heappop(self._events)
            number = event.number
            if number not in self._began or event.turn < self._stopped.get(number, 0):
                continue  # the evaluation has been stopped
            self.now = event.time
            if isinstance(event.message, Point):
                self._reported[event.number].append(event.message)
            else:
                self._spent += event.time - self._began.pop(event.number)
                self._stopped.pop(event.number, None)
                del self._reported[event.number]
            return [(event.number, event.message)]
        return []

    def stop(self, number: int) -> None:
        """Stop an evaluation at its last reported point."""
        if number not in self._began or number in self._stopped:
            return
        answer = Answer.of_curve(self._reported[number], stopped_of=self._steps)
        self._stopped[number] = self._expect(self.now, number, answer)

    def close(self) -> None:
        """Do nothing."""
