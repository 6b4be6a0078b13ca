"The report site: built once from a miniature report, then read as a browser reads it."
import contextlib, io, json, re, shutil, time
from dataclasses import replace
from functools import partial
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from ser_study.settings import StudyError, load_settings

pytest.importorskip("autoapi", reason="the packages of the extra 'site' are not installed")
from ser_study.site.build import build_site
from ser_study.site.sphinx import write_skeletons
from site_tools import CUT_OFF, Page, follow_links, open_browser, read_pages

ROOT = Path(__file__).parents[1]
PAPER = "01_toh2025_hybrid_clustering"
DEMO = "demo_ravdess,n_seeds=2,resamples=20,text_models=minilm-untrained,transcripts=oracle,trials=4"
HOSTILE = "<script>alert(1)</script>"
ANSWER = "Words make the clusters no better"
ELSEWHERE = "another corpus or checkpoint: no verdict"
ROWS = [("Fig 3", "eGeMAPS", "KMeans, silhouette", "paper", "0.43", "0.41234567", "0.3911", "0.4399",
         ELSEWHERE),
        ("Fig 3", "eGeMAPS", "KMeans, silhouette", "corrected", "", "-0.00213", "-0.004", "0.001",
         "no published number"),
        ("Fig 3", "eGeMAPS + BERT", "KMeans, CHI", "paper", "9321.77", "8123.456", "7900.1", "8400.9",
         ELSEWHERE),
        ("Fig 9", f"said `twice` *now* {HOSTILE}", "clusters | of <5>", "paper", "8", "5", "", "", ELSEWHERE),
        ("A & B <b>table</b>", "noise", "HDBSCAN", "paper", "0.5", "", "", "", "untested"),
        ("Question 1", "eGeMAPS + BERT", "silhouette per clip", "corrected", "", "0.0125", "0.0101", "0.0149",
         "no published number")]


def results(run: str, comparable: str) -> pd.DataFrame:
    shift = 0.0 if comparable == "replication" else 0.01
    frame = pd.DataFrame(ROWS, columns=["item", "row", "column", "protocol", "published", "reproduced", "low",
                                        "high", "verdict"])
    frame["reproduced"] = [text and str(round(float(text) + shift, 6)) for text in frame.reproduced]
    if comparable == "demo": frame["verdict"] = "demo: no verdict"
    return frame.assign(paper=PAPER, corpus=run, profile="demo", n="3061", seeds="1,2,3",
                        comparable=comparable)


def provenance(run: str) -> dict:
    return dict(paper=PAPER, run=run, parameters=dict(k=8, transcripts="whisper", note=HOSTILE),
                settings=dict(profile="demo", seeds=[1, 2, 3]), commit="0" * 40, dirty=True,
                started="2025-06-01T08:00:00+00:00", packages={"umap-learn": "0.5.9", "torch": "2.13.0"},
                corpora=dict(ravdess=dict(title="RAVDESS speech", clips=1440, used=1438, dropped=2,
                                          fingerprint="9f31ac07", licence="CC BY-NC-SA 4.0", expected=1440),
                             crema_d=dict(title="CREMA-D", clips=1623, expected=7442, used=1623, dropped=0,
                                          fingerprint="77ab0e12", licence="ODbL 1.0")),
                checkpoints=dict(text="minilm"), seeds=[1, 2, 3],
                hardware=dict(cpu="a processor", cores=2, memory_gb=8.0),
                stages=[dict(stage="screening", items=3063, wall_s=12.5, cpu_s=21.25, peak_mb=310),
                        dict(stage="UMAP", items=3061, wall_s=33.0, cpu_s=41.0, peak_mb=812.4)],
                assumptions=[dict(what="K", value=8,
                                  why="the paper shows 8 clusters in one place and 5 in another")],
                defects=[dict(utterance=f"crema_d/{HOSTILE}", defect="silent", detail="peak 0",
                              dropped=True)])


