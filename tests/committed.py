"The committed reports. A user's own runs lie beside them in reports/, and no test may depend on those."
import atexit, functools, os, shutil, subprocess, sys, tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

def committed_files() -> list[Path]:
    "The committed files under reports/; without git, all files but the demo runs and the site."
    listed = subprocess.run(["git", "ls-files", "-z", "reports"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0: return [ROOT / name for name in listed.stdout.split("\0") if name]
    files = [path for path in (ROOT / "reports").rglob("*") if path.is_file()]
    return [path for path in files if not any(part.startswith(("demo", "site")) for part in path.parts)]

@functools.cache
def committed_reports() -> Path:
    "A folder like reports/ with links to the committed files; it is removed when the tests end."
    folder = Path(tempfile.mkdtemp(prefix="ser_study-reports-"))
    atexit.register(shutil.rmtree, folder)
    for path in filter(Path.is_file, committed_files()):
        place = folder / path.relative_to(ROOT / "reports")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(path)
    return folder

def link_runs(folder: Path) -> Path:
    "`folder`/reports with the committed runs of the five papers, and nothing of what reads them."
    reports = folder / "reports"
    reports.mkdir()
    for paper in committed_reports().glob("0[1-5]_*"): (reports / paper.name).symlink_to(paper)
    return reports

def run_essay(number: str, reports: Path) -> Path:
    "The folder of an essay that reads the runs under `reports`, such as the summary, 06."
    settings = {"SER_STUDY_REPORTS": str(reports), "SER_STUDY_CACHE": str(reports.parent / "cache")}
    program = Path(sys.executable).with_name("ser-study")
    done = subprocess.run([program, "run", number], cwd=ROOT, env={**os.environ, **settings},
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return next(reports.glob(f"{number}_*/all"))
