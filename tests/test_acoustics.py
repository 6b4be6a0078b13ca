"openSMILE and librosa, called as in their documentation, against ours, on synthetic and real clips."
import os
from pathlib import Path

import librosa
import numpy as np
import opensmile
import pytest
import soundfile
from threadpoolctl import threadpool_limits

from ser_study.features import functionals
from ser_study.features.functionals import FEATURE_SETS, Functionals
from ser_study.settings import StudyError
from ser_study.features.spectra import SpectralStatistics, spectra
from ser_study.features.store import identity_hash


@pytest.fixture(autouse=True)
def one_blas_thread():
    "A matrix product on two cores adds up in another order, so the oracle uses one core, as the extractor."
    with threadpool_limits(1): yield


def speech_like(seed: int, seconds: float, rate: int = 16000) -> np.ndarray:
    "Harmonics of a gliding pitch in syllables, over a little noise: (n,) float32, peak 0.6."
    rng, t = np.random.default_rng(seed), np.arange(int(seconds * rate)) / rate
    pitch = rng.uniform(100, 250) * (1 + 0.2 * np.sin(2 * np.pi * rng.uniform(0.5, 2) * t))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    buzz = sum(np.sin(k * phase) / k for k in range(1, 15))
    signal = buzz * (1.1 - np.cos(2 * np.pi * 4 * t)) + 0.02 * rng.standard_normal(len(t))
    return (0.6 * signal / np.abs(signal).max()).astype("float32")


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Path]:
    "16 kHz, 16 bits, below full scale: any reader gives the same samples."
    folder, paths = tmp_path_factory.mktemp("clips"), []
    for seed, seconds in enumerate((1.3, 0.6, 2.1, 0.9)):
        paths.append(folder / f"{seed}.wav")
        soundfile.write(paths[-1], speech_like(seed, seconds), 16000, subtype="PCM_16")
    return paths


@pytest.fixture(scope="module")
def real_clips() -> list[Path]:
    root = os.environ.get("SER_STUDY_CORPORA")
    found = []
    if root:
        found += sorted(Path(root).glob("RAVDESS/Actor_*/*.*"))[::200]
        found += sorted(Path(root).glob("CREMA-D/AudioWAV/*.*"))[::400]
    if not found: pytest.skip("no real corpora: set SER_STUDY_CORPORA")
    return found


def plain_smile(paths: list[Path], name: str, level: opensmile.FeatureLevel) -> list[np.ndarray]:
    "What a user gets for each file, as arrays."
    smile = opensmile.Smile(feature_set=getattr(opensmile.FeatureSet, name), feature_level=level)
    return [smile.process_file(path).to_numpy() for path in paths]


@pytest.mark.filterwarnings("ignore:Feature set")
@pytest.mark.parametrize("name", ["eGeMAPSv01a", "eGeMAPSv02", "ComParE_2016"])
def test_functionals_are_those_of_process_file(clips, name):
    ours = dict(Functionals(name).compute(clips))
    theirs = plain_smile(clips, name, opensmile.FeatureLevel.Functionals)
    assert sorted(ours) == [0, 1, 2, 3]
    for position, values in enumerate(theirs): np.testing.assert_array_equal(ours[position], values[0])


@pytest.mark.filterwarnings("ignore:Feature set")
@pytest.mark.parametrize("name, level, theirs", [
    ("eGeMAPSv01a", "lld", opensmile.FeatureLevel.LowLevelDescriptors),
    ("eGeMAPSv02", "lld", opensmile.FeatureLevel.LowLevelDescriptors),
    ("ComParE_2016", "lld_de", opensmile.FeatureLevel.LowLevelDescriptors_Deltas)])
def test_frames_are_those_of_process_file(clips, name, level, theirs):
    ours = dict(Functionals(name, level).compute(clips[:2]))
    for position, values in enumerate(plain_smile(clips[:2], name, theirs)):
        np.testing.assert_array_equal(ours[position], values)