def figure_svg(title: str | None = None) -> str:
    "A figure as seaborn would leave it, small; with a title for those who cannot see it."
    from matplotlib.figure import Figure
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.scatter([0, 1, 2, 3, 4], [3, 1, 2, 5, 4], c=["#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc"])
    right.bar(["paper", "ours", "noise"], [0.43, 0.41, 0.34], color=["#949494", "#0173b2", "#de8f05"])
    left.set(title="UMAP plane", xlabel="first", ylabel="second")
    right.set(title="Silhouette")
    figure.savefig(text := io.StringIO(), format="svg",
                   metadata={"Date": None, **({"Title": title} if title else {})})
    return text.getvalue()


def report() -> nbformat.NotebookNode:
    from great_tables import GT
    frame = pd.DataFrame({"transcript": ["kids are talking by the door", HOSTILE],
                          **{f"cluster mean {i}": [0.125 * i, 0.25] for i in range(12)}})
    table = GT(frame, id="compared").tab_header("Beside the paper").as_raw_html()
    svg, other = figure_svg(), figure_svg('Noise & "nothing", beside <us>')
    bar, said = (new_output("stream", name=name, text=text) for name, text in
                 (("stderr", "  0%|\r100%|done\n"), ("stdout", f"{HOSTILE}\n")))

    def shows(kind: str, content: str) -> list:
        return [new_output("display_data", data={kind: content, "text/plain": "shown"})]
    return new_notebook(cells=[new_markdown_cell("# How it is said, and what is said\n\n> Do "
                                                 "transcripts make the clusters of emotional "
                                                 "speech better, and are those clusters " "emotions?"),
                               new_code_cell("answer = Answer()", execution_count=1,
                                             outputs=shows("text/markdown", f"**{ANSWER}**")),
                               new_markdown_cell("The silhouette of a clip is $s = \\frac{b - "
                                                 "a}{\\max(a, b)}$, where $a < b$ if it sits "
                                                 "well:\n\n$$\\bar{s} = \\frac{1}{n} "
                                                 "\\sum_{i=1}^{n} s_i$$"),
                               new_code_cell("corpora = 'ravdess,crema_d'\nseeds = (1, 2, "
                                             "3)", metadata={"tags": ["parameters"]}, execution_count=1),
                               new_markdown_cell("## The *plane*\n\nEvery clip is a point; "
                                                 "colour is emotion."),
                               new_code_cell("#| echo: false\nplot(plane)", execution_count=2,
                                             outputs=[bar, *shows("image/svg+xml", svg)]),
                               new_code_cell("plot(nulls)", outputs=shows("image/svg+xml", other)),
                               new_markdown_cell("#### What is said\n\nTranscripts nearest the "
                                                 "centroids."),
                               new_code_cell("nearest(plane)", execution_count=3,
                                             outputs=shows("text/html", frame.to_html())),
                               new_code_cell("compare(plane)", execution_count=4,
                                             outputs=shows("text/html", table)),
                               new_code_cell("print(transcript)", execution_count=5, outputs=[said])])


def make_run(folder: Path, comparable: str, figures: int = 1) -> None:
    (folder / "figures").mkdir(parents=True)
    nbformat.write(report(), folder / "report.ipynb")
    results(folder.name, comparable).to_csv(folder / "results.csv", index=False)
    (folder / "run.json").write_text(json.dumps(provenance(folder.name)))
    if figures: (folder / "figures/overview.svg").write_text(figure_svg("Silhouettes of words and voice"))


@pytest.fixture(scope="session")
def reports(tmp_path_factory) -> Path:
    reports = tmp_path_factory.mktemp("study") / "reports"
    make_run(reports / PAPER / DEMO, "demo")
    make_run(reports / PAPER / "ravdess+crema_d", "replication")
    half = reports / PAPER / "nemo"   # a run under way: a draft, and numbers without a story
    (half / "figures").mkdir(parents=True)
    for folder in (half, reports / PAPER / DEMO): (folder / ".report.4711.ipynb").write_text("{")
    for name in ("results.csv", ".results.csv.4711"): (half / name).write_text("paper,it")
    (reports / PAPER / "ravdess").mkdir()
    for name in ("01_representation", "02_training"): (reports / "benchmarks" / name).mkdir(parents=True)
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Representation, measured\n\n> Is one STFT "
                                                         "enough?"),
                                       new_code_cell("measure()",
                                                     outputs=[new_output("stream",
                                                                         text="2.6 times faster\n")])]),
                   reports / "benchmarks/01_representation/report.ipynb")
    return reports


