"""The rules of the house. A rule reads a copy of the checkout and returns its faults, one sentence each. Then
every rule gets a copy with a planted defect, because a rule that cannot fail guards nothing."""

import ast, configparser, functools, json, math, os, re
import shutil, subprocess, sys, sysconfig, tempfile, tomllib
from pathlib import Path

import pytest
from nbdev.config import nbdev_defaults
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
NARRATIVES = ("papers", "benchmarks", "tutorials")
ESSAYS = ("papers", "benchmarks")  # nothing is defined in them
WIDTH = 110  # characters of a line, in code
LONGEST_MODULE = 400  # lines
LONGEST_CELL = dict(library=40, narrative=15)  # lines once wrapped at WIDTH
MOST_WORDS = 800  # of the README
FLOORS = {
    2: "data",
    3: "features",
    4: "protocol",
    5: "models",
    6: "evaluation",
    7: "study",
    8: "site",
    9: "commands",
}


# What the rules look at


def notebooks(house, *folders):
    return sorted(path for folder in folders or [""] for path in (house / "nbs" / folder).rglob("*.ipynb"))


def cells(notebook):
    return json.loads(notebook.read_text(encoding="utf-8"))["cells"]


def code_cells(notebook):
    return [cell for cell in cells(notebook) if cell["cell_type"] == "code"]


def source(cell):
    return "".join(cell["source"])


def modules(house):
    return {path.relative_to(house).as_posix(): path for path in sorted((house / "ser_study").rglob("*.py"))}


def pyproject(house):
    return tomllib.loads((house / "pyproject.toml").read_text(encoding="utf-8"))


def nbdev(command, house):
    "Run an nbdev command in a folder. Without its mark of nbdev-test: nbdev does nothing where it sees that."
    environment = {name: value for name, value in os.environ.items() if name != "IN_TEST"}
    subprocess.run([program(command)], cwd=house, env=environment, check=True, capture_output=True)


def program(name):
    "A console program of this environment."
    return Path(sysconfig.get_path("scripts")) / name


# The rules


def notebooks_are_clean(house):
    "No outputs, no execution counts, and nothing that nbdev-clean would change."
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        cleaned = Path(folder)
        shutil.copytree(house / "nbs", cleaned / "nbs")
        shutil.copy(house / "pyproject.toml", cleaned)
        nbdev("nbdev-clean", cleaned)
        for path in notebooks(house):
            name = path.relative_to(house)
            if path.read_bytes() != (cleaned / name).read_bytes():
                faults.append(f"{name}: nbdev-clean would change it")
            if any(cell["outputs"] for cell in code_cells(path)):
                faults.append(f"{name}: holds outputs")
            if any(cell["execution_count"] for cell in code_cells(path)):
                faults.append(f"{name}: holds execution counts")
    return faults


def modules_are_in_step(house):
    "Exporting every notebook gives the committed modules, byte for byte, and no module lacks a notebook."
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        shutil.copytree(house / "nbs", fresh / "nbs")
        shutil.copy(house / "pyproject.toml", fresh)
        for name, path in modules(house).items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            if path.name == "__init__.py":
                shutil.copy(path, fresh / name)
        nbdev("nbdev-export", fresh)
        exported = {name: path.read_bytes() for name, path in modules(fresh).items()}
    committed = {name: path.read_bytes() for name, path in modules(house).items()}
    return (
        [f"{name}: stale, no notebook exports it" for name in committed.keys() - exported.keys()]
        + [f"{name}: not exported yet" for name in exported.keys() - committed.keys()]
        + [
            f"{name}: differs from its notebook"
            for name in exported.keys() & committed.keys()
            if exported[name] != committed[name]
        ]
    )


def floor(path):
    "(30, 'a') for a module exported from 30a_....ipynb; the package itself stands below every floor."
    if path.name == "__init__.py":
        return 0, ""
    header = re.search(r"File to edit: .*?(\d+)([a-z]?)_\w+\.ipynb", path.read_text(encoding="utf-8"))
    return (int(header[1]), header[2]) if header else None


