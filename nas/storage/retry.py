"""Retries of infrastructure failures in studies of earlier versions."""

from __future__ import annotations

from nas.storage.study import Study
from vbs.console import print_err
from vbs.failures import recorded_infrastructure


def retry_infrastructure(study: Study) -> None:
    """Run evaluations again that failed because of the infrastructure, such as a full disk.

    Earlier versions recorded them as failures of their networks. Must be called before the first
    `Study.sync`.
    """
    if count := study.retry_failed(recorded_infrastructure):
        print_err(f"{count} evaluations that failed because of the infrastructure run again")