FACE = '''"Speech emotion recognition."
_WHERE = {"load_settings": "settings", "StudyError": "settings"}
'''


@pytest.fixture(scope="session")
def lowest_floor(reports) -> Path:
    "The package with its lowest floor alone; its notebooks lie beside the reports. The whole takes a minute."
    (notebooks := reports.parent / "nbs").mkdir()
    for path in (ROOT / "nbs").glob("1*.ipynb"): shutil.copy(path, notebooks)
    for name in ("CONTRIBUTING.md", "CITATION.cff"): shutil.copy(ROOT / name, reports.parent)
    (package := reports.parent / "lowest/ser_study").mkdir(parents=True)
    for path in (ROOT / "ser_study").glob("[!_]*.py"): shutil.copy(path, package)
    (package / "__init__.py").write_text(FACE)
    return package


@pytest.fixture(scope="session")
def built(reports, lowest_floor) -> tuple[Path, str]:
    "The site, and what was said on stderr while it was built."
    settings = replace(load_settings(ROOT / "settings.ini"), root=reports.parent)
    with (pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(io.StringIO()) as told):
        patch.setattr("ser_study.site.build.write_skeletons", partial(stage_small, lowest_floor))
        index = build_site(reports, settings=settings)
    assert index == reports / "site/index.html"
    return index.parent, told.getvalue()


@pytest.fixture(scope="session")
def site(built) -> Path: return built[0]


@pytest.fixture(scope="session")
def pages(site) -> dict[str, Page]: return read_pages(site)


def test_every_kind_of_page_is_there(pages):
    wanted = {"index.html", "papers/index.html", "corpora.html", "search.html", f"papers/{PAPER}/index.html",
              f"papers/{PAPER}/{DEMO}.html", f"papers/{PAPER}/ravdess+crema_d.html",
              "benchmarks/01_representation.html", "library/10_settings.html",
              "api/ser_study/settings/index.html", "add.html"}
    assert wanted <= pages.keys()
    papers, expected = ({name for name in names if name.startswith("papers/")} for names in (pages, wanted))
    assert papers == expected, "neither benchmarks nor half-made runs are papers"


def test_without_a_summary_there_is_no_scoreboard(pages):
    raw = pages["index.html"].path.read_text(encoding="utf-8")
    assert 'id="scoreboard"' not in raw
    assert "make study" in "".join(pages["index.html"].text)
    assert not any("claim-" in i for i in pages[f"papers/{PAPER}/index.html"].ids)


def test_what_is_left_out_is_named(built):
    lines = built[1].splitlines()
    assert len(lines) == 3 and all(line.startswith("Left out: ") for line in lines), lines
    for part in (f"{PAPER}/nemo has no report.ipynb", f"{PAPER}/ravdess has no report.ipynb",
                 "benchmarks/02_training has no report.ipynb"):
        assert part in built[1]


def test_a_report_reads_as_an_article(pages):
    for place, folded, seen in ((f"papers/{PAPER}/{DEMO}.html",
                                 ["answer", "plot(plane)", "plot(nulls)", "nearest(plane)", "compare(plane)",
                                  "print(transcript)"], "kids are talking"),
                                ("benchmarks/01_representation.html", ["measure()"], "2.6 times faster"),
                                ("library/10_settings.html", [], "")):
        raw = pages[place].path.read_text(encoding="utf-8")
        hidden = re.findall(r'<details class="admonition hide.*?</details>', raw, re.DOTALL)
        assert [re.sub("<.*?>", "", text).split()[4] for text in hidden] == folded
        assert all("show code" in text and " open" not in text.split(">")[0] for text in hidden)
        assert seen in raw
        assert not any(shown in text for text in hidden for shown in ("<img", "<table", "times faster",
                                                                      "corpora"))
    title = re.search("<h1>(.*?)<",
                      pages[f"papers/{PAPER}/{DEMO}.html"].path.read_text(encoding="utf-8")).group(1)
    text = " ".join("".join(pages[f"papers/{PAPER}/{DEMO}.html"].text).split())
    assert title == "How it is said, and what is said"
    assert text.index(title) < text.index(DEMO) < text.index("The silhouette of a clip")