def imported_names(path, house):
    "Everything a module imports, with full dotted names, at the top or inside a function."
    package = path.relative_to(house).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def floors_are_packages(house):
    "The first digit of a notebook's number is the package that its module stands in."
    faults = []
    for name, path in modules(house).items():
        if path.name in ("__init__.py", "_modidx.py") or not floor(path):
            continue
        number, parts = floor(path)[0], Path(name).parts
        wanted = FLOORS.get(number // 10)
        found = parts[1] if len(parts) > 2 else None
        if found != wanted:
            faults.append(f"{name}: notebook {number} belongs in {wanted or 'ser_study itself'}")
    return faults


def floors_hold(house):
    "A module imports only modules whose notebook has a lower number than its own."
    floors = {name: floor(path) for name, path in modules(house).items()}
    known = {name.removesuffix(".py").replace("/", "."): number for name, number in floors.items() if number}
    return [
        f"{name} imports {other}, which does not stand on a lower floor"
        for name, path in modules(house).items()
        if floors[name]
        for other in sorted(set(imported_names(path, house)) & known.keys())
        if known[other] >= floors[name]
    ]


def narratives_take_parameters(house):
    "Papers, benchmarks and tutorials have one `parameters` cell, export nothing, and are left to papermill."
    faults = []
    for folder in NARRATIVES:
        if not (house / "nbs" / folder / ".notest").exists():
            faults.append(f"nbs/{folder}: has no .notest, so nbdev-test would run it")
        if not notebooks(house, folder):
            faults.append(f"nbs/{folder}: holds no notebook")
    for path in notebooks(house, *NARRATIVES):
        tagged = [cell for cell in code_cells(path) if "parameters" in cell["metadata"].get("tags", [])]
        if len(tagged) != 1:
            faults.append(f"{path.name}: has {len(tagged)} cells tagged `parameters`")
        if any(re.search(r"(?m)^\s*#\s*\|\s*(export|default_exp)", source(cell)) for cell in cells(path)):
            faults.append(f"{path.name}: exports code, which belongs in a library notebook")
    return faults


def essays_define_nothing(house):
    "Papers and benchmarks call named functions of the library; they hold no function, class or lambda."
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    faults = []
    for path in notebooks(house, *ESSAYS):
        for position, cell in enumerate(cells(path)):
            if cell["cell_type"] != "code":
                continue
            for node in ast.walk(ast.parse(source(cell))):
                if isinstance(node, kinds):
                    faults.append(f"{path.name}: cell {position} defines {getattr(node, 'name', 'a lambda')}")
    return faults


def settings_stay_apart(house):
    "settings.ini is the study's; nbdev reads pyproject.toml, keeps papermill's tags and adds no links."
    ini, project = configparser.ConfigParser(interpolation=None), pyproject(house)
    ini.read_string((house / "settings.ini").read_text(encoding="utf-8"))
    theirs = (
        nbdev_defaults.keys()
        | project["tool"]["nbdev"].keys()
        | {"lib_name", "git_url", "doc_host", "doc_baseurl"}
    )
    keys = {key for section in ini.values() for key in section}
    faults = [
        f"settings.ini: {key} is nbdev's and belongs in pyproject.toml" for key in sorted(keys & theirs)
    ]
    if "tags" not in project["tool"]["nbdev"].get("allowed_cell_metadata_keys", []):
        faults.append(
            'pyproject.toml: without allowed_cell_metadata_keys = ["tags"], nbdev-clean strips papermill tags'
        )
    if "Documentation" in project["project"].get("urls", {}):
        faults.append("pyproject.toml: a Documentation url puts dead links into docstrings")
    return faults


def wrapped(text):
    "Lines of a text once it is wrapped."
    return sum(max(1, math.ceil(len(line) / WIDTH)) for line in text.splitlines())


def rooms_stay_small(house):
    "No long module, no long cell. A cell of parameters is as long as it must be."
    lengths = {
        name: len(path.read_text(encoding="utf-8").splitlines())
        for name, path in modules(house).items()
        if path.name != "_modidx.py"
    }
    faults = [
        f"{name}: {length} lines, more than {LONGEST_MODULE}"
        for name, length in lengths.items()
        if length > LONGEST_MODULE
    ]
    for path in notebooks(house):
        longest = LONGEST_CELL["narrative" if path.parent.name in NARRATIVES else "library"]
        for position, cell in enumerate(cells(path)):
            if cell["cell_type"] != "code" or "parameters" in cell["metadata"].get("tags", []):
                continue
            if wrapped(source(cell)) > longest:
                faults.append(
                    f"{path.name}: cell {position} has {wrapped(source(cell))} lines, more than {longest}"
                )
    return faults


def ruff_finds_nothing(house):
    "Line length, semicolons, unused names and missing docstrings (pyproject.toml says where)."
    command = [program("ruff"), "check", "--no-cache", "--output-format", "json", "."]
    found = json.loads(subprocess.run(command, cwd=house, capture_output=True, text=True).stdout)
    return [
        f"{Path(fault['filename']).relative_to(house.resolve())}, cell {fault.get('cell')}, "
        f"line {fault['location']['row']}: {fault['code']} {fault['message']}"
        for fault in found
    ]


LOOK = """
import json, sys, ser_study
loaded = sorted(name for name in sys.modules if name.startswith("ser_study."))
faults = [f"importing ser_study loads {name}" for name in loaded]
for name, module in ser_study._WHERE.items():
    try: found = getattr(ser_study, name)
    except (ImportError, AttributeError) as error:
        faults.append(f"{name}: {error}")
        continue
    if found.__module__ != f"ser_study.{module}": faults.append(f"{name}: defined in {found.__module__}")
    if not found.__doc__: faults.append(f"{name}: has no docstring")
if ser_study.__all__ != sorted(ser_study._WHERE): faults.append("__all__: is not the names")
print(json.dumps(faults))
"""


def face_names_what_is_there(house):
    "Each public name is defined where `ser_study` says, and importing the package loads no module."
    environment = {**os.environ, "PYTHONPATH": str(house)}
    done = subprocess.run(
        [sys.executable, "-c", LOOK], cwd=house, env=environment, capture_output=True, text=True
    )
    return json.loads(done.stdout) if done.returncode == 0 else [done.stderr.splitlines()[-1]]


def texts_name_no_machine(house):
    "No file names somebody's home folder, nor this checkout's, nor the folder its corpora lie in."
    own = {
        str(Path(place).resolve())
        for place in (ROOT, Path.home(), os.environ.get("SER_STUDY_CORPORA") or ROOT)
    } - {"/"}
    places = [
        r"/(?:home|Users)/[\w.-]+/",
        r"[A-Z]:\\+Users\\",
        *(rf"{re.escape(place)}(?![\w.-])" for place in sorted(own)),
    ]
    pattern = re.compile(r"(?<![\w.~})-])(?:" + "|".join(places) + ")")
    faults = []
    for path in sorted(path for path in house.rglob("*") if path.is_file()):
        content = path.read_bytes()
        found = None if b"\0" in content else pattern.search(content.decode("utf-8", "replace"))
        if found:
            faults.append(f"{path.relative_to(house)}: names {found[0]}")
    return faults


def two_commands_suffice(house):
    "README names the two commands, the Makefile has them, and CI calls both."
    wanted = [
        ("README.md", "make study"),
        ("README.md", "make test "),
        (".ci/run", "make study"),
        (".ci/run", "make test 2>&1"),
        ("Makefile", "\nstudy:"),
        ("Makefile", "\ntest:"),
    ]
    paths = {name: house / name for name, _ in wanted}
    texts = {name: path.read_text(encoding="utf-8") if path.exists() else "" for name, path in paths.items()}
    return [f"{name}: does not say {word.strip()!r}" for name, word in wanted if word not in texts[name]]


def readme_is_short(house):
    "At most MOST_WORDS words, and no number with decimals but in the findings, which are generated."
    text = (house / "README.md").read_text(encoding="utf-8")
    words = len(re.sub(r"\]\([^)]*\)|```.*?```", " ", text, flags=re.S).split())
    faults = [f"README.md: {words} words, more than {MOST_WORDS}"] if words > MOST_WORDS else []
    typed = re.sub(r"<!-- findings.*?<!-- end of findings -->|```.*?```", " ", text, flags=re.S)
    numbers = set(re.findall(r"(?<![\w.-])\d+\.\d+(?!\w|\.\d)", typed)) - {"3.11"}  # Python's
    return faults + [f"README.md: {number} is typed by hand" for number in sorted(numbers)]


def lock_fits(house):
    "requirements.lock pins every requirement within its range: no hashes, no build of one machine, no CUDA."
    lines = [
        line
        for line in (house / "requirements.lock").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    faults = [
        f"requirements.lock: {line!r} is not name==version"
        for line in lines
        if not re.fullmatch(r"[\w.-]+==[\w.!]+", line)
    ]
    pins = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    faults += [
        f"requirements.lock: {name} is CUDA's" for name in pins if re.match("nvidia|cuda|triton", name)
    ]
    project = pyproject(house)["project"]
    header = (house / "requirements.lock").read_text(encoding="utf-8").splitlines()[0]
    extras = re.search(r"\[(.+)\]", header)[1].split(",")  # those of the two commands; others are optional
    wanted = [line for extra in extras for line in project["optional-dependencies"][extra]]
    for requirement in map(Requirement, [*project["dependencies"], *wanted]):
        pin = pins.get(canonicalize_name(requirement.name))
        if not pin:
            faults.append(f"requirements.lock: lacks {requirement.name}")
        elif not requirement.specifier.contains(pin, prereleases=True):
            faults.append(f"requirements.lock: {requirement.name} {pin} is outside {requirement.specifier}")
    return faults


RULES = [
    notebooks_are_clean,
    modules_are_in_step,
    floors_are_packages,
    floors_hold,
    narratives_take_parameters,
    essays_define_nothing,
    settings_stay_apart,
    rooms_stay_small,
    ruff_finds_nothing,
    face_names_what_is_there,
    texts_name_no_machine,
    two_commands_suffice,
    readme_is_short,
    lock_fits,
]


# The checkout keeps them


def copy_checkout(target):
    "What git tracks or would track: neither caches nor environments."
    listing = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listing.split("\0")):
        if not (ROOT / name).is_file():
            continue  # deleted, and not committed yet
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target / name)
    return target


