"""Recipes: hyperparameters of a training, with the published ones by name.

Sources: `efficientnet` Tan & Le 2019, section 5.2, and tensorflow/tpu's models/official/
efficientnet; `efficientnetv2` Tan & Le 2021, sections 4.2 and 5.1, and google/automl's
efficientnetv2/hparams.py. The other recipes come from this project (experiments/).
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from train.published import DROPOUT, V2_ENDS, published
from train.recipe_fields import checked_field, describe_field, read_field
from vbs.plugins import call_with, is_reference, load_object
from vbs.text import counted, did_you_mean, one_of, quoted, shortened

# How batch-norm statistics are computed (train/norm_momentum.py, train/recalibrate.py). Results and
# checkpoints store it because short trainings give other accuracies under another rule.
NORM_STATISTICS = "momentum by batches, measured again before step 100"

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The hyperparameters of a training; on a CPU, equal recipes and data give equal weights.

    epochs            passes over the training images.
    batch             images of one optimizer step, over all devices.
    least_steps       fewest optimizer steps of a useful training; commands raise the epochs to
                      reach them unless the user sets the epochs (train/length.py). 0: no minimum.
    device_batch      most images on a device at once; larger steps accumulate gradients. 0: all.
    optimizer         "rmsprop" (TensorFlow's, epsilon inside the root), "sgd" (Nesterov), "adamw",
                      "muon" (for weights of dense and pointwise convolutions and of linear layers;
                      "sgd" for depthwise weights, biases, batch norms and the classifier).
    lr                learning rate for a batch of `lr_batch` images; it scales linearly with
                      `batch`. lr_batch 0: not scaled.
    momentum          of rmsprop, sgd and muon, the first beta of adamw.
    rms_decay         of the squared gradients: rmsprop's decay, adamw's second beta.
    eps               of rmsprop and adamw.
    weight_decay      of weights, not of biases and batch norms. Decoupled for adamw.
    muon_lr           learning rate of the weights that muon updates, for a batch of `lr_batch`
                      images; it follows the same schedule as `lr`, which is that of the rest.
    muon_weight_decay of these weights, decoupled.
    norm_bias_factor  the learning rate of batch-norm biases is this many times that of the rest.
    schedule          after `warmup_epochs` of linear warm-up from 0: "exponential" (times
                      `decay_rate` every `decay_epochs`, in steps), "cosine" or "linear" (to 0),
                      "constant".
    clip_norm         largest norm of all gradients together; 0: not clipped.
    ema_decay         of the moving average of the weights, ramped up as (1+n)/(10+n); 0: none.
    label_smoothing   share of the target that is spread over all classes.
    dropout           probability before the classifier.
    drop_path         probability that the last residual block is skipped; it rises linearly with
                      the depth of a block (stochastic depth).
    stem              weights of the first convolution of a network that starts from random ones:
                      "random", "whitened" (at the start, so that its outputs are uncorrelated;
                      train/whitening.py), or "frozen" (whitened, and not trained).
    train             "all", or only the "classifier" (batch norms then use their stored
                      statistics).
    resolution        input size of training in pixels; 0: the architecture's.
    eval_resolution   input size of evaluation in pixels; 0: that of training.
    eval_crop         side of the centre crop, as a share of the resized image's shorter side.
    crop              "resized" (random area from `crop_area` to 1, as on ImageNet), "pad" (random
                      shift by up to an eighth of the side, as on CIFAR), "none".
    flip              whether half of the training images are mirrored.
    alternating_flip  whether an image is mirrored in every second epoch, beginning with a random
                      one of the first two, instead of independently in each epoch.
    policy            "autoaugment" (ImageNet's), "autoaugment-cifar10", "randaugment" (`layers`
                      operations of `magnitude`, in the papers' unit: 10 is strong) or "none";
                      `group` images share a draw.
    erasing           probability of random erasing.
    mixup, cutmix     alpha of their beta distributions; 0: off.
    teacher           a trained network whose outputs are targets in addition to the labels, a
                      source of `train.parents.load_parent` (train/distill.py); "": none.
    teacher_weight    weight of these targets in the loss, from 0 to 1.
    temperature       divisor of the logits before they are compared.
    elastic           number of random sub-networks that learn from the network's outputs in each
                      step, in addition to the smallest (train/inherit/elastic.py); 0: none.
    min_resolution, min_magnitude, min_mixup, min_dropout
                      values of the first of several `stages`.
    stages            progressive learning: resolution, magnitude, mixup and dropout rise from
                      their min_ values in this number of equal stages; 1: they are constant.
    steps_of_stages   "linear" starts at the min_ values (the paper), "google" one step above them.
    mean, std         of the input channels, for images in [0, 1].
    precision         "bfloat16" autocast, "float32", or "auto": bfloat16 on GPUs that support it.
    compile           whether torch.compile is used.
    minival           share of the training images held out to choose the weights; 0: none,
                      the last weights are the result.
    seed              of weights, order, augmentation, dropout and the minival.

    Raises ValueError with the name of the field, its value and the allowed values.
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
    muon_lr: float = 0.02
    muon_weight_decay: float = 0.1
    norm_bias_factor: float = 1.0
    schedule: str = "exponential"
    warmup_epochs: float = 5.0
    decay_rate: float = 0.97
    decay_epochs: float = 2.4
    clip_norm: float = 0.0
    ema_decay: float = 0.0
    stem: str = "random"
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
    alternating_flip: bool = False
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
        if self.optimizer == "muon" and not self.lr:
            raise ValueError("lr: 0 is not allowed with muon; use a number above 0")
        if self.alternating_flip and not self.flip:
            raise ValueError("alternating_flip: true is not allowed with flip=false; use flip=true")
        epochs = counted(self.epochs, "epoch")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs: {self.warmup_epochs:g} is not below {epochs}; use less"
            )
        if self.stages > 1 and not self.min_resolution:
            raise ValueError("min_resolution: 0 is not allowed with stages; use pixels, e.g. 128")
        if self.stages > self.epochs:
            raise ValueError(f"stages: {self.stages} do not fit into {epochs}; use fewer")
        if self.stages > 1 and self.resolution and self.min_resolution > self.resolution:
            raise ValueError(
                f"min_resolution: {self.min_resolution} px is above the resolution of the last "
                f"stage; use at most {self.resolution}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, from which `from_dict` makes an equal recipe.

        Fields that later versions added are left out if they are unused, as in earlier results.
        """
        unused = {name for name in LATER if getattr(self, name) == getattr(Recipe, name)}
        unused |= {*(() if self.teacher else OF_TEACHER)}
        unused |= {*(() if self.optimizer == "muon" else OF_MUON)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
            if name not in unused
        }

    def warmup_epochs_of(self, epochs: int) -> float:
        """Return the warm-up for another number of epochs: the same share of the training."""
        return self.warmup_epochs / self.epochs * epochs

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Recipe:
        """Return the recipe of `to_dict`; raise ValueError for unknown or ill-typed fields."""
        for name in fields:
            if name not in FIELDS:
                raise ValueError(unknown_field(name))
        missing = [name for name in ("name", "epochs", "batch") if name not in fields]
        if missing:
            raise ValueError(f"recipe: {missing[0]} is missing")
        return cls(**fields)


