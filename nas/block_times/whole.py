"""Times of whole networks on this machine, taken in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from nas.block_times.rounds import Run, Timing, in_rounds, run, timing
from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from vbs.failures import is_out_of_memory
from vbs.text import counted

if TYPE_CHECKING:
    from nas.block_times.timing import Setting

KEPT = 10**8  # parameters of networks in memory between rounds, 0.4 GB
ROUNDS = (5, 100)  # least and most, whatever they take
SECONDS = 2.0  # of measuring for each network, where that gives rounds enough
LONG = 10.0  # the same, where a decision hangs on a few percent


def measured(
    networks: Sequence[Architecture],
    setting: Setting,
    *,
    seconds: float = SECONDS,
    report: Callable[[str], None] = print,
) -> list[Timing]:
    """Seconds of each network for one pass of a batch, their spread, and whether they are in doubt.

    seconds  of measuring for each network, about; up to three times as many on a busy machine.

    All networks are run in turn, in rounds (`nas.block_times.rounds`). Raises ValueError where
    memory runs out.
    """
    from nas.block_times.timing import ready

    count = len(networks)
    compiled = setting.runtime != "torch"
    keep = compiled or sum(cost(each).params for each in networks) <= KEPT
    shown = counted(count, "network")
    try:
        with ready(setting):
            runs, load = in_rounds(
                [_turn(network, setting, keep=keep) for network in networks],
                seconds=seconds * count,
                limits=ROUNDS,
                announce=lambda rounds, left: report(
                    f"times: {rounds} rounds of {shown}, about {left:.0f} s more"
                ),
            )
    except (RuntimeError, MemoryError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        raise ValueError(
            f"times: memory ran out with a batch of {setting.batch}; use a smaller one"
        ) from None
    return [timing(found, load) for found in runs]


def _turn(network: Architecture, setting: Setting, *, keep: bool) -> Callable[[], list[Run]]:
    """Two runs behind one that warms up.

    keep  whether the network is built once, not for each turn. Those that are compiled are kept:
          compiling takes seconds.
    """
    from nas.block_times.timing import Subject, images_for

    kept: list[Subject] = []

    def turn() -> list[Run]:
        subject = kept[0] if kept else Subject(network, setting, images_for(network, setting))
        if keep:
            kept[:] = [subject]
        subject.whole()
        return [run(subject.whole, setting), run(subject.whole, setting)]

    return turn
