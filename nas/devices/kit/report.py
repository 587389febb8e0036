"""Printed report of a kit: its networks, and the next steps."""

from __future__ import annotations

import numpy as np

from nas.devices.kit.config import NETWORKS, README, RECORD, SCRIPT, TIMES
from nas.devices.kit.run import KitResult
from vbs.command import python_command
from vbs.console import print_out
from vbs.text import next_steps, shell_word
from vbs.units import short


def show_result(result: KitResult) -> None:
    """Print the costs of the kit's networks, and the commands that measure and fit."""
    config, flops = result.config, result.space.costs(result.genotypes).flops
    size = sum(path.stat().st_size for path in (result.folder / NETWORKS).iterdir())
    tests = f" and {config.check_networks} to test the fit" if config.check_networks else ""
    print_out(
        f"{config.count} networks of space {config.space}{tests}: {short(float(np.min(flops)))} to "
        f"{short(float(np.max(flops)))} FLOPs, {size / 1e6:.0f} MB, batch {config.batch}",
        f"kit: {shell_word(f'{result.folder}/')} "
        f"({', '.join((NETWORKS, SCRIPT, TIMES, README, RECORD))})",
    )
    folder, python = result.folder, python_command()
    print_out(
        *next_steps(
            [
                f"{python} {shell_word(str(folder / SCRIPT))}",
                f"{python} -m nas.devices.fit {shell_word(str(folder))} --name my-device",
            ]
        )
    )
