"Transcripts: recognisers over processes, and word error rates against other ways to count."
import json, os, shutil, signal, subprocess, sys, time
from itertools import groupby
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from hypothesis import given, settings, strategies as st
from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC
from ser_study.data.audio import audio_key, load_audio
from ser_study.features.checkpoints import fingerprint
from ser_study.features.workers import over_processes
from ser_study.settings import StudyError
from ser_study.features.store import FeatureStore, extract
from ser_study.features.transcripts import (CTC, PocketSphinx, normalise_words, word_error_rate,
                                            word_error_table)

LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    "Noise bursts of four lengths, two clips of each; the last file is broken."
    folder, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    paths = [folder / f"{n}.wav" for n in range(8)]
    for n, path in enumerate(paths):
        soundfile.write(path, 0.3 * rng.standard_normal(4000 + 1500 * (n % 4)).cumsum() / 60, 16000)
    (folder / "broken.flac").write_bytes(b"fLaC")
    return [*paths, folder / "broken.flac"]


@pytest.fixture(scope="module", params=["group", "layer"])
def checkpoint(request, tmp_path_factory):
    "A small CTC model with random weights: the two kinds of feature encoder."
    folder = tmp_path_factory.mktemp("ctc") / "model"
    torch.manual_seed(1)
    config = Wav2Vec2Config(vocab_size=len(LETTERS), hidden_size=32, num_hidden_layers=2,
                            num_attention_heads=2, intermediate_size=64,
                            conv_dim=(16,) * 7, feat_extract_norm=request.param, num_conv_pos_embeddings=16,
                            num_conv_pos_embedding_groups=2)
    model = Wav2Vec2ForCTC(config)
    # so that frames differ in their likeliest letter
    torch.nn.init.normal_(model.lm_head.weight, std=1.0)
    model.save_pretrained(folder)
    (folder.parent / "vocab.json").write_text(json.dumps({letter: n for n, letter in enumerate(LETTERS)}))
    Wav2Vec2CTCTokenizer(folder.parent / "vocab.json").save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=request.param == "layer").save_pretrained(folder)
    return folder


def plain_transcript(folder, path):
    "By hand: scale, one forward pass, merge repeats, drop blanks (padding is the blank)."
    signal = load_audio(path)
    signal = (signal - signal.mean()) / np.sqrt(signal.var() + 1e-7)
    with torch.no_grad():
        best = Wav2Vec2ForCTC.from_pretrained(
            folder).eval()(torch.tensor(signal)[None]).logits[0].argmax(-1).tolist()
    letters = [LETTERS[n] for n, _ in groupby(best)]
    return " ".join("".join(c for c in letters if c != "<pad>").replace("|", " ").split())


def test_ctc_equals_a_plain_forward_pass_one_by_one_and_in_batches(checkpoint, clips):
    expected = [plain_transcript(checkpoint, path) for path in clips[:-1]]
    assert len(set(expected)) > 4, "the babble must differ between clips for this test to mean anything"
    ctc = CTC(checkpoint, device="cpu")
    for results in (dict(ctc.compute(clips)), dict(ctc._batches(clips, checkpoint))):
        assert sorted(results) == list(range(9))
        assert isinstance(results[8], StudyError) and "broken.flac" in str(results[8])
        assert [" ".join(str(results[n]).split()) for n in range(8)] == expected
        assert all(results[n].shape == () and results[n].dtype.kind == "U" for n in range(8))


def test_ctc_windows_and_small_batches_leave_the_text_alone(checkpoint, clips):
    ctc = CTC(checkpoint, device="cpu", batch_size=1)
    assert {n: str(t) for n, t in ctc._batches(clips, checkpoint, window=3)} == (
        {n: str(t) for n, t in CTC(checkpoint, device="cpu")._batches(clips, checkpoint)})


