"""A pool of processes on a Ray cluster, each set up once, that run generator jobs.

A job is a generator. It sends its items to the driver one by one. After each item it pauses until
the driver calls `wait` again, so that no work is wasted if the driver stops the job after an item.
"""

from __future__ import annotations

import collections
import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from train.cluster.connect import MACHINE_LOST, check_fits, connect, death, disconnect
from train.cluster.place import Place
from train.cluster.worker import Ended, Item, Job, Worker, Yielded
from vbs.failures import Failure, reason_of
from vbs.processes import available_cpus

GRACE = 5.0  # seconds in which a job over its time limit must yield; else it is killed
MOVES = 8  # most machines that a job may lose before it fails
PAUSES = (1.0, 10.0)  # seconds before a job that failed because of the infrastructure is retried
SET_UPS = 3  # consecutive failures to set up a slot after which the slot is abandoned


class PoolLost(Failure):
    """Raised if no slot is left or the cluster does not answer."""


@dataclass
class _Task:
    """The driver's state of a job."""

    number: int
    payload: Any
    left: int  # remaining restarts after its process died
    moves: int = MOVES  # remaining restarts after its machine was lost
    stopped: bool = False
    faults: int = 0  # number of failures because of the infrastructure
    earliest: float = -math.inf  # earliest time of its start
    held: bool = False  # paused after an item; continues at the next `wait`
    deadline: float = math.inf  # end of its time limit, then of its grace period
    late: bool = False  # whether it exceeded its time limit


@dataclass(eq=False)
class _Slot:
    """A process, its job and its last request."""

    actor: Any
    request: Any  # reference of the request's result; None if there is none
    up: bool = False
    failures: int = 0
    task: _Task | None = None


@dataclass
class _Inbox:
    """Items for the caller, and jobs that wait for another process."""

    items: list[tuple[int, Item]] = field(default_factory=list)
    waiting: collections.deque[_Task] = field(default_factory=collections.deque)


