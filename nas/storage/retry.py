"""Evaluations of earlier versions that failed for a reason of the infrastructure run again."""

from __future__ import annotations

from nas.storage.study import Study
from vbs.console import print_err
from vbs.failures import recorded_infrastructure


def retry_infrastructure(study: Study) -> None:
    """Let evaluations be done again that earlier versions recorded as failures of their networks,
    though a full disk, for example, had ended them. To be called before the first `sync`."""
    if count := study.retry_failed(recorded_infrastructure):
        print_err(f"{count} evaluations are done again: the infrastructure had failed, not they")
