"""Noisy Student: noise, and rounds that are killed and resumed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.commands import noisy_student as main
from tests.commands import train_run, with_options
from tests.train import toys
from train import ExportConfig, checkpoint, export_network
from train.noisy_student import rounds
from train.noisy_student.run import noisy
from train.pseudo_labels import load_teacher, read_labels, teacher_probabilities
from train.recipe import preset
from train.run.training import Interrupts
from vbs.lock import owned


def test_noise_is_turned_on_and_never_down() -> None:
    recipe = noisy(preset("proxy"))
    assert (recipe.policy, recipe.dropout, recipe.drop_path) == ("randaugment", 0.2, 0.2)
    assert recipe.name == "noisy-proxy"
    assert noisy(preset("efficientnet", network="efficientnet_b7")).dropout == 0.5


# the whole command, on two classes of 16 px pictures

SMALL = ["--set", "epochs=2", "--set", "batch=16", "--set", "warmup_epochs=0.5"]


def pictures(place: Path, counts: dict[str, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    for folder, count in counts.items():
        (place / folder).mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(0, 120, (16, 16, 3), np.uint8)
            bright = {"red": 0, "green": 1}.get(folder.rpartition("/")[2], index % 2)
            pixels[..., bright] += 100
            Image.fromarray(pixels).save(place / folder / f"{index:03}.png")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a network, labelled and unlabelled images, and a finished teacher."""
    place = tmp_path_factory.mktemp("noisy")
    pictures(place / "data", {"train/red": 24, "train/green": 24, "val/red": 8, "val/green": 8}, 1)
    pictures(place / "pool", {"a/b": 40}, 2)
    (place / "net.json").write_text(toys.NETWORK.to_json())
    data = ["--data", f"imagefolder:{place / 'data'}", "--set", "minival=0.25"]
    told = [str(place / "net.json"), *data, *SMALL, "--set", "seed=3", "--device", "cpu"]
    assert train_run([*told, "--out", str(place / "teacher")]) == 0
    return place


def command(made: Path, out: Path, *more: str) -> list[str]:
    words = [
        "--teacher",
        str(made / "teacher"),
        "--student",
        str(made / "net.json"),
        "--unlabelled",
        str(made / "pool"),
        *SMALL,
        "--device",
        "cpu",
        "--out",
        str(out),
    ]
    return with_options(words, *more)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(checkpoint.read_weights(folder / "best.safetensors").tensors)


def same(first: Path, second: Path) -> bool:
    one, other = weights(first), weights(second)
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def whole(made: Path) -> Path:
    """Return two uninterrupted rounds."""
    out = made / "whole"
    assert main(command(made, out, "--rounds", "2", "--confidence", "0")) == 0
    return out


@pytest.mark.slow
def test_two_rounds_leave_two_runs(made: Path, whole: Path) -> None:
    record = json.loads((whole / "noisy_student.json").read_text())
    assert record["status"] == "finished"
    rows = record["outcome"]["networks"]
    assert [row["name"] for row in rows] == ["teacher", "student 1", "student 2"]
    assert rows[0]["test"] is not None
    assert rows[1]["minival"] is not None
    assert rows[2]["kept"]
    assert 0 <= rows[2]["agreement"] <= 100
    for number in (1, 2):
        student = whole / f"round-{number}" / "student"
        named = {path.name for path in student.iterdir()}
        assert named >= {path.name for path in (made / "teacher").iterdir()}
    first = json.loads((whole / "round-1" / "student" / "run.json").read_text())
    teacher = json.loads((made / "teacher" / "run.json").read_text())
    assert set(first["settings"]) == set(teacher["settings"])
    assert set(first["training"]) == set(teacher["training"]) | {"noisy_student"}
    second = json.loads((whole / "round-2" / "student" / "run.json").read_text())
    taught = second["training"]["noisy_student"]
    assert (taught["round"], taught["teacher"]) == (2, str(whole / "round-1" / "student"))
    assert set(first["outcome"]) == set(teacher["outcome"])
    told = first["training"]["recipe"]
    assert (told["policy"], told["minival"], told["epochs"]) == ("randaugment", 0.25, 2)
    # the same images are held out, though the student's own seed is another
    assert first["training"]["data_settings"]["seed"] == 3
    held = teacher["training"]["data_settings"]["minival_images"]
    assert first["training"]["data_settings"]["minival_images"] == held


