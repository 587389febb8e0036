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
    """Evaluates networks by number; every evaluation ends in one `Answer`.

    `wait` raises InfrastructureError where an evaluation failed for a reason that its network did
    not cause. That evaluation has no answer.
    """

    @property
    def capacity(self) -> int:
        """Evaluations at once, as far as workers are up."""

    def start(self, number: int, genotype: np.ndarray, *, seed: int = 0) -> None:
        """Begin an evaluation; at most `capacity` at once."""

    def wait(self, seconds: float) -> list[Message]:
        """New messages in order: points of curves, then the answer; perhaps none."""

    def stop(self, number: int) -> None:
        """Let an evaluation go no further: its answer, of the points so far, follows."""

    def close(self) -> None:
        """Free what the workers hold."""


class InProcess:
    """One evaluation at a time, in this process: what a test or a notebook wants.

    folder  of the checkpoints of evaluations, one folder each; or None.
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
        """One."""
        return 1

    def start(self, number: int, genotype: np.ndarray, *, seed: int = 0) -> None:
        """Begin the evaluation of one genotype [decisions]."""
        assert self._running is None, "one at a time"
        self._job = (genotype, seed)
        points = evaluation(self._evaluator, self._space, self._folder, self._job)
        self._running, self._points, self._stopped = (number, points), [], False

    def wait(self, seconds: float) -> list[Message]:
        """The next point, or the answer where there is none."""
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
        except Exception as error:  # whatever a user's evaluator raises is a result, not a crash
            if is_infrastructure(error):
                raise infrastructure_error(error) from error
            answer = Answer.failed(reason_of(error), self._points)
        self._running = None
        return [(number, answer)]

    def stop(self, number: int) -> None:
        """Let the evaluation end at its last point."""
        self._stopped = self._running is not None and self._running[0] == number

    def close(self) -> None:
        """Nothing is held; an evaluation that has not ended can be resumed."""


def evaluation(
    evaluator: Evaluator, space: SearchSpace, folder: Path | None, job: tuple[np.ndarray, int]
) -> Generator[Point, None, None]:
    """The points of one evaluation; job is (genotype [decisions], seed).

    Removes its checkpoint once it has ended or failed; `unwanted` removes that of a stopped one.
    After Ctrl-C, and where the process is killed, the checkpoint remains for the next run.
    """
    genotype, seed = job
    own = place(folder, space, genotype, seed)
    try:
        for step, accuracy, seconds in evaluator.curve(space, genotype, seed=seed, folder=own):
            yield Point(int(step), float(accuracy), float(seconds))
    except Exception as error:
        if not is_infrastructure(error):  # else it resumes from there later
            _remove(own)
        raise
    _remove(own)


def unwanted(space: SearchSpace, folder: Path | None, job: tuple[np.ndarray, int]) -> None:
    """Remove the checkpoint of an evaluation that was stopped for good."""
    _remove(place(folder, space, *job))


def place(folder: Path | None, space: SearchSpace, genotype: np.ndarray, seed: int) -> Path | None:
    """The folder of an evaluation's checkpoint, named by what is evaluated, so that another driver
    finds it. None where there is no folder."""
    return None if folder is None else folder / f"{int(space.keys(genotype[None])[0])}-{seed}"


def _remove(folder: Path | None) -> None:
    """Remove a checkpoint: the weights of short trainings are of no further use."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


PATIENCE = 60.0  # seconds without a worker after which the reason is printed


