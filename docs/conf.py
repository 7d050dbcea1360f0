"""How Sphinx builds the documentation: `make docs`."""

from typing import Any

from sphinx.application import Sphinx

from torch_direct import __version__

project = "torch-direct"
author = "The torch-direct developers"
release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinxcontrib.mermaid",
]

html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = False
html_show_copyright = False
html_show_sourcelink = False
highlight_language = "none"

myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 3

# What docstrings put between backticks is code, and a link where it names something on the site.
default_role = "py:obj"
autoclass_content = "both"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True


def setup(app: Sphinx) -> None:
    """Keep what stands under an attribute as it is.

    Napoleon takes the words before a colon in it for a type.
    """
    kept: dict[str, list[str]] = {}

    def keep(_app: Sphinx, what: str, name: str, *given: Any) -> None:
        if what in ("attribute", "data"):
            kept[name] = list(given[-1])

    def give_back(_app: Sphinx, _what: str, name: str, *given: Any) -> None:
        if name in kept:
            given[-1][:] = kept.pop(name)

    before, after = 400, 600
    app.connect("autodoc-process-docstring", keep, priority=before)
    app.connect("autodoc-process-docstring", give_back, priority=after)
