"""IEMOCAP's layout: votes, majorities, turns and words counted by hand, files as people have them, and the
demo against a second reading of its files."""
import re
from collections import Counter
from pathlib import Path
import numpy as np, pandas as pd, pytest, soundfile
from ser_study.data.demo import acted as demo
from ser_study.data.demo.dialogues import DEMO_IEMOCAP, make_demo_iemocap
from ser_study.data.readers.iemocap import read_iemocap
from ser_study.labels import IEMOCAP_FOUR, IEMOCAP_SIX
from ser_study.settings import StudyError
from ser_study.protocol.splits import named_split, purge_split

# Two dialogues typed by hand after the published samples of the official files: tabs, empty comments,
# comments with semicolons and
# brackets, a double category, a self-evaluation of the man, CRLF, the woman's utterances before the man's.
IMPRO = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes02F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
C-E3:\tNeutral;\t()
C-E4:\tNeutral;\t()
C-F1:\tNeutral;\t(curious)
A-E3:\tval 3; act 2; dom  2;\t()
A-E4:\tval 2; act 3; dom  3;\t(mildly aggravated but staying polite, attitude)
A-F1:\tval 3; act 2; dom  1;\t()

[17.1000 - 19.0000]\tSes02F_impro01_F001\texc\t[4.0000, 4.0000, 3.5000]
C-E2:\tHappiness; Excited;\t()
C-E3:\tExcited;\t(glad; (very))
C-E4:\tExcited; Surprise;\t()
C-F1:\tHappiness;\t()
A-E3:\tval 4; act 4; dom  3;\t()

[7.5712 - 10.4750]\tSes02F_impro01_M000\tfru\t[2.0000, 3.0000, 3.0000]
C-E2:\tFrustration;\t()
C-E3:\tFrustration;\t()
C-E4:\tAnger;\t()
C-M1:\tFrustration; Anger;\t()
A-E3:\tval 2; act 3; dom  3;\t()

