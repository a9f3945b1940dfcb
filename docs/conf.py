"""How Sphinx builds the documentation: `sphinx-build -W docs docs/_build/html`.

The reference is made of the docstrings of this tree, whatever else is installed.
"""

import inspect
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from parsl_pool import __version__, errors  # of this tree

project = "parsl_pool"
author = "the parsl_pool developers"
copyright = author
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_use_ivar = True  # attributes as a list, and not as entries of their own
suppress_warnings = ["ref.python"]  # several classes have an attribute `stdout`: lists of attributes link to none
default_role = "code"  # docstrings are written as the pages are
for name in errors._LAZY:
    getattr(errors, name)  # so that they are found there
myst_heading_anchors = 3  # links like [...](page.md#a-heading)
myst_enable_extensions = ["colon_fence", "deflist"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

html_theme = "alabaster"
html_theme_options = {"description": "A process pool that goes on", "page_width": "1000px"}


def _of_init(app: Any, what: str, name: str, thing: Any, options: Any, signature: str, returns: Any) -> Any:
    """Executors remember how they were made, by a `__new__` that takes anything: of use is what `__init__` takes."""
    if what != "class" or not hasattr(thing, "recipe"):
        return None
    return str(inspect.signature(thing, eval_str=True).replace(return_annotation=inspect.Signature.empty)), None


def _for_users(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Of what a module says of itself, users need its attributes; the rest is for those who change it."""
    if what == "module":
        del lines[: next((number for number, line in enumerate(lines) if line.startswith(":ivar")), len(lines))]


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _for_users)
    app.connect("autodoc-process-signature", _of_init)
