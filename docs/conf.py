"""Sphinx's settings for the documentation site: ``make docs`` builds it in ``docs/_build/html``."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

project = "lm-eval-lora-boundary"
author = "The maintainers of lm-eval-lora-boundary"
copyright = author
try:
    release = version(project)
except PackageNotFoundError:
    release = "unknown"
version = release.partition("+")[0]

extensions = ["myst_parser", "sphinx_design"]
# the latter two are parts of other pages
exclude_patterns = ["_build", "replication/changes.md", "gpu/remarks.md"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4  # so that [links](page.md#to-a-heading) work, as on GitHub

html_theme = "furo"
html_title = "lm-eval-lora-boundary"
html_extra_path = ["reference/schemas"]
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False

linkcheck_timeout = 20
linkcheck_retries = 2
linkcheck_anchors = False
