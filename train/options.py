"""Groups of options that several commands share: images, trainings, devices and workers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from train.loggers.catalog import LOGGERS
from train.parser import absolute_data
from train.recipe import CHANGEABLE, PRESETS
from vbs.config import Config, option
from vbs.paths import absolute
from vbs.processes import available_cpus
from vbs.units import LONGEST, parse_seconds

TIME = (0.0, LONGEST)  # seconds


def absolute_path(text: str, *, what: str = "path") -> str:
    """Return the path as an absolute one; "~" is the home folder."""
    if not text:
        raise ValueError(f"{what}: the path is empty")
    return str(absolute(text, what=what))


def cache_path(text: str, *, what: str = "cache") -> str:
    """Return the absolute path, or "off"."""
    return text if text == "off" else absolute_path(text, what=what)


def data_text(text: str, *, what: str = "data") -> str:
    """Return the value of --data with absolute paths."""
    return absolute_data(text)


def network_text(text: str, *, what: str = "network") -> str:
    """Return a network's name, or the absolute path of its file."""
    return str(Path(text).resolve()) if Path(text).is_file() else text


def weights_text(text: str, *, what: str = "weights") -> str:
    """Return a source of weights: timm:NAME, package:NAME, or an absolute path."""
    if not text.strip():
        raise ValueError(f"{what}: the name is empty")
    if "://" in text:
        raise ValueError(f"{what}: URLs are not supported; download the file and give its path")
    return text if text.partition(":")[0] in ("timm", "package") else absolute_path(text, what=what)


@dataclass(frozen=True, kw_only=True)
class DataOptions(Config):
    """The images."""

    title = "images"

    data: str | None = option(
        None,
        metavar="DATA",
        parse=data_text,
        later=True,
        help="images: cifar10, imagefolder:DIR, parquet:DIR and so on, as in train.run",
    )
    data_root: str | None = option(
        None,
        metavar="DIR",
        parse=absolute_path,
        later=True,
        help="folder of the named data sets",
    )


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(Config):
    """The training of each network."""

    title = "trainings"

    recipe: str = option(
        "proxy", catalog=PRESETS, metavar="NAME", help="recipe of the trainings (default proxy)"
    )
    changes: tuple[str, ...] = option(
        (),
        flag="set",
        metavar="FIELD=VALUE",
        fields=CHANGEABLE,
        help="change a field of the recipe (repeatable)",
    )
    fidelity: str | None = option(
        None,
        metavar="TEXT",
        help="how much of a training each network gets, e.g. epochs=9,share=0.2,resolution=24 "
        "(default: by the recipe and the number of images)",
    )


@dataclass(frozen=True, kw_only=True)
class RecipeOptions(Config):
    """The recipe of a full training."""

    title = "recipe"

    recipe: str = option("proxy", catalog=PRESETS, help="recipe of the training (default proxy)")
    variant: str | None = option(
        None, metavar="paper|google", help="variant of recipe efficientnetv2 (default paper)"
    )
    changes: tuple[str, ...] = option(
        (),
        flag="set",
        metavar="FIELD=VALUE",
        fields=CHANGEABLE,
        help="change a field of the recipe, e.g. --set epochs=3 --set lr=0.1 (repeatable)",
    )


@dataclass(frozen=True, kw_only=True)
class LogOptions(Config):
    """Destinations of the curves of a training."""

    title = "logging"

    log: tuple[str, ...] = option(
        ("tensorboard",),
        metavar="NAME",
        catalog=LOGGERS,
        many=True,
        later=True,
        help="destinations of curves besides curves.csv: tensorboard (default), mlflow, wandb, "
        "trackio, csv, or your own package.module:Name; several are allowed",
    )


@dataclass(frozen=True, kw_only=True)
class SizeOptions(Config):
    """The size of a network and of its images."""

    title = "size of the network"

    resolution: int | None = option(None, metavar="PX", help="input size in pixels")
    width: float | None = option(None, metavar="X", help="factor for the numbers of channels")
    depth: float | None = option(None, metavar="X", help="factor for the numbers of layers")
    small_images: bool = option(False, help="fewer strides, for 32 px images")


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(Config):
    """The device of a single training; a resumed run may use another one."""

    title = "device"

    device: str = option(
        "auto", metavar="NAME", later=True, help="auto (default), cpu, cuda or cuda:N"
    )
    loaders: int | None = option(
        None,
        metavar="N",
        limits=(0, 100_000),
        later=True,
        old=("--workers",),
        help="processes that decode streamed images (default: by the number of processors)",
    )


def loaders_of(options: DeviceOptions) -> int:
    """Return the processes that decode streamed images; default: from the number of processors."""
    return options.loaders if options.loaders is not None else max(0, available_cpus() - 2)


@dataclass(frozen=True, kw_only=True)
class PlaceOptions(Config):
    """The placement and number of concurrent trainings; a resumed run may change all of it."""

    title = "workers"

    workers: int | None = option(
        None, metavar="N", later=True, help="trainings at once (default: as many as fit)"
    )
    cpus: float = option(
        1.0, metavar="N", later=True, help="processors of each training (default 1)"
    )
    gpus: float | None = option(
        None,
        metavar="N",
        later=True,
        help="GPUs of each training, e.g. 0.5 (default 1 if there are any)",
    )
    device: str = option(
        "auto", metavar="NAME", later=True, help="auto (default), cpu, cuda or cuda:N"
    )
    address: str | None = option(
        None,
        metavar="HOST:PORT",
        later=True,
        help="a Ray cluster; auto: the cluster of this machine",
    )


@dataclass(frozen=True, kw_only=True)
class WorkerOptions(PlaceOptions):
    """Options of workers, with the limits of trainings and the results that commands share."""

    title = "workers"

    timeout: float | None = option(
        None,
        metavar="TIME",
        parse=parse_seconds,
        limits=TIME,
        later=True,
        help="a training that takes longer fails, e.g. 15min",
    )
    max_failures: float = option(
        0.5,
        metavar="SHARE",
        limits=(0.0, 1.0),
        later=True,
        help="stop if a larger share of the trainings fails (default 0.5)",
    )
    cache: str | None = option(
        None,
        metavar="DIR|off",
        parse=cache_path,
        later=True,
        help="results that all commands share (default ~/.cache/vision-baseline-search/results)",
    )
