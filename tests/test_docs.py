"""Pages in docs/ and the README: examples run, commands exist, outputs and links are correct."""

from __future__ import annotations

import functools
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.lib import search_summary, training_summary
from experiments.lib.strategy_tables import markdown
from tests.pages import (
    PAGES,
    ROOT,
    Block,
    anchors,
    blocks,
    commands,
    links,
    name_of,
    prose,
    written_commands,
)
from tests.train.files import encoded
from tests.train.test_export import a_run
from vbs.config import from_values
from vbs.config import options as options_in
from vbs.options import load, read_request
from vbs.programs import COMMANDS

RESULTS = ROOT / "experiments" / "results"
LANGUAGES = {"python", "sh", "console", "text", "yaml"}
QUICK = ("README.md",)  # pages whose code the quick tests run
PYTHON = [block for page in PAGES for block in blocks(page) if block.language == "python"]
BY_PAGE = pytest.mark.parametrize("page", PAGES, ids=map(name_of, PAGES))
# pages with commands that are fast enough to run
RUNNING = [
    page for page in PAGES if any(re.match("run$|output of: ", b.mark) for b in blocks(page))
]
LINKING = [*PAGES, ROOT / "experiments" / "README.md", ROOT / "CHANGELOG.md"]
OPTION = r"(?<![\w-])--[a-z][\w-]*"
# options of other programs
FOREIGN = {"--nproc-per-node", "--tmux", "--generate", "--logdir", "--head"}


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


