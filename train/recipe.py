"""Recipes: every number of a training run as frozen data, the published ones by name.

Sources: `efficientnet` Tan & Le 2019, section 5.2, and tensorflow/tpu's models/official/
efficientnet; `efficientnetv2` Tan & Le 2021, sections 4.2 and 5.1, and google/automl's
efficientnetv2/hparams.py. `proxy`, `finetune` and `linear-probe` are ours (experiments/).
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from search_spaces.catalog import one_of
from train.published import DROPOUT, V2_ENDS, published
from train.recipe_fields import checked_field, describe_field, read_field
from vbs.plugins import call_with, is_reference, load_object
from vbs.text import counted, quoted, shortened

# How batch-norm statistics are found (train/norm_momentum.py, train/recalibrate.py). It is stored
# with results and unfinished trainings, as short trainings by another rule read other accuracies.
NORM_STATISTICS = "momentum by batches, measured again before step 100"

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All numbers of a training run; equal recipes, data and networks give equal weights on a CPU.

    epochs            passes over the training images.
    batch             images of one optimizer step, over all devices.
    least_steps       optimizer steps of a useful training; commands raise epochs that give fewer,
                      unless the user named the epochs (train/length.py). 0: no such number.
    device_batch      most images a device works on at once; a step of more is accumulated. 0: all.
    optimizer         "rmsprop" (TensorFlow's, epsilon inside the root), "sgd" (Nesterov), "adamw".
    lr                learning rate at `lr_batch` images a step; it scales linearly with `batch`.
                      lr_batch 0: not scaled.
    momentum          of rmsprop and sgd, the first beta of adamw.
    rms_decay         of the squared gradients: rmsprop's decay, adamw's second beta.
    eps               of rmsprop and adamw.
    weight_decay      of kernels only, never of biases and norms. Decoupled for adamw.
    schedule          after `warmup_epochs` of linear warm-up from 0: "exponential" (times
                      `decay_rate` every `decay_epochs`, in steps), "cosine" or "linear" (to 0),
                      "constant".
    clip_norm         largest norm of all gradients together; 0: not clipped.
    ema_decay         of the moving average of the weights, ramped up as (1+n)/(10+n); 0: none.
    train             "all", or only the "classifier" (batch norms then use their statistics).
    resolution        input side of training in pixels, eval_resolution of evaluation; 0: the
                      architecture's, and training's.
    eval_crop         side of the centre crop over the side it is cut from.
    crop              "resized" (random area from `crop_area` to 1, as on ImageNet), "pad" (random
                      shift by up to an eighth of the side, as on CIFAR), "none".
    policy            "autoaugment" (ImageNet's, or "autoaugment-cifar10"), "randaugment"
                      (`layers` operations of `magnitude`, in the papers' unit: 10 is strong),
                      "none"; `group` images share a draw.
    erasing           probability of random erasing.
    mixup, cutmix     alpha of their beta distributions; 0: off.
    teacher           a trained network whose outputs are targets beside the labels, as
                      `train.parents.load_parent` reads it (train/distill.py); "": none.
    teacher_weight    of those targets in the loss, from 0 to 1.
    temperature       by which logits are divided before they are compared.
    elastic           random sub-networks that learn from the network's outputs in each step, beside
                      the smallest one (train/inherit/elastic.py); 0: none learn.
    stages            progressive learning: resolution, magnitude, mixup and dropout rise from
                      their min_ values in so many equal parts of the run; 1: they are constant.
    steps_of_stages   "linear" starts at the min_ values (the paper), "google" one step above them.
    mean, std         of the input's channels, in units of [0, 1] images.
    precision         "bfloat16" autocast, "float32", or "auto": bfloat16 on GPUs that have it.
    compile           whether torch.compile is used.
    minival           share of the training images held out to choose the best weights; 0: none,
                      the last weights are the result.
    seed              of weights, order, augmentation, dropout and the minival.

    Raises ValueError naming the field, its value and what is allowed.
    """

    name: str
    epochs: int
    batch: int
    least_steps: int = 0
    device_batch: int = 0
    optimizer: str = "rmsprop"
    lr: float = 0.016
    lr_batch: int = 256
    momentum: float = 0.9
    rms_decay: float = 0.9
    eps: float = 1e-3
    weight_decay: float = 1e-5
    schedule: str = "exponential"
    warmup_epochs: float = 5.0
    decay_rate: float = 0.97
    decay_epochs: float = 2.4
    clip_norm: float = 0.0
    ema_decay: float = 0.0
    train: str = "all"
    label_smoothing: float = 0.1
    dropout: float = 0.2
    drop_path: float = 0.2
    resolution: int = 0
    eval_resolution: int = 0
    eval_crop: float = 0.875
    crop: str = "resized"
    crop_area: float = 0.08
    flip: bool = True
    policy: str = "none"
    magnitude: float = 9.0
    layers: int = 2
    group: int = 1
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    teacher: str = ""
    teacher_weight: float = 0.5
    temperature: float = 1.0
    elastic: int = 0
    stages: int = 1
    steps_of_stages: str = "linear"
    min_resolution: int = 0
    min_magnitude: float = 0.0
    min_mixup: float = 0.0
    min_dropout: float = 0.0
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    precision: str = "auto"
    compile: bool = False
    minival: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, kind in FIELDS.items():
            object.__setattr__(self, name, checked_field(name, getattr(self, name), kind))
        if self.device_batch and self.batch % self.device_batch:
            raise ValueError(
                f"device_batch: {self.device_batch} does not divide the batch of {self.batch}"
            )
        epochs = counted(self.epochs, "epoch")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs: {self.warmup_epochs:g} leaves nothing of {epochs}; use less"
            )
        if self.stages > 1 and not self.min_resolution:
            raise ValueError("min_resolution: 0 is not allowed with stages; use pixels, e.g. 128")
        if self.stages > self.epochs:
            raise ValueError(f"stages: {self.stages} do not fit into {epochs}; use fewer")
        if self.stages > 1 and self.resolution and self.min_resolution > self.resolution:
            raise ValueError(
                f"min_resolution: {self.min_resolution} px is above the {self.resolution} px that "
                "progressive learning ends at"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `from_dict` gives an equal recipe.

        Fields about a teacher and sub-networks are left out without these: recipes are part of what
        finds earlier results again.
        """
        unused = {*(() if self.teacher else OF_TEACHER), *(() if self.elastic else ("elastic",))}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
            if name not in unused
        }

    def warmup_epochs_of(self, epochs: int) -> float:
        """The warm-up of another number of epochs, of the same share of the training."""
        return self.warmup_epochs / self.epochs * epochs

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Recipe:
        """The recipe of `to_dict`; ValueError names a field that is unknown or ill-typed."""
        for name in fields:
            if name not in FIELDS:
                raise ValueError(unknown_field(name))
        missing = [name for name in ("name", "epochs", "batch") if name not in fields]
        if missing:
            raise ValueError(f"recipe: {missing[0]} is missing")
        return cls(**fields)


OF_TEACHER = ("teacher", "teacher_weight", "temperature")
FIELDS: dict[str, Any] = typing.get_type_hints(Recipe)
LISTED = "fields: " + ", ".join(name for name in FIELDS if name != "name")


def change(recipe: Recipe, changes: Iterable[str]) -> Recipe:
    """The recipe with `field=value` texts applied, as `--set` takes them.

    A tuple is written with commas: mean=0.5,0.5,0.5. ValueError lists the fields where one is
    unknown, and says what its type is where a value does not read as one. A
    warm-up that is not changed and no longer fits into the epochs keeps its share of the training.
    """
    values: dict[str, Any] = {}
    for text in changes:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set {text}: write it as field=value, e.g. --set epochs=3")
        if name == "name" or name not in FIELDS:
            raise ValueError(f"--set {text}: {unknown_field(name)}")
        try:
            values[name] = read_field(value.strip(), FIELDS[name])
        except ValueError:
            raise ValueError(
                f"--set {text}: {name} is {describe_field(name, FIELDS[name])}, not "
                f"{quoted(value)}; {LISTED}"
            ) from None
    epochs = values.get("epochs", recipe.epochs)
    if 1 <= epochs <= recipe.warmup_epochs:
        values.setdefault("warmup_epochs", recipe.warmup_epochs_of(epochs))
    try:
        return dataclasses.replace(recipe, **values)
    except ValueError as error:
        raise ValueError(f"--set {error}") from None


def check_version(settings: Mapping[str, Any], place: str) -> None:
    """ValueError where trainings of an earlier version would be ranked with new ones.

    settings  of the run in `place`, as this version writes them.
    """
    if settings.get("norm_statistics") != NORM_STATISTICS:
        raise ValueError(
            f"resume: the trainings in {place} are of a version that evaluated short trainings "
            "differently (batch-norm statistics); start again in another --out"
        )


def unknown_field(name: str) -> str:
    """The complaint about a field that no recipe has."""
    return f"a recipe has no field {quoted(name)}; {LISTED}"


def preset(name: str, *, network: str = "", variant: str = "paper") -> Recipe:
    """The recipe of that name for a zoo network of that name (which decides what is published
    by model: dropout, and the ends of progressive learning); ValueError for an unknown name.

    "package.module:Name" and "path/to/file.py:Name" name a recipe of your own: a `Recipe`, or a
    function without arguments that returns one.
    """
    if not is_reference(name, PRESETS):
        return PRESETS[one_of("recipe", name, PRESETS)](network=network, variant=variant)
    found = load_object(name, what="recipe")
    recipe = call_with(found, what="recipe") if callable(found) else found
    if not isinstance(recipe, Recipe):
        raise ValueError(
            f"recipe: {shortened(name)} is {quoted(recipe, 60)}, not a Recipe or a function that "
            "returns one"
        )
    return recipe


def efficientnet(*, network: str = "", variant: str = "paper") -> Recipe:
    """EfficientNet on ImageNet: 350 epochs of batch 4096; dropout as published for the model."""
    return Recipe(
        name="efficientnet",
        epochs=350,
        batch=4096,
        ema_decay=0.9999,
        policy="autoaugment",
        dropout=DROPOUT.get(published(network), 0.2),
    )


def efficientnetv2(*, network: str = "", variant: str = "paper") -> Recipe:
    """EfficientNetV2 on ImageNet, progressive in 4 stages: "paper" (table 6) or "google" (code).

    Published are S, M and L. XL is regularised as L; B0 to B3 and any other network as S, the
    latter up to its own resolution and evaluated there.
    """
    one_of("variant", variant, ("paper", "google"))
    own = V2_ENDS["efficientnetv2_s"]._replace(resolution=0, eval_resolution=0)
    ends = V2_ENDS.get(published(network), own)
    google = variant == "google"
    return Recipe(
        name=f"efficientnetv2-{variant}",
        epochs=350,
        batch=4096,
        ema_decay=0.9999,
        policy="randaugment",
        stages=4,
        steps_of_stages="google" if google else "linear",
        resolution=ends.resolution,
        eval_resolution=ends.eval_resolution,
        min_resolution=128,
        magnitude=ends.google_magnitude if google else ends.magnitude,
        min_magnitude=5.0,
        mixup=ends.mixup,
        min_mixup=0.0,
        dropout=ends.google_dropout if google else ends.dropout,
        min_dropout=ends.google_dropout if google else 0.1,
        eval_crop=1.0,
    )


def proxy(*, network: str = "", variant: str = "paper") -> Recipe:
    """Minutes on a laptop, for searches and small images: see experiments/proxy_recipe.py."""
    return Recipe(
        name="proxy",
        epochs=10,
        batch=128,
        least_steps=300,
        optimizer="sgd",
        lr=0.3,
        lr_batch=128,
        weight_decay=5e-4,
        schedule="linear",
        warmup_epochs=0.5,
        label_smoothing=0.0,
        dropout=0.0,
        drop_path=0.0,
        crop="pad",
        eval_crop=1.0,
    )


def scratch(*, network: str = "", variant: str = "paper") -> Recipe:
    """Random weights and hundreds to some thousands of images: `proxy` in small batches, for many
    more steps.

    Brigato et al. 2022 (arXiv 2212.12478): on small data sets plain cross-entropy with small
    batches, well-chosen weight decay and enough steps is hard to beat. The fields were chosen in
    experiments/scratch_recipe.py.
    """
    return Recipe(
        name="scratch",
        epochs=40,
        batch=32,
        least_steps=2000,
        optimizer="sgd",
        lr=0.075,
        lr_batch=32,
        weight_decay=5e-4,
        schedule="linear",
        warmup_epochs=2.0,
        ema_decay=0.99,
        label_smoothing=0.0,
        dropout=0.0,
        drop_path=0.0,
        crop="pad",
        eval_crop=1.0,
    )


def finetune(*, network: str = "", variant: str = "paper") -> Recipe:
    """From pretrained weights to a small data set: short, gentle, cosine."""
    return Recipe(
        name="finetune",
        epochs=15,
        batch=64,
        least_steps=100,
        optimizer="adamw",
        lr=5e-4,
        lr_batch=64,
        rms_decay=0.999,
        eps=1e-8,
        weight_decay=0.01,
        schedule="cosine",
        warmup_epochs=1.0,
        crop_area=0.5,
        eval_crop=1.0,
        drop_path=0.0,
        dropout=DROPOUT.get(published(network), 0.2),
    )


def linear_probe(*, network: str = "", variant: str = "paper") -> Recipe:
    """Only a new classifier on frozen features: what the weights know already."""
    return Recipe(
        name="linear-probe",
        epochs=10,
        batch=64,
        least_steps=100,
        optimizer="adamw",
        lr=1e-2,
        lr_batch=64,
        rms_decay=0.999,
        eps=1e-8,
        weight_decay=0.0,
        schedule="cosine",
        warmup_epochs=0.0,
        train="classifier",
        dropout=0.0,
        drop_path=0.0,
        label_smoothing=0.0,
        crop_area=0.5,
        eval_crop=1.0,
    )


PRESETS: dict[str, Callable[..., Recipe]] = {
    "efficientnet": efficientnet,
    "efficientnetv2": efficientnetv2,
    "proxy": proxy,
    "scratch": scratch,
    "finetune": finetune,
    "linear-probe": linear_probe,
}
