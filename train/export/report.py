"""Printed report of an export: its path, its measurements, and a command that uses it."""

from __future__ import annotations

from train.export.result import ExportResult
from vbs.command import python_command
from vbs.console import print_err, print_out
from vbs.load import NOTICED
from vbs.tables import Console, Table
from vbs.text import counted, next_steps, shell_command, shell_word, shortened
from vbs.units import megabytes


def show_result(result: ExportResult) -> None:
    """Print the result on stdout."""
    compared, found = result.compared, result.measured
    lines = [f"{result.config.to}: {shell_word(result.path)}, {megabytes(found.bytes)}"]
    if compared is not None:
        lines.append(
            f"loaded back and compared on {compared.images}: largest difference "
            f"{compared.difference:.2g} on outputs up to {compared.scale:.2g}"
        )
    print_out(*lines)
    _show_methods(result)
    lines = []
    if found.loss is None:
        lines.append(f"accuracy not measured, no images: {shortened(result.unmeasured)}")
    else:
        lines.append(f"accuracy in {found.runtime}, {found.data}: {found.loss}")
    before = "" if found.before is None else f"; in float32 {found.before}"
    lines.append(
        f"latency of one image in {found.runtime}, {counted(found.threads, 'thread')}, median and "
        f"quartiles: {found.latency}{before}"
    )
    if found.load.waiting > NOTICED:
        lines.append(
            f"on average {found.load.waiting:.1f} of the measurement's threads waited for a "
            "processor: other programs slowed it down; measure the latency again on an idle machine"
        )
    if result.pushed:
        lines.append(f"uploaded: {result.pushed}")
    print_out(*lines, *next_steps([_next_command(result)]))
    if result.not_pushed:
        print_err(f"train.export: {result.not_pushed}")


def _show_methods(result: ExportResult) -> None:
    """Print a table of the calibration methods, if there are several."""
    if result.quantised is None:
        return
    quantised = result.quantised
    table = Table(box=None, pad_edge=False)
    for name in ("calibration", "top-1", "points lost", "KL divergence, nats", ""):
        table.add_column(name, justify="left" if name in ("calibration", "") else "right")
    for name, loss in quantised.methods.items():
        table.add_row(
            name,
            f"{loss.after:.2f}%",
            f"{loss.points:.2f} ± {loss.error:.2f}",
            f"{loss.divergence:.2g}",
            "kept" if name == quantised.method else "",
        )
    Console().print(table)
    images = next(iter(quantised.methods.values())).images
    left = ", ".join(quantised.float_layers)
    print_out(
        f"kept: smallest loss on {counted(images, 'held-out image')}; the accuracy below is "
        "measured on other images" + (f"; in float32: {left}" if left else "")
    )


def _next_command(result: ExportResult) -> str:
    """Return a command line that uses the export."""
    return f"{python_command()} {shell_command([str(result.program), 'PHOTO.jpg'])}"
