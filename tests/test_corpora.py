"""Corpora: several at once, the real ones partial or complete, and the demo ones through the real readers."""
from collections import Counter
import pandas as pd
import pytest
from ser_study.commands.cli import describe_corpora
from ser_study.data.corpora import CORPORA, corpora_status, find_corpus, load_corpora
from ser_study.data.screening import screen
from ser_study.settings import StudyError, load_settings
from ser_study.data.utterances import COLUMNS

TEXTS = ("demo_emospeech", "demo_meld")
DEMOS = ("demo_ravdess", "demo_crema_d", "demo_iemocap", "demo_albanian", *TEXTS)
REAL = ("ravdess", "crema_d", "nemo", "iemocap", "albanian", "emospeech", "meacorpus", "meld")


@pytest.fixture(scope="module")
def demo_settings(tmp_path_factory):
    "Settings with a cache of their own and no real corpora."
    folder = tmp_path_factory.mktemp("corpora")
    return load_settings(corpora=folder / "none", cache=folder / "cache")


def test_the_real_corpora_are_found_and_counted(corpora_root, tmp_path):
    status = corpora_status(load_settings(corpora=corpora_root, cache=tmp_path)).set_index("key")
    assert status["clips"].to_dict() == dict(ravdess=1440, crema_d=1621, nemo=900, emospeech=3750,
                                             meacorpus=5129,
                                             meld=13708) | dict.fromkeys(("iemocap", "albanian", *DEMOS), 0)
    assert status["expected"].to_dict() | dict(ravdess=1440, crema_d=7442, nemo=4481, emospeech=3750,
                                               meacorpus=5129, meld=13708) == status["expected"].to_dict()
    assert not status.astype(str).apply(lambda column: column.str.contains(str(corpora_root),
        regex=False)).any(axis=None)


def test_two_real_corpora_are_one_table(corpora_root, tmp_path):
    settings = load_settings(corpora=corpora_root, cache=tmp_path)
    frame = load_corpora("ravdess,crema_d", settings).utterances
    assert len(frame) == 3061 and tuple(frame.columns) == COLUMNS and frame["speaker"].nunique() == 44
    assert frame["utterance"].is_unique and frame["utterance"].is_monotonic_increasing
    assert frame["age"].dtype == "Int64" and frame["votes"].map(type).isin([dict, type(None)]).all()
    swapped = load_corpora("crema_d, ravdess", settings).utterances
    pd.testing.assert_frame_equal(frame, swapped)


def test_the_demo_corpora_fill_the_columns_of_the_real_ones(demo_settings):
    frame, skipped, notes = load_corpora(",".join(DEMOS), demo_settings)
    assert Counter(frame["corpus"]) == {key: CORPORA[key].count for key in DEMOS}
    assert (skipped, notes) == ([], [])
    crema_d = frame[frame["corpus"] == "demo_crema_d"]
    assert not crema_d[["sex", "age", "votes", "sentence", "transcript"]].isna().any(axis=None)
    assert crema_d[["script", "style", "valence", "arousal", "dominance"]].isna().all(axis=None), (
        "what CREMA-D does not have is not invented")
    status = corpora_status(demo_settings).set_index("key")
    assert status["found"].to_dict() == dict.fromkeys(REAL, False) | dict.fromkeys(DEMOS, True)
    assert (status["clips"] == status["expected"])[status["found"]].all()


def test_the_folder_that_is_counted_is_the_folder_that_is_made(demo_settings):
    for key in DEMOS: assert find_corpus(key, demo_settings).name == CORPORA[key].folder


def test_texts_are_loaded_beside_recordings_and_refused_by_screening(demo_settings):
    reading = load_corpora("demo_meld,demo_ravdess,demo_emospeech", demo_settings)
    frame = reading.utterances
    assert frame.groupby("corpus")["path"].apply(lambda paths: paths.notna().mean()).to_dict() == (
        dict(demo_emospeech=0, demo_meld=0, demo_ravdess=1))
    assert frame[frame["corpus"].isin(TEXTS)]["transcript"].notna().all()
    with pytest.raises(StudyError,
                       match="demo_emospeech holds texts and no recordings, and this study needs"):
        screen(reading)


def test_the_report_of_corpora_tells_texts_from_recordings(demo_settings):
    find_corpus("demo_meld", demo_settings)
    said = {block.split(":")[0]: block for block in describe_corpora(demo_settings).split("\n\n")}
    assert "1011 of 1011" in said["demo_meld"] and "texts only" in said["demo_meld"]
    assert "texts only" not in said["demo_ravdess"] and set(said) == {*REAL, *DEMOS}


@pytest.mark.parametrize("key, how", [("iemocap", "sign the licence at https://sail.usc.edu"),
                                      ("albanian", "ask its authors"),
                                      ("emospeech", "EmoSPeech_phase_2_train.csv"),
    ("meacorpus", "spanish-meacorpus-2023-dataset.csv"), ("meld", "train_sent_emo.csv")])
def test_a_corpus_that_cannot_be_fetched_says_how_it_is_got(demo_settings, key, how):
    said = f"was not found at .* To get it: {how}"
    with pytest.raises(StudyError, match=said): load_corpora(key, demo_settings)
