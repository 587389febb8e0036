"""User code for strategies, evaluators, spaces, recipes and rewards."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas import catalog
from nas.objective import Objective
from nas.search import SearchConfig, run_search
from search_spaces.catalog import space
from tests.commands import ROOT, baseline, environment, family, fidelity, search
from tests.commands import images as images_in
from train.recipe import Recipe, preset
from vbs.plugins import load_object

SOURCE = '''
"""A toy of everything that can be added."""
import time
from pathlib import Path

import numpy as np

from nas.evaluators.base import Evaluations, Evaluator, Point
from nas.strategies.base import sample_fresh
from search_spaces.architecture import Architecture, Stage
from search_spaces.space import SearchSpace
from train.recipe import preset

Path(__file__).with_name("imported").touch()


class Drawn:
    """Random networks, half of a batch at a time."""

    generation, budget = 8, 24

    def propose(self, history, count, rng):
        return sample_fresh(history, count, rng)


class Informed(Drawn):
    def __init__(self, space, objective):
        assert objective.target and space.size


class Wide(Evaluator):
    """Prefers wide networks."""

    name, cheap, instant = "wide", True, True

    def __init__(self, space):
        self.decisions = len(space.choices)

    def evaluate(self, space, genotypes):
        assert genotypes.shape[1] == self.decisions
        accuracy = 50.0 + genotypes.sum(1)
        return Evaluations(accuracy, np.zeros(len(accuracy)), np.zeros(len(accuracy)))


class Learns(Evaluator):
    """Reports a learning curve; fails on networks of one layer and 8 channels."""

    name, steps = "learns", 9

    def curve(self, space, genotype, *, seed=0, folder=None):
        if not genotype.any():
            raise RuntimeError("too small to learn")
        for step in range(1, 10):
            time.sleep(0.05)
            yield Point(step, float(5 * step + genotype.sum()), 0.01 * step)


class Stepless(Wide):
    """Claims a curve that it does not define."""

    steps = 3


class Slow(Wide):
    cheap = instant = False

    def __init__(self):
        self.decisions = 2


def decode(choices, resolution=16, classes=2):
    stage = Stage("mbconv", choices["layers"], 3, 2, 2, choices["channels"])
    return Architecture(stem=8, stages=(stage,), head=16, resolution=resolution, classes=classes)


def tiny(*, resolution, classes):
    return SearchSpace(
        "tiny", {"layers": (1, 2, 3), "channels": (8, 16, 24, 32)}, Decoder(resolution, classes)
    )


class Decoder:
    def __init__(self, resolution, classes):
        self.sizes = {"resolution": resolution, "classes": classes}

    def __call__(self, choices):
        return decode(choices, **self.sizes)


fixed = SearchSpace("fixed", {"layers": (1, 2), "channels": (8, 16)}, decode)


def quick():
    from dataclasses import replace

    return replace(preset("proxy"), name="quick", batch=8, minival=0.25, least_steps=0)


gentle = quick()


def frugal(accuracy, costs):
    return accuracy - costs["flops"] / 1e5 - costs["params"] / 1e5


def misshapen(accuracy, costs):
    return accuracy[:1]


number = 3
'''


@pytest.fixture
def toys(tmp_path: Path) -> str:
    """The file that defines the toys."""
    path = tmp_path / "toys.py"
    path.write_text(SOURCE)
    return str(path)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    return images_in(tmp_path_factory.mktemp("images"), train=24)


def words(place: str) -> list[str]:
    """Return the options of a search that uses only the toys of a module or file."""
    return [
        "--target-flops",
        "4M",
        "--strategy",
        f"{place}:Drawn",
        "--evaluator",
        f"{place}:Wide",
        "--space",
        f"{place}:tiny",
        "--resolution",
        "32",
        "--classes",
        "5",
        "--reward",
        f"{place}:frugal",
    ]


@pytest.mark.slow
def test_a_search_by_code_of_a_file(
    toys: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert search([*words("toys.py"), "--out", "out"]) == 0
    shown = capsys.readouterr().out
    record = json.loads(Path("out/search.json").read_text())
    settings = record["settings"]
    assert settings["strategy"] == f"{tmp_path}/toys.py:Drawn"  # an absolute path
    assert (settings["space"], settings["width"]) == (f"{tmp_path}/toys.py:tiny", 1.0)
    assert settings["budget"] == 24
    assert record["outcome"]["evaluated"] == 12  # all networks of the space
    best = json.loads(Path("out/best.json").read_text())
    expected = best["accuracy"] - best["flops"] / 1e5 - best["params"] / 1e5
    assert best["reward"] == pytest.approx(expected, abs=1e-5)
    assert (best["architecture"]["resolution"], best["architecture"]["classes"]) == (32, 5)
    assert "finished early, the strategy proposed no new network within the limits" in shown


@pytest.mark.slow
def test_a_search_by_code_of_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "toys.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    assert search([*words("own_package.toys"), "--out", str(tmp_path / "out")]) == 0
    assert (
        search(
            [
                "--target-flops",
                "4M",
                "--strategy",
                "own_package.toys:Informed",
                "--evaluator",
                "own_package.toys:Slow",
                "--space",
                "own_package.toys:fixed",
                "--budget",
                "2",
                "--out",
                str(tmp_path / "other"),
            ]
        )
        == 0
    )
    assert "2 networks evaluated" in capsys.readouterr().out
    for name in ("own_package.toys", "own_package"):
        sys.modules.pop(name, None)


def test_the_same_search_from_python(toys: str, tmp_path: Path) -> None:
    config = SearchConfig(
        target_flops="4M", space=f"{toys}:fixed", evaluator=f"{toys}:Slow", strategy="random"
    )
    result = run_search(config, out=tmp_path / "out")
    assert result.config.budget == 64  # the default for slow evaluators
    assert result.front[-1].accuracy == 52
    frugal = load_object(f"{toys}:frugal")
    by_function, by_name = Objective(4e6, frugal), Objective(4e6, f"{toys}:frugal")
    costs = result.history.costs
    accuracy = np.array([50.0, np.nan, 51.0, 52.0])
    expected = frugal(accuracy, {"flops": costs.flops, "params": costs.params})
    for objective in (by_function, by_name):
        np.testing.assert_array_equal(objective.reward(accuracy, costs), expected)
    with pytest.raises(ValueError, match="is not defined at the top of a module"):
        Objective(4e6, lambda accuracy, costs: accuracy)
    with pytest.raises(ValueError, match=r"returned shape \(1,\) for 4 accuracies"):
        Objective(4e6, f"{toys}:misshapen").reward(accuracy, costs)


@pytest.mark.slow
def test_a_search_by_training_with_a_space_a_recipe_and_a_strategy(
    toys: str,
    images: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    code = ["--strategy", f"{toys}:Drawn", "--space", f"{toys}:tiny", "--recipe", f"{toys}:quick"]
    out = ["--out", str(tmp_path / "out")]
    assert (
        search(
            [
                "--evaluator",
                "proxy",
                "--data",
                images,
                "--target-flops",
                "4M",
                "--budget",
                "3",
                "--fidelity",
                "epochs=1",
                "--workers",
                "2",
                "--finalists",
                "0",
                "--device",
                "cpu",
                *code,
                *out,
            ]
        )
        == 0
    ), capsys.readouterr().err
    assert "3 networks evaluated" in capsys.readouterr().out
    assert search(["--resume", "--budget", "4", *out]) == 2
    assert "search.json names code" in capsys.readouterr().err
    assert search(["--resume", "--budget", "4", *code, *out]) == 0
    assert "4 networks evaluated" in capsys.readouterr().out


@pytest.mark.slow
def test_fidelities_are_compared_in_processes_that_import_the_file(
    toys: str,
    images: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert (
        fidelity(
            [
                "--data",
                images,
                "--space",
                f"{toys}:tiny",
                "--recipe",
                f"{toys}:gentle",
                "--networks",
                "4",
                "--fidelities",
                "epochs=1",
                "--longest",
                "epochs=2",
                "--workers",
                "2",
                "--device",
                "cpu",
                "--out",
                str(tmp_path / "out"),
            ]
        )
        == 0
    )
    assert f"--space {toys}:tiny" in capsys.readouterr().out


def test_files_are_imported_again_in_other_processes(toys: str, tmp_path: Path) -> None:
    made = catalog.evaluator(f"{toys}:Wide", space(f"{toys}:fixed"))
    other = tmp_path / "other folder" / "toys.py"
    other.parent.mkdir()
    other.write_text(SOURCE)
    assert load_object(f"{other}:Wide") is not type(made)
    (tmp_path / "imported").unlink()
    code = (
        "import pickle, sys; made = pickle.load(sys.stdin.buffer); "
        "sys.exit(made.decisions != 2 or type(made).__name__ != 'Wide')"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps(made),
        check=True,
        cwd=tmp_path,
        env=environment(),
    )
    assert (tmp_path / "imported").exists()
    assert pickle.loads(pickle.dumps(made)).decisions == 2
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(type(made), (space(f"{toys}:fixed"),)).decisions == 2


def test_recipes(toys: str) -> None:
    assert preset(f"{toys}:quick") == preset(f"{toys}:gentle")
    assert isinstance(preset(f"{toys}:gentle"), Recipe)
    assert preset(f"{toys}:gentle").name == "quick"


BAD = {
    "no file": ("nowhere.py:Toy", "nowhere.py does not exist"),
    "a folder": ("folder.py:Toy", "folder.py is not a file"),
    "no module": ("no_such_module:Toy", "there is no module 'no_such_module'"),
    "no submodule": ("json.nothing:Toy", "there is no module 'json.nothing'"),
    "no name": ("toys.py:Draw", "toys.py has no 'Draw'; did you mean Drawn"),
    "an empty name": ("toys.py:", "has no name after the colon"),
    "an expression": ("toys.py:Drawn()", "has no name after the colon"),
    "a relative module": ("..toys:Drawn", "use package.module:Name or path/to/file.py:Name"),
    "another ending": ("toys.txt/x:Drawn", "use package.module:Name or path/to/file.py:Name"),
    "it raises": ("raises.py:Toy", "raises.py failed: ZeroDivisionError: division by"),
    "it exits": ("exits.py:Toy", "exits.py failed: SystemExit"),
    "its import": ("imports.py:Toy", "imports.py failed: ModuleNotFoundError: No module"),
    "no Python": ("garbage.py:Toy", "garbage.py failed: SyntaxError"),
    "not callable": ("toys.py:number", "is 3"),
    "a family": ("optuna:tpx", "did you mean optuna:tpe"),
}
WRONG: dict[str, tuple[str, str]] = {
    "--strategy": ("Wide", "no method propose"),
    "--evaluator": ("Drawn", "not a subclass of"),
    "--space": ("frugal", "frugal is called with no arguments; missing a required"),
    "--reward": ("number", "not a function"),
}


@pytest.fixture
def broken(toys: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.py").mkdir()
    Path("raises.py").write_text("1 / 0\n")
    Path("exits.py").write_text("import sys\nsys.exit(3)\n")
    Path("imports.py").write_text("import no_such_dependency\n")
    Path("garbage.py").write_text("class (:\n")


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_loaded_is_one_line(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text, message = BAD[name]
    assert search(["--target-flops", "400M", "--strategy", text, "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("nas.search: ")
    assert "strategy: " in error
    assert error.count("\n") == 1
    assert not Path("out").exists()


@pytest.mark.parametrize("option", WRONG)
def test_objects_of_another_kind_are_one_line(
    option: str, toys: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, message = WRONG[option]
    words = ["--target-flops", "400M", option, f"{toys}:{name}", "--out", str(tmp_path / "out")]
    assert search(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--width", "0.5"], "--width: space"),
        (["--exponent", "-0.1"], "exponent: reward"),
        (["--also", "params:7M:-0.05"], "also: reward"),
        (["--recipe", "proxy2"], "did you mean"),
        (["--table", "x.csv"], "reads no table"),
        (["--set", "epochs=3"], "trains nothing"),
    ],
)
def test_options_that_do_not_go_with_them(
    more: list[str], message: str, toys: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search([*words(toys), *more, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_code_that_only_a_file_names_is_not_imported(
    toys: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, marker = tmp_path / "out", tmp_path / "imported"
    code = ["--strategy", f"{toys}:Drawn"]
    given = ["--target-flops", "400M", *code, "--budget", "20", "--out", str(out)]
    assert search(given) == 0
    assert f"--budget 80 --strategy {toys}:Drawn" in capsys.readouterr().out  # the next command
    marker.unlink()
    sys.modules.pop(type(load_object(f"{toys}:Drawn")()).__module__)
    marker.unlink(missing_ok=True)
    settings = {"target_flops": 4e8, "strategy": f"{toys}:Drawn", "budget": 20}
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(settings))
    refused: list[Callable[[], Any]] = [
        lambda: search(["--resume", "--out", str(out)]),
        lambda: search(["--config", str(out / "search.json"), "--out", str(tmp_path / "new")]),
        lambda: search(["--config", str(config), "--out", str(tmp_path / "new")]),
        lambda: search(["--config", str(config), "--resume", "--out", str(out)]),
    ]
    for call in refused:
        assert call() == 2
        error = capsys.readouterr().err
        assert f"names code, {toys}:Drawn, which runs only if you give it again: --strat" in error
        assert error.count("\n") == 1
    with pytest.raises(ValueError, match="names code"):
        run_search(out=out, resume=True, changes={"budget": 30})
    assert not marker.exists()
    assert search(["--resume", *code, "--budget", "30", "--out", str(out)]) == 0
    assert marker.exists()
    assert search(["--config", str(config), *code, "--out", str(tmp_path / "new")]) == 0


def test_a_family_takes_the_recipe_whose_memory_is_estimated(
    toys: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, marker = tmp_path / "out", tmp_path / "imported"
    recipe = ["--recipe", f"{toys}:quick"]
    assert family(["--phi", "0", *recipe, "--out", str(out)]) == 0
    record = json.loads((out / "family.json").read_text())
    assert record["settings"]["recipe"] == f"{toys}:quick"
    marker.unlink()
    sys.modules.pop(load_object(f"{toys}:quick").__module__)
    marker.unlink(missing_ok=True)
    capsys.readouterr()
    again = ["--config", str(out / "family.json"), "--out", str(tmp_path / "again")]
    assert family(again) == 2
    assert f"names code, {toys}:quick, which runs only if you give it" in capsys.readouterr().err
    assert not marker.exists()
    assert family([*again, *recipe]) == 0
    assert marker.exists()


@pytest.mark.parametrize(
    ("command", "words", "complaint"),
    [
        (family, ["--recipe", "toys.py:quack"], "toys.py has no 'quack'; did you mean"),
        (family, ["--recipe", "toys.py:number"], "recipe: "),
        (family, ["--recipe", "proxi"], "--recipe: 'proxi' is unknown; did you mean proxy"),
        (baseline, ["--space", "toys.py:tin"], "toys.py has no 'tin'; did you mean tiny"),
        (baseline, ["--space", "no_such_module:X"], "there is no module 'no_such_module'"),
        (baseline, ["--space", "compakt"], "--space: 'compakt' is unknown; did you mean compact"),
    ],
)
def test_families_and_baselines_refuse_other_code_in_one_line(
    command: Callable[[list[str]], int],
    words: list[str],
    complaint: str,
    toys: str,
    images: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if command is baseline:
        words = [*words, "--data", images, "--target-flops", "4M", "--set", "batch=8"]
    assert command([*words, "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert len(error.splitlines()) == 1
    assert not Path("out/baseline.json").exists()
    assert not Path("out/family.json").exists()


@pytest.mark.slow
def test_a_baseline_of_a_space_of_the_users_own(
    toys: str,
    images: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out, skipped = tmp_path / "out", ["grid", "family", "train"]
    space_words = ["--space", f"{toys}:tiny"]
    words = [
        *("--data", images),
        *("--target-flops", "4M"),
        *("--budget", "2"),
        *("--finalists", "1"),
        *("--seeds", "1"),
        *("--fidelity", "epochs=1"),
        *("--set", "epochs=1"),
        *("--set", "batch=8"),
        *("--workers", "2"),
        *("--device", "cpu"),
        *(word for step in skipped for word in ("--skip", step)),
    ]
    only_searched = [*words, "--skip", "finalists", *space_words, "--out", str(out)]
    assert baseline(only_searched) == 0, capsys.readouterr().err
    assert baseline([*words, *space_words, "--out", str(out)]) == 0, capsys.readouterr().err
    best = json.loads((out / "best.json").read_text())
    assert len(best["architecture"]["stages"]) == 1
    capsys.readouterr()
    recorded = ["--config", str(out / "baseline.json"), "--dry-run"]
    assert baseline(recorded) == 2
    assert f"names code, {toys}:tiny, which runs only if you give it" in capsys.readouterr().err
    assert baseline([*recorded, *space_words]) == 0


@pytest.mark.slow
def test_an_own_evaluator_runs_on_workers_and_is_stopped_early(toys: str, tmp_path: Path) -> None:
    out, code = tmp_path / "out", {"evaluator": f"{toys}:Learns", "space": f"{toys}:tiny"}
    sizes = {"resolution": 16, "classes": 2}
    places = {"workers": 2, "cpus": 0.5}
    config = SearchConfig(target_flops="4M", strategy="random", budget=6, **sizes, **places, **code)
    assert len(run_search(config, out=out).history) == 6
    result = run_search(out=out, resume=True, changes={"budget": 12, **code})
    history = result.history
    assert (result.status, len(history)) == ("finished", 12)  # all networks of the space
    (failed,) = np.flatnonzero(history.error != "")
    assert "too small to learn" in history.error[failed]
    assert not history.genotypes[failed].any()
    assert (history.fidelity < 1).any()
    assert {len(curve) for curve in history.curves[history.full]} == {9}


@pytest.mark.parametrize(
    ("evaluator", "more", "message"),
    [
        ("Slow", ["--grace", "2"], "--grace: evaluator .* reports no learning curve"),
        ("Slow", ["--factor", "2"], "--factor: evaluator .* reports no learning curve"),
        ("Learns", ["--finalists", "1"], "--finalists: evaluator .* trains nothing"),
        ("Learns", ["--device", "cpu"], "--device: evaluator .* does not use it"),
        ("Learns", ["--fidelity", "epochs=2"], "--fidelity: evaluator .* does not use it"),
        ("Stepless", [], "has 3 steps, but no method `curve`"),
    ],
)
def test_what_an_own_evaluator_on_workers_cannot_do(
    evaluator: str, more: list[str], message: str, toys: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"{toys}:{evaluator}"
    given = ["--target-flops", "4M", "--space", f"{toys}:fixed", "--evaluator", text]
    assert search([*given, "--workers", "2", *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line), line


@pytest.mark.slow
def test_an_own_evaluator_without_workers_says_what_needs_them(
    toys: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert search([*words(toys), "--timeout", "9s", "--out", out]) == 2
    assert "--timeout: evaluator" in (error := capsys.readouterr().err)
    assert "add --workers N" in error
    assert search([*words(toys), "--out", out]) == 0
    capsys.readouterr()
    assert search(["--resume", *words(toys), "--workers", "2", "--out", out]) == 2
    assert "has no workers; leave --workers out" in capsys.readouterr().err


def test_what_evaluators_say_they_need_is_what_they_do() -> None:
    for name, entry in catalog.EVALUATORS.items():
        made = entry.load()
        assert callable(made)
        assert isinstance(made, type) == entry.images
        if entry.images:
            assert (made.name, made.trains) == (name, entry.trains)


def test_reading_a_reference_imports_nothing() -> None:
    code = (
        "import sys; from nas.search import SearchConfig; "
        "SearchConfig(target_flops='4M', strategy='no_such_module:X', reward='neither:y'); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=environment())


BROKEN = """
import numpy as np

