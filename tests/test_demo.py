"""The demo corpora: official layouts, equal bytes each time, learnable but not trivial, never half made."""
import os, re, signal, subprocess, sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import librosa, numpy as np, pandas as pd, psutil, pytest, soundfile
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from ser_study.data.demo import acted as demo
from ser_study.data.readers.acted import read_crema_d, read_ravdess
from ser_study.settings import StudyError

NAMES = ("demo_ravdess", "demo_crema_d")
# typed from the official files, not from the module
VOTE_HEADER = (
    '"","A","D","F","H","N","S","fileName","numResponses","agreement","emoVote","meanEmoResp",'
    '"meanAngerResp","meanDisgustResp","meanFearResp","meanHappyResp","meanNeutralResp",'
    '"meanSadResp","medianEmoResp","meanEmoRespNorm","meanAngerRespNorm","meanDisgustRespNorm",'
    '"meanFearRespNorm","meanHappyRespNorm","meanNeutralRespNorm","meanSadRespNorm",'
    '"medianEmoRespNorm"')
SUMMARY_HEADER = (
    '"","FileName","VoiceVote","VoiceLevel","FaceVote","FaceLevel","MultiModalVote","MultiModalLevel"')


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    "Both corpora, made once for this file."
    folder = tmp_path_factory.mktemp("demo")
    return {name: demo.make_demo(name, folder) for name in NAMES}


@pytest.fixture
def small(monkeypatch):
    "A recipe of three clips, for what does not depend on the size."
    original, seed, clips, tables = demo.DEMOS["demo_ravdess"]
    monkeypatch.setitem(demo.DEMOS, "demo_ravdess", (original, seed, lambda rng: clips(rng)[:3], tables))


def flacs(folder): return sorted(Path(folder).rglob("*.flac"))


def test_ravdess_layout(corpora):
    root = corpora["demo_ravdess"]
    names = [re.fullmatch(r"Actor_(\d\d)/03-01-(0[1-8])-(0[12])-(0[12])-01-(\d\d)\.flac",
                          p.relative_to(root).as_posix()).groups() for p in flacs(root)]
    assert len(names) == 8 * 30 and all(n[0] == n[4] for n in names)
    assert Counter(n[1] for n in names) == {"01": 16, **{f"0{e}": 32 for e in range(2, 9)}}
    assert {n[2] for n in names if n[1] == "01"} == {"01"}, "RAVDESS has no strong neutral"
    assert {n[0] for n in names} == {f"{a:02}" for a in range(1, 9)}


def test_crema_d_layout(corpora):
    root = corpora["demo_crema_d"]
    assert {p.relative_to(root).as_posix() for p in root.rglob("*")
            if p.is_file() and p.suffix != ".flac"} == {
        "README.md", "SentenceFilenames.csv", "VideoDemographics.csv", "processedResults/tabulatedVotes.csv",
        "processedResults/summaryTable.csv"}
    names = [re.fullmatch(r"(100[1-8])_([A-Z]{3})_(ANG|DIS|FEA|HAP|NEU|SAD)_(XX|LO|MD|HI)", p.stem).groups()
             for p in flacs(root / "AudioWAV")]
    assert 200 <= len(names) <= 260 and len({n[0] for n in names}) == 8 and len({n[1] for n in names}) == 12
    assert all((level != "XX") == (sentence == "IEO" and emotion != "NEU")
               for _, sentence, emotion, level in names)
    assert {p.stem for p in flacs(root)} == set(pd.read_csv(root / "SentenceFilenames.csv").Filename)
    actors = pd.read_csv(root / "VideoDemographics.csv")
    assert list(actors.columns) == ["ActorID", "Age", "Sex", "Race", "Ethnicity"]
    assert Counter(actors.Sex) == {"Male": 4, "Female": 4}
    assert set(actors.ActorID) == {int(n[0]) for n in names}


