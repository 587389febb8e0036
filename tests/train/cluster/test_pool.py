"""The pool of processes: order, stops, failures, lost processes and nodes, time-outs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.train.cluster import pool_jobs
from train.cluster.place import Place
from train.cluster.pool import Ended, Pool, PoolLost, Yielded

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 90.0  # seconds to wait; the machine may be busy


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Start a head with three CPUs, to which nodes may be added."""
    import ray
    from ray.cluster_utils import Cluster

    from train.cluster.connect import connect, disconnect

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3})
    connect(cluster.address)
    yield cluster
    disconnect()
    cluster.shutdown()
    assert not ray.is_initialized()


@pytest.fixture(scope="module")
def pool(cluster: Any) -> Iterator[Pool]:
    """Return two slots, each with CPUs for two threads."""
    with Pool(pool_jobs.make, Place(2, address=cluster.address), timeout=60) as pool:
        assert pool.ready(PATIENCE) == 2
        yield pool


def until_over(pool: Pool, jobs: dict[int, Any], stop: dict[int, int] | None = None) -> dict:
    """Run the jobs as slots are free; job `n` is stopped after its `stop[n]`-th item."""
    left, said, ended = dict(jobs), {number: [] for number in jobs}, {}
    end = time.monotonic() + PATIENCE
    while len(ended) < len(jobs):
        assert time.monotonic() < end, (said, ended)
        while left and pool.free:
            number = next(iter(left))
            pool.start(number, left.pop(number))
        for number, item in pool.wait(1.0):
            if isinstance(item, Ended):
                ended[number] = item.reason
            else:
                assert isinstance(item, Yielded)
                said[number].append(item.value)
                if len(said[number]) == (stop or {}).get(number):
                    pool.stop(number)
    return {number: (said[number], ended[number]) for number in jobs}


def test_items_come_in_order_from_processes_that_are_set_up_once(pool: Pool) -> None:
    jobs = {number: ("count", number) for number in range(6)}
    done = until_over(pool, jobs)
    assert done == {number: (list(range(number)), "") for number in jobs}
    processes = until_over(pool, dict.fromkeys(range(6), ("process",)))
    facts = [said[0] for said, _ in processes.values()]
    assert len({process for process, _, _ in facts}) <= 2
    assert all((calls, threads) == (1, "1") for _, calls, threads in facts)
    assert pool.free == 2


@pytest.mark.parametrize(
    ("payload", "said", "reason"),
    [
        (("fail", "no memory left"), ["begun"], "RuntimeError: no memory left"),
        (("unpicklable",), [], "TypeError: cannot pickle 'generator' object"),
        (("nonsense",), [], "KeyError: 'nonsense'"),
    ],
)
def test_a_job_that_fails_says_why_and_the_slot_is_used_again(
    pool: Pool, payload, said, reason
) -> None:
    assert until_over(pool, {1: payload}) == {1: (said, reason)}
    assert until_over(pool, {2: ("count", 1)}) == {2: ([0], "")}


def test_a_stopped_job_is_closed_and_works_no_further(pool: Pool, tmp_path: Path) -> None:
    trace = tmp_path / "closed"
    began = time.monotonic()
    jobs = {1: ("count", 1000, 0.01, str(trace)), 2: ("count", 3)}
    assert until_over(pool, jobs, stop={1: 2}) == {1: ([0, 1], ""), 2: ([0, 1, 2], "")}
    assert trace.read_text() == "closed"
    assert time.monotonic() - began < 10
    pool.stop(77)  # there is no such job


def test_a_busy_pool_refuses_more(pool: Pool) -> None:
    for number in (1, 2):
        pool.start(number, ("sleep", 0.2))
    assert pool.free == 0
    with pytest.raises(ValueError, match="job 3: no slot is free"):
        pool.start(3, ("sleep", 0.2))
    assert until_over(pool, {}) == {}
    ended = 0
    while ended < 2:
        ended += sum(isinstance(item, Ended) for _, item in pool.wait(5))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("deaths", "said", "words"),
    [(1, ["begun", "begun", "survived"], ""), (2, ["begun", "begun"], "its process died")],
)
def test_a_job_whose_process_dies_is_started_once_more(
    pool: Pool, tmp_path: Path, deaths: int, said: list[str], words: str
) -> None:
    (result,) = until_over(pool, {1: ("die", str(tmp_path / "mark"), deaths)}).values()
    assert result[0] == said
    assert words in result[1]
    assert bool(words) == bool(result[1])