class OnCluster:
    """Many evaluations at once, each in a process of its own on a Ray cluster.

    make       called once in each of those processes: the evaluator.
    described  an evaluator with the same `steps` and `scored_on`; it evaluates nothing.
    place      evaluations at once, on how many processors and GPUs each, and of which cluster.
    timeout    seconds after which an evaluation fails; None: never.
    folder     of the checkpoints of evaluations, seen by all nodes; or None.
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
        """Evaluations under way, and processes that are set up and have none."""
        if self._broken is not None:
            return 0  # nothing new begins before `wait` raises it
        return len(self._points) + self._pool.free

    def start(self, number: int, genotype: np.ndarray, *, seed: int = 0) -> None:
        """Begin the evaluation of one genotype [decisions]."""
        self._points[number] = []
        self._pool.start(number, (genotype, seed))

    def wait(self, seconds: float) -> list[Message]:
        """What the workers reported within the seconds.

        LostCluster where the cluster does not answer any more, InfrastructureError where an
        evaluation failed again and again for a reason that its network did not cause.
        """
        if self._broken is not None:  # after what else came with it was taken in
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
                # an evaluation that lost its machine reports its first points again
                points[:] = [known for known in points if known.step < point.step]
                points.append(point)
                messages.append((number, point))
            elif item.infrastructure:
                self._broken = InfrastructureError(item.reason)
            else:
                messages.append((number, self._ended(number, item.reason)))
        return messages

    def _warn_of_a_full_cluster(self) -> None:
        """Print once why nothing happens, where no process could be set up for a while."""
        if self.capacity:
            self._warns_at = math.inf
        elif time.monotonic() > self._warns_at:
            self._warns_at = math.inf
            print_err(
                f"no worker is up after {PATIENCE:g} s: the cluster has no room for one, or its "
                "nodes are still coming; waiting"
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
        """Ask the evaluation to end after its next step."""
        self._stopped.add(number)
        self._pool.stop(number)

    def close(self) -> None:
        """Give the processes back."""
        self._pool.close()


def _evaluations(
    make: Callable[[], Evaluator], space: SearchSpace, folder: Path | None
) -> Callable[[Any], Iterator[tuple[int, float, float]]]:
    """In a worker's process: the function that runs its evaluations."""
    evaluator = make()
    evaluator.get_ready(space)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)

    def run(job: tuple[np.ndarray, int]) -> Iterator[tuple[int, float, float]]:
        try:
            for point in evaluation(evaluator, space, folder, job):
                yield point.step, point.accuracy, point.seconds
        except GeneratorExit:  # the pool stops it
            unwanted(space, folder, job)
            raise

    return run


class Event(NamedTuple):
    """Something that happens at a simulated time; `turn` orders what happens at once."""

    time: float
    turn: int
    number: int
    message: Point | Answer


class Simulated:
    """A cluster on a clock of its own: evaluations are replayed from known curves.

    curve_of  (genotype, seed) -> the whole learning curve, with seconds.
    `now` is seconds since the start, `busy` the seconds of work that all have spent by then.
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
        self._stopped: dict[int, int] = {}  # turn of the answer of what was stopped

    @property
    def busy(self) -> float:
        """Seconds of work so far, that of unfinished evaluations among them."""
        return self._spent + sum(self.now - began for began in self._began.values())

    def start(self, number: int, genotype: np.ndarray, *, seed: int = 0) -> None:
        """Begin now; all messages to come are known."""
        curve: Curve = tuple(self._curve_of(genotype, seed))
        self._began[number], self._reported[number] = self.now, []
        for point in curve:
            self._expect(self.now + point.seconds, number, point)
        end = Answer.of_curve(curve)
        self._expect(self.now + end.seconds, number, end)

    def _expect(self, time: float, number: int, message: Point | Answer) -> int:
        """Add an event; its turn."""
        turn = next(self._turns)
        heapq.heappush(self._events, Event(time, turn, number, message))
        return turn

    def wait(self, seconds: float) -> list[Message]:
        """The next thing that happens, whenever that is."""
        while self._events:
            event = heapq.heappop(self._events)
            number = event.number
            if number not in self._began or event.turn < self._stopped.get(number, 0):
                continue  # it was stopped meanwhile
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
        """End now, at the last point that was reported."""
        if number not in self._began or number in self._stopped:
            return
        answer = Answer.of_curve(self._reported[number], stopped_of=self._steps)
        self._stopped[number] = self._expect(self.now, number, answer)

    def close(self) -> None:
        """Nothing is held."""
