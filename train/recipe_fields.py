"""Allowed values of a recipe's fields, and their form on the command line."""

from __future__ import annotations

from typing import Any

from vbs.text import quoted

ALLOWED: dict[str, tuple[str, ...]] = {
    "optimizer": ("rmsprop", "sgd", "adamw", "muon"),
    "schedule": ("exponential", "cosine", "linear", "constant"),
    "stem": ("random", "whitened", "frozen"),
    "train": ("all", "classifier"),
    "crop": ("resized", "pad", "none"),
    "policy": ("none", "autoaugment", "autoaugment-cifar10", "randaugment"),
    "steps_of_stages": ("linear", "google"),
    "precision": ("auto", "float32", "bfloat16"),
}

# smallest and largest allowed value; probabilities below 1 end at 0.99
RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, 1e6),
    "batch": (1, 1e7),
    "device_batch": (0, 1e7),
    "least_steps": (0, 1e7),
    "lr": (0, 1e3),
    "lr_batch": (0, 1e7),
    "momentum": (0, 0.99999),
    "rms_decay": (0, 0.99999),
    "eps": (0, 1.0),
    "weight_decay": (0, 10),
    "muon_lr": (0, 1e3),
    "muon_weight_decay": (0, 10),
    "norm_bias_factor": (0, 1e4),
    "warmup_epochs": (0, 1e6),
    "decay_rate": (1e-9, 1),
    "decay_epochs": (1e-9, 1e6),
    "clip_norm": (0, 1e9),
    "ema_decay": (0, 0.9999999),
    "label_smoothing": (0, 0.99),
    "dropout": (0, 0.99),
    "drop_path": (0, 0.99),
    "resolution": (0, 4096),
    "eval_resolution": (0, 4096),
    "eval_crop": (0.01, 1),
    "crop_area": (0.0001, 1),
    "magnitude": (0, 30),
    "layers": (1, 16),
    "erasing": (0, 1),
    "mixup": (0, 100),
    "cutmix": (0, 100),
    "elastic": (0, 16),
    "teacher_weight": (0, 1),
    "temperature": (0.01, 100),
    "group": (1, 4096),
    "stages": (1, 1000),
    "min_resolution": (0, 4096),
    "min_magnitude": (0, 30),
    "min_mixup": (0, 100),
    "min_dropout": (0, 0.99),
    "minival": (0, 0.9),
    "seed": (0, 2**31 - 1),
    "mean": (-1e3, 1e3),
    "std": (1e-6, 1e3),
}


def read_field(text: str, kind: Any) -> Any:
    """Return the value of a field of type `kind` from its text; raise ValueError if invalid."""
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError
        return text.lower() == "true"
    if kind is int:
        return int(text)
    if kind is float:
        return float(text)
    if kind is str:
        return text
    return tuple(float(part) for part in text.split(","))


def checked_field(name: str, value: Any, kind: Any) -> Any:
    """Return the value in the type of its field; raise ValueError if it is not allowed."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    wrong = f"{name}: {quoted(value)} is not allowed; use {describe_field(name, kind)}"
    if kind in (bool, int, float, str):
        if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
            raise ValueError(wrong)
    else:
        if not isinstance(value, tuple | list) or len(value) != 3:
            raise ValueError(wrong)
        low, high = RANGES[name]
        if not all(isinstance(part, int | float) and low <= part <= high for part in value):
            raise ValueError(wrong)
        return tuple(float(part) for part in value)
    if name in ALLOWED and value not in ALLOWED[name]:
        raise ValueError(wrong)
    if name in RANGES and not RANGES[name][0] <= value <= RANGES[name][1]:
        raise ValueError(wrong)
    return value


def describe_field(name: str, kind: Any) -> str:
    """Return a description of the allowed values of a field."""
    if name in ALLOWED:
        return "one of " + ", ".join(ALLOWED[name])
    if name in RANGES:
        low, high = RANGES[name]
        what = {int: "a whole number", float: "a number"}.get(kind, "three numbers")
        return f"{what} from {low:g} to {high:g}"
    return "true or false" if kind is bool else "a text"
