"""Pictures: matplotlib's own defaults whatever the environment says, and failures as warnings.

Notebooks pass on MPLBACKEND=module://matplotlib_inline.backend_inline, which only they have; a
matplotlibrc may ask for LaTeX, a window system or fonts. No picture is worth a result: what fails
while one is drawn is one warning.
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
    """A matplotlib Figure of width x height inches that is drawn by Agg, without pyplot.

    layout  of matplotlib: "constrained", "tight", or "none" for axes that are placed by hand.
    """
    _import_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # pyplot would keep every figure and pick a window system

    figure = Figure(figsize=(width, height), dpi=dpi, facecolor="white")
    figure.set_layout_engine(layout)
    FigureCanvasAgg(figure)
    return figure


def save_png(figure: Any, path: Path) -> None:
    """Draw the figure into a file; characters that the font lacks are one warning on stderr."""
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
        # a layout engine takes no account of long labels beside axes of a fixed aspect
        whole = {} if figure.get_layout_engine() is None else {"bbox_inches": "tight"}
        figure.savefig(path, format="png", **whole)
    if missing:
        count = len(missing)
        _once(f"figures: the font lacks {counted(count, 'character')}; a box stands for each")


def label(text: object, longest: int = 60) -> str:
    """The printable text for titles, axes and legends, where $ would begin a formula.

    A leading underscore would hide a line from its legend.
    """
    shown = shortened(text, longest).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def draw_picture(path: Path, draw: Callable[[Path], Any]) -> bool:
    """Let `draw` write a picture atomically; whether it did.

    What fails is a warning on stderr. Call it after everything else is written.
    """
    return attempt(path.name, lambda: write_whole(path, draw))


def attempt(what: str, draw: Callable[[], Any], *, failed: str = "is not drawn") -> bool:
    """Call `draw` with matplotlib's own defaults; whether it ended without an exception.

    An exception is a warning on stderr that `what` is not drawn, or what `failed` says.
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
    """The package. It refuses to be imported with a backend that is not installed."""
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
    """matplotlib's settings as it ships them, with its own fonts first."""
    matplotlib = _import_matplotlib()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        if not _finds_font():
            _use_bundled_fonts()
        yield


def _finds_font() -> bool:
    """Whether the font that all figures use is found and can be read; caches may be damaged."""
    from matplotlib import font_manager

    try:
        font_manager.get_font(font_manager.findfont("DejaVu Sans", fallback_to_default=False))
    except Exception:
        return False
    return True


def _use_bundled_fonts() -> None:
    """Forget what the font cache says; use the fonts inside matplotlib's package."""
    import matplotlib
    from matplotlib import font_manager

    font_manager.fontManager.ttflist = []
    for path in sorted(Path(matplotlib.get_data_path(), "fonts", "ttf").glob("DejaVu*.ttf")):
        font_manager.fontManager.addfont(str(path))


@contextlib.contextmanager
def _log_as_warning() -> Iterator[None]:
    """Make one line of what matplotlib logs, of an unwritable cache, say."""
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
    """Every picture of a run has the same cause to complain."""
    warn(text)
