"""Parameters and names of runs under any text: a value in its range or one sentence, and a folder of its own
for each run, on every disk. And notebooks with wrong values that no command has seen."""
import shutil, string, subprocess
from os.path import expanduser, relpath
from pathlib import Path
import nbformat, papermill, pytest
from hypothesis import example, given, settings as how, strategies as st
from ser_study.settings import StudyError, load_settings
from ser_study.study.folders import LONGEST, run_name
from ser_study.study.parameters import RANGES, Range, default_parameters, parse_parameters
from ser_study.study.runs import Run

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = {path.stem: path for folder in ("papers", "benchmarks")
             for path in sorted((ROOT / "nbs" / folder).glob("*.ipynb"))}
OWN = {name: default_parameters(path) for name, path in NOTEBOOKS.items()}
PARAMETERS = [(name, parameter) for name, own in OWN.items() for parameter in own]


# One value

def test_every_number_of_every_notebook_has_a_range():
    "Of its own type; and a list of numbers, which is a text, has one too."
    assert len([name for name in NOTEBOOKS if name in RANGES]) >= 9
    without = [(name, parameter) for name, parameter in PARAMETERS
               if type(OWN[name][parameter]) in (int, float)
               and not isinstance(RANGES.get(name, {}).get(parameter), Range)]
    assert without == []
    for name, parameter in PARAMETERS:
        allowed, own = RANGES.get(name, {}).get(parameter), OWN[name][parameter]
        if isinstance(allowed, Range):
            assert type(allowed.low) is type(allowed.high) and type(own) in (type(allowed.low), str)
    lists = {parameter for _, parameter in PARAMETERS if parameter in ("conv_lengths", "seconds", "sweep")}
    assert lists == {"conv_lengths", "seconds", "sweep"} and all(
        isinstance(RANGES[name][parameter], Range) for name, parameter in PARAMETERS if parameter in lists)

def in_range(value, own, allowed) -> bool:
    "Whether a value is one that a notebook may have."
    if isinstance(allowed, tuple): return value in allowed
    if isinstance(allowed, Range) and isinstance(own, str):
        return not value or all(in_range(type(allowed.low)(part), allowed.low, allowed)
                                for part in value.split(","))
    if isinstance(allowed, Range):
        return allowed.low <= value <= allowed.high or (allowed.optional and value == 0)
    return not isinstance(own, str) or not any(sign < " " for sign in value)

NUMBERS = st.one_of(st.integers().map(str), st.floats().map(str), st.integers(-3, 1200).map(str))
ODD = st.sampled_from(["true", "FALSE", "nan", "-inf", "1e999", "0x1", "1_0", "٣", "²", " 7 ", "demo"])
TEXTS = st.one_of(st.text(max_size=30), NUMBERS, ODD, st.lists(NUMBERS, max_size=4).map(",".join))

@given(st.sampled_from(PARAMETERS), TEXTS)
@example(PARAMETERS[0], "9" * 5000)
@how(max_examples=600, deadline=None, derandomize=True)
def test_any_text_is_a_value_in_range_or_one_sentence(where, text):
    name, parameter = where
    own = OWN[name][parameter]
    try: value = parse_parameters({parameter: text}, OWN[name], f"{name}.ipynb")[parameter]
    except StudyError as error:
        assert len(str(error)) < 500 and "\n" not in str(error) and parameter in str(error)
    else:
        assert type(value) is type(own) and in_range(value, own, RANGES.get(name, {}).get(parameter))
        again = parse_parameters({parameter: str(value)}, OWN[name], f"{name}.ipynb")[parameter]
        assert again == value, "a notebook reads a value as the command did"

@given(st.text(max_size=300))
@how(max_examples=100, deadline=None, derandomize=True)
def test_any_unknown_name_is_one_sentence(name):
    if name in OWN["01_toh2025_hybrid_clustering"]: return
    with pytest.raises(StudyError) as error:
        parse_parameters({name: "1"}, OWN["01_toh2025_hybrid_clustering"], "01.ipynb")
    assert "\n" not in str(error.value) and len(str(error.value)) < 700


# A notebook that no command has checked: JupyterLab, or papermill itself

@pytest.mark.parametrize("paper, wrong", [("01_toh2025_hybrid_clustering", dict(clusters=0)),
                                          ("02_femia2023_bimodal_conversation", dict(seconds="1,,x")),
                                          ("04_liang2023_pdds", dict(p=float("nan"))),
                                          ("05_lili2025_albanian_sentiment", dict(n_seeds=-1))])
