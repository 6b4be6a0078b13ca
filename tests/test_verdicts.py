"""Claims and verdicts: by hand on a made-up study, and the committed scoreboard with its own numbers."""

import json
from pathlib import Path
import numpy as np, pandas as pd, pytest
from committed import committed_reports
from scipy.stats import t as student_t, ttest_rel
from ser_study.evaluation.claims import Claim, load_claims, nearest_corpora
from ser_study.evaluation.intervals import student_interval
from ser_study.evaluation.published import RESULTS
from ser_study.evaluation.scoreboard import JUDGED, decide, headline, judge, judge_placebos, judge_run
from ser_study.evaluation.verdicts import VERDICTS, decide_verdicts
from ser_study.settings import StudyError

REPORTS = committed_reports()
CLAIM = Claim(
    id="04.1",
    statement="",
    source="",
    basis="printed",
    metric="WA",
    expects="higher",
    needs="",
    systems=(dict(first={"configuration": "new"}, second={"configuration": "old"}),),
)
WRONG = [1, 1, 0, 2, 1, 1, 0, 1, 2, 1]  # of four, by the new system, for each of ten speakers


@pytest.fixture
def study(tmp_path) -> Path:
    "A run of ten speakers with four utterances and six seeds that agree; the old system errs once more."
    rows = [
        dict(
            utterance=f"toy/{speaker}_{k}",
            unit=f"s{speaker}",
            protocol="paper",
            configuration=name,
            split="test",
            seed=seed,
            true="joy" if k % 2 else "fear",
            joy=float((k >= wrong) == (k % 2 == 1)),
            fear=float((k >= wrong) != (k % 2 == 1)),
        )
        for speaker in range(10)
        for k in range(4)
        for seed in range(6)
        for name, wrong in (("new", WRONG[speaker]), ("old", WRONG[speaker] + (speaker % 2)))
    ]
    folder = tmp_path / CLAIM.paper / "toy"
    folder.mkdir(parents=True)
    pd.DataFrame(rows).to_parquet(folder / "predictions.parquet")
    pd.DataFrame([dict.fromkeys(RESULTS, "x") | dict(comparable="replication", corpus="toy")]).to_csv(
        folder / "results.csv", index=False
    )
    return folder


def change(study: Path, **columns) -> None:
    "Write the predictions with other columns; a function is given the table."
    table = pd.read_parquet(study / "predictions.parquet")
    table.assign(**columns).to_parquet(study / "predictions.parquet")


def judged(study: Path) -> dict:
    "The only test of a study with one claim."
    (found,) = decide(pd.DataFrame(judge_run([CLAIM], study), columns=JUDGED)).to_dict("records")
    return found


def test_the_difference_is_the_one_counted_by_hand(study):
    "Seeds agree, so it is the paired t test over speakers: half of them lose one answer of four."
    found = judged(study)
    new = (4 - np.array(WRONG)) / 4
    expected = ttest_rel(new, new - np.tile([0, 0.25], 5))
    assert found["value"] == pytest.approx(0.125) and found["p"] == pytest.approx(expected.pvalue)
    assert (found["low"], found["high"]) == pytest.approx(tuple(expected.confidence_interval()))
    assert (found["n"], found["units"], found["repetitions"], found["reason"]) == (40, 10, 6, "")


def test_seeds_that_disagree_widen_the_interval(study):
    (before,) = judge_run([CLAIM], study)
    table = pd.read_parquet(study / "predictions.parquet")
    spoiled = (table.configuration == "new") & (table.seed < 3) & (table.unit < "s4")
    right = (table.true == "joy").astype(float)
    change(
        study,
        joy=table.joy.where(~spoiled, 1 - right),
        fear=table.fear.where(~spoiled, right),
    )
    (after,) = judge_run([CLAIM], study)
    assert after["high"] - after["low"] > before["high"] - before["low"]


def test_a_system_that_learned_nothing_decides_nothing(study):
    table = pd.read_parquet(study / "predictions.parquet")
    old = table.configuration == "old"
    change(study, joy=table.joy.where(~old, 0.0), fear=table.fear.where(~old, 1.0))
    found = judged(study)
    assert found["collapsed"] == found["fits"] == 6 and np.isnan(found["p"])
    assert found["reason"] == "6 of 6 fits give one answer to everything"


