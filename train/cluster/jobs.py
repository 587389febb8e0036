"""Running independent jobs on a pool of processes, on this machine or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from train.cluster.host import open_pool
from train.cluster.place import Place
from train.cluster.pool import PoolLost
from train.cluster.worker import Ended, Job
from vbs.failures import InfrastructureError

K = TypeVar("K")
WAIT = 1.0  # seconds of one wait for the pool


class Outcome(NamedTuple):
    """The result of a job: the returned value, or the reason of its failure ("" for none)."""

    value: Any
    reason: str


def run_jobs(
    make: Callable[[], Callable[[Any], Any]], jobs: Mapping[K, Any], place: Place
) -> Generator[tuple[K, Outcome], None, None]:
    """Call a function with the payload of each job, in order; yield (key, outcome) as jobs end.

    make  called once in each process; returns the function. Must be defined in an importable module
          or be a closure that can be pickled.

    A job whose process died is run again once; a job that fails because of the machine is run again
    after a pause. Closing the iterator ends the running jobs.

    Raises InfrastructureError if a job fails repeatedly because of the machine, or if the cluster
    is lost.
    """
    waiting, running = list(jobs), dict[int, K]()
    values: dict[int, Any] = {}
    numbers = {key: number for number, key in enumerate(waiting)}
    pool = open_pool(_Yielding(make), place._replace(slots=min(place.slots, len(waiting))))
    try:
        while waiting or running:
            while waiting and pool.free > 0:
                key = waiting.pop(0)
                running[numbers[key]] = key
                pool.start(numbers[key], jobs[key])
            for number, item in pool.wait(WAIT):
                if not isinstance(item, Ended):
                    values[number] = item.value
                elif item.infrastructure:
                    raise InfrastructureError(item.reason)
                else:
                    yield running.pop(number), Outcome(values.pop(number, None), item.reason)
    except PoolLost as error:
        raise InfrastructureError(str(error)) from None
    finally:
        pool.close()


class _Yielding:
    """`make` for a pool, whose jobs are generators that yield the function's result."""

    def __init__(self, make: Callable[[], Callable[[Any], Any]]) -> None:
        self._make = make

    def __call__(self) -> Job:
        function = self._make()

        def run(payload: Any) -> Iterator[Any]:
            yield function(payload)

        return run
