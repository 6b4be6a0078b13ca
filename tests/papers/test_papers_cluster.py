"""A paper whose features and fits are computed by a Dask scheduler and two workers, processes that share
nothing with the run but the disk: its tables are those of this machine, byte for byte."""
import pytest
from ser_study.features.cluster import local_cluster
from small_papers import digest, finish, start

pytestmark = pytest.mark.papers
distributed = pytest.importorskip("distributed")

def test_a_cluster_gives_the_tables_of_one_machine(tmp_path, monkeypatch):
    finish(start("01", tmp_path / "here", most="24"))
    with local_cluster(2) as address:
        monkeypatch.setenv("SER_STUDY_SCHEDULER", address)
        finish(start("01", tmp_path / "far", most="24"))
        with distributed.Client(address) as client:
            steps = client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.transition_counter)
        assert steps > 100, "the scheduler has dealt the work"
    for name in ("results.csv", "predictions.parquet"):
        assert digest(tmp_path / "far", name) == digest(tmp_path / "here", name)
