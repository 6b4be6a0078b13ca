"Fits: killed and resumed, two runs at once, spread over processes and a Dask cluster."
import signal, subprocess, sys, time
from types import SimpleNamespace
import numpy as np, pytest, torch
from ser_study.features import cluster
from ser_study.features.checkpoints import choose_device
from ser_study.settings import StudyError
from ser_study.study.fits import Task, array_fingerprint, run_fits, task_key
from small_fits import noisy

SCRIPT = """
import sys, time, os
from pathlib import Path
import numpy as np, pandas as pd
from ser_study.study.fits import Task, run_fits

def slow(X, seed, log):
    with open(log, "a") as file: file.write(f"{seed}\\n")
    time.sleep(0.15)
    return pd.DataFrame(dict(value=X.ravel() * seed)), {}

if __name__ == "__main__":
    folder, log = sys.argv[1:3]
    tasks = [Task(dict(seed=seed, log=log), dict(X=np.arange(5.))) for seed in range(12)]
    print(sum(fit.table.value.sum() for fit in run_fits(slow, tasks, Path(folder))))
"""

@pytest.fixture
def script(tmp_path) -> list[str]:
    path = tmp_path / "study.py"
    path.write_text(SCRIPT)
    return [sys.executable, str(path), str(tmp_path / "fits"), str(tmp_path / "log")]

def total(output: str) -> float: return float(output.strip().splitlines()[-1])

EXPECTED = 10.0 * sum(range(12))   # sum of 0..4 is 10

def test_killed_run_resumes_at_the_fit(script, tmp_path):
    log = tmp_path / "log"
    process = subprocess.Popen(script, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not log.exists() or len(log.read_text().split()) < 5: time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(list((tmp_path / "fits").glob("*.parquet")))
    assert 4 <= done <= 6
    again = subprocess.run(script, capture_output=True, text=True, check=True)
    assert total(again.stdout) == EXPECTED
    runs = log.read_text().split()
    assert len(runs) == 12 + (len(runs) - len(set(runs)))
    assert len(runs) - len(set(runs)) <= 1, "only the fit that was cut off ran twice"

def test_two_runs_at_once(script):
    both = [subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            for _ in range(2)]
    assert [total(process.communicate()[0]) for process in both] == [EXPECTED] * 2

@pytest.fixture
def tasks() -> list[Task]: return [Task(dict(seed=seed), dict(X=np.arange(3.))) for seed in range(4)]

def assert_same(here, there):
    "The same tables and the same facts, whatever they cost."
    for a, b in zip(here, there, strict=True):
        assert a.table.equals(b.table) and a.facts["seed"] == b.facts["seed"]

def test_processes_give_what_one_process_gives(tasks, tmp_path):
    assert_same(run_fits(noisy, tasks, tmp_path / "1"), run_fits(noisy, tasks, tmp_path / "2", workers=2))

def test_dask_cluster_gives_what_one_process_gives(tasks, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None,
                                  protocol="tcp", host="127.0.0.1") as some:
        spread = run_fits(noisy, tasks, tmp_path / "dask", scheduler=some.scheduler_address)
    assert_same(run_fits(noisy, tasks, tmp_path / "1"), spread)
    assert len(list((tmp_path / "dask").glob("*.parquet"))) == 4

def test_a_cluster_without_a_gpu_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 2)
    task = Task(dict(seed=1, device="cuda"), dict(X=np.arange(3.)))
    with cluster.local_cluster(1) as address:
        with pytest.raises(StudyError, match="no worker with the resource GPU for 2 seconds"):
            run_fits(noisy, [task], tmp_path, scheduler=address)

def time_out(position: int, item, arrays: dict): raise TimeoutError("of the work itself")

def test_a_cluster_that_would_compute_something_else_is_refused(tasks, tmp_path, monkeypatch):
    "Another installation on a worker ends the run; so does an error of the work, whatever its kind."
    cluster.installation()
    with cluster.local_cluster(1) as address:
        with pytest.raises(TimeoutError, match="of the work itself"):
            list(cluster.over_cluster(time_out, [1], address, str))
        monkeypatch.setitem(cluster.INSTALLED, "numpy", "1.0")
        with pytest.raises(StudyError, match=f"has numpy {np.__version__}, and this machine 1.0: install"):
            run_fits(noisy, tasks, tmp_path, scheduler=address)

def test_a_cluster_forgets_an_array_with_the_last_job_that_needs_it():
    "A client that computes nothing: each array becomes one future."
    client = SimpleNamespace(submit=lambda *job, **options: object())
    shared, own = np.zeros(3), np.ones(3)
    jobs = [(0, "a", dict(X=shared)), (1, "b", dict(X=shared, y=own))]
    some = cluster._Arrays(client, jobs)
    for _, _, arrays in jobs:
        for array in arrays.values(): some.send(array)
    assert set(some.sent) == {id(shared), id(own)}
    some.release(jobs[1][2])
    assert set(some.sent) == {id(shared)}, "the first job needs it"
    some.release(jobs[0][2])
    assert not some.sent

def test_no_scheduler_is_one_sentence(tasks, tmp_path):
    with pytest.raises(StudyError, match="No Dask scheduler answers at tcp://127.0.0.1:9"):
        run_fits(noisy, tasks, tmp_path, scheduler="tcp://127.0.0.1:9")

@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_fit_for_a_gpu_is_refused_where_there_is_none(tmp_path):
    "The machine that asks need not be the one that trains."
    task = Task(dict(seed=1, device=choose_device("cuda")), dict(X=np.arange(3.)))
    with pytest.raises(StudyError, match="PyTorch finds no GPU here"): run_fits(noisy, [task], tmp_path)
    assert not list(tmp_path.iterdir())

FULL = """
import resource, sys
from pathlib import Path
import numpy as np, pandas as pd
from ser_study.settings import StudyError
from ser_study.study.fits import Task, run_fits

resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
def big(X): return pd.DataFrame(dict(value=X)), {}
try: run_fits(big, [Task({}, dict(X=np.random.default_rng(0).normal(size=9999)))], Path(sys.argv[1]))
except StudyError as error: print(error)
"""

def test_a_full_disk_is_one_sentence_and_harms_nothing(tasks, tmp_path):
    run_fits(noisy, tasks[:1], tmp_path)
    kept = {path: path.read_bytes() for path in tmp_path.glob("*.parquet")}
    path = tmp_path / "full.py"
    path.write_text(FULL)
    out = subprocess.run([sys.executable, str(path), str(tmp_path)], capture_output=True, text=True)
    assert "could not be written: File too large" in out.stdout, out.stderr
    assert {p: p.read_bytes() for p in tmp_path.glob("*.parquet")} == kept
    assert not list(tmp_path.glob("*.part"))

def test_another_configuration_or_array_never_shares_a_fit():
    base, zeros = dict(seed=1, n_neighbors=15, min_dist=0.1), np.zeros((4, 2))
    changes = (("seed", 1), ("seed", 2), ("n_neighbors", 16), ("min_dist", 0.2), ("min_dist", "0.1"))
    keys = {task_key("c", Task({**base, name: value}, dict(X=zeros))) for name, value in changes}
    arrays = (np.ones((4, 2)), np.zeros((2, 4)), np.zeros((4, 2), "f4"))
    keys |= {task_key("c", Task(base, dict(X=array))) for array in arrays}
    keys.add(task_key("c", Task(base, dict(Y=zeros))))
    assert len(keys) == 9
    with pytest.raises(TypeError): array_fingerprint(np.array([{}], dtype=object))