def test_every_local_link_leads_somewhere(site, pages):
    checked, broken = follow_links(site, pages)
    assert checked > 200 and not broken, broken[:10]


LOADS, SOURCE = r"(?:fetch|import|importScripts|sendBeacon)\(\s*", r"\.src\s*=\s*"   # in a script
OUTSIDE = r"""['"`](?:https?:)?//"""


def test_nothing_is_loaded_from_outside(site, pages):
    outside = [(name, load) for name, page in pages.items() for load in page.loads
               if re.match(r"(https?:)?//", load.strip())]
    assert not outside
    for path in [*site.rglob("*.css"), *(p.path for p in pages.values())]:
        assert not re.findall(r"(?:url\(|@import)\s*['\"]?\s*(?:https?:)?//",
                              path.read_text(encoding="utf-8")), path.name
    for path in site.rglob("*.js"):
        text = path.read_text(encoding="utf-8")
        assert not re.findall(f"{LOADS}{OUTSIDE}|{SOURCE}{OUTSIDE}", text), path.name


def test_numbers_are_those_of_the_table(reports, pages):
    for run in (DEMO, "ravdess+crema_d"):
        table = pd.read_csv(reports / PAPER / run / "results.csv", dtype=str, keep_default_na=False)
        assert pages[f"papers/{PAPER}/{run}.html"].values == list(table.reproduced)
        beside = pages[f"papers/{PAPER}/index.html"].values
        if run == "ravdess+crema_d":
            assert set(table.reproduced) | set(table.published) == {*beside,
                                                                    ""}, "the reference run, and no other"
    text = " ".join("".join(pages[f"papers/{PAPER}/ravdess+crema_d.html"].text).split())
    for seen in ("0.412 [0.391, 0.440]", "−0.0021 [−0.0040, 0.0010]", "8,123 [7,900, 8,401]",
                 "another corpus or checkpoint: no verdict", "3,061 clips"):
        assert seen in text, seen


def test_reference_run_is_the_real_one_and_kinds_are_said(pages):
    text = " ".join("".join(pages[f"papers/{PAPER}/index.html"].text).split())
    assert text.index("ravdess+crema_d reference replication") < text.index(f"{DEMO} demo")
    front = " ".join("".join(pages["index.html"].text).split())
    assert front.count("not yet") >= 5 and "Paper 05" in front and "Do transcripts make the clusters" in front
    assert f"papers/{PAPER}/ravdess+crema_d.html" in pages["index.html"].links


def test_paper_beside_ours(pages):
    raw = pages[f"papers/{PAPER}/index.html"].path.read_text(encoding="utf-8")
    text = " ".join("".join(pages[f"papers/{PAPER}/index.html"].text).split())
    assert "replication real recordings, but other corpora" in text
    assert "RAVDESS speech: 1,438 of 1,440; CREMA-D: 1,623 of 7,442" in text
    assert ("eGeMAPS KMeans, silhouette 0.43 0.412 [0.391, 0.440] −0.0021 [−0.0040, "
            "0.0010] another corpus or checkpoint: no verdict" in text)
    printed, folded = raw.split("1 line without a published number")
    assert "0.0125" in folded and "0.0125" not in printed and printed.rstrip().endswith("<details><summary>")
    dimmed = re.findall(r'<tr class="unanswered">.*?</tr>', raw, re.DOTALL)
    assert len(dimmed) == 1 and "noise" in dimmed[0] and "untested" in re.sub("<.*?>", "", dimmed[0])


def test_hostile_text_stays_text(site, pages):
    for name in (f"papers/{PAPER}/index.html", f"papers/{PAPER}/{DEMO}.html"):
        raw = pages[name].path.read_text(encoding="utf-8")
        assert "<script>alert" not in raw and "<b>table" not in raw
        assert HOSTILE in "".join(pages[name].text), "and is still there to be read"
    shown = "".join(pages[f"papers/{PAPER}/index.html"].text)
    assert "said `twice` *now*" in shown and "A & B <b>table</b>" in shown


