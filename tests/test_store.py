"The feature store under killed runs, two runs at once, a full disk and damage below LMDB."
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest

from ser_study.settings import StudyError
from ser_study.features.store import (FeatureStore, entries, extract, feature_key, fill, identity_hash, prune,
                                      text_key, verify)

# A process of its own: measures 150 texts, 5 ms each, and writes a line to a log for each one it really
# computes.
RUN = """
import os, sys, time, zlib
import numpy as np
from ser_study.features.store import FeatureStore, extract, text_key
class Slow:
    identity = dict(extractor="slow", size=64)
    def compute(self, items):
        log = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for position, text in enumerate(items):
            time.sleep(0.005)
            os.write(log, (text + "\\n").encode())
            yield position, np.random.default_rng(zlib.crc32(text.encode())).standard_normal(64)
texts = [f"utterance {i}" for i in range(150)]
values, failures = extract(FeatureStore(sys.argv[1]), Slow(), [text_key(t) for t in texts], texts)
assert not failures
np.save(sys.argv[3], np.stack(values))
"""


def expected() -> np.ndarray:
    "What RUN must end with, computed without the store."
    return np.stack([np.random.default_rng(zlib.crc32(f"utterance {i}".encode())).standard_normal(64)
                     for i in range(150)])


def start(folder: Path, table: str = "table.npy") -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", RUN, folder / "store", folder / "log", folder / table])


def kept(folder: Path) -> int:
    found = entries(FeatureStore(folder / "store"))
    return found[0].count if found else 0


@pytest.mark.parametrize("seed", range(3))
def test_killed_run_resumes_without_recomputing(tmp_path, seed):
    rng, log = random.Random(seed), tmp_path / "log"
    run = start(tmp_path)
    goal = rng.randint(5, 120)                  # killed when it has computed about this many
    while run.poll() is None and (not log.exists() or len(log.read_text().splitlines()) < goal):
        time.sleep(0.002)
    run.send_signal(signal.SIGKILL)
    run.wait()
    before, survived = len(log.read_text().splitlines()), kept(tmp_path)
    assert run.returncode == -signal.SIGKILL and before < 150
    assert before - survived <= 33, "no more is lost than one transaction and the value at work"
    assert start(tmp_path).wait() == 0
    assert len(log.read_text().splitlines()) - before == 150 - survived, "what was kept is not computed again"
    np.testing.assert_array_equal(np.load(tmp_path / "table.npy"), expected())
    assert verify(FeatureStore(tmp_path / "store")) == []


def test_killed_while_it_writes(tmp_path):
    "Killed at moments that fall into transactions: whatever can be read afterwards is right."
    writer = """
import sys, numpy as np
from ser_study.features.store import FeatureStore
store = FeatureStore(sys.argv[1])
for i in range(10**9): store.write({f"w:{i}": np.full(5000, i), f"w:{i}x": np.full(3, i)})
"""
    store, rng = FeatureStore(tmp_path / "store"), random.Random(0)
    for _ in range(4):
        run = subprocess.Popen([sys.executable, "-c", writer, tmp_path / "store"])
        while not entries(store): time.sleep(0.005)
        time.sleep(rng.uniform(0.1, 0.4))
        run.kill()
        run.wait()
        assert verify(store) == []
        with store.reading() as read:
            pairs = entries(store)[0].count // 2
            assert entries(store)[0].count % 2 == 0, "a transaction happened or did not"
            assert all((read(f"w:{i}") == i).all() and (read(f"w:{i}x") == i).all() for i in range(pairs))


def test_two_runs_at_once_end_with_one_table(tmp_path):
    runs = [start(tmp_path, f"table{i}.npy") for i in range(2)]
    assert [run.wait() for run in runs] == [0, 0]
    first, second = (np.load(tmp_path / f"table{i}.npy") for i in range(2))
    np.testing.assert_array_equal(first, expected())
    np.testing.assert_array_equal(first, second)
    assert kept(tmp_path) == 150 and verify(FeatureStore(tmp_path / "store")) == []


