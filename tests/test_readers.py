"""Readers: the real corpora against their own tables and published counts, and layouts that people have."""
import csv, os, time
from collections import Counter
import pandas as pd
import pytest
from ser_study.data.readers.acted import CREMA_D_SENTENCES, read_crema_d, read_nemo, read_ravdess
from ser_study.data.readers.own import read_table
from ser_study.settings import StudyError


@pytest.fixture
def make(tmp_path):
    "Empty files below tmp_path: a reader opens no recording."
    def touch(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path
    return touch


# --- the real corpora

def test_ravdess_is_complete_and_balanced(corpora_root):
    def timed():
        start = time.perf_counter()
        return read_ravdess(corpora_root / "RAVDESS"), time.perf_counter() - start
    runs = [timed() for _ in range(3)]   # the first imports pandera's parts
    frame, skipped, _ = runs[0][0]
    assert min(seconds for _, seconds in runs) < 1.0
    # Livingstone and Russo (2018): 60 clips an actor = 2 statements x 2 repetitions x (7 emotions x 2
    # intensities + neutral)
    assert len(frame) == 1440 and set(Counter(frame["speaker"]).values()) == {60}
    assert Counter(frame["emotion"]) == dict(neutral=96, calm=192, happiness=192, sadness=192, anger=192,
                                             fear=192, disgust=192, surprise=192)
    assert Counter(frame["sex"]) == dict(male=720, female=720)
    assert Counter(frame["intensity"]) == dict(normal=768, strong=672)
    assert Counter(frame["repetition"]) == {1: 720, 2: 720}
    assert frame["transcript"].nunique() == 2 and frame["age"].isna().all() and frame["votes"].isna().all()
    assert skipped == []


def test_crema_d_blocks_of_votes_are_voice_face_both(corpora_root):
    "The order of the blocks is nowhere written; the winners in the corpus's own summary decide it."
    root = corpora_root / "CREMA-D"
    with open(root / "processedResults/summaryTable.csv", newline="") as file:
        summary = {row["FileName"]: row for row in csv.DictReader(file)}
    letters = dict(anger="A", disgust="D", fear="F", happiness="H", neutral="N", sadness="S")
    agree = {}
    for rated in ("voice", "face", "both"):
        frame = read_crema_d(root, votes=rated).utterances.set_index("utterance")
        for column in ("VoiceVote", "FaceVote", "MultiModalVote"):
            winners = [{letters[e] for e, n in votes.items() if n == max(votes.values())}
                       for votes in frame["votes"]]
            told = [set(summary[name.rpartition("/")[2]][column].split(":")) for name in frame.index]
            agree[rated, column] = sum(a == b for a, b in zip(winners, told)) / len(frame)
    assert agree["voice", "VoiceVote"] == agree["face", "FaceVote"] == agree["both", "MultiModalVote"] == 1
    assert sorted(agree.values())[-4] < 0.8


def test_crema_d_holds_what_its_names_say(corpora_root):
    frame = read_crema_d(corpora_root / "CREMA-D").utterances
    assert len(frame) == 1621 and frame["speaker"].nunique() == 20
    assert not frame[["sex", "age", "votes", "sentence", "transcript"]].isna().any(axis=None)
    first = frame.set_index("utterance").loc["crema_d/AudioWAV/1001_IEO_ANG_HI"]
    assert (first["sex"], first["age"], first["intensity"], first["transcript"]) == (
        "male", 51, "high", "It's eleven o'clock")
    leveled = frame[frame["intensity"].notna()]
    assert set(leveled["sentence"]) == {"crema_d-IEO"}
    assert Counter(leveled["intensity"]) == dict(low=100, medium=100, high=100)
    assert frame["sentence"].nunique() == len(CREMA_D_SENTENCES) == 12
    assert frame["votes"].map(lambda votes: 4 <= sum(votes.values()) <= 12).all()


def test_nemo_is_read_from_its_table(corpora_root):
    frame = read_nemo(corpora_root / "nEMO").utterances
    assert len(frame) == 900 and Counter(frame["sex"]) == dict(female=450, male=450)
    assert Counter(frame["emotion"]) == dict(anger=180, fear=180, happiness=180, neutral=180, sadness=180)
    assert frame.groupby("sentence")["transcript"].nunique().eq(1).all()
    assert frame["sentence"].nunique() == frame["transcript"].nunique() == 90


def test_no_name_or_defect_shows_where_a_corpus_lies(corpora_root):
    readings = (read_ravdess(corpora_root / "RAVDESS"), read_crema_d(corpora_root / "CREMA-D"),
                read_nemo(corpora_root / "nEMO"))
    for frame, _, _ in readings:
        assert not frame["utterance"].str.contains(str(corpora_root), regex=False).any()
        assert frame["utterance"].is_monotonic_increasing and frame["utterance"].is_unique
        assert all(map(os.path.isfile, frame["path"]))


# --- layouts people have

def test_ravdess_twice_in_one_download_is_read_once(make):
    name = "03-01-05-01-01-01-01"
    root = make(f"Actor_01/{name}.wav", f"audio_speech_actors_01-24/Actor_01/{name}.wav",
                "Actor_01/.hidden.wav", ".git/x.wav")
    frame, skipped, _ = read_ravdess(root)
    assert frame["utterance"].tolist() == [f"ravdess/Actor_01/{name}"]
    assert skipped == [
        (f"audio_speech_actors_01-24/Actor_01/{name}.wav", f"the same clip as Actor_01/{name}.wav")]


def test_capital_suffixes_and_all_four_formats_are_read(make):
    suffixes = enumerate((".WAV", ".flac", ".mp3", ".ogg"), start=1)
    frame = read_ravdess(make(*(f"03-01-05-01-01-01-0{n}{suffix}" for n, suffix in suffixes))).utterances
    assert frame["speaker"].tolist() == ["ravdess/01", "ravdess/02", "ravdess/03", "ravdess/04"]
    assert frame["sex"].tolist() == ["male", "female"] * 2


@pytest.mark.parametrize("name, reason", [
    ("02-01-05-01-01-01-01", "modality 02"), ("03-01-05-03-01-01-01", "intensity '03'"),
    ("03-01-05-01-03-01-01", "statement '03'"),
    ("03-01-05-01-01-01", "seven"), ("03-01-05-01-01-01-01 (1)", "seven"), ("٠٣-01-05-01-01-01-01", "seven")])
def test_ravdess_names_that_do_not_fit_are_listed(make, name, reason):
    frame, [[skipped, why]], _ = read_ravdess(make("03-01-05-01-01-01-01.wav", f"{name}.wav"))
    assert len(frame) == 1
    assert skipped == f"{name}.wav" and reason in why


def test_repetition_and_actor_are_checked_as_numbers(make):
    with pytest.raises(StudyError,
                       match="ravdess, utterance ravdess/03-01-05-01-01-00-01: "
                             "repetition is 0, expected a whole number from 1"):
        read_ravdess(make("03-01-05-01-01-00-01.wav"))


def test_crema_d_recordings_alone_are_read(make):
    frame, skipped, _ = read_crema_d(make("1001_IEO_ANG_HI.wav", "1001_ANG.wav"))
    assert frame[["sex", "age", "votes"]].isna().all(axis=None) and frame["emotion"].tolist() == ["anger"]
    assert {name for name, _ in skipped} == {
        "1001_ANG.wav", "VideoDemographics.csv", "processedResults/tabulatedVotes.csv"}


def test_crema_d_prefers_wav_to_the_mp3_it_also_ships(make):
    frame = read_crema_d(make("AudioMP3/1001_IEO_ANG_HI.mp3", "AudioWAV/1001_IEO_ANG_HI.wav")).utterances
    assert frame["utterance"].tolist() == ["crema_d/AudioWAV/1001_IEO_ANG_HI"]


def test_a_damaged_table_of_a_corpus_is_one_sentence(make):
    root = make("AudioWAV/1001_IEO_ANG_HI.wav")
    (root / "VideoDemographics.csv").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(StudyError, match="VideoDemographics.csv lacks the column actorid"):
        read_crema_d(root)


def test_a_quotation_mark_that_never_closes_loses_no_actor_without_a_word(make):
    root = make("AudioWAV/1001_IEO_ANG_HI.wav")
    actors = ["ActorID,Age,Sex", '1001,51,"Male', "1002,21,Female", '1003,21,"Male', ""]
    (root / "VideoDemographics.csv").write_text("\n".join(actors))
    with pytest.raises(StudyError, match="VideoDemographics.csv, line 2"): read_crema_d(root)


def test_a_column_that_is_there_twice_is_named(make):
    root = make("samples/KD0_anger_1.wav")
    (root / "data.tsv").write_text("file_id\temotion\traw_text\tspeaker_id\tgender\tage\temotion\n"
                                   "KD0_anger_1.wav\tanger\ta\tKD0\tmale\t20\tjoy\n")
    with pytest.raises(StudyError, match="data.tsv: the column emotion is there 2 times"): read_nemo(root)


@pytest.mark.parametrize("read", [read_ravdess, read_crema_d, read_nemo])
def test_nothing_there_is_one_sentence(read, tmp_path):
    with pytest.raises(StudyError): read(tmp_path / "nowhere")
    with pytest.raises(StudyError): read(tmp_path)


def test_nemo_without_its_columns_is_one_sentence(make):
    root = make("samples/KD0_anger_1.wav")
    (root / "data.tsv").write_text("file_id\temotion\nKD0_anger_1.wav\tanger\n")
    with pytest.raises(StudyError, match="data.tsv lacks the column raw_text, speaker_id, gender, age"):
        read_nemo(root)


# --- a table of one's own

@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_delimiters_and_byte_order_marks(make, delimiter, encoding):
    root = make("ą b.wav", "c.ogg")
    pd.DataFrame(dict(path=["ą b.wav", "c.ogg"], label=["radość", "None"], split=["train", ""],
                      age=["", "40"])).to_csv(
        root / "mine.csv", sep=delimiter, encoding=encoding, index=False)
    frame = read_table(root / "mine.csv").utterances
    assert frame["utterance"].tolist() == ["mine/c", "mine/ą b"]
    assert frame["emotion"].tolist() == ["None", "radość"]
    assert frame["age"].tolist()[0] == 40 and frame["split"].isna().tolist() == [True, False]


def test_lines_are_counted_as_an_editor_counts_them(make):
    root = make("a.wav", "b.wav")
    (root / "mine.csv").write_text(
        'path,label,transcript\r\na.wav,joy,"two\r\nlines"\r\n\r\nb.wav,joy,x,y\r\n')
    with pytest.raises(StudyError, match="mine.csv, line 5: 4 cells, the header has 3"):
        read_table(root / "mine.csv")


def test_recordings_elsewhere_keep_their_place_to_themselves(make):
    root = make("data/one/a.wav", "data/two/a.wav", "tables/x")
    (root / "tables/mine.csv").write_text(f"path,label\n{root}/data/one/a.wav,joy\n../data/two/a.wav,joy\n")
    frame = read_table(root / "tables/mine.csv").utterances
    assert frame["utterance"].tolist() == ["mine/one/a", "mine/two/a"]
    assert all(map(os.path.isfile, frame["path"]))


def test_segments_of_one_recording_by_names_of_ones_own(make):
    root = make("long.wav")
    (root / "mine.csv").write_text(
        "utterance,path,label,start,end\none,long.wav,joy,0,1.5\ntwo,long.wav,fear,1.5,4\n")
    frame = read_table(root / "mine.csv").utterances
    assert frame[["utterance", "end"]].values.tolist() == [["mine/one", 1.5], ["mine/two", 4.0]]


@pytest.mark.parametrize("content, said", [
    (b"", "is empty"), (b"\n\n", "is empty"), (b"path,label\n", "no row can be used"),
    (b"\xff\xfe\x00", "not UTF-8"),
    (b"path,label,label\na.wav,x,y\n", "found 2"),
    (b"path,label,split,split\na.wav,x,y,z\n", "split is there twice"),
    (b"path,label,start,end\na.wav,x,2,1\n", "line 2: start is '2', expected no more than end"),
    (b"path,label,turn\na.wav,x,first\n", "line 2: turn is 'first', expected the place in the conversation"),
    (b'path,label,votes\na.wav,x,"{""joy"": 0}"\n',
     "line 2: votes is {'joy': 0}, expected counts by emotion"),
    (b"path,label\na.m4a,x\n", "'a.m4a' is not one of"), (b"path,label\n,x\n", "no path"),
    (b'path,label\n"' + b"x" * 200_000 + b'",y\n', "line 2: field larger than field limit")])
def test_a_faulty_table_is_one_sentence(make, content, said):
    root = make("a.wav", "a.m4a")
    (root / "mine.csv").write_bytes(content)
    with pytest.raises(StudyError) as error: read_table(root / "mine.csv")
    assert said in str(error.value) and "\n" not in str(error.value) and str(root) not in str(error.value)


def test_a_missing_table_is_one_sentence(tmp_path):
    with pytest.raises(StudyError, match="No such file"): read_table(tmp_path / "mine.csv")
    with pytest.raises(StudyError): read_table(tmp_path)


def test_ten_thousand_rows_are_read_in_seconds(make):
    root = make(*(f"{n}.wav" for n in range(100)))
    with open(root / "mine.csv", "w") as file:
        file.write("utterance,path,label\n" + "".join(f"u{n},{n % 100}.wav,joy\n" for n in range(10_000)))
    start = time.perf_counter()
    assert len(read_table(root / "mine.csv").utterances) == 10_000
    assert time.perf_counter() - start < 5
