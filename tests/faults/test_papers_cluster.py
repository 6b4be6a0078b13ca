"""A paper whose features and fits are computed by a Dask scheduler and two workers, processes that share
nothing with the run but the disk: its tables are those of this machine, byte for byte."""
import hashlib
import pytest
from small_papers import finish, report, start

pytestmark = pytest.mark.faults
distributed = pytest.importorskip("distributed")

def digests(house) -> dict[str, str]:
    "Of the run's tables."
    return {name: hashlib.sha256((report(house) / name).read_bytes()).hexdigest()
            for name in ("results.csv", "predictions.parquet")}

def test_a_cluster_gives_the_tables_of_one_machine(tmp_path, monkeypatch):
    finish(start("01", tmp_path / "here", most="24"))
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, protocol="tcp",
                                  host="127.0.0.1", dashboard_address=None) as cluster:
        monkeypatch.setenv("SER_STUDY_SCHEDULER", cluster.scheduler_address)
        finish(start("01", tmp_path / "far", most="24"))
    assert digests(tmp_path / "far") == digests(tmp_path / "here")
