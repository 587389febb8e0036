"""All steps of `experiments.gpu_check`, in order of importance."""

from __future__ import annotations

from experiments.lib.gpu_check.step import Step

FOLDER = "experiments.lib.gpu_check"
MINUTES = 8.0  # for which the time limits of the steps are set
TIMM = ("timm",)

# describes the device; it runs first in every check
MACHINE = Step(
    name="machine",
    question="Which device is measured?",
    place=f"{FOLDER}.machine:check",
    seconds=60,
)
STEPS = (
    Step(
        name="agreement",
        question="Do CPU and GPU compute the same logits, losses and gradients?",
        place=f"{FOLDER}.agreement:check",
        seconds=60,
    ),
    Step(
        name="loop",
        question="Does the loop learn in float32 and bfloat16, with channels_last?",
        place=f"{FOLDER}.loop:check",
        seconds=60,
    ),
    Step(
        name="compile",
        question="Does torch.compile give the same training, and a faster one?",
        place=f"{FOLDER}.compiled:check",
        seconds=120,
    ),
    Step(
        name="b0-224",
        question="How fast is a step of EfficientNet-B0 at 224 px compared with timm's best?",
        place=f"{FOLDER}.throughput:b0",
        seconds=120,
        packages=TIMM,
    ),
    Step(
        name="proxy-32",
        question="How fast is a step of the proxy network at 32 px compared with timm's best?",
        place=f"{FOLDER}.throughput:proxy",
        seconds=90,
        packages=TIMM,
    ),
    Step(
        name="resume",
        question="Does a training that was stopped and resumed equal an uninterrupted one?",
        place=f"{FOLDER}.resume:check",
        seconds=60,
    ),
    Step(
        name="out-of-memory",
        question="Does the batch that is proposed after running out of memory fit?",
        place=f"{FOLDER}.memory:check",
        seconds=90,
    ),
    Step(
        name="augmentation",
        question="Does the GPU wait for augmented images at 32 px?",
        place=f"{FOLDER}.waiting:check",
        seconds=60,
    ),
    Step(
        name="half-gpus",
        question="Do two trials on half a GPU each run side by side?",
        place=f"{FOLDER}.halves:check",
        seconds=90,
        packages=("ray",),
    ),
    Step(
        name="ddp",
        question="Does one process with DistributedDataParallel train as one without?",
        place=f"{FOLDER}.one_process:check",
        seconds=60,
    ),
    Step(
        name="block-times",
        question="Do block times by CUDA events predict whole networks?",
        place=f"{FOLDER}.block_latency:check",
        seconds=100,
        packages=("scipy",),
    ),
    Step(
        name="autotune",
        question="What does cuDNN's benchmark mode gain, and what does it cost at the start?",
        place=f"{FOLDER}.autotune:check",
        seconds=60,
    ),
    Step(
        name="cifar10",
        question="How many seconds does CIFAR-10 take to 90%?",
        place=f"{FOLDER}.cifar10:check",
        seconds=150,
        data=True,
    ),
    Step(
        name="grid",
        question="How should the proxy network grow, by trainings that suffice for deep networks?",
        place=f"{FOLDER}.growth:check",
        seconds=float("inf"),
        packages=("scipy",),
        data=True,
    ),
)
