"""Screening and decoding: the known defects of the real corpora, and every kind of broken file."""
import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings, strategies as st
from ser_study.data.audio import AudioError, audio_key, load_audio
from ser_study.data.readers.acted import read_crema_d, read_nemo, read_ravdess
from ser_study.data.readers.own import read_table
from ser_study.data.screening import screen
from ser_study.settings import StudyError

RATE = 16000


def tone(seconds=1.0, rate=RATE, frequency=300.0, peak=0.5):
    return (peak * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype("float32")


def int16(signal):
    "As a recorder has it: soundfile rounds floats differently for WAV and for FLAC."
    return np.round(signal * 32767).astype("int16")


def table(folder, labels=None):
    "A CSV of every recording in `folder`, read."
    names = sorted(path.name for path in folder.iterdir() if path.suffix != ".csv")
    pd.DataFrame(dict(path=names, label=labels or "delight")).to_csv(folder / "mine.csv", index=False)
    return read_table(folder / "mine.csv")


# --- the real corpora

def test_ravdess_holds_one_take_twice(corpora_root):
    good, defects = screen(read_ravdess(corpora_root / "RAVDESS"))
    assert len(good) == 1440 and len(defects) == 1 and not defects["dropped"].any()
    assert defects["defect"].tolist() == ["duplicate audio"]
    assert defects["detail"][0].endswith("the same emotion")
    pair = [defects["utterance"][0],
            defects["detail"][0].removeprefix("the same audio as ").partition(";")[0]]
    paths = good.set_index("utterance")["path"]
    # not by its key: by its samples
    assert np.array_equal(*(soundfile.read(paths[name])[0] for name in pair))


def test_crema_d_holds_three_pairs_under_different_emotions(corpora_root):
    good, defects = screen(read_crema_d(corpora_root / "CREMA-D"))
    assert len(good) == 1621 and not defects["dropped"].any()
    assert defects[["utterance", "defect"]].values.tolist() == [[f"crema_d/AudioWAV/{name}",
        "duplicate audio"]
        for name in ("1006_TIE_NEU_XX", "1013_WSI_SAD_XX", "1017_IWW_FEA_XX")]
    contradictions = "there happiness, here neutral|there disgust, here sadness|there anger, here fear"
    assert defects["detail"].str.contains(contradictions).all()
    info = {name: soundfile.info(path) for name, path in zip(good["utterance"], good["path"])}
    assert good["duration"].tolist() == (
        [info[name].frames / info[name].samplerate for name in good["utterance"]])


def test_nemo_has_no_defect(corpora_root):
    good, defects = screen(read_nemo(corpora_root / "nEMO"))
    assert len(good) == 900 and defects.empty
    assert list(defects.columns) == ["utterance", "defect", "detail", "dropped"]


# --- broken files

@pytest.fixture
def broken(tmp_path):
    "One good clip, one good but unusual one, and one file of each defect."
    soundfile.write(tmp_path / "good.flac", tone(), RATE)
    soundfile.write(tmp_path / "stereo.wav",
                    np.column_stack([tone(rate=48000), tone(rate=48000, frequency=500)]), 48000)
    whole = (tmp_path / "good.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(whole[:len(whole) // 2])
    (tmp_path / "nothing.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("This is no recording.\n" * 100)
    soundfile.write(tmp_path / "no_samples.wav", tone()[:0], RATE)
    soundfile.write(tmp_path / "silent.wav", 0 * tone(), RATE)
    soundfile.write(tmp_path / "nearly_silent.wav", tone(peak=9e-5), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "nan.wav", np.where(np.arange(RATE) == 99, np.nan, tone()), RATE,
                    subtype="FLOAT")
    soundfile.write(tmp_path / "inf.wav", np.where(np.arange(RATE) == 99, np.inf, tone()), RATE,
                    subtype="FLOAT")
    soundfile.write(tmp_path / "ms10.wav", tone(0.01), RATE)
    soundfile.write(tmp_path / "one_sample.wav", tone()[5:6], RATE)
    (tmp_path / "folder.wav").mkdir()
    return tmp_path


def test_each_defect_is_named_and_the_rest_goes_on(broken):
    good, defects = screen(table(broken))
    assert good["utterance"].tolist() == ["mine/good", "mine/stereo"]
    assert good["duration"].round(3).tolist() == [1.0, 1.0]
    assert defects["dropped"].all()
    assert dict(zip(defects["utterance"], defects["defect"])) == {
        "mine.csv, line 3": "not read",
        "mine/cut": "undecodable", "mine/text": "undecodable", "mine/nothing": "empty",
        "mine/no_samples": "empty", "mine/silent": "silent",
        "mine/nearly_silent": "silent", "mine/nan": "not finite", "mine/inf": "not finite",
        "mine/ms10": "too short", "mine/one_sample": "too short"}
    assert not defects["detail"].str.contains(str(broken), regex=False).any()


def test_a_file_that_goes_away_or_is_a_folder_costs_that_clip(broken):
    rows = table(broken)
    rows.utterances["path"] = rows.utterances["path"].str.replace("silent.wav", "folder.wav")
    (broken / "text.wav").unlink()
    good, defects = screen(rows)
    assert len(good) == 2 and {"mine/silent", "mine/text"} <= set(defects["utterance"])


def test_any_number_of_workers_gives_the_same(broken):
    rows = table(broken)
    for one, two in zip(screen(rows, workers=1), screen(rows, workers=4)):
        pd.testing.assert_frame_equal(one, two)


def test_nothing_left_is_one_sentence(tmp_path):
    soundfile.write(tmp_path / "a.wav", 0 * tone(), RATE)
    with pytest.raises(StudyError, match=r"None of the 1 clips can be used; mine/a: silent \(peak 0\)\."):
        screen(table(tmp_path))


def test_the_same_sound_in_another_container_is_a_duplicate(tmp_path):
    soundfile.write(tmp_path / "a.flac", int16(tone()), RATE)
    soundfile.write(tmp_path / "b.wav", int16(tone()), RATE)
    soundfile.write(tmp_path / "c.wav", tone(peak=0.4), RATE)
    _, defects = screen(table(tmp_path, ["delight", "fear", "fear"]))
    assert defects.values.tolist() == [
        ["mine/b", "duplicate audio", "the same audio as mine/a; there delight, here fear", False]]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_flac_is_never_taken_for_a_whole_one(tmp_path, share):
    path = tmp_path / "a.flac"
    soundfile.write(path, tone() + np.random.default_rng(0).normal(0, 0.01, RATE).astype("float32"), RATE)
    assert len(load_audio(path)) == RATE
    whole = path.read_bytes()
    path.write_bytes(whole[:int(len(whole) * share)])
    with pytest.raises(AudioError, match="undecodable"): load_audio(path)


def test_a_cut_mp3_is_told_by_its_header(tmp_path):
    path = tmp_path / "a.mp3"
    soundfile.write(path, tone(5), RATE)
    assert abs(len(load_audio(path)) - 5 * RATE) < 0.1 * RATE
    whole = path.read_bytes()
    path.write_bytes(whole[:len(whole) // 2])
    with pytest.raises(AudioError, match="undecodable .it ends after"): load_audio(path)


def test_a_header_that_promises_terabytes_costs_that_clip(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, tone(), RATE)
    data = bytearray(path.read_bytes())
    data[21] |= 0x0F                 # STREAMINFO: 36 bits of total samples, all ones
    data[22:26] = b"\xff" * 4
    path.write_bytes(data)
    with pytest.raises(AudioError, match="too long"): load_audio(path)


# --- the signal

@settings(max_examples=25, deadline=None)
@given(frequency=st.integers(100, 6000), peak=st.floats(0.01, 0.9),
       source=st.sampled_from([8000, 22050, 24000, 44100, 48000]))
def test_resampling_keeps_frequency_and_level(tmp_path_factory, frequency, peak, source):
    frequency = min(frequency, source // 2 - 800)
    path = tmp_path_factory.mktemp("tone") / "a.wav"
    soundfile.write(path, tone(1, source, frequency, peak), source, subtype="FLOAT")
    signal = load_audio(path)
    assert abs(len(signal) - RATE) <= 1 and signal.dtype == np.float32
    assert abs(np.abs(np.fft.rfft(signal)).argmax() - frequency) <= 1          # bins of 1 Hz
    assert np.sqrt(2 * np.mean(signal[800:-800] ** 2)) == pytest.approx(peak, rel=0.02)


@settings(max_examples=25, deadline=None)
@given(peak=st.floats(1e-3, 1e4), seed=st.integers(0, 2**32 - 1), channels=st.integers(1, 3))
def test_peaks_are_bounded_and_the_shape_is_kept(tmp_path_factory, peak, seed, channels):
    noise = np.random.default_rng(seed).uniform(-1, 1, (3200, channels)).astype("float32") * np.float32(peak)
    path = tmp_path_factory.mktemp("noise") / "a.wav"
    soundfile.write(path, noise, RATE, subtype="FLOAT")
    signal, mono = load_audio(path), noise.astype(float).mean(axis=1)
    assert np.abs(signal).max() <= np.float32(0.999)
    expected = mono * min(1, 0.999 / np.abs(mono).max())
    assert np.allclose(signal, expected, atol=1e-6)


def test_full_scale_int16_never_wraps(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full(RATE, 32767, "int16"), RATE)
    soundfile.write(tmp_path / "b.wav", np.full(RATE, 1.0, "float32"), RATE, subtype="FLOAT")
    for name in ("a.wav", "b.wav"):
        signal = load_audio(tmp_path / name)
        assert (signal == np.float32(0.999)).all() and (np.round(signal * 32768).astype("int16") > 0).all()


def test_the_key_is_of_the_content(tmp_path):
    soundfile.write(tmp_path / "a.wav", int16(tone()), RATE)
    soundfile.write(tmp_path / "b.flac", int16(tone()), RATE)
    key = audio_key(load_audio(tmp_path / "a.wav"), RATE)
    assert key == audio_key(load_audio(tmp_path / "b.flac"), RATE)
    changed = load_audio(tmp_path / "a.wav")
    changed[-1] += np.float32(2**-15)
    assert audio_key(changed, RATE) != key != audio_key(load_audio(tmp_path / "a.wav", 8000), 8000)
