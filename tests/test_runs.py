"""`vbs.runs`: the start of new and resumed runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas.compare.config import COMMAND, CompareConfig
from vbs.lock import FILE, owned
from vbs.runs import opened_run

CONFIG = CompareConfig(strategies=("random",), budget=10, target_flops="400M")
NEW: dict[str, Any] = {"out": None, "resume": False, "changes": None}


def test_a_new_run_has_no_folder_to_resume(tmp_path: Path) -> None:
    for out in (None, tmp_path):
        with opened_run(COMMAND, CONFIG, **{**NEW, "out": out}) as earlier:
            assert earlier is None


def test_a_resumed_run_locks_its_folder(tmp_path: Path) -> None:
    with opened_run(COMMAND, None, out=tmp_path, resume=True, changes={"seeds": 3}) as earlier:
        assert earlier == tmp_path
        assert (tmp_path / FILE).exists()
    assert not (tmp_path / FILE).exists()


def test_a_second_process_of_a_run_can_leave_the_lock_to_the_first(tmp_path: Path) -> None:
    with (
        owned(tmp_path, "the first process"),
        opened_run(COMMAND, None, out=tmp_path, resume=True, changes=None, lock=False) as earlier,
    ):
        assert earlier == tmp_path


@pytest.mark.parametrize("out", [None, ""])
def test_a_resumed_run_needs_its_folder(out: str | None) -> None:
    with (
        pytest.raises(ValueError, match="resume: the folder of the comparison is missing; use"),
        opened_run(COMMAND, None, out=out, resume=True, changes=None),
    ):
        pass


def test_a_resumed_run_takes_changes_instead_of_a_config(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="config: a resumed run reads its record"),
        opened_run(COMMAND, CONFIG, out=tmp_path, resume=True, changes=None),
    ):
        pass
