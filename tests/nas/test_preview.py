"""The preview of a search."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from nas.asha import Asha
from nas.evaluators.proxy import Fidelity, Proxy
from nas.search import preview
from nas.search.setup import Measuring
from train.cluster.place import Place


def test_early_stopping_trains_a_share_of_all_epochs() -> None:
    assert preview.expected_share(None, 9) == 1
    # 3 epochs of all, 6 of a third
    assert preview.expected_share(Asha(9, first=3), 9) == pytest.approx((3 + 6 / 3) / 9)


def told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **changed: Any
) -> str:
    monkeypatch.setattr(preview, "expected_seconds", lambda *args, **options: 60.0)
    search = SimpleNamespace(
        config=SimpleNamespace(**{"max_time": None, "address": None, "device": "cpu", **changed}),
        measuring=Measuring(Proxy, None, None, Fidelity(9)),  # type: ignore[arg-type]
        history=None,
        plan=SimpleNamespace(budget=100, asha=None, finalists=3, repeats=3),
        places=Place(2),
    )
    preview._print_times(search)  # type: ignore[arg-type]
    return capsys.readouterr().err


def test_the_whole_time_is_that_of_all_trainings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "about 53 min in all, including 6 further trainings" in told(monkeypatch, capsys)


def test_the_whole_time_is_within_the_limit_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = told(monkeypatch, capsys, max_time=1200.0)
    assert "no new network starts after 20 min" in text
    assert "about 24 min in all" in text
    assert "about 53 min in all" in told(monkeypatch, capsys, max_time=36000.0)
