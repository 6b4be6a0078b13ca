"""Every paper's notebook on its demo corpora, killed at random moments and started again: it ends with the
tables of a run that nothing happened to, byte for byte. Minutes for each paper: `pytest -k 05` takes one."""
import random, signal, subprocess, time
from pathlib import Path
import psutil, pytest
from small_papers import SMALL, finish, report, start

pytestmark = pytest.mark.faults
WORDS = {"01": dict(transcripts="oracle")}   # nothing is recognised
KILLS = 3

def kill(process: subprocess.Popen) -> None:
    "`kill -9` of the run alone: its kernel and workers work on until they notice."
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not psutil.wait_procs(family, timeout=10)[1], "kernel and workers end with the run"

def tables(house: Path) -> dict[str, bytes]:
    return {name: (report(house) / name).read_bytes() for name in ("results.csv", "predictions.parquet")}

@pytest.mark.parametrize("paper", SMALL)
def test_killed_and_resumed_gives_the_same_tables(paper, tmp_path):
    began, rng, words = time.monotonic(), random.Random(paper), WORDS.get(paper, {})
    finish(start(paper, tmp_path / "whole", **words))
    whole = time.monotonic() - began
    for _ in range(KILLS):
        process = start(paper, tmp_path / "killed", **words)
        try: process.wait(rng.uniform(.15, .7) * whole)
        except subprocess.TimeoutExpired: kill(process)
    finish(start(paper, tmp_path / "killed", **words))
    assert tables(tmp_path / "killed") == tables(tmp_path / "whole")
    assert not list((tmp_path / "killed").rglob("*.part"))
