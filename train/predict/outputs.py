"""Output files of predictions: a table as CSV, JSON lines or parquet, and a contact sheet."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from train import pictures as draw
from train.data.decode import decode
from train.data.in_memory import to_picture
from train.predict.result import PredictResult
from train.predictions import storable_name
from train.record import finite
from vbs.figure import draw_picture
from vbs.folder import write_whole
from vbs.text import csv_cell, printable

SHOWN = 40  # most images on a contact sheet


def write_table(path: Path, result: PredictResult) -> None:
    """Write all predictions, one row per image, atomically, in the format of the file's suffix.

    The columns are those of `PredictResult.records`. Bytes of names that are not UTF-8 are written
    as escapes; in CSV, also characters that cannot be printed or that a spreadsheet would take for
    a formula.
    """
    write = {".csv": _write_csv, ".jsonl": _write_jsonl, ".parquet": _write_parquet}
    write_whole(path, lambda unfinished: write[path.suffix.lower()](unfinished, result))


def _write_csv(path: Path, result: PredictResult) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for number, record in enumerate(result.records()):
            if not number:
                writer.writerow(record)
            writer.writerow(map(csv_cell, record.values()))


def _write_jsonl(path: Path, result: PredictResult) -> None:
    with path.open("w", encoding="utf-8") as file:
        for record in result.records():
            file.write(json.dumps(finite(_storable(record)), allow_nan=False) + "\n")


def _write_parquet(path: Path, result: PredictResult) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist([_storable(record) for record in result.records()])
    pyarrow.parquet.write_table(table, path)


def _storable(record: dict[str, Any]) -> dict[str, Any]:
    return {
        key: storable_name(value) if isinstance(value, str) else value
        for key, value in record.items()
    }


def draw_sheet(path: Path, result: PredictResult, channels: int) -> bool:
    """Draw the first images with their predictions; return whether it worked, else warn."""
    return draw_picture(path, lambda unfinished: _sheet(unfinished, result, channels))


def _sheet(path: Path, result: PredictResult, channels: int) -> None:
    sheet, titles = [], []
    for row, label, probability in zip(
        result.rows[:SHOWN].tolist(), result.labels[:, 0], result.probabilities[:, 0], strict=False
    ):
        # each full-size image is reduced as soon as it is read, to save memory
        sheet.append(draw.small(to_picture(decode(result.store.read(row), channels), None)))
        file = Path(result.store.name(row)).name
        titles.append(
            f"{printable(result.classes[int(label)])} {100 * float(probability):.0f}%, {file}"
        )
    draw.picture_sheet(path, sheet, titles)
