"Preparation, frames and segment statistics of paper 05 against planted signals and plain calls of librosa."
import librosa
import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings, strategies as st
from threadpoolctl import threadpool_limits

from ser_study.data.audio import load_audio
from ser_study.data.preparation import denoise, normalise, prepare, segments, trim_silence
from ser_study.features.frames import Frames, average_runs
from ser_study.features.segments import (clip_statistics, heterogeneity, heterogeneity_table, segment_vectors,
                                         zcr_curve)
from ser_study.settings import StudyError
from ser_study.features.store import identity_hash

RATE = 16000


@pytest.fixture(autouse=True)
def one_blas_thread():
    with threadpool_limits(1): yield


def speech_like(seconds=1.5, seed=0):
    "Harmonics of a gliding pitch in syllables: (n,) float32, peak 0.6."
    rng, t = np.random.default_rng(seed), np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(rng.uniform(100, 250) * (1 + 0.2 * np.sin(2 * np.pi * t))) / RATE
    signal = sum(np.sin(k * phase) / k for k in range(1, 15)) * np.clip(np.sin(2 * np.pi * 4 * t), 0, None)
    return (0.6 * signal / np.abs(signal).max()).astype("float32")


def noise(length, level, seed=1):
    return (level * np.random.default_rng(seed).standard_normal(length)).astype("float32")


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=50)
       .filter(lambda values: max(map(abs, values)) > 1e-4))
def test_normalise_sets_the_peak_and_keeps_the_shape(values):
    signal = np.array(values, "float32")
    level = normalise(signal)
    assert level.dtype == np.float32 and 0.9989 < np.abs(level).max() <= np.float32(0.999)
    np.testing.assert_allclose(level * np.abs(signal).max(), signal * np.float32(0.999), rtol=1e-4, atol=1e-6)


