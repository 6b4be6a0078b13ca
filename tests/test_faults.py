"""Results that took hours survive what happens to a machine, and what is damaged is never believed: real
flipped bits, cut files, full and read-only disks, processes that die. Longer ones are in tests/faults."""
import os, random, shutil, signal, subprocess, sys
from pathlib import Path
import numpy as np, pandas as pd, pytest
import disks
from ser_study.features.store import FeatureStore, entries, extract, feature_key, text_key, verify
from ser_study.features.workers import ProcessDied, run_apart
from ser_study.files import DamageWarning, check_writable, write_together, write_whole
from ser_study.settings import StudyError
from ser_study.study import fits
from ser_study.study.fits import Fit, Task, run_fits, verify_fits


# What is kept proves itself: fits

def make_fit(rows: int) -> Fit:
    "Predictions as a study keeps them: names (one is missing), integers, floats of two widths, truth values."
    rng = np.random.default_rng(rows)
    names = np.array([f"utterance {number}" for number in range(rows)], object)
    names[0] = None
    table = pd.DataFrame(dict(utterance=names, fold=rng.integers(0, 5, rows), right=rng.random(rows) < .5,
                              wide=rng.normal(size=rows), narrow=rng.normal(size=rows).astype("f4")))
    return Fit(table, dict(loss=[.5, .25], wall_s=1.5))

def same(a: Fit, b: Fit) -> bool:
    return a.table.equals(b.table) and (a.table.dtypes == b.table.dtypes).all() and a.facts == b.facts

@pytest.mark.parametrize("rows", (3, 40, 400))
def test_no_flipped_bit_of_a_kept_fit_is_believed(rows, tmp_path):
    path, rng, believed = tmp_path / "fit.parquet", random.Random(rows), 0
    fits._keep(make_fit(rows), path)
    whole, kept = path.read_bytes(), fits._kept(path)
    assert same(kept, make_fit(rows))
    for _ in range(300):
        place, bit = rng.randrange(len(whole)), rng.randrange(8)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1:])
        found = fits._kept(path)
        believed += found is not None and not same(found, kept)
    assert believed == 0

def double(X: np.ndarray, seed: int) -> tuple[pd.DataFrame, dict]: return pd.DataFrame(dict(value=2 * X)), {}

def test_a_damaged_fit_is_named_and_computed_again_with_a_warning(tmp_path):
    tasks = [Task(dict(seed=seed), dict(X=np.arange(3.))) for seed in range(3)]
    before = run_fits(double, tasks, tmp_path)
    victim = sorted(tmp_path.iterdir())[1]
    victim.write_bytes(victim.read_bytes()[:-1])
    assert verify_fits(tmp_path) == [victim]
    with pytest.warns(DamageWarning, match="1 kept fits are damaged"):
        after = run_fits(double, tasks, tmp_path)
    assert all(a.table.equals(b.table) for a, b in zip(before, after)) and verify_fits(tmp_path) == []


# What is kept proves itself: features

class Noise:
    "A vector of noise for each text, drawn from the text."
    def __init__(self, size: int): self.identity, self.size = dict(extractor="noise", size=size), size
    def compute(self, texts):
        for position, text in enumerate(texts): yield position, self.of(text)
    def of(self, text: str) -> np.ndarray: return np.random.default_rng(int(text)).normal(size=self.size)

TEXTS = [str(number) for number in range(40)]
KEYS = [text_key(text) for text in TEXTS]

@pytest.fixture
def store(tmp_path) -> FeatureStore:
    "Small values, which share LMDB's pages, and large ones."
    made = FeatureStore(tmp_path / "features")
    for size in (5, 2000): extract(made, Noise(size), KEYS, TEXTS)
    return made

def move(store: FeatureStore, key: str, other: str, old: bool) -> None:
    "Copy a value under another key; `old`: without the checksum of the key, as in old stores."
    with store.transaction(write=True) as transaction:
        value = bytes(transaction.get(key.encode()))
        transaction.put(other.encode(), value[:4] + bytes(4) + value[8:] if old else value)

