"""Run of a report: `write_report` reads runs and writes the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.parents.page import parent_sections
from scaling.family.page import family_sections
from scaling.grid.page import grid_sections
from scaling.report.config import ReportConfig
from scaling.report.runs import PARENT, TRAINING, DamagedRun, Run, named, read_run
from scaling.report.searches import search_sections
from scaling.report.trainings import training_sections
from scaling.training_aware.page import aware_sections
from vbs.console import print_out
from vbs.folder import folder_problem, write_whole
from vbs.page.charts import scripts
from vbs.page.parts import REPORT, document, escaped, write_text
from vbs.text import counted, shell_word, shortened

_Sections = Callable[[Sequence[Run]], list[str]]


@dataclass(frozen=True)
class ReportResult:
    """A page, and its runs."""

    path: Path
    runs: Sequence[Run]
    exit_code: int = 0


def write_report(config: ReportConfig) -> ReportResult:
    """Write a page about runs, which shows runs of one kind side by side.

    Raises ValueError if a folder contains no run, if its files are damaged, or if the page would
    overwrite the page of a run, and OSError if the page cannot be written.
    """
    folders = list(dict.fromkeys(Path(text) for text in config.runs))
    runs = [read_run(folder) for folder in folders]
    sections: list[str] = []
    for kind, each in _KINDS.items():
        of_kind = [run for run in runs if run.kind == kind]
        if of_kind:
            sections += _read(each, of_kind)
    title = f"{counted(len(runs), 'run')}: {', '.join(dict.fromkeys(run.kind for run in runs))}"
    page, path = document(title, sections, scripts()), Path(config.out)
    if not path.parent.is_dir():
        raise ValueError(f"--out: {path.parent} {folder_problem(path.parent)}")
    if path.name == REPORT and any(path.parent.samefile(folder) for folder in folders):
        raise ValueError(f"--out: {path} is the page of one of the runs; use another name")
    write_whole(path, lambda unfinished: write_text(unfinished, page))
    return ReportResult(path, runs)


def show_result(result: ReportResult) -> None:
    """Print the path of the page."""
    print_out(f"{shell_word(str(result.path))}: a page on {counted(len(result.runs), 'run')}")


# exceptions that are raised if parts of a record have unexpected types or sizes
_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError)


def _read(sections: _Sections, runs: Sequence[Run]) -> list[str]:
    """Return the sections of runs of one kind; DamagedRun names the first damaged run."""
    try:
        return sections(named(runs))
    except DamagedRun:
        raise
    except _DAMAGE as error:
        for run in runs if len(runs) > 1 else ():
            _read(sections, [run])
        folders = ", ".join(str(run.folder) for run in runs)
        reason = shortened(f"{type(error).__name__}: {error}")
        raise DamagedRun(f"{folders}: its files are damaged ({reason})") from None


def _one_by_one(sections: Callable[[Run], list[str]]) -> _Sections:
    """Return a function that puts the sections of runs one below the other, with headings."""

    def of_all(runs: Sequence[Run]) -> list[str]:
        found = []
        for run in runs:
            found += [f"<h2>{escaped(run.kind)}: {escaped(run.name)}</h2>", *sections(run)]
        return found

    return of_all


_KINDS: dict[str, _Sections] = {
    "search": search_sections,
    PARENT: _one_by_one(lambda run: parent_sections(run.record["outcome"])),
    "grid": _one_by_one(lambda run: grid_sections(run.folder, run.record)),
    "family": _one_by_one(lambda run: family_sections(run.folder, run.record)),
    "training-aware": _one_by_one(lambda run: aware_sections(run.record)),
    TRAINING: training_sections,
}