def copy_house(house, target):
    "A copy to plant a defect in, without predictions: no rule looks into them, and they are large."
    return shutil.copytree(house, target, ignore=shutil.ignore_patterns("*.parquet"))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    if not (ROOT / ".git").exists():
        pytest.skip("the rules are about a git checkout")
    return copy_checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def lowest_floor(checkout, tmp_path_factory):
    "The checkout with floor 1 alone: a second is enough to export, clean or import it."
    house = copy_house(checkout, tmp_path_factory.mktemp("lowest") / "house")
    for path in notebooks(house):
        if path.parent.name != "nbs" or not path.name.startswith("1"):
            path.unlink()
    for path in modules(house).values():
        if path.name != "__init__.py" and (floor(path) or (0, ""))[0] // 10 != 1:
            path.unlink()
    nbdev("nbdev-export", house)
    return house


@pytest.fixture(scope="module")
def faults():
    return functools.cache(lambda rule, house: rule(house))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_checkout_keeps(rule, checkout, faults):
    assert faults(rule, checkout) == []


def test_rules_see_the_house(checkout):
    assert notebooks(checkout) and len(modules(checkout)) > 2
    assert floor(checkout / "ser_study/settings.py") == (10, "") < (30, "") < (30, "a") < (31, "")
    assert "ser_study.settings" in set(imported_names(checkout / "ser_study/data/audio.py", checkout))