def test_ctc_through_the_store_computes_once(checkpoint, clips, tmp_path):
    store, paths = FeatureStore(tmp_path), clips[:3]
    keys = [audio_key(load_audio(path), 16000) for path in paths]
    values, failures = extract(store, CTC(checkpoint, device="cpu"), keys, paths)
    again = CTC(checkpoint, device="cpu")
    again.compute = lambda items: pytest.fail("a kept transcript was computed again")
    assert [str(v) for v in extract(store, again, keys, paths)[0]] == [str(v) for v in values]
    assert not failures


def test_identity_follows_the_weights_not_the_folder(checkpoint, tmp_path):
    moved = shutil.copytree(checkpoint, tmp_path / "moved")
    assert CTC(moved, device="cpu").identity == CTC(checkpoint, device="cpu").identity
    weights = moved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    assert fingerprint(moved) != fingerprint(checkpoint)


def test_no_model_is_one_sentence_before_any_work(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(StudyError, match="No CTC model"):
        list(CTC(tmp_path, device="cpu").compute(["nothing.wav"]))
    with pytest.raises(StudyError, match="neither a folder"): CTC("facebook/wav2vec2-base-960h", device="cpu")


def test_offline_names_the_checkpoint_and_the_command(tmp_path):
    code = ("from ser_study.features.transcripts import CTC; from ser_study.settings import StudyError\n"
            "try: list(CTC('some/model@' + 40 * 'a', device='cpu').compute(['a.wav']))\n"
            "except StudyError as error: print(error)")
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)})
    assert "some/model@aaaa" in told.stdout and "ser-study models pull" in told.stdout, told.stderr


def test_pull_uses_what_is_in_the_cache(tmp_path):
    commit = 40 * "b"
    snapshot = tmp_path / "hub" / "models--some--model" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    code = f"from ser_study.features.checkpoints import pull; print(pull('some/model@{commit}'))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)})
    assert told.stdout.strip() == str(snapshot), told.stderr


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    "Two spoken sentences, a loud noise and a quiet one."
    pytest.importorskip("pocketsphinx")
    pytest.importorskip("espeakng_loader")
    from ser_study.data.demo.acted import Clip, synthesise
    folder = tmp_path_factory.mktemp("speech")
    say = ["maybe tomorrow it will be cold", "the airplane is almost full"]
    synthesise([Clip(f"{n}.flac", text, "en-us", 150, 40, 40, 70, 1) for n, text in enumerate(say)], folder)
    rng = np.random.default_rng(0)
    soundfile.write(folder / "loud.wav", np.clip(0.5 * rng.standard_normal(16000), -0.9, 0.9), 16000)
    soundfile.write(folder / "quiet.wav", 0.002 * rng.standard_normal(8000), 16000)
    return folder


def sphinx_alone(path):
    "Words and score of a clip by a decoder that has heard nothing else."
    from pocketsphinx import Decoder
    decoder = Decoder(loglevel="FATAL", maxhmmpf=3000)
    decoder.start_utt()
    decoder.process_raw((load_audio(path) * 32768).astype(np.int16).tobytes(), full_utt=True)
    decoder.end_utt()
    if decoder.hyp() is None: return "", None
    return decoder.hyp().hypstr, decoder.hyp().score


def test_pocketsphinx_forgets_the_clip_before(speech):
    from ser_study.features import workers as processes
    from ser_study.features import transcripts
    paths = [speech / name for name in ("0.flac", "loud.wav", "1.flac", "quiet.wav", "0.flac")]
    processes.LOADED.clear()
    for path in paths:
        heard = str(transcripts._sphinx(0, path)[1])
        hypothesis = processes.once(transcripts._load_decoder).hyp()
        assert (heard, None if hypothesis is None else hypothesis.score) == sphinx_alone(path)
    processes.LOADED.clear()


