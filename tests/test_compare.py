"""Two runs side by side, against other libraries' scores and intervals, and the committed runs."""
from pathlib import Path
import numpy as np, pandas as pd, pytest
from committed import committed_reports
from scipy.stats import ttest_1samp
from sklearn.metrics import balanced_accuracy_score, f1_score
from ser_study.commands.compare import (KEYS, compare_runs, differing_rows, format_tests, pair_rows,
                                        paired_tests)
from ser_study.evaluation.published import OURS
from ser_study.settings import StudyError, load_settings
from ser_study.study.folders import find_run, finished_runs
from ser_study.site.reports import read_run

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = load_settings(ROOT / "settings.ini", reports=str(committed_reports()))
CLASSES = ["anger", "neutral", "joy"]

def predictions(seed: int, speakers: int = 7, configuration: str = "MLP", **more) -> pd.DataFrame:
    "Eighteen utterances of each speaker, the same for every seed; random probabilities lean to the truth."
    truth, rng = np.random.default_rng(0).integers(3, size=18 * speakers), np.random.default_rng(seed)
    p = rng.dirichlet([1, 1, 1], size=len(truth)).astype("float32") + .2 * np.eye(3, dtype="float32")[truth]
    rows = dict(utterance=[f"u{n}" for n in range(len(truth))],
                unit=[f"speaker {n // 18}" for n in range(len(truth))], protocol="paper",
                configuration=configuration, split="one", seed=1, true=np.array(CLASSES)[truth])
    return pd.DataFrame(rows | more | dict(zip(CLASSES, (p / p.sum(axis=1, keepdims=True)).T)))

def said(table: pd.DataFrame) -> np.ndarray:
    return np.array(CLASSES)[table[CLASSES].to_numpy().argmax(axis=1)]

def by_sklearn(table: pd.DataFrame, labels: np.ndarray) -> dict[str, float]:
    return {"UA": balanced_accuracy_score(table.true, labels),
            "weighted F1": f1_score(table.true, labels, average="weighted")}


def repeated(first: int, **more) -> pd.DataFrame:
    "Five repetitions of `predictions`, with seeds 1 to 5."
    return pd.concat([predictions(first + seed, **more).assign(seed=seed) for seed in range(1, 6)])

def test_differences_are_means_of_scikit_learns_over_repetitions():
    a, b = repeated(10), repeated(20)
    tests = paired_tests(*pair_rows(a, b.sample(frac=1, random_state=0), ("A", "B"))).set_index("metric")
    of_seed = [(a[a.seed == seed], b[b.seed == seed]) for seed in range(1, 6)]
    scores = [[by_sklearn(table, said(table)) for table in pair] for pair in of_seed]
    for metric in ("UA", "weighted F1"):
        before, after = (np.array([pair[run][metric] for pair in scores]) for run in (0, 1))
        found = tests.loc[metric]
        assert np.allclose([found.a, found.b, found["value"]],
                           [before.mean(), after.mean(), (after - before).mean()])
        assert found.low < ttest_1samp(after - before, 0).confidence_interval().low, "speakers vary, too"
        assert (found.low_holm > 0 or found.high_holm < 0) == (found.p_holm < .05)
    assert tests.moved.eq((said(a) != said(b)).mean()).all()
    assert tests.units.eq(7).all() and tests.repetitions.eq(5).all()
    assert tests.rows.eq(5 * 126).all()

def test_with_few_speakers_the_interval_is_over_trainings_alone():
    a, b = repeated(10, speakers=3), repeated(20, speakers=3)
    found = paired_tests(*pair_rows(a, b, ("A", "B"))).set_index("metric").loc["UA"]
    by_seed = [by_sklearn(b[b.seed == seed], said(b[b.seed == seed]))["UA"]
               - by_sklearn(a[a.seed == seed], said(a[a.seed == seed]))["UA"] for seed in range(1, 6)]
    assert np.allclose([found.low, found.high], ttest_1samp(by_seed, 0).confidence_interval())

def test_one_repetition_in_common_has_a_value_and_no_interval():
    a, b = repeated(10), predictions(2)
    tests = paired_tests(*pair_rows(a, b, ("A", "B")))
    assert tests.repetitions.eq(1).all() and tests["value"].notna().all()
    assert tests[["low", "high", "p", "p_holm", "low_holm"]].isna().all(axis=None)
    assert "[no interval]: one repetition in common" in "\n".join(format_tests(tests, 2))

def test_holm_counts_the_tests_and_not_the_equal_ones():
    same = repeated(30, configuration="SVM")
    tests = paired_tests(*pair_rows(pd.concat([repeated(10), same]), pd.concat([same, repeated(20)]),
                                  ("A", "B")))
    equal, made = tests[tests.configuration == "SVM"], tests[tests.configuration == "MLP"].sort_values("p")
    assert equal.equal.all()
    assert equal[["p", "p_holm"]].isna().all().all()
    assert equal[["value", "low", "high", "moved"]].eq(0).all().all()
    assert np.allclose(made.p_holm,
                       np.minimum(1, [2 * made.p.iloc[0], max(2 * made.p.iloc[0], made.p.iloc[1])]))