@pytest.mark.parametrize(
    "column, value, reason",
    [("seed", lambda t: t.seed % 4, "fewer than 5 repetitions"), ("unit", "s0", "these voices only")],
)
def test_too_little_gives_no_verdict(study, column, value, reason):
    change(study, **{column: value})
    found = judged(study)
    assert found["reason"] == reason and np.isnan(found["p"])


def test_a_substitute_cannot_reverse(study):
    pair = dict(first={"configuration": "old"}, second={"configuration": "new"}, instead="old for older")
    claims = [
        Claim(**{**CLAIM.__dict__, "systems": (pair,)}),
        Claim(**{**CLAIM.__dict__, "systems": (pair | {"instead": ""},)}),
    ]
    tests = [judge_run([claim], study)[0] | dict(paper=paper) for claim, paper in zip(claims, "ab")]
    decided = decide(pd.DataFrame(tests, columns=JUDGED))
    assert decided.verdict.tolist()[1] == "reversed" and pd.isna(decided.verdict[0])
    assert decided.reason.tolist() == ["what stands in its place cannot reverse it", ""]


def test_a_demo_has_no_say(study):
    table = pd.read_csv(study / "results.csv")
    table.assign(comparable="demo").to_csv(study / "results.csv", index=False)
    assert judge_run([CLAIM], study) == []
    judged = judge(study.parents[1])
    assert set(judged.verdict) == {"untested"} and len(judged) == len(load_claims())
    assert list(judged.columns) == JUDGED and len(judge_placebos(study.parents[1])) == 0


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
    assert judge_run([CLAIM], study)[0]["value"] == pytest.approx(0.125)


@pytest.fixture(scope="module")
def board() -> pd.DataFrame:
    "The committed scoreboard."
    return pd.read_csv(REPORTS / "06_summary" / "all" / "scoreboard.csv", dtype=dict(claim=str))


def test_the_committed_scoreboard_has_every_claim_and_its_runs(board):
    tested = board[board.run.notna()]
    assert set(board.claim) == {claim.id for claim in load_claims()} and tested.claim.nunique() >= 15
    assert all((REPORTS / t.paper / t.run / "results.csv").is_file() for t in tested.itertuples())
    assert (board.verdict.notna() | board.reason.notna()).all(), "a verdict, or why there is none"


def test_its_intervals_follow_from_its_errors(board):
    tested = board[board.run.notna() & board.error.notna()]
    reach = student_t.ppf(0.975, tested.freedom) * tested.error
    assert np.allclose(tested.low, tested.value - reach) and np.allclose(tested.high, tested.value + reach)


def check_verdicts(family: pd.DataFrame) -> None:
    "Holm's correction, the adjusted interval and the rule, worked out anew for one family."
    ordered = family.sort_values("p", kind="stable")
    steps = np.minimum(1, np.maximum.accumulate((len(ordered) - np.arange(len(ordered))) * ordered.p))
    assert np.allclose(steps, ordered.p_holm)
    reach = student_t.ppf(1 - 0.025 * ordered.p / steps, ordered.freedom) * ordered.error
    assert np.allclose(ordered.low_holm, ordered.value - reach)
    for t in ordered.itertuples():
        if not isinstance(t.verdict, str) or not t.verdict:
            assert t.reason == "what stands in its place cannot reverse it" and t.instead
            continue
        sign = -1 if t.expects == "lower" else 1
        low, high = sorted((sign * t.low_holm, sign * t.high_holm))
        small = -t.matters < low and high < t.matters
        if t.expects == "equal":
            outside = low > t.matters or high < -t.matters
            assert t.verdict == ("holds" if small else "reversed" if outside else "inconclusive"), t
        elif small:
            assert t.verdict == "too small to matter", t
        elif low > 0:
            short = " smaller" if high < sign * t.published else ""
            assert t.verdict == ("holds, smaller than published" if short else "holds"), t
        else:
            assert t.verdict == ("reversed" if high < 0 else "inconclusive"), t


