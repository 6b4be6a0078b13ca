"Fits of texts: what is kept apart, what a fit may see, and one table for both kinds of classifiers."

import numpy as np, pytest
from ser_study.protocol.splits import Split
from ser_study.settings import StudyError, load_settings
from ser_study.study.fits import task_key
from ser_study.study.texts import fits as text_fits
from ser_study.study.texts.fits import fit_texts, text_counts

LABELS = np.tile([0, 1, 2], 20)
TEXTS = np.array([f"{('alegría', 'tristeza', 'miedo')[label]} {row % 7}" for row, label in enumerate(LABELS)])
SPLIT = Split("a", np.arange(36), np.arange(36, 45), np.arange(45, 60))
SCRATCH = dict(
    checkpoint="scratch",
    options=dict(width=16, layers=1, heads=2, vocabulary=300),
    recipe=dict(epochs=1, batch_size=12, learning_rate=1e-3, longest=16),
)
BASELINE = dict(model="linear SVM", features=["words"])


def run(folder, configurations, texts=TEXTS, labels=LABELS, splits=None):
    settings = load_settings(cache=str(folder), workers="1", device="cpu", scheduler="")
    return fit_texts(texts, np.eye(3)[labels], configurations, splits or {1: [SPLIT]}, settings)


def test_both_kinds_in_one_table(tmp_path):
    both = dict(transformer=SCRATCH, baseline=BASELINE)
    table, facts = run(tmp_path, both, splits={1: [SPLIT], 2: [SPLIT]})
    fits = {(name, seed) for name in ("transformer", "baseline") for seed in (1, 2)}
    sizes = {(*fit, side): rows for fit in fits for side, rows in (("test", 15), ("validation", 9))}
    assert table.groupby(["configuration", "seed", "side"]).size().to_dict() == sizes
    assert {(fact["configuration"], fact["seed"]) for fact in facts} == fits
    assert np.allclose(table[["p_0", "p_1", "p_2"]].sum(axis=1), 1, atol=1e-5)
    counts = text_counts(table, "baseline", LABELS, 3)
    assert counts.shape == (15, 3, 3)
    assert np.array_equal(counts.sum(axis=0), np.diag([10, 10, 10])), "three words tell three classes, twice"


def test_a_row_may_test_in_one_seed_and_validate_in_another(tmp_path):
    other = Split("b", np.arange(36), np.arange(45, 60), np.arange(36, 45))
    table, _ = run(tmp_path, dict(baseline=BASELINE), splits={1: [SPLIT], 2: [other]})
    sides = {key: set(rows) for key, rows in table.groupby(["seed", "side"]).row}
    assert sides[2, "test"] == set(range(36, 45)) == sides[1, "validation"]
    assert text_counts(table, "baseline", LABELS, 3).sum() == 24, "none is counted where it validates"


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
    with pytest.raises(KeyError):
        text_counts(run(tmp_path, dict(name=BASELINE)).table, "nobody", LABELS, 3)
