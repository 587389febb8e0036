"""Forked loader processes that keep the `atexit` callbacks of their parent.

Since Python 3.13, multiprocessing clears the list of `atexit` callbacks in every forked process
(popen_fork.py). This frees objects that only a callback references, such as clients of Ray; their
destructor waits for threads that a fork does not copy, and the process dies by a segmentation
fault. Here the list is kept. No callback runs, because such processes end by `os._exit`.
"""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing import context, popen_fork, process, util
from typing import Any

_util: Any = util  # its functions for subclasses of Popen have no types


class _Popen(popen_fork.Popen):
    def _launch(self, process_obj: Any) -> None:
        parent_reads, child_writes = os.pipe()
        child_reads, parent_writes = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.close(parent_reads)
                os.close(parent_writes)
                code = process_obj._bootstrap(parent_sentinel=child_reads)
                _util._exit_function()  # flushes the queues of multiprocessing
            finally:
                os._exit(code)
        os.close(child_writes)
        os.close(child_reads)
        self.finalizer = _util.Finalize(self, _util.close_fds, (parent_reads, parent_writes))
        self.sentinel = parent_reads


class _Process(context.ForkProcess):
    @staticmethod
    def _Popen(process_obj: process.BaseProcess) -> Any:
        return _Popen(process_obj)


class _Context(context.ForkContext):
    Process = _Process


def loader_context() -> context.BaseContext:
    """Return the context that starts image loaders: the default one, with the forks above."""
    method = multiprocessing.get_start_method()
    return _Context() if method == "fork" else multiprocessing.get_context(method)
