"""A study of seconds, for tests that kill it, fill its disk or take its folders away: a paper's notebook with
a feature store, fits in two processes, and a run, in a checkout of its own."""
import functools, os, signal, subprocess, sys, time
from pathlib import Path
import nbformat, psutil

PAPER = "09_small_study"
SETTINGS = """[study]
corpora = corpora
cache = cache
reports = reports
profile = demo
workers = 2
device = cpu
fit_device = cpu
scheduler =
"""
PARAMETERS = """
seeds = 6          # fits
seconds = 0.2      # of each fit, and of each ten features
deadly = 0         # the seed of a fit that kills its process
"""
DEFINITIONS = """
import functools, os, signal, time
import numpy as np, pandas as pd
from ser_study.features.store import FeatureStore, extract, text_key
from ser_study.settings import load_settings
from ser_study.study.fits import Task, predict_all
from ser_study.study.runs import Run

class Letters:
    "The codes of a text's letters."
    identity = dict(extractor="letters")
    def compute(self, texts):
        for position, text in enumerate(texts):
            time.sleep(seconds / 10)
            yield position, np.array([ord(letter) for letter in text], float)

def draw(X, seed, seconds, deadly):
    "A fit: noise on the features."
    if seed == deadly: os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(seconds)
    noise = np.random.default_rng(seed).normal(size=len(X))
    table = pd.DataFrame(dict(utterance=np.arange(len(X)), value=X + noise))
    return table, dict(mean=float(table.value.mean()))
"""
STUDY = f"""
settings = load_settings()
run = Run("{PAPER}", globals(), settings)
texts = [f"utterance {{number:03}}" for number in range(40)]
store = FeatureStore(settings.cache / "features")
features, failures = extract(store, Letters(), list(map(text_key, texts)), texts)
X = np.stack(features).mean(axis=1)
tasks = {{("draw", "all", seed): Task(dict(seed=seed, seconds=seconds, deadly=deadly), dict(X=X))
         for seed in range(1, seeds + 1)}}
predictions, fits = predict_all(draw, tasks, settings)
run.write(predictions.groupby("seed", as_index=False).value.mean(), predictions, pd.DataFrame(fits))
"""


def make(root: Path) -> Path:
    "The checkout: settings.ini and the paper's notebook."
    (root / "nbs" / "papers").mkdir(parents=True)
    (root / "settings.ini").write_text(SETTINGS)
    v4 = nbformat.v4
    cells = [v4.new_code_cell(PARAMETERS, metadata=dict(tags=["parameters"])), v4.new_code_cell(DEFINITIONS),
             v4.new_code_cell(STUDY)]
    kernel = dict(kernelspec=dict(name="python3", display_name="Python 3", language="python"))
    nbformat.write(v4.new_notebook(cells=cells, metadata=kernel), root / "nbs" / "papers" / f"{PAPER}.ipynb")
    return root


def start(root: Path, *options: str, **environment: str) -> subprocess.Popen:
    "`ser-study run 09`, in a session of its own, with temporary files in `root/tmp`."
    temporary = Path(environment.get("TMPDIR", root / "tmp"))
    temporary.mkdir(exist_ok=True)
    house = {name: str(root / name.removeprefix("SER_STUDY_").lower())
             for name in ("SER_STUDY_CACHE", "SER_STUDY_REPORTS")}
    command = [str(Path(sys.executable).with_name("ser-study")), "run", "09", *options]
    settings = {**os.environ, **house, "TMPDIR": str(temporary), **environment}
    # where the tests run in the background, SIGINT is ignored, and so it would be here
    heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(command, cwd=root, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, start_new_session=True, preexec_fn=heed)


def finish(process: subprocess.Popen) -> tuple[int, str]:
    "Exit code, and the last line of stderr."
    errors = process.communicate(timeout=300)[1].strip().splitlines()
    return process.returncode, errors[-1] if errors else ""


def run(root: Path, *options: str, **environment: str) -> tuple[int, str]:
    "As `start`, to the end: exit code, and the last line of stderr."
    return finish(start(root, *options, **environment))


def kept_fits(root: Path) -> int: return len(list((root / "cache" / "fits").glob("*.parquet")))


def wait_for(condition, seconds: float = 120) -> None:
    "Wait until a condition holds."
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


def results(root: Path) -> dict[str, bytes]:
    "What the run ended with: its tables, byte for byte."
    [folder] = (root / "reports" / PAPER).iterdir()
    return {name: (folder / name).read_bytes() for name in ("results.csv", "predictions.parquet")}


def kill(process: subprocess.Popen) -> list[psutil.Process]:
    "`kill -9`, without a word to its children; they are returned."
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return children
