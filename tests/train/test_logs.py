"""Logs of a running training: curves.csv, TensorBoard's event files, progress bars and lines."""

from __future__ import annotations

import csv
import io
import math
import struct
import sys
import time
from pathlib import Path
from typing import Any

import pandas
import pytest

from tests.speed import slowness
from train.logs import COLUMNS, TAGS, Progress, TensorBoard, write_curves_csv
from vbs.units import clock


def make_row(epoch: int, **others: Any) -> dict[str, Any]:
    row = {
        "epoch": epoch,
        "step": 100 * epoch,
        "seconds": 60.0 * epoch,
        "lr": 1e-7 / epoch,
        "resolution": 24,
        "train_loss": 2 / epoch,
        "val_top1": 50.0 + epoch,
        "ema_top1": None,
        "images_per_second": 12345.6,
    }
    return {**row, **others}


def test_curves_read_back_as_they_were(tmp_path: Path) -> None:
    history = [make_row(epoch) for epoch in (1, 2, 3)]
    write_curves_csv(tmp_path, history)
    table = pandas.read_csv(tmp_path / "curves.csv")
    assert tuple(table.columns) == COLUMNS
    assert table["step"].tolist() == [100, 200, 300]
    for name in ("lr", "train_loss"):
        assert table[name].tolist() == pytest.approx([row[name] for row in history], rel=1e-7)
    assert table["ema_top1"].isna().all()
    assert table["mixup"].isna().all()


