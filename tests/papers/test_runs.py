"""Whole runs of paper 01 on a tiny corpus of one's own: the files of a run, killed and resumed, two at once,
with broken clips and hostile texts. A run takes most of a minute, so a few are made once and read by all."""
import json, os, platform, re, shutil, signal, subprocess, sys, time
from pathlib import Path
import nbformat, numpy as np, pandas as pd, psutil, pytest, soundfile
from markdown_it import MarkdownIt
from ser_study.data.corpora import load_corpora
from ser_study.evaluation.published import RESULTS, load_published
from ser_study.settings import load_settings
from ser_study.features.store import FeatureStore
from ser_study.study.execution import execute

pytestmark = pytest.mark.papers
ROOT = Path(__file__).resolve().parents[2]
PAPER = "01_toh2025_hybrid_clustering"
SMALL = dict(transcripts="oracle", text_models="minilm", language="en", speech_models="", clusters="4",
             min_cluster_size="3", n_seeds="2", trials="2", refits="2")
SCRIPT, FORMULA = "<script>alert(1)</script>", "$x^2$"
# the back-tick ends a code span
HOSTILE = f"` {SCRIPT} {FORMULA} </td> \u202eright to left\u202c مرحبا 🎭 " + "word " * 5000
BROKEN = dict(truncated=("flac", "undecodable"), nothing=("flac", "empty"), text=("wav", "undecodable"),
              still=("wav", "silent"), nan=("wav", "not finite"), blip=("wav", "too short"))


# The corpus