def test_a_value_under_another_key_is_not_believed(store):
    here, there = (feature_key(Noise(5).identity, key) for key in KEYS[:2])
    move(store, here, there, old=False)
    assert verify(store) == [there]
    with pytest.warns(DamageWarning, match="1 kept values fail"):
        values, _ = extract(store, Noise(5), KEYS, TEXTS)
    assert all((value == Noise(5).of(text)).all() for value, text in zip(values, TEXTS))
    assert verify(store) == []

def test_values_of_old_stores_are_read_and_their_damage_is_found(store):
    key = feature_key(Noise(5).identity, KEYS[0])
    move(store, key, key, old=True)
    assert verify(store) == []
    with store.reading() as read: assert (read(key) == Noise(5).of("0")).all()
    with store.transaction(write=True) as transaction:
        value = bytearray(transaction.get(key.encode()))
        value[-1] ^= 1
        transaction.put(key.encode(), bytes(value))
    assert verify(store) == [key]

def test_keys_that_are_no_text_are_listed(store):
    with store.transaction(write=True) as transaction:
        for key in (b"\xff\xfe:\x80", b"no colon"): transaction.put(key, b"nothing that was encoded")
    assert set(verify(store)) == {"\\xff\\xfe:\\x80", "no colon"}
    assert {"\\xff\\xfe", "no colon"} <= {entry.hash for entry in entries(store)}

def test_a_value_that_is_not_found_after_it_was_written_is_an_error(store, monkeypatch):
    "As after a flipped bit in LMDB's order of keys: the new value is put where nothing looks for it."
    write = FeatureStore.write
    monkeypatch.setattr(FeatureStore, "write", lambda self, values: write(
        self, {key[::-1] if key.endswith(text_key("99")) else key: value for key, value in values.items()}))
    with pytest.raises(StudyError, match="is damaged .1 values cannot be found after they were written"):
        extract(store, Noise(5), [*KEYS, text_key("99")], [*TEXTS, "99"])


# Memory maps

READ = """
import sys
from pathlib import Path
from ser_study.features.store import FeatureStore, verify
from ser_study.settings import StudyError
try: print(len(verify(FeatureStore(Path(sys.argv[1])))), "damaged")
except StudyError as error: print(error)
"""

def read_apart(folder: Path) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-c", READ, folder], capture_output=True, text=True)
    return done.returncode, done.stdout.strip()

@pytest.mark.parametrize("part", (.001, .3, .9))
def test_a_cut_store_is_one_sentence(store, part):
    "Mapped, its missing pages would kill the process."
    data = store.folder / "data.mdb"
    os.truncate(data, int(data.stat().st_size * part))
    code, said = read_apart(store.folder)
    assert code == 0 and "is damaged" in said and "bytes are there" in said and "delete that folder" in said

def test_a_store_on_a_full_disk_is_one_sentence(tmpfs):
    disk = tmpfs("full", 2**20)
    disks.fill(disk)
    code, said = read_apart(disk / "features")
    assert code == 0 and "features could not be written: No space left on device" in said

def test_a_store_on_a_disk_that_fills_up_keeps_what_it_has(tmpfs):
    disk = tmpfs("small", 2**20)
    store = FeatureStore(disk / "features")
    with pytest.raises(StudyError, match=r"could not be read or written: .*\(0 MB are free there\)"):
        extract(store, Noise(2000), KEYS * 3, TEXTS * 3)
        extract(store, Noise(2001), KEYS, TEXTS)
        extract(store, Noise(2002), KEYS, TEXTS)
    assert read_apart(disk / "features") == (0, "0 damaged")

def test_a_complete_cache_is_read_from_read_only_ground(tmpfs, tmp_path):
    disk, made = tmpfs("disk", 2**22), tmp_path / "made"
    extract(FeatureStore(made / "features"), Noise(5), KEYS, TEXTS)
    run_fits(double, [Task(dict(seed=1), dict(X=np.arange(3.)))], made / "fits")
    shutil.copytree(made, disk, dirs_exist_ok=True)
    disks.make_read_only(disk)
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_faults import *
disk = Path(sys.argv[1])
print(len(extract(FeatureStore(disk / "features"), Noise(5), KEYS, TEXTS)[0]))
print(len(run_fits(double, [Task(dict(seed=1), dict(X=np.arange(3.)))], disk / "fits")))
for attempt in (lambda: extract(FeatureStore(disk / "features"), Noise(6), KEYS, TEXTS),
                lambda: run_fits(double, [Task(dict(seed=2), dict(X=np.arange(3.)))], disk / "fits")):
    try: attempt()
    except StudyError as error: print(error)