def test_the_first_value_stays_when_extractors_disagree(tmp_path):
    "An extractor that never gives the same value twice: two runs still hand out one table."
    class Random:
        identity = dict(extractor="random")
        def compute(self, items):
            for position, _ in enumerate(items): yield position, np.frombuffer(os.urandom(64), np.uint8)
    tables, texts = {}, [str(i) for i in range(100)]
    def work(name): tables[name] = extract(FeatureStore(tmp_path), Random(), [text_key(t) for t in texts],
                                           texts)[0]
    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    for name in range(1, 4): np.testing.assert_array_equal(tables[name], tables[0])


class Constant:
    "One vector of ones for each text, of a size that is part of the identity."
    def __init__(self, size: int): self.identity, self.size, self.computed = dict(extractor="constant",
        size=size), size, 0
    def compute(self, items):
        for position, _ in enumerate(items):
            self.computed += 1
            yield position, np.ones(self.size)


def test_another_parameter_is_another_key(tmp_path):
    store = FeatureStore(tmp_path)
    small, large = Constant(3), Constant(4)
    assert extract(store, small, [text_key("a")], ["a"])[0][0].shape == (3,)
    assert extract(store, large, [text_key("a")], ["a"])[0][0].shape == (4,)
    assert extract(store, small, [text_key("a")], ["a"])[0][0].shape == (3,)
    assert (small.computed, large.computed) == (1, 1)
    assert {e.hash: e.identity for e in entries(store)} == (
        {identity_hash(e.identity): e.identity for e in (small, large)})


def test_file_size_limit_is_one_sentence_and_harms_nothing(tmp_path):
    "The kernel does not let the file grow, as a full disk does; then the store is used without the limit."
    script = """
import resource, sys, numpy as np
from ser_study.settings import StudyError
from ser_study.features.store import FeatureStore
store = FeatureStore(sys.argv[1])
store.write({"k:0": np.zeros(1000)})
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, resource.RLIM_INFINITY))
try:
    for i in range(1, 1000): store.write({f"k:{i}": np.full(1000, i)})
except StudyError as error: print(i, error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.write({"k:last": np.ones(3)})
"""
    run = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    refused, sentence = run.stdout.split(" ", 1)
    assert "could not be read or written" in sentence and "File too large" in sentence
    assert sentence.count("\n") == 1
    store = FeatureStore(tmp_path)
    assert verify(store) == []
    with store.reading() as read:
        assert all((read(f"k:{i}") == i).all() for i in range(int(refused))) and read(f"k:{refused}") is None
        assert read("k:last") is not None


def test_full_store_stops_the_run_keeps_its_values_and_can_be_pruned(tmp_path):
    store = FeatureStore(tmp_path, limit=2**20)
    texts = [str(i) for i in range(300)]
    keys = [text_key(t) for t in texts]
    with pytest.raises(StudyError, match="is full"): fill(store, Constant(1000), keys, texts)
    survived = entries(store)[0].count
    assert 0 < survived < 300 and verify(store) == []
    assert prune(store, keep=()) > survived * 8000
    assert entries(store) == []
    fill(store, Constant(10), keys, texts)
    assert entries(store)[0].count == 300


def test_prune_drops_only_what_is_not_kept(tmp_path):
    store, small, large = FeatureStore(tmp_path), Constant(3), Constant(400)
    for extractor in (small, large): fill(store, extractor, [text_key(t) for t in "abc"], list("abc"))
    assert prune(store, keep={identity_hash(small.identity)}) > 3 * 400 * 8
    assert [(e.identity, e.count) for e in entries(store)] == [(small.identity, 3)]
    with store.reading() as read: assert read(feature_key(large.identity, text_key("a"))) is None


