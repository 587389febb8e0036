"""The wheel has everything that a search needs, works outside the checkout, and is small."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from vbs.version import VERSION

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("experiments", "nas", "scaling", "search_spaces", "train", "vbs")


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("wheel")
    # built from a copy, because a build writes into its source folder
    source = folder / "source"
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if tracked.returncode:
        pytest.skip("needs a git checkout to know which files belong to the project")
    for name in tracked.stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    # the source distribution, and the wheel from it
    run(sys.executable, "-m", "build", "--outdir", str(folder), str(source), cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_top_level_packages_and_their_data(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == set(PACKAGES)  # no tests
    # all files that the packages may read when they run, such as the scripts of report.html
    tracked = run("git", "ls-files", "-z", *PACKAGES, cwd=ROOT).split("\0")
    of_docs = {"experiments/README.md", "experiments/results/new_baseline_cifar10.html"}
    assert {*filter(None, tracked)} - of_docs <= {*names}
    assert {f"{package}/py.typed" for package in PACKAGES} <= {*names}
    in_checkout = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }
    assert in_checkout == {name for name in names if name.endswith(".py")}


def test_its_size_is_that_of_the_documentation(wheel: Path) -> None:
    megabytes = wheel.stat().st_size / 1e6
    assert megabytes < 5
    assert f"The wheel has {megabytes:.0f} MB" in (ROOT / "docs" / "quickstart.md").read_text()


def test_versions_are_the_same_everywhere(wheel: Path) -> None:
    assert f"-{VERSION}-" in wheel.name
    assert f"\nversion: {VERSION}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {VERSION}" in (ROOT / "CHANGELOG.md").read_text()
    image = f"vision-baseline-search:{VERSION}"
    for place in ("cluster/kuberay.yaml", "cluster/Dockerfile", "docs/cluster.md"):
        assert image in (ROOT / place).read_text()


@pytest.mark.slow
def test_search_from_the_wheel_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    run(
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(site),
        str(wheel),
        cwd=tmp_path,
    )
    # options like -I -S would hide the dependencies; the script puts the wheel's site first
    script = (
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        "import nas; print(nas.__file__)\n"
        "from vbs.command import command_line\n"
        "words = ['--target-flops', '400M', '--budget', '2000', '--out', 'found']\n"
        "sys.exit(command_line('nas.search', words))"
    )
    printed = run(sys.executable, "-c", script, cwd=tmp_path)
    assert printed.startswith(str(site))
    assert json.loads((tmp_path / "found" / "best.json").read_text())["flops"] <= 400e6
    assert (tmp_path / "found" / "report.html").is_file()