def test_the_real_readers_run_unchanged(corpora):
    ravdess, crema_d = read_ravdess(corpora["demo_ravdess"]), read_crema_d(corpora["demo_crema_d"])
    for (frame, skipped, _), name in ((ravdess, "demo_ravdess"), (crema_d, "demo_crema_d")):
        assert len(frame) == len(flacs(corpora[name])) and skipped == []
        assert frame[["speaker", "sex", "emotion", "transcript", "sentence"]].notna().all(axis=None)
        assert frame.speaker.nunique() == 8
    assert crema_d.utterances[["votes", "age"]].notna().all(axis=None)
    hits = {}
    for rated in ("voice", "face", "both"):
        frame = read_crema_d(corpora["demo_crema_d"], votes=rated).utterances
        hits[rated] = np.mean([row.votes[row.emotion] == max(row.votes.values())
                               for row in frame.itertuples()])
    assert 1 / 6 < hits["voice"] < hits["face"] < 1
    assert hits["voice"] < hits["both"] < 1, "raters agree with the actor, and not always"


def test_votes_are_three_whole_blocks_and_agree_with_the_summary(corpora):
    folder = corpora["demo_crema_d"] / "processedResults"
    assert (folder / "tabulatedVotes.csv").read_text().splitlines()[0] == VOTE_HEADER
    assert (folder / "summaryTable.csv").read_text().splitlines()[0] == SUMMARY_HEADER
    votes = pd.read_csv(folder / "tabulatedVotes.csv", index_col=0)
    summary = pd.read_csv(folder / "summaryTable.csv", index_col=0)
    assert Counter(votes.index // 100000) == dict.fromkeys((1, 2, 3), len(summary))
    assert (votes[list("ADFHNS")].sum(axis=1) == votes.numResponses).all()
    assert votes.numResponses.between(9, 11).all()
    for block, column in enumerate(("VoiceVote", "FaceVote", "MultiModalVote"), start=1):
        rows = votes[votes.index // 100000 == block]
        assert list(rows.fileName) == list(summary.FileName)
        most = [":".join(v for v in "ADFHNS" if row[v] == max(row[list("ADFHNS")]))
                for _, row in rows.iterrows()]
        assert most == list(rows.emoVote) == list(summary[column])


def test_audio_is_16_khz_mono_flac_without_clipping_or_twins(corpora):
    seen = set()
    for path in flacs(corpora["demo_ravdess"]) + flacs(corpora["demo_crema_d"]):
        info, (samples, rate) = soundfile.info(path), soundfile.read(path)
        assert (info.format, info.subtype, info.channels, rate) == ("FLAC", "PCM_16", 1, 16000), path
        assert 0.1 < abs(samples).max() < 0.95 and 0.5 < len(samples) / rate < 4, path
        seen.add(samples.tobytes())
    assert len(seen) == 240 + len(flacs(corpora["demo_crema_d"]))


def test_a_second_making_gives_the_same_bytes(corpora, tmp_path):
    for name in NAMES:
        again, root = demo.make_demo(name, tmp_path), corpora[name]
        files = {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        assert {p.relative_to(again): p.read_bytes() for p in again.rglob("*") if p.is_file()} == files


def test_a_clip_does_not_depend_on_those_before_it(tmp_path):
    clips = demo.crema_d_clips(np.random.default_rng(5))[:6]
    demo.synthesise(clips, tmp_path / "forward")
    demo.synthesise(clips[::-1], tmp_path / "backward")
    assert all((tmp_path / "forward" / c.path).read_bytes() == (tmp_path / "backward" / c.path).read_bytes()
               for c in clips)


def test_reuse_speaks_nothing(corpora, monkeypatch):
    monkeypatch.setattr(demo, "synthesise", lambda *a: pytest.fail("spoken again"))
    assert demo.make_demo("demo_ravdess", corpora["demo_ravdess"].parent) == corpora["demo_ravdess"]


def test_a_changed_recipe_makes_anew(small, tmp_path, monkeypatch):
    old = demo.make_demo("demo_ravdess", tmp_path)
    monkeypatch.setattr(demo, "RECIPE", demo.RECIPE + 1)
    new = demo.make_demo("demo_ravdess", tmp_path)
    assert old != new and [p.read_bytes() for p in flacs(old)] != [p.read_bytes() for p in flacs(new)]


def test_the_gpl_library_stays_out_of_this_process(corpora):
    assert not [m.path for m in psutil.Process().memory_maps() if "espeak" in Path(m.path).name]


def test_the_corpus_says_what_it_is(corpora):
    for name in NAMES:
        text = (corpora[name] / "README.md").read_text()
        assert "not data" in text and "eSpeak NG" in text and "synthesised" in text


def test_missing_voice_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    with pytest.raises(StudyError, match=r"ser_study\[demo\]"): demo.make_demo("demo_ravdess", tmp_path)
    assert not list(tmp_path.iterdir())


KILLED = """
import os, signal, sys
from ser_study.data.demo import acted as demo
speak = demo.synthesise
def half(clips, folder, title):
    speak(clips[:3], folder, title)
    os.kill(os.getpid(), signal.SIGKILL)
demo.synthesise = half
demo.make_demo("demo_ravdess", sys.argv[1])
"""

def test_a_killed_making_leaves_no_corpus(tmp_path, small):
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path], capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert len(flacs(tmp_path)) == 3, "it was killed in the middle"
    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith(".")] == []
    assert len(flacs(demo.make_demo("demo_ravdess", tmp_path))) == 3


def test_two_makers_at_once_agree(tmp_path, small):
    with ThreadPoolExecutor(4) as pool:
        made = set(pool.map(lambda _: demo.make_demo("demo_ravdess", tmp_path), range(4)))
    assert made == set(tmp_path.iterdir()) and len(made) == 1, "one corpus, and no scratch folder left"
    assert len(flacs(made.pop())) == 3


def test_an_unwritable_folder_is_not_taken_for_another_maker(tmp_path, small, monkeypatch):
    def refuse(*paths): raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(StudyError, match="No space left"): demo.make_demo("demo_ravdess", tmp_path)


def simple_features(path):
    "Timbre, loudness, pitch and duration: nothing of the study's own."
    y, rate = soundfile.read(path, dtype="float32")
    frames = np.vstack([librosa.feature.mfcc(y=y, sr=rate, n_mfcc=20), librosa.feature.rms(y=y),
                        np.log(librosa.yin(y, fmin=60, fmax=400, sr=rate))[None]])
    return np.concatenate([frames.mean(axis=1), frames.std(axis=1), [len(y) / rate]])


def recall(X, y, cv, groups=None):
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    return cross_val_score(model, X, y, cv=cv, groups=groups, scoring="balanced_accuracy").mean()


@pytest.mark.parametrize("name, separator, emotion, sentence, speaker",
                         [("demo_ravdess", "-", 2, 4, 6), ("demo_crema_d", "_", 2, 1, 0)])
def test_emotion_speaker_and_sentence_are_learnable_but_not_trivial(
        corpora, name, separator, emotion, sentence, speaker):
    paths = flacs(corpora[name])
    parts = np.array([p.stem.split(separator) for p in paths])
    X = np.stack([simple_features(p) for p in paths])
    emotions = parts[:, emotion]
    sentences = parts[:, sentence]
    speakers = parts[:, speaker]
    def chance(y): return 1 / len(set(y))
    own = np.stack([X[speakers == s].mean(axis=0) for s in speakers])
    assert chance(emotions) + 0.2 < recall(X - own, emotions, GroupKFold(4), speakers) < 0.85, (
        "emotion, by speakers never heard, beside each speaker's mean")
    assert chance(sentences) + 0.3 < recall(X, sentences, GroupKFold(4), speakers), (
        "sentence, by speakers never heard")
    assert chance(speakers) + 0.4 < recall(X, speakers, GroupKFold(2), sentences), (
        "speaker, in sentences never heard")
    shuffled = np.random.default_rng(0).permutation(emotions)
    assert recall(X - own, shuffled, StratifiedKFold(4)) < chance(emotions) + 0.1, (
        "the probe itself finds nothing in shuffled labels")
