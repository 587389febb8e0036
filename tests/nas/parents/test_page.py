"""The page of a search from pretrained weights before it has results."""

from __future__ import annotations

from typing import Any

import pytest

from nas.parents.page import parent_sections


@pytest.mark.parametrize(
    "outcome",
    [
        {},
        {"teacher": None, "targets": {}},  # the parent's training failed
        {"teacher": {"kind": "parent"}, "targets": {}},
    ],
)
def test_a_search_without_a_finished_target_says_so(outcome: dict[str, Any]) -> None:
    (only,) = parent_sections(outcome)
    assert "No target of the search is finished." in only