@pytest.mark.filterwarnings("ignore:Feature set")
def test_functionals_of_real_clips(real_clips):
    ours = dict(Functionals().compute(real_clips))
    theirs = plain_smile(real_clips, "eGeMAPSv01a", opensmile.FeatureLevel.Functionals)
    for position, values in enumerate(theirs):
        signal, _ = soundfile.read(real_clips[position])
        if signal.ndim == 1 and np.abs(signal).max() <= 0.999:
            np.testing.assert_array_equal(ours[position], values[0])


def test_v01a_and_v02_share_names_but_neither_values_nor_keys(clips):
    old, new = Functionals("eGeMAPSv01a"), Functionals("eGeMAPSv02")
    assert old.names == new.names and identity_hash(old.identity) != identity_hash(new.identity)
    assert not np.allclose(dict(old.compute(clips[:1]))[0], dict(new.compute(clips[:1]))[0], rtol=0.05)


def test_workers_change_neither_values_nor_keys(clips):
    one, three = Functionals(workers=1), Functionals(workers=3)
    assert one.identity == three.identity
    first, second = dict(one.compute(clips)), dict(three.compute(clips))
    for position in first: np.testing.assert_array_equal(first[position], second[position])


@pytest.mark.parametrize("extractor", [Functionals(), SpectralStatistics()])
def test_a_bad_clip_costs_that_clip(clips, tmp_path, extractor):
    (tmp_path / "text.wav").write_text("this is no recording")
    soundfile.write(tmp_path / "click.wav", speech_like(0, 0.02), 16000)
    found = dict(extractor.compute([clips[0], tmp_path / "text.wav", clips[1], tmp_path / "click.wav",
                                    tmp_path / "absent.wav"]))
    assert [isinstance(found[position], StudyError) for position in range(5)] == [
        False, True, False, True, True]
    for position, name in ((1, "text.wav"), (3, "click.wav"), (4, "absent.wav")):
        assert str(found[position]).startswith(name) and "\n" not in str(found[position])
    alone = dict(extractor.compute([clips[1]]))[0]
    np.testing.assert_array_equal(found[2], alone)


def test_undefined_functionals_are_a_failure(clips, monkeypatch):
    "Should a clip that short get past the reader, its functionals are refused rather than kept as NaN."
    monkeypatch.setattr(functionals, "load_audio", lambda path, rate: speech_like(0, 0.02))
    with pytest.warns(UserWarning, match="too short"): found = dict(Functionals().compute(clips[:1]))
    assert "0.wav: openSMILE leaves values undefined" in str(found[0])


def test_clips_are_read_as_results_are_taken(clips, monkeypatch):
    "Thousands of clips must not be in memory at once."
    read = []
    def load(path, rate): return read.append(path) or speech_like(1, 0.3)
    monkeypatch.setattr(functionals, "load_audio", load)
    results = Functionals(workers=2).compute(clips * 25)
    next(results)
    assert len(read) < 20
    assert len(list(results)) == 99 and len(read) == 100


@pytest.mark.parametrize("name", ["eGeMAPS", "egemapsv01a", "is09"])
def test_unknown_set_is_one_sentence(name):
    with pytest.raises(StudyError, match=f"'{name}' is no openSMILE feature set"): Functionals(name)


def test_offered_sets_are_opensmile_s():
    assert all(feature_set in opensmile.FeatureSet for feature_set in FEATURE_SETS.values())


def plain_librosa(y: np.ndarray, sr: int, n_mfcc: int = 20) -> dict:
    mfcc = librosa.feature.mfcc(y=y, sr=sr, n_mfcc=n_mfcc)
    return dict(mfcc=mfcc, mfcc_delta=librosa.feature.delta(mfcc),
                mfcc_delta2=librosa.feature.delta(mfcc, order=2),
                mel=librosa.feature.melspectrogram(y=y, sr=sr),
                chroma=librosa.feature.chroma_stft(y=y, sr=sr),
                flatness=librosa.feature.spectral_flatness(y=y), zcr=librosa.feature.zero_crossing_rate(y))


