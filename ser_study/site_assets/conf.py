# Sphinx reads this from the staged sources of the report site; see nbs/73_site.ipynb.
import sys
from importlib.resources import files
from pathlib import Path

import ser_study.site_sphinx   # the real one, before its skeleton gets in the way

assets = files("ser_study") / "site_assets"
skeletons = Path(__file__).parents[1] / "skeletons"
sys.path.insert(0, str(skeletons))
sys.modules["rfc3987_syntax"] = None   # jsonschema would compile its grammars, for seconds, and never use them

project = "ser_study"
html_title = "ser_study"
extensions = ["myst_nb", "autoapi.extension", "sphinx_copybutton", "ser_study.site_sphinx"]
smartquotes_action = "D"   # dashes only: what stands between quotes is often code

# Notebooks are shown as they were executed, with no script from elsewhere.
nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js = {}
nb_render_markdown_format = "myst"
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3
html_math_renderer = "mathml"
suppress_warnings = ["myst.header"]   # a notebook may step from ## to ####

# The library's own names must resolve; other people's manuals are elsewhere.
nitpick_ignore_regex = [(r"py:.*", r"(?!ser_study\b).*")]
autoapi_dirs = [str(skeletons / "ser_study")]
autoapi_root = "api"
autoapi_options = ["members", "undoc-members"]
autoapi_member_order = "bysource"
autoapi_add_toctree_entry = False
autoapi_keep_files = False
autoapi_template_dir = str(assets / "autoapi")
add_module_names = False
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

html_theme = "pydata_sphinx_theme"
html_static_path = [str(assets / "static")]
html_css_files = ["site.css"]
html_favicon = str(assets / "static" / "favicon.svg")
html_extra_path = ["../extra"]
html_sidebars = {"**": ["sidebar-nav-bs"], "index": [], "corpora": [], "papers/index": [], "library/index": [], "benchmarks/index": []}
html_copy_source = False
html_use_index = False
html_domain_indices = False
html_show_search_summary = False   # it would fetch pages, which a browser forbids on a disk
html_context = {"default_mode": "auto"}   # what the first visit gets; without it the theme complains on the console
html_theme_options = {
    "logo": {"text": "ser_study"},
    "navbar_end": ["theme-switcher"],
    "article_header_start": [],
    "footer_start": [],
    "footer_end": [],
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "navigation_with_keys": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
