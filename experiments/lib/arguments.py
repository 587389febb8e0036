"""The options of experiments."""

from __future__ import annotations

import argparse

HIDDEN = argparse.SUPPRESS  # the help of an option that only an experiment's own processes get
Options = argparse.Namespace
Parser = argparse.ArgumentParser


def experiment_arguments(doc: str | None) -> Parser:
    """A parser whose help is the docstring of an experiment; the experiment adds its options."""
    return Parser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
