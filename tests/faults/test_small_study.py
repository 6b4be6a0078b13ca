"A study of seconds, run by `ser-study run`, is stopped, killed and left without a disk."
import os, random, signal, time
from pathlib import Path
import disks, psutil, pytest, small_study
from small_study import finish, kept_fits, kill, make, results, run, start, wait_for

pytestmark = pytest.mark.faults
STOPPED = "Stopped. Finished work is kept: run the same command again to continue."

@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    "A study that nothing happened to."
    root = make(tmp_path_factory.mktemp("whole"))
    assert run(root)[0] == 0
    return root

@pytest.fixture
def root(tmp_path) -> Path: return make(tmp_path / "study")

def left(root: Path) -> list[str]:
    "Temporary and unfinished files."
    parts = [str(path.relative_to(root)) for path in root.rglob("*.part")]
    return parts + [path.name for path in (root / "tmp").iterdir()]

def ended(children: list[psutil.Process], seconds: float) -> bool:
    "Whether they end within that time."
    return not psutil.wait_procs(children, timeout=seconds)[1]


# Signals

@pytest.mark.parametrize("way", ("Ctrl-C", "terminate"))
def test_a_stopped_run_says_what_is_kept_and_goes_on(way, root, whole):
    process = start(root, "-p", "seconds=0.5")
    wait_for(lambda: kept_fits(root) >= 2)
    children = psutil.Process(process.pid).children(recursive=True)
    if way == "Ctrl-C": os.killpg(process.pid, signal.SIGINT)   # as a terminal does
    else: process.terminate()
    assert finish(process) == (130, STOPPED)
    assert ended(children, 10) and left(root) == []
    before = {path: path.stat().st_mtime_ns for path in (root / "cache" / "fits").iterdir()}
    assert 2 <= len(before) < 6
    assert run(root, "-p", "seconds=0.5")[0] == 0 and kept_fits(root) == 6
    assert all(path.stat().st_mtime_ns == written for path, written in before.items())

def test_workers_and_kernel_end_with_a_killed_run_and_leave_no_file(root):
    process = start(root, "-p", "seconds=3")
    wait_for(lambda: len(psutil.Process(process.pid).children(recursive=True)) > 3)
    wait_for(lambda: (root / "cache" / "features").exists())
    time.sleep(2)
    children = kill(process)
    assert ended(children, 10) and left(root) == []
    mine = {str(child.pid) for child in children}
    assert not [name for name in os.listdir("/dev/shm") if mine & set(name.replace("_", "-").split("-"))]

@pytest.mark.parametrize("seed", range(3))
def test_a_run_killed_again_and_again_ends_with_the_same_tables(seed, root, whole):
    rng = random.Random(seed)
    for _ in range(4):
        process = start(root)
        time.sleep(rng.uniform(1, 15))
        if process.poll() is None: kill(process)
        else: finish(process)
    assert run(root)[0] == 0
    assert results(root) == results(whole) and left(root) == []


# Processes

def test_a_deadly_fit_is_named_when_the_others_are_kept(root):
    code, said = run(root, "-p", "deadly=3")
    assert code == 2 and said.startswith("1 of 6 fits could not be computed. draw, all, seed 3: the process")
    assert kept_fits(root) == 5 and not (root / "reports" / small_study.PAPER).exists()

def test_a_kernel_that_dies_is_one_sentence(root):
    code, said = run(root, "-p", "deadly=3", SER_STUDY_WORKERS="1")
    assert code == 2 and said.startswith("09_small_study: the process that worked on it died")
    assert kept_fits(root) == 2

def test_damage_is_computed_again_and_the_user_is_told(root, whole):
    assert run(root)[0] == 0
    victim = sorted((root / "cache" / "fits").iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:-3])
    process = start(root)
    errors = process.communicate()[1]
    assert "DamageWarning: 1 kept fits are damaged and are computed again" in errors
    assert results(root) == results(whole)


# Disks

def test_full_disks_are_one_sentence_and_leave_no_part(root, whole, tmpfs):
    cache, reports = tmpfs("cache", 2**20), tmpfs("reports", 2**20)
    disks.fill(cache)
    code, said = run(root, SER_STUDY_CACHE=str(cache))
    assert code == 2 and "features could not be written: No space left on device. Make room there" in said
    disks.fill(reports)
    code, said = run(root, SER_STUDY_REPORTS=str(reports))
    assert (code, kept_fits(root)) == (2, 0) and "No space left on device" in said, "noticed before any work"
    disks.fill(reports, leave=8192)
    code, said = run(root, SER_STUDY_REPORTS=str(reports))
    assert (code, kept_fits(root)) == (2, 6) and "could not be written: No space left on device" in said
    assert [path.name for path in reports.rglob("*") if path.is_file()] == ["fill"] and left(root) == []
    assert run(root)[0] == 0 and results(root) == results(whole)

def test_read_only_ground(root, whole, tmpfs):
    cache, reports, home = (tmpfs(name, 2**22) for name in ("cache", "reports", "home"))
    assert run(root)[0] == 0
    os.system(f"cp -r {root}/cache/. {cache}")
    for disk in (cache, reports, home): disks.make_read_only(disk)
    code, said = run(root, SER_STUDY_REPORTS=str(reports))
    assert code == 2 and "could not be written: Read-only file system" in said
    assert run(root, SER_STUDY_CACHE=str(cache), HOME=str(home))[0] == 0, "a complete cache is enough"
    assert results(root) == results(whole)
    code, said = run(root, "-p", "seeds=7", SER_STUDY_CACHE=str(cache))
    assert code == 2 and "could not be written: Read-only file system" in said

def test_a_full_home_costs_a_second_start_and_no_result(root, whole, tmpfs):
    home = tmpfs("home", 2**20)
    disks.fill(home)
    code, said = run(root, HOME=str(home))
    assert code == 0, said
    assert results(root) == results(whole)
