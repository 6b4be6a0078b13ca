"Speech encoders against plain calls of transformers, one clip at a time and without padding."
import numpy as np
import pytest
import soundfile
import torch
from transformers import (AutoConfig, AutoModel, BertConfig, BertModel, Wav2Vec2FeatureExtractor,
                          WhisperFeatureExtractor)

from ser_study.features import speech_models
from ser_study.data.audio import audio_key, load_audio
from ser_study.features.checkpoints import fingerprint
from ser_study.features.models import checkpoint_of
from ser_study.data.preparation import prepare, segments
from ser_study.features.workers import LOADED
from ser_study.settings import StudyError, load_settings
from ser_study.features.speech_models import UNTRAINED, SpeechEncoder, batched, may_pad
from ser_study.features.store import FeatureStore, extract, identity_hash

TINY = dict(hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=64,
            conv_dim=(16,) * 7, num_conv_pos_embedding_groups=2)
LAYER_NORM = dict(feat_extract_norm="layer", do_stable_layer_norm=True, num_conv_pos_embeddings=16)
ARCHITECTURES = {
    "wav2vec2": ("wav2vec2", dict(num_conv_pos_embeddings=16)), "wav2vec2-large": ("wav2vec2", LAYER_NORM),
    "hubert": ("hubert", dict(num_conv_pos_embeddings=16)), "hubert-large": ("hubert", LAYER_NORM),
    "wavlm": ("wavlm", dict(num_conv_pos_embeddings=16)), "wavlm-large": ("wavlm", LAYER_NORM),
    "data2vec": ("data2vec-audio", {}), "whisper": ("whisper", {})}
WHISPER = dict(d_model=32, encoder_layers=4, encoder_attention_heads=2, encoder_ffn_dim=64, decoder_layers=1,
               decoder_attention_heads=2, decoder_ffn_dim=64, vocab_size=10, pad_token_id=0)
LENGTHS = (16000, 9000, 16000, 23456, 9000, 16000, 4001)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    LOADED.clear()


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    "Noise of several lengths, and last a file that is no recording."
    folder, rng, paths = tmp_path_factory.mktemp("clips"), np.random.default_rng(0), []
    for number, length in enumerate(LENGTHS):
        paths.append(folder / f"{number}.wav")
        soundfile.write(paths[-1], rng.uniform(0.02, 0.2) * rng.standard_normal(length) + 0.01, 16000,
                        subtype="FLOAT")
    paths.append(folder / "broken.wav")
    paths[-1].write_bytes(b"RIFF")
    return paths


def save(folder, family, **config):
    torch.manual_seed(0)
    size = WHISPER if family == "whisper" else TINY
    extractor = WhisperFeatureExtractor() if family == "whisper" else Wav2Vec2FeatureExtractor()
    AutoModel.from_config(AutoConfig.for_model(family, **size, **config)).save_pretrained(folder)
    extractor.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return {name: save(tmp_path_factory.mktemp(name), family, **config)
            for name, (family, config) in ARCHITECTURES.items()}


@pytest.fixture(params=ARCHITECTURES)
def checkpoint(request, checkpoints):
    return checkpoints[request.param]


@pytest.fixture(scope="module")
def hubert(checkpoints):
    return checkpoints["hubert"]


@pytest.fixture(scope="module")
def whisper(checkpoints):
    return checkpoints["whisper"]