def test_formulas_are_mathml(pages):
    raw = pages[f"papers/{PAPER}/{DEMO}.html"].path.read_text(encoding="utf-8")
    assert raw.count("<math ") == 3
    assert "<mfrac>" in raw
    assert 'display="block"' in raw
    assert not re.search(r"(?i)src=.[^>]*mathjax", raw)


def test_figures_are_files_with_words(site, pages):
    images = [image for page in pages.values() for image in page.images]
    assert images
    assert all(len(image.get("alt", "")) > 8 and "/" not in image["alt"] for image in images), images
    drawn = [i["src"] for i in pages[f"papers/{PAPER}/{DEMO}.html"].images]
    assert len(drawn) == 2 and all(name.endswith(".svg") for name in drawn)
    assert [image["alt"] for image in pages[f"papers/{PAPER}/{DEMO}.html"].images] == ["Figure 1: The plane",
            'Noise & "nothing", beside <us>']
    for place in ("index.html", f"papers/{PAPER}/index.html"):
        assert [image["alt"] for image in pages[place].images] == ["Silhouettes of words and voice"]
    assert (site / "files" / PAPER / DEMO / "figures/overview.svg").is_file()


def test_provenance_and_files(reports, site, pages):
    text = " ".join("".join(pages[f"papers/{PAPER}/{DEMO}.html"].text).split())
    for seen in ("9f31ac07", "CC BY-NC-SA 4.0", "umap-learn", "the paper shows 8 clusters", "812.4", "silent",
                 "whisper", "100%|done"):
        assert seen in text, seen
    assert "0%| 100%" not in text
    for name in ("report.ipynb", "results.csv", "run.json"):
        assert ((site / "files" / PAPER / DEMO / name).read_bytes()
                == (reports / PAPER / DEMO / name).read_bytes())


def test_no_machine_is_named(reports, site):
    for path in site.rglob("*"):
        if path.suffix in (".html", ".js", ".inv", ".txt") and "_static" not in path.parts:
            for place in (str(ROOT), str(reports.parent), str(Path.home())):
                if place != "/": assert place.encode() not in path.read_bytes(), path


def test_api_says_shapes(pages):
    text = " ".join("".join(pages["api/ser_study/labels/index.html"].text).split())
    assert "emotion -> number of raters who chose it" in text and "float64, sums to 1" in text
    assert "default_exp" not in "".join(pages["library/10_settings.html"].text)


def test_the_answer_stands_on_the_first_screen(pages):
    "Below the title and the banner, above the parameters and all that led to it."
    page = pages[f"papers/{PAPER}/{DEMO}.html"]
    text = " ".join("".join(page.text).split())
    places = [text.index(part) for part in ("demo", ANSWER, "The silhouette of a clip", "seeds =")]
    assert places == sorted(places)


@pytest.mark.parametrize("name, content, said",
                         [("results.csv", "paper,item\n1,2\n", "results.csv lacks the column 'row'"),
                          ("results.csv", "", "results.csv cannot be read"),
                          ("run.json", "{", "run.json cannot be read"),
                          ("report.ipynb", "[]", "report.ipynb cannot be read"),
                          ("report.ipynb", None, "holds no finished run yet")])
def test_a_damaged_file_is_named(tmp_path, name, content, said):
    make_run(tmp_path / "reports" / PAPER / "demo", "demo", figures=0)
    path = tmp_path / "reports" / PAPER / "demo" / name
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(StudyError, match=re.escape(said)): build_site(tmp_path / "reports")
    assert not (tmp_path / "reports/site").exists()


def stage_small(package: Path, _, folder: Path) -> None:
    "Write the skeletons of a small package instead of the library's."
    write_skeletons(package, folder)


def test_what_sphinx_refuses_leaves_the_old_site(tmp_path, monkeypatch):
    package = tmp_path / "small/ser_study"   # the API of the real one takes most of the time
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('"Nothing in it."')
    monkeypatch.setattr("ser_study.site.build.write_skeletons", partial(stage_small, package))
    reports = tmp_path / "reports"
    make_run(reports / PAPER / "demo", "demo", figures=0)
    notebook = report()
    notebook.cells.append(new_markdown_cell("see [this](nowhere.md), and $\\foo$"))
    nbformat.write(notebook, reports / PAPER / "demo/report.ipynb")
    (reports / "site").mkdir()
    (reports / "site/searchindex.js").write_text("old")
    with pytest.raises(StudyError, match="(?s)nowhere.*") as refused: build_site(reports)
    assert "\\foo is unknown" in str(refused.value) and str(tmp_path) not in str(refused.value)
    assert (reports / "site/searchindex.js").read_text() == "old"
    assert sorted(p.name for p in reports.iterdir()) == [PAPER, "site"], "nothing half-made is left behind"


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory) as browser: yield browser