@settings(max_examples=200)
@given(st.integers(1, 400_000), st.sampled_from([8000, 16000, 48000]))
def test_segments_cover_the_clip_and_last_one_to_two_seconds(length, rate):
    found = segments(range(length), rate)
    assert found[0][0] == 0 and found[-1][1] == length and all(a[1] == b[0] for a, b in zip(found, found[1:]))
    sizes = [end - start for start, end in found]
    assert max(sizes) - min(sizes) <= 1 and max(sizes) <= 2 * rate
    assert min(sizes) >= rate or len(found) == 1
    assert len(found) == max(1, -(-length // (2 * rate))), "no more segments than needed"


def test_frames_are_cut_where_samples_are():
    for seconds in (0.5, 1.9, 2.5, 7.3):
        samples, frames = segments(range(int(seconds * RATE)), RATE), segments(range(int(seconds * 50)), 50)
        np.testing.assert_allclose(np.array(frames) / 50, np.array(samples) / RATE, atol=1 / 50)


@pytest.mark.parametrize("before, after", [(0.5, 0.5), (1.0, 0.0), (0.0, 2.0)])
def test_planted_silence_is_trimmed_and_pauses_are_kept(before, after):
    speech = np.concatenate([speech_like(0.875), np.zeros(RATE, "float32"), speech_like(0.875, seed=2)])
    trimmed = trim_silence(np.pad(speech, (int(before * RATE), int(after * RATE))))
    assert abs(len(trimmed) - len(speech)) < 0.2 * RATE
    assert np.sort(np.abs(trimmed))[:RATE].max() == 0, "the pause of a second is still in there"


@pytest.mark.parametrize("level, gain", [(0.003, -10), (0.03, 1), (0.1, 5)])
def test_denoising_helps_the_more_noise_there_is(level, gain):
    "At 32 dB it costs (within bounds), at 12 and 2 dB it pays."
    clean = np.pad(speech_like(), RATE // 2)
    noisy = clean + noise(len(clean), level)
    cleaned = denoise(noisy, RATE)
    def snr(signal): return 10 * np.log10(np.sum(clean**2) / np.sum((signal - clean) ** 2))
    assert snr(cleaned) > snr(noisy) + gain
    assert np.std(cleaned[:RATE // 4]) < 0.4 * level, "the room before the first word is quieter"


def test_noise_after_digital_silence_is_found():
    "A recording that was faded in begins with zeros: they are not its noise."
    clean = np.pad(speech_like(), RATE // 2)
    noisy = clean + noise(len(clean), 0.03)
    for zeros in (8000, 8111, 1601):
        faded = np.concatenate([np.zeros(zeros, "float32"), noisy])
        assert np.std(denoise(faded, RATE)[zeros + 1000:zeros + 5000]) < 0.4 * 0.03


@pytest.mark.parametrize("seconds", [0.1, 0.13, 0.5, 3.0])
def test_any_clip_that_can_be_loaded_can_be_prepared(seconds, tmp_path):
    length = int(seconds * RATE)
    soundfile.write(tmp_path / "clip.wav", speech_like(3.0)[:length] + noise(length, 0.01), RATE)
    prepared = prepare(load_audio(tmp_path / "clip.wav"), RATE)
    assert np.isfinite(prepared).all() and np.abs(prepared).max() == np.float32(0.999)
    assert 0 < len(prepared) <= seconds * RATE


def test_preparing_does_not_change_its_input_and_is_repeatable():
    signal = speech_like() + noise(int(1.5 * RATE), 0.01)
    before = signal.copy()
    np.testing.assert_array_equal(prepare(signal, RATE), prepare(signal, RATE))
    np.testing.assert_array_equal(signal, before)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.wav"
    soundfile.write(path, np.pad(speech_like(2.6), RATE // 2) + noise(int(3.6 * RATE), 0.003), RATE)
    return path


def test_frames_are_librosas(clip):
    signal = load_audio(clip)
    window = dict(n_fft=512, win_length=400, hop_length=320)
    power = librosa.feature.melspectrogram(y=signal, sr=RATE, n_mels=20, **window)
    theirs = {"mfcc": librosa.feature.mfcc(y=signal, sr=RATE, n_mfcc=20).T,
              "log-mel": librosa.power_to_db(power).T}
    for kind, expected in theirs.items():
        extractor = Frames(kind, size=20)
        np.testing.assert_array_equal(dict(extractor.compute([clip]))[0], expected)
        assert abs(len(expected) / extractor.rate - len(signal) / RATE) < 0.06
        prepared = dict(Frames(kind, size=20, prepared=True).compute([clip]))[0]
        assert len(prepared) < 0.9 * len(expected)
        assert abs(len(prepared) / extractor.rate - len(prepare(signal, RATE)) / RATE) < 0.06


@pytest.mark.parametrize("run", [1, 2, 5, 7, 100])
def test_averaged_runs_are_means(run):
    frames = np.random.default_rng(0).standard_normal((23, 3)).astype("float32")
    expected = [frames[start:start + run].mean(axis=0) for start in range(0, 23, run)]
    np.testing.assert_allclose(average_runs(frames, run), expected, atol=1e-6)


def test_a_bad_clip_costs_itself_and_threads_change_nothing(clip):
    paths = [clip, clip.with_name("absent.wav"), clip]
    one, two = (dict(Frames(workers=workers).compute(paths)) for workers in (1, 2))
    assert isinstance(one[1], StudyError) and str(one[1]) == str(two[1])
    for n in (0, 2): np.testing.assert_array_equal(one[n], two[n])


def test_identity_changes_with_every_parameter():
    options = [dict(), dict(kind="mfcc"), dict(size=40), dict(average=5), dict(prepared=True)]
    assert len({identity_hash(Frames(**option).identity) for option in options}) == len(options)


def test_zcr_curve_follows_the_clip_not_the_clock():
    "Sign changes counted by hand in each tenth of the clip."
    signal = np.concatenate([noise(2 * RATE, 0.1), speech_like(2.0) + 0.001, noise(RATE, 0.1)])
    by_hand = [np.mean(np.signbit(part[1:]) != np.signbit(part[:-1])) for part in np.array_split(signal, 100)]
    curve = zcr_curve(signal, 100)
    assert np.corrcoef(curve, by_hand)[0, 1] > 0.98 and abs(curve.mean() - np.mean(by_hand)) < 0.01


def test_clip_statistics_are_librosas(clip):
    signal = load_audio(clip)
    magnitude = np.abs(librosa.stft(signal))
    expected = dict(zcr=librosa.feature.zero_crossing_rate(signal).mean(),
                    flatness=librosa.feature.spectral_flatness(S=magnitude, power=1).mean(),
                    power_flatness=librosa.feature.spectral_flatness(y=signal).mean())
    assert clip_statistics(signal) == pytest.approx(expected, rel=1e-4)


@given(st.lists(st.lists(st.floats(-100, 100), min_size=3, max_size=3), min_size=2, max_size=6))
def test_heterogeneity_is_the_mean_over_pairs(vectors):
    pairs = [np.sqrt(sum((a - b) ** 2 for a, b in zip(x, y)))
             for n, x in enumerate(vectors) for y in vectors[:n]]
    assert heterogeneity(np.array(vectors)) == pytest.approx(sum(pairs) / len(pairs), abs=1e-9)


def test_segment_vectors_are_means_of_librosas_frames(clip):
    signal = prepare(load_audio(clip), RATE)
    mfcc = librosa.feature.mfcc(y=signal, sr=RATE, n_mfcc=20)
    half = mfcc.shape[1] // 2
    expected = [mfcc[:, :half].mean(axis=1), mfcc[:, half:].mean(axis=1)]
    np.testing.assert_allclose(segment_vectors(signal), expected, rtol=1e-4, atol=1e-3)


def test_every_clip_is_in_one_row_of_the_table():
    distances = np.r_[np.random.default_rng(0).uniform(0, 500, 97), [np.nan] * 3]
    classes = np.random.default_rng(1).choice(["a", "b"], 100)
    table = heterogeneity_table(pd.Series(distances), pd.Series(classes))
    assert (table.drop("total").sum() == table.loc["total"]).all() and table.loc["total"].sum() == 100
    assert table.loc["heterogeneous"].sum() == np.sum(distances >= 280)
    assert table.loc["one segment"].sum() == 3
