"""A pool of processes on a Ray cluster, each set up once, that work through generator jobs.

A job is a generator: what it yields comes to the driver item by item, and it waits for the
driver's next `wait` before it goes on. So a decision to stop it, taken on its last item, costs no
work: there is none in progress.
"""

from __future__ import annotations

import collections
import contextlib
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from train.ray_connect import MACHINE_LOST, check_fits, connect, death, disconnect
from vbs.processes import available_cpus

GRACE = 5.0  # most seconds that a job over its time has to yield before its process is killed
MOVES = 8  # most machines that a job may lose before it is given up
SET_UPS = 3  # failed set-ups in a row after which a slot is given up
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Job = Callable[[Any], Iterator[Any]]


class PoolLost(ValueError):
    """No slot is left, or the cluster does not answer."""


class Said(NamedTuple):
    """What a job yielded."""

    value: Any


class Ended(NamedTuple):
    """A job is over; "" where it ended by itself or was stopped, else the reason."""

    reason: str


Item = Said | Ended


class Worker:
    """What runs in a slot's process."""

    def __init__(self, make: Callable[[], Job], threads: int) -> None:
        for name in THREADS:
            os.environ[name] = str(threads)
        self._job: Job = lambda _: iter(())
        self._wrong = ""
        try:
            self._job = make()
        except (Exception, SystemExit) as error:
            self._wrong = _reason(error)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)
        self._items: Iterator[Any] = iter(())

    def ready(self) -> str:
        """Returns once the process is set up: why it could not be, "" if it is."""
        return self._wrong

    def begin(self, payload: Any) -> tuple[bool, Any]:
        """The new job's first item, as `go_on`."""
        try:
            self._items = iter(self._job(payload))
        except (Exception, SystemExit) as error:
            return False, _reason(error)
        return self.go_on()

    def go_on(self) -> tuple[bool, Any]:
        """(True, next item) or (False, why it ended)."""
        try:
            return True, next(self._items)
        except StopIteration:
            return False, ""
        except (Exception, SystemExit) as error:
            return False, _reason(error)

    def stop(self) -> tuple[bool, Any]:
        """Close the job's generator."""
        try:
            if hasattr(self._items, "close"):
                self._items.close()
        except (Exception, SystemExit) as error:
            return False, _reason(error)
        return False, ""


@dataclass
class _Task:
    """A job as the driver knows it."""

    number: int
    payload: Any
    left: int  # times it may be started again after its process died
    moves: int = MOVES  # and after its machine was lost
    stopped: bool = False
    held: bool = False  # its last item is with the caller: goes on at the next `wait`
    deadline: float = math.inf  # of its time, then of its grace
    late: bool = False  # over its time


@dataclass(eq=False)
class _Slot:
    """A process, what it works on and what it was asked last."""

    actor: Any
    asked: Any  # the reference that answers it; None where nothing is asked
    up: bool = False
    failures: int = 0
    task: _Task | None = None


@dataclass
class _Inbox:
    """Items for the caller, and jobs that wait for another process."""

    items: list[tuple[int, Item]] = field(default_factory=list)
    waiting: collections.deque[_Task] = field(default_factory=collections.deque)


