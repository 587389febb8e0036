"""How long networks of a space take on this machine, without running them:
`python -m nas.block_times`.

Measures every block of a space once (forward, or forward, backward and update), shows the table,
how well it predicts whole networks that it was not made from, and where it is kept. A search that
is given `--target-latency 20ms` or `--max-step-time 0.5s` uses the table, and measures it first
where there is none. The format of the file, for times of other machines: `nas.block_times.table`.
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
