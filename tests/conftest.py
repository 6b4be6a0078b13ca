"""What several tests need. They do not see a user's cache and runs: features and fits go to a cache that
lives as long as the tests and is one for all their processes, and committed reports are read through
`committed.committed_reports`."""
import atexit, os, shutil, tempfile
from pathlib import Path
import pytest
import disks

os.environ.pop("SER_STUDY_REPORTS", None)
if "PYTEST_XDIST_WORKER" not in os.environ:   # its processes inherit this one's
    os.environ["SER_STUDY_CACHE"] = tempfile.mkdtemp(prefix="ser_study-cache-")
    atexit.register(shutil.rmtree, os.environ["SER_STUDY_CACHE"])


LONG = ("test_papers_resume.py", "test_papers_cluster.py", "test_papers.py", "test_runs.py",
        "test_tutorial.py", "test_essays.py", "test_cli.py", "test_transcripts.py", "test_fits.py",
        "test_site_claims.py", "test_grids.py")


def pytest_collection_modifyitems(items):
    "The longest files first: a file goes to one process as a whole, and others would wait for the last one."
    order = {name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.name, len(LONG)))


@pytest.fixture(scope="session")
def corpora_root() -> Path:
    "The folder of the real corpora; a test that needs it is skipped where there is none."
    if not os.environ.get("SER_STUDY_CORPORA"):
        pytest.skip("SER_STUDY_CORPORA is unset: the real corpora are not looked for")
    return Path(os.environ["SER_STUDY_CORPORA"])


@pytest.fixture
def tmpfs(tmp_path):
    "A function that mounts a disk of some bytes; where mounting is not allowed, the test is skipped."
    mounted = []

    def mount(name: str, size: int) -> Path:
        if not disks.mount(tmp_path / name, size): pytest.skip("mounting is not allowed here")
        mounted.append(tmp_path / name)
        return tmp_path / name

    yield mount
    for place in mounted: disks.unmount(place)
