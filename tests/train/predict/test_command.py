"""The command `train.predict`: its output, its files, and one-line errors."""

from __future__ import annotations

import csv
import json
import os

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from tests.commands import predict
from tests.train.files import encoded
from tests.train.test_export import a_run
from train.checkpoint import Weights, read_weights, write_weights

HOSTILE = "a\x1b[2J\nb\u202e.png"


def test_the_command_prints_a_table_and_writes_files(run, photographs, tmp_path, capsys):
    outs = [tmp_path / f"p{end}" for end in (".csv", ".jsonl", ".parquet")]
    sheet = tmp_path / "sheet.png"
    for out in outs:
        words = [str(run), str(photographs), "--top-k", "2", "--out", str(out), "--device", "cpu"]
        words += ["--contact-sheet", str(sheet)] if out == outs[0] else []
        assert predict(words) == 0
    printed = capsys.readouterr()
    assert "images/s" in printed.out
    assert "12 of 12 images" in printed.err
    with outs[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in outs[1].read_text().splitlines()]
    table = pyarrow.parquet.read_table(outs[2]).to_pylist()
    assert lines == table
    assert list(rows[0]) == ["image", "prediction", "probability", "prediction_2", "probability_2"]
    for row, line in zip(rows, lines, strict=True):
        assert row["prediction"] == line["prediction"]
        assert float(row["probability_2"]) == pytest.approx(line["probability_2"])
        assert f"{line['prediction']} ({100 * line['probability']:.1f}%)" in printed.out
    assert Image.open(sheet).size[0] > 500


def test_options_may_stand_between_the_images(run, photographs, capsys):
    words = [str(run), "--device", "cpu", str(photographs / "tiny.png"), "--batch", "1"]
    assert predict([*words, str(photographs / "grey.jpg")]) == 0
    assert "2 images in" in capsys.readouterr().out


