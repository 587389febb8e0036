"""HTML reports: charts with hover, click and filters; hostile text is shown as text."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from search_spaces.catalog import zoo
from search_spaces.listed import LIMITS, listed_network
from tests.browser import in_browser, needs_browser
from tests.commands import family, grid, images, search, train_run, training_aware
from vbs.command import command_line
from vbs.page.charts import Axis, Chart, Limit, Listed, Point, Series, chart, scripts
from vbs.page.parts import document, section, write_page

HOSTILE = """</script><script>document.title="x"</script><img src=x onerror='document.title="x"'>"""
TOO_LARGE = 1_500_000  # limit of the size of a page in bytes

# the centre of point `p` of series `s` of a chart in the page
PLACE = """
const canvas = d.querySelector('canvas'), drawn = w.Chart.getChart(canvas);
const at = (s, p) => { const point = drawn.getDatasetMeta(s).data[p];
  const box = canvas.getBoundingClientRect();
  return {clientX: box.left + point.x, clientY: box.top + point.y, bubbles: true}; };
const send = async (kind, s, p) => { canvas.dispatchEvent(new w.MouseEvent(kind, at(s, p)));
  await new Promise(done => setTimeout(done, 100)); };  // Chart.js answers in the next frame
"""


def chart_of(*points: Point, networks: tuple[Listed, ...] = (), title: str = "a") -> Chart:
    return Chart(
        x=Axis("FLOPs"),
        y=Axis("accuracy"),
        series=[Series(title, points, "circles")],
        alt="a chart",
        networks=networks,
        chosen=0 if networks else None,
        limits=[Limit("flops", "FLOPs", "millions", 1e-6)],
    )


def two_networks(title: str = "one") -> tuple[Listed, ...]:
    first = listed_network(zoo("efficientnet_b0"), title=title)
    return first, listed_network(zoo("mobilenet_v2"), title="two")


def data_of(page: str) -> dict:
    found = re.search(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def write(place: Path, drawn: Chart, title: str = "t") -> Path:
    path = place / "report.html"
    path.write_text(document(title, [section(title, chart(drawn))], scripts()), encoding="utf-8")
    return path


def test_points_without_a_place_are_left_out() -> None:
    nan = float("nan")
    drawn = chart_of(Point(1, 2, 0.5), Point(nan, 1), Point(1, nan), Point(2, 3, nan))
    assert data_of(chart(drawn))["series"][0]["points"] == [[1, 2, 0.5, None], [2, 3, None, None]]


def test_a_listed_network_has_what_a_click_shows() -> None:
    content = data_of(chart(chart_of(Point(1, 2, None, 0), networks=two_networks())))
    first = content["networks"][0]
    assert first["numbers"] == {"flops": 385_814_752, "params": 5_288_548}
    assert len(first["stages"]) == 9  # stem, seven stages, head
    assert json.loads(first["json"])["resolution"] == 224
    assert first["commands"] == [f"python -m search_spaces.show {first['file']}"]


def test_no_text_of_a_run_ends_the_script_it_stands_in() -> None:
    page = chart(chart_of(Point(1, 2, None, 0), networks=two_networks(HOSTILE), title=HOSTILE))
    assert "<img" not in page
    assert page.count("</script>") == 1
    assert data_of(page)["networks"][0]["title"] == HOSTILE


def test_a_page_that_fails_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> str:
        raise KeyError("outcome")

    write_page(tmp_path, broken)
    assert "report.html is not drawn (KeyError" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@needs_browser
def test_hover_names_a_network_and_a_click_shows_it(tmp_path: Path) -> None:
    points = (Point(1, 2, 0.1, 0), Point(2, 3, 0.1, 1), Point(3, 4, 0.1, 0))
    drawn = chart_of(*points, networks=two_networks())
    script = (
        PLACE + "const title = () => d.querySelector('.network h3').textContent;"
        "const before = title(); await send('mousemove', 0, 1);"
        "const hovered = drawn.tooltip.title; await send('click', 0, 1);"
        "const link = d.querySelector('.network a');"
        "return {before, hovered, after: title(), list: d.querySelector('select').value,"
        "bars: d.querySelectorAll('.network .bar').length, file: link.download,"
        "notes: d.querySelector('.network').textContent,"
        "saved: JSON.parse(decodeURIComponent(link.href.split(',').slice(1).join(',')))};"
    )
    found = in_browser(write(tmp_path, drawn), script, width=1280, place=tmp_path)
    assert (found["before"], found["hovered"], found["after"]) == ("one", ["two"], "two")
    assert found["list"] == "1"
    assert found["bars"] == 9
    assert "Run in the folder of the saved file:" in found["notes"]
    network = zoo("mobilenet_v2")
    assert found["file"] == f"{network.key}.json"
    assert found["saved"] == json.loads(network.to_json())


@pytest.mark.slow
@needs_browser
def test_limits_hide_what_exceeds_them_and_zoom_is_undone(tmp_path: Path) -> None:
    drawn = chart_of(Point(1, 2, None, 0), Point(2, 3, None, 1), networks=two_networks())
    script = (
        PLACE + "const input = d.querySelector('input[data-limit=flops]');"
        "const count = () => drawn.data.datasets[0].data.length;"
        "const set = (text) => { input.value = text; input.dispatchEvent(new w.Event('input'));"
        "return count(); };"
        "const counts = [count(), set('350'), set('1'), set('')];"
        "const least = drawn.scales.x.min; drawn.zoom(4); const zoomed = drawn.scales.x.min;"
        "d.querySelector('button').click();"
        "return {counts, zoomed: zoomed > least, undone: drawn.scales.x.min === least};"
    )
    found = in_browser(write(tmp_path, drawn), script, width=1280, place=tmp_path)
    assert found == {"counts": [2, 1, 0, 2], "zoomed": True, "undone": True}


@pytest.mark.slow
@needs_browser
def test_hostile_names_are_text(tmp_path: Path) -> None:
    drawn = chart_of(Point(1, 2, None, 0), networks=two_networks(HOSTILE), title=HOSTILE)
    script = "return {title: d.title, shown: d.querySelector('.network h3').textContent};"
    page = write(tmp_path, drawn, HOSTILE)
    found = in_browser(page, script, width=400, place=tmp_path)
    assert found == {"title": HOSTILE, "shown": HOSTILE}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small runs of every kind."""
    place = tmp_path_factory.mktemp("runs")
    for seed in ("0", "1"):
        words = ["--target-flops", "400M", "--budget", "2000", "--seed", seed]
        assert search([*words, "--out", str(place / f"search-{seed}")]) == 0
    assert grid(["--out", str(place / "grid")]) == 0
    assert family(["--phi", "0..2", "--out", str(place / "family")]) == 0
    assert training_aware(["--budget", "2000", "--out", str(place / "aware")]) == 0
    data = images(place / "images")
    words = ["--set", "epochs=2", "--set", "resolution=32", "--set", "batch=16", "--device", "cpu"]
    assert train_run(["mobilenet_v2", "--data", data, *words, "--out", str(place / "train")]) == 0
    return place


