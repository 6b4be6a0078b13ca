"Fits of texts: what is kept apart, what a fit may see, and one table for both kinds of classifiers."

from contextlib import nullcontext
import numpy as np, pandas as pd, pytest
from scipy.stats import ttest_1samp
from sklearn.metrics import f1_score
from ser_study.evaluation.published import load_published
from ser_study.protocol.splits import Split
from ser_study.settings import StudyError, load_settings
from ser_study.study.fits import task_key
from ser_study.study.texts import fits as text_fits
from ser_study.study.texts.fits import Texts, answers_of, fit_texts
from ser_study.study.texts.material import Material, list_splits, split_texts
from ser_study.study.texts.scores import compare_alike, compare_weightings, score_results
from ser_study.study.texts.systems import Outcome, fit_systems, name_predictions

LABELS = np.tile([0, 1, 2], 20)
TEXTS = np.array([f"{('alegría', 'tristeza', 'miedo')[label]} {row % 7}" for row, label in enumerate(LABELS)])
SPLIT = Split("a", np.arange(36), np.arange(36, 45), np.arange(45, 60))
SCRATCH = dict(
    checkpoint="scratch",
    options=dict(width=16, layers=1, heads=2, vocabulary=300),
    recipe=dict(epochs=1, batch_size=12, learning_rate=1e-3, longest=16),
)
BASELINE = dict(model="linear SVM", features=["words"])


def run(folder, configurations, texts=TEXTS, labels=LABELS, splits=None, own=None):
    settings = load_settings(cache=str(folder), workers="1", device="cpu", scheduler="")
    made = Texts(texts, np.eye(3)[labels])
    return fit_texts(made, configurations, splits or {1: [SPLIT]}, settings, own=own)


def test_both_kinds_in_one_table(tmp_path):
    both = dict(transformer=SCRATCH, baseline=BASELINE)
    table, facts = run(tmp_path, both, splits={1: [SPLIT], 2: [SPLIT]})
    fits = {(name, seed) for name in ("transformer", "baseline") for seed in (1, 2)}
    sizes = {(*fit, side): rows for fit in fits for side, rows in (("test", 15), ("validation", 9))}
    assert table.groupby(["configuration", "seed", "side"]).size().to_dict() == sizes
    assert {(fact["configuration"], fact["seed"]) for fact in facts} == fits
    assert np.allclose(table[["p_0", "p_1", "p_2"]].sum(axis=1), 1, atol=1e-5)
    tested = table[(table.configuration == "baseline") & (table.side == "test")]
    assert np.array_equal(answers_of(tested), LABELS[tested.row]), "three words tell three classes, twice"


def test_a_row_may_test_in_one_seed_and_validate_in_another(tmp_path):
    other = Split("b", np.arange(36), np.arange(45, 60), np.arange(36, 45))
    table, _ = run(tmp_path, dict(baseline=BASELINE), splits={1: [SPLIT], 2: [other]})
    sides = {key: set(rows) for key, rows in table.groupby(["seed", "side"]).row}
    assert sides[2, "test"] == set(range(36, 45)) == sides[1, "validation"]
    assert (table.side == "test").sum() == 24, "none is counted where it validates"


@pytest.mark.parametrize("configuration", [SCRATCH, BASELINE], ids=["fine-tuned", "TF-IDF"])
def test_held_out_labels_teach_nothing(configuration, tmp_path):
    lies = LABELS.copy()
    lies[36:] = (lies[36:] + 1) % 3
    honest = run(tmp_path / "honest", dict(name=configuration)).table
    lied = run(tmp_path / "lied", dict(name=configuration), labels=lies).table
    assert honest.equals(lied)


@pytest.fixture
def key(monkeypatch, tmp_path):
    "A function that returns the name under which a configuration's fit would be kept, without computing it."
    seen = []

    def stop(function, tasks, *rest):
        seen.extend((function.__name__, task_key("code", task)) for task in tasks.values())
        raise InterruptedError

    monkeypatch.setattr(text_fits, "predict_all", stop)

    def find(configuration, texts=TEXTS, labels=LABELS, splits=None):
        with pytest.raises(InterruptedError):
            run(tmp_path, dict(name=configuration), texts, labels, splits)
        return seen.pop()

    return find


def test_two_configurations_never_share_a_fit(key):
    swapped = Split("a", SPLIT.train, SPLIT.test, SPLIT.validation)
    other = TEXTS.copy()
    other[0] = "otra"
    found = [
        key(SCRATCH),
        key(BASELINE),
        key(SCRATCH | dict(weights="banded")),
        key(SCRATCH | dict(sampling="over")),
        key(SCRATCH | dict(loss="focal")),
        key(SCRATCH | dict(recipe=SCRATCH["recipe"] | dict(bf16=True))),
        key(BASELINE | dict(weights=[1.0, 2.0, 3.0])),
        key(BASELINE | dict(C=2.0)),
        key(BASELINE | dict(features=["characters"])),
        key(BASELINE | dict(model="logistic regression")),
        key(BASELINE, texts=other),
        key(BASELINE, labels=(LABELS + 1) % 3),
        key(BASELINE, splits={2: [SPLIT]}),
        key(BASELINE, splits={1: [swapped]}),
    ]
    assert len(set(found)) == len(found)
    assert key(SCRATCH) == found[0]
    assert key(BASELINE | dict(weights="none")) == found[1], "a default that is spelt out is the same fit"