def plain_whisper(checkpoint, signal):
    """The output of transformers' own encoder whose window is as long as the signal: completed by hand to
    whole frames of 20 ms, and a table of so many positions."""
    whole = AutoModel.from_pretrained(checkpoint).encoder.eval()
    frames = -(-len(signal) // 320)
    config = AutoConfig.from_pretrained(checkpoint, max_source_positions=frames)
    weights = whole.state_dict()
    weights["embed_positions.weight"] = weights["embed_positions.weight"][:frames]
    encoder = type(whole)(config).eval()
    encoder.load_state_dict(weights)
    extractor = WhisperFeatureExtractor.from_pretrained(checkpoint)
    mel = extractor(np.pad(signal, (0, 320 * frames - len(signal))), sampling_rate=16000,
                    padding="do_not_pad", return_tensors="pt").input_features
    convolved = []
    encoder.conv2.register_forward_hook(lambda module, given, result: convolved.append(result))
    with torch.no_grad(): output = encoder(mel, output_hidden_states=True)
    return ([state[0].numpy() for state in output.hidden_states],
            torch.nn.functional.gelu(convolved[0])[0].T.numpy(), output.last_hidden_state[0].numpy())


def plain(checkpoint, signal):
    """transformers' own output for one signal (n,): hidden states (t, d) by number, those of the convolutions
    (t, c), and the model's last."""
    if AutoConfig.from_pretrained(checkpoint).model_type == "whisper":
        return plain_whisper(checkpoint, signal)
    model = AutoModel.from_pretrained(checkpoint).eval()
    values = Wav2Vec2FeatureExtractor.from_pretrained(checkpoint)(signal, sampling_rate=16000,
        return_tensors="pt").input_values
    with torch.no_grad():
        output = model(values, output_hidden_states=True)
        convolved = model.feature_extractor(values)[0].T.numpy()
        states = [state[0].numpy() for state in output.hidden_states]
        return states, convolved, output.last_hidden_state[0].numpy()


def compute(checkpoint, paths, **options):
    "In this process, in order."
    return dict(SpeechEncoder(checkpoint, device="cpu", workers=1, **options).compute(paths))


def test_one_clip_is_what_transformers_returns(checkpoint, clips):
    states, conv, last = plain(checkpoint, load_audio(clips[1]))
    frames = compute(checkpoint, clips[1:2], layers=(0, 1, 3, -1), pooled=False)[0]
    assert frames.shape == (4, len(states[0]), 32) and frames.dtype == np.float32
    for found, expected in zip(frames, (states[0], states[1], states[3], last)):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(compute(checkpoint, clips[1:2], layers="conv", pooled=False)[0], conv,
                               atol=1e-6)
    assert min(np.abs(a - b).max() for a, b in zip(states, states[1:])) > 1e-3, (
        "layers must differ for this test to mean anything")


def test_the_last_layer_by_either_number_and_one_in_between_alone(checkpoint, clips):
    "Blocks above the highest layer are removed; that layer must not become the model's normalised output."
    states, _, last = plain(checkpoint, load_audio(clips[0]))
    for layer, expected in ((-1, last), (4, last), (2, states[2]), (0, states[0])):
        np.testing.assert_allclose(compute(checkpoint, clips[:1], layers=layer, pooled=False)[0], expected,
                                   atol=1e-6)


@pytest.mark.parametrize("layers", [(1, -1), "conv"])
@pytest.mark.parametrize("pooled", [True, False])
def test_batched_is_single(checkpoint, clips, layers, pooled):
    single = compute(checkpoint, clips, layers=layers, pooled=pooled)
    encoder = SpeechEncoder(checkpoint, layers=layers, pooled=pooled, device="cpu", batch_size=3)
    for window in (1024, 4):
        together = dict(batched(encoder, checkpoint, clips, window=window))
        assert sorted(together) == list(range(8)) and isinstance(together[7], StudyError)
        for n in range(7): np.testing.assert_allclose(together[n], single[n], atol=1e-5)


def test_clips_do_share_batches(checkpoint, clips, monkeypatch):
    sizes, encode = [], speech_models._encode
    monkeypatch.setattr(speech_models, "_encode", lambda encoder, folder,
                        batch: sizes.append([c.shape[1] for c in batch]) or encode(encoder, folder, batch))
    dict(batched(SpeechEncoder(checkpoint, device="cpu", batch_size=4), checkpoint, clips))
    paddable = may_pad(AutoConfig.from_pretrained(checkpoint))
    assert sizes == ([[4001, 9000, 9000, 16000], [16000, 16000, 23456]]
                     if paddable else [[4001], [9000, 9000], [16000] * 3, [23456]])


def test_only_models_that_padding_leaves_alone_are_padded(checkpoints, clips):
    "What plain masked padding does to each architecture decides what `may_pad` must say."
    long, short = load_audio(clips[0]), load_audio(clips[1])
    for name in checkpoints.keys() - {"whisper"}:   # it has no mask
        checkpoint = checkpoints[name]
        model = AutoModel.from_pretrained(checkpoint).eval()
        inputs = Wav2Vec2FeatureExtractor()([long, short], sampling_rate=16000, padding=True,
                                            return_attention_mask=True, return_tensors="pt")
        with torch.no_grad():
            shift = np.abs(model(**inputs).last_hidden_state[1, :27].numpy() - plain(checkpoint,
                short)[2]).max()
        assert (shift < 1e-4) == may_pad(model.config), (name, shift)


def test_pooled_is_the_mean_of_the_frames(checkpoint, clips):
    frames, pooled = (compute(checkpoint, clips[:2], layers=(2, 4), pooled=pooled)
                      for pooled in (False, True))
    for n in (0, 1): np.testing.assert_allclose(pooled[n], frames[n].mean(axis=1), atol=1e-5)


def test_processes_give_what_one_process_gives_and_a_bad_clip_costs_itself(hubert, clips):
    apart = dict(SpeechEncoder(hubert, device="cpu", workers=2).compute(clips))
    here = compute(hubert, clips)
    assert sorted(apart) == list(range(8)) and "broken.wav: undecodable" in str(apart[7]) == str(here[7])
    for n in range(7): np.testing.assert_allclose(apart[n], here[n], atol=1e-6)


@pytest.mark.parametrize("family", ["hubert", "whisper"])
def test_segments_are_encoded_one_by_one(checkpoints, family, clips, tmp_path):
    checkpoint = checkpoints[family]
    of_two = compute(checkpoint, clips[3:4], signal="segments", layers=(1, 4), pooled=False)[0]
    assert of_two.shape[:2] == (1, 2)
    soundfile.write(tmp_path / "long.wav", np.tile(load_audio(clips[3]), 3)[:70001], 16000, subtype="FLOAT")
    signal = prepare(load_audio(tmp_path / "long.wav"), 16000)
    bounds = segments(signal, 16000)
    lengths = {end - start for start, end in bounds}
    assert len(bounds) == 3
    assert len(lengths) == 2, "one segment must be a sample longer for this test to mean anything"
    found = compute(checkpoint, [tmp_path / "long.wav"], signal="segments")[0]
    assert found.shape == (3, 32)
    for row, (start, _) in zip(found, bounds):
        alone = plain(checkpoint, signal[start:start + min(lengths)])[2]
        np.testing.assert_allclose(row, alone.mean(axis=0), atol=1e-5)


def test_prepared_is_the_front_end_and_recorded_is_not(hubert, clips):
    for signal, expected in (("recorded", load_audio(clips[0])),
                             ("prepared", prepare(load_audio(clips[0]), 16000))):
        np.testing.assert_allclose(compute(hubert, clips[:1], signal=signal)[0],
                                   plain(hubert, expected)[2].mean(axis=0), atol=1e-5)


def test_half_and_bfloat16_are_near(hubert, clips):
    exact = compute(hubert, clips[:1])[0]
    half = compute(hubert, clips[:1], half=True)[0]
    rough = compute(hubert, clips[:1], precision="bfloat16")[0]
    assert half.dtype == np.float16 and rough.dtype == np.float32
    np.testing.assert_array_equal(half, exact.astype(np.float16))
    assert 0 < np.abs(rough - exact).max()
    assert exact @ rough / np.linalg.norm(exact) / np.linalg.norm(rough) > 0.999


def test_identity_changes_with_every_parameter(checkpoints):
    options = [dict(), dict(layers=3), dict(layers=(-1,)), dict(layers=(3, -1)), dict(layers="conv"),
               dict(pooled=False), dict(signal="prepared"),
               dict(signal="segments"), dict(half=True), dict(precision="bfloat16")]
    made = [SpeechEncoder(c, device="cpu", **o).identity for c in [*checkpoints.values(), *UNTRAINED]
            for o in options]
    assert len({identity_hash(identity) for identity in made}) == len(made)
    assert SpeechEncoder("hubert-untrained", device="cpu", workers=7, batch_size=3).identity == (
        SpeechEncoder("hubert-untrained", device="cpu").identity)
    identity = SpeechEncoder(checkpoints["hubert"], device="cpu").identity
    assert identity["checkpoint"] == fingerprint(checkpoints["hubert"]), (
        "features are not kept under the name of a folder")


@pytest.mark.parametrize("family, parameters", [("hubert", 94_371_712), ("whisper", 72_593_920)])
def test_controls_are_the_base_architectures_and_the_same_each_time(family, parameters):
    "facebook/hubert-base-ls960 and openai/whisper-base have as many parameters."
    torch.manual_seed(5)
    before = torch.get_rng_state()
    extractor, first = speech_models._untrained(family)
    assert torch.equal(torch.get_rng_state(), before), "the study's own random numbers are left alone"
    torch.manual_seed(6)
    second = speech_models._untrained(family)[1]
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters()))
    assert extractor.sampling_rate == 16000
    assert sum(p.numel() for p in first.parameters()) == parameters


