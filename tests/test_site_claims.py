"The scoreboard of a small site with a summary: read as a file, walked by its links, used in a browser."
import contextlib, io, json, re, shutil, time
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

pytest.importorskip("autoapi", reason="the packages of the extra 'site' are not installed")
from committed import committed_reports
from ser_study.evaluation.claims import Claim, load_claims
from ser_study.evaluation.published import RESULTS
from ser_study.evaluation.scoreboard import HEADLINES, JUDGED, PLACEBO
from ser_study.evaluation.verdicts import VERDICTS
from ser_study.site.build import build_site, stage_papers
from ser_study.site.format import ASSETS, environment, make_slug
from ser_study.site.claims import NO_VERDICT, read_scoreboard
from ser_study.site.pages import placebos, scoreboard as read_claims
from ser_study.site.reports import read_reports
from site_tools import CUT_OFF, follow_links, open_browser, read_pages
from test_site import figure_svg, provenance, stage_small

ROOT = Path(__file__).parents[1]
FIRST, FOURTH, SUMMARY = "01_toh2025_hybrid_clustering", "04_liang2023_pdds", "06_summary"


def pair(first: str, second: str) -> tuple[dict]:
    return (dict(first={"configuration": first}, second={"configuration": second}),)


# made up, so that no test depends on what the papers' claims are today
RAISED = ("Question 1", "adding minilm of oracle", "silhouette difference")
CLAIMS = [Claim("01.1", "Words raise the silhouette.", "section 4, Fig 3", "printed", "silhouette", "higher",
                "all clips", row=(RAISED,)),
          Claim("04.1", "PDDS raises UA of CLTNet.", "section 3.3, Table 1", "printed", "UA", "higher",
                "IEMOCAP", systems=pair("CLTNet + PDDS", "CLTNet"), matters=.02,
                because="a third of the published one"),
          Claim("04.8", "PDDS beats uniform smoothing.", "Table 2", "printed", "UA", "higher", "IEMOCAP",
                systems=pair("CLTNet + PDDS", "CLTNet + uniform")),
          Claim("04.9", "Uniform smoothing keeps up.", "section 4", "implied", "UA", "equal", "IEMOCAP",
                systems=pair("CLTNet + uniform", "CLTNet")),
          Claim("04.10", "PDDS lowers WA of CLTNet.", "Table 1", "printed", "WA", "lower", "IEMOCAP",
                systems=pair("CLTNet + PDDS", "CLTNet")),
          Claim("04.11", "PDDS raises UA of the text branch.", "Table 1", "printed", "UA", "higher",
                "a corpus whose words are free", untested="twelve sentences carry no emotion"),
          Claim("05.1", "An MLP beats a BiLSTM.", "Table 4", "printed", "WA", "higher", "the paper's corpus")]
CLAIMS = {claim.id: claim for claim in CLAIMS}
NEAREST = ["ravdess", "iemocap", "crema_d"]
COMPARED, FEW = "CLTNet + PDDS − CLTNet", "these voices only"
# one from a row, a mixed one, one of a run that is gone, a reversed one, an equal one, one without a verdict
TESTS = [("01.1", "ravdess", "corrected", "adding minilm of oracle: silhouette difference", "0.14159",
          "0.12001", "0.16002", "holds, smaller than published"),
         ("04.1", "crema_d", "corrected", COMPARED, "0.011627882754848761", "-0.00143751", "0.0235",
          "inconclusive"),
         ("04.1", "crema_d", "paper", COMPARED, "0.045261411073009794", "0.011080235838444077", "0.0911",
          "holds"),
         ("04.1", "nemo", "corrected", COMPARED, "-0.09", "-0.12", "-0.06", "reversed"),
         ("04.8", "crema_d", "corrected", "CLTNet + PDDS − CLTNet + uniform", "-0.0147", "-0.0328", "-0.0012",
          "reversed"),
         ("04.9", "crema_d", "corrected", "CLTNet + uniform − CLTNet", "0.001", "-0.005", "0.007", "holds"),
         ("04.10", "crema_d", "corrected", COMPARED, "-0.25", "-0.9", "0.4", "")]
SAID = {"01.1": "holds, smaller than published", "04.1": "mixed", "04.8": "reversed", "04.9": "holds",
        "04.10": "untested", "04.11": "untested", "05.1": "untested"}
ROWS = {FIRST: [("Fig 3", "openSMILE", "silhouette", "paper", "0.44", "0.46", "0.43", "0.49"),
                (*RAISED, "corrected", "", "0.14159", "0.1301", "0.1502"),
                ("Fig 3", "openSMILE", "silhouette", "corrected", "", "0.41", "0.39", "0.44")],
        FOURTH: [("Table 1", "CLTNet", "UA with PDDS", "paper", "65.1", f"{50 + i}.5", f"{48 + i}",
                  f"{55 + i}") for i in (9, 1, 5)]}