KINDS = ("search-0", "grid", "family", "aware", "train")


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_of_every_run_is_whole(runs: Path, kind: str, width: int, tmp_path: Path) -> None:
    page = runs / kind / "report.html"
    assert page.stat().st_size < TOO_LARGE
    script = (
        "return {charts: [...d.querySelectorAll('canvas')].map(c => "
        "w.Chart.getChart(c).data.datasets.map(s => s.data.length)), "
        "pictures: [...d.images].filter(i => !(i.complete && i.naturalWidth > 50)).length};"
    )
    found = in_browser(page, script, width=width, place=tmp_path)
    assert found["pictures"] == 0
    assert found["charts"]
    assert all(count > 0 for counts in found["charts"] for count in counts)


@pytest.mark.slow
@needs_browser
def test_a_page_compares_runs_of_all_kinds(runs: Path, tmp_path: Path) -> None:
    path = tmp_path / "all.html"
    folders = [str(runs / kind) for kind in (*KINDS, "search-1")]
    assert command_line("scaling.report", [*folders, "--out", str(path)]) == 0
    found = in_browser(
        path,
        "return {charts: d.querySelectorAll('canvas').length, text: d.body.textContent};",
        width=400,
        place=tmp_path,
    )
    assert found["charts"] == 6  # two of the searches, and one of every other kind
    assert "all, 2 seeds" in found["text"]
    assert path.stat().st_size < TOO_LARGE


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "RUN is missing"),
        (["nowhere"], "'nowhere' does not exist"),
        (["."], "holds no run that can be compared"),
        ([".", "--out", "page.txt"], "--out: page.txt must end in .html"),
    ],
)
def test_what_is_no_run_is_refused(
    words: list[str],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command_line("scaling.report", words) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


def test_damaged_runs_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "search.json").write_text('{"settings": 3}')
    assert command_line("scaling.report", [str(tmp_path)]) == 2
    assert "is not the record of a run" in capsys.readouterr().err
    (tmp_path / "search.json").write_text('{"settings": {"seed": 1}, "outcome": {}}')
    assert command_line("scaling.report", [str(tmp_path)]) == 2
    assert "best.json is missing or damaged" in capsys.readouterr().err