def test_whisper_hears_a_clip_of_thirty_seconds_and_refuses_a_longer_one(whisper, tmp_path):
    signal = 0.1 * np.random.default_rng(0).standard_normal(30 * 16000 + 320)
    soundfile.write(tmp_path / "window.wav", signal[:-320], 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "longer.wav", signal, 16000, subtype="FLOAT")
    found = compute(whisper, [tmp_path / "window.wav", tmp_path / "longer.wav"], pooled=False)
    assert str(found[1]) == "longer.wav: it lasts 30.02 s, Whisper hears at most 30 s."
    # the window is whole, so the encoder's own forward takes it as it is
    encoder = AutoModel.from_pretrained(whisper).encoder.eval()
    mel = WhisperFeatureExtractor()(load_audio(tmp_path / "window.wav"), sampling_rate=16000,
                                    return_tensors="pt").input_features
    with torch.no_grad(): expected = encoder(mel).last_hidden_state[0].numpy()
    np.testing.assert_allclose(found[0], expected, atol=1e-5)


def test_the_weights_of_whisper_base_through_their_own_forward(clips):
    checkpoint = checkpoint_of("whisper", load_settings())
    states, conv, last = plain(checkpoint, load_audio(clips[1]))
    found = compute(checkpoint, clips[1:2], layers=tuple(range(7)), pooled=False)[0]
    assert found.shape == (7, 29, 512)
    for layer, expected in zip(found, [*states[:6], last]):
        np.testing.assert_allclose(layer, expected, atol=1e-3, rtol=1e-4)


