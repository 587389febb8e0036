"""Words of error messages: one word for one thing, and no riddles."""

from __future__ import annotations

import re

from tests.house.messages import messages
from tests.house.tree import Tree

# pattern -> what to write
INSTEAD = {
    r"(choose|give|pick|try) another --": "use another --out",
    r"no such (file|folder)": "PATH does not exist",
    r"(text|value|part)\)?\} is not known": "'NAME' is unknown; use one of ...",
    r"which \w+\? ": "the folder of the run is missing; use --out DIR",
    r"\b(invalid|illegal|bad|wrong) (value|argument|option)\b": "VALUE is not allowed; use ...",
    r"must be (in|one of) ": "VALUE is not allowed; use one of ...",
    r"\bplease\b|\bsorry\b|\boops\b": "the fact",
}


def test_messages_use_one_word_for_one_thing() -> None:
    found = [
        f"{each.path}:{each.line}: {each.text!r}; write: {words}"
        for each in messages(Tree())
        for pattern, words in INSTEAD.items()
        if re.search(pattern, each.text, re.I)
    ]
    assert not found, "\n".join(found)


def test_messages_are_collected() -> None:
    texts = {each.text for each in messages(Tree())}
    assert len(texts) > 500
    assert "{name}: {value} is not allowed; use a number from 0 to below 1" in texts
