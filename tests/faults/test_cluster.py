"Fits on a Dask cluster that loses workers or its scheduler."
import os, subprocess, sys, time
from pathlib import Path
import numpy as np, pandas as pd, pytest
from ser_study.features import cluster as clusters
from ser_study.settings import StudyError
from ser_study.study.fits import Task, run_fits

pytestmark = pytest.mark.faults
distributed = pytest.importorskip("distributed")

def die(X: np.ndarray, seed: int, deadly: int, seconds: float) -> tuple[pd.DataFrame, dict]:
    if seed == deadly: os._exit(1)
    time.sleep(seconds)
    return pd.DataFrame(dict(value=X * seed)), {}

def tasks(deadly: int = 0, seconds: float = .1) -> list[Task]:
    fixed = dict(deadly=deadly, seconds=seconds)
    return [Task(dict(seed=seed, **fixed), dict(X=np.arange(3.))) for seed in range(1, 9)]

def kept(folder: Path) -> int: return len(list(folder.glob("*.parquet")))

def test_a_deadly_fit_is_named_when_the_others_are_kept(tmp_path):
    with clusters.local_cluster(2) as address:
        with pytest.raises(StudyError, match="^1 of 8 fits could not be .*'seed': 3.*: the process"):
            run_fits(die, tasks(deadly=3), tmp_path, scheduler=address)
        assert kept(tmp_path) == 7
        assert len(run_fits(die, tasks(), tmp_path, scheduler=address)) == 8

@pytest.fixture
def cluster(tmp_path):
    "Processes of a scheduler and of two workers that nobody starts again, and the scheduler's address."
    program, folder = Path(sys.executable).with_name("dask"), Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:{folder}"}
    def launch(*command):
        command = [program, *command, "--no-dashboard"]
        return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    file = tmp_path / "scheduler.json"
    scheduler = launch("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", file)
    while not file.exists(): time.sleep(.1)
    some = [launch("worker", "--scheduler-file", file, "--nthreads", "1", "--no-nanny") for _ in range(2)]
    with distributed.Client(scheduler_file=str(file)) as client:
        client.wait_for_workers(2, timeout=60)
        address = client.scheduler.address
    yield scheduler, some, address
    for process in (scheduler, *some): process.kill()
    for process in (scheduler, *some): process.wait()

@pytest.mark.parametrize("lost", ("scheduler", "workers"))
def test_a_lost_cluster_is_one_sentence(lost, cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(clusters, "PATIENCE", 5)
    scheduler, some, address = cluster
    strike = f"""
import os, signal, sys, time
from pathlib import Path
while len(list(Path(sys.argv[1]).glob("*.parquet"))) < 2: time.sleep(.05)
for pid in sys.argv[2:]: os.kill(int(pid), signal.SIGKILL)
"""
    victims = [scheduler] if lost == "scheduler" else some
    pids = [str(process.pid) for process in victims]
    striker = subprocess.Popen([sys.executable, "-c", strike, tmp_path / "fits", *pids])
    wanted = "scheduler at .* is lost" if lost == "scheduler" else "has had no worker for 5 seconds"
    with pytest.raises(StudyError, match=f"{wanted}.*Finished work is kept"):
        run_fits(die, tasks(seconds=1), tmp_path / "fits", scheduler=address)
    assert striker.wait() == 0 and 2 <= kept(tmp_path / "fits") < 8