def test_the_notebook_itself_refuses(paper, wrong, monkeypatch, tmp_path):
    from ser_study.study.essay import Study
    monkeypatch.chdir(ROOT)
    for name in ("CACHE", "REPORTS"): monkeypatch.setenv(f"SER_STUDY_{name}", str(tmp_path / name.lower()))
    with pytest.raises(StudyError, match=f"{[*wrong][0]} = .* takes "): Study(paper, {**OWN[paper], **wrong})
    assert list(tmp_path.iterdir()) == []

@pytest.mark.papers
def test_a_notebook_run_by_papermill_refuses_before_any_work(monkeypatch, tmp_path):
    monkeypatch.setenv("SER_STUDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SER_STUDY_REPORTS", str(tmp_path / "reports"))
    with pytest.raises(papermill.PapermillExecutionError) as error:
        papermill.execute_notebook(NOTEBOOKS["03_chavesvillota2024_spanish_text"], tmp_path / "out.ipynb",
                                   dict(folds=1), cwd=ROOT, progress_bar=False)
    assert error.value.ename == "StudyError" and "folds = '1'" in error.value.evalue
    assert not (tmp_path / "cache").exists() and not (tmp_path / "reports").exists()


# Names of runs

KEYS = ["ravdess", "crema_d", "nemo", "demo_iemocap"]
PORTABLE = {*string.ascii_letters, *string.digits, *"_.+=,-"}
PATHS = st.builds("{}/{}{}".format, st.sampled_from(["one", "two", ".", "..", "/elsewhere", "One"]),
                  st.text(st.characters(exclude_characters=",/\0", exclude_categories=["Cs"]), max_size=12),
                  st.sampled_from([".csv", ".tsv", ".CSV"]))
CORPORA = st.lists(st.one_of(st.sampled_from(KEYS), PATHS), min_size=1, max_size=9).map(",".join)
VALUES = st.fixed_dictionaries(dict(corpora=CORPORA, seed=st.integers(0, 10**9), p=st.floats(0, 1),
                                    bf16=st.booleans(), models=st.text(max_size=40)))
DEFAULTS = dict(corpora="demo_ravdess", seed=1, p=.8, bf16=False, models="")

def meant(parameters: dict) -> dict:
    "What a run is about: two spellings of one path are one table."
    names = [name.strip() for name in parameters["corpora"].split(",") if name.strip()]
    places = [name if name in KEYS else relpath(ROOT / expanduser(name)) for name in names]
    return parameters | dict(corpora=places)

SEEN = {}

@given(VALUES)
@example(DEFAULTS | dict(models="a,seed=7"))
@example(DEFAULTS | dict(models="a", seed=7))
@example(DEFAULTS | dict(models="A"))
@example(DEFAULTS | dict(models="a."))
@example(DEFAULTS | dict(models="a "))
@example(DEFAULTS | dict(corpora="..csv"))
@example(DEFAULTS | dict(corpora=",".join(f"{number}{'long' * 16}.csv" for number in range(8))))
@how(max_examples=500, deadline=None, derandomize=True)
def test_different_runs_have_different_and_portable_names(parameters):
    "Compared without regard to case, as some disks do; a folder that begins with a dot is not listed."
    name = run_name(parameters, DEFAULTS, ROOT)
    assert set(name) <= PORTABLE and 0 < len(name.encode()) <= LONGEST <= 200
    assert name[0] not in ".-" and name[-1] not in ".-"
    assert SEEN.setdefault(name.lower(), meant(parameters)) == meant(parameters)

def test_a_notebook_that_was_edited_and_saved_does_not_replace_its_former_run(tmp_path):
    "JupyterLab saves every two minutes. A name compares the parameters with the committed notebook."
    shutil.copy(ROOT / "settings.ini", tmp_path)
    notebook = tmp_path / "nbs/papers/01_tiny.ipynb"
    notebook.parent.mkdir(parents=True)
    v4 = nbformat.v4

    def save(seed: int) -> str:
        "The name of the run of the notebook as it is saved with this seed."
        cell = v4.new_code_cell(f"seed = {seed}", metadata=dict(tags=["parameters"]))
        nbformat.write(v4.new_notebook(cells=[cell]), notebook)
        return Run("01_tiny", dict(seed=seed), load_settings(tmp_path / "settings.ini")).name

    assert save(7) == "all", "without git the file is all that is known"
    save(1)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    assert [save(1), save(7)] == ["all", "all,seed=7"]