ITSELF = [("CLTNet", "0.004", "-0.01", "0.018", "0.53", ""), ("MAT", "0.03", "0.002", "0.058", "0.04", ""),
          ("SVM", "0.03", "0.002", "0.058", "0.04", FEW)]


def scoreboard() -> pd.DataFrame:
    "The tests; every other claim is untested."
    rows = []
    for claim in CLAIMS.values():
        common = dict(claim=claim.id, paper=claim.paper, metric=claim.metric, expects=claim.expects)
        tests = [test for test in TESTS if test[0] == claim.id]
        for _, run, protocol, systems, value, low, high, verdict in tests:
            bounds = dict(low="-0.001", high="0.001", low_holm=low, high_holm=high, p_holm="0.0123",
                          units="20")
            if not verdict: bounds = dict(low=low, high=high, units="3", reason=FEW)
            rows.append(dict(common, run=run, corpus=run, protocol=protocol, systems=systems, value=value,
                             verdict=verdict, comparable="replication", p="0.01", n="734", repetitions="10",
                             published="0.16", matters="0.02", detectable="0.0312",
                             instead="MiniLM stands for ALBERT", **bounds))
        if not tests: rows.append(dict(common, verdict="untested", reason="not tested"))
    return pd.DataFrame(rows, columns=JUDGED, dtype=object).fillna("")


def itself() -> pd.DataFrame:
    "Systems against themselves, one of them with too little behind it."
    rows = [dict(paper=FOURTH, run="crema_d", protocol="paper", system=system, metric="UA", value=value,
                 low=low, high=high, p=p, repetitions="5", units="20", reason=reason)
            for system, value, low, high, p, reason in ITSELF]
    return pd.DataFrame(rows, columns=PLACEBO, dtype=object).fillna("")


def predictions(paper: str) -> pd.DataFrame:
    if paper == FIRST:
        return pd.DataFrame(dict(utterance=[f"ravdess/{n}" for n in range(40)], unit="1",
                                 true=["anger", "sadness"] * 20, protocol="corrected", features="openSMILE",
                                 seed=1, KMeans=[n % 4 for n in range(40)], HDBSCAN=0,
                                 dim_0=np.linspace(0, 5, 40, dtype="float32"),
                                 dim_1=np.linspace(5, 0, 40, dtype="float32")))
    one = pd.DataFrame(dict(utterance=[f"crema_d/{n}" for n in range(8)], unit="1", true=["anger"] * 4
                            + ["sadness"] * 4, protocol="corrected", seed=1,
                            anger=[.9, .8, .7, .2, .6, .1, .1, .1], sadness=[.1, .2, .3, .8, .4, .9, .9, .9]))
    return pd.concat([one.assign(configuration=name)
                      for name in ("CLTNet + PDDS", "CLTNet", "CLTNet + uniform")], ignore_index=True)


def make_run(folder: Path, rows: list[tuple]) -> None:
    (folder / "figures").mkdir(parents=True)
    table = pd.DataFrame(rows, columns=["item", "row", "column", "protocol", "published", "reproduced", "low",
                                        "high"])
    table.assign(paper=folder.parent.name, corpus=folder.name, profile="demo", n="734", seeds="5",
                 units="20", error="0.01", freedom="9.5", comparable="replication",
                 verdict="")[RESULTS].to_csv(folder / "results.csv", index=False)
    (folder / "run.json").write_text(json.dumps(provenance(folder.name) | dict(paper=folder.parent.name)))
    svg = figure_svg("Figure 3: the silhouettes")
    (folder / "figures/overview.svg").write_text(svg)
    shown = new_code_cell("draw()",
                          outputs=[new_output("display_data",
                                              data={"image/svg+xml": svg, "text/plain": "figure"})])
    nbformat.write(new_notebook(cells=[new_markdown_cell("# What was asked\n\n> Pairwise-emotion data "
                                                         "distribution smoothing (PDDS)"),
                                       new_markdown_cell("## Seen\n#### Closer"), shown]),
                   folder / "report.ipynb")
    if folder.parent.name != SUMMARY:
        predictions(folder.parent.name).to_parquet(folder / "predictions.parquet")


