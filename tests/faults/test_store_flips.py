"A flipped bit anywhere in LMDB's own structures never makes the store hand out another clip's values."
import subprocess, sys
import pytest

pytestmark = pytest.mark.faults

# Each flip is met by a child of its own, because a damaged file can kill the process that maps it.
SCRIPT = """
import os, shutil, sys, warnings
from pathlib import Path
import numpy as np
from ser_study.features.store import FeatureStore, extract, text_key
from ser_study.settings import StudyError
class Noise:
    def __init__(self, size): self.identity, self.size = dict(extractor="noise", size=size), size
    def of(self, text): return np.random.default_rng(int(text)).standard_normal(self.size)
    def compute(self, texts):
        for position, text in enumerate(texts): yield position, self.of(text)
home, sizes, texts = Path(sys.argv[1]), (5, 88, 2000), [str(number) for number in range(120)]
keys = [text_key(text) for text in texts]
def right(store):
    "Whether every value is what its text gives."
    for size in sizes:
        values, _ = extract(store, Noise(size), keys, texts)
        if not all(np.array_equal(a, Noise(size).of(text)) for a, text in zip(values, texts)): return False
    return True
assert right(FeatureStore(home / "whole"))
whole = (home / "whole" / "data.mdb").read_bytes()
"""
FLIP = """
import random
rng, page = random.Random(int(sys.argv[2])), 4096
pages = [n for n in range(len(whole) // page)
         if whole[n * page:n * page + 8] == n.to_bytes(8, "little") and whole[n * page + 10] in (1, 2, 8)]
warnings.simplefilter("ignore")
seen = []
for _ in range(int(sys.argv[3])):
    place = rng.choice(pages) * page + (rng.randrange(64) if rng.random() < .6 else rng.randrange(page))
    shutil.rmtree(home / "flipped", ignore_errors=True)
    (home / "flipped").mkdir()
    (home / "flipped" / "data.mdb").write_bytes(
        whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + 1:])
    if not (child := os.fork()):
        code = 3
        try: code = 0 if right(FeatureStore(home / "flipped")) else 4
        except StudyError: code = 1
        finally: os._exit(code)
    seen.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(*seen)
"""


@pytest.mark.parametrize("seed", range(2))
def test_no_flipped_bit_gives_a_wrong_value(seed, tmp_path):
    command = [sys.executable, "-c", SCRIPT + FLIP, tmp_path, str(seed), "200"]
    done = subprocess.run(command, capture_output=True, text=True)
    seen = [int(code) for code in done.stdout.split()]
    assert len(seen) == 200, done.stderr[-2000:]
    right, sentence = seen.count(0), seen.count(1)
    killed = sum(code < 0 for code in seen)
    assert right + sentence + killed == 200, "no wrong value and no traceback"
    assert right > 100 and sentence > 0 and killed < 5