def test_its_verdicts_follow_from_its_numbers(board):
    for _, family in board[board.p.notna()].groupby(["paper", "protocol"]):
        check_verdicts(family)


@pytest.fixture
def differences() -> pd.DataFrame:
    "Differences of every kind in two families, some of them no test."
    rng = np.random.default_rng(0)
    rows = []
    for number in range(300):
        value, error = rng.normal(0, 0.05), rng.choice([0.0005, 0.004, 0.02])
        found = student_interval(value, error, 9.0, rng.choice([4, 10, 20]), rng.choice([3, 20, 90]))
        rows.append(
            dict(
                family="ab"[number % 2],
                metric="UA",
                **found._asdict(),
                expects=rng.choice(["higher", "lower", "equal"]),
                published=rng.choice([np.nan, 0.06, -0.06]),
                instead=rng.choice(["", "one for another"]),
                fits=50,
                collapsed=rng.choice([0, 5, 6]),
            )
        )
    return pd.DataFrame(rows)


def test_any_table_is_judged_by_the_same_rules(differences):
    table = decide_verdicts(differences, "family")
    able = (table.repetitions >= 5) & (table.units >= 6) & (table.collapsed <= 5)
    assert (table.p.notna() == able).all() and (table.reason[~able] != "").all()
    assert ((table.verdict == "") == (table.reason != "")).all()
    assert set(VERDICTS) - {"untested"} == set(table.verdict) - {""}, "the table has every verdict"
    assert "what stands in its place cannot reverse it" in set(table.reason[able])
    plain = able & (table.expects != "equal")
    assert (table.p[plain] == differences.p[plain]).all()
    assert (table.matters == table.published.map({0.06: 0.02, -0.06: 0.02}).fillna(0.01)).all()
    for _, family in table[able].groupby("family"):
        check_verdicts(family)


def test_a_family_is_not_larger_for_what_is_no_test(differences):
    able = decide_verdicts(differences, "family").p.notna()
    alone = decide_verdicts(differences[able], "family")
    both = decide_verdicts(differences, "family")[able]
    pd.testing.assert_frame_equal(alone, both, check_dtype=False)


def test_the_scoreboard_is_in_step_with_a_run(board):
    "Judged anew, the text run says what the committed scoreboard says of it."
    run = board[(board.paper == "03_chavesvillota2024_spanish_text") & board.run.notna()]
    again = pd.DataFrame(judge_run(load_claims(), REPORTS / run.paper.iloc[0] / run.run.iloc[0]))
    mine = run[run.run == run.run.iloc[0]]
    both = mine.merge(again, on=["claim", "protocol"], suffixes=("", "_again"))
    numbers = ["value", "low", "high", "error", "freedom"]
    assert len(both) == len(mine) == len(again)
    assert np.allclose(both[numbers], both[[f"{name}_again" for name in numbers]], equal_nan=True)


def test_the_summary_says_what_the_scoreboard_says(board):
    results = pd.read_csv(REPORTS / "06_summary" / "all" / "results.csv", dtype=dict(item=str))
    assert list(results.columns) == RESULTS and np.allclose(results.reproduced, board.value, equal_nan=True)
    assert (results.verdict == board.verdict.fillna(board.reason)).all()
    record = json.loads((REPORTS / "06_summary" / "all" / "run.json").read_text(encoding="utf-8"))
    assert set(record["tested_runs"]) == {f"{t.paper}/{t.run}" for t in board[board.run.notna()].itertuples()}


def test_a_headline_is_that_of_the_nearest_corpus(board):
    for claim, tests in board.groupby("claim"):
        head = headline(tests, nearest_corpora(claim))
        judged = tests[tests.verdict.notna() & tests.run.notna()]
        if head.verdict == "untested":
            assert not len(judged)
        else:
            on = judged[judged.corpus == head.corpus].verdict
            assert set(on) == {head.verdict} or (head.verdict == "mixed" and on.nunique() > 1)
            nearer = nearest_corpora(claim)[: nearest_corpora(claim).index(head.corpus)]
            assert not judged.corpus.isin(nearer).any()
