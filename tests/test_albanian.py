"""The Albanian layout: rows as people write them, faults by their line, and the demo by its own headers."""
from collections import Counter
import csv
import numpy as np, pytest, soundfile
from ser_study.data.demo import acted as demo
from ser_study.data.readers.albanian import read_albanian
from ser_study.data.audio import load_audio
from ser_study.data.demo.albanian import DEMO_ALBANIAN, make_demo_albanian
from ser_study.labels import SENTIMENT_OF
from ser_study.settings import StudyError


@pytest.fixture
def make(tmp_path):
    "A corpus of empty recordings with this CSV; its reader opens no recording."
    def write(text, *names, table="dataset.csv", encoding="utf-8"):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        (tmp_path / table).write_bytes(text.encode(encoding))
        return tmp_path
    return write


def test_paths_of_both_systems_and_labels_in_any_case(make):
    root = make(
        "path,labels\r\n"
        "clips\\pozitive\\zë 1.wav,Positive\r\n"
        "./clips/negative/1.wav,NEGATIVE\r\n"
        "clips/neutral/../neutral/1.wav, neutral \r\n",
        "clips/pozitive/zë 1.wav", "clips/negative/1.wav", "clips/neutral/1.wav", encoding="utf-8-sig")
    frame, skipped, _ = read_albanian(root)
    assert frame[["utterance", "emotion"]].values.tolist() == [
        ["albanian/clips/negative/1", "negative"], ["albanian/clips/neutral/1", "neutral"],
        ["albanian/clips/pozitive/zë 1", "positive"]]
    assert frame[["speaker", "sex", "language"]].drop_duplicates().values.tolist() == [
        ["albanian/1", "female", "sq"]]
    assert frame[["transcript", "votes", "age", "session"]].isna().all(axis=None) and skipped == []
    assert frame["emotion"].map(SENTIMENT_OF).tolist() == frame["emotion"].tolist(), (
        "the three classes of paper 05 without translation")


def test_rows_without_a_recording_are_listed(make):
    root = make("labels;path\npositive;a.wav\nnegative;gone.wav\nneutral;../a.wav\nneutral;/a.wav\n", "a.wav")
    frame, skipped, _ = read_albanian(root, corpus="mine")
    assert frame["utterance"].tolist() == ["mine/a"]
    assert skipped == [
        ("dataset.csv, line 3", "gone.wav: there is no such file"),
        ("dataset.csv, line 4", "a.wav: leads out of the corpus"),
        ("dataset.csv, line 5", "a.wav: leads out of the corpus")]


@pytest.mark.parametrize("text, said", [
    ("path,labels\na.wav,positive\nb.wav,happy\n",
     "dataset.csv, line 3: labels is 'happy', expected positive, negative, neutral."),
    ("path,labels\na.wav,\n", "dataset.csv, line 2: labels is '', expected"),
    ("path,labels\n\na.wav,positive\n\na.wav,negative\n",
     "dataset.csv, line 5: utterance is 'albanian/a', expected a unique name."),
    ("path,labels\na.wav\n", "dataset.csv, line 2: 1 cells, the header has 2."),
    ("file,sentiment\na.wav,positive\n", "dataset.csv lacks the column path, labels."),
    ("path,labels\nc.wav,positive\n", "dataset.csv: none of its recordings is there."),
    ("", "dataset.csv is empty.")])
def test_a_faulty_table_is_one_sentence(make, text, said):
    root = make(text, "a.wav", "b.wav")
    with pytest.raises(StudyError) as error: read_albanian(root)
    assert str(error.value).startswith(said) and str(root) not in str(error.value)


def test_no_table_or_two_are_one_sentence(make, tmp_path):
    with pytest.raises(StudyError,
                       match="Expected one CSV with the columns path and labels in .*, found none"):
        read_albanian(tmp_path)
    make("path,labels\n", table="a.csv")
    with pytest.raises(StudyError, match="found a.csv, b.csv"):
        read_albanian(make("path,labels\n", table="b.csv"))


# --- the demo

@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_demo_albanian(tmp_path_factory.mktemp("demo"))


def test_demo_layout_and_counts(made):
    with open(made / "data.csv", newline="", encoding="utf-8") as file: rows = list(csv.reader(file))
    assert rows[0] == ["path", "labels"]
    assert Counter(label for _, label in rows[1:]) == dict(positive=30, negative=30, neutral=30)
    assert {p.relative_to(made).as_posix() for p in made.rglob("*") if p.is_file()} == (
        {path for path, _ in rows[1:]} | {"data.csv", "README.md"})
    frame = read_albanian(made, corpus="demo_albanian").utterances
    assert dict(zip(frame["utterance"], frame["emotion"])) == (
        {f"demo_albanian/{path.removesuffix('.wav')}": label for path, label in rows[1:]})


def test_demo_is_48_khz_stereo_with_two_channels_that_differ(made):
    for path in sorted(made.rglob("*.wav")):
        info = soundfile.info(path)
        assert (info.format, info.subtype, info.samplerate, info.channels) == ("WAV", "PCM_16", 48000, 2)
        assert 2.3 < info.duration < 6.5
    left, right = soundfile.read(path)[0].T
    assert 0 < np.abs(left - right).max() < 0.01 < np.abs(left).max() < 0.95
    assert len(load_audio(path)) == pytest.approx(16000 * info.duration, abs=2)


def test_the_recordings_are_what_is_spoken(made, tmp_path):
    clips = DEMO_ALBANIAN[2](np.random.default_rng([demo.RECIPE, DEMO_ALBANIAN[1]]))[::20]
    demo.synthesise(clips, tmp_path)
    for clip in clips:
        spoken, kept = load_audio(tmp_path / clip.path), load_audio((made / clip.path).with_suffix(".wav"))
        assert len(spoken) == len(kept)
        assert np.corrcoef(spoken, kept)[0, 1] > 0.999, "but for two resamplings and the channels' noise"


def test_a_second_making_gives_the_same_bytes(made, tmp_path):
    again = make_demo_albanian(tmp_path)
    files = sorted(p.relative_to(made) for p in made.rglob("*") if p.is_file())
    assert len(files) == 92
    assert all((again / name).read_bytes() == (made / name).read_bytes() for name in files)
