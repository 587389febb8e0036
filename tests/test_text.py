"""Text from users is shown and never acts on a terminal, spreadsheet or shell."""

from __future__ import annotations

import re

import pytest

from vbs.text import csv_cell, next_steps, one_of, printable, shortened


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\u2066x\u2069", "\\u2066x\\u2069"),
        ("\x9b2J", "\\x9b2J"),
        ("\ud800", "\\ud800"),
        ("Müller 学习 [red]±", "Müller 学习 [red]±"),
    ],
)
def test_unprintable_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_characters_may_be_kept() -> None:
    assert printable("a\nb\x1b", keep="\n") == "a\nb\\x1b"


def test_long_values_lose_their_middle() -> None:
    short = shortened("a" * 500 + "b" * 500, 41)
    assert len(short) == 41
    assert short == "a" * 18 + " ... " + "b" * 18
    assert shortened("short") == "short"


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_no_cell_is_a_formula(start: str) -> None:
    assert csv_cell(f"{start}cmd|' /C calc'!A0").startswith("'")
    assert csv_cell("daisy") == "daisy"


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("efficientnet_bo", "efficientnet_b0"),
        ("efficientnet_bl", "efficientnet_b1"),
        ("efficientnet_b9", "efficientnet_b0"),
        ("efficientnet-b3", "efficientnet_b3"),
        ("mobilenetv2_10O", "mobilenetv2_100"),
    ],
)
def test_the_likeliest_name_is_suggested_first(typed: str, first: str) -> None:
    known = [*(f"efficientnet_b{i}" for i in range(9)), "mobilenetv2_140", "mobilenetv2_100"]
    with pytest.raises(ValueError, match=rf"network: '{typed}' is unknown; did you mean {first}"):
        one_of("network", typed, known)


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("--on", "--help lists all"),
        ("--growht", "did you mean --growth?"),
        ("--target-flops", "--help lists all"),
        ("--resume", "--help lists all"),
    ],
)
def test_options_are_not_alike_for_their_hyphens(typed: str, hint: str) -> None:
    known = ["--growth", "--config", "--out", "--recipe", "--address", "--storage", "--help"]
    with pytest.raises(ValueError, match=re.escape(f"'{typed}' is unknown; {hint}")):
        one_of("option", typed, known, otherwise="--help lists all")


def test_next_steps_of_nothing_are_nothing() -> None:
    assert next_steps(["python -m a", "python -m b"]) == ["next:", "  python -m a", "  python -m b"]
    assert next_steps([]) == []


def test_an_unknown_name_is_escaped_once() -> None:
    with pytest.raises(ValueError, match=r"space: 'a\\x1b\[2J' is unknown") as error:
        one_of("space", "a\x1b[2J", ["b"])
    assert "\\\\x1b" not in str(error.value)
