"""Results folders that hold the results of other commands."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from vbs.folder import circumstances, results_folder, write_json


@pytest.mark.parametrize("files", [("search.json", "best.json"), ("run.json",)])
def test_a_folder_with_the_record_of_another_command_is_refused(
    files: tuple[str, ...], tmp_path: Path
) -> None:
    write_json(tmp_path / "grid.json", {"status": "finished", **circumstances(("numpy",))})
    other = r"holds another run \(grid.json\); use another --out"
    with pytest.raises(ValueError, match=other), _opened(tmp_path, files):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["grid.json"]


@pytest.mark.parametrize("content", ['{"machine": "fast"}', "[1]", "no JSON", '{"versions": {}}'])
def test_other_files_are_allowed(content: str, tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text(content)
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "slurm-1.out").write_text("log")
    with _opened(tmp_path, ("search.json",)) as folder:
        assert folder == tmp_path
        write_json(folder / "search.json", {"status": "finished", **circumstances(())})
    refused = pytest.raises(ValueError, match=r"already holds search.json; use --resume")
    with refused, _opened(tmp_path, ("search.json",)):
        pass


def _opened(folder: Path, files: tuple[str, ...]) -> AbstractContextManager[Path]:
    return results_folder(str(folder), kind="search", files=files, command="nas.search")
