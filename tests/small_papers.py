"""The five papers' notebooks as small as they run: parameters for tests that care for a paper's way through,
not for its results."""
import hashlib, os, subprocess, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SMALL = {
    "01": dict(text_models="minilm", speech_models="", n_seeds="1", trials="2", refits="2"),
    "02": dict(text_models="minilm", audio_models="mfcc", conv_lengths="1", compared="2", seconds="2",
               epochs="1", n_seeds="1"),
    "03": dict(n_seeds="1", trials="4"),
    "04": dict(n_seeds="1", epochs="1"),
    "05": dict(n_seeds="1", epochs="1", advice_epochs="1"),
}

def start(paper: str, house: Path, workers: int = 2, **parameters: str) -> subprocess.Popen:
    "A run on workers of one thread each, with the cache and the reports of a house of its own."
    options = [part for name, value in (SMALL[paper] | parameters).items()
               for part in ("-p", f"{name}={value}")]
    settings = dict(SER_STUDY_REPORTS=str(house / "reports"), SER_STUDY_CACHE=str(house / "cache"),
                    SER_STUDY_WORKERS=str(workers), OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    return subprocess.Popen([Path(sys.executable).with_name("ser-study"), "run", paper, *options], cwd=ROOT,
                            env={**os.environ, **settings}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                            text=True)

def finish(process: subprocess.Popen) -> None:
    "The run ends well."
    errors = process.communicate()[1]
    assert process.returncode == 0, errors[-3000:]

def report(house: Path) -> Path:
    "The folder of the house's one run, which has all its files."
    [folder] = (house / "reports").glob("*/*")
    assert {path.name for path in folder.iterdir()} == {"report.ipynb", "results.csv", "run.json", "fits.csv",
                                                        "predictions.parquet", "figures"}
    return folder

def digest(house: Path, name: str) -> str:
    "Of a file of the house's one run."
    return hashlib.sha256((report(house) / name).read_bytes()).hexdigest()
