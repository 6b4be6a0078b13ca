"""Sweeps by the command, in a clone whose one paper takes a second: every combination runs, a failing one
stops none, and the page holds the numbers of the runs."""
import os, re, shutil, subprocess, sys
from pathlib import Path
import nbformat, numpy as np, pandas as pd, pytest, soundfile
from ser_study.commands.grids import most_moved, read_sweep, run_grid
from ser_study.settings import StudyError, load_settings
from ser_study.site.reports import read_notebook, title_and_question
from ser_study.study.folders import name_corpora

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ['''corpora = "calls.csv"  # tables
seed = 1               # the seed
gain = 0.1             # of the system''',
'''import pandas as pd
from ser_study.evaluation.published import RESULTS
from ser_study.study.runs import Run
from ser_study.settings import StudyError, load_settings
run = Run("01_tiny", globals(), load_settings())
if (seed, gain) == (3, .1): raise StudyError("Three is no seed.")
if (seed, gain) == (3, .3): 1 / 0
moves, stays = .3 + gain, .5 + seed / 1000
rows = [dict(row="moves", published=.6, reproduced=moves, low=moves - .05, high=moves + .05),
        dict(row="stays", published=.6, reproduced=stays, low=stays - .05, high=stays + .05),
        dict(row="no interval", published=.6, reproduced=9 * gain, low=9 * gain, high=9 * gain),
        dict(row="ours alone", reproduced=gain * 9, low=0, high=1)]
place = dict(paper="01_tiny", item="Table 1", column="UA", protocol="paper", corpus=corpora, profile="demo")
table = pd.DataFrame(rows).assign(**place, n=3, seeds=1, comparable="replication", verdict="")
table = table.reindex(columns=RESULTS)
run.write(table, table[["row"]], corpora={}, checkpoints={}, seeds=[seed], defects=[])''']


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    "A project of its own, with one small paper and two tables."
    clone = tmp_path_factory.mktemp("clone")
    (clone / "nbs/papers").mkdir(parents=True)
    shutil.copy(ROOT / "settings.ini", clone)
    v4 = nbformat.v4
    cells = [v4.new_markdown_cell("# Tiny\n\n> Does it run?"),
             v4.new_code_cell(NOTEBOOK[0], metadata=dict(tags=["parameters"])), v4.new_code_cell(NOTEBOOK[1])]
    nbformat.write(v4.new_notebook(cells=cells,
                                   metadata=dict(kernelspec=dict(name="python3", display_name="python3",
                                                                 language="python"))),
                   clone / "nbs/papers/01_tiny.ipynb")
    soundfile.write(clone / "a.wav", np.random.default_rng(1).normal(0, .1, 8000), 16000)
    for name in ("calls", "more"):
        pd.DataFrame([dict(path="a.wav", emotion="anger")]).to_csv(clone / f"{name}.csv", index=False)
    return clone

def call(clone: Path, *arguments: str) -> subprocess.CompletedProcess:
    own = {name: value for name, value in os.environ.items() if not name.startswith("SER_STUDY_")}
    return subprocess.run([Path(sys.executable).with_name("ser-study"), "run", "01", *arguments], cwd=clone,
                          env=own | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)


@pytest.fixture(scope="module")
def swept(clone) -> tuple[subprocess.CompletedProcess, Path]:
    [calls] = name_corpora("calls.csv", clone)
    done = call(clone, "--grid", "seed=1,3", "--grid", "gain=0.1,0.3")
    return done, clone / f"reports/sweeps/01_tiny/{calls},gain=0.1+0.3,seed=1+3"

@pytest.mark.papers
def test_failing_combinations_are_named_and_stop_none(swept):
    done, folder = swept
    assert done.returncode == 2 and "Traceback" not in done.stderr.split("Failed:")[-1]
    last = [line for line in done.stderr.splitlines() if line.startswith("Failed: ")]
    assert len(last) == 1
    assert "seed = 3, gain = 0.1 (Three is no seed.)" in last[0]
    assert "seed = 3, gain = 0.3 (ZeroDivisionError: division by zero)" in last[0]
    assert [f"{n} of 4: " in done.stdout for n in range(1, 5)] == [True] * 4
    assert "so far, about" in done.stdout
    assert f"Table and page of the sweep: {folder.relative_to(folder.parents[3]).as_posix()}" in done.stdout