def test_through_the_store(hubert, clips, tmp_path):
    store, paths = FeatureStore(tmp_path), [clips[1], clips[0], clips[1]]
    keys = [audio_key(load_audio(path), 16000) for path in paths]
    values, failures = extract(store, SpeechEncoder(hubert, device="cpu", workers=1), keys, paths)
    again = SpeechEncoder(hubert, device="cpu")
    again.compute = lambda items: pytest.fail("kept features were computed again")
    np.testing.assert_array_equal(extract(store, again, keys, paths)[0], values)
    np.testing.assert_allclose(values[0], plain(hubert, load_audio(clips[1]))[2].mean(axis=0), atol=1e-5)
    assert not failures


def test_mistakes_are_sentences(hubert, clips, tmp_path):
    for options, told in ((dict(signal="segment"), "Did you mean 'segments'"),
                          (dict(precision="float16"), "float32, bfloat16"),
                          (dict(layers="last"), "not 'conv'")):
        with pytest.raises(StudyError, match=told): SpeechEncoder(hubert, **options)
    with pytest.raises(StudyError, match="neither a folder"): SpeechEncoder("facebook/hubert-base-ls960")
    with pytest.raises(StudyError, match="Layer 5 .* layers 0 to 4"): compute(hubert, clips[:1], layers=5)
    with pytest.raises(StudyError, match="Layer 5"):
        list(SpeechEncoder(hubert, layers=5, device="cpu", workers=2).compute(clips[:1]))
    BertModel(BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
                         vocab_size=9)).save_pretrained(tmp_path)
    with pytest.raises(StudyError, match="is a bert model"): compute(str(tmp_path), clips[:1])


def test_weights_in_pickles_are_refused(hubert, clips, tmp_path):
    model = AutoModel.from_pretrained(hubert)
    model.config.save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(StudyError, match="no weights in safetensors"): compute(str(tmp_path), clips[:1])


@pytest.mark.parametrize("role", ["wav2vec2", "wav2vec2-base", "hubert", "wavlm", "data2vec-audio"])
def test_settings_pin_a_checkpoint_for_each_family(role):
    checkpoint = load_settings().checkpoints[role]
    assert SpeechEncoder(checkpoint, device="cpu").identity["checkpoint"] == checkpoint
