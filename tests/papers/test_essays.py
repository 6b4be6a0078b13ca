"""The two essays that read committed runs: the summary, on those and on none, and what results hang on."""

import json
from pathlib import Path
import nbformat, pandas as pd, pytest
from committed import committed_reports, link_runs, run_essay

pytestmark = pytest.mark.papers
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
    assert text.startswith(f"**Of {board.claim.nunique()} claims ") and "Verdicts come from" in text


def test_without_runs_nothing_is_said(tmp_path):
    reports = tmp_path / "reports"
    reports.mkdir()
    folder = run_essay("06", reports)
    assert "nothing can be said of any claim" in first_screen(folder)
    assert set(pd.read_csv(folder / "scoreboard.csv").verdict) == {"untested"}


def test_the_committed_page_reads_the_runs_that_are_there(tmp_path):
    "Made anew from the committed runs, its numbers are the committed ones."
    made = run_essay("07", link_runs(tmp_path))
    kept = REPORTS / "07_beyond" / "all"
    again, committed = (pd.read_csv(folder / "results.csv") for folder in (made, kept))
    pd.testing.assert_frame_equal(again, committed, rtol=1e-6)
