"""The summary: its essay on committed runs and on none, and its findings, whose numbers stand in reports."""

import json, re
from pathlib import Path
import nbformat, pandas as pd, pytest
from committed import committed_reports, link_runs, run_essay
from ser_study.settings import load_settings
from ser_study.study.summary.findings import list_findings, write_list
from ser_study.study.summary.tables import read_runs

ROOT = Path(__file__).resolve().parents[1]
REPORTS = committed_reports()
BOARD = REPORTS / "06_summary" / "all" / "scoreboard.csv"


def first_screen(folder: Path) -> str:
    "What the first code cell shows."
    report = nbformat.read(folder / "report.ipynb", as_version=4)
    nbformat.validate(report)
    assert all(cell.execution_count for cell in report.cells if cell.cell_type == "code")
    cell = next(cell for cell in report.cells if cell.cell_type == "code")
    return cell.outputs[0]["data"]["text/markdown"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    "A summary of the committed runs."
    return run_essay("06", link_runs(tmp_path_factory.mktemp("summary")))


@pytest.fixture(scope="module")
def board() -> pd.DataFrame:
    "The committed scoreboard."
    return pd.read_csv(BOARD, dtype=dict(claim=str))


@pytest.fixture(scope="module")
def runs():
    "The committed runs."
    return read_runs(REPORTS)


def test_the_committed_scoreboard_judges_the_runs_that_are_there(made, board):
    "Judged anew, the runs give the committed differences: none was changed without judging again."
    again = pd.read_csv(made / "scoreboard.csv", dtype=dict(claim=str))
    pd.testing.assert_frame_equal(again, board, rtol=1e-6)


def test_the_summary_leaves_what_the_site_reads(made):
    names = {path.name for path in made.iterdir()}
    assert names == {"report.ipynb", "results.csv", "scoreboard.csv", "placebos.csv", "run.json", "figures"}
    record = json.loads((made / "run.json").read_text(encoding="utf-8"))
    assert record["tested_runs"] and [stage["stage"] for stage in record["stages"]] == ["verdicts"]
    assert "<title>" in (made / "figures" / "overview.svg").read_text(encoding="utf-8")


def test_the_answer_comes_first_and_counts_the_claims(made, board):
    text = first_screen(made)
    assert text.startswith(f"**Of {board.claim.nunique()} claims, ") and "have a verdict, from" in text


def test_without_runs_nothing_is_said(tmp_path):
    reports = tmp_path / "reports"
    reports.mkdir()
    folder = run_essay("06", reports)
    assert "nothing can be said of any claim" in first_screen(folder)
    assert set(pd.read_csv(folder / "scoreboard.csv").verdict) == {"untested"}


def test_each_paper_has_a_finding_whose_numbers_stand_in_its_report(runs):
    findings = list_findings(runs)
    assert [finding.paper[:2] for finding in findings] == ["01", "02", "03", "04", "05"]
    for finding in findings:
        results = pd.read_csv((ROOT / finding.link).with_name("results.csv"))
        known = {
            f"{value:.{digits}f}"
            for name in ("reproduced", "published")
            for digits in (1, 2)
            for value in results[name].dropna()
        }
        exact = {f"{0.025 ** (1 / 6):.2f}"}  # the exact interval of six of six begins here
        typed = set(re.findall(r"\d+\.\d+", finding.sentence))
        assert typed and typed <= known | exact, finding


def test_a_finding_is_one_line_and_links_to_its_evidence(runs):
    lines = write_list(list_findings(runs)).splitlines()
    assert [line[:3] for line in lines] == ["1. ", "2. ", "3. ", "4. ", "5. "]
    links = [re.search(r"\(\[report\]\(<(.+)>\)\)$", line)[1] for line in lines]
    assert all((load_settings().root / link).is_file() for link in links)


def test_the_readme_has_these_lines(runs):
    "Between its marks, as `write_list` gives them."
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    written = re.search(r"<!-- findings -->\n(.*?)<!-- end of findings -->", readme, re.S)[1]
    assert written.strip() == write_list(list_findings(runs)).strip()
