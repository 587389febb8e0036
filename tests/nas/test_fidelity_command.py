"""The command `python -m nas.fidelity`: interruptions, lost processes, mistakes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nas.evaluators.base import Answer
from nas.evaluators.proxy import Fidelity, Proxy
from nas.fidelity import FidelityConfig, run_fidelity
from nas.fidelity import progress as fidelity_progress
from nas.fidelity.remembered import Extent, recommended, remember
from nas.fidelity.trainings import Job, Work, run_all, trained
from tests.commands import fidelity as main
from tests.nas.toys import small_space
from tests.train import toys
from train.cluster.place import Place
from train.data.summary import summarise
from train.execution import Execution
from train.recipe import Recipe
from vbs.config import from_values
from vbs.progress import Progress

LONG, SHORT = Fidelity(4), Fidelity(2)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def pictures(folder: Path, *, classes: int = 3, each: int = 24) -> str:
    """Write images of noise in which the channel of the class is brighter; return --data."""
    rng = np.random.default_rng(0)
    for index, name in enumerate(("red", "green", "blue")[:classes]):
        (folder / "train" / name).mkdir(parents=True)
        for number in range(each):
            pixels = rng.integers(0, 120, (16, 16, 3)).astype(np.uint8)
            pixels[..., index] += 60
            Image.fromarray(pixels).save(folder / "train" / name / f"{number}.png")
    return f"imagefolder:{folder}"


CHANGES = ("--set", "batch=16", "--set", "epochs=2", "--set", "minival=0.25")
QUICK = (
    *CHANGES,
    "--networks",
    "4",
    "--width",
    "0.5",
    "--fidelities",
    "epochs=1",
    "--workers",
    "1",
    "--device",
    "cpu",
)


@pytest.mark.slow
def test_an_interrupted_comparison_goes_on_and_its_answer_is_what_a_search_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    data, out = pictures(tmp_path / "data"), str(tmp_path / "out")
    update_all = fidelity_progress.Trainings.update
    ended: list[Job] = []

    def update(
        self: fidelity_progress.Trainings, job: Job, answer: Answer, progress: Progress
    ) -> None:
        ended.append(job)
        update_all(self, job, answer, progress)
        if len(ended) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(fidelity_progress.Trainings, "update", update)
    assert main(["--data", data, *QUICK, "--out", out]) == 130
    said = capsys.readouterr().err
    assert "2 fidelities x 4 networks x 2 seeds = 16 trainings" in said
    assert "nas.fidelity: interrupted; resume by: " in said
    as_written_by_the_first_version(Path(out, "fidelity.json"))
    assert main(["--resume", "--out", out, "--seeds", "3"]) == 2
    assert "--seeds: 3 differs from the comparison's 2" in capsys.readouterr().err
    assert main(["--resume", "--out", out, "--workers", "1", "--device", "cpu"]) == 0
    said = capsys.readouterr()
    assert len(set(ended)) == len(ended) == 16
    assert "13 trainings (3 more are already known): about 0:" in said.err
    assert "recommended: " in said.out
    assert {path.name for path in Path(out).iterdir()} == {"fidelity.json", "fidelity.png"}
    record = json.loads(Path(out, "fidelity.json").read_text())
    check_record(record, data)
    check_that_a_larger_one_stays(record, data, capsys)
    monkeypatch.setattr(fidelity_progress.Trainings, "update", None)  # nothing is trained
    result = run_fidelity(from_values(FidelityConfig, record["settings"]))
    assert result.config.settings() == record["settings"]
    found = result.recommended
    assert (None if found is None else str(found)) == record["outcome"]["recommended"]


def as_written_by_the_first_version(path: Path) -> None:
    """Rewrite a record in the form of version 0.1."""
    record = json.loads(path.read_text())
    record["settings"] |= {"fields": record.pop("recipe"), **record.pop("digests")}
    for name in ("workers", "device"):
        del record["settings"][name]
    path.write_text(json.dumps(record))


def check_that_a_larger_one_stays(
    record: dict[str, Any], data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A repeated command trains nothing and does not replace the result of more networks."""
    recipe = Recipe.from_dict(record["recipe"])
    digests = summarise(data, minival=recipe.minival).digests
    asked = (digests, small_space(), recipe)
    remember(Fidelity(7), *asked, extent=Extent(9, 2, LONG), details={})
    assert main(["--config", "out/fidelity.json"]) == 0
    said = capsys.readouterr()
    assert "--fidelity auto remains epochs=7,share=1 from a larger comparison (9 netw" in said.err
    assert "left: " not in said.err
    assert "--fidelity auto" not in said.out
    assert recommended(*asked) == Fidelity(7)


def check_record(record: dict[str, Any], data: str) -> None:
    """Check the record of the comparison for consistency, and the answer that a search reads."""
    outcome = record["outcome"]
    assert record["status"] == "finished"
    assert [each["fidelity"] for each in outcome["fidelities"]] == [
        "epochs=1,share=1",
        "epochs=2,share=1",
    ]
    assert len(outcome["networks"]) == 4
    assert [len(curve) for curve in outcome["fidelities"][1]["curves"][0]] == [2, 2]
    recipe = Recipe.from_dict(record["recipe"])
    digests = summarise(data, minival=recipe.minival).digests
    found = recommended(digests, small_space(), recipe)
    assert (None if found is None else str(found)) == outcome["recommended"]