def test_labels_are_those_of_the_teacher_before(made: Path, whole: Path) -> None:
    from train.data import load_unlabelled

    pool = load_unlabelled(str(made / "pool"))
    for number, run in ((1, made / "teacher"), (2, whole / "round-1" / "student")):
        labels = read_labels(whole / f"round-{number}" / "pseudo_labels.safetensors")
        teacher = load_teacher(run)
        assert torch.equal(labels.probabilities, teacher_probabilities(teacher, pool, device="cpu"))
        assert labels.about["teacher_digest"] == teacher.digest
        assert labels.about["unlabelled_images"]["n"] == 40


def test_a_student_can_be_exported_and_be_a_teacher(whole: Path, tmp_path: Path) -> None:
    student, path = str(whole / "round-2" / "student"), tmp_path / "x.safetensors"
    result = export_network(ExportConfig(run=student, to="safetensors", out=str(path)))
    assert path.is_file()
    assert result.compared.equal
    out = tmp_path / "next"
    told = command(whole.parent, out, "--confidence", "0", "--set", "epochs=1")
    told[1] = str(whole / "round-2" / "student")
    assert main(told) == 0
    training = json.loads((out / "round-1/student/run.json").read_text())["training"]
    assert training["data_settings"]["seed"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("lost", [("round-1",), ("round-1/student",), ("round-2",)])
def test_a_killed_run_is_resumed_from_any_step(
    whole: Path, tmp_path: Path, lost: tuple[str, ...]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    for name in (*lost, *(["round-2"] if "round-1" in lost[0] else [])):
        shutil.rmtree(out / name)
    record = json.loads((out / "noisy_student.json").read_text())
    (out / "noisy_student.json").write_text(json.dumps({**record, "status": "running"}))
    assert main(["--resume", "--out", str(out), "--device", "cpu"]) == 0
    assert same(out / "round-2/student", whole / "round-2/student")
    again = json.loads((out / "noisy_student.json").read_text())
    assert (
        again["outcome"]["networks"][2]["agreement"]
        == (record["outcome"]["networks"][2]["agreement"])
    )


def test_a_training_that_was_interrupted_is_resumed(
    made: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    asked = []

    def third(self: object) -> bool:
        asked.append(1)
        return len(asked) == 3

    with monkeypatch.context() as patch:
        patch.setattr(Interrupts, "came", third)
        assert main(command(made, out, "--rounds", "2", "--confidence", "0")) == 130
    assert f"--resume --out {out}" in capsys.readouterr().err
    assert json.loads((out / "round-1/student/run.json").read_text())["status"] == "interrupted"
    assert main(["--resume", "--out", str(out), "--device", "cpu"]) == 0
    assert same(out / "round-2/student", whole / "round-2/student")


def test_a_training_that_fails_is_reported(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(command(made, out, "--set", "lr=1000", "--set", "optimizer=sgd")) == 1
    assert "the loss is" in capsys.readouterr().err
    assert json.loads((out / "noisy_student.json").read_text())["status"] == "failed"


def test_ctrl_c_between_trainings_leaves_what_is_done(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pressed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rounds, "teacher_probabilities", pressed)
    assert main(command(made, tmp_path / "out")) == 130
    assert "resume by: " in capsys.readouterr().err


def test_a_finished_run_that_is_resumed_prints_its_result(
    whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = (whole / "noisy_student.json").read_bytes()
    assert main(["--resume", "--out", str(whole)]) == 0
    assert "student 2" in capsys.readouterr().out
    assert (whole / "noisy_student.json").read_bytes() == record


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--resume", "--rounds", "3"], "--rounds: 3 differs from the run's 2"),
        (["--resume", "--student", "mnasnet_a1"], "--student: mnasnet_a1 differs from"),
        (["--resume", "--set", "epochs=9"], '--set: ["epochs=9"] differs from'),
    ],
)
def test_what_does_not_belong_to_a_folder_is_refused(
    whole: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert main([*more, "--out", str(whole)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--rounds", "0"], "--rounds: 0 is not allowed"),
        (["--ratio", "0"], "--ratio: 0.0 is not allowed"),
        (["--ratio", "1000"], "gives 0 labelled and 16 unlabelled"),
        (["--confidence", "2"], "--confidence: 2.0 is not allowed"),
        (["--per-class", "0"], "--per-class: 0 is not allowed"),
        (["--set", "minival=0.5"], "--set minival"),
        (["--set", "nonsense=1"], "has no field 'nonsense'"),
        (["--teacher", "/nowhere"], "/nowhere holds no training run"),
        (["--unlabelled", "/nowhere"], "/nowhere does not exist"),
        (["--resume", "--out", "/nowhere"], "holds no run of train.noisy_student"),
        (["--loaders", "-1"], "--loaders: -1"),
    ],
)
def test_mistakes_are_answered_in_one_line(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    out = tmp_path / "out"
    assert main(command(made, out, *more)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_other_images_and_other_labels_are_refused(
    made: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    record = json.loads((out / "noisy_student.json").read_text())
    (out / "noisy_student.json").write_text(json.dumps({**record, "status": "running"}))
    shutil.copytree(made / "pool", tmp_path / "pool")
    shutil.rmtree(tmp_path / "pool/a/b")
    pictures(tmp_path / "pool", {"a/c": 3}, 5)
    told = ["--resume", "--out", str(out), "--device", "cpu"]
    assert main([*told, "--unlabelled", str(tmp_path / "pool")]) == 2
    assert "the unlabelled images are not the same as at the start" in capsys.readouterr().err
    labels = out / "round-1" / "pseudo_labels.safetensors"
    shutil.copy(out / "round-2" / "pseudo_labels.safetensors", labels)
    assert main(told) == 2
    assert "made by another teacher or of other images" in capsys.readouterr().err


def test_a_smaller_student_is_warned_about_only(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from dataclasses import replace

    (tmp_path / "small.json").write_text(replace(toys.NETWORK, head=8).to_json())
    told = command(made, tmp_path / "out", "--set", "epochs=1", "--confidence", "0")
    told[3] = str(tmp_path / "small.json")
    assert main(told) == 0
    assert "warning: the student has" in capsys.readouterr().err


def test_a_folder_in_which_another_process_works_is_refused(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with owned(out, "other.command"):
        assert main(command(made, out)) == 2
    assert f"{out} is in use by other.command (process " in capsys.readouterr().err
    assert not list(out.iterdir())


def test_an_unfinished_teacher_is_refused(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(made / "teacher", tmp_path / "teacher")
    record = json.loads((made / "teacher" / "run.json").read_text())
    (tmp_path / "teacher/run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    told = command(made, tmp_path / "out")
    told[1] = str(tmp_path / "teacher")
    assert main(told) == 2
    assert "is interrupted; finish it first" in capsys.readouterr().err


@pytest.mark.parametrize("before", ["", "imagefolder:"])
def test_the_labelled_data_are_not_taken_as_unlabelled(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], before: str
) -> None:
    (tmp_path / "link").symlink_to(made / "data")
    told = command(made, tmp_path / "out", "--unlabelled", f"{before}{tmp_path / 'link'}")
    assert main(told) == 2
    error = capsys.readouterr().err
    assert "is the labelled data itself" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("folder", "said"),
    [("train", "labelled data's minival:"), ("val", "labelled data's test:"), ("../pool", "")],
)
def test_images_to_score_on_that_are_trained_on_are_warned_about(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: str, said: str
) -> None:
    (tmp_path / "link").symlink_to(made / "data" / folder)
    pool = tmp_path / "link"
    told = command(made, tmp_path / "out", "--unlabelled", str(pool), "--ratio", "1000")
    assert main(told) == 2  # after the data were read
    error = capsys.readouterr().err
    assert ("WARNING" in error) == bool(said)
    assert said in error


def test_a_students_record_says_that_it_is_one(whole: Path) -> None:
    # train.run refuses to resume a folder with this; train.noisy_student resumes it
    for number in (1, 2):
        path = whole / f"round-{number}" / "student" / "run.json"
        assert isinstance(json.loads(path.read_text())["training"]["noisy_student"], dict)


def test_a_run_of_version_0_1_is_resumed(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    record = json.loads((out / "noisy_student.json").read_text())
    student, settings = record.pop("student"), record["settings"]
    for name in ("device", "loaders", "data_root"):
        del settings[name]
    settings |= {
        "recipe": None,
        "student_recipe": student["recipe"],
        "found": record.pop("found"),
        "student_architecture": student["architecture"],
        "norm_statistics": record.pop("norm_statistics"),
    }
    (out / "noisy_student.json").write_text(json.dumps({**record, "status": "running"}))
    assert main(["--resume", "--out", str(out), "--device", "cpu"]) == 0
    again = json.loads((out / "noisy_student.json").read_text())
    assert again["status"] == "finished"
    assert again["settings"]["recipe"] == "proxy"