@pytest.fixture(scope="session")
def study(tmp_path_factory) -> Path:
    "A project's folder: reports, a few notebooks, the two files that the site shows."
    study = tmp_path_factory.mktemp("small")
    make_run(study / "reports" / FIRST / "ravdess", ROWS[FIRST])
    make_run(study / "reports" / FOURTH / "crema_d", ROWS[FOURTH])
    board = scoreboard()
    tested = board[board.run != ""]
    make_run(study / "reports" / SUMMARY / "reference",
             list(tested[["claim", "systems", "metric", "protocol", "published", "value", "low",
                          "high"]].itertuples(index=False, name=None)))
    board.to_csv(study / "reports" / SUMMARY / "reference/scoreboard.csv", index=False)
    itself().to_csv(study / "reports" / SUMMARY / "reference/placebos.csv", index=False)
    measured = nbformat.read(study / "reports" / FOURTH / "crema_d/report.ipynb", as_version=4)
    for name in ("benchmarks/01_speed", f"sweeps/{FOURTH}/seed=1,2"):
        (study / "reports" / name).mkdir(parents=True)
        nbformat.write(measured, study / "reports" / name / "report.ipynb")
    (study / f"reports/sweeps/{FOURTH}/seed=1,2/sweep.csv").write_text("seed,UA\n1,50\n2,51\n")
    (study / "nbs/tutorials").mkdir(parents=True)
    nbformat.write(measured, study / "nbs/tutorials/your_own_corpus.ipynb")
    for name in ("66_verdicts", "43b_pdds"):
        shutil.copyfile(ROOT / f"nbs/{name}.ipynb", study / f"nbs/{name}.ipynb")
    for name in ("CONTRIBUTING.md", "CITATION.cff"): shutil.copyfile(ROOT / name, study / name)
    return study


@pytest.fixture(scope="session")
def site(study, tmp_path_factory) -> Path:
    "Its site, without the reference of the library, which takes long; test_site.py builds that."
    package = tmp_path_factory.mktemp("package") / "ser_study"
    package.mkdir()
    (package / "__init__.py").write_text('"Nothing in it."')
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(io.StringIO()):
        patch.setattr("ser_study.site.build.write_skeletons", partial(stage_small, package))
        patch.setattr("ser_study.site.pages.load_claims", lambda: list(CLAIMS.values()))
        patch.setattr("ser_study.site.claims.nearest_corpora", lambda paper: NEAREST)
        return build_site(study / "reports").parent


@pytest.fixture(scope="session")
def pages(site): return read_pages(site)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory) as browser: yield browser


def rows_of(raw: str) -> dict[str, str]:
    "The scoreboard's rows by claim, as HTML."
    return dict(re.findall(r'<tr role="row" data-claim="([\d.]+)"(.*?)</tr>', raw, re.DOTALL))


def values_of(html: str) -> list[tuple[str, str, str, str]]:
    "Each difference in a piece of HTML: exact value, low, high, and what is read."
    return re.findall(r'data-value="([^"]*)" data-low="([^"]*)" data-high="([^"]*)"[^>]*>([^<]*)<', html)


# ---- Numbers

def bounds_of(tests: pd.DataFrame) -> list[tuple[str, str, str]]:
    "Value and the interval that decides, or the plain one where none does, as the file has them."
    return [(test.value, test.low_holm or test.low, test.high_holm or test.high)
            for test in tests.itertuples()]


def test_scoreboard_has_the_numbers_of_the_files(study, site):
    rows = rows_of((site / "index.html").read_text(encoding="utf-8"))
    board = pd.read_csv(study / "reports" / SUMMARY / "reference/scoreboard.csv", dtype=str,
                        keep_default_na=False)
    numbers = pd.read_csv(study / "reports" / SUMMARY / "reference/results.csv", dtype=str,
                          keep_default_na=False)
    assert list(rows) == list(CLAIMS), "each claim once, in order"
    for number, row in rows.items():
        tests = board[(board.claim == number) & board.corpus.isin(NEAREST)]
        shown = values_of(row)
        assert sorted(value[:3] for value in shown) == sorted(bounds_of(tests))
        assert all(float(text.replace("−", "-")) == pytest.approx(float(exact), abs=5.01e-3)
                   for exact, _, _, text in shown)
        results = numbers[(numbers["item"] == number) & numbers.reproduced.isin(tests.value)]
        assert sorted(value[0] for value in shown) == sorted(results.reproduced)
        assert f'data-verdict="{SAID[number]}"' in row
        if len(tests): assert f'data-value="{tests.published.iloc[0]}"' in row
    assert rows["04.1"].count("inconclusive</a>") == 1
    assert rows["04.1"].count("holds</a>") == 1, "both protocols, side by side"
    assert "nemo" not in values_of(rows["04.1"]) and "on crema_d; also tested on nemo" in rows["04.1"]


def test_digits_are_those_of_the_interval(site):
    "By hand: half of each interval has two digits; an end that is nearer to zero than that shows one."
    shown = re.sub("<.*?>", "", (site / "index.html").read_text(encoding="utf-8"))
    for seen in ("+0.142 [0.120, 0.160]", "+0.012 [−0.001, 0.024]", "+0.045 [0.011, 0.091]",
                 "−0.015 [−0.033, −0.001]", "+0.0010 [−0.0050, 0.0070]", "−0.25 [−0.90, 0.40]"):
        assert seen in shown, seen


