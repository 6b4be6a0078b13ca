"""What several tests need. They do not see a user's cache and runs: features and fits go to a cache that
lives as long as the tests, and committed reports are read through `committed.committed_reports`."""
import atexit, os, shutil, tempfile
from pathlib import Path
import pytest

os.environ.pop("SER_STUDY_REPORTS", None)
os.environ["SER_STUDY_CACHE"] = tempfile.mkdtemp(prefix="ser_study-cache-")
atexit.register(shutil.rmtree, os.environ["SER_STUDY_CACHE"])


@pytest.fixture(scope="session")
def corpora_root() -> Path:
    "The folder of the real corpora; a test that needs it is skipped where there is none."
    if not os.environ.get("SER_STUDY_CORPORA"):
        pytest.skip("SER_STUDY_CORPORA is unset: the real corpora are not looked for")
    return Path(os.environ["SER_STUDY_CORPORA"])
