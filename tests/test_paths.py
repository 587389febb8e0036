"""Paths given by users: an invalid path gives a one-line error."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vbs.command import command_line
from vbs.paths import absolute


def test_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert absolute("a/../b", what="x") == tmp_path.resolve() / "b"
    assert absolute("~/b", what="x") == tmp_path.resolve() / "home" / "b"


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="there, links may form a loop")
def test_links_that_form_a_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop.json").symlink_to("loop.json")
    Path("loop.py").symlink_to("loop.py")
    with pytest.raises(ValueError, match=r"x: loop\.json is not a valid path"):
        absolute("loop.json", what="x")
    for words in (
        ["nas.search", "--target-throughput", "5K", "--on", "loop.json"],
        ["nas.search", "--target-flops", "400M", "--times", "loop.json"],
        ["nas.search", "--target-flops", "400M", "--space", "loop.py:Space"],
        ["nas.devices.fit", "loop.json", "--name", "x"],
        ["scaling.baseline", "--out", "loop.json"],
    ):
        assert command_line(words[0], words[1:]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_homes_of_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["nas.devices.fit", "~no-such-user/kit", "--name", "x"],
        ["nas.search", "--config", "~no-such-user/x.yaml"],
    ):
        assert command_line(words[0], words[1:]) == 2
        printed = capsys.readouterr().err
        assert len(printed.splitlines()) == 1
        assert "~no-such-user" in printed