def test_what_stands_beside_a_verdict(site):
    "What could have been found, beside the inconclusive; a reason, beside what has no verdict; nothing else."
    rows = rows_of((site / "index.html").read_text(encoding="utf-8"))
    detectable = {number: re.findall('data-detectable="(.*?)">(.*?)<', row) for number, row in rows.items()}
    assert detectable.pop("04.1") == [("0.0312", "0.031")] and not any(detectable.values())
    words = {number: re.sub("<.*?>", "", row) for number, row in rows.items()}
    assert "no verdict " + FEW in words["04.10"] and "no verdict" not in words["04.1"]
    assert "twelve sentences carry no emotion" in words["04.11"]
    assert "no run compares it" in words["05.1"]
    raw = (site / f"papers/{FOURTH}/index.html").read_text(encoding="utf-8")
    claims = dict(re.findall(r'<article class="claim" id="claim-([^"]+)">(.*?)</article>', raw, re.DOTALL))
    told = {number: " ".join(re.sub("<.*?>", "", html).split()) for number, html in claims.items()}
    assert "20 units × 10 repetitions n = 734" in told["04-1"] and "0.012" in told["04-1"]
    assert "0.020 is the smallest difference that matters (a third of the published one)" in told["04-1"]
    assert "MiniLM stands for ALBERT" in told["04-1"]
    assert "mixed on crema_d the paper’s protocol: ✓ holds" in told["04-1"]
    assert "A test needs: a corpus whose words are free." in told["04-11"]
    index = (site / "index.html").read_text(encoding="utf-8")
    listed = re.search(r'<table class="plain untested">(.*?)</table>', index, re.DOTALL).group(1)
    assert re.findall(r">(\d\d\.\d+)<", listed) == ["04.10", "04.11"] and "05.1 An MLP" in listed
    assert all(CLAIMS[number].needs.replace("'", "&#39;") in listed for number in ("04.10", "04.11", "05.1"))


def test_what_is_drawn(site):
    "What is too small to matter is shaded; a claim of equality expects it there, the others on a side."
    rows = rows_of((site / "index.html").read_text(encoding="utf-8"))
    drawn = {number: re.search("<svg.*?</svg>", row, re.DOTALL) for number, row in rows.items()}
    drawn = {number: found.group(0) for number, found in drawn.items() if found}
    assert list(drawn) == ["01.1", "04.1", "04.8", "04.9", "04.10"], "what was tested"
    assert all("within ±0.02" in svg and svg.count('class="printed"') == 1 for svg in drawn.values())
    assert [number for number, svg in drawn.items() if 'class="zone wanted"' in svg] == ["04.9"]
    assert [number for number, svg in drawn.items() if 'class="towards"' not in svg] == ["04.9"]
    assert [number for number, svg in drawn.items() if "unjudged" in svg] == ["04.10"]
    assert re.findall('class="bar bar-([^"]*)"', drawn["04.1"]) == ["paper", "corrected"]
    at = re.compile(r'<line x1="([^"]*)" x2="([^"]*)"')
    low, high = map(float, at.search(drawn["04.8"]).groups())
    assert 0 < low < high < 75, "reversed: the interval lies wholly left of zero"


def test_counts_of_verdicts(site):
    raw = (site / "index.html").read_text(encoding="utf-8")
    counts = dict(re.findall(r'data-verdict="([^"]+)" aria-pressed="false" disabled>.*?<b>(\d+)</b>', raw))
    assert list(counts) == list(HEADLINES)
    assert {verdict: int(count) for verdict, count in counts.items() if count != "0"} == {
        verdict: list(SAID.values()).count(verdict) for verdict in SAID.values()}


def test_systems_against_themselves(site):
    raw = (site / "index.html").read_text(encoding="utf-8")
    told = " ".join(re.sub("<.*?>", "", raw).split())
    assert ("1 of 2 has p &lt; 0.05; by chance alone it would be about 0.1. 1 comparison rests on too little "
            "for a verdict, and is not counted." in told)
    table = re.search(r'<table class="[^"]* placebos".*?</table>', raw, re.DOTALL).group(0)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in re.findall("<tr.*?</tr>", table)]
    shown = [[re.sub("<.*?>", "", cell) for cell in row] for row in cells if row]
    assert [(row[1], row[2], row[4], row[6]) for row in shown] == [
        ("CLTNet UA", "+0.004 [−0.010, 0.018]", "0.530", "nothing"),
        ("MAT UA", "+0.030 [0.002, 0.058]", "0.040", "a difference"),
        ("SVM UA", "+0.030 [0.002, 0.058]", "0.040", f"not counted: {FEW}")]
    assert all(row[5] == "20 units × 5 repetitions" for row in shown)