def break_clips(folder: Path, whole: Path) -> None:
    "One clip for each way a recording can be unusable."
    (folder / "truncated.flac").write_bytes(whole.read_bytes()[:whole.stat().st_size // 2])
    (folder / "nothing.flac").write_bytes(b"")
    (folder / "text.wav").write_text("This is not a recording.\n" * 100)
    soundfile.write(folder / "still.wav", np.zeros(16000, np.float32), 16000, subtype="FLOAT")
    speech = soundfile.read(whole, dtype="float32")[0]
    soundfile.write(folder / "blip.wav", speech[4000:4160], 16000, subtype="FLOAT")
    speech[100] = np.nan
    soundfile.write(folder / "nan.wav", speech, 16000, subtype="FLOAT")

@pytest.fixture(scope="session")
def table(tmp_path_factory) -> Path:
    "A CSV of 48 clips of synthetic speech and six broken ones. Transcripts have markup; one is a monster."
    folder = tmp_path_factory.mktemp("mine")
    settings = load_settings(ROOT / "settings.ini", cache=tmp_path_factory.mktemp("demo"))
    clips = load_corpora("demo_crema_d", settings).utterances
    clips = clips.iloc[::len(clips) // 48].head(48).reset_index(drop=True)
    for path in clips.path: shutil.copy(path, folder)
    clips["transcript"] += f" {SCRIPT} {FORMULA}"
    clips.loc[len(clips) // 3, "transcript"] = HOSTILE   # the clip that the notebook shows slowly
    break_clips(folder, folder / Path(clips.path[0]).name)
    rows = clips.assign(path=[Path(path).name for path in clips.path])[["path", "emotion", "speaker",
                                                                        "sentence", "transcript", "sex"]]
    broken = pd.DataFrame([dict(path=f"{name}.{suffix}", emotion="anger", transcript="never heard")
                           for name, (suffix, _) in BROKEN.items()])
    pd.concat([rows, broken]).to_csv(folder / "calls.csv", index=False)
    return folder / "calls.csv"


# Running

def environment(house: Path, workers: int) -> dict:
    "Reports and cache in a folder of their own; one BLAS thread, so that sums are added in one order."
    return {**os.environ, "SER_STUDY_REPORTS": str(house / "reports"),
            "SER_STUDY_CACHE": str(house / "cache"), "SER_STUDY_WORKERS": str(workers),
            "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

def start(house: Path, table: Path, tool: str = "ser-study", workers: int = 1,
          **parameters: str) -> subprocess.Popen:
    "A run in a process group of its own, by `ser-study run` or by papermill."
    parameters = {**SMALL, "corpora": str(table), **parameters}
    house.mkdir(exist_ok=True)
    program = str(Path(sys.executable).with_name(tool))
    command = ([program, "run", "01",
                *(part for name, value in parameters.items() for part in ("-p", f"{name}={value}"))]
               if tool == "ser-study" else [program, f"nbs/papers/{PAPER}.ipynb", str(house / "out.ipynb"),
                                            *(part for name, value in parameters.items()
                                              for part in ("-p", name, value))])
    return subprocess.Popen(command, cwd=ROOT, env=environment(house, workers), stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True, start_new_session=True)

def finish(*processes: subprocess.Popen) -> None:
    "Wait; what went wrong is shown."
    for process in processes:
        errors = process.communicate()[1]
        assert process.returncode == 0, errors[-3000:]

def runs(house: Path) -> dict[str, Path]:
    "Name -> folder of every run in the reports."
    return {path.name: path for path in (house / "reports" / PAPER).iterdir()}

def only_run(house: Path) -> Path:
    "The folder of the one run there is."
    [folder] = runs(house).values()
    return folder

def record(folder: Path) -> dict: return json.loads((folder / "run.json").read_text(encoding="utf-8"))

@pytest.fixture(scope="session")
def first_seeds(table, tmp_path_factory) -> Path:
    "A house in which the study was run once, without interruption."
    house = tmp_path_factory.mktemp("uninterrupted")
    finish(start(house, table))
    return house

@pytest.fixture(scope="session")
def reference(first_seeds) -> Path: return only_run(first_seeds)

@pytest.fixture(scope="session")
def other_seed(first_seeds, reference, table) -> Path:
    "The same study by papermill itself, with another seed, beside the first."
    finish(start(first_seeds, table, "papermill", seed="7", n_seeds="1"))
    [folder] = [path for path in runs(first_seeds).values() if path != reference]
    return folder


# What a run leaves

def test_report_is_whole(reference):
    assert {"report.ipynb", "results.csv", "run.json", "predictions.parquet", "fits.csv",
            "figures"} == {path.name for path in reference.iterdir()}
    report = nbformat.read(reference / "report.ipynb", as_version=4)
    nbformat.validate(report)
    assert all(cell.execution_count for cell in report.cells if cell.cell_type == "code")
    assert {f"fig{number}.svg" for number in range(3, 9)} <= {path.name
                                                              for path in (reference / "figures").iterdir()}

def test_results_have_every_published_number(reference):
    results = pd.read_csv(reference / "results.csv")
    assert list(results.columns) == RESULTS
    published = load_published(PAPER)
    answered = results[results.published.notna()]
    missing = [(p["item"], p["row"], p["column"]) for p in published.to_dict("records")
               if not ((answered["item"] == p["item"]) & (answered["column"]
                                                          == p["column"]) & np.isclose(answered.published,
            p["value"], rtol=0, atol=0)).any()]
    assert not missing
    ours = results[results.reproduced.notna()]
    assert len(ours) > 50 and set(ours.protocol) == {"paper", "corrected"}
    assert ((ours.low <= ours.reproduced) & (ours.reproduced <= ours.high)).mean() > .9
    assert set(ours[ours["item"] == "Fig 3"].seeds) == {2}

def test_nothing_is_claimed_of_another_corpus(reference):
    results = pd.read_csv(reference / "results.csv")
    assert set(results.comparable) == {"replication"}
    assert set(results.corpus) == {"calls.csv"}
    assert set(results.profile) == {"demo"}
    assert "reproduced" not in set(results.verdict) and results.verdict.notna().all()

def test_record(reference):
    run = record(reference)
    assert bool(run["commit"]) == (ROOT / ".git").exists()
    assert run["comparable"] == "replication"
    assert run["seeds"] == [1, 2]
    assert {"python", "torch", "umap-learn", "opensmile", "scikit-learn"} <= set(run["packages"])
    assert {"processor", "cores", "memory_gb", "gpu"} == set(run["hardware"])
    assert {"decode and screen", "librosa", "openSMILE"} <= {stage["stage"] for stage in run["stages"]}
    assert all(set(stage) == {"stage", "items", "wall_s", "cpu_s", "peak_mb"} and stage["wall_s"] >= 0
               and stage["peak_mb"] > 100 for stage in run["stages"])
    assert sum(stage["cpu_s"] for stage in run["stages"]) > 1
    assert len(run["assumptions"]) > 5 and all(a["what"] and a["why"] for a in run["assumptions"])
    corpus = run["corpora"]["calls"]
    assert (corpus["clips"], corpus["used"], corpus["dropped"]) == (54, 48, 6)
    assert re.fullmatch(r"[0-9a-f]{32}", corpus["fingerprint"])

def test_broken_clips_are_named_and_left_out(reference):
    assert {d["utterance"]: (d["defect"], d["dropped"])
            for d in record(reference)["defects"]} == {f"calls/{name}": (defect, True)
                                                       for name, (_, defect) in BROKEN.items()}
    outputs = "".join(html_outputs(reference))
    assert all(f"calls/{name}" in outputs for name in BROKEN) and "6 left out" in outputs
    assert not pd.read_parquet(reference / "predictions.parquet").utterance.astype(str).isin([f"calls/{name}"
            for name in BROKEN]).any()

@pytest.mark.parametrize("tool", ["reference", "other_seed"])
def test_no_paths_and_no_machine(tool, request, table):
    folder = request.getfixturevalue(tool)
    for file in folder.rglob("*"):
        if file.suffix not in (".ipynb", ".json", ".csv", ".svg"): continue
        text = file.read_text(encoding="utf-8")
        for private in (table.parent, table.parents[1], ROOT, Path.home(), Path(sys.prefix)):
            assert str(private) == "/" or not re.search(re.escape(str(private)) + r"(?![\w-])",
                                                        text), f"{file.name} tells {private}"
        if file.suffix in (".json", ".csv"):
            assert not re.search(rf"\b{re.escape(platform.node())}\b",
                                 text), f"{file.name} tells the machine's name"

def html_outputs(folder: Path) -> list[str]:
    "What a browser gets of a report: HTML as it is, Markdown through CommonMark, which lets tags pass."
    shown = [output.data for cell in nbformat.read(folder / "report.ipynb", as_version=4).cells
             for output in cell.get("outputs", []) if "data" in output]
    return ([data["text/html"] for data in shown if "text/html" in data]
            + [data["image/svg+xml"] for data in shown if "image/svg+xml" in data]
            + [MarkdownIt("commonmark").render(data["text/markdown"]) for data in shown
               if "text/markdown" in data])

def test_hostile_texts_are_shown_and_not_run(reference):
    outputs = html_outputs(reference)
    assert not [output[:200] for output in outputs if "<script" in output]
    assert sum("&lt;script&gt;alert(1)" in output for output in outputs) >= 1
    assert "right to left" in "".join(outputs)


def test_the_answer_stands_where_it_was_promised(tmp_path):
    "The first screen of an executed report shows the text that the last cell wrote."
    v4 = nbformat.v4
    sources = ["from ser_study.study.essay import Answer", "answer = Answer()", "answer.write('**42**')"]
    notebook = v4.new_notebook(cells=[v4.new_code_cell(source) for source in sources])
    notebook.metadata.kernelspec = dict(name="python3", display_name="python3", language="python")
    nbformat.write(notebook, tmp_path / "essay.ipynb")
    _, first, last = execute(tmp_path / "essay.ipynb", {}, tmp_path).cells
    assert [output.data["text/markdown"] for output in first.outputs] == ["**42**"] and last.outputs == []


# Parameters, kills, company

def test_papermill_takes_the_parameter(reference, other_seed):
    run = record(other_seed)
    assert run["seeds"] == [7] and run["parameters"]["seed"] == 7 and "seed=7" in other_seed.name
    assert set(pd.read_parquet(other_seed / "predictions.parquet").seed) == {7}
    assert set(pd.read_parquet(reference / "predictions.parquet").seed) == {1, 2}
    ours = [pd.read_csv(folder / "results.csv").query("item == 'Fig 3' and protocol "
                                                      "== 'paper'").reproduced.tolist()
            for folder in (reference, other_seed)]
    assert ours[0] != ours[1]

def features(house: Path) -> dict[str, bytes]:
    "Everything in the feature store."
    with FeatureStore(house / "cache" / "features").transaction() as transaction:
        return {bytes(key).decode(): bytes(value) for key, value in transaction.cursor()}

def fit_files(house: Path) -> dict[str, tuple]:
    "Name -> what changes when a kept fit is written again."
    return {path.name: ((status := path.stat()).st_ino, status.st_mtime_ns)
            for path in (house / "cache" / "fits").glob("*.parquet")}

def cut_short(process: subprocess.Popen, house: Path, fits: int) -> None:
    "SIGKILL to the run, its kernel and its workers once so many fits are kept."
    while len(fit_files(house)) < fits:
        assert process.poll() is None, process.communicate()[1][-3000:]
        time.sleep(0.02)
    # papermill gives its kernel a group of its own
    family = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    for pid in family: os.kill(pid, signal.SIGKILL)
    process.communicate()

@pytest.fixture(scope="session")
def resumed(table, tmp_path_factory) -> tuple:
    "A run on two workers, killed in its clusterings, then two runs at once: the house and what was kept."
    house = tmp_path_factory.mktemp("killed")
    cut_short(start(house, table, workers=2), house, fits=3)
    kept = (features(house), fit_files(house), (house / "reports").exists()
            and any((house / "reports").rglob("results.csv")))
    finish(*[start(house, table), start(house, table, "papermill")])
    return house, *kept

def test_killed_run_had_not_ended(resumed, reference):
    _, kept_features, kept_fits, ended = resumed
    assert not ended
    assert 3 <= len(kept_fits) < 20
    assert len(kept_features) > 2 * 48   # librosa and openSMILE of every clip

def test_what_was_kept_is_not_computed_again(resumed, reference):
    house, kept_features, kept_fits, _ = resumed
    now = features(house)
    assert {key: now[key] for key in kept_features} == kept_features
    assert {name: fit_files(house)[name] for name in kept_fits} == kept_fits
    cost = [sum(stage["cpu_s"] for stage in record(folder)["stages"]
                if stage["stage"] in ("librosa", "openSMILE")) for folder in (only_run(house), reference)]
    assert cost[0] < cost[1] / 2

def test_killed_and_in_company_gives_the_same_table(resumed, reference):
    folder = only_run(resumed[0])
    assert (folder / "results.csv").read_bytes() == (reference / "results.csv").read_bytes()
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "predictions.parquet"),
                                  pd.read_parquet(reference / "predictions.parquet"))
    assert ({path.name for path in folder.rglob("*")}
            == {path.name for path in reference.rglob("*")}), "no parts of files stay behind"
    nbformat.validate(nbformat.read(folder / "report.ipynb", as_version=4))
    assert record(folder)["corpora"] == record(reference)["corpora"]
