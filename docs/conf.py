"""Settings of the documentation site: `make docs` builds it into site/.

Sphinx with Markdown pages (MyST): PyTorch, torchvision, Ray and Optuna use Sphinx, and PyTorch and
Ray write Markdown in it. Material for MkDocs reaches its end of life in May 2027, MkDocs 1.x has
had no release since 2024, and their successor Zensical is at version 0.1. The theme Furo loads no
font and no script from a network, so the site works offline, from a file:// address too.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_ext")]

from vbs.version import VERSION  # noqa: E402

project = "vision-baseline-search"
author = "the vision-baseline-search authors"
copyright = f"2026, {author}"
version = release = VERSION

extensions = [
    "myst_parser",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "docstrings",
    "commands",
]
root_doc = "index"
smartquotes = False  # options and values are quoted as they are typed
exclude_patterns = ["_ext"]
# classes of one name in two modules: a short name in a signature then links to neither
suppress_warnings = ["ref.python"]

# anchors of headings are GitHub's, so that links work in both places
myst_heading_anchors = 3
myst_links_external_new_tab = False

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
add_module_names = False
toc_object_entries_show_parents = "hide"
python_maximum_signature_line_length = 88

copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = False

html_theme = "furo"
html_title = f"{project} {version}"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True}
