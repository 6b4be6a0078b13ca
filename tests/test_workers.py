"""Work over processes. This file imports little: for each process that dies, another one imports it anew."""
import os, signal, time
from ser_study.features.workers import over_processes
from ser_study.settings import StudyError


def test_results_stream_and_little_is_taken_in_advance():
    paths = [f"{n}.wav" for n in range(40)]
    results = over_processes(_name, paths, workers=2)
    first = [next(results) for _ in range(3)]
    assert len(first) == 3
    assert dict([*first, *results]) == dict(enumerate(paths))


def _name(position, path): return position, path


def _mortal(position, path):
    if path.startswith("deadly"): os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    return position, path


def test_a_dying_worker_costs_its_clip_only():
    paths = ["deadly-0.wav", *(f"{n}.wav" for n in range(12)), "deadly-1.wav", "last.wav"]
    results = dict(over_processes(_mortal, paths, workers=2))
    failed = {n for n, r in results.items() if isinstance(r, StudyError)}
    assert failed == {0, 13} and "deadly-1.wav" in str(results[13])
    assert {n: r for n, r in results.items() if n not in failed} == (
        {n: p for n, p in enumerate(paths) if n not in failed})
