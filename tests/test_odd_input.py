"""Odd inputs that people really have: the list of corpora, tables, what papers lack, the page of faults."""
from dataclasses import replace
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
import soundfile
from ser_study.commands.cli import describe_corpora
from ser_study.data.corpora import load_corpora
from ser_study.data.screening import list_unread
from ser_study.data.utterances import require
from ser_study.features.frames import Frames
from ser_study.features.functionals import Functionals
from ser_study.features.spectra import SpectralStatistics
from ser_study.features.speech_models import SpeechEncoder, batched
from ser_study.settings import StudyError, load_settings
from ser_study.study.balancing.data import NEEDS
from ser_study.study.benchmarks.faults import load_tried
from ser_study.study.clustering.data import default_sources, require_transcripts
from ser_study.study.sentiment.segments import SegmentFunctionals

ROOT = Path(__file__).parents[1]
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"1" * 64 + b"\nsize 70000\n"


@pytest.fixture
def ours(tmp_path):
    "Settings with an empty root."
    return replace(load_settings(), root=tmp_path, corpora=tmp_path / "corpora", cache=tmp_path / "cache")


def tone(path):
    "A second of sound."
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * np.sin(np.arange(16000) / 10), 16000)


def test_a_corpus_of_pointers_costs_itself(ours):
    clip = ours.corpora / "CREMA-D/AudioWAV/1001_IEO_ANG_HI.wav"
    clip.parent.mkdir(parents=True)
    clip.write_bytes(POINTER)
    tone(ours.corpora / "RAVDESS/Actor_01/03-01-03-01-01-01-01.wav")
    listed = describe_corpora(ours)
    assert "git lfs pull" in listed and "ravdess: RAVDESS (speech)\n  1 of 1440 clips" in listed


def test_a_reader_that_fails_unforeseen_costs_its_corpus(ours, monkeypatch):
    (ours.corpora / "nEMO").mkdir(parents=True)
    tone(ours.corpora / "RAVDESS/Actor_01/03-01-03-01-01-01-01.wav")
    monkeypatch.setattr("ser_study.data.readers.acted.read_lines", lambda *_: 1 / 0)
    listed = describe_corpora(ours)
    assert "0 of 4481 clips; ZeroDivisionError" in listed and "1 of 1440 clips" in listed


@pytest.fixture
def table(tmp_path):
    "A table of ten clips, two of them outside its folder and three without a transcript."
    places = [f"in/{n}.wav" for n in range(8)] + ["../out/8.wav", "../out/9.wav"]
    for place in places: tone(tmp_path / "mine" / place)
    frame = pd.DataFrame(dict(path=places, label=["anger", "fear"] * 5,
                              transcript=["", "yes"] + ["no"] * 6 + ["", ""]))
    frame.to_csv(tmp_path / "mine/calls.csv", index=False)
    return tmp_path / "mine/calls.csv"


def test_recordings_outside_the_folder_are_read_and_it_is_said(table, ours):
    reading = load_corpora(str(table), ours)
    said = "2 recordings lie outside the table's folder, the first in line 10"
    assert len(reading.utterances) == 10
    assert ("calls.csv", "note", said, False) in list_unread(reading)


def test_missing_transcripts_are_counted_and_not_asked_for_by_default(table, ours):
    clips = load_corpora(str(table), ours).utterances
    assert default_sources(clips, "demo") == "whisper"
    with pytest.raises(StudyError, match="3 of 10 clips have no transcript, the first is calls/"):
        require_transcripts(clips, ["whisper", "oracle"])


def test_all_that_a_paper_lacks_is_said_at_once(table, ours):
    clips = load_corpora(str(table), ours).utterances
    with pytest.raises(StudyError) as error: require(clips.assign(transcript=None), **NEEDS)
    assert "votes (" in str(error.value) and "transcript (" in str(error.value)


# --- clips that a library cannot bear

def give_up(*_):
    raise RuntimeError("nobody foresaw this")


@pytest.mark.parametrize("place, make", [
    ("functionals.measure", lambda: Functionals(workers=1)),
    ("spectra.statistics", lambda: SpectralStatistics(workers=1)),
    ("frames.average_runs", lambda: Frames(workers=1)),
    ("speech_models.cut_signals", lambda: Batched(SpeechEncoder("whisper-untrained", layers="conv",
                                                                device="cpu")))],
    ids=lambda value: value if isinstance(value, str) else "")
def test_a_failure_that_nobody_foresaw_costs_its_clip_in_every_extractor(place, make, tmp_path, monkeypatch):
    tone(tmp_path / "clip.wav")
    extractor = make()
    monkeypatch.setattr(f"ser_study.features.{place}", give_up)
    [(position, found)] = extractor.compute([tmp_path / "clip.wav"])
    assert position == 0 and isinstance(found, StudyError)
    assert str(found) == "clip.wav: RuntimeError: nobody foresaw this"


class Batched:
    "A speech encoder as on a GPU: in this process."
    def __init__(self, encoder): self.encoder = encoder
    def compute(self, paths): return batched(self.encoder, self.encoder.checkpoint, paths)


def test_a_segment_that_nobody_foresaw_costs_its_clip(tmp_path, monkeypatch):
    tone(tmp_path / "clip.wav")
    monkeypatch.setattr("ser_study.study.sentiment.segments.measure", give_up)
    found = SegmentFunctionals(2., workers=1)(3, tmp_path / "clip.wav")
    assert found[0] == 3 and str(found[1]) == "clip.wav: RuntimeError: nobody foresaw this"


# --- the page of faults

def test_every_fault_names_a_test_that_is_there():
    tried = load_tried(load_settings())
    missing = [name for name in tried.test.unique() if not (ROOT / name.partition("::")[0]).is_file()]
    assert missing == [] and not tried.duplicated(["kind", "tried"]).any()
