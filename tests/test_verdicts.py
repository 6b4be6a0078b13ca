"""Claims and verdicts: by hand on a made-up study, and on the committed runs with their own results.csv."""

import json
from pathlib import Path
import numpy as np, pandas as pd, pytest
from committed import committed_reports
from scipy.stats import bootstrap
from ser_study.evaluation.claims import Claim, load_claims
from ser_study.evaluation.published import RESULTS
from ser_study.settings import StudyError
from ser_study.evaluation.intervals import two_stage_draws, two_stage_difference
from ser_study.evaluation.classification import weighted_accuracy
from ser_study.evaluation.verdicts import headline, judge, judge_run

REPORTS = committed_reports()
CLAIM = Claim(
    id="04.1",
    paper="04_liang2023_pdds",
    statement="",
    source="",
    basis="printed",
    metric="WA",
    expects="higher",
    needs="",
    systems=(({"configuration": "new"}, {"configuration": "old"}),),
)


@pytest.fixture
def study(tmp_path) -> Path:
    "A run of ten speakers with four utterances: the new system errs on one in four, the old one on two."
    rows = [
        dict(
            utterance=f"toy/{speaker}_{k}",
            unit=f"s{speaker}",
            protocol="paper",
            configuration=name,
            split="test",
            seed=1,
            true="joy",
            joy=float(k >= wrong),
            fear=float(k < wrong),
        )
        for speaker in range(10)
        for k in range(4)
        for name, wrong in (("new", 1), ("old", 2))
    ]
    folder = tmp_path / CLAIM.paper / "toy"
    folder.mkdir(parents=True)
    pd.DataFrame(rows).to_parquet(folder / "predictions.parquet")
    pd.DataFrame([dict.fromkeys(RESULTS, "x") | dict(comparable="replication", corpus="toy")]).to_csv(
        folder / "results.csv", index=False
    )
    return folder


def test_a_system_that_learned_nothing_decides_nothing(study):
    table = pd.read_parquet(study / "predictions.parquet")
    constant = table.configuration == "old"
    table.assign(joy=table.joy.where(~constant, 0.0), fear=table.fear.where(~constant, 1.0)).to_parquet(
        study / "predictions.parquet"
    )
    (found,) = judge_run([CLAIM], study)
    assert found["collapsed"] == 1 and found["low"] > 0 and found["p"] < 0.05, (
        "the interval alone would say that the claim holds"
    )


def test_the_difference_is_the_one_counted_by_hand(study):
    (found,) = judge_run([CLAIM], study)
    assert found["difference"] == 0.25 and found["p"] == 2 / 2**10, (
        "each of ten speakers agrees: of 1024 swaps two are as large"
    )
    assert (found["n"], found["units"], found["seeds"]) == (40, 10, 1)
    assert 0 < found["low"] < 0.25 < found["high"]


def test_a_demo_has_no_say(study):
    table = pd.read_csv(study / "results.csv")
    table.assign(comparable="demo").to_csv(study / "results.csv", index=False)
    assert judge_run([CLAIM], study) == []
    judged = judge(study.parents[1])
    assert set(judged.verdict) == {"untested"} and len(judged) == len(load_claims())


def test_predictions_that_do_not_say_who_spoke_are_named(study):
    pd.read_parquet(study / "predictions.parquet").drop(columns="unit").to_parquet(
        study / "predictions.parquet"
    )
    with pytest.raises(StudyError, match="04_liang2023_pdds/toy/predictions.parquet has no unit"):
        judge_run([CLAIM], study)


def test_rows_that_validated_are_not_judged(study):
    table = pd.read_parquet(study / "predictions.parquet")
    wrong = table.assign(joy=0.0, fear=1.0, side="validation")
    pd.concat([table.assign(side="test"), wrong]).to_parquet(study / "predictions.parquet")
    assert judge_run([CLAIM], study)[0]["difference"] == 0.25


def test_one_stage_is_scipys_bootstrap():
    "Where every utterance is a unit, the interval is that of scipy's paired percentile bootstrap."
    rng = np.random.default_rng(0)
    a, b = rng.random(200) < 0.8, rng.random(200) < 0.6
    counts = lambda right: np.stack([np.array([[r, not r], [0, 0]], dtype=int) for r in right])
    ours = two_stage_difference(counts(a), counts(b), np.arange(200), weighted_accuracy, 9999)
    theirs = bootstrap(
        (a, b),
        lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        rng=1,
    ).confidence_interval
    assert np.allclose([ours.low, ours.high], theirs, atol=0.006)


