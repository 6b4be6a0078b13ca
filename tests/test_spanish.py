"""EmoSPeech 2024 and MEACorpus: hand-made files, places named by file and line, texts of every kind kept,
and the published counts."""
import csv, re
from collections import Counter
import pytest
from ser_study.data.demo.texts import make_demo_texts
from ser_study.settings import StudyError
from ser_study.data.readers.spanish import read_emospeech, read_meacorpus

WHOLE = "spanish-meacorpus-2023-dataset.csv"
TRAIN, TEST = "EmoSPeech_phase_2_train.csv", "EmoSPeech_phase_2_test_public.csv"
ODD = ["👩‍👩‍👧 ¡olé! 🏆", "שלום עולם, ¿qué tal?", "<script>alert('x')</script> &amp; <b>", "=SUM(A1:A9)",
       'dijo "no", y\nse fue', "x" * 20000, "NA", "null", "a\tb;c|d", "∑ xᵢ² ≠ 0"]


@pytest.fixture
def task(tmp_path):
    "A folder of corpora in which these tables stand; the task's two hold one row each unless said otherwise."
    def write(train="aa-1.mp3,joy,a\n", test="aa-2.mp3,b\n",
              whole="aa-1.mp3,joy,a,train\naa-2.mp3,fear,b,test\n", place="MEACorpus", bom=""):
        texts = {f"EmoSPeech2024/{TRAIN}": "id,label,transcription\n" + train,
                 f"EmoSPeech2024/{TEST}": "id,transcription\n" + test}
        if whole is not None: texts[f"{place}/{WHOLE}"] = "filename,label,transcription,split\n" + whole
        for name, text in texts.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes((bom + text).encode())
        return tmp_path / "EmoSPeech2024"
    return write


def quoted(*rows):
    "Rows as CSV, by a writer of their own."
    from io import StringIO
    out = StringIO()
    csv.writer(out, lineterminator="\r\n").writerows(rows)
    return out.getvalue()


def test_test_labels_come_from_the_corpus_beside_it(task):
    frame, skipped, _ = read_emospeech(task())
    frame = frame.set_index("utterance")
    assert frame[["emotion", "transcript", "split", "language", "corpus"]].values.tolist() == [
        ["happiness", "a", "train", "es", "emospeech"], ["fear", "b", "test", "es", "emospeech"]]
    assert frame[["path", "speaker", "sex", "votes", "dialogue", "sentiment"]].isna().all(axis=None), (
        "what is not published is not invented")
    assert skipped == []


def test_or_from_the_corpus_in_it(task):
    frame = read_emospeech(task(place="EmoSPeech2024")).utterances
    assert frame["emotion"].tolist() == ["happiness", "fear"]


def test_without_the_corpus_test_emotions_are_missing_and_it_is_said(task):
    frame, skipped, _ = read_emospeech(task(whole=None))
    assert frame["emotion"].isna().tolist() == [False, True]
    assert skipped == [(WHOLE, "not there: the emotions of the test texts are missing")]


def test_texts_of_every_kind_are_kept(task):
    root = task(train=quoted(*([f"o-{n}.mp3", "sadness", text] for n, text in enumerate(ODD))), bom="\ufeff")
    kept = read_emospeech(root).utterances.set_index("utterance")["transcript"]
    assert [kept[f"emospeech/o-{n}"] for n in range(len(ODD))] == ODD


def test_a_text_without_words_stays_without_words(task):
    frame = read_emospeech(task(train="aa-1.mp3,joy,\naa-3.mp3,fear,  \n", test='aa-2.mp3,""\n')).utterances
    assert len(frame) == 3 and frame["transcript"].isna().all()
    assert frame["emotion"].tolist() == ["happiness", "fear", "fear"]