@pytest.mark.papers
def test_the_table_holds_the_rows_of_the_runs(swept, clone):
    _, folder = swept
    table = pd.read_csv(folder / "sweep.csv")
    assert list(table.columns[:2]) == ["seed", "gain"] and set(table.seed) == {1}
    [calls] = name_corpora("calls.csv", clone)
    for gain, name in ((.1, calls), (.3, f"{calls},gain=0.3")):
        rows = table[table.gain == gain].drop(columns=["seed", "gain"]).reset_index(drop=True)
        pd.testing.assert_frame_equal(rows, pd.read_csv(clone / "reports/01_tiny" / name / "results.csv"))

@pytest.mark.papers
def test_the_page_shows_what_moves_and_what_failed(swept):
    _, folder = swept
    report = read_notebook(folder / "report.ipynb")
    assert title_and_question(report) == ("01_tiny: sweep of seed, gain",
                                          "How its results move with seed and gain")
    assert all(cell.execution_count and cell.outputs for cell in report.cells if cell.cell_type == "code")
    text = "\n".join(cell.source for cell in report.cells if cell.cell_type == "markdown")
    assert "- seed = 3, gain = 0.1: Three is no seed." in text and "`gain`: `0.1`, `0.3`" in text
    moved = most_moved(read_sweep(folder / "sweep.csv"), "gain")
    assert moved.row.tolist() == ["moves", "stays"]
    assert np.allclose(moved.moved, [2, 0]), "0.2 of an interval of 0.1; other rows are not shown"
    figures = {path.name: path.read_text(encoding="utf-8") for path in (folder / "figures").iterdir()}
    assert set(figures) == {"seed.svg", "gain.svg"}
    assert all("<title>Results of 01_tiny over values of" in svg for svg in figures.values())
    told = "".join([*figures.values(), (folder / "report.ipynb").read_text(encoding="utf-8"),
                    (folder / "sweep.csv").read_text(encoding="utf-8")])
    assert str(folder.parents[3]) not in told and str(ROOT) not in told

@pytest.mark.papers
def test_semicolons_separate_values_and_two_tables_of_one_name_stay_apart(clone):
    "A value holds commas. The runs, the sweep's table and its page tell the tables apart and show no path."
    (clone / "two").mkdir()
    for name in ("calls.csv", "a.wav"): shutil.copy(clone / name, clone / "two")
    done = call(clone, "--grid", f"corpora=calls.csv,more.csv;{clone}/two/calls.csv", "-p", "seed=2")
    assert done.returncode == 0, done.stderr[-2000:]
    calls, more, other = name_corpora("calls.csv,more.csv,two/calls.csv", clone)
    runs = [clone / f"reports/01_tiny/{name},seed=2" for name in (f"{calls}+{more}", other)]
    folder = clone / f"reports/sweeps/01_tiny/{calls}+{more}-or-{other},seed=2"
    table = pd.read_csv(folder / "sweep.csv")
    assert table.groupby("corpora", sort=False).size().to_dict() == {f"{calls},{more}": 4, other: 4}
    for place in (folder, *runs):
        report = (place / "report.ipynb").read_text(encoding="utf-8")
        assert "calls.csv" in report and str(clone) not in report and "two/calls" not in report

@pytest.mark.parametrize("grid, fixed, said",
                         [(dict(seed="1,two"), {}, "'two'"), (dict(sede="1,2"), {}, "Did you mean 'seed'?"),
                          (dict(seed="1,2"), dict(seed="3"), "choose one"),
                          (dict(corpora="calls.csv;nowhere.csv"), {}, "nowhere.csv"),
                          (dict(seed="7,8"), dict(gain="much"), "'much'")])
def test_a_mistake_stops_before_any_run(clone, grid, fixed, said):
    before, told = sorted(clone.rglob("*")), []
    with pytest.raises(StudyError, match=re.escape(said)):
        run_grid("01", grid, fixed, load_settings(clone / "settings.ini"), told.append)
    assert told == [] and sorted(clone.rglob("*")) == before


def test_a_notebook_without_corpora_is_not_swept():
    with pytest.raises(StudyError, match="06_summary reads no corpora"):
        run_grid("06", dict(example="05.4,05.1"), {}, load_settings())


def test_the_study_is_quiet(clone):
    "One line for each paper, and no bar where no terminal shows it. The site is not built here."
    code = ("from ser_study.commands import cli, study; study.build_site = lambda *_, **__: None; "
            "cli.study()")
    done = subprocess.run([sys.executable, "-c", code], cwd=clone, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr[-2000:]
    said = r"1 of 1 after \d\d:\d\d: 01_tiny\nOpen reports/site/index\.html in a browser\n"
    assert re.fullmatch(said, done.stdout), done.stdout
