"""Every paper's notebook on its demo corpora, killed at random moments and started again: it ends with the
tables of a run that nothing happened to, byte for byte. Minutes for each paper: `pytest -k 05` takes one."""
import os, random, signal, subprocess, sys, time
from pathlib import Path
import psutil, pytest

pytestmark = pytest.mark.faults
ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "01": dict(transcripts="oracle", text_models="minilm", speech_models="", n_seeds="1", trials="2",
               refits="2"),
    "02": dict(text_models="minilm", audio_models="mfcc", conv_lengths="1", compared="2", seconds="2",
               epochs="1", n_seeds="1"),
    "03": dict(n_seeds="1", trials="4"),
    "04": dict(n_seeds="1", epochs="1"),
    "05": dict(n_seeds="1", epochs="1", advice_epochs="1"),
}
KILLS = 3

def start(paper: str, house: Path) -> subprocess.Popen:
    "A run on two workers of one thread each."
    options = [part for name, value in SMALL[paper].items() for part in ("-p", f"{name}={value}")]
    settings = dict(SER_STUDY_REPORTS=str(house / "reports"), SER_STUDY_CACHE=str(house / "cache"),
                    SER_STUDY_WORKERS="2", OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    return subprocess.Popen([Path(sys.executable).with_name("ser-study"), "run", paper, *options], cwd=ROOT,
                            env={**os.environ, **settings}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                            text=True)

def finish(process: subprocess.Popen) -> None:
    errors = process.communicate()[1]
    assert process.returncode == 0, errors[-3000:]

def kill(process: subprocess.Popen) -> None:
    "`kill -9` of the run alone: its kernel and workers work on until they notice."
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not psutil.wait_procs(family, timeout=10)[1], "kernel and workers end with the run"

def tables(house: Path) -> dict[str, bytes]:
    [folder] = (house / "reports").glob("*/*")
    assert {path.name for path in folder.iterdir()} == {"report.ipynb", "results.csv", "run.json", "fits.csv",
                                                        "predictions.parquet", "figures"}
    return {name: (folder / name).read_bytes() for name in ("results.csv", "predictions.parquet")}

@pytest.mark.parametrize("paper", SMALL)
def test_killed_and_resumed_gives_the_same_tables(paper, tmp_path):
    began, rng = time.monotonic(), random.Random(paper)
    finish(start(paper, tmp_path / "whole"))
    whole = time.monotonic() - began
    for _ in range(KILLS):
        process = start(paper, tmp_path / "killed")
        try: process.wait(rng.uniform(.15, .7) * whole)
        except subprocess.TimeoutExpired: kill(process)
    finish(start(paper, tmp_path / "killed"))
    assert tables(tmp_path / "killed") == tables(tmp_path / "whole")
    assert not list((tmp_path / "killed").rglob("*.part"))