class Pool:
    """A pool that runs generator jobs on a Ray cluster; each slot is an actor, set up once.

    make     called once in every slot's process; returns the function whose generators are jobs.
             Must be defined in an importable module or be a closure that can be pickled.
    place    number and resources of the slots, and the cluster.
    timeout  time limit of a job in seconds; None: no limit.
    retries  restarts of a job after its process died. A job whose machine is lost, which the job
             does not cause, is restarted up to MOVES times.

    The slots are set up in parallel after the constructor has returned; `ready` waits for them.
    Raises ValueError if the cluster cannot be reached or no node can hold a slot.
    """

    def __init__(
        self,
        make: Callable[[], Job],
        place: Place,
        *,
        timeout: float | None = None,
        retries: int = 1,
    ) -> None:
        if place.slots < 1:
            raise ValueError(f"slots: {place.slots} is not allowed; use at least 1")
        if timeout is not None and not timeout > 0:
            raise ValueError(f"timeout: {timeout} is not allowed; use seconds above 0, or none")
        self._timeout, self._retries = timeout, retries
        self._inbox, self._closed = _Inbox(), False
        here = max(float(available_cpus()), place.slots * place.cpus)
        self._connected = connect(place.address, cpus=here)
        try:
            import ray

            check_fits(place.cpus, place.gpus, what="slot")
            actor = ray.remote(Worker).options(
                num_cpus=place.cpus, num_gpus=place.gpus, max_restarts=0
            )
            made, threads = ray.put(make), max(1, int(place.cpus))
            self._new = lambda: actor.remote(made, threads)
            self._slots = [self._started() for _ in range(place.slots)]
        except BaseException:
            if self._connected:
                disconnect()
            raise

    @property
    def free(self) -> int:
        """Number of slots that are set up and idle."""
        idle = sum(slot.up and slot.task is None for slot in self._slots)
        return max(0, idle - len(self._inbox.waiting))

    def ready(self, timeout: float = 300.0) -> int:
        """Wait until all slots are set up, at most `timeout` seconds; return how many are.

        Raises ValueError with the reason if setting up fails.
        """
        end = time.monotonic() + timeout
        while not all(slot.up for slot in self._slots) and time.monotonic() < end:
            self._look([slot for slot in self._slots if not slot.up], end - time.monotonic())
        return sum(slot.up for slot in self._slots)

    def start(self, number: int, payload: Any) -> None:
        """Run the function on the payload in a free slot; raise ValueError if there is none."""
        if self.free < 1:
            raise ValueError(f"job {number}: no slot is free; wait until one is")
        self._inbox.waiting.append(_Task(number, payload, self._retries))
        self._hand_out()

    def wait(self, seconds: float) -> list[tuple[int, Item]]:
        """Return new items as (number, Yielded or Ended), for each job in order of arrival.

        Returns as soon as there is an item or a further free slot, at the latest after `seconds`.
        A job that is restarted yields its items again from the first.
        """
        for slot in self._slots:
            if slot.task is not None and slot.task.held:
                slot.task.held = False
                slot.request = slot.actor.proceed.remote()
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
        """End a job: close its generator, at once if the job is paused, otherwise at its next item.

        `wait` then returns an Ended. Does nothing if there is no such job.
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
        """End all slots, and Ray itself if this pool started it; may be called twice."""
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
                now = time.monotonic()
                task = next((each for each in self._inbox.waiting if each.earliest <= now), None)
                if task is None:
                    return
                self._inbox.waiting.remove(task)
                slot.task = task
                if self._timeout is not None:
                    task.deadline = time.monotonic() + self._timeout
                slot.request = slot.actor.begin.remote(task.payload)

    def _look(self, slots: list[_Slot], seconds: float) -> None:
        """Process new answers; wait at most `seconds` for the first one."""
        import ray

        requests = {slot.request: slot for slot in slots if slot.request is not None}
        if not requests:
            time.sleep(min(seconds, 0.05))
            return
        try:
            done, _ = ray.wait(list(requests), num_returns=1, timeout=max(0.0, seconds))
            if done:  # take all answers that have arrived
                done, _ = ray.wait(list(requests), num_returns=len(requests), timeout=0)
        except ray.exceptions.RayError as error:
            raise PoolLost(f"the cluster does not answer ({reason_of(error)})") from None
        for reference in done:
            slot = requests[reference]
            slot.request = None
            try:
                answer = ray.get(reference)
            except ray.exceptions.RayTaskError as error:
                self._raised(slot, reason_of(error.cause or error))
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
            self._over(slot, task, value)
        elif task.stopped:
            self._close_job(slot)
        else:
            task.held = True
            self._inbox.items.append((task.number, Yielded(value)))

    def _close_job(self, slot: _Slot) -> None:
        assert slot.task is not None
        slot.task.held = False
        slot.request = slot.actor.stop.remote()

    def _raised(self, slot: _Slot, reason: str) -> None:
        """Handle an exception outside the job: its answer or payload could not be pickled."""
        task, slot.task = slot.task, None
        if task is not None:
            self._end(task, reason)

    def _over(self, slot: _Slot, task: _Task, end: Ended) -> None:
        """Handle the end of a job.

        If it failed because of the infrastructure, it is retried after a pause in a new process,
        which may be on another machine.
        """
        if not end.infrastructure or task.stopped:
            self._end(task, "" if end.infrastructure else end.reason)
        elif task.faults < len(PAUSES):
            self._replace(slot, end.reason)
            earliest = time.monotonic() + PAUSES[task.faults]
            again = replace(
                task, faults=task.faults + 1, held=False, deadline=math.inf, earliest=earliest
            )
            self._inbox.waiting.appendleft(again)
        else:
            self._inbox.items.append((task.number, end))

    def _end(self, task: _Task, reason: str) -> None:
        """Report the end of a job; if it exceeded its time limit, that is the reason."""
        self._inbox.items.append((task.number, Ended(self._too_long() if task.late else reason)))

    def _lost(self, slot: _Slot, reason: str) -> None:
        """Replace a process that has ended; restart its job or report its end."""
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
        self._kill(slot.actor)  # it may still run but be unreachable
        self._slots[self._slots.index(slot)] = self._started(failures)

    def _give_up(self, slot: _Slot, reason: str) -> None:
        """Abandon a slot; raise PoolLost if it was the last."""
        self._kill(slot.actor)
        self._slots.remove(slot)
        if not self._slots:
            raise PoolLost(f"a slot cannot be set up: {reason}")

    def _first_deadline(self) -> float:
        """Return the seconds until the next deadline of a job or the next retry."""
        times = [slot.task.deadline for slot in self._slots if slot.task is not None]
        if any(slot.up and slot.task is None for slot in self._slots):
            times += [task.earliest for task in self._inbox.waiting]
        return max(0.0, min(times, default=math.inf) - time.monotonic())

    def _overdue(self) -> None:
        """Stop jobs over their time limit; kill the processes of those that do not yield."""
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

        with contextlib.suppress(Exception):  # the actor may have ended
            ray.kill(actor)