# And each rule can fail


def change_text(name, old, new):
    def plant(house):
        text = (house / name).read_text(encoding="utf-8")
        assert old in text
        (house / name).write_text(text.replace(old, new, 1), encoding="utf-8")

    return plant


def add_text(name, text):
    def plant(house):
        (house / name).parent.mkdir(parents=True, exist_ok=True)
        with open(house / name, "a", encoding="utf-8") as file:
            file.write(text)

    return plant


def change_cell(change, folder=""):
    "Change the first code cell of the first notebook of a folder (in a paper: its `parameters` cell)."

    def plant(house):
        path = notebooks(house, folder)[0]
        notebook = json.loads(path.read_text(encoding="utf-8"))
        code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        change(next((cell for cell in code if "tags" in cell["metadata"]), code[0]))
        path.write_text(
            json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8"
        )

    return plant


def change_last_cell(folder, lines):
    "Append lines to the last code cell of the first notebook of a folder."

    def plant(house):
        path = notebooks(house, folder)[0]
        notebook = json.loads(path.read_text(encoding="utf-8"))
        [cell for cell in notebook["cells"] if cell["cell_type"] == "code"][-1]["source"].extend(lines)
        path.write_text(
            json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8"
        )

    return plant


def drop_docstring(name, function):
    "Take the docstring of a function away."

    def plant(house):
        text = (house / name).read_text(encoding="utf-8")
        found = next(node for node in ast.parse(text).body if getattr(node, "name", "") == function)
        first, lines = found.body[0], text.splitlines(keepends=True)
        assert ast.get_docstring(found)
        kept = lines[: first.lineno - 1] + lines[first.end_lineno :]
        (house / name).write_text("".join(kept), encoding="utf-8")

    return plant


