"Transcripts: recognisers over processes, and word error rates against other ways to count."
import json, os, shutil, subprocess, sys
from itertools import groupby
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from joblib.externals.loky import get_reusable_executor
from hypothesis import given, settings, strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers import (GenerationConfig, Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor,
                          Wav2Vec2ForCTC, WhisperConfig, WhisperFeatureExtractor,
                          WhisperForConditionalGeneration, WhisperTokenizerFast)
from ser_study.data.audio import audio_key, load_audio
from ser_study.features.checkpoints import fingerprint
from ser_study.features.models import checkpoint_of
from ser_study.settings import StudyError, load_settings
from ser_study.features.store import FeatureStore, extract
from ser_study.features.transcripts import (CTC, Whisper, normalise_words, word_error_rate,
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
    values, failures = extract(store, CTC(checkpoint, device="cpu", workers=1), keys, paths)
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


# Whisper: a small one with random weights, and the real one

LANGUAGE, TASK = {"<|en|>": 28, "<|pl|>": 29}, {"translate": 30, "transcribe": 31}
SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", *LANGUAGE, "<|translate|>", "<|transcribe|>",
           "<|notimestamps|>"]


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    "A small Whisper that writes letters, and stops after some."
    folder = tmp_path_factory.mktemp("whisper") / "model"
    vocabulary = {letter: n for n, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    WhisperTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    torch.manual_seed(3)
    config = WhisperConfig(d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
                           decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, vocab_size=33,
                           pad_token_id=26, bos_token_id=26, eos_token_id=26, decoder_start_token_id=27,
                           init_std=1.0, suppress_tokens=None, begin_suppress_tokens=None)
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=27, bos_token_id=26, eos_token_id=26, pad_token_id=26, max_length=448,
        is_multilingual=True, no_timestamps_token_id=32, lang_to_id=LANGUAGE, task_to_id=TASK,
        suppress_tokens=[27, 28, 29, 30, 31, 32], begin_suppress_tokens=[26])
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def noises(tmp_path_factory):
    "Five noises, one of them of 31 s, a silent recording, an empty file, and a broken one."
    folder, rng = tmp_path_factory.mktemp("noises"), np.random.default_rng(0)
    paths = [folder / f"{n}.wav" for n in range(5)]
    for n, (path, seconds) in enumerate(zip(paths, (1, 2.5, 31, 0.7, 4))):
        noise = rng.standard_normal(int(seconds * 16000)) * 10 ** rng.uniform(-3, -0.7)
        soundfile.write(path, np.convolve(noise, rng.standard_normal(8) / 4, "same"), 16000, subtype="FLOAT")
    soundfile.write(folder / "silent.wav", np.zeros(16000), 16000)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "broken.flac").write_bytes(b"fLaC")
    return [*paths, *(folder / name for name in ("silent.wav", "empty.wav", "broken.flac"))]


@torch.no_grad()
def written_by_hand(folder, signal, language):
    "Greedy decoding written out, without a cache: the likeliest letter after all letters so far."
    model = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    mel = WhisperFeatureExtractor()(signal, sampling_rate=16000, return_tensors="pt").input_features
    heard, tokens = model.model.encoder(mel), [27, LANGUAGE[f"<|{language}|>"], 31, 32]
    for step in range(224):
        logits = model(encoder_outputs=heard, decoder_input_ids=torch.tensor([tokens])).logits[0, -1]
        logits[27:] = -torch.inf
        if step == 0: logits[26] = -torch.inf
        if (token := int(logits.argmax())) == 26: break
        tokens.append(token)
    return "".join(chr(ord("a") + token) for token in tokens[4:])


def text_of(results): return {n: str(result) for n, result in results.items()}


def test_whisper_equals_greedy_decoding_by_hand(whisper, noises):
    found = text_of(dict(Whisper(str(whisper), "en", device="cpu", workers=1).compute(noises)))
    assert sorted(found) == list(range(8))
    for n in (0, 1, 3, 4): assert found[n] == written_by_hand(whisper, load_audio(noises[n]), "en")
    signal, size = load_audio(noises[2]), 30 * 16000
    windows = [signal[:size], signal[size:]]
    assert found[2] == " ".join(written_by_hand(whisper, window, "en") for window in windows)
    assert len({*found.values()}) == 8 and max(map(len, found.values())) > 5, (
        "the letters must differ between clips for this test to mean anything")
    assert "silent.wav: silent" in found[5] and "empty.wav: empty" in found[6]
    assert "broken.flac: undecodable" in found[7]


def test_whisper_in_batches_equals_one_by_one(whisper, noises):
    alone = text_of(dict(Whisper(str(whisper), "en", device="cpu", workers=1).compute(noises)))
    for size in (2, 32):   # the long clip's windows are spread over batches, or share one with others
        batches = Whisper(str(whisper), "en", device="cpu", batch_size=size)._batches(noises, whisper)
        assert text_of(dict(batches)) == alone


def test_the_language_decides_the_words_and_the_identity(whisper, noises, tmp_path):
    english, polish = (Whisper(str(whisper), language, device="cpu", workers=1)
                       for language in ("en", "pl"))
    heard = text_of(dict(polish.compute(noises[:2])))
    assert heard == {n: written_by_hand(whisper, load_audio(noises[n]), "pl") for n in (0, 1)}
    assert heard != text_of(dict(english.compute(noises[:2])))
    assert {name for name in english.identity if english.identity[name] != polish.identity[name]} == (
        {"language"})
    moved = shutil.copytree(whisper, tmp_path / "moved")
    assert Whisper(str(moved), "en", device="cpu", workers=5).identity == english.identity
    weights = moved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    assert Whisper(str(moved), "en", device="cpu").identity != english.identity


def test_whisper_is_told_a_language_that_it_knows(whisper, tmp_path):
    with pytest.raises(StudyError, match="does not know the language 'polish'"):
        Whisper(str(whisper), "polish")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(StudyError, match="No Whisper could be loaded"):
        list(Whisper(str(tmp_path), "en", device="cpu", workers=1).compute(["nothing.wav"]))


def test_whisper_over_processes_prints_nothing(whisper, noises, capfd):
    get_reusable_executor().shutdown()   # processes that are there already write to where they were started
    capfd.readouterr()
    found = text_of(dict(Whisper(str(whisper), "en", device="cpu", workers=2).compute(noises[:2])))
    assert capfd.readouterr() == ("", "")
    assert found == {n: written_by_hand(whisper, load_audio(noises[n]), "en") for n in (0, 1)}


def test_the_weights_of_whisper_base_hear_a_sentence(tmp_path):
    from ser_study.data.demo.acted import Clip, synthesise
    said = "Maybe tomorrow it will be cold."
    synthesise([Clip("0.flac", said, "en-us", 150, 40, 40, 70, 1)], tmp_path)
    whisper = Whisper(checkpoint_of("whisper", load_settings()), "en", device="cpu", workers=1)
    assert word_error_rate([said], [str(dict(whisper.compute([tmp_path / "0.flac"]))[0])]) <= 1 / 6


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
