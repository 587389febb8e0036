"""Ray's tokens and addresses: checks of a driver before it connects, in any environment."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands import ray_tune as run
from tests.train.cluster.heads import SETTINGS, demanding, false_head, real_head, status
from train.cluster import connect as ray_connect
from train.cluster.connect import probe

ROOT = Path(__file__).resolve().parents[3]


def alone(script: str, *words: str, **changes: str | None) -> str:
    """Return the output of a script in its own process; a change to None unsets the variable."""
    names = {name: None for name in os.environ if name.startswith("RAY_")}
    settings = {**os.environ, "PYTHONPATH": str(ROOT), **names, **changes}
    environment = {name: value for name, value in settings.items() if value is not None}
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home folder with a token that no head accepts."""
    for name in [name for name in os.environ if name.startswith("RAY_AUTH")]:
        monkeypatch.delenv(name)
    (tmp_path / "home" / ".ray").mkdir(parents=True)
    (tmp_path / "home" / ".ray" / "auth_token").write_text("stale\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("mode", "tokens", "expected"),
    [
        (None, {}, "rejects the token from HOME/.ray/auth_token; set RAY_AUTH_TOKEN, or"),
        (None, {"RAY_AUTH_TOKEN": "right"}, "right"),
        (None, {"RAY_AUTH_TOKEN": "wrong"}, "rejects the token from RAY_AUTH_TOKEN; set"),
        ("token", {"RAY_AUTH_TOKEN_PATH": "HOME/right"}, "right"),
        (None, {"RAY_AUTH_TOKEN_PATH": "HOME/none"}, "RAY_AUTH_TOKEN_PATH: HOME/none cannot be r"),
        (None, {"HOME": "HOME/none"}, "requires a token, and none is set; set RAY_AUTH_TOKEN, or"),
        ("disabled", {"RAY_AUTH_TOKEN": "right"}, "requires a token, but RAY_AUTH_MODE is disab"),
    ],
)
def test_a_head_that_demands_a_token_gets_the_users_or_the_remedy_is_named(
    home: Path, monkeypatch, mode: str | None, tokens: dict[str, str], expected: str
) -> None:
    (home / "right").write_text("right\n")
    if mode:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    for name, value in tokens.items():
        monkeypatch.setenv(name, value.replace("HOME", str(home)))
    with false_head(demanding("right")) as address:
        if expected == "right":
            _, settings = probe(address)
            assert settings["RAY_AUTH_MODE"] == "token"
            assert settings["RAY_AUTH_TOKEN"] == "right"
            return
        with pytest.raises(ValueError, match=r"(?i)token") as caught:
            probe(address)
    assert expected.replace("HOME", str(home)) in str(caught.value)
    assert "right" not in str(caught.value).replace("the right one", "")  # no secret is printed


def test_a_head_without_tokens_is_never_sent_one(home: Path, monkeypatch) -> None:
    asked = []

    def open_to_all(line: socket.socket) -> None:
        asked.append(line.recv(1 << 16))
        line.sendall(status(0))

    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    with false_head(open_to_all) as address:
        assert probe(address) == (address, {"RAY_AUTH_MODE": "disabled"})
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
        with pytest.raises(ValueError, match="does not check tokens, but RAY_AUTH_MODE is token"):
            probe(address)
    assert all(b"secret" not in words for words in asked)


def slowly(line: socket.socket) -> None:
    for byte in SETTINGS * 1000:
        line.sendall(bytes((byte,)))
        time.sleep(0.02)


def forever(line: socket.socket) -> None:
    while True:
        line.sendall(SETTINGS * 100)


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (lambda line: time.sleep(3), "no answer in time"),
        (slowly, "no answer in time"),
        (lambda line: (line.sendall(SETTINGS), time.sleep(3)), "no answer in time"),
        (lambda line: (line.sendall(SETTINGS[:7]), time.sleep(3)), "no answer in time"),
        (forever, "is not the head"),
        (lambda line: line.sendall(os.urandom(1 << 20)), "is not the head"),
        (lambda line: line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9), "is not the head"),
        (lambda line: line.sendall(b"\xff" * 4096), "is not the head"),
        (lambda line: line.sendall(status(12)), "is not the head"),
        (lambda line: line.sendall(SETTINGS + b"\x00\x00\x00\x07\x00" + bytes(4)), "is not the h"),
        (lambda line: None, "cannot be reached ("),
    ],
)
def test_whatever_answers_at_an_address_is_one_line_in_time(
    monkeypatch, capsys, answer: Callable[[Any], Any], complaint: str
) -> None:
    monkeypatch.setattr(ray_connect, "PROBE", 0.5)
    began = time.monotonic()
    with false_head(answer) as address:
        words = ["--architectures", "efficientnet_b0", "--data", "cifar10", "--address", address]
        assert run(words) == 2
        told = capsys.readouterr().err
        with pytest.raises(ValueError, match="address: ") as caught:
            ray_connect.connect(address)
    assert complaint in told
    assert told == f"train.ray_tune: {caught.value}\n"
    assert time.monotonic() - began < 4


def test_a_name_server_that_is_silent_is_not_waited_for(monkeypatch) -> None:
    monkeypatch.setattr(ray_connect, "PROBE", 0.3)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(2))
    with pytest.raises(ValueError, match="no answer in time"):
        probe("head.example:6379")