@pytest.fixture(scope="session")
def committed() -> tuple:
    "The committed runs, their summary, and its claims."
    reports = read_reports(committed_reports())
    summary, entries = read_claims(reports)
    if summary is None: pytest.skip("reports/ has no run of 06_summary with a scoreboard yet")
    return reports, summary, entries


def test_the_committed_study_shows_its_own_numbers(committed, tmp_path):
    "The pages of the committed reports, before Sphinx: every test of the scoreboard, on both of its pages."
    reports, summary, entries = committed
    claims = {claim.id: claim for claim in load_claims()}
    gone = {test["run"] for entry in entries for test in entry["tests"] if not test["known"]}
    assert not gone, f"the summary judged runs that are no longer there: {gone}"
    stage_papers({paper: runs for paper, runs in reports.items() if paper != SUMMARY}, entries, tmp_path,
                 environment())
    board = read_scoreboard(summary.folder / "scoreboard.csv")
    assert sum(entry["verdict"] != "untested" for entry in entries) >= 15
    for paper, tests in board[board.run != ""].groupby("paper"):
        raw = (tmp_path / "source/papers" / paper / "index.md").read_text(encoding="utf-8")
        assert [value[:3] for value in values_of(raw)] == bounds_of(tests)
        for run, own in tests.groupby("run"):
            closing = nbformat.read(tmp_path / "source/papers" / paper / f"{run}.ipynb",
                                    as_version=4).cells[-1].source
            assert [value[:3] for value in values_of(closing)] == bounds_of(own)
        for claim in {number: claims[number] for number in tests.claim}.values():
            assert f'id="source-claim-{claim.id.replace(".", "-")}"' in raw
    for test in [test for entry in entries for test in entry["tests"] if test["line"]]:
        results = pd.read_csv(committed_reports() / test["paper"] / test["run"] / "results.csv")
        assert float(test["value"]) == pytest.approx(results.reproduced[test["line"] - 2])


def test_committed_verdicts_agree_with_what_is_drawn(committed):
    "The corrected interval alone says them, with what matters and the side that the claim expects."
    _, summary, entries = committed
    for test in [test for entry in entries for test in entry["tests"] if test["verdict"]]:
        low, high = (float(end) for end in test["bounds"])
        matters, verdict = float(test["matters"]), test["verdict"]
        if test["expects"] == "lower": low, high = -high, -low
        inside, outside = max(-low, high) < matters, low > matters or high < -matters
        if test["expects"] == "equal": wanted = dict(holds=inside, reversed=outside)
        elif inside: wanted = {"too small to matter": True}
        else: wanted = {"holds": low > 0, "holds, smaller than published": low > 0, "reversed": high < 0}
        assert wanted.get(verdict, verdict == "inconclusive" and not any(wanted.values())), test
    numbers = pd.read_csv(summary.folder / "placebos.csv")
    shown, able = placebos(summary), numbers.reason.isna()
    assert (len(shown["rows"]), shown["able"]) == (len(numbers), able.sum())
    assert shown["found"] == (able & (numbers.p < .05)).sum()


# ---- Ways

def test_no_link_is_broken(site, pages):
    checked, broken = follow_links(site, pages)
    assert checked > 200 and not broken, broken[:10]


def test_from_a_verdict_to_the_papers_sentence(site, pages):
    "By links alone: the verdict, the claim with the sentence, the run, the row."
    rows = rows_of((site / "index.html").read_text(encoding="utf-8"))
    for number, run, protocol, _, value, *_ in [test for test in TESTS if test[1] in NEAREST]:
        cell = re.search(rf'data-protocol="{protocol}">(.*?)</td>', rows[number], re.DOTALL).group(1)
        assert f'data-value="{value}"' in cell
        place, anchor = re.search(r'<a class="mark[^"]*" href="([^"]+)"', cell).group(1).split("#")
        claim = re.search(rf'<article class="claim" id="{anchor}">(.*?)</article>',
                          (site / place).read_text(encoding="utf-8"), re.DOTALL).group(1)   # one click
        source = re.search(r'<blockquote class="source".*?<p>(.*?)</p>', claim, re.DOTALL).group(1)
        assert source == CLAIMS[number].source, "the sentence's place in the paper, after one click"
        assert value in claim
        assert f'href="{run}.html#{anchor}"' in claim
        assert anchor in pages[f"papers/{CLAIMS[number].paper}/{run}.html"].ids, "its run, after two"
        for line in re.findall(rf'{run}\.html#line-(\d+)', claim):
            page = (site / "papers" / CLAIMS[number].paper / f"{run}.html").read_text(encoding="utf-8")
            row = re.search(rf'<tr id="line-{line}">(.*?)</tr>', page, re.DOTALL).group(1)
            assert value in row
            assert str(pd.read_csv(site / "files" / CLAIMS[number].paper / run / "results.csv",
                                   dtype=str).reproduced[int(line) - 2]) == value
    first = (site / f"papers/{FIRST}/index.html").read_text(encoding="utf-8")
    assert "ravdess.html#line-3" in first, "a claim that is read from a row leads to that row"


