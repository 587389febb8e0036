"""Figures drawn with matplotlib's default settings; errors while drawing become warnings.

The environment is ignored: notebooks pass on MPLBACKEND=module://matplotlib_inline.backend_inline,
which exists only there, and a matplotlibrc may select LaTeX, a window system or fonts. A figure
that cannot be drawn never loses results.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from vbs.console import warn
from vbs.folder import write_whole
from vbs.text import counted, shortened


def new_figure(
    width: float,
    height: float,
    *,
    dpi: float = 110,
    layout: Literal["constrained", "tight", "none"] = "constrained",
) -> Any:
    """Return a matplotlib Figure of width x height inches that Agg draws, without pyplot.

    layout  layout engine of matplotlib: "constrained", "tight", or "none" for manual axes.
    """
    _import_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # pyplot keeps every figure and selects a window system

    figure = Figure(figsize=(width, height), dpi=dpi, facecolor="white")
    figure.set_layout_engine(layout)
    FigureCanvasAgg(figure)
    return figure


def save_png(figure: Any, path: Path) -> None:
    """Draw the figure into a file; characters missing in the font give one warning on stderr."""
    missing: set[str] = set()
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Any, *rest: Any, **named: Any) -> None:
            if str(message).startswith("Glyph"):
                missing.add(str(message))
            else:
                usual(message, *rest, **named)

        warnings.filterwarnings("always", message="Glyph")
        warnings.showwarning = show
        # a layout engine ignores long labels beside axes of a fixed aspect ratio
        whole = {} if figure.get_layout_engine() is None else {"bbox_inches": "tight"}
        figure.savefig(path, format="png", **whole)
    if missing:
        count = len(missing)
        _once(f"figures: the font lacks {counted(count, 'character')}, drawn as boxes")


def label(text: object, longest: int = 60) -> str:
    """Return printable text for titles, axes and legends, with $ escaped (it starts a formula).

    A space is put before a leading underscore, which would hide a line from the legend.
    """
    shown = shortened(text, longest).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def draw_picture(path: Path, draw: Callable[[Path], Any]) -> bool:
    """Let `draw` write a figure atomically; return whether it succeeded.

    An error is a warning on stderr. Call this after everything else is written.
    """
    return attempt(path.name, lambda: write_whole(path, draw))


def attempt(what: str, draw: Callable[[], Any], *, failed: str = "is not drawn") -> bool:
    """Call `draw` with matplotlib's default settings; return whether it succeeded.

    An exception is printed as a warning on stderr: "<what> <failed> (<reason>)".
    """
    try:
        with _log_as_warning(), _defaults():
            draw()
    except Exception as error:
        # the cause may be anything: fonts, memory, a full disk, a damaged installation
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        warn(f"{what} {failed} ({shortened(reason)})")
        return False
    return True


def _import_matplotlib() -> Any:
    """Import matplotlib, which refuses to be imported if MPLBACKEND is not installed."""
    before = os.environ.get("MPLBACKEND")
    os.environ["MPLBACKEND"] = "agg"
    try:
        import matplotlib
    finally:
        if before is None:
            del os.environ["MPLBACKEND"]
        else:
            os.environ["MPLBACKEND"] = before
    return matplotlib


@contextlib.contextmanager
def _defaults() -> Iterator[None]:
    """Use matplotlib's default settings, and its bundled fonts if its font is not found."""
    matplotlib = _import_matplotlib()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        if not _finds_font():
            _use_bundled_fonts()
        yield


def _finds_font() -> bool:
    """Return whether the default font is found and readable; font caches may be damaged."""
    from matplotlib import font_manager

    try:
        font_manager.get_font(font_manager.findfont("DejaVu Sans", fallback_to_default=False))
    except Exception:
        return False
    return True


def _use_bundled_fonts() -> None:
    """Ignore the font cache and use the fonts inside matplotlib's package."""
    import matplotlib
    from matplotlib import font_manager

    font_manager.fontManager.ttflist = []
    for path in sorted(Path(matplotlib.get_data_path(), "fonts", "ttf").glob("DejaVu*.ttf")):
        font_manager.fontManager.addfont(str(path))


@contextlib.contextmanager
def _log_as_warning() -> Iterator[None]:
    """Print what matplotlib logs as one warning line, for example about an unwritable cache."""
    logged: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.append(record.getMessage())

    logger, collector = logging.getLogger("matplotlib"), Collector(logging.WARNING)
    before = logger.propagate
    logger.addHandler(collector)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(collector)
        logger.propagate = before
        if logged:
            _once(f"matplotlib: {shortened(' '.join(logged[0].split()))}")


@functools.cache
def _once(text: str) -> None:
    """Print a warning once, because all figures of a run have the same problem."""
    warn(text)
