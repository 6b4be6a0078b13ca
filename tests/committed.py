"The committed reports. A user's own runs lie beside them in reports/, and no test may depend on those."
import atexit, functools, shutil, subprocess, tempfile
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