def a_training(folder: Path, **parts: object) -> Path:
    """Return the folder of a training whose record has other `parts`."""
    record = {
        "status": "finished",
        "settings": {"changes": []},
        "outcome": {"epochs": 1, "seconds": 2.0, "images": {}, "test": {"top1": 50.0}},
        "training": {"architecture": json.loads(zoo("mobilenet_v2").to_json())},
    }
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(record | parts))
    return folder


@pytest.mark.parametrize(
    "parts",
    [
        {"settings": {"changes": 5}},
        {"settings": {"changes": [1]}},
        {"outcome": {"epochs": 1, "seconds": 2.0, "images": [3]}},
        {"outcome": {"epochs": 1, "seconds": 2.0, "test": [1]}},
        {"outcome": {"epochs": 1, "seconds": "2"}},
        {"training": [1]},
    ],
)
def test_the_training_whose_record_has_other_types_is_named(
    parts: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = a_training(tmp_path / "good"), a_training(tmp_path / "bad", **parts)
    out = tmp_path / "page.html"
    for folders in ([bad], [good, bad]):
        assert command_line("scaling.report", [*map(str, folders), "--out", str(out)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"scaling.report: {bad}")
        assert not out.exists()
    assert command_line("scaling.report", [str(good), "--out", str(out)]) == 0


@pytest.mark.parametrize("cell", [b"\xff", b"x" * 200_000, b"\0", b"1,2,3"])
def test_damaged_curves_are_one_line(
    cell: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = a_training(tmp_path / "run")
    (folder / "curves.csv").write_bytes(b"epoch,val_top1\n1," + cell + b"\n")
    assert command_line("scaling.report", [str(folder), "--out", f"{tmp_path}/p.html"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "curves.csv is damaged" in line


def a_search(folder: Path, rewards: list[float], **best: object) -> Path:
    """Return the folder of a search with these rewards and other values in best.json."""
    pandas = pytest.importorskip("pandas")
    found = {"accuracy": 50.0, "reward": 1.0, "flops": 1000, "params": 10}
    folder.mkdir()
    (folder / "search.json").write_text('{"status": "finished", "settings": {}, "outcome": {}}')
    (folder / "best.json").write_text(json.dumps(found | best))
    (folder / "pareto.csv").write_text("flops,accuracy\n1000,50\n")
    pandas.DataFrame({"reward": rewards}, dtype=float).to_parquet(folder / "history.parquet")
    return folder


@pytest.mark.parametrize(
    "best",
    [
        {"accuracy": "50"},
        {"params": None},
        {"architecture": [1]},
        {"architecture": {"stages": []}},
        {"accuracy_std": "x"},
    ],
)
def test_the_search_whose_best_has_other_types_is_named(
    best: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = a_search(tmp_path / "good", [1.0]), a_search(tmp_path / "bad", [1.0], **best)
    assert command_line("scaling.report", [str(good), str(bad), "--out", f"{tmp_path}/p.html"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"scaling.report: {bad}: its files are damaged")


@pytest.mark.filterwarnings("error")
def test_searches_without_evaluations_or_rewards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = f"{tmp_path}/p.html"
    none = [str(a_search(tmp_path / name, [float("nan"), 1.0])) for name in ("a", "b")]
    assert command_line("scaling.report", [*none, "--out", out]) == 0
    assert command_line("scaling.report", [none[0], "--out", out]) == 0
    assert command_line("scaling.report", [str(a_search(tmp_path / "c", [])), "--out", out]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "history.parquet holds no evaluation" in line


def test_the_page_of_a_run_is_not_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "run"
    options = ["--target-flops", "400M", "--budget", "200", "--out", str(place)]
    assert command_line("nas.search", options) == 0
    page = place / "report.html"
    before = page.read_bytes()
    assert command_line("scaling.report", [str(place), "--out", str(page)]) == 2
    assert "is the page of one of the runs; use another name" in capsys.readouterr().err
    assert page.read_bytes() == before
    assert command_line("scaling.report", [str(place), "--out", str(place / "b.html")]) == 0


def test_limits_of_every_page_are_of_costs() -> None:
    numbers = two_networks()[0].numbers
    assert all(limit.name in numbers for limit in LIMITS)