@pytest.mark.slow
@pytest.mark.parametrize("faults", [1, 3])
def test_a_job_that_meets_a_full_disk_is_tried_again_with_a_bound(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: int
) -> None:
    monkeypatch.setattr("train.cluster.pool.PAUSES", (0.1, 0.2))
    assert pool.ready(PATIENCE) == 2  # after the deaths of the tests before
    pool.start(1, ("full_disk", str(tmp_path / "mark"), faults))
    items: list[Any] = []
    end = time.monotonic() + PATIENCE
    while not any(isinstance(item, Ended) for item in items) and time.monotonic() < end:
        items += [item for _, item in pool.wait(1.0)]
    begun, tried = Yielded("begun"), min(faults, 2) + 1
    if faults == 1:
        assert items == [begun, begun, Yielded("written"), Ended("")]
    else:
        reason = "/full/last.safetensors: No space left on device"
        assert items == [begun] * 3 + [Ended(reason, infrastructure=True)]
    assert len((tmp_path / "mark").read_text()) == tried
    assert pool.ready(PATIENCE) == 2


@pytest.mark.slow
def test_jobs_over_their_time_are_ended_whether_they_yield_or_not(cluster: Any) -> None:
    with Pool(pool_jobs.make, Place(1, address=cluster.address), timeout=0.5) as pool:
        pool.ready(PATIENCE)
        done = until_over(
            pool,
            {1: ("count", 1000, 0.05), 2: ("sleep", 3600), 3: ("count", 2), 4: ("die_late", 0.7)},
        )
    assert done[1][1] == done[2][1] == done[4][1] == "timed out after 0.5 s"
    assert 0 < len(done[1][0]) < 1000
    assert done[3] == ([0, 1], "")


@pytest.mark.slow
def test_jobs_of_a_lost_node_are_run_elsewhere(cluster: Any, tmp_path: Path) -> None:
    node = cluster.add_node(num_cpus=1, num_gpus=1)
    with Pool(pool_jobs.make, Place(2, 0.5, 0.5, cluster.address)) as pool:
        assert pool.ready(PATIENCE) == 2
        for number in (1, 2):
            pool.start(number, ("process",))
        while pool.free < 2:  # each has sent a message, on the node with the GPU
            pool.wait(1.0)
        for number in (1, 2):
            pool.start(number, ("sleep", 3.0))
        cluster.remove_node(node, allow_graceful=False)
        cluster.add_node(num_cpus=1, num_gpus=1)
        ended = {}
        end = time.monotonic() + PATIENCE
        while len(ended) < 2 and time.monotonic() < end:
            ended |= {n: item for n, item in pool.wait(1.0) if isinstance(item, Ended)}
    assert ended == {1: Ended(""), 2: Ended("")}


@pytest.mark.slow
def test_what_cannot_be_set_up_is_reported_at_once(cluster: Any) -> None:
    with (
        Pool(pool_jobs.broken, Place(1, address=cluster.address)) as pool,
        pytest.raises(PoolLost, match="cannot be set up: OSError: no such data"),
    ):
        pool.ready(PATIENCE)
    with pytest.raises(ValueError, match="a slot needs 8 GPUs, but no node has more than"):
        Pool(pool_jobs.make, Place(1, gpus=8, address=cluster.address))
    with pytest.raises(ValueError, match="slots: 0 is not allowed"):
        Pool(pool_jobs.make, Place(0, address=cluster.address))
    with pytest.raises(ValueError, match="timeout: -1 is not allowed"):
        Pool(pool_jobs.make, Place(1, address=cluster.address), timeout=-1)


DRIVER = """
import sys
from tests.train.cluster import pool_jobs
from train.cluster.place import Place
from train.cluster.pool import Pool
pool = Pool(pool_jobs.make, Place(2))
pool.ready()
pool.start(1, ("process",))
pool.start(2, ("process",))
seen = []
while len(seen) < 2:
    seen += [item.value[0] for _, item in pool.wait(1) if hasattr(item, "value")]
import ray
print(*seen, ray.nodes()[0]["NodeManagerAddress"], flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_a_pool_of_its_own_listens_on_loopback_and_dies_with_its_driver() -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    )
    try:
        assert driver.stdout is not None
        *processes, address = driver.stdout.readline().split()
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    assert address == "127.0.0.1"
    end = time.monotonic() + PATIENCE
    while any(Path("/proc", process).exists() for process in processes):
        assert time.monotonic() < end
        time.sleep(0.1)
