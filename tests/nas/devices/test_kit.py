"""Kits of networks to measure: written, read back with times, fitted; one-line errors."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from nas.devices import OwnDevice, load_device
from nas.devices.fit import FitConfig, fit_kit
from nas.devices.kit import KitConfig, KitResult, write_kit
from nas.devices.kit import run as writing
from nas.devices.kit.reading import read_kit
from search_spaces.catalog import space as space_named
from vbs.command import command_line

kit_command = partial(command_line, "nas.devices.kit")
fit_command = partial(command_line, "nas.devices.fit")
OWN_SPACE = """
from search_spaces.catalog import space

def small():
    return space("compact", resolution=32, classes=10)
"""


def milliseconds(kit: KitResult) -> np.ndarray:
    """Times of the kit's networks on a memory-bound device."""
    costs = kit.space.costs(kit.genotypes)
    seconds = 2e-3 + costs.flops * 1.5e-11 + costs.activations * 1.2e-9
    noise = 0.01 * np.random.default_rng(0).standard_normal(len(seconds))
    return 1e3 * seconds * np.exp(noise)


def fill(folder: Path, values: list[str] | np.ndarray, unit: str = "milliseconds") -> None:
    rows = "".join(f"{number:02},{value}\n" for number, value in enumerate(values, 1))
    (folder / "times.csv").write_text(f"network,{unit}\n{rows}")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> KitResult:
    """Return a kit whose networks are empty files, because an export takes seconds."""

    def names_only(folder: Path, networks: list, batch: int) -> list[str]:
        (folder / "networks").mkdir()
        names = [f"{number:02}" for number in range(1, len(networks) + 1)]
        for name in names:
            (folder / "networks" / f"{name}.onnx").write_bytes(b"")
        return names

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "_write_networks", names_only)
        config = KitConfig(check_networks=5)
        return write_kit(config, out=tmp_path_factory.mktemp("kits") / "kit")