def test_everything_is_at_most_four_clicks_from_the_front(site, pages):
    "Of the pages that a verdict needs: papers, runs, how it is judged, the files."
    reached, edge = {"index.html"}, {"index.html"}
    for _ in range(4):
        found = {(pages[name].path.parent / unquote(urlsplit(link).path)).resolve() for name in edge
                 for link in pages[name].links if not urlsplit(link).scheme and urlsplit(link).path}
        edge = {path.relative_to(site).as_posix() for path in found
                if path.is_relative_to(site)} & pages.keys() - reached
        reached |= edge
    assert set(pages) - reached <= {"search.html", "genindex.html"}


def test_a_figures_data_is_beside_it(site, pages):
    raw = (site / f"papers/{FIRST}/ravdess.html").read_text(encoding="utf-8")
    line = re.search(r'<p class="figure-data">(.*?)</p>', raw, re.DOTALL).group(1)
    assert raw.index("<img") < raw.index('class="figure-data"') < raw.index('id="provenance"')
    assert re.findall('href="([^"]+)"', line) == ["#item-fig-3"] + [f"../../files/{FIRST}/ravdess/{name}"
                                                                    for name in ("results.csv",
            "predictions.parquet", "figures/overview.svg")]
    assert "item-fig-3" in pages[f"papers/{FIRST}/ravdess.html"].ids


def test_notebooks_and_tables_are_to_be_had(study, site, pages):
    linked = {unquote(link) for page in pages.values() for link in page.links}
    for name, kept in {"tutorials/your_own_corpus.ipynb": "nbs/tutorials/your_own_corpus.ipynb",
                       "library/66_verdicts.ipynb": "nbs/66_verdicts.ipynb",
                       "benchmarks/01_speed/report.ipynb": "reports/benchmarks/01_speed/report.ipynb",
                       f"sweeps/{FOURTH}/seed=1,2/sweep.csv": f"reports/sweeps/{FOURTH}/seed=1,2/sweep.csv",
                       f"{SUMMARY}/reference/scoreboard.csv": f"reports/{SUMMARY}/reference/scoreboard.csv",
                       f"{SUMMARY}/reference/placebos.csv": f"reports/{SUMMARY}/reference/placebos.csv",
                       "CITATION.cff": "CITATION.cff"}.items():
        assert (site / "files" / name).read_bytes() == (study / kept).read_bytes()
        assert any(link.endswith(f"files/{name}") for link in linked), name


def test_what_else_a_reader_looks_for(study, site, pages):
    index, added = ("".join(pages[name].text) for name in ("index.html", "add.html"))
    assert "make study" in index and "make test" in index and "@software{ser_study" in index
    places = [added.index(title) for title in ("Add a paper", "Add a corpus", "How results are kept honest")]
    assert places == sorted(places) and "Change a notebook" not in added
    assert f"sweeps/{FOURTH}/seed=1,2.html" in pages
    assert "tutorials/your_own_corpus.html" in pages
    assert "benchmarks/01_speed.html" in pages


# ---- For everybody

def luminance(colour: str) -> float:
    "Relative luminance of #rrggbb, by WCAG 2."
    parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    return sum(weight * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4)
               for weight, c in zip((0.2126, 0.7152, 0.0722), parts))


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_the_verdicts():
    "WCAG AA in both modes, on their own ground; and of all text that is not the theme's."
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    style = (ASSETS / "static/site.css").read_text(encoding="utf-8")
    for mode, ground, text in (("light", "#ffffff", "#222832"), ("dark", "#14181e", "#ced6dd")):
        colours = dict(re.findall(r"--([\w-]+): (#\w{6})",
                                  re.search(rf'html\[data-theme="{mode}"\] {{(.*?)}}', style,
                                            re.DOTALL).group(1)))
        for verdict in map(make_slug, (*HEADLINES, NO_VERDICT)):
            assert contrast(colours[verdict], colours[f"{verdict}-wash"]) >= 4.5, (mode, verdict)
            assert contrast(colours["quiet"], colours["zone"]) >= 3, "the line at zero, on what is shaded"
        assert contrast(colours["quiet"], ground) >= 4.5
        assert contrast(colours["pst-color-link"], ground) >= 4.5
        assert contrast(colours["quiet"], colours["wash"]) >= 4.5
        assert contrast(text, colours["share-colour"]) >= 4.5
        assert contrast(text,
                        colours["wash"]) >= 4.5, "the darkest and the lightest cell of a confusion matrix"