@pytest.mark.parametrize("tables, said", [
    (dict(train="aa-1.mp3,anger,a\n"),
     f"{TRAIN}, line 2: aa-1.mp3 is labelled anger, and joy in {WHOLE}, line 2."),
    (dict(train="aa-1.mp3,JOY,a\n"),
     f"{TRAIN}, line 2: label 'JOY' is none of neutral, disgust, anger, joy, sadness, fear."),
    (dict(train="aa-1.mp3,joy,a\n\naa-9.mp3,,a\n"), f"{TRAIN}, line 4: label '' is none of"),
    (dict(train="aa-1.mp3,joy,a\naa-9.mp3,joy\n"), f"{TRAIN}, line 3: 2 cells, the header has 3."),
    (dict(train='aa-1.mp3,joy,"a\nb"\n,joy,a\n'), f"{TRAIN}, line 4: id is empty."),
    (dict(train="aa-1.mp3,joy,a\naa-2.mp3,fear,b\n"),
     f"{TEST}, line 2: aa-2.mp3 stood before, in {TRAIN}, line 3."),
    (dict(test="aa-2.mp3,b\naa-2.mp3,c\n"), f"{TEST}, line 3: aa-2.mp3 stood before, in line 2."),
    (dict(whole="aa-2.mp3,surprise,b,test\n"), f"{WHOLE}, line 2: label 'surprise' is none of"),
    (dict(whole="aa-1.mp3,joy,a,train\naa-1.wav,joy,a,train\n"),
     f"{WHOLE}, line 3: aa-1.wav stood before, in line 2."),
    (dict(test=""), f"{TEST} holds no text.")])
def test_a_fault_is_told_with_file_and_line(task, tables, said):
    root = task(**tables)
    with pytest.raises(StudyError) as error: read_emospeech(root)
    assert str(error.value).startswith(said) and str(root) not in str(error.value)


def test_a_test_text_that_the_corpus_does_not_know_is_listed(task):
    frame, skipped, _ = read_emospeech(task(whole="aa-1.mp3,joy,a,train\n"))
    assert frame["emotion"].isna().tolist() == [False, True]
    assert skipped == [(f"{TEST}, line 2", f"aa-2.mp3 is not in {WHOLE}: its emotion is missing")]


def test_a_missing_table_is_named(task):
    root = task()
    (root / TEST).unlink()
    with pytest.raises(StudyError, match=f"{TEST}: No such file"): read_emospeech(root)


def test_recordings_are_matched_by_name(task, tmp_path):
    root = task().parent / "MEACorpus"
    for name in ("in/two/aa-2.mp3", "aa-2.wav", "zz.mp3", "notes.txt"):
        (tmp_path / "user" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "user" / name).touch()
    frame, skipped, _ = read_meacorpus(root, audio=tmp_path / "user")
    assert frame["path"].isna().tolist() == [True, False]
    assert frame["path"][1] == str(tmp_path / "user/aa-2.wav"), "a lossless copy first"
    assert skipped == [("in/two/aa-2.mp3", "the same clip as aa-2.wav"), ("zz.mp3", "no text goes with it")]
    assert read_meacorpus(root).utterances["path"].isna().all()
    (root / "audios").mkdir()
    (root / "audios/aa-1.mp3").touch()
    assert read_meacorpus(root).utterances["path"].notna().tolist() == [True, False], (
        "below the corpus's folder they are found unasked")
    with pytest.raises(StudyError, match="meacorpus: there is no folder"):
        read_meacorpus(root, audio=tmp_path / "nowhere")


def test_a_split_of_no_name_is_told(task):
    with pytest.raises(StudyError) as error:
        read_meacorpus(task(whole="aa-1.mp3,joy,a,dev\n").parent / "MEACorpus")
    assert str(error.value) == f"{WHOLE}, line 2: split is 'dev', expected train or test."


# --- the real files, against a reading of their own

def plain(path):
    with open(path, newline="", encoding="utf-8") as file: return list(csv.DictReader(file))