def test_only_the_last_bit_makes_predictions_unequal():
    a = repeated(1)
    b = a.assign(anger=np.nextafter(a.anger.to_numpy(), np.float32(1)))
    tests = paired_tests(*pair_rows(a, b, ("A", "B")))
    assert not tests.equal.any() and tests["value"].eq(0).all() and tests.p.eq(1).all()

def test_only_what_was_asked_alike_is_paired():
    a = pd.concat([predictions(1, conv_length=1, side="test"), predictions(2, conv_length=3, side="test"),
                   predictions(3, conv_length=1, side="validation")])
    b = pd.concat([predictions(4, conv_length=1, side="test"),
                   predictions(5, conv_length=1, side="test").assign(seed=2),
                   predictions(6, conv_length=4, side="test"),
                   predictions(7, conv_length=1, side="validation")])
    both, classes = pair_rows(a.astype(dict(utterance="category", unit="category")), b, ("A", "B"))
    assert len(both) == 126 and set(both.conv_length) == {1} and set(both.side) == {"test"}
    assert np.isclose(paired_tests(both, classes).set_index("metric").b["UA"],
                      by_sklearn(predictions(4), said(predictions(4)))["UA"])
    relabelled = b.assign(true=np.where(b.utterance == "u0", "joy" if a.true.iloc[0] != "joy" else "anger",
                                        b.true))
    assert len(pair_rows(a, relabelled, ("A", "B"))[0]) == 125, "another true class is another question"

def test_rows_are_compared_both_ways():
    rng = np.random.default_rng(0)
    def table(names):
        return pd.DataFrame([dict(item="T", row=name, column="UA", protocol="paper", corpus="x", reproduced=v,
                                  low=v - rng.uniform(.01, .2), high=v + rng.uniform(.01, .2))
                             for name, v in zip(names, rng.random(len(names)))])
    a, b = table(range(30)), table(range(10, 40))
    one, other = differing_rows(a, b), differing_rows(b, a)
    assert len(one) == 40 and one.found.value_counts().to_dict() == {"both": 20, "only A": 10, "only B": 10}
    assert one.widths[:20].is_monotonic_decreasing and one.widths[20:].isna().all()
    joined = one.merge(other, on=KEYS)
    assert np.allclose(joined.difference_x.dropna(), -joined.difference_y.dropna())
    assert np.allclose(joined.widths_x.dropna(), joined.widths_y.dropna())
    merged = a.merge(b, on="row").set_index("row").loc[one.row[0]]
    assert np.isclose(one.widths[0],
                      abs(merged.reproduced_x - merged.reproduced_y) / np.mean([merged.high_x - merged.low_x,
            merged.high_y - merged.low_y]))


@pytest.mark.parametrize("name", finished_runs(SETTINGS.reports))
def test_a_committed_run_is_equal_to_itself(name):
    run = read_run(find_run(name, SETTINGS))
    text = compare_runs(run, run)
    assert text.count("  the same") == 2 and "  0 of " in text
    said = text[text.index("Predictions"):]
    reads = name.startswith(OURS) and "A and B kept no predictions" in said
    assert reads or "Equal to the last bit" in said or "KMeans 1.000, HDBSCAN 1.000" in said
    assert "tests, corrected" not in said

def test_two_corpora_are_matched_without_their_names():
    a, b = (read_run(find_run(f"05/{corpus}", SETTINGS)) for corpus in ("nemo", "ravdess"))
    text, rows = compare_runs(a, b, shown=10**6), differing_rows(a.results, b.results)
    assert "  corpora: nemo -> ravdess" in text
    assert "corpora.nemo: 900 clips used of 900 found" in text
    assert "matched without the corpus" in text
    assert "corpus" not in rows
    ours = [table.set_index(KEYS[:4]).reproduced for table in (a.results, b.results)]
    for row in rows[rows.found == "both"].itertuples():
        assert (row.reproduced_a, row.reproduced_b) == tuple(float(table[row[1:5]]) for table in ours)
    assert all(f"{row.row} | {row.column} | {row.protocol}" in text for row in rows.itertuples())

def test_runs_of_two_papers_are_not_paired():
    names = "03/emospeech,folds", "04/crema_d"
    text = compare_runs(*(read_run(find_run(name, SETTINGS)) for name in names))
    assert text.endswith("The runs are of different papers: their predictions are not paired.")

@pytest.mark.parametrize("text, said", [("05", "may be any of"), ("04_liang2023_pdds/cremad", "Did you mean"),
                                        ("", "No finished run"), ("99", "There are 01_"),
                                        ("nbs/papers", "No finished run")])
def test_a_run_that_is_not_there_is_told_with_those_that_are(text, said):
    with pytest.raises(StudyError, match=said) as error: find_run(text, SETTINGS)
    assert "05_lili2025_albanian_sentiment/nemo" in str(error.value)