@pytest.fixture
def kit(written: KitResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the kit with times; the current folder is empty."""
    folder = tmp_path / "kit"
    shutil.copytree(written.folder, folder)
    fill(folder, milliseconds(written))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folder


def refused(code: int, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line on stderr of a command that fails."""
    printed = capsys.readouterr()
    assert code == 2
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    return printed.err


def test_a_kit_has_what_its_readme_says(written: KitResult) -> None:
    assert sorted(path.name for path in written.folder.iterdir()) == sorted(
        ("README.md", "kit.json", "measure.py", "networks", "times.csv")
    )
    assert written.config.count == 10
    assert len(np.unique(written.genotypes, axis=0)) == 15
    readme = (written.folder / "README.md").read_text()
    assert "15 networks of the space efficientnet" in readme
    assert "[1, 3, 224, 224]" in readme
    assert "$" not in readme
    compile((written.folder / "measure.py").read_text(), "measure.py", "exec")
    assert (written.folder / "times.csv").read_text().splitlines()[:2] == [
        "network,milliseconds",
        "01,",
    ]


def test_a_kit_is_read_back(written: KitResult, kit: Path) -> None:
    found = read_kit(kit)
    assert (found.space.name, found.space.settings) == (written.space.name, written.space.settings)
    assert np.array_equal(found.genotypes, written.genotypes[:10])
    assert np.array_equal(found.check_genotypes, written.genotypes[10:])
    expected = milliseconds(written) / 1e3
    assert np.concatenate([found.seconds, found.check_seconds]) == pytest.approx(expected)
    assert found.batch == 1


def test_times_are_read_in_every_unit(written: KitResult, kit: Path) -> None:
    """Units of the header and of single values; names without zeros; medians of several rows."""
    expected, values = read_kit(kit).seconds, milliseconds(written)
    for unit, factor in (("seconds", 1e-3), ("microseconds", 1e3)):
        fill(kit, values * factor, unit)
        assert read_kit(kit).seconds == pytest.approx(expected)
    fill(kit, [f"{value / 1e3}s" for value in values])
    assert read_kit(kit).seconds == pytest.approx(expected)
    rows = [f"{number}.onnx,{value}\n" for number, value in enumerate(values, 1)]
    (kit / "times.csv").write_text("network,milliseconds\n" + "".join(rows) + "1,9e9\n1.onnx,0.1\n")
    assert read_kit(kit).seconds == pytest.approx(expected)


def test_a_fitted_device_predicts_and_is_written_once(
    written: KitResult, kit: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit_command([str(kit), "--name", "my-phone"]) == 0
    printed = capsys.readouterr().out
    assert "my-phone: fitted to 10 networks of space efficientnet" in printed
    assert "on 5 other networks" in printed
    assert "--target-latency" in printed
    device = load_device("my-phone.json")
    seconds, std = device.predict(written.space, written.genotypes, "latency")
    assert np.abs(1e3 * seconds / milliseconds(written) - 1).mean() < 0.08
    assert (std > 0).all()
    before = Path("my-phone.json").read_bytes()
    assert "my-phone.json exists" in refused(fit_command([str(kit), "--name", "my-phone"]), capsys)
    assert Path("my-phone.json").read_bytes() == before


def test_lines_may_end_in_any_way(written: KitResult, kit: Path) -> None:
    expected, text = read_kit(kit).seconds, (kit / "times.csv").read_bytes()
    for end in (b"\r\n", b"\r"):
        (kit / "times.csv").write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", end))
        assert read_kit(kit).seconds == pytest.approx(expected)


def test_a_link_in_the_place_of_the_device_file_is_kept(
    kit: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("x.json").symlink_to("elsewhere.json")
    assert "x.json exists" in refused(fit_command([str(kit), "--name", "x"]), capsys)
    assert Path("x.json").is_symlink()


def test_a_full_disk_is_a_failure_of_the_machine(
    kit: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(self: OwnDevice, path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(OwnDevice, "save", full)
    assert fit_command([str(kit), "--name", "x"]) == 1
    assert capsys.readouterr().err == "nas.devices.fit: x.json: No space left on device\n"
    assert list(Path().iterdir()) == []


def test_fit_kit_gives_the_errors(kit: Path) -> None:
    result = fit_kit(FitConfig(kit=str(kit), name="x"))
    assert result.path == Path("x.json")
    assert result.checked is not None
    assert result.checked.networks == 5
    assert 0 < result.checked.median_error <= result.checked.largest_error < 0.3
    assert result.checked.tau > result.checked.tau_of_flops - 0.01
    assert result.device.leave_one_out is not None


Change = Callable[[list[str]], list[str]]
BAD_TIMES: dict[str, tuple[Change, str]] = {
    "missing": (lambda v: ["", "", *v[2:]], "2 networks without a time: 01, 02"),
    "none": (lambda v: [""] * len(v), "all times are missing"),
    "zero": (lambda v: [*v[:2], "0", *v[3:]], "line 4: '0' is not a time above 0"),
    "negative": (lambda v: [*v[:2], "-4", *v[3:]], "line 4: '-4' is not a time above 0"),
    "nan": (lambda v: [*v[:2], "nan", *v[3:]], "line 4: 'nan' is not a time"),
    "infinite": (lambda v: [*v[:2], "1e999", *v[3:]], "line 4: '1e999' is not a time above 0"),
    "words": (lambda v: [*v[:2], "fast", *v[3:]], "line 4: 'fast' is not a time"),
    "unknown unit": (lambda v: [*v[:2], "3h", *v[3:]], "line 4: '3h' is not a time"),
    "decimal comma": (lambda v: ["7,94", *v[1:]], "line 2: 3 cells, not 2"),
    "constant": (lambda v: ["12"] * len(v), "all networks take about 0.012 s"),
    "seconds": (lambda v: [f"{float(x) / 1e3:g}" for x in v], "are the times in another unit?"),
    "microseconds": (lambda v: [f"{float(x) * 1e3:g}" for x in v], "are the times milliseconds?"),
    "one in microseconds": (
        lambda v: [*v[:2], f"{float(v[2]) * 1e3:g}", *v[3:]],
        "network 3 is ",
    ),
    "one in seconds": (lambda v: [f"{float(v[0]) / 1e3:g}", *v[1:]], "network 1 is "),
    "reversed": (
        lambda v: [v[order] for order in reversed_ranks(v)],
        "no better than the mean time",
    ),
    "too many": (lambda v: [*v, "12"], "line 17: network '16' is not in this kit"),
}


def reversed_ranks(values: list[str]) -> list[int]:
    """Return for each index the index whose value has the reversed rank."""
    order = list(np.argsort(np.array(values, float)))
    place = {int(index): rank for rank, index in enumerate(order)}
    return [int(order[-1 - place[index]]) for index in range(len(values))]


@pytest.mark.parametrize("name", BAD_TIMES)
def test_bad_times_are_one_line(
    name: str, written: KitResult, kit: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, message = BAD_TIMES[name]
    fill(kit, change([f"{value:.5g}" for value in milliseconds(written)]))
    assert message in refused(fit_command([str(kit), "--name", "x"]), capsys)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the first line must be network,milliseconds"),
        (b"network;milliseconds\n01;2\n", "the first line must be"),
        (b"network,hours\n01,2\n", "the first line must be"),
        (b"\xff\xfe", "not UTF-8 text"),
        (
            b"network,milliseconds\n01," + b"1" * 200_000 + b"\n",
            "it is not a CSV file (field larger",
        ),
        (b"\0" * 2**21, "larger than 1 MiB"),
        (None, "does not exist; is its folder a kit?"),
    ],
)
def test_bad_files_of_times_are_one_line(
    content: bytes | None, message: str, kit: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (kit / "times.csv").unlink()
    if content is not None:
        (kit / "times.csv").write_bytes(content)
    assert message in refused(fit_command([str(kit), "--name", "x"]), capsys)


def test_networks_without_a_time_can_be_left_out(written: KitResult, kit: Path) -> None:
    values = [f"{value:.5g}" for value in milliseconds(written)]
    fill(kit, ["", *values[1:]])
    assert len(fit_kit(FitConfig(kit=str(kit), name="x"), skip_missing=True).kit.seconds) == 9
    fill(kit, ["", *values[1:4], *[""] * 11])
    with pytest.raises(
        ValueError, match="the times of 3 different networks are too few; measure at least 5"
    ):
        fit_kit(FitConfig(kit=str(kit), name="y"), skip_missing=True)


def test_any_unit_accepts_fast_devices(
    written: KitResult, kit: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(kit, milliseconds(written) / 1e3)
    assert "--any-unit accepts them" in refused(fit_command([str(kit), "--name", "x"]), capsys)
    assert fit_command([str(kit), "--name", "x", "--any-unit"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "KIT is missing"),
        (["KIT"], "--name is missing"),
        (["KIT", "--name", "a/b"], "--name: 'a/b' is not allowed"),
        (["KIT", "--name", ""], "--name: '' is not allowed"),
        (["KIT", "--name", "a100"], "a100 is a measured device"),
        (["none", "--name", "x"], "does not exist; is its folder a kit?"),
        (["KIT", "--name", "x", "--out", "x.txt"], "must end in .json"),
        (["KIT", "--name", "x", "--out", "none/x.json"], "does not exist"),
        (["KIT", "--name", "x", "--space", "mnasnet"], "the kit is of space efficientnet"),
        (["KIT", "--name", "x", "--space", "nosuch"], "--space: 'nosuch' is unknown"),
    ],
)
def test_bad_options_of_a_fit_are_one_line(
    words: list[str], message: str, kit: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(kit) if word == "KIT" else word for word in words]
    assert message in refused(fit_command(given), capsys)
    assert list(Path().iterdir()) == []


def test_damaged_records_are_one_line(kit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = json.loads((kit / "kit.json").read_text())
    network = good["networks"][0]
    for change in (
        {"format": "other"},
        {"shape": []},
        {"shape": [0, 3, 224, 224]},
        {"settings": []},
        {"settings": {**good["settings"], "space": "nosuch"}},
        {"settings": {**good["settings"], "space": "/tmp/x.py:space"}},
        {"networks": [{**network, "genotype": [99] * 28}]},
        {"networks": [{**network, "genotype": [0]}]},
        {"networks": [{**network, "genotype": ["a"] * 28}]},
        {"networks": [{}]},
        {"networks": [{**network, "genotype": {}}]},
        {"networks": [{**network, "genotype": []}, *good["networks"][1:]]},
        {"networks": [{**network, "network": "02"}, *good["networks"][1:]]},
        {"networks": [{**network, "network": "2"}, *good["networks"][1:]]},
        {"networks": [{**network, "key": "0" * 12}, *good["networks"][1:]]},
        {"networks": [{**network, "key": 3}, *good["networks"][1:]]},
        {"settings": {**good["settings"], "resolution": 192}},
        {"shape": [1, 3, 192, 192]},
        {"shape": [1]},
    ):
        (kit / "kit.json").write_text(json.dumps({**good, **change}))
        assert str(kit) in refused(
            fit_command([str(kit), "--name", "x"]), capsys
        ) or "space" in str(change)
    for text in ("hello", "[" * 100_000, '{"format": 1e999}', '{"format": 1, "format": 2}'):
        (kit / "kit.json").write_text(text)
        assert str(kit) in refused(fit_command([str(kit), "--name", "x"]), capsys)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--count", "1"], "--count: 1 is not allowed; use a number from 5 to 200"),
        (["--count", "0"], "--count: 0 is not allowed"),
        (["--count", "201"], "--count: 201 is not allowed"),
        (["--count", "2.5"], "--count: '2.5' is not a whole number"),
        (
            ["--space", "mnasnet", "--count", "5"],
            "networks are too few for space mnasnet",
        ),
        (["--space", "nosuch"], "--space: 'nosuch' is unknown"),
        (["--space", "nosuch.py:Space"], "nosuch.py does not exist"),
        (["--batch", "0"], "--batch: 0 is not allowed"),
        (["--check-networks", "-1"], "--check-networks: -1 is not allowed"),
        (["--resolution", "0"], "--resolution: 0 is not allowed"),
    ],
)
def test_bad_options_of_a_kit_are_one_line(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused(kit_command(words), capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_kit_overwrites_nothing(
    kit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (kit / "times.csv").read_bytes()
    assert "already holds" in refused(kit_command(["--out", str(kit)]), capsys)
    assert (kit / "times.csv").read_bytes() == before
    file = tmp_path / "file"
    file.write_text("mine")
    refused(kit_command(["--out", str(file)]), capsys)
    assert file.read_text() == "mine"


def test_same_seed_same_networks() -> None:
    first, again, other = (
        writing._chosen(
            KitConfig(count=6, check_networks=2, seed=seed), space_named("efficientnet")
        )
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_kit_of_a_space_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has as many networks as a fit needs; the fit imports the code that --space names."""
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN_SPACE)
    monkeypatch.setattr(
        writing, "_write_networks", lambda f, n, b: [f"{i:02}" for i in range(1, len(n) + 1)]
    )
    kit = write_kit(KitConfig(space="own.py:small"), out="kit")
    assert kit.config.count == len(kit.genotypes) >= 10
    costs = kit.space.costs(kit.genotypes)
    fill(Path("kit"), 0.1 + costs.flops * 2e-7 + costs.activations * 3e-6)
    assert "--space" in refused(fit_command(["kit", "--name", "board"]), capsys)
    assert fit_command(["kit", "--name", "board", "--space", "own.py:small"]) == 0
    assert load_device("board.json").space == kit.space.name