class Pool:
    """Runs generator jobs on a Ray cluster, `slots` at once, each slot an actor set up once.

    make     called once in every slot's process; returns the function whose generators are jobs.
             Defined in an importable module, or a closure that can be pickled.
    cpus     of a slot, also its number of threads; gpus may be a fraction.
    address  as in `train.ray_connect.connect`.
    timeout  seconds for a job, over which it is ended; None for none.
    retries  times a job is started again after its process died. One that lost its machine, which
             is no fault of its own, is started again up to MOVES times.

    The slots start side by side while the constructor returns; `ready` waits for them. Raises
    ValueError where the cluster cannot be reached or no node can hold a slot.
    """

    def __init__(
        self, make: Callable[[], Job], *, slots: int, cpus: float = 1.0, gpus: float = 0.0,
        address: str | None = None, timeout: float | None = None, retries: int = 1,
    ) -> None:  # fmt: skip
        if slots < 1:
            raise ValueError(f"slots: {slots} is not allowed; use at least 1")
        if timeout is not None and not timeout > 0:
            raise ValueError(f"timeout: {timeout} is not allowed; use seconds above 0, or none")
        self._timeout, self._retries = timeout, retries
        self._inbox, self._closed = _Inbox(), False
        here = max(float(available_cpus()), slots * cpus)
        self._connected = connect(address, cpus=here)
        try:
            import ray

            check_fits(cpus, gpus, what="slot")
            options = {"num_cpus": cpus, "num_gpus": gpus, "max_restarts": 0}
            actor = ray.remote(Worker).options(**options)
            made, threads = ray.put(make), max(1, int(cpus))
            self._new = lambda: actor.remote(made, threads)
            self._slots = [self._started() for _ in range(slots)]
        except BaseException:
            if self._connected:
                disconnect()
            raise

    @property
    def free(self) -> int:
        """Slots that are set up and have nothing to do."""
        idle = sum(slot.up and slot.task is None for slot in self._slots)
        return max(0, idle - len(self._inbox.waiting))

    def ready(self, timeout: float = 300.0) -> int:
        """Wait until all slots are set up, at most `timeout` seconds; how many are.

        Raises ValueError with the reason where setting up fails.
        """
        end = time.monotonic() + timeout
        while not all(slot.up for slot in self._slots) and time.monotonic() < end:
            self._look([slot for slot in self._slots if not slot.up], end - time.monotonic())
        return sum(slot.up for slot in self._slots)

    def start(self, number: int, payload: Any) -> None:
        """Run the function on the payload in a free slot; ValueError where there is none."""
        if self.free < 1:
            raise ValueError(f"job {number}: no slot is free; wait until one is")
        self._inbox.waiting.append(_Task(number, payload, self._retries))
        self._hand_out()

    def wait(self, seconds: float) -> list[tuple[int, Item]]:
        """What the jobs said since, as (number, Said or Ended), in order of arrival for each job.

        Returns as soon as there is something, or a slot became free, at the latest after
        `seconds`. The items of a job that is started again come again from its first one.
        """
        for slot in self._slots:
            if slot.task is not None and slot.task.held:
                slot.task.held = False
                slot.asked = slot.actor.go_on.remote()
        end, free = time.monotonic() + seconds, self.free
        while True:
            left = end - time.monotonic()
            self._look(self._slots, max(0.0, min(left, self._first_deadline())))
            self._overdue()
            self._hand_out()
            if self._inbox.items or self.free > free or left <= 0:
                items, self._inbox.items = self._inbox.items, []
                return items

    def stop(self, number: int) -> None:
        """End a job: its generator is closed where it waits for `wait`, else at its next item.

        An Ended follows from `wait`. Does nothing where there is no such job.
        """
        for lost in list(self._inbox.waiting):
            if lost.number == number:
                self._inbox.waiting.remove(lost)
                self._inbox.items.append((number, Ended("")))
        for slot in self._slots:
            task = slot.task
            if task is not None and task.number == number and not task.stopped:
                task.stopped = True
                if task.held:
                    self._close_job(slot)

    def close(self) -> None:
        """End all slots, and Ray itself where this pool started it; may be called twice."""
        if self._closed:
            return
        self._closed = True
        for slot in self._slots:
            self._kill(slot.actor)
        if self._connected:
            disconnect()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _started(self, failures: int = 0) -> _Slot:
        actor = self._new()
        return _Slot(actor, actor.ready.remote(), failures=failures)

    def _hand_out(self) -> None:
        for slot in self._slots:
            if not self._inbox.waiting:
                return
            if slot.up and slot.task is None:
                task = self._inbox.waiting.popleft()
                slot.task = task
                if self._timeout is not None:
                    task.deadline = time.monotonic() + self._timeout
                slot.asked = slot.actor.begin.remote(task.payload)

    def _look(self, slots: list[_Slot], seconds: float) -> None:
        """Take in what was answered, waiting for the first answer at most `seconds`."""
        import ray

        asked = {slot.asked: slot for slot in slots if slot.asked is not None}
        if not asked:
            time.sleep(min(seconds, 0.05))
            return
        try:
            done, _ = ray.wait(list(asked), num_returns=1, timeout=max(0.0, seconds))
            if done:  # all that is there by now
                done, _ = ray.wait(list(asked), num_returns=len(asked), timeout=0)
        except ray.exceptions.RayError as error:
            raise PoolLost(f"the cluster does not answer ({_reason(error)})") from None
        for reference in done:
            slot = asked[reference]
            slot.asked = None
            try:
                answer = ray.get(reference)
            except ray.exceptions.RayTaskError as error:
                self._raised(slot, _reason(error.cause or error))
            except ray.exceptions.RayError as error:
                self._lost(slot, death(error))
            else:
                self._answered(slot, answer)

    def _answered(self, slot: _Slot, answer: tuple[bool, Any] | str) -> None:
        task = slot.task
        if isinstance(answer, str) or task is None:
            if answer:
                self._give_up(slot, str(answer))
            else:
                slot.up, slot.failures = True, 0
            return
        more, value = answer
        if not more:
            slot.task = None
            self._end(task, value)
        elif task.stopped:
            self._close_job(slot)
        else:
            task.held = True
            self._inbox.items.append((task.number, Said(value)))

    def _close_job(self, slot: _Slot) -> None:
        assert slot.task is not None
        slot.task.held = False
        slot.asked = slot.actor.stop.remote()

    def _raised(self, slot: _Slot, reason: str) -> None:
        """An exception outside the job itself: its answer or payload could not be pickled."""
        task, slot.task = slot.task, None
        if task is not None:
            self._end(task, reason)

    def _end(self, task: _Task, reason: str) -> None:
        """Tell that a job is over; of one over its time, that is the reason."""
        self._inbox.items.append((task.number, Ended(self._too_long() if task.late else reason)))

    def _lost(self, slot: _Slot, reason: str) -> None:
        """Another process in place of one that is gone; its job begins again, or ends."""
        task = slot.task
        self._replace(slot, reason)
        if task is None:
            return
        moved = reason == MACHINE_LOST
        left, moves = task.left - (not moved), task.moves - moved
        if task.stopped or min(left, moves) < 0:
            self._end(task, "" if task.stopped else reason)
        else:
            again = replace(task, left=left, moves=moves, held=False, deadline=math.inf)
            self._inbox.waiting.appendleft(again)

    def _replace(self, slot: _Slot, reason: str) -> None:
        failures = 0 if slot.up else slot.failures + 1
        if failures >= SET_UPS:
            self._give_up(slot, reason)
            return
        self._kill(slot.actor)  # it may only be out of reach
        self._slots[self._slots.index(slot)] = self._started(failures)

    def _give_up(self, slot: _Slot, reason: str) -> None:
        """Do without a slot; PoolLost where it was the last."""
        self._kill(slot.actor)
        self._slots.remove(slot)
        if not self._slots:
            raise PoolLost(f"a slot cannot be set up: {reason}")

    def _first_deadline(self) -> float:
        """Seconds until a job is over its time or its grace."""
        times = [slot.task.deadline for slot in self._slots if slot.task is not None]
        return max(0.0, min(times, default=math.inf) - time.monotonic())

    def _overdue(self) -> None:
        """End jobs that are over their time; kill the processes of those that do not yield."""
        for slot in list(self._slots):
            task = slot.task
            if task is None or task.deadline > time.monotonic():
                continue
            if not task.late:
                assert self._timeout is not None
                task.late = True
                task.deadline = time.monotonic() + min(GRACE, self._timeout)
                self.stop(task.number)
            else:
                self._replace(slot, "")
                self._end(task, "")

    def _too_long(self) -> str:
        return f"timed out after {self._timeout:g} s"

    @staticmethod
    def _kill(actor: Any) -> None:
        import ray

        with contextlib.suppress(Exception):  # it may be gone already
            ray.kill(actor)


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
