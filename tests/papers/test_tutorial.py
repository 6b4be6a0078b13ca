"""The whole tutorial on the corpus that it makes itself: three papers run on a CSV whose layout no reader
knows. And the messages for a faulty CSV. It takes some three minutes of one core."""
import json, os, re, subprocess, sys
from pathlib import Path
import nbformat, numpy as np, pandas as pd, pytest, soundfile

pytestmark = pytest.mark.papers
ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "nbs/tutorials/your_own_corpus.ipynb"
SMALL = dict(n_seeds=1, trials=2, epochs=1)


@pytest.fixture(scope="module")
def house(tmp_path_factory) -> Path:
    "Where the tutorial was run: out.ipynb, reports and cache."
    house = tmp_path_factory.mktemp("tutorial")
    settings = {"SER_STUDY_REPORTS": str(house / "reports"), "SER_STUDY_CACHE": str(house / "cache"),
                "SER_STUDY_WORKERS": "1", "OMP_NUM_THREADS": "1"}
    values = [part for name, value in SMALL.items() for part in ("-p", name, str(value))]
    done = subprocess.run([Path(sys.executable).with_name("papermill"), NOTEBOOK, house / "out.ipynb",
                           "--cwd", ROOT, *values], cwd=ROOT, env={**os.environ, **settings},
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return house

@pytest.fixture(scope="module")
def runs(house) -> dict[str, Path]:
    "Paper -> folder of its one run."
    found = {}
    for folder in (house / "reports").glob("*/*"): found.setdefault(folder.parent.name[:2], []).append(folder)
    return {paper: folder for paper, [folder] in found.items()}

@pytest.fixture(scope="module")
def outputs(house) -> str:
    "Everything that the tutorial shows but its progress bars, as one text."
    shown = [output for cell in nbformat.read(house / "out.ipynb", as_version=4).cells
             for output in cell.get("outputs", []) if output.get("name") != "stderr"]
    return "\n".join(str(output.get("text", ""))
                     + "\n".join(str(value) for kind, value in output.get("data", {}).items()
                                 if kind.startswith("text/") and "<audio" not in value) for output in shown)

def record(run: Path) -> dict: return json.loads((run / "run.json").read_text(encoding="utf-8"))


def test_three_papers_run_on_every_clip_of_the_table(house, runs):
    recordings = {path.relative_to(house / "cache/demo/demo_own-1").with_suffix("").as_posix()
                  for path in (house / "cache/demo").rglob("*.flac")}
    lines = (house / "cache/demo/demo_own-1/demo_own.csv").read_text().splitlines()
    assert len(recordings) == len(lines) - 1 == 6 * 4 * 4
    assert {paper: [*record(run)["corpora"]] for paper, run in runs.items()} == {"01": ["demo_own"],
            "04": ["demo_own_for_04"], "05": ["demo_own"]}
    for run in runs.values():
        corpus, = record(run)["corpora"].values()
        assert (corpus["clips"], corpus["used"], corpus["dropped"]) == (len(recordings), len(recordings), 0)
        predicted = {name.partition("/")[2]
                     for name in pd.read_parquet(run / "predictions.parquet").utterance.astype(str)}
        assert predicted == recordings, "each clip is somewhere clustered or tested"

def test_the_labels_are_those_of_the_table(runs):
    said = {"glad": ("happiness", "positive"), "cross": ("anger", "negative"), "low": ("sadness", "negative"),
            "plain": ("neutral", "neutral")}
    for paper, run in runs.items():
        predictions = pd.read_parquet(run / "predictions.parquet").astype(dict(utterance=str, true=str))
        moods = predictions.utterance.str.extract(r"/([a-z]+)_[a-z]+$")[0]
        assert (predictions.true == [said[mood][paper == "05"] for mood in moods]).all(), paper

def test_what_it_shows_is_what_the_runs_found(runs, outputs):
    results = {paper: pd.read_csv(run / "results.csv") for paper, run in runs.items()}
    asked = [("01", "item == 'Question 1' and column == 'silhouette difference'", 8),   # two voices
             ("04", "item == 'Gain' and row == 'PDDS - no balancing: CLTNet' and column == 'UA'", 2),
             ("05", "item == 'Question 1' and row == 'all voices together: MFCC, "
              "MLP(128)' and column.str.contains(' minus ')", 2)]
    across = outputs.partition("Across the papers")[2]
    for paper, query, count in asked:
        rows = results[paper].query(query)
        assert len(rows) == count
        shown = rows[["reproduced", "low", "high"]].to_numpy().ravel()
        for value in shown[~np.isnan(shown)]:   # one repetition has no bounds
            assert f"{abs(value):.3f}" in across, (paper, value)
    assert "none of these numbers says anything about people" in across
    assert "the label is one certain vote" in across

def test_faults_are_told_as_the_tutorial_says(outputs):
    assert "there is no file 'not_there.wav'" in outputs
    assert "'faulty.csv', 'the column room is not known and not used'" in outputs
    assert "faulty.csv, line 3: sex is 'F', expected female or male (and 1 more)." in outputs
    assert "does not run on this corpus" not in outputs

def test_no_place_on_this_machine_is_told(house, runs, outputs):
    texts = [outputs, *(path.read_text(encoding="utf-8") for run in runs.values() for path in run.rglob("*")
                        if path.suffix in (".ipynb", ".json", ".csv", ".svg"))]
    private = [place for place in map(str, (house, ROOT, Path.home(), Path(sys.prefix))) if place != "/"]
    assert not [place for text in texts for place in private if re.search(re.escape(place) + r"(?![\w-])",
                                                                          text)]


@pytest.fixture(scope="module")
def names() -> dict:
    "The tutorial's two examples of reading a file's name."
    source, = [cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells
               if "def from_emodb" in cell.source]
    space = dict(re=re)
    exec(source, space)
    return space

@pytest.mark.parametrize("stem, speaker, sex, sentence, emotion", [   # by the corpus's own documentation
    ("03a01Fa", "03", "male", "a01", "happiness"), ("08b10Wb", "08", "female", "b10", "anger"),
    ("15a05Aa", "15", "male", "a05", "fear"), ("16b03Td", "16", "female", "b03", "sadness"),
    ("10a07La", "10", "male", "a07", "boredom"), ("13b09Ea", "13", "female", "b09", "disgust"),
    ("11a02Nc", "11", "male", "a02", "neutral")])
def test_names_of_emodb(names, stem, speaker, sex, sentence, emotion):
    assert names["from_emodb"](stem) == dict(speaker=speaker, sex=sex, sentence=sentence, emotion=emotion,
                                           language="de")

@pytest.mark.parametrize("stem, speaker, word, emotion",
                         [("OAF_back_angry", "OA", "back", "anger"),
                          ("OA_bite_neutral", "OA", "bite", "neutral"),
                          ("YAF_mouse_ps", "YA", "mouse", "surprise"),
                          ("YAF_dog_happy", "YA", "dog", "happiness")])
def test_names_of_tess(names, stem, speaker, word, emotion):
    assert names["from_tess"](stem) == dict(speaker=speaker, sex="female", sentence=word,
                                            transcript=f"Say the word {word}", emotion=emotion,
                                            language="en")


def clips(folder: Path, table: str) -> Path:
    "A table of this text beside two recordings."
    for name in ("a.wav", "b.wav"): soundfile.write(folder / name, [0.1, -0.1] * 8000, 16000)
    (folder / "calls.csv").write_text(table, encoding="utf-8")
    return folder / "calls.csv"

@pytest.mark.parametrize("table, sentence",
                         [("path,emotion\nnot_there.wav,anger\n",
                           "calls.csv: no row can be used (line 2: there is no file 'not_there.wav')."),
                          ("file,emotion\na.wav,anger\n", "calls.csv: expected one column path, found none."),
                          ("path,emotion,sex\na.wav,anger,male\nb.wav,fear,m\n",
                           "calls.csv, line 3: sex is 'm', expected female or male."),
                          ("path,emotion\na.wav,anger\nb.wav\n",
                           "calls.csv, line 3: 1 cells, the header has 2.")])
def test_a_faulty_table_stops_a_paper_before_any_work(tmp_path, table, sentence):
    done = subprocess.run([Path(sys.executable).with_name("ser-study"), "run", "01", "-p",
                           f"corpora={clips(tmp_path, table)}"], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "SER_STUDY_REPORTS": str(tmp_path / "reports"),
                               "SER_STUDY_CACHE": str(tmp_path / "cache")})
    assert (done.returncode, done.stderr.strip().splitlines()[-1]) == (2, sentence)
    assert not (tmp_path / "reports").exists()