[12.0000 - 16.5000]\tSes02F_impro01_M001\txxx\t[3.0000, 2.5000, 3.0000]
C-E2:\tOther;\t(bored)
C-E3:\tDisgust;\t()
C-E4:\tFear; Sadness;\t()
"""
IMPRO_WORDS = """Ses02F_impro01_F000 [006.2901-008.2357]: Excuse me.
Ses02F_impro01_M000 [007.5712-010.4750]: Do you have your forms?
M: Yeah.
Ses02F_impro01_MXX0 [011.0000-011.5000]: [LAUGHTER]
Ses02F_impro01_M001 [012.0000-016.5000]: Well: what's the problem?
"""
SCRIPT = """[0.5000 - 1.5000]\tSes05M_script01_1b_M000\tsad\t[1.5, 2, 2]
C-E1:\tSadness;\t()
C-E2:\tSadness;\t()
C-E4:\tSadness;\t()
"""


def evaluation(folder, dialogue, text):
    path = folder / f"Session{dialogue[4]}/dialog/EmoEvaluation/{dialogue}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.replace("\n", "\r\n").encode())
    for utterance in re.findall(r"\t(Ses\w+)\t", text):
        wav = folder / f"Session{dialogue[4]}/sentences/wav/{dialogue}/{utterance}.wav"
        wav.parent.mkdir(parents=True, exist_ok=True)
        wav.touch()
    return path


@pytest.fixture
def corpus(tmp_path):
    evaluation(tmp_path, "Ses02F_impro01", IMPRO)
    evaluation(tmp_path, "Ses05M_script01_1b", SCRIPT)
    words = tmp_path / "Session2/dialog/transcriptions/Ses02F_impro01.txt"
    words.parent.mkdir(parents=True)
    words.write_text(IMPRO_WORDS)
    return tmp_path


def by_name(reading):
    frame = reading.utterances
    return frame.set_index(frame["utterance"].str.rpartition("/")[2])


def test_votes_of_evaluators_counted_by_hand(corpus):
    votes = by_name(read_iemocap(corpus))["votes"].to_dict()
    assert votes == dict(
        Ses02F_impro01_F000=dict(neutral=3), Ses02F_impro01_F001=dict(happiness=1, excitement=3, surprise=1),
        Ses02F_impro01_M000=dict(frustration=2, anger=1),
        Ses02F_impro01_M001=dict(other=1, disgust=1, fear=1, sadness=1),
        Ses05M_script01_1b_M000=dict(sadness=3))


def test_votes_with_self_evaluations_counted_by_hand(corpus):
    votes = by_name(read_iemocap(corpus, annotators="all"))["votes"].to_dict()
    assert votes == dict(
        Ses02F_impro01_F000=dict(neutral=4), Ses02F_impro01_F001=dict(happiness=2, excitement=3, surprise=1),
        Ses02F_impro01_M000=dict(frustration=3, anger=2),
        Ses02F_impro01_M001=dict(other=1, disgust=1, fear=1, sadness=1),
        Ses05M_script01_1b_M000=dict(sadness=3))


def test_the_rest_of_a_row_by_hand(corpus):
    frame = by_name(read_iemocap(corpus))
    columns = ["session", "dialogue", "turn", "speaker", "sex", "emotion", "style", "script", "start", "end",
               "valence", "arousal", "dominance", "transcript"]
    rows = {name: [None if pd.isna(cell) else cell for cell in row]
            for name, row in zip(frame.index, frame[columns].astype(object).values)}
    assert rows == dict(
        Ses02F_impro01_F000=["2", "iemocap/Ses02F_impro01", 0, "iemocap/Ses02F", "female", "neutral",
                             "improvised", None, 6.2901, 8.2357, 2.5, 2.5, 2.5, "Excuse me."],
        Ses02F_impro01_M000=["2", "iemocap/Ses02F_impro01", 1, "iemocap/Ses02M", "male", "frustration",
                             "improvised", None, 7.5712, 10.475, 2, 3, 3, "Do you have your forms?"],
        Ses02F_impro01_M001=["2", "iemocap/Ses02F_impro01", 2, "iemocap/Ses02M", "male", None, "improvised",
                             None, 12, 16.5, 3, 2.5, 3, "Well: what's the problem?"],
        Ses02F_impro01_F001=["2", "iemocap/Ses02F_impro01", 3, "iemocap/Ses02F", "female", "excitement",
                             "improvised", None, 17.1, 19, 4, 4, 3.5, None],
        Ses05M_script01_1b_M000=["5", "iemocap/Ses05M_script01_1b", 0, "iemocap/Ses05M", "male", "sadness",
                                 "scripted", "script01", 0.5, 1.5, 1.5, 2, 2, None])
    assert set(frame["language"]) == {"en"}
    assert frame["utterance"].iloc[0] == "iemocap/Session2/sentences/wav/Ses02F_impro01/Ses02F_impro01_F000"


def test_what_does_not_fit_is_listed(corpus):
    for name in ("Session2/dialog/wav/Ses02F_impro01.wav",
                 "Session2/sentences/wav/Ses02F_impro01/Ses02F_impro01_F099.wav"):
        (corpus / name).parent.mkdir(parents=True, exist_ok=True)
        (corpus / name).touch()
    assert read_iemocap(corpus).skipped == [
        ("Session2/dialog/transcriptions/Ses02F_impro01.txt, line 3", "belongs to no utterance"),
        ("Session2/dialog/wav/Ses02F_impro01.wav", "not evaluated"),
        ("Session2/sentences/wav/Ses02F_impro01/Ses02F_impro01_F099.wav", "not evaluated"),
        ("Session5/dialog/transcriptions/Ses05M_script01_1b.txt", "not there: transcripts are missing")]


def test_a_partial_copy_keeps_the_places_in_the_dialogue(corpus):
    (corpus / "Session2/sentences/wav/Ses02F_impro01/Ses02F_impro01_M000.wav").unlink()
    turns = by_name(read_iemocap(corpus))["turn"]
    assert turns.to_dict() == (
        dict(Ses02F_impro01_F000=0, Ses02F_impro01_F001=3, Ses02F_impro01_M001=2, Ses05M_script01_1b_M000=0))


def test_copies_made_on_a_mac_and_bytes_that_are_no_utf8(corpus):
    hidden = corpus / "Session2/dialog/EmoEvaluation/._Ses02F_impro01.txt"
    hidden.write_bytes(b"\x00\x05\x16\x07")
    path = corpus / "Session2/dialog/EmoEvaluation/Ses02F_impro01.txt"
    path.write_bytes(path.read_bytes().replace(b"(curious)", b"(curious\x92s)"))
    assert len(read_iemocap(corpus).utterances) == 5


@pytest.mark.parametrize("old, new, line, said", [
    ("C-E3:\tExcited;", "C-E3:\tThrilled;", 14, "category 'Thrilled' is none of Neutral, "),
    ("\tfru\t", "\tfrustrated\t", 19, "emotion 'frustrated' is none of neu, "),
    ("[7.5712 - 10.4750]", "[7.5712 10.4750]", 19,
     "expected [start - end], utterance, emotion, [valence, activation, dominance]"),
    ("[7.5712 - 10.4750]", "[7.57.12 - 10.4750]", 19, "expected [start - end]"),
    ("C-M1:\t", "C-M:\t", 23, "expected an annotator and categories"),
    ("[17.1000 - 19.0000]\tSes02F_impro01_F001", "[17.1000 - 19.0000]\tSes02F_impro01_F000", 12,
     "Ses02F_impro01_F000 stands there twice"),
    ("% [START", "C-E1: Neutral; ()\n% [START", 1,
     "is neither an utterance nor an annotator's line below one"),
    ("A-E3:\tval 4;", "B-E3:\tval 4;", 17, "is neither an utterance nor")])
def test_a_line_that_does_not_fit_costs_itself(corpus, old, new, line, said):
    assert IMPRO.count(old) == 1
    whole = read_iemocap(corpus)
    evaluation(corpus, "Ses02F_impro01", IMPRO.replace(old, new))
    frame, skipped, _ = read_iemocap(corpus)
    assert said in dict(skipped)[f"EmoEvaluation/Ses02F_impro01.txt, line {line}"]
    assert str(corpus) not in str(skipped) and len(frame) >= len(whole.utterances) - 1
    kept = whole.utterances.set_index("utterance").loc[frame["utterance"], "emotion"]
    assert frame["emotion"].fillna("").tolist() == kept.fillna("").tolist()


def test_an_end_before_the_start_names_the_utterance(corpus):
    evaluation(corpus, "Ses05M_script01_1b", SCRIPT.replace("1.5000", "0.2500", 1))
    with pytest.raises(StudyError, match="Ses05M_script01_1b_M000: start is 0.5, expected no more than end"):
        read_iemocap(corpus)


def test_nothing_there_and_unknown_annotators_are_one_sentence(corpus, tmp_path):
    with pytest.raises(StudyError, match="Did you mean 'external'"):
        read_iemocap(corpus, annotators="externals")
    with pytest.raises(StudyError): read_iemocap(tmp_path / "nowhere")
    with pytest.raises(StudyError, match="no clip with a name such as"):
        read_iemocap(tmp_path / "Session2/dialog/transcriptions")


# --- the demo

@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_demo_iemocap(tmp_path_factory.mktemp("demo"))


def counted_again(root):
    "A second reading of the demo's files, by lines: each utterance's majority code and annotators' words."
    found = {}
    for path in sorted(Path(root).glob("Session?/dialog/EmoEvaluation/*.txt")):
        for block in path.read_text().split("\n\n")[1:]:
            lines = [line.split("\t") for line in block.strip().split("\n")]
            words = {line[0]: line[1].replace(";", "").split() for line in lines[1:]
                     if line[0].startswith("C-")}
            found[lines[0][1]] = lines[0][2], words
    return found


def test_demo_layout_and_counts(made):
    wavs = sorted(p.relative_to(made).as_posix() for p in made.rglob("*.wav"))
    pattern = r"Session(\d)/sentences/wav/(Ses0\1[FM]_(?:impro0[123]|script0[12]_[12]))/\2_[FM]\d{3}\.wav"
    dialogues = Counter(re.fullmatch(pattern, name)[2] for name in wavs)
    assert len(wavs) == 255 and len(dialogues) == 25 and set(dialogues.values()) == {9, 12}
    others = {p.relative_to(made).as_posix() for p in made.rglob("*") if p.is_file()} - set(wavs)
    assert others == {"README.md"} | {f"Session{name[4]}/dialog/{kind}/{name}.txt" for name in dialogues
                                      for kind in ("EmoEvaluation", "transcriptions")}
    for name in wavs[::25]:
        info = soundfile.info(made / name)
        assert (info.format, info.subtype, info.samplerate, info.channels) == ("WAV", "PCM_16", 16000, 1)


def test_demo_is_read_as_a_second_reading_counts_it(made):
    again = counted_again(made)
    readings = [read_iemocap(made, annotators=voters, corpus="demo_iemocap")
                for voters in ("external", "all")]
    external, everyone = map(by_name, readings)
    assert set(again) == set(external.index) and len(external) == 255 and readings[0].skipped == []
    for name, (code, words) in again.items():
        evaluators = Counter(word for who, named in words.items() if who.startswith("C-E") for word in named)
        actors = Counter(word for who, named in words.items() if who[2] == name[-4] for word in named)
        assert len(words) == 4 and sum(who.startswith("C-E") for who in words) == 3
        assert actors, "three evaluators and the one who spoke"
        assert sum(external["votes"][name].values()) == evaluators.total()
        assert sum(everyone["votes"][name].values()) == (evaluators + actors).total()
        assert sorted(external["votes"][name].values()) == sorted(evaluators.values())
        leading = [word for word, count in evaluators.items()
                   if count == max(evaluators.values()) and count >= 2]
        assert code == (leading[0][:3].lower() if len(leading) == 1 else "xxx")
        assert pd.isna(external["emotion"][name]) == (code == "xxx")


def test_demo_times_fit_the_recordings_and_scripts_repeat(made):
    frame = read_iemocap(made).utterances
    seconds = [soundfile.info(path).duration for path in frame["path"]]
    assert np.allclose((frame["end"] - frame["start"]).astype(float), seconds, atol=2e-4)
    ordered = frame.sort_values(["dialogue", "turn"])
    gaps = (ordered["start"] - ordered.groupby("dialogue")["end"].shift()).dropna()
    assert gaps.between(-0.31, 0.81).all()
    assert (gaps < 0).any(), "turns follow one another, and sometimes overlap a little"
    assert (ordered["sex"] != ordered.groupby("dialogue")["sex"].shift())[ordered["turn"] > 0].all(), (
        "two speakers in turn")
    lines = Counter(frame.loc[frame["style"] == "scripted", ["script", "transcript"]].itertuples(index=False,
        name=None))
    assert len(lines) == 24 and set(lines.values()) == {5}
    assert {script for script, _ in lines} == {"script01", "script02"}


def test_demo_emotions_have_inertia_and_annotators_disagree(made):
    frame = read_iemocap(made).utterances
    scenes = frame[frame["style"] == "improvised"].sort_values(["speaker", "dialogue", "turn"])
    before = scenes.groupby(["speaker", "dialogue"])["emotion"].shift()
    both = scenes["emotion"].notna() & before.notna()
    chance = (scenes["emotion"].value_counts(normalize=True) ** 2).sum()
    assert (scenes["emotion"] == before)[both].mean() > chance + 0.1
    clear = frame["votes"].map(len).eq(1).mean()
    assert 0.2 < clear < 0.7 and 0.05 < frame["emotion"].isna().mean() < 0.35


def test_some_clips_again_give_the_same_bytes(made, tmp_path):
    clips = DEMO_IEMOCAP[2](np.random.default_rng([demo.RECIPE, DEMO_IEMOCAP[1]]))
    assert len(clips) == 255 and len({clip.voice for clip in clips}) == 10
    again = clips[::60]
    demo.synthesise(again, tmp_path)
    assert all((tmp_path / clip.path).read_bytes() == (made / clip.path).read_bytes() for clip in again)


def test_tables_again_are_the_same(made, tmp_path):
    for wav in made.rglob("*.wav"):
        (tmp_path / wav.relative_to(made)).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / wav.relative_to(made)).symlink_to(wav)
    DEMO_IEMOCAP[3](tmp_path, np.random.default_rng([demo.RECIPE, DEMO_IEMOCAP[1], 1]))
    tables = sorted(tmp_path.rglob("*.txt"))
    assert len(tables) == 50
    assert all(path.read_bytes() == (made / path.relative_to(tmp_path)).read_bytes() for path in tables)


# Paper 02's classes and sessions

def lines(session: int, dialogue: str, emotions: str) -> str:
    "An evaluation of one utterance an emotion, all evaluators agreeing."
    of = dict(neu="Neutral", ang="Anger", sad="Sadness", hap="Happiness", exc="Excited", fru="Frustration",
              sur="Surprise")
    blocks = [f"[{n}.0000 - {n}.5000]\tSes0{session}F_{dialogue}_F{n:03}\t{code}\t[2, 2, 2]\n"
              + "".join(f"C-E{e}:\t{of[code]};\t()\n" for e in (2, 3, 4))
              for n, code in enumerate(emotions.split())]
    return "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n" + "\n".join(blocks)


def test_four_and_six_classes_by_session_and_split(tmp_path):
    said = {1: ("neu ang sad hap exc fru sur", "exc hap"), 2: ("fru fru fru neu", ""),
            3: ("exc exc sur", "ang"), 4: ("neu fru", ""), 5: ("hap sad", "fru exc")}
    for session, (improvised, scripted) in said.items():
        evaluation(tmp_path, f"Ses0{session}F_impro0{session}",
                   lines(session, f"impro0{session}", improvised))
        if scripted:
            evaluation(tmp_path, f"Ses0{session}F_script01_1", lines(session, "script01_1", scripted))
    frame = read_iemocap(tmp_path).utterances
    counts = {name: frame.emotion.map(classes).notna().groupby(frame.session).sum().tolist()
              for name, classes in (("four", IEMOCAP_FOUR), ("six", IEMOCAP_SIX))}
    assert counts == dict(four=[7, 1, 3, 1, 3], six=[8, 4, 3, 2, 4])
    assert (frame.emotion.map(IEMOCAP_FOUR) == "happiness").sum() == (
        (frame.emotion == "happiness").sum() + (frame.emotion == "excitement").sum())
    scored = np.flatnonzero(frame.emotion.isin(IEMOCAP_SIX))
    assert len(frame) - len(scored) == 2, "two surprises are heard and not asked about"
    sessions = frame.session.to_numpy(dtype=str)
    split, = named_split(sessions[scored], [sorted(set(sessions))[3]], [sorted(set(sessions))[4]])
    assert [len(split.train), len(split.validation), len(split.test)] == [15, 2, 4]
    without = purge_split(split, frame.script.to_numpy(dtype=object)[scored])
    assert [len(without.train), len(without.validation), len(without.test)] == [12, 2, 4], (
        "the scripted scene of session 5 trains no more")