def test_curves_distinguish_nan_from_not_measured_and_have_further_columns(tmp_path: Path) -> None:
    history = [
        make_row(1, train_loss=math.nan, val_loss=None),
        make_row(2, train_loss=math.inf),
        make_row(3, loss_scale=1024),
    ]
    write_curves_csv(tmp_path, history)
    with (tmp_path / "curves.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["train_loss"] for row in rows[:2]] == ["nan", "inf"]
    assert rows[0]["val_loss"] == ""
    assert [row["loss_scale"] for row in rows] == ["", "", "1024"]


def test_curves_of_no_epoch_are_a_header(tmp_path: Path) -> None:
    write_curves_csv(tmp_path, [])
    assert (tmp_path / "curves.csv").read_text().split() == [",".join(COLUMNS)]


def test_curves_stay_whole_when_writing_fails(tmp_path: Path) -> None:
    write_curves_csv(tmp_path, [make_row(1)])
    before = (tmp_path / "curves.csv").read_text()
    with pytest.raises((TypeError, ValueError)):
        write_curves_csv(tmp_path, [make_row(1), make_row(2, lr="not a number")])
    assert [path.name for path in tmp_path.iterdir()] == ["curves.csv"]
    assert (tmp_path / "curves.csv").read_text() == before


def read_events(folder: Path) -> list[Any]:
    """Return all events of a folder in the order in which TensorBoard reads them."""
    from tensorboardX.proto.event_pb2 import Event

    events = []
    for path in sorted(folder.iterdir()):
        content, place = path.read_bytes(), 0
        while place < len(content):
            (length,) = struct.unpack_from("<Q", content, place)
            events.append(Event.FromString(content[place + 12 : place + 12 + length]))
            place += 16 + length
    return events


def shown(folder: Path, tag: str) -> list[tuple[int, float]]:
    """Return (step, value) of a tag as TensorBoard shows it, with restarts purged."""
    points: list[tuple[int, float]] = []
    for event in read_events(folder):
        if event.HasField("session_log") and event.session_log.status == 1:
            points = [point for point in points if point[0] < event.step]
        points += [(event.step, v.simple_value) for v in event.summary.value if v.tag == tag]
    return points


def test_tensorboard_groups_the_numbers_of_a_row_by_step(tmp_path: Path) -> None:
    with TensorBoard(tmp_path / "new" / "tensorboard") as board:
        board.add(make_row(1, train_loss=math.nan))
        board.add(make_row(2, loss_scale=8))
        events = read_events(tmp_path / "new" / "tensorboard")  # on disk before the run ends
    assert [event.step for event in events] == [0, 100, 200]
    tags = {value.tag for value in events[1].summary.value}
    assert tags == {TAGS[name] for name in make_row(1) if name not in ("step", "ema_top1")}
    folder = tmp_path / "new" / "tensorboard"
    assert shown(folder, "accuracy/val_top1") == [(100, 51), (200, 52)]
    assert math.isnan(shown(folder, "loss/train")[0][1])
    assert shown(folder, "other/loss_scale") == [(200, 8)]


def test_a_resumed_run_shows_no_step_twice(tmp_path: Path) -> None:
    with TensorBoard(tmp_path) as board:
        for epoch in (1, 2, 3, 4):
            board.add(make_row(epoch))
    with TensorBoard(tmp_path, resumed_at=200) as board:  # within the same second
        for epoch in (3, 4, 5):
            board.add(make_row(epoch, val_top1=70 + epoch))
    expected = [(100, 51), (200, 52), (300, 73), (400, 74), (500, 75)]
    assert shown(tmp_path, "accuracy/val_top1") == expected
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("trouble", ["no tensorboardX", "no folder", "full disk", "odd row"])
def test_trouble_with_tensorboard_is_reported_once_and_training_continues(
    trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    folder, row = tmp_path / "tensorboard", make_row(1)
    if trouble == "no tensorboardX":
        monkeypatch.setitem(sys.modules, "tensorboardX.event_file_writer", None)
    elif trouble == "no folder":
        folder.write_text("a file in its place")
    elif trouble == "odd row":
        row["lr"] = "fast"
    with TensorBoard(folder) as board:
        if trouble == "full disk":

            def full(*_: Any) -> None:
                raise OSError(28, "No space left on device")

            monkeypatch.setattr("tensorboardX.event_file_writer.EventsWriter.flush", full)
        for _ in range(30):
            board.add(row)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("TensorBoard: ")
    assert "training continues" in said


def test_other_processes_of_a_distributed_run_write_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with TensorBoard(tmp_path, main=False) as board, Progress(2, 200, main=False) as progress:
        progress.step(100)
        board.add(make_row(1))
        progress.epoch(make_row(1))
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr() == ("", "")


def test_in_a_pipe_an_epoch_is_a_line(capsys: pytest.CaptureFixture) -> None:
    with Progress(15, 1500) as progress:
        progress.step(1)
        progress.step(50, 2.5)
        progress.epoch(make_row(3, ema_top1=60.25))
    out, said = capsys.readouterr()
    assert out == ""
    start = "epoch  3/15,  24 px, loss 0.6667, minival top-1 53.00% (ema 60.25%),  12,346 images/s"
    assert said.startswith(start + ",    0:00 elapsed,")
    assert said.endswith(" left\n")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ({"val_top1": None}, "loss 2.0000,  12,346 images/s"),
        ({"val_top1": None, "ema_top1": 7.5}, "loss 2.0000, ema top-1  7.50%,"),
        ({"train_loss": math.nan}, "loss nan, minival"),
        ({"train_loss": None, "resolution": None}, "epoch 1/3, minival top-1"),
        ({"images_per_second": None}, "minival top-1 51.00%,    0:00 elapsed"),
    ],
)
def test_a_line_leaves_out_what_was_not_measured(
    others: dict[str, Any], expected: str, capsys: pytest.CaptureFixture
) -> None:
    with Progress(3, 300) as progress:
        progress.epoch(make_row(1, **others))
    assert expected in capsys.readouterr().err