def remove(pattern):
    def plant(house):
        found = list(house.glob(pattern))
        assert found
        for path in found:
            path.unlink()

    return plant


def append_line(line):
    return lambda cell: cell["source"].append(f"\n{line}")


OUTPUT = {"name": "stdout", "output_type": "stream", "text": ["1\n"]}
HOME = "/".join(["", "home", "someone", "corpora"])
PAPER = "nbs/papers/01_toh2025_hybrid_clustering.ipynb"
PARAMETERS = {
    "cell_type": "code",
    "execution_count": None,
    "id": "0",
    "metadata": {"tags": ["parameters"]},
    "outputs": [],
    "source": [],
}
LABELS = "ser_study/labels.py"  # stands on 11, above settings (10)

PLANTS = {
    "output": (notebooks_are_clean, change_cell(lambda cell: cell["outputs"].append(OUTPUT))),
    "execution count": (notebooks_are_clean, change_cell(lambda cell: cell.update(execution_count=3))),
    "cell metadata": (notebooks_are_clean, change_cell(lambda cell: cell["metadata"].update(collapsed=True))),
    "other layout": (notebooks_are_clean, add_text("nbs/10_settings.ipynb", "\n\n")),
    "edited module": (modules_are_in_step, add_text(LABELS, "x = 1\n")),
    "edited notebook": (
        modules_are_in_step,
        change_text("nbs/11_labels.ipynb", "#| export\\n", "#| export\\n# changed\\n"),
    ),
    "stale module": (modules_are_in_step, add_text("ser_study/orphan.py", "x = 1\n")),
    "lost module": (modules_are_in_step, remove(LABELS)),
    "old index": (
        modules_are_in_step,
        change_text("ser_study/_modidx.py", "votes_to_distribution", "votes_to_distributions"),
    ),
    "import from above": (
        floors_hold,
        add_text("ser_study/settings.py", "from ser_study.labels import RAVDESS_EMOTIONS\n"),
    ),
    "relative import from above": (
        floors_hold,
        add_text("ser_study/settings.py", "from .labels import RAVDESS_EMOTIONS\n"),
    ),
    "package import from above": (
        floors_hold,
        add_text("ser_study/settings.py", "def f():\n    from . import labels\n"),
    ),
    "plain import from above": (
        floors_hold,
        add_text("ser_study/settings.py", "import ser_study.labels as there\n"),
    ),
    "import of itself": (floors_hold, add_text(LABELS, "import ser_study.labels\n")),
    "import in the package": (
        face_names_what_is_there,
        add_text("ser_study/__init__.py", "\nfrom ser_study.settings import StudyError\n"),
    ),
    "name in the wrong place": (
        face_names_what_is_there,
        change_text("ser_study/__init__.py", '"StudyError": "settings"', '"StudyError": "files"'),
    ),
    "name that is not there": (
        face_names_what_is_there,
        change_text("ser_study/__init__.py", '"StudyError": ', '"StudyErorr": '),
    ),
    "module on another floor": (
        floors_are_packages,
        change_text("ser_study/protocol/audit.py", "42_audit.ipynb", "52_audit.ipynb"),
    ),
    "module in the root": (
        floors_are_packages,
        change_text("ser_study/settings.py", "10_settings.ipynb", "20_settings.ipynb"),
    ),
    "function in a paper": (essays_define_nothing, change_cell(append_line("def f(): return 1"), "papers")),
    "lambda in a benchmark": (
        essays_define_nothing,
        change_cell(append_line("f = sorted([1], key=lambda x: x)"), "benchmarks"),
    ),
    "long line": (ruff_finds_nothing, change_cell(append_line(f"x = {'1' * WIDTH}"))),
    "semicolon": (ruff_finds_nothing, change_cell(append_line("x = 1; y = 2"))),
    "unused import": (ruff_finds_nothing, change_cell(append_line("import wave"))),
    "no docstring": (ruff_finds_nothing, drop_docstring(LABELS, "votes_to_distribution")),
    "wordy readme": (readme_is_short, add_text("README.md", "word " * MOST_WORDS)),
    "number in the readme": (readme_is_short, add_text("README.md", "\nThe silhouette is 0.46.\n")),
    "lost parameters": (
        narratives_take_parameters,
        change_cell(lambda cell: cell.update(metadata={}), "papers"),
    ),
    "second parameters": (
        narratives_take_parameters,
        change_text(PAPER, '"cells": [', f'"cells": [{json.dumps(PARAMETERS)},'),
    ),
    "exporting paper": (narratives_take_parameters, change_cell(append_line("#| export"), "papers")),
    "lost .notest": (narratives_take_parameters, remove("nbs/papers/.notest")),
    "no papers": (narratives_take_parameters, remove("nbs/papers/*.ipynb")),
    "nbdev key": (settings_stay_apart, change_text("settings.ini", "[study]", "[study]\nnbs_path = nbs")),
    "default section": (settings_stay_apart, add_text("settings.ini", "\n[DEFAULT]\nlib_name = ser_study\n")),
    "tags not allowed": (
        settings_stay_apart,
        change_text("pyproject.toml", 'allowed_cell_metadata_keys = ["tags"]', ""),
    ),
    "documentation url": (
        settings_stay_apart,
        add_text("pyproject.toml", '\n[project.urls]\nDocumentation = "x"\n'),
    ),
    "long module": (rooms_stay_small, add_text(LABELS, "# line\n" * LONGEST_MODULE)),
    "long cell": (
        rooms_stay_small,
        change_cell(lambda cell: cell["source"].extend(["\n# line"] * LONGEST_CELL["library"])),
    ),
    "wide cell": (rooms_stay_small, change_cell(append_line("# " + "wide " * 22 * LONGEST_CELL["library"]))),
    "long cell in a paper": (
        rooms_stay_small,
        change_last_cell("papers", ["\n# line"] * LONGEST_CELL["narrative"]),
    ),
    "home folder": (texts_name_no_machine, add_text("reports/note.md", f"see {HOME}/RAVDESS\n")),
    "this checkout": (
        texts_name_no_machine,
        add_text("reports/run.json", json.dumps({"corpora": str(ROOT)})),
    ),
    "windows home": (texts_name_no_machine, add_text("reports/note.md", "C:" + "\\Users\\someone\n")),
    "CI without the study": (two_commands_suffice, change_text(".ci/run", "make study", "true")),
    "quiet readme": (two_commands_suffice, change_text("README.md", "make test ", "")),
    "other CI": (two_commands_suffice, change_text(".ci/run", "make test 2>&1", "pytest")),
    "one machine's build": (
        lock_fits,
        change_text("requirements.lock", "torch==2.13.0", "torch==2.13.0+cpu"),
    ),
    "lost pin": (lock_fits, change_text("requirements.lock", "\npandera==", "\npandera-other==")),
    "pin out of range": (lock_fits, change_text("requirements.lock", "\npandera==", "\npandera==0.1.")),
    "CUDA": (lock_fits, add_text("requirements.lock", "nvidia-cublas==13.0\n")),
}


SLOW = (notebooks_are_clean, modules_are_in_step, face_names_what_is_there)  # on the whole house


@pytest.mark.parametrize("defect", PLANTS)
def test_rule_finds(defect, checkout, lowest_floor, faults, tmp_path):
    rule, plant = PLANTS[defect]
    original = lowest_floor if rule in SLOW else checkout
    house = copy_house(original, tmp_path / "house")
    plant(house)
    assert set(rule(house)) - set(faults(rule, original))
