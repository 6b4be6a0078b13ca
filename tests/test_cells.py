"Cells: killed and resumed, two runs at once, spread over processes and a Dask cluster."
import signal, subprocess, sys, time
import numpy as np, pandas as pd, pytest
from ser_study.study.fits import Cell, array_fingerprint, cell_key, run_cells
from ser_study.settings import StudyError
from ser_study.study.clustering.fits import cluster_cell

SCRIPT = """
import sys, time, os
from pathlib import Path
import numpy as np, pandas as pd
from ser_study.study.fits import Cell, run_cells

def slow(X, seed, log):
    with open(log, "a") as file: file.write(f"{seed}\\n")
    time.sleep(0.15)
    return pd.DataFrame(dict(value=X.ravel() * seed))

if __name__ == "__main__":
    folder, log = sys.argv[1:3]
    cells = [Cell(dict(seed=seed, log=log), dict(X=np.arange(5.))) for seed in range(12)]
    print(sum(table.value.sum() for table in run_cells(slow, cells, Path(folder))))
"""

@pytest.fixture
def script(tmp_path) -> list[str]:
    path = tmp_path / "study.py"
    path.write_text(SCRIPT)
    return [sys.executable, str(path), str(tmp_path / "cells"), str(tmp_path / "log")]

def total(output: str) -> float: return float(output.strip().splitlines()[-1])

EXPECTED = 10.0 * sum(range(12))   # sum of 0..4 is 10

def test_killed_run_resumes_at_the_cell(script, tmp_path):
    log = tmp_path / "log"
    process = subprocess.Popen(script, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not log.exists() or len(log.read_text().split()) < 5: time.sleep(0.02)
    process.send_signal(signal.SIGKILL); process.wait()
    done = len(list((tmp_path / "cells").glob("*.parquet")))
    assert 4 <= done <= 6
    again = subprocess.run(script, capture_output=True, text=True, check=True)
    assert total(again.stdout) == EXPECTED
    runs = log.read_text().split()
    assert len(runs) == 12 + (len(runs) - len(set(runs))) and len(runs) - len(set(runs)) <= 1, "only the cell that was cut off ran twice"

def test_two_runs_at_once(script):
    both = [subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) for _ in range(2)]
    assert [total(process.communicate()[0]) for process in both] == [EXPECTED] * 2

def noisy(X: np.ndarray, seed: int) -> pd.DataFrame:
    return pd.DataFrame(dict(value=X + np.random.default_rng(seed).normal(size=len(X))))

@pytest.fixture
def cells() -> list[Cell]: return [Cell(dict(seed=seed), dict(X=np.arange(3.))) for seed in range(4)]

def test_processes_give_what_one_process_gives(cells, tmp_path):
    alone, spread = run_cells(noisy, cells, tmp_path / "1"), run_cells(noisy, cells, tmp_path / "2", workers=2)
    assert all(a.equals(b) for a, b in zip(alone, spread, strict=True))

def test_dask_cluster_gives_what_one_process_gives(cells, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, protocol="tcp", host="127.0.0.1") as cluster:
        spread = run_cells(noisy, cells, tmp_path / "dask", scheduler=cluster.scheduler_address)
    assert all(a.equals(b) for a, b in zip(run_cells(noisy, cells, tmp_path / "1"), spread, strict=True))
    assert len(list((tmp_path / "dask").glob("*.parquet"))) == 4

def test_no_scheduler_is_one_sentence(cells, tmp_path):
    with pytest.raises(StudyError, match="No Dask scheduler answers at tcp://127.0.0.1:9"): run_cells(noisy, cells, tmp_path, scheduler="tcp://127.0.0.1:9")

def test_a_full_disk_is_one_sentence_and_harms_nothing(cells, tmp_path):
    run_cells(noisy, cells[:1], tmp_path)
    kept = {path: path.read_bytes() for path in tmp_path.glob("*.parquet")}
    code = ("import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500)); from pathlib import Path; import numpy as np; from ser_study.study.fits import Cell, run_cells\n"
            "from ser_study.settings import StudyError; import pandas as pd\n"
            "def big(X): return pd.DataFrame(dict(value=X))\n"
            "try: run_cells(big, [Cell({}, dict(X=np.random.default_rng(0).normal(size=9999)))], Path(sys.argv[1]))\n"
            "except StudyError as error: print(error)")
    path = tmp_path / "full.py"; path.write_text(code)
    out = subprocess.run([sys.executable, str(path), str(tmp_path)], capture_output=True, text=True)
    assert "could not be kept" in out.stdout, out.stderr
    assert {p: p.read_bytes() for p in tmp_path.glob("*.parquet")} == kept and not list(tmp_path.glob("*.part"))

def test_another_configuration_or_array_never_shares_a_cell():
    base = dict(seed=1, n_neighbors=15, min_dist=0.1)
    keys = {cell_key("c", Cell({**base, name: value}, dict(X=np.zeros((4, 2))))) for name, value in (("seed", 1), ("seed", 2), ("n_neighbors", 16), ("min_dist", 0.2), ("min_dist", "0.1"))}
    keys |= {cell_key("c", Cell(base, dict(X=array))) for array in (np.ones((4, 2)), np.zeros((2, 4)), np.zeros((4, 2), "f4"))} | {cell_key("c", Cell(base, dict(Y=np.zeros((4, 2)))))}
    assert len(keys) == 9
    with pytest.raises(TypeError): array_fingerprint(np.array([{}], dtype=object))

def test_a_clustering_is_the_same_in_another_process(tmp_path):
    "The promise of determinism where it is hardest: UMAP, KMeans and HDBSCAN."
    X = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    cell = Cell(dict(seed=3, n_components=2, n_neighbors=10, min_dist=0.1, clusters=3, min_cluster_size=5), dict(X=X))
    here, = run_cells(cluster_cell, [cell], tmp_path / "here")
    code = f"import numpy as np; from pathlib import Path; from ser_study.study.fits import Cell, run_cells; from ser_study.study.clustering.fits import cluster_cell; run_cells(cluster_cell, [Cell({cell.configuration!r}, dict(X=np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)))], Path({str(tmp_path / 'there')!r}))"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    there = [*(tmp_path / "there").glob("*.parquet")]
    assert [path.name for path in there] == [path.name for path in (tmp_path / "here").glob("*.parquet")], "the same key"
    assert pd.read_parquet(there[0]).equals(here)
