"""The asynchronous search loop, for expensive evaluations on many workers.

    free worker? -> propose -> claim -> evaluate -> stop early? -> record -> extend the history

The steps are those of `nas.search.loop.search`, but workers return their results at any time. A
proposal is a function of the history (finished and pending evaluations) and of a generator seeded
with (seed, number of started evaluations). With one worker and deterministic evaluations, a search
that is killed at any time and resumed from its study therefore evaluates the same networks as an
uninterrupted one.

A driver is a process that runs this loop. Several drivers can share one study.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from nas.asha import Asha
from nas.evaluators.base import Answer, Evaluations, Point
from nas.history import History
from nas.search.loop import PATIENCE, check_whole, nearest_in_pool
from nas.search.workers import Workers
from nas.stopped import TooManyFailures
from nas.strategies.base import Strategy, admitted
from search_spaces.cost import Costs

if TYPE_CHECKING:
    from nas.storage.study import Study

WAIT = 1.0  # seconds that the loop waits for workers before it reads the study again
LOST_EVERY = 5.0  # seconds between two searches for abandoned evaluations of other drivers
FEWEST = 8  # number of evaluations from which on too many failures end the search
# Networks proposed at once, as a share of the workers; one network for fewer than 64 workers. With
# 1,000 workers, a proposal cannot use the 1,000 pending results anyway. Proposing 15 networks at
# once adds few to these and saves most of the driver's time.
AHEAD = 1 / 64


@dataclass(frozen=True)
class Plan:
    """Budget, early stopping and limits of an asynchronous search.

    budget     number of networks to evaluate.
    seed       seed of the proposals.
    asha       early stopping of evaluations; None to evaluate all networks to the end.
    finalists  number of best networks that are evaluated again.
    repeats    number of seeds of each finalist, the first evaluation included.
    seconds    time after which no evaluation of a new network starts; None for no limit.
    failures   share of failed evaluations above which the search ends, after `FEWEST` evaluations.
    pool       genotypes that can be evaluated, [m, decisions]; None for the whole space.
    chance     accuracy in percent up to which a network may be guessing, see `Asha`; NaN if
               unknown.

    Raises ValueError for invalid arguments.
    """

    budget: int
    seed: int = 0
    asha: Asha | None = None
    finalists: int = 0
    repeats: int = 1
    seconds: float | None = None
    failures: float = 0.5
    pool: np.ndarray | None = None
    chance: float = float("nan")

    def __post_init__(self) -> None:
        check_whole(budget=self.budget, repeats=self.repeats)
        if not 0 < self.failures <= 1:
            raise ValueError(f"failures: {self.failures!r} is not allowed; use a share up to 1")
        if self.seconds is not None and not self.seconds > 0:
            raise ValueError(f"seconds: {self.seconds!r} is not allowed; use a number above 0")


@dataclass(frozen=True)
class Job:
    """A running evaluation."""

    genotype: np.ndarray
    costs: Costs
    seed: int


def search_asynchronously(
    history: History,
    strategy: Strategy,
    workers: Workers,
    plan: Plan,
    *,
    study: Study | None = None,
    record: Callable[[History], None] | None = None,
) -> str:
    """Evaluate networks until the plan is complete; `history` is extended in place.

    study   results and claims of all drivers of this search, from which the history is read
            first; None if this process is the only driver and its results are not stored.
    record  function that is called with the history after every extension.

    Returns "finished", "exhausted" (no new network within the limits is left) or "out of time".
    Raises TooManyFailures, and the errors of a study that is lost. The workers stay open.
    """
    return _Driver(history, strategy, workers, plan, study, record).run()


@dataclass
class _Driver:
    history: History
    strategy: Strategy
    workers: Workers
    plan: Plan
    study: Study | None
    record: Callable[[History], None] | None
    running: dict[int, Job] = field(default_factory=dict)
    lost: list[tuple[np.ndarray, int]] = field(default_factory=list)  # genotypes and seeds
    begun: int = 0  # started evaluations of new networks, if there is no study to count them
    claimed: set[tuple[int, int]] = field(default_factory=set)  # keys and seeds, by this driver
    stalled: int = 0
    proposed: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.int8))  # not started
    old: int = 0  # rows of the history at the start of this run
    failed: int = 0  # failed rows of this run
    counted: int = 0  # rows of the history that `failed` covers
    started: float = field(default_factory=time.monotonic)
    looked: float = -np.inf  # time of the last reading of the study
    searched: float = -np.inf  # time of the last search for abandoned evaluations

    def run(self) -> str:
        self.rebuild_rungs(0)  # rows that the history had before
        self.look_around()
        self.old = self.counted = len(self.history)
        self.failed = 0
        while True:
            self.start_new()
            self.start_repeats()
            if self.is_done():
                return self.ending()
            self.wait()
            if time.monotonic() - self.looked > WAIT:
                self.look_around()

    def is_done(self) -> bool:
        if self.running or self.lost or not self.is_complete():
            return False
        if self.out_of_time() and self.is_exploring():
            return True  # the other drivers continue and evaluate the finalists
        return not len(self.history.pending) and not list(self.repeats_due())

    def is_exploring(self) -> bool:
        """Return whether any driver evaluates a network for the first time."""
        if self.study is not None and self.study.is_exploring:
            return True
        return any(job.seed == 0 for job in self.running.values())

    def is_complete(self) -> bool:
        """Return whether no further network will be started."""
        full = self.begun_by_all() >= self.plan.budget
        return full or self.stalled >= PATIENCE or self.out_of_time()

    def ending(self) -> str:
        if self.begun_by_all() >= self.plan.budget:
            return "finished"
        return "out of time" if self.out_of_time() else "exhausted"

    def out_of_time(self) -> bool:
        limit = self.plan.seconds
        return limit is not None and time.monotonic() - self.started > limit

    def begun_by_all(self) -> int:
        return self.begun if self.study is None else self.study.started

    def look_around(self) -> None:
        """Read results and abandoned evaluations of other drivers from the study."""
        if self.study is None:
            jobs = [job.genotype for job in self.running.values()]
            shape = (len(jobs), len(self.history.space.choices))
            self.history.pending = np.array(jobs, np.int8).reshape(shape)
            return
        self.looked = time.monotonic()
        self.study.beat()
        if self.looked - self.searched > LOST_EVERY:
            self.lost += self.study.abandoned()
            self.searched = self.looked
        known = len(self.history)
        self.study.sync(self.history)
        if len(self.history) > known:
            self.rebuild_rungs(known)
            self.on_extension()

    def rebuild_rungs(self, known: int) -> None:
        """Record the learning curves of rows that other drivers evaluated."""
        history = self.history
        for row in range(known, len(history)):
            seed = int(history.seed[row])
            job = Job(history.genotypes[row], history.costs[row : row + 1], seed)
            for point in history.curves[row]:
                self.record_point(job, point)

    def on_extension(self) -> None:
        """Report the extended history; raise TooManyFailures if too many new rows failed."""
        self.stalled = 0
        if self.record is not None:
            self.record(self.history)
        # rows of earlier runs do not count, because the cause of their failures may be removed
        errors = self.history.error[self.counted :]
        self.failed += int((errors != "").sum())
        self.counted = len(self.history)
        count = self.counted - self.old
        if count >= FEWEST and self.failed > self.plan.failures * count:
            errors = self.history.error[self.old :]
            last = next(reason for reason in reversed(errors) if reason)
            raise TooManyFailures(
                f"{self.failed} of {count} evaluations failed (the last: {last}); "
                "the results so far are kept"
            )

    def start_new(self) -> None:
        """Start a network on every free worker: first the abandoned ones, then new ones."""
        while (free := self.workers.capacity - len(self.running)) > 0:
            if self.lost:
                self.begin(*self.lost.pop(0))
                continue
            if self.is_complete():
                return
            begun = [self.begin(genotype, 0) for genotype in self.next_new(free)]
            if any(begun):
                self.stalled = 0
                continue
            self.stalled += 1
            if self.running or len(self.history.pending):
                return  # results of pending evaluations may lead to new proposals

    def next_new(self, free: int) -> np.ndarray:
        """Return at most `free` new feasible genotypes [k, decisions], proposed earlier or now."""
        left = self.plan.budget - self.begun_by_all()
        if len(self.proposed):  # other drivers may have claimed some in the meantime
            self.proposed = self.proposed[~self.history.contains(self.proposed)]
        if not len(self.proposed):
            ahead = int(AHEAD * self.workers.capacity)
            self.proposed = self.propose(min(max(free, ahead), left))
        new, self.proposed = np.split(self.proposed, [min(free, left)])
        return new

    def propose(self, count: int) -> np.ndarray:
        """Return at most `count` new feasible genotypes."""
        rng = np.random.default_rng([self.plan.seed, self.begun_by_all(), self.stalled])
        proposals = self.strategy.propose(self.history, count, rng)
        if self.plan.pool is not None:
            proposals = nearest_in_pool(proposals, self.plan.pool, self.history)
        return admitted(proposals[:count], self.history)[0]

    def begin(self, genotype: np.ndarray, seed: int) -> bool:
        """Start an evaluation unless another driver has claimed it; return whether it started."""
        history = self.history
        costs = history.space.costs(genotype[None])
        key = (int(history.space.keys(genotype[None])[0]), seed)
        self.claimed.add(key)
        if self.study is None:
            number = len(self.claimed)
        else:
            row = {name: costs.get(name)[0].item() for name in history.space.cost_names}
            claim = self.study.claim(genotype, row, seed=seed, most=self.plan.budget)
            if claim is None:
                self.look_around()
                return False
            number = claim
        self.begun += seed == 0
        self.running[number] = Job(genotype, costs, seed)
        self.workers.start(number, genotype, seed=seed)
        history.add_pending(genotype)
        return True

    def start_repeats(self) -> None:
        """Evaluate the finalists with further seeds after the last new network."""
        if not self.is_complete() or self.lost or self.is_exploring():
            return
        for genotype, seed in list(self.repeats_due()):
            if len(self.running) >= self.workers.capacity:
                return
            self.begin(genotype, seed)

    def repeats_due(self) -> Iterator[tuple[np.ndarray, int]]:
        """Yield finalists and seeds not yet started; finalists are chosen by their first seed."""
        keys = self.history.space.keys(self.history.genotypes)
        full = np.flatnonzero(self.history.full & (self.history.seed == 0))
        best = full[np.argsort(-self.history.reward[full], kind="stable")]
        for row in best[: self.plan.finalists]:
            for seed in range(1, self.plan.repeats):
                if (int(keys[row]), seed) not in self.claimed:
                    yield self.history.genotypes[row], seed

    def wait(self) -> None:
        """Process messages of the workers; without running work, wait for workers or drivers."""
        if not self.running:
            self.workers.wait(WAIT / 4)
            time.sleep(WAIT / 20)
            return
        ended = False
        for number, message in self.workers.wait(WAIT):
            if isinstance(message, Point):
                self.on_point(number, message)
            else:
                self.end(number, message)
                ended = True
        if ended:
            self.look_around()  # reads the new results from the study into the history
            if self.study is None:
                self.on_extension()

    def on_point(self, number: int, point: Point) -> None:
        """Record a point of a learning curve; stop the evaluation if it lags behind."""
        job = self.running[number]
        if self.study is not None:
            self.study.report(number, point)
        self.record_point(job, point)
        asha = self.plan.asha
        if asha is not None and job.seed == 0 and asha.stops(self.key(job), point.step):
            self.workers.stop(number)

    def record_point(self, job: Job, point: Point) -> None:
        if self.plan.asha is not None and job.seed == 0:
            reward = self.history.objective.reward(np.array([point.accuracy]), job.costs)
            self.plan.asha.record(
                self.key(job),
                point.step,
                float(reward[0]),
                guessing=point.accuracy <= self.plan.chance,
            )

    def key(self, job: Job) -> int:
        return int(self.history.space.keys(job.genotype[None])[0])

    def end(self, number: int, answer: Answer) -> None:
        """Record the result of an evaluation."""
        job = self.running.pop(number)
        if self.study is not None:
            self.study.finish(number, answer)
            return
        answers = Evaluations.of_answers([answer], seeds=[job.seed])
        self.history.extend(job.genotype[None], answers, job.costs)
