"""No part of a database's password is printed or stored, in any notation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from nas.options import StudyOptions
from nas.storage.database import checked_url
from nas.storage.passwords import escaped_url, without_password
from tests.commands import search as run
from vbs.config import partial

PASSWORDS = [
    "plain",
    "p@ss",
    "@",
    "a@b@c",
    "p/a@s",
    "p?a@s",
    "p#a:b",
    "a?b=c@d",
    "é ü",
    "x%y",
    "[1]",
]


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("query", ["", "?application_name=a@b&connect_timeout=1"])
def test_the_password_ends_at_the_last_at_sign(password: str, query: str) -> None:
    storage = f"postgresql://me:{password}@db.example:5432/nas{query}"
    url = make_url(escaped_url(storage))
    assert (url.host, url.port, url.database) == ("db.example", 5432, "nas")
    assert url.password == password
    assert url.query.get("application_name", "a@b") == "a@b"
    assert escaped_url(escaped_url(storage)) == escaped_url(storage)


def test_escapes_are_kept() -> None:
    url = "postgresql://me%40org:p%40s%25s@db/nas"
    assert escaped_url(url) == url
    assert make_url(escaped_url("postgresql://me@org:pw@db/nas")).username == "me@org"
    for other in ("sqlite:///a@b:c.db", "postgresql://db/nas", "postgresql://db/n?user=a", "text"):
        assert escaped_url(other) == other


@pytest.mark.parametrize("password", ["top@secret", "top/@secret", "top?@secret", "@@topsecret"])
def test_neither_message_nor_file_shows_a_part_of_it(
    password: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = f"postgresql://me:{password}@127.0.0.1:9/nas"
    options = StudyOptions(**partial(StudyOptions, {"storage": storage}))
    shown = json.dumps(options.settings()) + repr(checked_url(storage))
    assert without_password(storage) == "postgresql://me@127.0.0.1:9/nas"
    words = ["--target-flops", "400M", "--evaluator", "zero-cost", "--budget", "2"]
    out = tmp_path / "out"
    assert run([*words, "--storage", storage, "--study", "s", "--out", str(out)]) != 0
    captured = capsys.readouterr()
    shown += captured.out + captured.err
    for path in tmp_path.rglob("*.*"):
        shown += path.read_text(errors="replace")
    assert "secret" not in shown
    assert "top" not in shown.replace("stop", "")