def test_a_verdict_is_more_than_a_colour(site):
    "Each has a sign of its own, too; and words."
    raw = (site / "index.html").read_text(encoding="utf-8")
    marks = set(re.findall(r'class="mark mark-([\w-]+)"[^>]*><span aria-hidden="true">(.)</span>', raw))
    assert {name for name, _ in marks} == set(map(make_slug, (*VERDICTS, "mixed", NO_VERDICT)))
    assert len({sign for _, sign in marks}) == len(marks)


def test_pages_read_in_order(pages):
    "One first heading, none skipped, a language, a way past the navigation, words for each image."
    for name, page in pages.items():
        raw = page.path.read_text(encoding="utf-8")
        assert page.language == "en" and 'class="pst-skip-link' in raw or "skip-link" in raw, name
        if name not in ("search.html",):
            assert page.headings.count(1) == 1 and page.headings[0] == 1, (name, page.headings)
            assert all(after <= before + 1 for before, after in zip(page.headings, page.headings[1:])), (name,
                    page.headings)
        assert all(len(image.get("alt", "")) > 8 for image in page.images), name


def test_every_page_opens_from_disk_and_fits_a_telephone(site, pages, browser):
    for name in pages:
        browser.look((site / name).as_uri())
        assert browser.complaints() == [], name
        browser.look((site / name).as_uri(), width=390, scheme="dark")
        assert browser.complaints() == [], name
        assert (browser.value("document.documentElement.scrollWidth")
                <= 390), f"{name} scrolls sideways on a telephone"
        assert browser.value(CUT_OFF) == [], name


def test_tables_sort(site, browser):
    "By pointer and by key; numbers as numbers, what has none at the end, and the heading says which way."
    browser.look((site / "index.html").as_uri())
    column = ("[...document.querySelectorAll('#scoreboard tbody tr')].map(row => "
              "row.cells[5].querySelector('[data-value]')?.dataset.value ?? null)")
    given = sorted(float(value) for _, run, protocol, _, value, *_ in TESTS
                   if protocol == "corrected" and run in NEAREST)
    browser.click("#scoreboard th:nth-child(6) button")
    found = browser.value(column)
    count = len(given)
    assert [float(value) for value in found[:count]] == given
    assert found[count:] == [None] * (len(CLAIMS) - count)
    assert browser.value("document.querySelector('#scoreboard th:nth-child(6)').ariaSort") == "ascending"
    for kind in ("keyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r"
                     if kind == "keyDown" else "", windowsVirtualKeyCode=13)
    found = browser.value(column)
    assert [float(value) for value in found[:count]] == given[::-1]
    assert found[count] is None
    assert browser.value("document.querySelector('#scoreboard th:nth-child(6)').ariaSort") == "descending"
    claims = "[...document.querySelectorAll('#scoreboard tbody tr')].map(row => row.dataset.claim)"
    browser.click("#scoreboard th:nth-child(3) button")
    order = [HEADLINES.index(SAID[number]) for number in browser.value(claims)]
    assert order == sorted(order), "verdicts in the order of the buttons"
    browser.click("#scoreboard th:nth-child(1) button")
    assert browser.value(claims) == list(CLAIMS), "04.10 comes after 04.9"
    browser.look((site / f"papers/{FOURTH}/crema_d.html").as_uri())
    table = "document.querySelector('tr[id^=line-]').closest('table')"
    browser.value(f"[...{table}.tHead.rows[0].cells].find(th => "
                  "th.textContent.startsWith('Ours')).querySelector('button').click()")
    assert browser.value(f"[...{table}.tBodies[0].rows].map(row => "
                         "row.querySelector('.value').textContent)") == ["51.5", "55.5", "59.5"]
    assert browser.complaints() == []


def test_scoreboard_filters(site, browser):
    browser.look((site / "index.html").as_uri())
    shown = ("[...document.querySelectorAll('#scoreboard tbody tr')].filter(row => "
             "row.offsetParent).map(row => row.dataset.claim)")
    told = "document.querySelector('.filters [role=status]').textContent"
    assert len(browser.value(shown)) == len(CLAIMS) and browser.value(told) == f"All {len(CLAIMS)} claims"
    button = "button[data-verdict='holds, smaller than published']"
    browser.click(button)
    assert browser.value(shown) == ["01.1"]
    assert browser.value(f'document.querySelector("{button}").ariaPressed') == "true"
    browser.click("button[data-verdict=reversed]")
    assert browser.value(shown) == ["01.1", "04.8"] and browser.value(told) == f"2 of {len(CLAIMS)} claims"
    browser.value("(s => { s.value = '04'; s.dispatchEvent(new Event('change')) "
                  "})(document.querySelector('.filters select'))")
    assert browser.value(shown) == ["04.8"]