"""
    done = subprocess.run([sys.executable, "-c", code, disk], capture_output=True, text=True)
    values, found, features, fit = done.stdout.splitlines()
    assert (values, found) == ("40", "1"), done.stderr
    assert "lacks values and cannot be written" in features and "Read-only file system" in fit


# Workers

def die(seed: int, how: str) -> tuple[pd.DataFrame, dict]:
    if seed == 2 and how == "exit": os._exit(1)
    if seed == 2 and how == "kill": os.kill(os.getpid(), signal.SIGKILL)
    return pd.DataFrame(dict(seed=[seed])), {}

@pytest.mark.parametrize("how", ("exit", "kill"))
def test_a_fit_that_kills_its_process_is_named_and_costs_itself_only(how, tmp_path):
    tasks = [Task(dict(seed=seed, how=how)) for seed in range(6)]
    names = [f"BiLSTM, fold 3, seed {seed}" for seed in range(6)]
    with pytest.raises(StudyError, match="^1 of 6 fits could not be .* BiLSTM, fold 3, seed 2: ") as told:
        run_fits(die, tasks, tmp_path, workers=2, names=names)
    assert "seed 1" not in str(told.value) and len(list(tmp_path.iterdir())) == 5
    others = [task for task in tasks if task.configuration["seed"] != 2]
    assert [fit.table.seed[0] for fit in run_fits(die, others, tmp_path)] == [0, 1, 3, 4, 5]

def test_what_kills_its_process_can_be_run_apart():
    assert run_apart(abs, -2) == 2
    with pytest.raises(ProcessDied): run_apart(os._exit, 1)

@pytest.mark.parametrize("address", ("nonsense", "http://127.0.0.1:80", "tcp://127.0.0.1:port"))
def test_a_wrong_scheduler_is_one_sentence(address, tmp_path):
    pytest.importorskip("distributed")
    with pytest.raises(StudyError, match=f"^No Dask scheduler answers at {address}: an address is like"):
        run_fits(double, [Task(dict(seed=1), dict(X=np.arange(3.)))], tmp_path, scheduler=address)
    assert list(tmp_path.iterdir()) == []


# Files

def test_cleaning_up_never_hides_the_first_error(tmp_path, monkeypatch):
    def refuse(self, *args, **kwargs): raise OSError(5, "Input/output error")
    def full(self, content): raise OSError(28, "No space left on device")
    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StudyError, match="No space left on device"): write_whole(tmp_path / "a.csv", "x")

def test_an_interrupted_file_leaves_no_part(tmp_path, monkeypatch):
    def interrupt(source, target): raise KeyboardInterrupt
    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt): write_whole(tmp_path / "a.csv", "x")
    assert list(tmp_path.iterdir()) == []

def test_tables_that_belong_together_change_together(tmpfs):
    disk = tmpfs("disk", 2**20)
    write_together({disk / "results.csv": "old", disk / "run.json": "old"})
    disks.fill(disk, leave=8192)
    with pytest.raises(StudyError, match="run.json could not be written: No space left on device"):
        write_together({disk / "results.csv": "new", disk / "run.json": "n" * 2**17})
    assert [(path.name, path.read_text()) for path in sorted(disk.glob("r*"))] == [
        ("results.csv", "old"), ("run.json", "old")]
    assert {path.name for path in disk.iterdir()} == {"results.csv", "run.json", "fill"}

def test_a_folder_that_cannot_be_written_is_noticed_before_any_work(tmpfs):
    disk = tmpfs("disk", 2**20)
    disks.fill(disk)
    with pytest.raises(StudyError, match="No space left on device"): check_writable(disk)
    disks.make_read_only(disk)
    with pytest.raises(StudyError, match="Read-only file system"): check_writable(disk / "reports")