def works(data: str, tmp_path: Path, count: int) -> Iterator[tuple[Job, Work]]:
    the_space, recipe = small_space(), toys.recipe("resolution=0", "minival=0.25")
    genotype = the_space.sample(1, np.random.default_rng(0))[0]
    for seed in range(count):
        yield (
            Job(0, 0, seed),
            Work(
                data,
                None,
                recipe,
                SHORT,
                the_space.name,
                the_space.settings,
                genotype,
                seed,
                "cpu",
                tmp_path / "results",
                tmp_path / f"unfinished-{seed}",
            ),
        )


@pytest.mark.slow
def test_processes_answer_as_this_one_does_and_a_lost_one_is_replaced(tmp_path: Path) -> None:
    jobs = dict(works(pictures(tmp_path / "data"), tmp_path, 12))
    ends = run_all(jobs, Place(2))
    job, found = next(ends)
    alone = trained(replace(jobs[job], cache=tmp_path / "other"))
    assert [point.accuracy for point in found.curve] == [point.accuracy for point in alone.curve]
    assert not jobs[job].folder.exists()
    names = list(Path("/proc").glob("[0-9]*/cmdline"))
    workers = [path for path in names if b"ray::Worker" in path.read_bytes()]
    own = [int(path.parent.name) for path in workers if of_this_test(path.parent)]
    assert own
    os.kill(own[0], signal.SIGKILL)
    others = dict(ends)
    assert {job, *others} == {*jobs}
    assert not [answer.error for answer in others.values() if answer.error]


def of_this_test(process: Path) -> bool:
    """Return whether a process descends from this one."""
    while True:
        parent = process.joinpath("stat").read_text().rpartition(")")[2].split()[1]
        if parent in ("0", "1"):
            return False
        if int(parent) == os.getpid():
            return True
        process = Path("/proc", parent)


def test_what_another_clock_or_kind_of_device_has_timed_is_another_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((_, asked),) = works(pictures(tmp_path / "data"), tmp_path, 1)
    network = small_space().decode(asked.genotype)
    mine = asked.proxy()
    wall = Proxy(mine.data, asked.recipe, SHORT, Execution(device="cpu"))
    named = [each.identity(network, 0)["clock"] for each in (mine, wall)]
    monkeypatch.setattr("train.distributed.pick_device", lambda device: torch.device(device))
    on_gpu = Proxy(mine.data, asked.recipe, SHORT, Execution(device="cuda:1"))
    named.append(on_gpu.identity(network, 0)["clock"])
    assert named == ["processor cpu", "wall cpu", "wall cuda"]
    assert mine.identity(network, 0) == {**wall.identity(network, 0), "clock": "processor cpu"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--data is missing"),
        (("--data", "nonsense"), "data: 'nonsense' is unknown"),
        (
            ("--data", "DATA", "--networks", "3"),
            "--networks: 3 is not allowed; use a number",
        ),
        (
            ("--data", "DATA", "--seeds", "1"),
            "--seeds: 1 is not allowed; use a number",
        ),
        (("--data", "DATA", "--workers", "0"), "--workers: 0 is not allowed"),
        (("--data", "DATA", "--classes", "10"), "classes: 10 is not allowed; the data have"),
        (
            ("--data", "DATA", *CHANGES, "--target-flops", "1K"),
            "below the range of space 'compact'",
        ),
        (("--data", "DATA", "--space", "compct"), "did you mean compact"),
        (("--data", "DATA", "--set", "minival=0"), "--set minival: the comparison needs held-out"),
        (("--data", "DATA", *CHANGES, "--longest", "epochs=3,share=0.1"), "leaves 4 of 42"),
        (("--data", "DATA", *CHANGES, "--fidelities", "epochs=2"), "not cheaper than the longest"),
        (
            ("--data", "DATA", *CHANGES, "--fidelities", ";"),
            "fidelities: use one or more, each once",
        ),
        (("--data", "DATA", *CHANGES, "--fidelities", "epochs=x"), "is not understood"),
        (("--data", "DATA", *CHANGES, "--device", "abacus"), "device: 'abacus' is unknown"),
        (("--data", "ONE"), "for each of two classes or more"),
        (("--resume",), "resume: the folder of the comparison is missing"),
        (("--resume", "--out", "nowhere"), "holds no comparison"),
    ],
)
def test_a_mistake_is_answered_in_one_line_before_anything_is_trained(
    arguments: tuple[str, ...],
    message: str,
    sets: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([sets.get(word, word) for word in arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert said.err.count("\n") == 1
    assert said.err.startswith("nas.fidelity: ")
    assert not list(tmp_path.rglob("*.json"))


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    place = tmp_path_factory.mktemp("sets")
    return {"DATA": pictures(place / "three"), "ONE": pictures(place / "one", classes=1)}


@pytest.mark.parametrize("text", ["", "[]", '{"settings": {"data": 3}}', "{" * 10_000])
def test_a_record_that_is_none_is_told(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fidelity.json").write_text(text)
    assert main(["--resume", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("nas.fidelity: resume: ")
