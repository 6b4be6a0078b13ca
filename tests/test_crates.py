"""RO-Crates of the committed runs, read back by the library and as plain JSON."""
import json, re, shutil, subprocess, sys, zipfile
from importlib.resources import files
from pathlib import Path
import pytest
from committed import committed_reports
from rocrate.rocrate import ROCrate
from ser_study.commands.crates import PROFILE, write_crate
from ser_study.settings import StudyError

ROOT = Path(__file__).resolve().parents[1]
RUNS = [path.parent for path in sorted(committed_reports().glob("0[1-5]_*/*/run.json"))]


@pytest.fixture(scope="module", params=RUNS, ids=lambda folder: "/".join(folder.parts[-2:]))
def made(request, tmp_path_factory) -> tuple[Path, Path]:
    "A committed run and its crate."
    out = tmp_path_factory.mktemp("crate") / "run.crate.zip"
    write_crate(request.param, out)
    return request.param, out

def record(out: Path) -> dict: return json.loads(zipfile.ZipFile(out).read("ro-crate-metadata.json"))

def test_every_file_is_there_and_described(made):
    folder, out = made
    crate, archive = ROCrate(out), zipfile.ZipFile(out)
    own = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    assert set(archive.namelist()) == {*own, "ro-crate-metadata.json"}
    assert all(archive.read(name) == path.read_bytes() for name, path in own.items())
    described = {entity.id: entity for entity in crate.data_entities}
    assert set(described) == set(own) == {entity.id for entity in crate.get("#run")["result"]}
    assert all(entity.type == "File" and entity["description"] and entity["encodingFormat"]
               and int(entity["contentSize"]) == own[name].stat().st_size
               for name, entity in described.items())
    figures = [name for name in own if name.endswith(".svg")]
    assert figures
    assert all(" " in described[name]["description"] for name in figures), "a figure is described in words"

def test_what_made_it_is_what_run_json_says(made):
    folder, out = made
    crate, run = ROCrate(out), json.loads((folder / "run.json").read_text(encoding="utf-8"))
    action = crate.get("#run")
    assert action.type == "CreateAction" and action["startTime"] == run["started"]
    objects = {kind: [entity for entity in action["object"] if entity.type == kind]
               for kind in ("PropertyValue", "Dataset")}
    assert {entity["name"]: entity["value"] for entity in objects["PropertyValue"]} == run["parameters"]
    assert {(entity["name"], entity.get("license"), entity["identifier"])
            for entity in objects["Dataset"]} == {(about["title"], about["licence"], about["fingerprint"])
                                                  for about in run["corpora"].values()}
    notebook = action["instrument"]
    assert notebook["name"] == f"nbs/papers/{run['paper']}.ipynb"
    assert notebook["version"] == run["commit"]
    assert run["commit"] in notebook["isPartOf"]["version"]
    assert crate.root_dataset["citation"].type == "ScholarlyArticle"
    assert crate.name.startswith(f"{run['paper']}/{run['run']}: ")

def test_the_record_keeps_the_standard(made):
    "RO-Crate 1.1: two first entities, a closed graph, terms of the context. Process Run Crate: the profile."
    graph = {entity["@id"]: entity for entity in record(made[1])["@graph"]}
    assert record(made[1])["@context"] == "https://w3id.org/ro/crate/1.1/context"
    assert len(graph) == len(record(made[1])["@graph"])
    assert graph["ro-crate-metadata.json"]["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert graph["ro-crate-metadata.json"]["about"] == {"@id": "./"}
    root = graph["./"]
    assert root["@type"] == "Dataset"
    assert {"name", "description", "datePublished", "license", "hasPart"} <= set(root)
    assert root["conformsTo"] == {"@id": PROFILE}
    assert PROFILE in graph
    mentioned = set(re.findall(r'\{"@id": "([^"]+)"\}', json.dumps(list(graph.values()))))
    assert mentioned - set(graph) == {"https://w3id.org/ro/crate/1.1"}
    terms = json.loads((files("rocrate") / "data" / "ro-crate.jsonld").read_text())["@context"]
    used = {term for entity in graph.values() for term in (*entity, entity["@type"])
            if not term.startswith("@")}
    assert used <= set(terms), used - set(terms)

def test_no_place_on_this_machine_is_told(made):
    text = json.dumps(record(made[1]))
    assert not re.search(r'(?<![\w:/.])/(?:[\w.-]+/)+', text.replace(r"\/", "/")), "an absolute path"
    assert str(ROOT) not in text and str(Path.home()) + "/" not in text and str(made[1].parent) not in text


def test_a_folder_holds_the_same_as_a_zip(tmp_path):
    write_crate(RUNS[0], tmp_path / "crate")
    write_crate(RUNS[0], tmp_path / "crate.zip")
    assert {path.relative_to(tmp_path / "crate").as_posix() for path in (tmp_path / "crate").rglob("*")
            if path.is_file()} == set(zipfile.ZipFile(tmp_path / "crate.zip").namelist())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["crate", "crate.zip"]

def test_a_damaged_run_leaves_nothing(tmp_path):
    shutil.copytree(RUNS[0], tmp_path / "paper" / "run")
    (tmp_path / "paper/run/results.csv").write_text("no,table\n")
    with pytest.raises(StudyError, match="paper/run/results.csv lacks the column"):
        write_crate(tmp_path / "paper/run", tmp_path / "crate.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["paper"]

def test_the_command_names_the_file_after_the_run(tmp_path):
    program = Path(sys.executable).with_name("ser-study")
    settings = (ROOT / "settings.ini").read_text(encoding="utf-8")
    settings = settings.replace("reports = reports", f"reports = {committed_reports()}")
    (tmp_path / "settings.ini").write_text(settings, encoding="utf-8")
    done = subprocess.run([program, "crate", "05/ravdess"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    crate = ROCrate(tmp_path / "05_lili2025_albanian_sentiment-ravdess.crate.zip")
    assert crate.name.startswith("05_lili2025_albanian_sentiment/ravdess")
    again = subprocess.run([program, "crate", "05/ravdess"], cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 2 and again.stderr.count("\n") == 1 and "is there already" in again.stderr
