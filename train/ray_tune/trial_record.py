"""Records of a trial in the store: its learning curve, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from train import record
from train.ray_tune.store import Store
from vbs.failures import recorded_infrastructure

Row = dict[str, Any]

ENDINGS = ("finished", "failed", "stopped", "lost")
COUNTS = ("epoch", "step", "seconds")  # in every row
MEASURES = ("train_loss", "images_per_second", "val_top1", "ema_top1")  # None if not finite


def folder_of(name: str) -> str:
    """Return the folder of a trial's files in the store."""
    return f"trials/{name}"


def ending(store: Store, name: str) -> dict[str, Any] | None:
    """Return the record of how a trial ended; None if it still has to be trained, e.g. if lost."""
    path = f"{folder_of(name)}/run.json"
    ended = store.read(path)
    if ended is None:
        return None
    if ended.get("status") not in ENDINGS or not isinstance(ended.get("outcome"), dict):
        raise ValueError(f"out: {store.place}/{path} is damaged; it is not the record of a trial")
    again = ended["status"] == "lost" or (
        # earlier versions recorded errors of the machine, e.g. a full disk, as the trial's failure
        ended["status"] == "failed" and recorded_infrastructure(str(ended["outcome"].get("failed")))
    )
    return None if again else ended


def learned(store: Store, name: str) -> list[Row]:
    """Return the rows of a trial's curve.json; [] if it has not started."""
    path = f"{folder_of(name)}/curve.json"
    rows = (store.read(path) or {"rows": []}).get("rows")
    if not isinstance(rows, list) or not all(_is_row(row) for row in rows):
        raise ValueError(f"out: {store.place}/{path} is damaged; it is not a learning curve")
    return rows


def _is_row(row: Any) -> bool:
    return (
        isinstance(row, dict)
        and {"train_loss", "images_per_second"} <= row.keys()
        and all(isinstance(row.get(name), int | float) for name in COUNTS)
        and all(isinstance(row.get(name), int | float | None) for name in MEASURES)
    )


def progress_row(row: Mapping[str, Any]) -> Row:
    """Return the report of an epoch to Ray Tune; `top1` is the best accuracy, if measured."""
    known = [row[name] for name in ("val_top1", "ema_top1") if row.get(name) is not None]
    names = ("epoch", "seconds", "train_loss", "images_per_second")
    return {name: row[name] for name in names} | ({"top1": max(known)} if known else {})


def end(
    store: Store,
    trial: Mapping[str, Any],
    settings: Mapping[str, Any],
    rows: Sequence[Row],
    *,
    failed: str = "",
    status: str = "",
    **outcome: Any,
) -> None:
    """Record how a trial ended: finished, failed with its reason, stopped early, or lost.

    Nothing is recorded if it has already ended, which its processes may not know yet.
    """
    if ending(store, trial["name"]) is not None:
        return
    if not outcome:
        outcome = {"steps": rows[-1]["step"], "seconds": rows[-1]["seconds"]} if rows else {}
    content = record.described(
        {**settings, **trial},
        status=status or ("failed" if failed else "finished"),
        failed=failed,
        epochs=len(rows),
        last=rows[-1] if rows else None,
        **outcome,
    )
    store.write(f"{folder_of(trial['name'])}/run.json", content)