OF_TEACHER = ("teacher", "teacher_weight", "temperature")
OF_MUON = ("muon_lr", "muon_weight_decay")
LATER = ("elastic", "norm_bias_factor", "stem", "alternating_flip")
FIELDS: dict[str, Any] = typing.get_type_hints(Recipe)
CHANGEABLE = tuple(name for name in FIELDS if name != "name")  # by `--set`
LISTED = f"fields: {', '.join(CHANGEABLE)}"


def change(recipe: Recipe, changes: Iterable[str]) -> Recipe:
    """Return the recipe with `field=value` texts of `--set` applied; tuples as mean=0.5,0.5,0.5.

    A warm-up that is not set and no longer fits into the epochs keeps its share of the training.
    Raises ValueError, with similar fields or a list of all, for an unknown field, and for a value
    of another type.
    """
    values: dict[str, Any] = {}
    for text in changes:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set {text}: write it as field=value, e.g. --set epochs=3")
        if name not in CHANGEABLE:
            raise ValueError(f"--set {text}: {unknown_field(name)}")
        try:
            values[name] = read_field(value.strip(), FIELDS[name])
        except ValueError:
            raise ValueError(
                f"--set {text}: {name} is {describe_field(name, FIELDS[name])}, not {quoted(value)}"
            ) from None
    epochs = values.get("epochs", recipe.epochs)
    if 1 <= epochs <= recipe.warmup_epochs:
        values.setdefault("warmup_epochs", recipe.warmup_epochs_of(epochs))
    try:
        return dataclasses.replace(recipe, **values)
    except ValueError as error:
        raise ValueError(f"--set {error}") from None


def check_version(settings: Mapping[str, Any], place: str) -> None:
    """Raise ValueError if trainings of another version would be compared with new ones.

    settings  settings stored with the run in `place`.
    """
    if settings.get("norm_statistics") != NORM_STATISTICS:
        raise ValueError(
            f"resume: the trainings in {place} are from a version that evaluates short trainings "
            "differently (batch-norm statistics); start again in another --out"
        )


def unknown_field(name: str) -> str:
    """Return the error message for an unknown field of a recipe."""
    return f"a recipe has no field {quoted(name)}; {did_you_mean(name, CHANGEABLE) or LISTED}"


def preset(name: str, *, network: str = "", variant: str = "paper") -> Recipe:
    """Return a recipe by name; raise ValueError if the name is unknown.

    network  name in the zoo; selects its published dropout and last stage of progressive learning.
    variant  "paper" or "google"; see `efficientnetv2`.

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
    """Return EfficientNet's recipe on ImageNet: 350 epochs, batch 4096, each model's dropout."""
    return Recipe(
        name="efficientnet",
        epochs=350,
        batch=4096,
        ema_decay=0.9999,
        policy="autoaugment",
        dropout=DROPOUT.get(published(network), 0.2),
    )


def efficientnetv2(*, network: str = "", variant: str = "paper") -> Recipe:
    """Return EfficientNetV2's recipe on ImageNet: "paper" (table 6) or "google" (Google's code).

    Values are published for S, M and L. XL has the regularisation of L. All other networks have
    that of S; those outside B0 to B3 are trained and evaluated at their own resolution.
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
    """Return the recipe of searches, which uses Muon; small images take minutes of training.

    experiments/proxy_recipe.py compares it with SGD, the optimizer of version 0.1, and with other
    changes.
    """
    return Recipe(
        name="proxy",
        epochs=10,
        batch=128,
        least_steps=300,
        optimizer="muon",
        muon_lr=0.05,
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
    """Return the recipe for random weights and small data sets: SGD with small batches.

    On hundreds to some thousands of images, plain cross-entropy with small batches, well-chosen
    weight decay and enough steps is hard to beat (Brigato et al. 2022, arXiv 2212.12478). Its
    fields were chosen in experiments/scratch_recipe.py.
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
    """Return the recipe to fine-tune pretrained weights on small data: few epochs, cosine decay.

    experiments/finetune_recipe.py compares its learning rate with others.
    """
    return Recipe(
        name="finetune",
        epochs=15,
        batch=64,
        least_steps=100,
        optimizer="adamw",
        lr=3e-3,
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
    """Return the recipe that trains only a new classifier on frozen features."""
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