def test_a_broken_image_is_named_and_skipped(run, photographs, tmp_path, capsys):
    (tmp_path / "page.jpg").write_text("<html>")
    content = (photographs / "colour.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    out = tmp_path / "p.jsonl"
    words = [str(run), str(photographs), str(tmp_path), f"{tmp_path}/gone.jpg", "--out", str(out)]
    assert predict([*words, "--device", "cpu"]) == 2
    assert "gone.jpg does not exist" in capsys.readouterr().err
    assert predict([*words[:3], *words[4:], "--device", "cpu"]) == 1
    err = capsys.readouterr().err
    assert f"skipped {tmp_path}/page.jpg (not an image but a web page)" in err
    assert f"skipped {tmp_path}/cut.jpg" in err
    assert "2 of 14 images could not be read and were skipped" in err
    assert len(out.read_text().splitlines()) == 12


def test_where_all_are_broken_nothing_is_written(run, tmp_path, capsys):
    for index in range(12):
        (tmp_path / f"{index:02}.png").write_bytes(b"")
    out = tmp_path / "p.csv"
    assert predict([str(run), str(tmp_path), "--out", str(out), "--device", "cpu"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "none of 12 can be read, e.g." in lines[-1]
    assert "the file is empty" in lines[-1]
    assert "skipped 12 unreadable images in all" in lines
    assert not out.exists()


def test_hostile_names_are_text(tmp_path, capsys):
    weights = read_weights(a_run(tmp_path / "run") / "best.safetensors")
    names = ("=1+1", "a\x1b]0;b\x07", "c\nd", "e", "f")
    write_weights(
        tmp_path / "run" / "best.safetensors", Weights(**{**vars(weights), "classes": names})
    )
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / HOSTILE).write_bytes(encoded(1))
    (tmp_path / "images" / os.fsdecode(b"\xff.png")).write_bytes(encoded(2))
    (tmp_path / "images" / "\x1b[31mbroken.png").write_bytes(b"")
    for end in ("csv", "jsonl", "parquet"):
        words = [str(tmp_path / "run"), str(tmp_path / "images"), "--out", f"{tmp_path}/p.{end}"]
        words += ["--top-k", "5", "--device", "cpu", "--contact-sheet", f"{tmp_path}/s.png"]
        assert predict(words) == 1
    printed = capsys.readouterr()
    for text in printed:
        assert not set(text) & {"\x1b", "\x07", "\u202e"}
    stored = pyarrow.parquet.read_table(tmp_path / "p.parquet")["image"].to_pylist()
    assert any(name.endswith(HOSTILE) for name in stored)
    assert any(name.endswith("\\udcff.png") for name in stored)
    text = (tmp_path / "p.csv").read_text()
    assert "\x1b" not in text
    assert ",=1" not in text


@pytest.mark.parametrize("given", ["{folder}", "parquet:{folder}", "{rows}?image=image", "{link}"])
def test_no_image_is_replaced(run, tmp_path, capsys, given):
    folder = tmp_path / "images"
    folder.mkdir()
    picture, rows = folder / "a.png", folder / "rows.parquet"
    picture.write_bytes(encoded(1))
    pyarrow.parquet.write_table(pyarrow.table({"image": [encoded(1)]}), rows)
    (tmp_path / "link.png").symlink_to(picture)
    before = picture.read_bytes(), rows.read_bytes()
    source = given.format(folder=folder, rows=rows, link=tmp_path / "link.png")
    read = rows if "parquet" in source else picture
    option = "--out" if read == rows else "--contact-sheet"
    words = [str(run), source, "--device", "cpu", option]
    assert predict([*words, str(read)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{option}: {read} is an input file; give another file" in line
    assert (picture.read_bytes(), rows.read_bytes()) == before
    other = folder / f"new{read.suffix}"
    for _ in range(2):  # the second call replaces it
        assert predict([*words[:2], "--device", "cpu", option, str(tmp_path / other.name)]) == 0


@pytest.mark.parametrize("option", ["--out", "--contact-sheet"])
def test_a_place_that_cannot_be_written_is_reported_before_the_work(
    run, photographs, tmp_path, capsys, option
):
    name = "x" * 240 + (".csv" if option == "--out" else ".png")
    assert predict([str(run), str(photographs), option, f"{tmp_path}/{name}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(": File name too long")
    assert not list(tmp_path.iterdir())


def test_a_sheet_that_is_not_drawn_is_not_said_to_be_written(
    run, photographs, tmp_path, capsys, monkeypatch
):
    def fails(*given: object) -> None:
        raise RuntimeError("no fonts")

    monkeypatch.setattr("train.pictures.picture_sheet", fails)
    words = ["--out", f"{tmp_path}/p.csv", "--contact-sheet", f"{tmp_path}/s.png"]
    assert predict([str(run), str(photographs), *words, "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    assert "no fonts" in printed.err
    assert "p.csv" in printed.out
    assert "s.png" not in printed.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "RUN_OR_EXPORT is missing"),
        (["{run}"], "IMAGES are missing"),
        (["{run}", "{empty}"], "holds no images (.jpg"),
        (["{run}", "{heic}"], "1 .heic files are not read"),
        (["{run}", "{tmp}/none.zip"], "does not exist"),
        (["{run}", "{tmp}/none.parquet"], "does not exist"),
        (["{run}", "{photos}", "--out", "p.txt"], "must end in .csv, .jsonl, .parquet"),
        (["{run}", "{photos}", "--out", "{tmp}/none/p.csv"], "does not exist"),
        (["{run}", "{photos}", "--contact-sheet", "p.jpg"], "must end in .png"),
        (["{run}", "{rows}", "--out", "{rows}"], "is an input file; give another file"),
        (["{run}", "{photos}", "--top-k", "0"], "--top-k: 0 is not allowed"),
        (["{run}", "{photos}", "--device", "tpu"], "device"),
        (["{tmp}/none", "{photos}"], "does not exist; give a run, its weights"),
        (["{tmp}/none.onnx", "{photos}"], "does not exist"),
        (["{empty}", "{photos}"], "has no best.safetensors"),
    ],
)
def test_mistakes_are_one_line(run, photographs, tmp_path, capsys, words, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "heic").mkdir()
    (tmp_path / "heic" / "a.heic").write_bytes(b"")
    rows = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"image": [encoded(1)]}), rows)
    places = {"run": run, "photos": photographs, "tmp": tmp_path, "rows": rows}
    places |= {"empty": tmp_path / "empty", "heic": tmp_path / "heic"}
    assert predict([word.format(**places) for word in words]) == 2
    printed = capsys.readouterr()
    assert not printed.out
    (line,) = printed.err.splitlines()
    assert line.startswith("train.predict: ")
    assert message in line
    assert rows.stat().st_size