def assert_equal_spectra(ours: dict, theirs: dict):
    assert list(ours) == list(theirs)
    for name in theirs:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
        assert ours[name].dtype == theirs[name].dtype


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
def test_spectra_are_librosa_s_at_any_rate(rate):
    for seed in range(4):
        signal = speech_like(seed, 0.9, rate)
        assert_equal_spectra(spectra(signal, rate), plain_librosa(signal, rate))


def test_spectra_of_other_signals():
    rng = np.random.default_rng(0)
    for signal in (rng.standard_normal(16000), 0.01 * rng.standard_normal(5001),
                   np.sin(np.arange(20000) * 2.4), np.repeat([0.0, 0.5, 0.0], 6000)):
        assert_equal_spectra(spectra(signal.astype("float32")),
                             plain_librosa(signal.astype("float32"), 16000))
    assert_equal_spectra(spectra(speech_like(0, 1), n_mfcc=13),
                         plain_librosa(speech_like(0, 1), 16000, n_mfcc=13))


def test_spectra_of_real_clips(real_clips):
    for path in real_clips:
        signal, rate = soundfile.read(path, dtype="float32")
        if signal.ndim == 1: assert_equal_spectra(spectra(signal, rate), plain_librosa(signal, rate))


@pytest.mark.parametrize("samples", [1600, 1601, 2047, 2048, 4095, 4096])
def test_clips_shorter_than_the_delta_window(samples):
    ours = spectra(speech_like(0, 1)[:samples])
    frames = 1 + samples // 512
    assert {rows.shape[1] for rows in ours.values()} == {frames}
    assert all(np.isfinite(rows).all() for rows in ours.values())
    width = frames if frames % 2 else frames - 1
    np.testing.assert_array_equal(ours["mfcc_delta"],
                                  librosa.feature.delta(ours["mfcc"], width=min(9, width)))


def test_zero_crossings_of_a_square_wave_by_hand():
    """Sign changes before samples 64, 128, 192 ...: every window of 2048 that begins at a multiple of 512
    holds exactly 31 of them."""
    square = np.where(np.arange(8192) // 64 % 2, -0.5, 0.5).astype("float32")
    rates = spectra(square)["zcr"][0]
    np.testing.assert_array_equal(rates[2:-2], 31 / 2048)
    np.testing.assert_array_equal(spectra(np.full(8192, 0.5, "float32"))["zcr"], 0)


def test_flatness_tells_noise_from_tone():
    "White noise has an expected flatness of exp(-gamma), 0.561; a tone has nearly none; an impulse is flat."
    noise = (0.1 * np.random.default_rng(1).standard_normal(160000)).astype("float32")
    tone = (0.5 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)).astype("float32")
    impulse = np.zeros(8192, "float32")
    impulse[4096] = 0.9
    assert spectra(noise)["flatness"].mean() == pytest.approx(np.exp(-np.euler_gamma), abs=0.01)
    assert spectra(tone)["flatness"][0, 2:-2].max() < 1e-4
    assert spectra(impulse)["flatness"][0, 8] == pytest.approx(1, abs=1e-3)


def test_statistics_are_named_means_and_deviations(clips):
    extractor = SpectralStatistics(n_mfcc=13)
    values = dict(zip(extractor.names, dict(extractor.compute(clips[:1]))[0]))
    signal, _ = soundfile.read(clips[0], dtype="float32")
    theirs = plain_librosa(signal, 16000, n_mfcc=13)
    assert len(values) == len(extractor.names) == 2 * (3 * 13 + 128 + 12 + 2)
    for name, rows in theirs.items():
        for row in range(len(rows)):
            assert values[f"{name}_{row}_mean"] == (
                pytest.approx(rows[row].mean(dtype=float), rel=1e-6, abs=1e-12))
            assert values[f"{name}_{row}_std"] == (
                pytest.approx(rows[row].std(dtype=float), rel=1e-5, abs=1e-12))
    assert identity_hash(extractor.identity) != identity_hash(SpectralStatistics(n_mfcc=20).identity)
