"The doctor as a command: what is there, what is missing, what to do, and whether the demo study can run."
import os, re, subprocess, sys
from pathlib import Path
import psutil, pytest, torch
from ser_study.settings import load_settings

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINTS = load_settings(ROOT / "settings.ini").checkpoints


@pytest.fixture
def house(tmp_path) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("SER_STUDY_")}
    # whoever asks a network fails at once
    return {**own, "SER_STUDY_CORPORA": str(tmp_path / "corpora"), "SER_STUDY_CACHE": str(tmp_path / "cache"),
            "SER_STUDY_REPORTS": str(tmp_path / "reports"), "HF_HOME": str(tmp_path / "models"),
            "OMP_NUM_THREADS": "1", "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}

def examined(house: dict, **settings: str) -> tuple[int, dict[str, tuple[str, str]], str]:
    "Exit code; what -> state and finding; all that was printed."
    done = subprocess.run([Path(sys.executable).with_name("ser-study"), "doctor"], cwd=ROOT, env=house
                          | settings, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    lines = [re.fullmatch(r"(ok|warning|missing) +(.+?)  +(.+)", line)
             for line in done.stdout.split("\n\n")[0].splitlines()]
    assert all(lines), done.stdout
    return done.returncode, {line[2]: (line[1], line[3]) for line in lines}, done.stdout

def todo(text: str) -> str: return text.split("To do, where you want it:")[1]

def snapshot(house: dict, role: str) -> Path:
    "A checkpoint's folder in Hugging Face's cache, as a download leaves it."
    repository, _, revision = CHECKPOINTS[role].partition("@")
    folder = Path(house["HF_HOME"], "hub", f"models--{repository.replace('/', '--')}", "snapshots", revision)
    folder.mkdir(parents=True)
    return folder


def test_a_machine_without_corpora_and_checkpoints_can_run_the_demo_study(house):
    code, found, text = examined(house)
    assert code == 0 and text.strip().endswith("The demo study can run: make study")
    assert all(found[what][0] == "ok" for what in ("Python", "packages", "MiniLM for texts",
                                                   "Whisper for words and sounds",
                                                   "eSpeak NG for the demo corpora", "Jupyter kernel python3",
                                                   "cache folder", "reports folder"))
    assert all(found[f"corpus {key}"] == ("missing", "not found")
               for key in ("ravdess", "crema_d", "nemo", "iemocap", "albanian", "emospeech", "meacorpus",
                           "meld"))
    looked = {what.removeprefix("model ") for what in found if what.startswith("model ")}
    assert looked == {*CHECKPOINTS, "use"} - {"whisper"}
    hub_only = looked - {"mpnet", "use"}   # these two may be installed
    assert all(found[f"model {role}"][0] == "missing" for role in hub_only)
    assert all(f"ser-study corpora fetch {key}" in todo(text) for key in ("ravdess", "crema_d", "nemo"))
    assert "ser-study models pull" in todo(text)
    assert "model wavlm, model albert" in todo(text), "a pickle is pulled like the others"
    assert f"{psutil.virtual_memory().total / 2**30:.1f} GB" in found["memory"][1]
    assert (found["GPU"][1].startswith("none") != torch.cuda.is_available())
    assert not any(Path(house[f"SER_STUDY_{name}"]).exists()
                   for name in ("REPORTS", "CACHE")), "looking changes nothing"

def test_what_is_there_in_part(house):
    "A checkpoint needs its safetensors, a corpus more than an empty folder; a GPU may be asked for in vain."
    (snapshot(house, "hubert") / "model.safetensors").touch()
    (snapshot(house, "wavlm") / "config.json").write_text("{}")
    (Path(house["SER_STUDY_CORPORA"]) / "nEMO").mkdir(parents=True)
    code, found, text = examined(house, SER_STUDY_DEVICE="cuda")
    assert found["model hubert"] == ("ok", "from the hub, on this machine")
    assert found["model wavlm"] == ("missing", "not on this machine")
    assert "model hubert" not in todo(text)
    assert found["corpus nemo"][0] == "warning"
    assert found["corpus nemo"][1].startswith("0 of 4481 utterances: ")
    assert found["corpus ravdess"][0] == "missing"
    if not torch.cuda.is_available():
        assert code == 1 and found["GPU"][0] == "missing" and "device = auto" in todo(text)

@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_for_training_is_asked_for_here_or_of_a_cluster(house):
    code, found, text = examined(house, SER_STUDY_FIT_DEVICE="cuda")
    assert code == 1 and found["GPU"][0] == "missing" and "fit_device = auto" in todo(text)
    _, found, _ = examined(house, SER_STUDY_FIT_DEVICE="cuda", SER_STUDY_SCHEDULER="tcp://127.0.0.1:9")
    assert found["GPU"] == ("ok", "none here: the cluster's workers with the resource GPU are asked")
    assert found["Dask scheduler"][0] == "missing"

def test_without_a_voice_the_demo_study_cannot_run(house, tmp_path):
    "A package that is installed and does not load."
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/espeakng_loader.py").write_text("raise OSError('no such library')")
    code, found, text = examined(house,
                                 PYTHONPATH=os.pathsep.join([str(tmp_path / "broken"),
                                                             *filter(None, [os.environ.get("PYTHONPATH")])]))
    assert code == 1
    assert found["eSpeak NG for the demo corpora"][0] == "missing"
    assert "no such library" in found["eSpeak NG for the demo corpora"][1]
    assert text.strip().endswith("do first what is needed for eSpeak NG for the demo corpora")
    assert "requirements.lock" in todo(text)
