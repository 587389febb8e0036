"""The command reference of the documentation: every option of every command is on its page."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from tests.pages import ROOT
from vbs.config import flag, options
from vbs.programs import COMMANDS

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("sphinx") is None, reason="needs sphinx: pip install -e '.[docs]'"
)


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_ext"))
    import commands

    return commands


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_on_the_page(reference: Any, name: str) -> None:
    page, command = reference.page(name), reference.command(name)
    for field, option in options(command.config).items():
        typed = flag(field, command.config)
        if field in command.positional:
            typed = (option.metavar or field.upper()).replace("_", "-")
        assert f"\n.. option:: {typed}" in page, typed
    assert "\n.. option:: --config FILE" in page
    flags = {flag(field, command.config) for field in options(command.config)}
    assert ("\n.. option:: --out " in page) == bool(command.record or "--out" in flags)
    assert ("\n.. option:: --resume" in page) == bool(command.record and command.resumable)
    for switch in command.switches:
        assert f"\n.. option:: {flag(switch)}" in page
    for line in ("Values", "Default"):
        assert page.count(f"   :{line}: ") == len(options(command.config))


def test_an_entry_says_what_the_config_says(reference: Any) -> None:
    page = reference.page("search").replace("\\ ", "")
    entry = page.split(".. option:: --target-flops SIZE")[1].split(".. option::")[0]
    assert ":Values: a number such as 400M" in entry
    assert ":Default: not set" in entry
    assert ":Resumed run: keeps it" in entry
    assert ":doc:`fidelity <fidelity>`" in entry
    entry = page.split(".. option:: --workers N")[1].split(".. option::")[0]
    assert ":Values: a whole number from 1 to 100,000" in entry
    assert ":Resumed run: may change it" in entry


def test_every_command_has_a_guide(reference: Any) -> None:
    assert set(reference.GUIDES) == set(COMMANDS)
    for page in reference.GUIDES.values():
        assert (ROOT / "docs" / f"{page}.md").exists()