def test_pocketsphinx_over_processes(speech, capfd):
    paths = [speech / "1.flac", speech / "missing.wav", speech / "0.flac", speech / "1.flac"]
    heard = dict(PocketSphinx().compute(paths))
    assert sorted(heard) == [0, 1, 2, 3] and "missing.wav" in str(heard[1])
    assert [str(heard[n]) for n in (0, 2, 3)] == [sphinx_alone(paths[n])[0] for n in (0, 2, 3)]
    assert word_error_rate(["the airplane is almost full"], [str(heard[0])]) < 1
    assert capfd.readouterr().err == "", "a recogniser prints nothing"


def test_results_stream_and_little_is_taken_in_advance():
    paths = [f"{n}.wav" for n in range(40)]
    results = over_processes(_name, paths, workers=2)
    first = [next(results) for _ in range(3)]
    assert len(first) == 3
    assert dict([*first, *results]) == dict(enumerate(paths))


def _name(position, path): return position, path


def _mortal(position, path):
    if path.startswith("deadly"): os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    return position, path


def test_a_dying_worker_costs_its_clip_only():
    paths = ["deadly-0.wav", *(f"{n}.wav" for n in range(12)), "deadly-1.wav", "last.wav"]
    results = dict(over_processes(_mortal, paths, workers=2))
    failed = {n for n, r in results.items() if isinstance(r, StudyError)}
    assert failed == {0, 13} and "deadly-1.wav" in str(results[13])
    assert {n: r for n, r in results.items() if n not in failed} == (
        {n: p for n, p in enumerate(paths) if n not in failed})


def edit_distance(a, b):
    "Wagner-Fischer, written out."
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row, last = [i], row
        for j, y in enumerate(b, 1): row.append(min(row[-1] + 1, last[j] + 1, last[j - 1] + (x != y)))
    return row[-1]


sentences = st.lists(st.sampled_from("dogs kids are sitting by the door".split()), max_size=6).map(" ".join)

@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(sentences, sentences), min_size=1, max_size=5))
def test_word_error_rate_is_edits_over_words(pairs):
    references, hypotheses = zip(*pairs)
    words = sum(len(r.split()) for r in references)
    rate = word_error_rate(list(references), list(hypotheses))
    if words == 0: assert np.isnan(rate)
    else: assert rate == pytest.approx(sum(edit_distance(r.split(), h.split()) for r, h in pairs) / words)


def test_word_error_rate_refuses_lists_that_do_not_match():
    with pytest.raises(ValueError): word_error_rate(["a"], ["a", "b"])


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_normalising_twice_changes_nothing(text):
    assert normalise_words(normalise_words(text)) == normalise_words(text)


@pytest.mark.parametrize("one, other",
                         [("I'M ON MY WAY", "i’m on my way"), ("It's 11 o'clock.", "it's eleven o clock"),
                                        ("forty-two", "42"), ("Café", "café"),
                                        ("99 times", "ninety nine times")])
def test_spellings_of_the_same_words(one, other): assert normalise_words(one) == normalise_words(other)


@pytest.mark.parametrize("one, other",
                         [("we'll", "well"), ("4.2", "four two"), ("4.2", "42"), ("100", "ten zero")])
def test_different_words_stay_different(one, other): assert normalise_words(one) != normalise_words(other)


def test_table_leaves_out_what_is_missing_and_sums_what_is_not():
    frame = pd.DataFrame(dict(sex=["female", "male", "male", pd.NA, "male"], emotion=["anger"] * 5,
                              transcript=["a b c", "a b", "c", "d", pd.NA],
                              hypothesis=["a c", "a b x", "", "d", "d"]), index=[5, 3, 9, 1, 7])
    table = word_error_table(frame, by=["sex", "emotion"])
    assert table.loc[("female", "anger")].to_dict() == (
        dict(utterances=1, words=3, substitutions=0, deletions=1, insertions=0, wer=1 / 3))
    assert table.loc[("male", "anger")].to_dict() == (
        dict(utterances=2, words=3, substitutions=0, deletions=1, insertions=1, wer=2 / 3))
    assert len(table) == 2
