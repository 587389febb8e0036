"""Commands that are terminated or killed at any moment leave only saved results behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import begin, commands, environment, images, processes_of, wait_for
from vbs import guard, temporary
from vbs.temporary import PREFIX, sweep, temporary_folder

RECORDS = {
    "nas.search": "search.json",
    "nas.search measured": "search.json",
    "nas.compare": "comparison.json",
    "nas.fidelity": "fidelity.json",
    "train.run": "run.json",
    "train.ray_tune": "run.json",
    "scaling.grid": "grid.json",
    "scaling.training_aware": "search/search.json",
    "scaling.baseline": "search/search.json",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return images(tmp_path_factory.mktemp("images"))


@pytest.fixture
def short() -> Iterator[Path]:
    """A temporary folder with a path that is short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="vbs-test-", dir="/tmp") as folder:
        yield Path(folder)


def started(name: str, data: str, place: Path, short: Path) -> subprocess.Popen[str]:
    words = [*commands(data)[name], "--out", str(place / "out")]
    return begin(name, words, place, TMPDIR=str(short))


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("name", RECORDS)
def test_sigterm_saves_and_ends(
    name: str, seconds: float, data: str, tmp_path: Path, short: Path
) -> None:
    process = started(name, data, tmp_path, short)
    record = tmp_path / "out" / RECORDS[name]
    try:
        assert wait_for(lambda: record.exists() or process.poll() is not None, 240)
        time.sleep(seconds)
        process.send_signal(signal.SIGTERM)
        shown, told = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, told
    assert "Traceback" not in told
    assert "interrupted" in told or "interrupted" in shown, told
    assert json.loads(record.read_text())["status"] == "interrupted"
    assert wait_for(lambda: not processes_of(tmp_path), 30), processes_of(tmp_path)
    assert not list(short.glob(f"{PREFIX}*"))
    assert not list((tmp_path / "out").rglob("owner.json"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["nas.search measured", "train.ray_tune", "nas.fidelity", "scaling.baseline"]
)
def test_a_killed_command_leaves_no_process_and_no_folder(
    name: str, data: str, tmp_path: Path, short: Path
) -> None:
    process = started(name, data, tmp_path, short)
    record = tmp_path / "out" / RECORDS[name]
    assert wait_for(lambda: record.exists() or process.poll() is not None, 240)
    if name != "nas.fidelity":
        assert wait_for(lambda: any("raylet" in line for line in processes_of(tmp_path)), 60)
    time.sleep(1.0)
    process.kill()
    process.communicate(timeout=60)
    assert wait_for(lambda: not processes_of(tmp_path), 60), processes_of(tmp_path)
    assert wait_for(lambda: not list(short.glob(f"{PREFIX}*")), 20)


@pytest.mark.slow
def test_ray_starts_where_the_path_of_temporary_files_is_long(data: str, tmp_path: Path) -> None:
    place = tmp_path / ("long" * 20)
    place.mkdir()
    words = [*commands(data)["nas.search measured"], "--budget", "1", "--finalists", "0"]
    process = begin("nas.search measured", [*words, "--out", "out"], tmp_path, TMPDIR=str(place))
    _, told = process.communicate(timeout=240)
    assert process.returncode == 0, told
    assert not list(place.glob(f"{PREFIX}*"))


OWNER = """
import subprocess, sys, time
from vbs.temporary import temporary_folder
with temporary_folder() as folder:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    print(folder, flush=True)
    {end}
"""


WITHOUT_MARK = """
import os, subprocess, sys
from pathlib import Path
from vbs import guard
from vbs.temporary import temporary_folder
with temporary_folder() as folder:
    del os.environ[guard.MARK]
    with open(Path(folder) / "log", "w") as log:
        options = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) | {options}
        subprocess.Popen(
            [{title!r}, "-c", "import time; time.sleep(60)"], executable=sys.executable, **options
        )
    print(folder, flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize(
    ("title", "options"),
    [
        ("python", "dict(stdout=log)"),
        ("python", "dict(stderr=log)"),
        ("ray::Agent", "dict(pass_fds=[log.fileno()])"),
    ],
)
def test_processes_without_their_environment_are_found_by_their_files(
    title: str, options: str, killed: bool, tmp_path: Path
) -> None:
    program = WITHOUT_MARK.format(title=title, options=options)
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        env=environment(TMPDIR=str(tmp_path)),
    )
    assert process.stdout is not None
    folder = process.stdout.readline().strip()
    assert len(guard.processes_of(folder)) == 1
    if killed:
        process.kill()
    process.communicate("go\n", timeout=30)
    assert wait_for(lambda: not guard.processes_of(folder) and not Path(folder).exists(), 20)


OF_A_STORE = """
import sys, time
from train.ray_tune.store import Store
with Store(sys.argv[1]).folder("trial") as (folder, save):
    (folder / "last.safetensors").write_text("x")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_the_folder_of_a_trial_goes_with_its_process(tmp_path: Path) -> None:
    """Checkpoints for results at a URL are kept on the machine of the trial during training."""
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", OF_A_STORE, f"file://{tmp_path}/out"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(TMPDIR=str(tmp_path / "tmp")),
    )
    assert process.stdout is not None
    folder = Path(process.stdout.readline().strip())
    assert (folder / "last.safetensors").exists()
    process.kill()
    process.communicate(timeout=30)
    assert wait_for(lambda: not list((tmp_path / "tmp").iterdir()), 20)


@pytest.mark.parametrize("end", ["time.sleep(60)", "pass"])
def test_a_temporary_folder_goes_with_its_owner(end: str, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER.format(end=end)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(TMPDIR=str(tmp_path)),
    )
    assert process.stdout is not None
    folder = process.stdout.readline().strip()
    if end != "pass":
        assert guard.processes_of(folder)
        process.kill()
    process.communicate(timeout=30)
    assert wait_for(lambda: not guard.processes_of(folder) and not Path(folder).exists(), 20)


def test_folders_without_an_owner_are_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, other = tmp_path / f"{PREFIX}left", tmp_path / "other"
    for folder in (left, other):
        folder.mkdir()
        (folder / "file").touch()
    sweep(str(tmp_path))
    assert left.exists()  # it may have been created just now
    monkeypatch.setattr(temporary, "YOUNG", 0.0)
    with temporary_folder(str(tmp_path)) as mine:
        sweep(str(tmp_path))
        assert Path(mine).is_dir()
        assert os.environ[guard.MARK] == mine
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
    assert guard.MARK not in os.environ