PLACES = ["index.html", "papers/index.html", f"papers/{PAPER}/index.html", f"papers/{PAPER}/{DEMO}.html",
          "corpora.html", "library/index.html", "library/10_settings.html", "api/ser_study/index.html",
          "api/ser_study/settings/index.html", "benchmarks/01_representation.html"]


@pytest.mark.parametrize("place", PLACES)
def test_opens_from_disk(site, browser, place):
    browser.look((site / place).as_uri())
    assert browser.complaints() == []
    requested = [e for e in browser.events if e.get("method") == "Network.requestWillBeSent"]
    assert len(requested) > 3, "the page's own files were asked for"
    browser.look((site / place).as_uri(), width=390)
    for scheme in ("light", "dark"):
        browser.prefer(scheme)   # the page changes its colours while it is open
        browser.call("Runtime.evaluate", expression="new Promise(done => setTimeout(done, 150))",
                     awaitPromise=True)
        assert browser.value("document.documentElement.dataset.theme") == scheme
        assert (browser.value("document.documentElement.scrollWidth")
                <= 390), "the page itself does not scroll sideways on a telephone"
        assert browser.value(CUT_OFF) == []
        ground = browser.value("getComputedStyle(document.body).backgroundColor")
        red, green, blue = map(int, re.findall(r"\d+", ground)[:3])
        assert (red + green + blue > 600) == (scheme == "light")
        assert browser.complaints() == []


def test_tables_and_names_fit_the_page(site, browser):
    place = (site / f"papers/{PAPER}/{DEMO}.html").as_uri()
    browser.look(place)
    assert (browser.value("[...document.querySelectorAll('.bd-sidebar-primary a')].filter(a => "
                          "a.scrollWidth > a.clientWidth + 1).length")
            == 0), "long names wrap beside the page too"
    assert browser.value("[...document.querySelectorAll('.run-name')].every(e => "
                         "getComputedStyle(e).fontFamily.includes('mono'))")
    for scheme in ("light", "dark"):
        browser.look(place, width=390, scheme=scheme)
        looks = "(e => [getComputedStyle(e).color, getComputedStyle(e).fontFamily])"
        assert (browser.value(f"{looks}(document.querySelector('.gt_table td.gt_right'))")
                == browser.value(f"{looks}(document.querySelector('table.plain td'))"))
        assert browser.value("[...document.querySelectorAll('.gt_table, .gt_table *, "
                             ".text_html:has(.gt_table)')].every(e => getComputedStyle(e).backgroundColor "
                             "== 'rgba(0, 0, 0, 0)')")
        wide = browser.value("document.querySelector('.gt_table').offsetWidth")
        assert wide > 390, "the wide table scrolls in its box"


def test_formulas_are_drawn(site, browser):
    browser.look((site / f"papers/{PAPER}/{DEMO}.html").as_uri())
    heights = browser.value("[...document.querySelectorAll('math')].map(m => "
                            "m.getBoundingClientRect().height)")
    lone = browser.value("document.querySelector('mfrac').getBoundingClientRect().height / "
                         "document.querySelector('mfrac mi').getBoundingClientRect().height")
    assert len(heights) == 3 and min(heights) > 5 and lone > 1.5, "a fraction stands taller than its letters"
    assert all(browser.value("[...document.images].map(i => i.naturalWidth > 50)"))


def test_search_works_from_disk(site, browser):
    browser.look((site / "search.html").as_uri() + "?q=centroids")
    for _ in range(40):
        found = browser.value("[...document.querySelectorAll('#search-results li a')].map(a => a.href)")
        if found: break
        time.sleep(0.25)
    assert any("/papers/" in link for link in found) and browser.complaints() == []
