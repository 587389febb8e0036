"""Draws docs/_static/chain.svg, the picture of docs/how-it-works.md.

    python docs/_ext/chain_figure.py

The picture is tall, to be legible on a phone, and has a white background, to be legible in the
dark theme of the site.
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

FILE = Path(__file__).resolve().parents[1] / "_static" / "chain.svg"
WIDTH, BOX, GAP, LEFT = 420, 62, 26, 20
COLOURS = {
    "search_spaces": "#e3edf7",
    "nas": "#fdebd3",
    "train": "#e2f2e1",
    "scaling": "#efe5f5",
}
# package, title, text
STEPS = (
    ("search_spaces", "genotype", "one option for each decision of a space"),
    ("search_spaces", "Architecture", "plain data: stages, layers, channels; JSON"),
    ("search_spaces", "exact cost", "FLOPs, parameters, activations: limits"),
    ("nas", "evaluator", "accuracy: predicted, looked up or trained"),
    ("nas", "strategy and history", "propose the next networks from all results"),
    ("nas", "best.json, report.html", "the best network and all evaluations"),
    ("train", "train.run", "weights: best.safetensors, run.json, curves"),
    ("scaling", "scaling.family", "smaller and larger members"),
    ("train", "train.export", "ONNX, OpenVINO, LiteRT, timm, the Hub"),
)
BACK = (4, 0)  # arrow back from box 4 (the history) to box 0 (the next genotypes)


def picture() -> str:
    """Return the picture as SVG."""
    height = LEFT * 2 + len(STEPS) * BOX + (len(STEPS) - 1) * GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="sans-serif" fill="#1a1a1a">',
        "<title>From a genotype to a trained and exported network</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#555"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="white"/>',
    ]
    for number, (package, title, text) in enumerate(STEPS):
        top = _top(number)
        parts += [
            f'<rect x="{LEFT}" y="{top}" width="{WIDTH - 2 * LEFT - 20}" height="{BOX}" rx="6" '
            f'fill="{COLOURS[package]}" stroke="#888"/>',
            f'<text x="{LEFT + 14}" y="{top + 25}" font-size="17" font-weight="bold">'
            f"{escape(title)}</text>",
            f'<text x="{WIDTH - LEFT - 32}" y="{top + 25}" font-size="13" text-anchor="end" '
            f'fill="#444">{package}</text>',
            f'<text x="{LEFT + 14}" y="{top + 48}" font-size="15">{escape(text)}</text>',
        ]
        if number:
            parts.append(_line(f"M{LEFT + 60} {top - GAP} V{top - 2}"))
    start, end = (_top(number) + BOX // 2 for number in BACK)
    edge = WIDTH - LEFT - 20
    parts.append(_line(f"M{edge} {start} H{edge + 16} V{end} H{edge + 2}"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _top(number: int) -> int:
    return LEFT + number * (BOX + GAP)


def _line(path: str) -> str:
    return f'<path d="{path}" fill="none" stroke="#555" stroke-width="2" marker-end="url(#tip)"/>'


if __name__ == "__main__":
    FILE.write_text(picture(), encoding="utf-8")
