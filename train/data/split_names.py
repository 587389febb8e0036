"""Recognition of splits by the names of folders and files.

A name denotes a split if it consists of one of the words that Hugging Face's `datasets` uses
(train, training; validation, valid, val, dev; test, testing, eval, evaluation), in any case, with
numbers and words like "set" or "images": train2017, training_set, TestImages. "holdout" is a test
split. If test and eval are side by side, eval is the validation split. As in `datasets`, a name
that only contains such a word between other words (my_train) counts too, but only if the folders
below it agree. Sources: huggingface.co/docs/datasets/repository_structure (words and delimiters);
torchvision's ImageFolder and Keras's image_dataset_from_directory take one folder for each split.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
    "holdout": "test",
    "heldout": "test",
}
_FILLING = (
    "set|sets|data|dataset|image|images|img|imgs|photo|photos|picture|pictures|pic|pics|split|"
    "folder|seg"
)
_EXACT = re.compile(rf"(?:{_FILLING})*({'|'.join(WORDS)})(?:{_FILLING})*")
_EVALUATIONS = ("eval", "evaluation")


def word_of(name: str) -> str | None:
    """Return the word by which a name denotes a split, e.g. "eval" for Eval_Set; None without one.

    Digits, punctuation and case are ignored.
    """
    found = _EXACT.fullmatch(re.sub(r"[\W\d_]+", "", name.lower()))
    return found[1] if found else None


def split_of(name: str) -> str | None:
    """Return train, val or test if a name denotes a split (see above), else None."""
    word = word_of(name)
    return WORDS[word] if word else None


def hinted(name: str) -> str | None:
    """Return train, val or test if a name contains words of exactly one of them, else None."""
    words = re.split(r"[\W\d_]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())
    found = {WORDS[word] for word in words if word in WORDS}
    return found.pop() if len(found) == 1 else None


def by_split(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the names that denote splits, by train, val and test, each sorted."""
    known = {name: word for name in sorted(names) if (word := word_of(name))}
    tests = [name for name, word in known.items() if WORDS[word] == "test"]
    has_val = "val" in {WORDS[word] for word in known.values()}
    found: dict[str, list[str]] = {}
    for name, word in known.items():
        split = WORDS[word]
        if word in _EVALUATIONS and len(tests) == 2 and not has_val:
            split = "val"
        found.setdefault(split, []).append(name)
    return found
