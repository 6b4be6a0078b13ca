"Disks that tests fill and take away: real ones, mounted in memory."
import subprocess
from pathlib import Path


def mount(place: Path, size: int) -> bool:   # bytes
    "Mount an empty disk at a new folder; False where that is not allowed."
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place]
    return subprocess.run(command, capture_output=True).returncode == 0


def unmount(place: Path) -> None:
    "Take the disk away, though it may be in use."
    subprocess.run(["umount", "--lazy", place], check=True)


def fill(folder: Path, leave: int = 0) -> None:   # bytes
    "Fill the disk that a folder is on, except for some bytes."
    with open(folder / "fill", "wb", buffering=0) as file:
        try:
            while True: file.write(bytes(4096))
        except OSError: pass
        file.truncate(file.tell() - leave)


def make_read_only(folder: Path) -> None:
    "Forbid writing on a mounted disk."
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