class Raises:
    generation = 2
    def propose(self, history, count, rng):
        return 1 / 0

class Nothing(Raises):
    def propose(self, history, count, rng):
        return None

class Wide(Raises):
    def propose(self, history, count, rng):
        return np.zeros((count, 3), int)

class Beyond(Raises):
    def propose(self, history, count, rng):
        return np.full((count, len(history.space.choices)), 99)

class Two(Raises):
    generation = "two"

class Single:
    def propose(self, history, count, rng):
        return history.genotypes[:0]

class Unmade(Raises):
    def __init__(self):
        raise RuntimeError("not today")

def ends(accuracy, costs):
    raise SystemExit(0)

def text(accuracy, costs):
    return ["x"] * len(accuracy)

def nothing(accuracy, costs):
    return accuracy * float("nan")

def one(accuracy):
    return accuracy

def bad_space():
    raise RuntimeError("no space of mine")
"""


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--strategy", "broken.py:Raises"], "ZeroDivisionError: division by zero (broken.py:7)"),
        (["--strategy", "broken.py:Nothing"], "return option indices, an integer array"),
        (["--strategy", "broken.py:Wide"], "return option indices, an integer array"),
        (["--strategy", "broken.py:Beyond"], "return option indices, an integer array"),
        (["--strategy", "broken.py:Two"], "has the generation 'two'; use a whole number from 1"),
        (["--strategy", "broken.py:Single"], "Single needs an attribute generation: "),
        (["--strategy", "broken.py:Unmade"], "RuntimeError: not today (broken.py:30)"),
        (["--strategy", "broken.py:ends"], "strategy: ends failed: SystemExit"),
        (["--strategy", "builtins:int"], "strategy: "),
        (["--strategy", "os:system"], "strategy: "),
        (["--reward", "broken.py:ends"], "failed: SystemExit"),
        (["--reward", "broken.py:text"], "failed: ValueError: could not convert"),
        (["--reward", "broken.py:nothing"], "returned NaN or infinity"),
        (["--reward", "broken.py:one"], "failed: TypeError"),
        (["--space", "broken.py:bad_space"], "space: bad_space failed: RuntimeError: no space"),
        (["--strategy", "empty.py:X"], "it defines no names"),
    ],
)
def test_mistakes_of_own_code_are_one_line(
    words: list[str],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.py").write_text(BROKEN)
    Path("empty.py").write_text("")
    code = search(["--target-flops", "400M", "--budget", "20", "--out", "out", *words])
    lines = [line for line in capsys.readouterr().err.splitlines() if "evaluated," not in line]
    assert code in (1, 2)
    assert len(lines) == 1, lines
    assert complaint in lines[0]
