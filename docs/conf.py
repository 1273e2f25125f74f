"""Settings of the documentation site. `make docs` builds it; nothing is fetched, and a warning is an error."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import reference_pages  # noqa: E402

import benchmark  # noqa: E402

project = "NAS-Bench-Pooling"
author = "The NAS-Bench-Pooling authors"
copyright = author
release = version = benchmark.__version__

exclude_patterns = ["_build", "**/.ipynb_checkpoints"]
extensions = ["myst_parser", "sphinx.ext.autodoc"]
smartquotes = False  # --wait is a flag, and no dash
highlight_language = "none"
html_theme = "furo"
html_title = f"NAS-Bench-Pooling {release}"
html_static_path: list[str] = []
html_show_sphinx = False

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 4

# The API, from the docstrings: plain text, which `reference_pages` turns into the site's markup.
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_mock_imports = ["ffcv", "submitit", "triton", "numba", "syne_tune"]  # extras that pages need not be built with
python_maximum_signature_line_length = 100
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

# Names of our own packages must lead somewhere; those of others are not looked up, for that takes a network.
nitpicky = True
suppress_warnings = ["ref.python"]  # an annotation names a class as its module does, and two modules have a Row
nitpick_ignore_regex = [
    ("py:.*", r"(?!benchmark\.|nas_methods\.).*"),
    ("py:.*", r".*\._\w+"),  # private: in a signature, on no page
    *(("py:.*", name) for name in reference_pages.type_variables()),
]


def setup(app):  # type: ignore[no-untyped-def]
    app.connect("autodoc-process-docstring", reference_pages.on_docstring)
    app.connect("autodoc-process-signature", reference_pages.on_signature)
    app.connect("builder-inited", lambda app: reference_pages.write_all(Path(app.srcdir) / "reference" / "generated"))
