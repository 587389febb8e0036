"""Images in archives and parquet files are read equally by threads, forks and new processes."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import warnings
import weakref
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch

from tests.train.files import all_of, encoded, folder_of, zipped
from train.data import load
from train.data.archives import Members, PerProcess
from train.data.decode import Unreadable
from train.data.reading import Reading
from train.data.stores import ParquetStore, Store, ZipStore

METHODS = multiprocessing.get_all_start_methods()
KINDS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def archive_of(path: Path, count: int, kind: int = zipfile.ZIP_DEFLATED) -> ZipStore:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for index in range(count):
            archive.writestr(f"{index}.png", encoded(index))
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    return ZipStore(Members(str(path), infos), [info.filename for info in infos])


def parquet_of(path: Path, count: int) -> ParquetStore:
    table = pyarrow.table({"image": [encoded(index) for index in range(count)]})
    pyarrow.parquet.write_table(table, path, row_group_size=7)
    return ParquetStore([path], "image")


@pytest.mark.parametrize("kind", KINDS)
def test_members_are_those_that_zipfile_reads(tmp_path: Path, kind: int) -> None:
    store = archive_of(tmp_path / "some.zip", 9, kind)
    with zipfile.ZipFile(tmp_path / "some.zip") as archive:
        assert [store.read(row) for row in range(9)] == [
            archive.read(f"{row}.png") for row in range(9)
        ]
    assert len(store) == len(store.members) == 9
    assert store.name(3) == f"{tmp_path}/some.zip/3.png"


def stores_of(place: Path) -> list[Store]:
    return [archive_of(place / "some.zip", 40), parquet_of(place / "some.parquet", 40)]


def read_all(store: Store, wanted: list[bytes]) -> bool:
    """Return whether a store yields these images, in any order and repeatedly."""
    order = np.random.default_rng(os.getpid()).permutation(len(wanted)).tolist()
    return all(store.read(row) == wanted[row] for row in order * 5)


def test_threads_and_forks_read_at_once_while_the_parent_reads(tmp_path: Path) -> None:
    wanted = [encoded(index) for index in range(40)]
    context = multiprocessing.get_context("fork")
    for store in stores_of(tmp_path):
        store.read(0)  # opened before the fork
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            children = [context.Process(target=exit_by, args=(store, wanted)) for _ in range(3)]
            for child in children:
                child.start()
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(read_all, [store] * 4, [wanted] * 4))
        for child in children:
            child.join(60)
        assert [child.exitcode for child in children] == [0, 0, 0]


def exit_by(store: Store, wanted: list[bytes]) -> None:
    sys.exit(0 if read_all(store, wanted) else 1)


def test_stores_are_pickled_without_what_they_opened(tmp_path: Path) -> None:
    for store in stores_of(tmp_path):
        store.read(0)
        other = pickle.loads(pickle.dumps(store))
        assert [other.read(row) for row in range(40)] == [store.read(row) for row in range(40)]
        assert other.name(39) == store.name(39)


def test_a_value_is_made_once_in_each_process() -> None:
    held = PerProcess(os.getpid)
    assert held.get() == held.get() == os.getpid()
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.write(write_end, str(held.get()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(read_end, 20)) == child
    os.close(read_end)
    os.close(write_end)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_loader_processes_read_archives_however_they_are_started(
    tmp_path: Path, method: str
) -> None:
    counts = {"train/a": 9, "train/b": 8, "test/a": 4, "test/b": 1}
    place = folder_of(tmp_path / "set", counts)
    archive = zipped(place, tmp_path / "set.zip")
    (tmp_path / "rows").mkdir()
    images = [path.read_bytes() for path in sorted((place / "train").rglob("*.png"))]
    table = pyarrow.table({"image": images, "label": [0] * 9 + [1] * 8})
    for name in ("train", "test"):
        pyarrow.parquet.write_table(table, tmp_path / "rows" / f"{name}.parquet", row_group_size=5)
    torch.save(all_of(load(f"imagefolder:{place}", minival=0).train)[0], tmp_path / "wanted.pt")
    # a separate process, because the start method of loader processes is set once
    script = f"""
import multiprocessing, torch
from tests.train.files import all_of
from train.data import load
from train.data.reading import Reading

if __name__ == "__main__":
    multiprocessing.set_start_method({method!r})
    wanted = torch.load({str(tmp_path / "wanted.pt")!r})
    for text in ({str(archive)!r}, {"parquet:" + str(tmp_path / "rows")!r}):
        split = load(text, minival=0, reading=Reading(memory_limit=0)).train
        for workers in (0, 1):
            assert torch.equal(all_of(split, workers=workers)[0], wanted), (text, workers)
"""
    (tmp_path / "script.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:__main__", tmp_path / "script.py"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]


@pytest.mark.parametrize("name", ["./a/{}.png", "a\\{}.png", ".\\a\\{}.png", "a//{}.png"])
def test_members_are_found_however_their_names_are_written(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        for index in range(9):
            info = zipfile.ZipInfo("x")
            info.filename = name.format(index)  # its constructor would change the separators
            archive.writestr(info, encoded(index))
            archive.writestr(f"b/{index}.png", encoded(index + 9))
    data = load(str(tmp_path / "some.zip"), minival=0)
    assert data.classes == ("a", "b")
    assert len(data.train) == 14
    assert data.skipped == ()


def test_damaged_members_are_unreadable_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "some.zip"
    store = archive_of(path, 4, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[60] ^= 1  # a pixel of the first member
    at = content.index(b"PK\x03\x04", 10)
    content[at] = 0
    path.write_bytes(content[: store.members._fields[3, 0] + 50])
    for row, message in ((0, "checksum"), (1, "points at no member"), (3, "cut short")):
        with pytest.raises(Unreadable, match=message) as caught:
            store.read(row)
        assert "\n" not in str(caught.value)
    assert store.read(2) == encoded(2)
    path.unlink()
    with pytest.raises(Unreadable, match="No such file"):
        pickle.loads(pickle.dumps(store)).read(2)


def test_encrypted_members_and_unknown_methods_are_unreadable(tmp_path: Path) -> None:
    store = archive_of(tmp_path / "some.zip", 3)
    fields = store.members._fields
    fields[0, 3] |= 1
    fields[1, 2] = 93
    for row, message in ((0, "encrypted"), (1, "method 93")):
        with pytest.raises(Unreadable, match=message):
            store.read(row)


class Client:
    """Stands for a client of Ray, which may be freed only in the process that created it."""

    def __init__(self) -> None:
        self.owner = os.getpid()

    def __del__(self) -> None:
        if os.getpid() != self.owner:
            os.kill(os.getpid(), signal.SIGSEGV)


def test_forked_loader_processes_free_nothing_of_their_parent(tmp_path: Path) -> None:
    place = folder_of(tmp_path, {"train/a": 9, "train/b": 9, "test/a": 2})
    split = load(f"imagefolder:{place}", minival=0, reading=Reading(memory_limit=0)).train

    def register() -> Callable[[], None]:
        client = Client()
        return lambda: client.owner and None  # its closure alone holds the client

    callback = atexit.register(register())
    reference = weakref.ref(callback)
    del callback
    assert torch.equal(all_of(split, workers=2)[0], all_of(split)[0])
    callback = reference()
    assert callback is not None
    atexit.unregister(callback)
