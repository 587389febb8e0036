"""Several drivers on one study at the same time, and a database server that stops."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import optuna
import pytest

import nas.storage.database
import nas.storage.study
from nas.evaluators.base import Answer
from nas.history import History
from nas.storage.study import Study, StudyLost, open_study
from nas.storage.study_settings import SearchIdentity, read_settings
from tests.nas.postgresql import VARIABLE, Server, programs, server
from tests.nas.studies import EASY, every_network
from tests.nas.toys import tiny_space
from vbs import processes

STUCK = 2  # the evaluation within which one driver is killed


def missing(reason: str) -> None:
    """Skip the test; in CI, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI {reason}")
    pytest.skip(reason)


@pytest.fixture
def postgresql() -> str:
    """Yield the URL of a database on a shared server that is not stopped."""
    url = os.environ.get(VARIABLE)
    if not url:
        missing(f"needs {VARIABLE}; python tests/nas/postgresql.py COMMAND runs one with it")
    assert url
    return url


@pytest.fixture
def own_server() -> Iterator[Server]:
    """Yield a server that the test may stop."""
    if programs() is None:
        missing("needs the programs of a PostgreSQL server")
    with server() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/study.db"
    return request.getfixturevalue("postgresql")


def new_name() -> str:
    return f"study-{uuid.uuid4().hex[:12]}"


def opened(url: str, name: str, *, grace: float = 120.0) -> Study:
    return open_study(
        url, name, SearchIdentity(tiny_space(), EASY, {"seed": 0}), resume=True, grace=grace
    )


def driver(url: str, name: str, log: Path, stuck: int = 0) -> subprocess.Popen[bytes]:
    arguments = [url, name, str(log), "3", str(stuck)]
    command = [sys.executable, "-m", "tests.nas.study_driver", *arguments]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2])


@pytest.mark.slow
def test_three_drivers_of_which_one_is_killed_lose_and_repeat_nothing(
    url: str, tmp_path: Path
) -> None:
    name, log = new_name(), tmp_path / "log"
    log.touch()
    drivers = [driver(url, name, log, stuck) for stuck in (STUCK, 0, 0)]
    try:
        deadline = time.monotonic() + 120
        while "stuck" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        drivers[0].send_signal(signal.SIGKILL)
        assert [process.wait(120) for process in drivers] == [-signal.SIGKILL, 0, 0]
    finally:
        for process in drivers:
            process.kill()
            process.wait()

    told = [line.split() for line in log.read_text().splitlines() if "ready" not in line]
    begun = [text for what, text, _ in told if what == "begin"]
    ended = [text for what, text, _ in told if what == "end"]
    stuck = [text for what, text, _ in told if what == "stuck"]
    networks = ["-".join(map(str, genotype)) for genotype in every_network(tiny_space())]
    assert sorted(ended) == sorted(networks)
    assert sorted(begun) == sorted(networks + stuck)  # only lost evaluations ran twice

    with opened(url, name) as study:
        history = History(tiny_space(), EASY)
        study.sync(history)
    assert sorted(map(tuple, history.genotypes)) == sorted(map(tuple, every_network(tiny_space())))
    assert not len(history.pending)
    assert (history.error == "").all()

    # as anybody else reads it; an older SQLAlchemy takes another driver than ours for PostgreSQL
    storage = url.replace("postgresql://", "postgresql+psycopg://")
    trials = optuna.load_study(study_name=name, storage=storage).trials
    assert [trial.number for trial in trials] == list(range(25))
    (lost,) = [trial for trial in trials if trial.state == optuna.trial.TrialState.FAIL]
    (again,) = [trial for trial in trials if "retry of trial" in trial.user_attrs]
    assert again.user_attrs["retry of trial"] == lost.number
    assert again.params == lost.params
    dead = lost.user_attrs["driver"]
    assert dead not in (lost.user_attrs["lost"], again.user_attrs["driver"])
    assert sum(trial.user_attrs["driver"] == dead for trial in trials) == STUCK


def test_drivers_see_one_order_of_completion(url: str) -> None:
    name = new_name()
    space = tiny_space()
    networks = every_network(space)
    with opened(url, name) as one, opened(url, name) as other:
        seen = History(space, EASY)
        for turn, genotype in enumerate(networks[:12]):
            study = (one, other)[turn % 2]
            number = study.claim(genotype, {})
            assert number == turn
            study.finish(number, Answer(50.0 + turn))
            one.sync(seen)  # slowly, in small parts
        late = History(space, EASY)
        other.sync(late)
        np.testing.assert_array_equal(seen.accuracy, 50.0 + np.arange(12))
        np.testing.assert_array_equal(seen.accuracy, late.accuracy)
        assert one.started == other.started == 12


