"""Parsers for the options of experiments."""

from __future__ import annotations

import argparse

HIDDEN = argparse.SUPPRESS  # help of options that only an experiment's own processes use
Options = argparse.Namespace
Parser = argparse.ArgumentParser


def experiment_arguments(doc: str | None) -> Parser:
    """Return a parser whose help is an experiment's docstring; the experiment adds options."""
    return Parser(
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # as in the other commands
    )
