"""How Sphinx builds the documentation: `sphinx-build -W docs docs/_build/html`."""

from pathlib import Path

# Read, not imported: the docs build without the package's dependencies.
_version: dict[str, str] = {}
exec((Path(__file__).parents[1] / "parsl_pool" / "_version.py").read_text(), _version)

project = "parsl_pool"
author = "the parsl_pool developers"
copyright = author
version = release = _version["__version__"]

extensions = ["myst_parser"]
myst_heading_anchors = 3  # links like [...](page.md#a-heading)
myst_enable_extensions = ["colon_fence", "deflist"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

html_theme = "alabaster"
html_theme_options = {"description": "A process pool that goes on", "page_width": "1000px"}