def test_a_network_that_another_driver_claimed_is_not_claimed(url: str) -> None:
    name = new_name()
    genotype = every_network(tiny_space())[5]
    with opened(url, name) as one, opened(url, name) as other:
        assert one.claim(genotype, {}) == 0
        assert other.claim(genotype, {}) is None
        assert one.claim(genotype, {}) is None
        assert other.claim(genotype, {}, seed=1) == 1
        one.finish(0, Answer(50.0))
        assert other.claim(genotype, {}) is None
        assert other.started == 1  # another seed is the same network


def test_settings_are_read_by_a_driver_that_knows_the_name_only(url: str) -> None:
    name = new_name()
    opened(url, name).close()
    assert read_settings(url, name) == {"seed": 0}


def test_a_server_that_is_away_for_a_moment_costs_a_moment(
    own_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nas.storage.database, "PAUSES", (0.2,) * 100)
    genotypes = every_network(tiny_space())
    with opened(own_server.url, "search") as study:
        study.claim(genotypes[0], {})
        own_server.stop()
        with ThreadPoolExecutor(1) as elsewhere:
            finished = elsewhere.submit(study.finish, 0, Answer(70.0))
            time.sleep(0.5)
            own_server.start()
            assert finished.result(60)
        assert study.claim(genotypes[1], {}) == 1
        history = History(tiny_space(), EASY)
        study.sync(history)
    assert history.accuracy.tolist() == [70.0]


def test_a_server_that_stays_away_is_said_in_one_line_and_the_study_is_intact(
    own_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nas.storage.database, "PAUSES", (0.1, 0.1))
    genotypes = every_network(tiny_space())
    study = opened(own_server.url, "search")
    study.finish(study.claim(genotypes[0], {}) or 0, Answer(70.0))
    number = study.claim(genotypes[1], {})
    assert number == 1
    own_server.stop()
    with pytest.raises(
        StudyLost, match=r"^storage: postgresql://tester:\*\*\*@127\.0\.0\.1"
    ) as lost:
        study.finish(number, Answer(71.0))
    assert "\n" not in str(lost.value)
    assert "refused" in str(lost.value)
    study.close()
    with pytest.raises(ValueError, match="refused"):
        opened(own_server.url, "search")

    own_server.start()
    with opened(own_server.url, "search") as again:
        (claim,) = again.abandoned()
        np.testing.assert_array_equal(claim.genotype, genotypes[1])
        history = History(tiny_space(), EASY)
        again.sync(history)
        assert history.accuracy.tolist() == [70.0]


def test_a_wrong_url_is_said_in_one_line_without_its_password(postgresql: str) -> None:
    base, _, database = postgresql.rpartition("/")
    before, _, address = base.rpartition("@")
    user, _, password = before.rpartition(":")
    wrong = {
        f"{before}@{address}/nowhere": "nowhere",
        f"{user}:{password[::-1]}X@{address}/{database}": "authentication failed",
        f"{before}@127.0.0.1:1/{database}": "refused",
        f"{before}@127.0.0.1:port/{database}": "URL",
        f"{before}@{address}/{database}?sslmode=no": "sslmode",
    }
    for url, reason in wrong.items():
        with pytest.raises(ValueError, match=reason) as error:
            opened(url, "search")
        assert str(error.value).startswith("storage: ")
        assert "\n" not in str(error.value)
        assert password not in str(error.value)
        assert password[::-1] not in str(error.value)


@pytest.mark.slow
def test_a_server_that_never_answers_is_given_up_after_seconds() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        with pytest.raises(ValueError, match=r"storage: .* \(.*timeout"):
            opened(f"postgresql://user:secret@127.0.0.1:{silent.getsockname()[1]}/x", "search")
        assert time.monotonic() - started < 60


def test_a_driver_elsewhere_that_is_only_busy_is_not_gone(
    postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nas.storage.study, "BEAT", 0.1)
    name = new_name()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(processes, "place", lambda: "elsewhere")
        busy = opened(postgresql, name)
    with opened(postgresql, name, grace=1.0) as other:
        assert busy.claim(every_network(tiny_space())[0], {}) == 0
        time.sleep(1.5)
        assert other.abandoned() == []
        busy.close()
        assert len(other.abandoned()) == 1


def test_a_frozen_driver_does_not_hold_up_the_others_for_ever(
    postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nas.storage.database, "SESSION", "SET lock_timeout = '200ms'")
    monkeypatch.setattr(nas.storage.database, "PAUSES", (0.1,))
    name = new_name()
    genotype = every_network(tiny_space())[0]
    import psycopg

    with opened(postgresql, name) as study, psycopg.connect(postgresql) as frozen:
        frozen.execute("SELECT 1 FROM studies FOR UPDATE")
        with pytest.raises(StudyLost, match="lock"):
            study.claim(genotype, {})
        frozen.rollback()
        assert study.claim(genotype, {}) == 0