def test_a_wrong_word_is_named(tmp_path):
    with pytest.raises(StudyError, match="medium.*choose from none"):
        run(tmp_path, dict(name=BASELINE | dict(sampling="medium")))


def test_what_was_chosen_on_one_split_is_given_to_no_other(tmp_path):
    twice = {1: [SPLIT], 2: [SPLIT]}
    weights = dict(weights=[1.0, 1e-4, 1e-4])
    plain = run(tmp_path, dict(name=BASELINE), splits=twice).table
    own = run(tmp_path, dict(name=BASELINE), splits=twice, own={(2, "a"): weights}).table
    assert plain[plain.seed == 1].equals(own[own.seed == 1])
    assert set(answers_of(plain[plain.seed == 2])) == {0, 1, 2} and set(answers_of(own[own.seed == 2])) == {0}


# What is judged


@pytest.fixture(scope="module")
def material() -> Material:
    "120 texts of three emotions, every third of which is said twice."
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [60, 45, 15])
    words = np.array(["mesa calle", "alegría risa", "miedo susto"])[labels]
    noise = rng.integers(len(words), size=len(words))   # some words of any emotion, so that errors are made
    said = [f"{own} {words[k]} {k // 3}" for own, k in zip(words, noise)]
    said[1::3] = said[::3][: len(said[1::3])]
    labels[1::3] = labels[::3]
    table = pd.DataFrame(dict(utterance=[f"x/{k:03}" for k in range(120)], transcript=said, sentence=said))
    order = rng.permutation(120)
    official = Split("official", order[:90], np.array([], dtype=int), order[90:])
    return Material(table.assign(corpus="x"), labels, ("neutral", "joy", "fear"), official)


@pytest.fixture(scope="module")
def outcome(material, tmp_path_factory) -> Outcome:
    settings = load_settings(cache=str(tmp_path_factory.mktemp("cache")), workers="1", scheduler="")
    splits = split_texts(material, [1, 2, 3, 4, 5, 6], folds=3)
    systems = {"SVM": dict(model="linear SVM", features=["words"], C=0.05)}
    both = dict(paper=systems, corrected=systems)
    return fit_systems(material, both, splits, settings, stage=lambda name, items: nullcontext())


def test_every_seed_draws_folds_in_which_each_text_is_tested_once(material):
    splits = split_texts(material, [1, 2, 3], folds=3)
    assert [splits["paper"][seed] for seed in (1, 2, 3)] == [[material.official]] * 3, "it is fixed"
    sides = []
    for of_seed in splits["corrected"].values():
        assert np.array_equal(np.sort(np.concatenate([split.test for split in of_seed])), np.arange(120))
        for split in of_seed:
            held_out = set(material.groups[np.concatenate([split.test, split.validation])])
            assert not held_out & set(material.groups[split.train])
        sides.append({frozenset(split.test) for split in of_seed})
    assert not sides[0] & sides[1] and not sides[1] & sides[2], "no fold comes back"
    assert len({split.name for split in list_splits(splits)}) == 1 + 3 * 3


def test_both_protocols_compare_the_same_systems_on_every_text(material, outcome):
    assert outcome.configurations("paper") == outcome.configurations("corrected")
    units = len(set(material.groups))
    assert units < 120 and outcome.counts("corrected", "SVM, unweighted").shape == (6, units, 3, 3)
    assert outcome.tested("corrected").sum() == 120
    kept = name_predictions(outcome)
    of_text = kept.merge(material.utterances[["utterance", "sentence"]], on="utterance").groupby("sentence")
    assert of_text.unit.nunique().eq(1).all(), "equal texts have one unit"


def test_a_score_is_the_mean_of_the_seeds_and_not_of_their_sum(material, outcome):
    rows = outcome.rows("corrected", "SVM, unweighted")
    by_seed = [f1_score(material.labels[part.row], answers_of(part), average="macro")
               for _, part in rows.groupby("seed")]
    scores = pd.DataFrame(score_results(outcome)).set_index(["protocol", "row", "column"])
    found = scores.loc[("corrected", "SVM, unweighted", "macro F1")]
    assert np.isclose(found.reproduced, np.mean(by_seed)) and found.seeds == 6
    assert found.low < ttest_1samp(by_seed, 0).confidence_interval().low, "texts vary as well as trainings"


def test_a_learner_without_luck_varies_with_the_texts_alone(outcome):
    gains = compare_weightings(outcome, load_published("03"))
    paper = gains[(gains.protocol == "paper") & (gains.measure == "macro F1")]
    units = outcome.counts("paper", "SVM, unweighted").shape[1]
    assert np.allclose(paper.freedom, units - 1), "all degrees of freedom are those of the texts"
    assert (paper.error > 0).all()
    assert set(paper.verdict) <= {"holds", "reversed", "inconclusive", "too small to matter"}
    assert ((gains.verdict == "") == (gains.reason != "")).all()


def test_a_system_against_itself_stands_outside_the_family(outcome):
    alike = compare_alike(outcome)
    assert "p_holm" not in alike and (alike.repetitions == 3).all()
    assert set(alike.reason) == {"fewer than 5 repetitions"}
    assert (alike[alike.protocol == "paper"]["value"] == 0).all(), "six equal answers"
    assert alike[alike.protocol == "corrected"]["value"].ne(0).any(), "each seed has other folds"