def test_two_stages_vary_as_theory_has_it():
    """The variance of a drawn mean is that of speakers' means over speakers, and of utterances within them
    over all (Davison and Hinkley 1997, section 3.8)."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=12)[:, None] + rng.normal(size=(12, 25))
    drawn = two_stage_draws(values.reshape(-1, 1), np.repeat(np.arange(12), 25), 20000, 0)[:, 0] / 300
    expected = values.mean(axis=1).var() / 12 + values.var(axis=1).mean() / 300
    assert np.isclose(drawn.var(), expected, rtol=0.05) and np.isclose(drawn.mean(), values.mean(), atol=0.02)


@pytest.fixture(scope="module")
def board() -> pd.DataFrame:
    "The committed scoreboard."
    return pd.read_csv(REPORTS / "06_summary" / "all" / "scoreboard.csv", dtype=dict(claim=str))


def test_the_committed_scoreboard_decides_on_enough_claims(board):
    tested = board[board.verdict != "untested"]
    assert tested.claim.nunique() >= 15 and set(board.claim) == {claim.id for claim in load_claims()}
    assert all((REPORTS / t.paper / t.run / "results.csv").is_file() for t in tested.itertuples())


def test_its_verdicts_follow_from_its_numbers(board):
    "Holm's correction and the rule, worked out anew."
    for _, family in board[board.verdict != "untested"].groupby(["paper", "protocol"]):
        ordered = family.sort_values("p")
        steps = np.minimum(1, np.maximum.accumulate((len(ordered) - np.arange(len(ordered))) * ordered.p))
        assert np.allclose(steps, ordered.p_holm)
        for t, p in zip(ordered.itertuples(), steps):
            sign = -1 if t.expects == "lower" else 1
            low, high = sorted((sign * t.low, sign * t.high))
            agrees = (
                abs(t.difference) < t.margin and max(-low, high) < t.margin
                if t.expects == "equal"
                else low > 0
            )
            opposes = low > t.margin or high < -t.margin if t.expects == "equal" else high < 0
            if t.collapsed > 0:
                assert t.verdict == "inconclusive"
                continue
            assert t.verdict == (
                "holds" if p < 0.05 and agrees else "reversed" if p < 0.05 and opposes else "inconclusive"
            ), t.claim


def test_differences_are_those_of_the_reports(board):
    "A run's own difference is the one that the scoreboard has recomputed from predictions."
    own = {
        "04.1": ("Gain", "PDDS - no balancing: CLTNet", "UA", 100),
        "04.4": ("Gain", "PDDS - no balancing: MAT", "UA", 100),
        "04.9": ("Gain", "PDDS - uniform balancing: CLTNet", "WA", 100),
        "02.1": ("Question", "BiLSTM: 3 - 1", "weighted F1", 1),
        "02.4": ("Question", "MiniLM: (cw) - none", "weighted F1", 1),
        "03.5": ("Gain", "TF-IDF, logistic regression, weighted (eq 2) - unweighted", "macro F1", 1),
        "05.4": (
            "Question 1",
            "all voices together: MFCC, MLP(128)",
            "UA, whole clips minus held-out voices",
            -1,
        ),
    }
    checked = 0
    for t in board[board.claim.isin(own) & board.run.notna()].itertuples():
        item, row, column, scale = own[t.claim]
        table = pd.read_csv(REPORTS / t.paper / t.run / "results.csv")
        found = table[
            (table["item"] == item)
            & (table["row"] == row)
            & (table.column == column)
            & (table.protocol == t.protocol)
        ]
        ties = (
            5e-4 if t.paper.startswith("02") else 1e-9
        )  # paper 02 keeps its probabilities in half precision, where a few become equal
        for value in found.reproduced:
            assert np.isclose(value, scale * t.difference, rtol=0, atol=ties * abs(scale)), (t.claim, t.run)
            checked += 1
    assert checked >= 8


def test_the_scoreboard_is_in_step_with_a_run(board):
    "Judged anew, the text run says what the committed scoreboard says of it."
    run = board[(board.paper == "03_chavesvillota2024_spanish_text") & board.run.notna()]
    again = pd.DataFrame(judge_run(load_claims(), REPORTS / run.paper.iloc[0] / run.run.iloc[0]))
    mine = run[run.run == run.run.iloc[0]]
    both = mine.merge(again, on=["claim", "protocol"], suffixes=("", "_again"))
    assert len(both) == len(mine) == len(again) and np.allclose(
        both[["difference", "low", "high", "p"]],
        both[["difference_again", "low_again", "high_again", "p_again"]],
    )


def test_the_summary_says_what_the_scoreboard_says(board):
    results = pd.read_csv(REPORTS / "06_summary" / "all" / "results.csv", dtype=dict(item=str))
    assert (
        list(results.columns) == RESULTS
        and np.allclose(results.reproduced, board.difference, equal_nan=True)
        and (results.verdict == board.verdict).all()
    )
    record = json.loads((REPORTS / "06_summary" / "all" / "run.json").read_text(encoding="utf-8"))
    assert set(record["tested_runs"]) == {f"{t.paper}/{t.run}" for t in board[board.run.notna()].itertuples()}
    assert {headline(of) for _, of in board.groupby("claim")} >= {
        "holds",
        "reversed",
        "inconclusive",
        "untested",
    }