def test_clicks_lead_from_the_verdict_to_the_row(site, browser):
    browser.look((site / "index.html").as_uri())
    browser.click("tr[data-claim='01.1'] a.mark")
    assert browser.wait("location.href.endsWith('index.html#claim-01-1') && document.readyState == "
                        "'complete' && document.querySelector('.claim:target .source')?.offsetHeight > " "0")
    assert CLAIMS["01.1"].source in browser.value("document.querySelector('.claim:target "
                                                  ".source').textContent")
    browser.click(".claim:target a[href*='#line-']")
    assert browser.wait("location.hash == '#line-3' && document.readyState == 'complete' && "
                        "document.querySelector('tr:target')?.offsetHeight > 0"), "the fold around it opens"
    assert browser.value("document.querySelector('tr:target .value').dataset.value") == "0.14159"


def test_darkness_is_chosen_and_kept(site, browser):
    theme = "document.documentElement.dataset.theme"
    browser.look((site / "index.html").as_uri())
    try:
        before = browser.value("getComputedStyle(document.querySelector('.mark-holds')).color")
        assert browser.value(theme) == "light"
        browser.click(".navbar-header-items .theme-switch-button")
        browser.click(".navbar-header-items .theme-change-button[data-mode=dark]")
        assert browser.wait(f"{theme} == 'dark'", 5)
        assert browser.value("getComputedStyle(document.querySelector('.mark-holds')).color") != before
        time.sleep(2)   # the browser's processes tell one another what is stored when they have time
        for place in ("index.html", f"papers/{FOURTH}/index.html"):
            browser.look((site / place).as_uri())
            assert browser.value(theme) == "dark", "on the next page too, and after loading it again"
    finally: browser.value("localStorage.clear()")   # the other tests choose by the system's wish


def test_search_finds_pdds(site, browser):
    browser.look((site / "search.html").as_uri() + "?q=PDDS")
    assert browser.wait("document.querySelectorAll('#search-results li a').length > 1")
    assert any("43b_pdds" in link
               for link in browser.value("[...document.querySelectorAll('#search-results li "
                                         "a')].map(a => a.href)"))
    assert browser.complaints() == []


def test_drawings_answer_to_the_pointer(site, browser):
    browser.look((site / f"papers/{FOURTH}/index.html").as_uri())
    x, y = browser.place("#claim-04-1 .bar-paper circle")
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    assert (browser.value("document.querySelector('.tip').textContent")
            == "crema_d, paper protocol: +0.045 [0.011, 0.091]")
    assert browser.value("document.querySelector('.tip').offsetHeight") > 10
    assert browser.value("[...document.querySelectorAll('.chooser figure')].filter(f => "
                         "f.offsetHeight).length") == 1
    assert browser.value("document.querySelector('.chooser select').length") == 3
    table = ("[...document.querySelectorAll('.chooser figure:not([hidden]) tbody "
             "tr')].map(row => [...row.querySelectorAll('td')].map(cell => " "Number(cell.textContent)))")
    assert browser.value(table) == [[75, 25], [25, 75]], "three of four are heard right"
    assert browser.value("document.querySelector('.chooser td').dataset.tip") == "anger as anger: 3 (75 %)"
    assert browser.complaints() == []


def test_points_of_the_plane_say_their_names(site, browser):
    browser.look((site / f"papers/{FIRST}/index.html").as_uri())
    assert browser.value("document.querySelectorAll('.plane circle').length") == 40
    x, y = browser.place(".plane circle:nth-of-type(4)")
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    assert (browser.value("document.querySelector('.tip').textContent")
            == "ravdess/3: emotion sadness, KMeans cluster 3, HDBSCAN cluster 0")
    assert (browser.value("[...document.querySelectorAll('.legend li')].map(item => item.textContent)")
            == ["anger", "sadness"])
    browser.value("(s => { s.value = 'KMeans cluster'; s.dispatchEvent(new Event('change')) "
                  "})(document.querySelectorAll('.plane select')[1])")
    assert browser.value("document.querySelectorAll('.legend li').length") == 4
    counted = browser.value("[...document.querySelector('.confusion tbody').rows].map(row => "
                            "[...row.cells].slice(1).map(cell => cell.textContent))")
    assert counted == [["50", "0", "50", "0"], ["0", "50", "0", "50"]], "emotions by cluster"


def test_the_citation_can_be_copied(site, browser):
    browser.look((site / "index.html").as_uri())
    browser.click("#cite-it .copybtn")
    assert browser.wait("document.querySelector('#cite-it .copybtn').dataset.tooltip == 'Copied!'", 3)
