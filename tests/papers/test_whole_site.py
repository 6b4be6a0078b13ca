"The site with the whole library: every notebook and every module, and links between them."
from pathlib import Path

import pytest

pytest.importorskip("autoapi", reason="the packages of the extra 'site' are not installed")
import ser_study
from ser_study.settings import load_settings
from ser_study.site.build import build_site
from ser_study.site.sphinx import package_face
from site_tools import follow_links, read_pages
from test_site import (DEMO, PAPER, ROOT, make_run, test_no_machine_is_named,  # noqa: F401
                       test_nothing_is_loaded_from_outside)  # of this site, too

pytestmark = pytest.mark.papers


@pytest.fixture(scope="module")
def reports(tmp_path_factory) -> Path:
    "One miniature report."
    reports = tmp_path_factory.mktemp("study") / "reports"
    make_run(reports / PAPER / DEMO, "demo")
    return reports


@pytest.fixture(scope="module")
def site(reports) -> Path:
    return build_site(reports, settings=load_settings(ROOT / "settings.ini")).parent


@pytest.fixture(scope="module")
def pages(site): return read_pages(site)


def test_every_local_link_leads_somewhere(site, pages):
    checked, broken = follow_links(site, pages)
    assert checked > 10_000 and broken == []


def test_every_notebook_of_the_library_has_its_page(pages):
    notebooks = sorted((ROOT / "nbs").glob("[1-9]*_*.ipynb"))
    assert {f"library/{path.stem}.html" for path in notebooks} <= pages.keys() and len(notebooks) > 100


def test_every_module_has_its_page_of_the_reference(pages):
    "Those of a subpackage too."
    modules = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "ser_study").rglob("[!_]*.py")
               if "assets" not in path.parts]
    assert Path("ser_study/models/networks/cltnet") in modules
    assert {f"api/{module.as_posix()}/index.html" for module in modules} <= pages.keys()
    bilstm = "".join(pages["api/ser_study/models/networks/bilstm/index.html"].text)
    assert "(batch, frames, d) -> logits (batch, classes)" in bilstm


def test_the_face_of_the_library_is_listed_with_links(pages):
    "Each name that `ser_study` itself offers, by a link to the module that defines it."
    page = pages["api/ser_study/index.html"]
    assert set(ser_study.__all__) == set(package_face(ROOT / "ser_study"))
    for name, module in package_face(ROOT / "ser_study").items():
        place = f"{module.replace('.', '/')}/index.html"
        assert f"{place}#ser_study.{module}.{name}" in page.links, name
