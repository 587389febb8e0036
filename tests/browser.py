"""Test helper: runs a script in an HTML page in headless Chromium."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="needs chromium (Debian's package of that name)"
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--hide-scrollbars",
)
# headless Chromium draws frames only after changes, and not always
FRAMES = (
    "<script>window.requestAnimationFrame = call => setTimeout(() => call(performance.now()), 16);"
    "</script>"
)


def in_browser(page: Path, script: str, *, width: int, place: Path) -> Any:
    """Run a script in a page of the given width and return its result.

    script  JavaScript statements that can use `d`, the page's document, and `w`, its window, and
            return plain data; they may await.

    Fails if the page writes to the console, requests a resource, or is wider than the window.
    """
    wrapper = place / f"wrapper-{page.stem}-{width}.html"
    text = page.read_text(encoding="utf-8").replace("<head>", f"<head>{FRAMES}", 1)
    inner = html.escape(text, quote=True)
    wrapper.write_text(
        f'<iframe id="f" style="width:{width}px;height:900px;border:0" srcdoc="{inner}"></iframe>'
        "<script>addEventListener('load', async () => { const frame = document.getElementById('f');"
        "const d = frame.contentDocument, w = frame.contentWindow;"
        f"const found = await (async () => {{ {script} }})();"
        "document.body.dataset.found = JSON.stringify({found, wide: d.documentElement.scrollWidth,"
        "loaded: w.performance.getEntriesByType('resource').map(e => e.name)"
        ".filter(name => !name.startsWith('data:'))}); });</script>",
        encoding="utf-8",
    )
    assert BROWSER is not None
    done = subprocess.run(
        [
            BROWSER,
            *FLAGS,
            f"--user-data-dir={place}/profile-{page.stem}-{width}",
            "--dump-dom",
            "--virtual-time-budget=5000",
            f"--window-size={width},900",
            wrapper.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = re.search(r'data-found="([^"]*)"', done.stdout)
    assert found, done.stderr
    assert "CONSOLE" not in done.stderr
    answer = json.loads(html.unescape(found[1]))
    assert answer["loaded"] == []
    assert answer["wide"] <= width
    return answer["found"]