@BY_PAGE
def test_blocks_are_of_a_kind_that_is_tested(page: Path) -> None:
    for block in blocks(page):
        where = f"{name_of(page)}:{block.line}"
        assert block.language in LANGUAGES or block.language.startswith("{"), where
        if block.language == "text" and page.name != "index.md":
            assert block.mark.startswith(("output of: ", "recorded output")), where


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(
            block,
            marks=() if block.page.name in QUICK else pytest.mark.slow,
            id=f"{name_of(block.page)}:{block.line}",
        )
        for block in PYTHON
    ],
)
def test_python_blocks_run(block: Block, tmp_path: Path) -> None:
    """Each block runs in a folder with a trained network and a photograph, which some read."""
    if "runs/train-1" in block.text:
        (tmp_path / "runs").mkdir()
        a_run(tmp_path / "runs" / "train-1")
        (tmp_path / "cat.jpg").write_bytes(encoded(1))
    done = subprocess.run(
        [sys.executable, "-c", block.text],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    for line in re.findall(r"^# -> (.*)$", block.text, re.MULTILINE):
        assert line in done.stdout


def test_config_files_of_the_pages_are_read(tmp_path: Path) -> None:
    found = [block for page in PAGES for block in blocks(page) if block.language == "yaml"]
    assert found
    for block in found:
        name = re.match(r"# (\S+\.yaml)\n", block.text)
        assert name, f"{name_of(block.page)}:{block.line}"
        place = tmp_path / name[1]
        place.write_text(block.text)
        program = re.search(rf"python -m (\S+) --config {name[1]}", block.page.read_text())
        assert program, name[1]
        command = importlib.import_module(f"{program[1]}.config").COMMAND
        from_values(command.config, read_request(command, ["--config", str(place)]).values)


def printed(command: str, folder: Path) -> str:
    """Return the standard output of a shell line, with this interpreter as `python`."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "python").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    (programs / "python").chmod(0o755)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        env=environment(PATH=f"{programs}:{os.environ['PATH']}"),
    )
    assert done.returncode == 0, f"{command}\n{done.stderr[-2000:]}"
    return done.stdout


def comparable(text: str) -> str:
    """Return output without what differs between runs: seconds, interpreter, trailing spaces."""
    text = re.sub(r"in \d+\.\d s;", "in N s;", text)
    text = re.sub(r"\S+/python[\d.]* -m", "python -m", text)
    return "\n".join(line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=() if page.name in QUICK else pytest.mark.slow, id=name_of(page))
        for page in RUNNING
    ],
)
def test_outputs_are_those_of_the_commands(page: Path, tmp_path: Path) -> None:
    for block in blocks(page):
        if block.mark == "run":
            printed(block.text, tmp_path)
        if block.mark.startswith("output of: "):
            output = printed(block.mark.removeprefix("output of: "), tmp_path)
            assert comparable(block.text) in comparable(output), f"{name_of(page)}:{block.line}"


@functools.cache
def help_of(module: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        capture_output=True,
        text=True,
        timeout=600,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def options_of(module: str) -> set[str]:
    return set(re.findall(OPTION, help_of(module)))


def module_and_options(words: list[str]) -> tuple[str, set[str]]:
    """Return the module of a command ("" for other programs) and the options in it."""
    if "cluster/slurm.sh" in words:
        module, rest = "train.ray_tune", words[words.index("cluster/slurm.sh") + 1 :]
    elif "-m" in words:
        place = words.index("-m")
        module, rest = words[place + 1], words[place + 2 :]
    elif words[0] == "vbs" and words[1:2] != ["--help"]:
        used = 2 if " ".join(words[1:3]) in COMMANDS else 1  # words of the name: device kit
        module, rest = COMMANDS[" ".join(words[1 : 1 + used])].program, words[1 + used :]
    else:
        return "", set()
    return module, {word.split("=")[0] for word in rest if word.startswith("--")}


def earlier_options() -> set[str]:
    """Spellings of version 0.1, which docs/migration.md names."""
    configs = [load(f"{entry.program}.config:COMMAND").config for entry in COMMANDS.values()]
    return {old for config in configs for each in options_in(config).values() for old in each.old}


def test_commands_and_their_options_exist() -> None:
    """One test for all pages, because it runs the help of every command only once."""
    wrong, known = [], FOREIGN | earlier_options()
    for page in PAGES:
        for words in written_commands(page):
            module, options = module_and_options(words)
            if not module:
                continue
            path = ROOT / module.replace(".", "/")
            if not path.with_suffix(".py").exists() and not (path / "__main__.py").exists():
                wrong.append(f"{name_of(page)}: python -m {module}")
            elif options or not module.startswith("experiments."):
                known |= options_of(module)
                for option in options - options_of(module):
                    wrong.append(f"{name_of(page)}: {module} has no {option}")
    for page in PAGES:  # options in text and in tables
        for code in re.findall(r"`([^`\n]+)`", prose(page)):
            for option in set(re.findall(OPTION, code)) - known:
                wrong.append(f"{name_of(page)}: no command has {option}")
    assert not wrong, "\n".join(wrong)


@BY_PAGE
def test_make_has_the_targets(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for block in blocks(page):
        if block.language == "sh":
            for words in commands(block):
                if words[0] == "make":
                    assert f"\n{words[1]}:" in makefile
    for target in re.findall(r"`make ([\w-]+)`", prose(page)):
        assert f"\n{target}:" in makefile


@pytest.mark.parametrize("page", LINKING, ids=map(name_of, LINKING))
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_of(page)}: {link}"
        assert target.is_relative_to(ROOT), f"{name_of(page)}: {link} leaves the repository"
        if anchor:
            assert anchor in anchors(target), f"{name_of(page)}: {link}"


def test_own_space_takes_under_twenty_lines() -> None:
    own = next(block.text for block in PYTHON if "SearchSpace(" in block.text)
    lines = own.split("# --- the space ends here")[0].splitlines()
    assert len([line for line in lines if line.strip()]) < 20


def test_tables_are_those_of_the_results() -> None:
    page = (ROOT / "docs" / "results.md").read_text()
    compared = json.loads((RESULTS / "compare_strategies.json").read_text())
    for task, strategies in compared["summary"].items():
        if any(figures["seeds"] for figures in strategies.values()):
            assert markdown(compared["summary"], task) in page
    assert training_summary.markdown() in page
    assert search_summary.markdown() in page
    surrogate = json.loads((RESULTS / "imagenet_surrogate.json").read_text())
    for family in surrogate["families"]:
        assert f"| {family['kendall_tau']:.3f} | {family['mae']:.3f} |" in page.replace("**", "")