def test_flipped_byte_is_found_and_computed_again(tmp_path):
    store, extractor = FeatureStore(tmp_path), Constant(2000)
    keys = [text_key(t) for t in "abc"]
    fill(store, extractor, keys, list("abc"))
    content = bytearray((tmp_path / "data.mdb").read_bytes())
    content[content.rindex(np.ones(50).tobytes())] ^= 1
    with open(tmp_path / "data.mdb", "r+b") as file: file.write(content)
    bad = verify(store)
    assert len(bad) == 1 and bad[0] in {feature_key(extractor.identity, key) for key in keys}
    with store.reading() as read: assert read(bad[0]) is None
    with pytest.warns(UserWarning, match="1 kept values fail their checksum"):
        values, _ = extract(store, extractor, keys, list("abc"))
    assert extractor.computed == 4 and all((value == 1).all() for value in values)
    assert verify(store) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        extract(store, extractor, keys, list("abc"))


def test_views_are_of_the_file_and_read_only(tmp_path):
    store = FeatureStore(tmp_path)
    store.write({"k:large": np.ones((1000, 100), "float32"), "k:small": np.ones(5)})
    with store.reading() as read:
        for key in ("k:large", "k:small"):
            with pytest.raises(ValueError, match="read-only"): read(key)[0] = 2
        with pytest.raises(ValueError): read("k:large").flags.writeable = True
        addresses = {read("k:large").__array_interface__["data"][0] for _ in range(5)}
        assert len(addresses) == 1
        assert not read("k:large").flags.owndata, "every view is of the same memory: the file's"
        store.write({"k:later": np.ones(1)})
        assert read("k:later") is None, "a block reads the store as it was when the block began"


def test_a_forked_child_and_its_parent_both_use_the_store(tmp_path):
    store = FeatureStore(tmp_path)
    store.write({"k:parent": np.ones(3)})
    child = os.fork()
    if child == 0:
        try:
            with store.reading() as read: assert read("k:parent") is not None
            store.write({"k:child": np.ones(2)})
            os._exit(0)
        finally: os._exit(1)
    store.write({"k:after": np.ones(1)})
    assert os.waitpid(child, 0)[1] == 0
    with store.reading() as read:
        assert [read(f"k:{k}").size for k in ("parent", "child", "after")] == [3, 2, 1]


def test_a_deleted_cache_is_made_anew(tmp_path):
    store = FeatureStore(tmp_path / "cache" / "store")
    store.write({"k:1": np.ones(3)})
    shutil.rmtree(tmp_path / "cache")
    with store.reading() as read: assert read("k:1") is None
    store.write({"k:2": np.ones(3)})
    assert entries(FeatureStore(tmp_path / "cache" / "store"))[0].count == 1


def test_impossible_folder_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StudyError, match="could not be written: Not a directory"):
        FeatureStore(tmp_path / "file" / "store").write({"k:1": np.ones(1)})


def test_a_file_that_is_no_store_is_one_sentence(tmp_path):
    (tmp_path / "data.mdb").write_bytes(os.urandom(8192))
    with pytest.raises(StudyError, match="delete that folder"): entries(FeatureStore(tmp_path))


def test_interrupted_run_keeps_what_it_had(tmp_path):
    class Interrupted(Constant):
        def compute(self, items):
            yield from list(super().compute(items))[:7]
            raise KeyboardInterrupt
    store = FeatureStore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fill(store, Interrupted(5), [text_key(t) for t in "abcdefghij"], list("abcdefghij"))
    assert entries(store)[0].count == 7


def test_failures_are_told_for_every_row_that_has_the_content(tmp_path):
    class Picky(Constant):
        def compute(self, items):
            for position, text in enumerate(items):
                yield position, StudyError(f"{text} is bad") if text == "b" else np.ones(1)
    texts = ["a", "b", "a", "b"]
    values, failures = extract(FeatureStore(tmp_path), Picky(1), [text_key(t) for t in texts], texts)
    assert failures == {1: "b is bad", 3: "b is bad"}
    assert [value is None for value in values] == [False, True, False, True]
