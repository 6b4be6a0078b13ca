"""Every paper's notebook on its demo corpora, killed at random moments and started again: it ends with the
tables of a run that nothing happened to, byte for byte (measured time apart). Minutes for each paper:
CI takes one."""
import random, signal, subprocess, time
from pathlib import Path
import psutil, pytest
from small_papers import SMALL, digest, finish, report, start

pytestmark = pytest.mark.faults
WORDS = {"01": dict(transcripts="oracle")}   # nothing is recognised
KILLS = 2

def kill(process: subprocess.Popen) -> None:
    "`kill -9` of the run alone: its kernel and workers work on until they notice."
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not psutil.wait_procs(family, timeout=10)[1], "kernel and workers end with the run"

def results(house: Path) -> list[str]:
    "The lines of results.csv but those of measured time: a fit that was killed is computed again."
    lines = (report(house) / "results.csv").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if ",share of the time," not in line]

IN_CI = "03"

@pytest.mark.parametrize("paper", [
    pytest.param(paper, marks=() if paper == IN_CI else pytest.mark.papers) for paper in SMALL])
def test_killed_and_resumed_gives_the_same_tables(paper, tmp_path):
    began, rng, words = time.monotonic(), random.Random(paper), WORDS.get(paper, {})
    finish(start(paper, tmp_path / "whole", **words))
    whole = time.monotonic() - began
    for _ in range(KILLS):
        process = start(paper, tmp_path / "killed", **words)
        try: process.wait(rng.uniform(.15, .7) * whole)
        except subprocess.TimeoutExpired: kill(process)
    finish(start(paper, tmp_path / "killed", **words))
    assert results(tmp_path / "killed") == results(tmp_path / "whole")
    killed, whole = (digest(tmp_path / house, "predictions.parquet") for house in ("killed", "whole"))
    assert killed == whole
    assert not list((tmp_path / "killed").rglob("*.part"))
