"""How legible a checkout is: `python tests/legibility.py [FOLDER]` prints figures for the library, papers,
benchmarks, tutorials and tests, and the number of modules in each package."""

import ast, json, sys
from collections import Counter
from pathlib import Path
import numpy as np
import pandas as pd

WIDTH = 110


def cells(notebook: Path, kind: str) -> list[str]:
    "The sources of a notebook's cells of one kind."
    found = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == kind]


def figures(code: list[str], prose: list[str]) -> dict:
    "What there is to count about cells, or about whole files."
    lines = [line for text in code for line in text.splitlines() if line.strip()]
    kinds = (ast.FunctionDef, ast.ClassDef)
    functions = sum(isinstance(node, kinds) for text in code for node in ast.walk(ast.parse(text)))
    sizes, characters = [len(text) for text in code], sum(map(len, code)) + sum(map(len, prose))
    return {
        "code lines": len(lines),
        "over 110": f"{sum(len(line) > WIDTH for line in lines) / len(lines):.1%}",
        "longest": max(map(len, lines)),
        "median of a cell": int(np.median(sizes)),
        "90th percentile": int(np.quantile(sizes, 0.9)),
        "largest": max(sizes),
        "prose": f"{sum(map(len, prose)) / characters:.0%}",
        "functions and classes": functions,
    }


def main(root: Path) -> None:
    "Print both tables."
    rows = {}
    folders = dict(library="nbs", papers="nbs/papers", benchmarks="nbs/benchmarks", tutorials="nbs/tutorials")
    for name, folder in folders.items():
        notebooks = sorted((root / folder).glob("*.ipynb"))
        code = [text for path in notebooks for text in cells(path, "code")]
        prose = [text for path in notebooks for text in cells(path, "markdown")]
        rows[name] = {"files": len(notebooks), **figures(code, prose)}
    tests = sorted((root / "tests").glob("*.py"))
    rows["tests"] = {"files": len(tests), **figures([path.read_text(encoding="utf-8") for path in tests], [])}
    print(pd.DataFrame(rows).to_string())
    modules = [path for path in (root / "ser_study").rglob("*.py") if not path.name.startswith("_")]
    packages = Counter(path.parent.relative_to(root).as_posix() for path in modules)
    print("\nModules:", ", ".join(f"{name} {count}" for name, count in sorted(packages.items())))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