def test_the_time_left_follows_the_last_epochs(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with Progress(4, 400) as progress:
        for epoch, seconds in ((1, 10), (2, 10), (3, 40)):  # images have grown
            now[0] += seconds
            progress.epoch(make_row(epoch))
    lines = capsys.readouterr().err.splitlines()
    # speed of the last epoch; the mean of all would predict twenty seconds
    assert [line.split(",")[-1].split()[0] for line in lines] == ["0:30", "0:20", "0:40"]


def test_a_run_resumed_within_an_epoch_does_not_count_the_steps_done_before(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with Progress(4, 400, history=[make_row(1)]) as progress:
        for step in range(191, 201):
            now[0] += 1
            progress.step(step)
        progress.epoch(make_row(2))
    assert capsys.readouterr().err.endswith("   3:20 left\n")  # one second per step


def test_a_run_resumed_within_its_first_epoch_is_a_resumed_run(
    capsys: pytest.CaptureFixture,
) -> None:
    with Progress(4, 400) as progress:
        progress.step(50)
        progress.epoch(make_row(1))
    assert "0:00 elapsed since --resume, " in capsys.readouterr().err


def test_every_line_of_a_resumed_run_has_the_time_of_this_run(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with Progress(4, 400, history=[make_row(1)]) as progress:  # it trained for a minute before
        progress.step(101)
        now[0] += 20
        within = progress._within()
        progress.epoch(make_row(2))
    assert "0:20 elapsed since --resume" in within
    assert "0:20 elapsed since --resume" in capsys.readouterr().err


class Terminal(io.StringIO):
    """Stands for stderr on a terminal."""

    def isatty(self) -> bool:
        return True


def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Replace stderr by a terminal of 80 columns (pytest captures that of a fixture)."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    for name, value in (("TERM", "xterm"), ("COLUMNS", "80"), ("LINES", "24")):
        monkeypatch.setenv(name, value)
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return screen


def test_on_a_terminal_a_bar_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    with Progress(
        350, 109375, history=[make_row(11, ema_top1=76.5, val_top1=math.nan)], images_per_step=4096
    ) as progress:
        progress._next = 0
        progress.step(1150, 1.25)
        progress.epoch(make_row(12, step=1200))
    text = terminal.getvalue()
    for part in (
        "epoch 12/350 step 1,100",
        "step 1,150",
        "loss 1.250",
        "images/s",
        "left",
        "best 76.5%",
        "epoch 13/350 step 1,200",
    ):
        assert part in text, part


def test_what_is_printed_reaches_stdout_while_the_bar_is_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    terminal = open_terminal(monkeypatch)
    with Progress(3, 300):
        print("a result")
    assert capsys.readouterr().out == "a result\n"
    assert "a result" not in terminal.getvalue()


def test_a_terminal_that_cannot_move_gets_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = open_terminal(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    with Progress(3, 300) as progress:
        progress.epoch(make_row(1))
    assert terminal.getvalue().startswith("epoch 1/3,  24 px")


def test_a_step_costs_next_to_nothing_and_the_bar_is_drawn_five_times_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = open_terminal(monkeypatch)
    with Progress(1, 100_000) as progress:
        started = time.perf_counter()
        for step in range(100_000):
            progress.step(step)
        seconds = time.perf_counter() - started
    assert seconds < 2 * slowness()  # 20 microseconds a step; a tenth of that on an idle core
    assert terminal.getvalue().count("epoch 1/1") <= 5 * seconds + 3


def test_an_error_ends_the_bar_and_goes_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    with pytest.raises(KeyboardInterrupt), Progress(3, 300) as progress:
        raise KeyboardInterrupt
    progress.step(5)
    assert "\x1b[?25h" in terminal.getvalue()  # the cursor is back


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (59.6, "1:00"),
        (754, "12:34"),
        (3723, "1:02:03"),
        (93784, "1 d 2:03:04"),
        (-1, "0:00"),
        (math.nan, "?"),
        (math.inf, "?"),
    ],
)
def test_a_clock_shows_seconds_as_people_read_them(seconds: float, text: str) -> None:
    assert clock(seconds) == text
