"""Times of whole networks on this machine, measured in rounds."""

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

KEPT = 10**8  # most parameters of networks in memory between rounds, 0.4 GB
ROUNDS = (5, 100)  # least and most rounds, regardless of the duration
SECONDS = 2.0  # seconds per network, within the limits of ROUNDS
LONG = 10.0  # seconds per network if a decision depends on differences of a few percent


def measured(
    networks: Sequence[Architecture],
    setting: Setting,
    *,
    seconds: float = SECONDS,
    report: Callable[[str], None] = print,
) -> list[Timing]:
    """Measure the seconds of each network for one batch, with their spread and possible doubts.

    All networks run in rounds (`nas.block_times.rounds`).

    seconds  approximate duration per network; up to three times as long on a busy machine.
    report   function that prints a line on the duration.

    Raises ValueError if memory runs out.
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
    """Return a function that runs a network twice after a warm-up.

    keep  whether to build the network once instead of in every round; used for compiled networks,
          because compiling takes seconds.
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
