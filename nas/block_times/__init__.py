"""Block times: prediction of networks' times on this machine, `python -m nas.block_times`.

The command measures every block of a space once (forward, or forward, backward and update) and
writes a table. It prints the table, its error on whole networks that it was not fitted to, and the
path of its file. A search with `--target-latency 20ms` or `--max-step-time 0.5s` uses the table,
and measures it if it does not exist. `nas.block_times.table` describes the file format, so that you
can write tables for other machines.
"""

from typing import TYPE_CHECKING

from vbs.lazy import lazy_names

if TYPE_CHECKING:
    from nas.block_times.config import BlockTimesConfig
    from nas.block_times.lookup import times_for
    from nas.block_times.run import BlockTimesResult, measure_block_times
    from nas.block_times.table import Times, read_times

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "BlockTimesConfig": "nas.block_times.config",
        "BlockTimesResult": "nas.block_times.run",
        "Times": "nas.block_times.table",
        "measure_block_times": "nas.block_times.run",
        "read_times": "nas.block_times.table",
        "times_for": "nas.block_times.lookup",
    },
)
