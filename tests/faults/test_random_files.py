"""Ten thousand files, changed at random: each is read or refused, within ten seconds and a gigabyte."""
import pytest
from ser_study.study.benchmarks.faults import KINDS, fuzz, list_faults


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_every_file_is_read_or_refused(kind):
    found = fuzz(kind, 2500, seed=2)
    assert list_faults(found).empty, found.to_string()
    assert found.files.sum() == 2500 and found.peak_mb.max() < 1024 and found.slowest_s.max() < 10
