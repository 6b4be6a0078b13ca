"""What several tests need."""
import os
from pathlib import Path
import pytest


@pytest.fixture(scope="session")
def corpora_root() -> Path:
    "The folder of the real corpora; a test that needs it is skipped where there is none."
    if not os.environ.get("SER_STUDY_CORPORA"): pytest.skip("SER_STUDY_CORPORA is unset: the real corpora are not looked for")
    return Path(os.environ["SER_STUDY_CORPORA"])