def test_the_task_as_paper_03_counts_it(corpora_root):
    frame, skipped, _ = read_emospeech(corpora_root / "EmoSPeech2024")
    train, test = frame[frame["split"] == "train"], frame[frame["split"] == "test"]
    assert Counter(train["emotion"]) == (
        dict(neutral=1166, disgust=705, anger=399, happiness=362, sadness=345, fear=23))
    assert Counter(test["emotion"]) == (
        dict(neutral=291, disgust=177, anger=100, happiness=90, sadness=86, fear=6))
    assert frame["transcript"].notna().all() and skipped == []
    texts = {row["id"]: row["transcription"].strip() for name in (TRAIN, TEST)
             for row in plain(corpora_root / "EmoSPeech2024" / name)}
    assert {f"emospeech/{name.removesuffix('.mp3')}": text for name, text in texts.items()} == (
        dict(zip(frame["utterance"], frame["transcript"])))


def test_the_whole_corpus(corpora_root):
    frame = read_meacorpus(corpora_root / "MEACorpus").utterances
    rows = plain(corpora_root / "MEACorpus" / WHOLE)
    assert len(frame) == len(rows) == 5129 and Counter(frame["split"]) == dict(train=4102, test=1027)
    house = dict(zip(("joy", "neutral", "disgust", "anger", "sadness", "fear"),
                     ("happiness", "neutral", "disgust", "anger", "sadness", "fear")))
    assert {f"meacorpus/{row['filename'][:-4]}": (house[row["label"]], row["split"])
            for row in rows} == dict(zip(frame["utterance"], zip(frame["emotion"], frame["split"])))


# --- the demo

@pytest.fixture(scope="module")
def demo(tmp_path_factory): return make_demo_texts("demo_emospeech", tmp_path_factory.mktemp("demo"))


def test_demo_has_the_files_of_the_original(demo):
    assert sorted(path.name for path in demo.iterdir()) == sorted([TRAIN, TEST, WHOLE, "README.md"])
    heads = {name: (demo / name).read_text(encoding="utf-8").splitlines()[0] for name in (TRAIN, TEST, WHOLE)}
    assert heads == {
        TRAIN: "id,label,transcription", TEST: "id,transcription",
        WHOLE: '"filename","label","transcription","split"'}
    train, test, whole = (plain(demo / name) for name in (TRAIN, TEST, WHOLE))
    assert Counter(row["label"] for row in train) == (
        dict(neutral=117, disgust=70, anger=40, joy=36, sadness=34, fear=3))
    labels = {row["filename"]: row["label"] for row in whole}
    assert Counter(labels[row["id"]] for row in test) == (
        dict(neutral=35, disgust=21, anger=12, joy=11, sadness=10, fear=1))
    assert len(whole) == 390
    assert all(re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{8}\.mp3", name) for name in labels)


def test_demo_texts_are_all_different_and_do_not_tell_everything(demo):
    frame, skipped, _ = read_emospeech(demo, corpus="demo_emospeech")
    assert frame["transcript"].is_unique and skipped == []
    assert frame["utterance"].str.startswith("demo_emospeech/").all()
    emotional = {emotion: {word for text in frame[frame["emotion"] == emotion]["transcript"]
                           for word in text.split()} for emotion in frame["emotion"].unique()}
    assert all(a & b for a in emotional.values() for b in emotional.values())


def test_demos_of_texts_are_made_alike_each_time(demo, tmp_path):
    for name in ("demo_emospeech", "demo_meld"):
        first, again = (make_demo_texts(name, tmp_path / place) for place in "ab")
        files = sorted(path.name for path in first.iterdir())
        assert len(files) == 4
        assert all((first / file).read_bytes() == (again / file).read_bytes() for file in files)
        assert make_demo_texts(name, tmp_path / "a") == first
    assert (tmp_path / "a" / demo.name / TRAIN).read_bytes() == (demo / TRAIN).read_bytes()