LOCAL = """
import os, sys
from pathlib import Path
before = dict(os.environ)
from train.cluster.connect import connect, disconnect
connect(None, cpus=1)
import ray
secret = os.environ["RAY_AUTH_TOKEN"]
def look():
    return os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"]
assert ray.get(ray.remote(look).remote()) == ("token", secret)
for place in Path("/proc").glob("[0-9]*/cmdline"):
    try:
        assert secret.encode() not in place.read_bytes(), place
    except OSError:
        pass  # the process has ended
from train.cluster.probe import head_status
host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
assert [head_status(host, int(port), token, 5.0) for token in (None, secret)] == [16, 0]
disconnect()
after = dict(os.environ)
after.pop("RAY_CLIENT_MODE", None)  # set by `import ray`
assert after == before, set(after.items()) ^ set(before.items())
if len(sys.argv) > 1:  # then a cluster
    connect(sys.argv[1])
    assert ray.get(ray.remote(lambda: 7).remote()) == 7
    disconnect()
print("done")
"""


@pytest.mark.slow
def test_a_ray_here_is_protected_and_leaves_nothing_in_home_or_environment(home: Path) -> None:
    assert alone(LOCAL, HOME=str(home)) == "done\n"
    assert [path.name for path in home.rglob("*")] == [".ray", "auth_token"]
    assert (home / ".ray" / "auth_token").read_text() == "stale\n"


@pytest.mark.slow
@pytest.mark.parametrize("place", [None, "/proc/here", "/dev/null"])
def test_a_ray_here_needs_no_home(place: str | None) -> None:
    assert alone(LOCAL, HOME=place) == "done\n"


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Yield the addresses of a head without tokens and of one that requires one."""
    folder = tmp_path_factory.mktemp("heads")
    (folder / "token").write_text("of-the-cluster\n")
    settings = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token")}
    with (
        real_head(Path(f"/tmp/vbs-{os.getpid()}a"), RAY_AUTH_MODE="disabled") as free,
        real_head(Path(f"/tmp/vbs-{os.getpid()}b"), **settings) as closed,
    ):
        yield {"free": free, "closed": closed, "file": str(folder / "token")}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "tokens"), [("free", False), ("closed", True)])
def test_a_stale_token_in_home_breaks_no_cluster_with_or_without_tokens(
    home: Path, heads: dict[str, str], kind: str, tokens: bool
) -> None:
    more = {"RAY_AUTH_TOKEN_PATH": heads["file"]} if tokens else {}
    assert alone(LOCAL, heads[kind], HOME=str(home), **more) == "done\n"


@pytest.mark.slow
def test_a_head_that_demands_another_token_says_so_within_seconds(home: Path, heads) -> None:
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"rejects the token from .*home/\.ray/auth_token; set "):
        ray_connect.connect(heads["closed"])
    assert time.monotonic() - began < 10


WITHOUT_LOOPBACK = """
import time
from train.cluster.connect import connect
began = time.monotonic()
try:
    connect()
except ValueError as error:
    print(error)
assert time.monotonic() - began < 10
"""


def test_a_machine_without_loopback_is_refused_in_one_line() -> None:
    unshare = ["unshare", "--user", "--map-root-user", "--net"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("network namespaces are not allowed here")
    done = subprocess.run(
        [*unshare, sys.executable, "-c", WITHOUT_LOOPBACK],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    assert done.stderr == ""
    assert done.stdout == (
        "this machine cannot connect to itself at 127.0.0.1 (Network is unreachable); enable its "
        "loopback interface: ip link set lo up\n"
    )


def test_the_folder_of_rays_sockets_is_short_whatever_tmpdir_says(tmp_path, monkeypatch) -> None:
    long = tmp_path / ("long" * 20)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr("tempfile.tempdir", str(long))
    long.mkdir()
    with contextlib.ExitStack() as stack:
        options = ray_connect._temporary(stack)
        assert options["_temp_dir"].startswith("/tmp/vbs-")
        assert options["object_spilling_directory"].startswith(str(long))
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    with contextlib.ExitStack() as stack:
        assert [*ray_connect._temporary(stack)] == ["_temp_dir"]


@pytest.mark.slow
def test_a_ray_here_starts_with_a_long_tmpdir(tmp_path: Path) -> None:
    long = tmp_path / ("long" * 20)
    long.mkdir()
    assert alone(LOCAL, TMPDIR=str(long)) == "done\n"


LOADERS = """
from tests.train.cluster.test_token import Zeros
from torch.utils.data import DataLoader
from vbs.sockets import short_folder_for_sockets
short_folder_for_sockets()
print(sum(1 for _ in DataLoader(Zeros(), num_workers=1, batch_size=None)))
import tempfile
print(tempfile.gettempdir())
"""


class Zeros:
    """Tensors that a loader process sends through a Unix socket."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        import torch

        return torch.zeros(1000)


@pytest.mark.slow
def test_loader_processes_work_with_a_long_tmpdir(tmp_path: Path) -> None:
    long = tmp_path / ("long" * 20)
    long.mkdir()
    assert alone(LOADERS, TMPDIR=str(long)) == f"2\n{long}\n"
