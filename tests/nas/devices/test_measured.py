"""The measured accelerators: recorded quality, speed, the shipped file, and messages."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from experiments.fit_devices import held_out, main, scores
from experiments.lib.device_data import read_speeds
from nas.devices import DEVICES, load_device
from nas.devices.measured import measured_devices, read_measured, write_measured
from search_spaces.catalog import space as space_named
from tests.speed import assert_quick
from vbs.command import run_command

SPACE = space_named("efficientnet")
RESULTS = Path(__file__).resolve().parents[3] / "experiments/results/devices.json"
GOALS = {  # Kendall's tau and median error in percent of a ridge on pairs of choices and totals
    ("a100", "throughput"): (0.979, 0.8),
    ("rtx3090", "throughput"): (0.972, 1.3),
    ("tpuv2", "throughput"): (0.962, 1.4),
    ("tpuv3", "throughput"): (0.887, 1.9),
    ("zcu102", "throughput"): (0.931, 3.8),
    ("zcu102", "latency"): (0.946, 2.8),
    ("vck190", "throughput"): (0.943, 2.9),
    ("vck190", "latency"): (0.965, 1.4),
    ("train_time", "train_time"): (0.858, 3.6),
}


def genotypes(count: int, seed: int = 0) -> np.ndarray:
    return SPACE.sample(count, np.random.default_rng(seed))


def b0() -> np.ndarray:
    return SPACE.encode(SPACE.references["EfficientNet-B0"])[None]


def test_recorded_scores_beat_the_ridge() -> None:
    """Tau and median error of every fold seed; coverage within 5 points of nominal."""
    rows = {
        (row["device"], row["kind"]): row["cross_validation"]
        for row in json.loads(RESULTS.read_text())["devices"]
    }
    assert set(rows) == set(GOALS)
    for key, (tau, error) in GOALS.items():
        assert len(rows[key]) >= 3
        for found in rows[key].values():
            assert found["kendall_tau"] > tau
            assert found["median_error_percent"] < error
            assert found["coverage_68"] == pytest.approx(0.68, abs=0.05)
            assert found["coverage_95"] == pytest.approx(0.95, abs=0.05)


@pytest.mark.slow
def test_a_held_out_prediction_is_as_recorded(shared_data: Path) -> None:
    """Fits five folds from the measurements."""
    data = read_speeds(shared_data / "imagenet_measurements" / "train.parquet", SPACE)
    key = ("tpuv3", "throughput")
    found = scores(*held_out(SPACE, data, key, 0)[1:])
    rows = json.loads(RESULTS.read_text())["devices"]
    recorded = next(row for row in rows if (row["device"], row["kind"]) == key)
    assert found == pytest.approx(recorded["cross_validation"]["0"], abs=2e-3)


def test_predictions_follow_the_measurements(shared_data: Path) -> None:
    data = read_speeds(shared_data / "imagenet_measurements" / "train.parquet", SPACE)
    for (name, kind), rows, seconds in data.rows():
        value, std = load_device(name).predict(SPACE, data.genotypes[rows], kind)
        known = 1 / seconds if kind == "throughput" else seconds
        assert np.median(np.abs(value / known - 1)) < 0.02
        assert (np.abs(value - known) <= 2 * std).mean() > 0.9


def test_values_have_their_units() -> None:
    """EfficientNet-B0: thousands of images/s on an A100, milliseconds on the ZCU102, an hour."""
    throughput, std = load_device("a100").predict(SPACE, b0(), kind="throughput")
    assert 4_000 < throughput[0] < 12_000
    assert 0 < std[0] < 0.02 * throughput[0]
    latency, _ = load_device("zcu102").predict(SPACE, b0(), kind="latency")
    assert 0.003 < latency[0] < 0.03
    seconds, _ = load_device("train_time").predict(SPACE, b0())
    assert 1_500 < seconds[0] < 5_000


def test_every_name_is_a_device_and_the_default_kind_comes_first() -> None:
    assert set(measured_devices()) == set(DEVICES)
    for name in DEVICES:
        device = load_device(name)
        value, std = device.predict(SPACE, genotypes(20))
        again, _ = device.predict(SPACE, genotypes(20), device.kinds[0])
        assert value.shape == std.shape == (20,)
        assert np.array_equal(value, again)
        assert (value > 0).all()
        assert (std > 0).all()


def test_no_network_gives_empty_arrays() -> None:
    value, std = load_device("a100").predict(SPACE, genotypes(0))
    assert value.shape == std.shape == (0,)


def test_300_000_networks_a_second() -> None:
    device, many = load_device("tpuv3"), genotypes(300_000)
    assert_quick(lambda: device.predict(SPACE, many), 1.0)


def test_needs_neither_torch_nor_pandas() -> None:
    code = (
        "import sys; from nas.devices import load_device;"
        "load_device('a100'); assert not {'torch', 'pandas', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_shipped_file_is_small_and_without_pickle(tmp_path: Path) -> None:
    file = resources.files("nas.devices").joinpath("measured.npz")
    with resources.as_file(file) as path:
        assert path.stat().st_size < 200_000
        assert {info.filename.rpartition(".")[2] for info in zipfile.ZipFile(path).infolist()} == {
            "npy"
        }
        devices = read_measured(path)
        write_measured(tmp_path / "again.npz", devices)
        assert read_measured(tmp_path / "again.npz").keys() == devices.keys()


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("a10", None, "device: 'a10' is unknown; did you mean a100"),
        ("phone", None, "device: 'phone' is unknown; use one of a100"),
        ("a100", "latency", "latency was measured on zcu102, vck190 only"),
        ("zcu102", "latncy", "did you mean latency"),
        ("train_time", "throughput", "throughput was measured on a100"),
    ],
)
def test_unknown_devices_and_kinds(name: str, kind: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load_device(name).predict(SPACE, genotypes(1), kind)
    assert len(str(caught.value).splitlines()) == 1


def test_another_space_is_refused() -> None:
    device = load_device("a100")
    other = space_named("mnasnet")
    with pytest.raises(ValueError, match=r"space 'efficientnet' .*'mnasnet'"):
        device.predict(other, other.sample(1, np.random.default_rng(0)))
    with pytest.raises(ValueError, match="resolution 192"):
        device.check(space_named("efficientnet", resolution=192))


def test_genotypes_must_be_option_indices() -> None:
    device = load_device("a100")
    for wrong, message in (
        (genotypes(1)[0], "integer array"),
        (genotypes(1)[:, :5], "not \\[n, 28\\]"),
        (genotypes(1).astype(float), "not an integer type"),
        (genotypes(1) + 9, "is not in"),
        (genotypes(1) - 9, "is not in"),
    ):
        with pytest.raises(ValueError, match=message):
            device.predict(SPACE, wrong)


def test_missing_measurements_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_command(
        "fit_devices", lambda: main(["--measurements", str(tmp_path / "none.parquet")])
    )
    assert code == 2
    message = capsys.readouterr().err
    assert "does not exist" in message
    assert len(message.splitlines()) == 1
