"""The summary's findings, whose numbers stand in reports. Its essay is run in tests/papers/test_essays.py."""

import re
from pathlib import Path
import pandas as pd, pytest
from committed import committed_reports
from ser_study.evaluation.scoreboard import list_headlines
from ser_study.settings import load_settings
from ser_study.study.summary.findings import SENTENCES, list_findings, tally, write_list
from ser_study.study.summary.tables import find_result, read_runs

ROOT = Path(__file__).resolve().parents[1]
REPORTS = committed_reports()


@pytest.fixture(scope="module")
def runs():
    "The committed runs."
    return read_runs(REPORTS)


def test_each_paper_has_a_finding_whose_numbers_stand_in_its_report(runs):
    "In the rows that its sentence names, with their signs."
    findings, sentences = list_findings(runs), [s for s in SENTENCES if s.finding]
    assert [finding.paper[:2] for finding in findings] == ["01", "02", "03", "04", "05"]
    for finding, sentence in zip(findings, sentences, strict=True):
        results = pd.read_csv((ROOT / finding.link).with_name("results.csv"))
        rows = [find_result(results, place) for place in sentence.places.values()]
        values = [row[name] for row in rows for name in ("reproduced", "published", "low", "high")]
        forms = [f"{sign}.{digits}f" for sign in ("", "+") for digits in (1, 2, 3)]
        known = {format(value, form) for value in values for form in forms}
        exact = {f"{0.025 ** (1 / 6):.2f}"}  # the exact interval of six of six begins here
        typed = set(re.findall(r"[+-]?\d+\.\d+", finding.sentence))
        assert typed and typed <= known | exact, finding


def test_a_finding_is_one_line_and_links_to_its_evidence(runs):
    lines = write_list(list_findings(runs)).splitlines()
    assert [line[:3] for line in lines] == ["1. ", "2. ", "3. ", "4. ", "5. "]
    links = [re.search(r"\(\[report\]\(<(.+)>\)\)$", line)[1] for line in lines]
    assert all((load_settings().root / link).is_file() for link in links)


def test_the_readme_has_these_lines(runs):
    "Between its marks: how many claims hold, by the committed scoreboard, then what `write_list` gives."
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    written = re.search(r"<!-- findings -->\n(.*?)<!-- end of findings -->", readme, re.S)[1]
    scoreboard = REPORTS / "06_summary" / "all" / "scoreboard.csv"
    heads = list_headlines(pd.read_csv(scoreboard, dtype=dict(claim=str)))
    assert written.strip() == f"{tally(heads)}\n\n{write_list(list_findings(runs))}".strip()
