"""Printed report of a fitted device: its errors, and the next steps."""

from __future__ import annotations

import numpy as np

from nas.data_space import search_form
from nas.devices.fit.run import FitResult
from nas.devices.own import HELD_OUT
from vbs.command import python_command
from vbs.console import print_out
from vbs.text import counted, next_steps, shell_word
from vbs.units import short_seconds

ENOUGH = 0.9  # further measurements pay off if they reduce the expected error to this share


def show_result(result: FitResult) -> None:
    """Print the errors of the device, and the expected benefit of further measurements."""
    device, kit = result.device, result.kit
    found = device.leave_one_out
    assert found is not None  # it is None only for a device from a file
    count = len(kit.seconds)
    held = "each" if count <= HELD_OUT else f"{HELD_OUT} of them"
    low, high = (short_seconds(float(value)) for value in (kit.seconds.min(), kit.seconds.max()))
    print_out(
        f"{device.name}: fitted to {counted(count, 'network')} of space {device.space}, {low} to "
        f"{high} for a batch of {device.batch}",
        f"{held} predicted from the others: median error {found.median_error:.1%}, mean "
        f"{found.mean_error:.1%}, Kendall tau {found.tau:.2f}",
    )
    if result.checked is not None:
        seen = result.checked
        print_out(
            f"on {counted(seen.networks, 'other network')}: median error "
            f"{seen.median_error:.1%}, mean {seen.mean_error:.1%}, largest "
            f"{seen.largest_error:.1%}, Kendall tau {seen.tau:.2f} (by FLOPs "
            f"{seen.tau_of_flops:.2f}); {seen.covered:.0%} within two standard deviations"
        )
    print_out(_further(result))
    print_out("", f"device: {shell_word(result.path)}")
    print_out(*next_steps([next_search := _next(result)]))
    classes = device.settings.get("classes")
    if classes is not None and "--data" in next_search:
        print_out(f"the images must have {classes} classes, as the networks of the kit do")


def _further(result: FitResult) -> str:
    """Return a line on the expected benefit of further measurements."""
    expected = result.device.expected
    worth = {more: error for more, error in expected.items() if more}
    text = ", ".join(f"{error:.1%} with {more} more" for more, error in worth.items())
    if not worth or min(worth.values()) > ENOUGH * expected[0]:
        return f"expected mean error {expected.get(0, np.nan):.1%}; more measurements help little"
    return f"expected mean error {expected[0]:.1%}; {text}"


def _next(result: FitResult) -> str:
    device, python = result.device, python_command()
    middle = short_seconds(float(np.median(result.kit.seconds)))
    where = f"--target-latency {middle} --on {shell_word(str(result.path))}"
    return f"{python} -m nas.search {search_form(device.space, device.settings)} {where}"
